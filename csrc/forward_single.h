/* The time loop forward of a single sequence, whose steps may be short: what forward() finds out for each row and step is known
 * here for all of them, or follows from the step before. A step of RNN (44100,1,1,40) takes three quarters of the instructions so,
 * and 75 ns in the place of 94. */

/* Whether a call is one for this loop and the one back: of one row and a cell whose formula is compiled in one piece. */
INLINE int is_single(const cell *c, const pyrnn_job *job)
{
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

/* A part's units in one step. */
INLINE void forward_single_part(const cell *c, point_function *point, const pyrnn_job *job,
                                const packed_layout *lay, const product_plan *plan, const forward_row *row,
                                const real *ax, ptrdiff_t ax_panel)
{
    const real *packed = (const real *)job->packed;
    const ptrdiff_t H = job->H;
    const int width = c->gates * L;
    const span k = span_of(H);
    for (ptrdiff_t i = 0; i < plan->walk.bites; i++) {
        bite spare;
        const bite *b = plan_bite(plan, i, &spare);
        V ah[MAX_SUMS];
        product_of_row(b->groups, b->vecs, b->more, ah,
                       (const V *)(packed + lay->bias_h[0] + b->panel * width), row->prev[0], &k,
                       packed + lay->r[0] + b->panel * H * width, b->vecs * L * H);
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
    for (ptrdiff_t s = steps.from;;) {
        const ptrdiff_t soon = s + coming_steps(1);
        if (far && soon < job->T)
            coming_step(c, job, soon, soon, 0, 1, job->y, job->y_step, job->y_row, &(coming){0});
        EACH_PART (part, me) {
            if (!is_planned(plan, 1, part))
                forward_plan(c, job, 0, me->parts, part, 1, plan);
            plan->walk.back = (s & 1) ^ job->back;
            if (job->by_units) /* as in forward_phase */
                ask_for_row(row.prev[0], job->H);
            forward_single_part(c, point, job, lay, plan, &row, ax, ax_panel);
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
