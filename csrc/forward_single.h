/* The time loop forward of a single sequence, whose steps may be short: what forward() finds out for each row and step is known
 * here for all of them, or follows from the step before. A step of RNN (44100,1,1,40) takes three quarters of the instructions so,
 * and 75 ns in the place of 94. */

/* Whether a call is one for this loop and the one back: of one row and a cell whose formula is compiled in one piece. */
INLINE int is_single(const cell *c, const pyrnn_job *job)
{
#ifdef PYRNN_ONE_DRIVER /* or the compiler keeps functions that nobody calls */
    return 0;
#endif
    return known(c) && !c->general && c->phases == 1 && job->B == 1;
}

/* The first step of a run of them, as any other time loop would find it. Of any cell: once for each is not worth its size. */
NOINLINE static void forward_single_first(const cell *c, const pyrnn_job *job, const real *zero,
                                          forward_row *row, ptrdiff_t s)
{
    if (c->general)
        __builtin_unreachable();
    forward_advance(c, job, zero, row, s);
}

/* How the only row goes through a part, and, of the first of several, where its products can be cut. */
ONCE static void forward_single_plan(const cell *c, const pyrnn_job *job, int parts, int part,
                                     product_plan *plan)
{
    const span k = span_of(job->H);
    forward_plan(c, job, 0, parts, part, 1, plan);
    plan->cut = part == 0 && parts > 1 ? cut_row(&k, plan->walk.panels.to * L) : (row_cut){0};
}

/* Where a bite's weights and biases are. */
INLINE const real *single_weights(const cell *c, const pyrnn_job *job, const packed_layout *lay,
                                  const bite *b)
{
    return (const real *)job->packed + lay->r[0] + b->panel * job->H * c->gates * L;
}

INLINE const V *single_bias(const cell *c, const pyrnn_job *job, const packed_layout *lay, const bite *b)
{
    return (const V *)((const real *)job->packed + lay->bias_h[0] + b->panel * c->gates * L);
}

/* Begins the first part's first product of step s with the units of h that it has computed itself. */
NOINLINE static void forward_single_begin(const cell *c, const pyrnn_job *job, const packed_layout *lay,
                                          product_plan *plan, const real *h, ptrdiff_t s, V *sums)
{
    bite spare;
    plan->walk.back = (s & 1) ^ job->back;
    const bite *b = plan_bite(plan, 0, &spare);
    const span k = span_of(job->H);
    product_before(&plan->cut, b, sums, single_bias(c, job, lay, b), h, &k, single_weights(c, job, lay, b),
                   b->vecs * L * job->H);
}

/* A part's units in one step; `begun`: what forward_single_begin made of it, else NULL. */
INLINE void forward_single_part(const cell *c, point_function *point, const pyrnn_job *job,
                                const packed_layout *lay, const product_plan *plan, const forward_row *row,
                                const real *ax, ptrdiff_t ax_panel, V *begun)
{
    const ptrdiff_t H = job->H;
    const span k = span_of(H);
    for (ptrdiff_t i = 0; i < plan->walk.bites; i++, begun = NULL) {
        bite spare;
        const bite *b = plan_bite(plan, i, &spare);
        const real *w = single_weights(c, job, lay, b);
        const V *bias = single_bias(c, job, lay, b);
        V ah[MAX_SUMS];
        if (begun)
            product_behind(&plan->cut, b, ah, begun, bias, row->prev[0], &k, w, b->vecs * L * H);
        else
            product_of_row(b->groups, b->vecs, b->more, ah, bias, row->prev[0], &k, w, b->vecs * L * H);
        if (b->spread >= 0)
            spread_row(c->gates, last_lanes(c, H), (real *)(ah + b->spread));
        for (int p = 0; p < b->all; p++)
            forward_point(c, point, 0, job, row, (b->panel + p) * L, ax + (b->panel + p) * ax_panel,
                          ah + p * c->gates, NULL);
    }
}

/* Some steps, which the row has. Panel p has its input part of the first one at ax + p*ax_panel. */
INLINE void forward_single(const cell *c, point_function *point, const pyrnn_job *job,
                           const packed_layout *lay, pyrnn_walk *me, product_plan *plan, forward_row *at,
                           share steps, const real *ax, ptrdiff_t ax_panel, pyrnn_progress *tells)
{
    const real *zero = (const real *)job->packed + lay->zero;
    const int far = me->parts == 1 && job->saved && comes_from_far(c, job, 1);
    const ptrdiff_t y_step = step_of(job, job->y_step);
    forward_single_first(c, job, zero, at, steps.from);
    forward_row row = *at;
    const int shared = me->parts > 1 && !job->reset;
    V sums[MAX_SUMS]; /* of the first product of step `begun` */
    ptrdiff_t begun = -1;
    for (ptrdiff_t s = steps.from;;) {
        const ptrdiff_t soon = s + coming_steps(1);
        if (far && soon < job->T)
            coming_step(c, job, soon, soon, 0, 1, job->y, job->y_step, job->y_row, &(coming){0});
        for (int part; (part = walk_next(me)) >= 0;) {
            if (!is_planned(plan, 1, part))
                forward_single_plan(c, job, me->parts, part, plan);
            plan->walk.back = (s & 1) ^ job->back;
            if (job->by_units) /* as in forward_phase */
                ask_for_row(row.prev[0], job->H);
            forward_single_part(c, point, job, lay, plan, &row, ax, ax_panel,
                                part == 0 && begun == s ? sums : NULL);
            walk_done(me, part);
            if (shared && part == 0 && plan->cut.head > 0 && s + 1 < steps.to)
                forward_single_begin(c, job, lay, plan, row.next[0], begun = s + 1, sums);
        }
        if (tells)
            progress_tell(tells, s + 1);
        if (++s == steps.to)
            break;
        const int cut = cut_before(job, row.row, row.length, s);
        for (int q = 0; q < c->states; q++) {
            row.prev[q] = cut ? zero : row.next[q];
            row.next[q] += job->saved ? job->H : q == 0 ? y_step : 0;
        }
        if (job->saved) {
            row.saved += c->saves * job->H;
            row.y += y_step;
        }
        ax += c->gates * L;
    }
    for (int q = 0; q < c->states; q++)
        at->next[q] = row.next[q];
}
