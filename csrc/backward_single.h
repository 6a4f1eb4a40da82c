/* The time loop of a block back through a single sequence, as forward_single.h. */

/* As forward_single_first; so is the first step of all, which has the initial state. */
ONCE static void backward_single_first(const cell *c, const pyrnn_job *job, const pyrnn_block *b,
                                       const backward_space *space, const real *zero, backward_row *row,
                                       ptrdiff_t s, ptrdiff_t pair)
{
    if (c->general)
        __builtin_unreachable();
    backward_advance(c, job, b, space, zero, row, s, pair);
}

/* As forward_single_plan. */
ONCE static void backward_single_plan(const cell *c, const pyrnn_job *job, int parts, int part,
                                      ptrdiff_t panel_step, product_plan *plan)
{
    const span k = span_of_gates(job->H, c->phase[0].count, panel_step);
    backward_plan(c, job, 0, parts, part, 1, plan);
    plan->cut = part == 0 && parts > 1 ? cut_row(&k, min_of(plan->walk.panels.to, k.runs)) : (row_cut){0};
}

/* As forward_single_begin: with the slot gradients of the first part's units. */
NOINLINE static void backward_single_begin(const cell *c, const pyrnn_job *job, const packed_layout *lay,
                                           product_plan *plan, const real *da, ptrdiff_t panel_step,
                                           ptrdiff_t s, V *sums)
{
    const ptrdiff_t column = c->phase[0].count * job->H * L;
    const span k = span_of_gates(job->H, c->phase[0].count, panel_step);
    bite spare;
    plan->walk.back = s & 1;
    const bite *b = plan_bite(plan, 0, &spare);
    product_before(&plan->cut, b, sums, NULL, da + c->phase[0].first * L, &k,
                   (const real *)job->packed + lay->r[0] + b->panel * column, b->vecs * column);
}

/* A part's units in one step. */
INLINE void backward_single_part(const cell *c, back_function *back, const pyrnn_job *job,
                                 const packed_layout *lay, const product_plan *plan, const backward_row *row,
                                 ptrdiff_t panel_step, V *begun)
{
    const real *r = (const real *)job->packed + lay->r[0];
    const int count = c->phase[0].count;
    const ptrdiff_t column = count * job->H * L; /* reals of r for a panel */
    const span k = span_of_gates(job->H, count, panel_step);
    for (ptrdiff_t i = 0; i < plan->walk.bites; i++, begun = NULL) {
        bite spare;
        const bite *b = plan_bite(plan, i, &spare);
        const real *from = row->after + c->phase[0].first * L;
        V acc[MAX_SUMS];
        if (begun)
            product_behind(&plan->cut, b, acc, begun, NULL, from, &k, r + b->panel * column,
                           b->vecs * column);
        else if (row->carry == CARRY_BOTH)
            product_of_row(b->groups, b->vecs, 0, acc, NULL, from, &k, r + b->panel * column,
                           b->vecs * column);
        else
            memset(acc, 0, sizeof(acc));
        for (int p = 0; p < b->all; p++)
            backward_point(c, back, 0, job, row, (b->panel + p) * L, panel_step, acc[p], NULL);
    }
}

/* Returns whether the row has any of the block's steps. */
INLINE int backward_single(const cell *c, back_function *back, const pyrnn_job *job, const pyrnn_block *b,
                           const backward_space *space, const packed_layout *lay, pyrnn_walk *me,
                           product_plan *plans, backward_row *at, ptrdiff_t pairs)
{
    const real *zero = (const real *)job->packed + lay->zero;
    const int far = me->parts == 1 && comes_from_far(c, job, 1);
    const ptrdiff_t panel_step = pairs * c->slots * L, dy_step = step_of(job, job->dy_step);
    product_plan *plan = plans + 1;
    backward_row row = *at;
    ptrdiff_t told = pairs;
    int cut_after = 0;
    const int shared = me->parts > 1 && !job->reset;
    V sums[MAX_SUMS]; /* of the first product of step `begun` */
    ptrdiff_t begun = -1;
    for (ptrdiff_t pair = pairs; pair-- > 0;) {
        const ptrdiff_t s = b->s0 + pair, soon = s - coming_steps(1);
        if (job->behind)
            pyrnn_await(job->behind, job->T - s);
        const int cut = cut_before(job, row.row, row.length, s);
        if (pair == pairs - 1 || s == 0)
            backward_single_first(c, job, b, space, zero, &row, s, pair);
        else {
            for (int q = 0; q < c->states; q++) {
                row.next[q] -= job->H;
                row.prev[q] = cut ? zero : row.next[q] - job->H;
            }
            row.saved -= c->saves * job->H;
            row.dy -= dy_step;
            row.carry = cut_after ? CARRY_NONE : CARRY_BOTH;
            row.after = row.da;
            row.da -= c->slots * L;
        }
        cut_after = cut;
        if (far && soon >= 0)
            coming_step(c, job, soon, soon - 1, 0, 1, job->dy, job->dy_step, job->dy_row, &(coming){0});
        for (int part; (part = walk_next(me)) >= 0;) {
            if (part == 0)
                backward_list(c, job, space, &row, s, pair);
            if (!is_planned(plan, 1, part))
                backward_single_plan(c, job, me->parts, part, panel_step, plan);
            plan->walk.back = s & 1;
            backward_single_part(c, back, job, lay, plan, &row, panel_step,
                                 part == 0 && begun == s ? sums : NULL);
            walk_done(me, part);
            if (shared && part == 0 && plan->cut.head > 0 && pair > 0)
                backward_single_begin(c, job, lay, plan, row.da, panel_step, begun = s - 1, sums);
        }
        if (job->tells)
            backward_tell(c, job, b, space, pairs, pair, s, &told);
    }
    if (job->tells && pairs == 0)
        backward_tell(c, job, b, space, pairs, 0, b->s0, &told);
    *at = row;
    return pairs > 0;
}
