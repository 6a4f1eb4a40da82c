/* Back-propagation through time. A block is a run of steps of a strip of rows, small enough for its gate
 * gradients to stay in cache. Its time loop mirrors the forward one: a tile of dh = dG@R is accumulated in
 * registers and meets dy and what was saved in `back`, which writes dG in panels. Then come the block's three
 * products: dx = dG@W, dW += x'dG, dR += h'dG.
 *
 * Strips and blocks follow from the shapes alone and every product adds in the order of the pairs, so
 * gradients have the same bits for any number of threads. */

/* The last phase that a row may go on to, without waiting for others, once it has begun this one. */
INLINE int backward_until(const cell *c, int phase, const pyrnn_walk *me)
{
    int until = phase;
    while (c->general && me->parts == 1 && until > 0 && c->phase[phase_through(c, phase)].count == 0 &&
           c->phase[phase_through(c, until - 1)].count == 0)
        until--;
    return until;
}

/* The phases from this one down to `until`, to which no product leads, row after row. It takes the statistics of these phases
 * and of the one after them: of the formula's last phase everybody has them, but who comes late has none of those between. */
INLINE void backward_rows(const cell *c, back_function *back, int phase, int until, const pyrnn_job *job,
                          const real *units, share panels, backward_row *rows, ptrdiff_t n,
                          ptrdiff_t panel_step)
{
    for (ptrdiff_t r = 0; r < n; r++) {
        backward_row *row = rows + r;
        if (phase + 1 < last_of_formula(c))
            cell_statistics(c, phase + 1, row->saved, job->H, row->stats);
        for (int i = phase; i >= until; i--) {
            if (i < last_of_formula(c))
                cell_statistics(c, i, row->saved, job->H, row->stats);
            cell_sums(c, i + 1, row->da, panel_step, row->saved, job->H, row->stats, units, row->sums);
            backward_alone(c, back, i, job, units, panels, row, c->phases == 1 && r + 1 < n, panel_step);
        }
    }
}

INLINE void backward_phase(const cell *c, back_function *back, int phase, int until, const pyrnn_job *job,
                           const real *packed, const packed_layout *lay, const backward_space *space,
                           const product_plan *plan, backward_row *rows, ptrdiff_t panel_step, coming *then)
{
    const int last = phase == c->phases - 1, through = phase_through(c, phase);
    const int first = c->phase[through].first * L;
    const ptrdiff_t width = phase_reads(c, &job->layer, through), n = plan->rows;
    const pass *walk = &plan->walk;
    if (without_product(c, through)) {
        if (phase != COLLECT)
            backward_rows(c, back, phase, until, job, packed + lay->units, walk->panels, rows, n, panel_step);
        return;
    }
    const ptrdiff_t units = phase_units(c, &job->layer, through), K = c->phase[through].count * units;
    const span k = span_of_gates(units, c->phase[through].count, panel_step);
    const ptrdiff_t column = K * L; /* reals of w for a panel */
    int any = !last;
    for (ptrdiff_t r = 0; r < n && !any; r++)
        any = rows[r].carry == CARRY_BOTH;
    for (ptrdiff_t i = 0; i < walk->bites; i++) {
        const bite b = pass_bite(walk, i);
        const real *w = packed + lay->r[through] + b.panel * column, *next = NULL;
        if (plan->far && i + 1 < walk->bites)
            next = packed + lay->r[through] + pass_bite(walk, i + 1).panel * column;
        for (ptrdiff_t tile = 0, r0 = 0; tile < plan->split.tiles; r0 += split_size(&plan->split, tile++)) {
            const real *from[MAX_ROWS];
            V acc[MAX_ROWS * MAX_VECS];
            const grid out = {(real *)acc, b.panels * L, {0, L, 2 * L, 3 * L}};
            int height = split_size(&plan->split, tile);
            for (int r = 0; r < height; r++) { /* a row that carries nothing multiplies anything */
                const backward_row *row = rows + r0 + r;
                from[r] = (!last ? row->da : row->carry == CARRY_BOTH ? row->after : space->da) + first;
            }
            if (!any)
                memset(acc, 0, sizeof(acc));
            else if (n == 1)
                product_of_row(b.groups, b.panels, 0, acc, NULL, from[0], &k, w, b.panels * column);
            else
                product(height, b.panels, &out, NULL, from, &k, w,
                        next ? ahead_of(next, tile, K, b.panels) : coming_next(then, K));
            for (int p = 0; p < b.groups * b.panels; p++)
                for (int r = 0; r < height; r++) {
                    V sum = acc[r * b.panels + p];
                    const ptrdiff_t j = (b.panel + p) * L;
                    real *ds = rows[r0 + r].ds + j;
                    if (phase != COLLECT)
                        backward_point(c, back, phase, job, rows + r0 + r, j, panel_step, sum,
                                       packed + lay->units);
                    else if (c->general && job->mask)
                        vstorea(ds, vfma(sum, get(rows[r0 + r].mask + j, width - j), vloada(ds)));
                    else
                        vstorea(ds, vloada(ds) + sum);
                }
        }
    }
}

/* No gradient of state q passes to the step before an episode's first one. */
INLINE void backward_cut(const pyrnn_job *job, int q, share panels, const backward_row *rows, ptrdiff_t n,
                         ptrdiff_t s)
{
    for (ptrdiff_t r = 0; r < n; r++)
        if (cut_before(job, rows[r].row, rows[r].length, s))
            memset(rows[r].ds + (q * panels_of(job->H) + panels.from) * L, 0,
                   sizeof(real) * (size_t)((panels.to - panels.from) * L));
}

/* Copies the gradients of n states between the caller's [B][H] and the padded rows. */
static void backward_states_in(const cell *c, const pyrnn_job *job, const backward_row *rows, ptrdiff_t n)
{
    ptrdiff_t H = job->H, Hp = panels_of(H) * L;
    for (ptrdiff_t r = 0; r < n; r++) {
        memset(rows[r].ds, 0, sizeof(real) * (size_t)(c->states * Hp));
        for (int q = 0; q < c->states; q++) {
            ptrdiff_t width = state_width(c, &job->layer, q);
            if (job->dstate[q])
                memcpy(rows[r].ds + q * Hp, (const real *)job->dstate[q] + rows[r].row * width,
                       sizeof(real) * (size_t)width);
        }
    }
}

static void backward_states_out(const cell *c, const pyrnn_job *job, const backward_row *rows, ptrdiff_t n)
{
    ptrdiff_t H = job->H, Hp = panels_of(H) * L;
    for (ptrdiff_t r = 0; r < n; r++)
        for (int q = 0; q < c->states; q++) {
            ptrdiff_t width = state_width(c, &job->layer, q);
            if (job->dstate0[q])
                memcpy((real *)job->dstate0[q] + rows[r].row * width, rows[r].ds + q * Hp,
                       sizeof(real) * (size_t)width);
        }
}

/* The steps of n rows. Returns how many of them have the block's first. */
INLINE ptrdiff_t backward_steps(const cell *c, back_function *back, const pyrnn_job *job,
                                const pyrnn_block *b, const backward_space *space, const packed_layout *lay,
                                pyrnn_walk *me, product_plan *plans, backward_row *rows, ptrdiff_t n,
                                ptrdiff_t pairs)
{
    const real *packed = (const real *)job->packed;
    ptrdiff_t pair = pairs, active = 0, told = pairs; /* the first pair whose dx is there */
    for (ptrdiff_t s = b->s1; s-- > b->s0;) {
        if (job->behind)
            pyrnn_await(job->behind, job->T - s);
        pair -= block_active(job, b, s);
        while (active < n && rows[active].length > s)
            active++;
        for (ptrdiff_t r = 0; r < active; r++)
            backward_advance(c, job, b, space, packed + lay->zero, rows + r, s, pair + rows[r].p - b->p0);
        coming then = {0};
        const ptrdiff_t soon = s - coming_steps(active);
        if (me->parts == 1 && active > 0 && soon >= 0)
            coming_step(c, job, soon, soon - 1, rows[0].p, rows[active - 1].p + 1 - rows[0].p, job->dy,
                        job->dy_step, job->dy_row, &then);
        for (int phase = c->phases - 1, until; phase >= 0; phase = until - 1) {
            until = backward_until(c, phase, me);
            EACH_PART (part, me) {
                for (ptrdiff_t r = 0; r < active && part == 0 && until == 0; r++)
                    backward_list(c, job, space, rows + r, s, pair + rows[r].p - b->p0);
                product_plan *plan = plans + phase + 1;
                if (!is_planned(plan, active, part))
                    backward_plan(c, job, phase, me->parts, part, active, plan);
                plan->walk.back = s & 1;
                backward_phase(c, back, phase, until, job, packed, lay, space, plan, rows,
                               pairs * c->slots * L, &then);
            }
        }
        if (job->tells)
            backward_tell(c, job, b, space, pairs, pair, s, &told);
    }
    return active;
}

/* The time loop of a block: for all rows, by units, or for those of part `number`, alone. */
INLINE void backward(const cell *c, back_function *back, const pyrnn_job *job, const pyrnn_block *b,
                     pyrnn_walk *me, int number)
{
    const real *packed = (const real *)job->packed;
    const packed_layout lay = layout_of(c, PYRNN_BACKWARD, &job->layer);
    const int grain = panels_at_once(1);
    backward_space space;
    backward_space_of(c, job, job->work, b->turn, &space);
    backward_row *rows = (backward_row *)(job->work + job->work_shared + (size_t)number * job->work_thread);
    const ptrdiff_t state_size = c->states * panels_of(job->H) * L;
    const row_share mine = rows_of_part(job, b->p0, b->p1, number);
    ptrdiff_t n = 0;
    for (ptrdiff_t p = mine.first; p < mine.end; p += mine.step, n++)
        rows[n] = (backward_row){.p = p,
                                 .row = job_row(job, p),
                                 .length = job_length(job, p),
                                 .ds = space.ds + (p - b->p0) * state_size};
    if (b->starts)
        EACH_PART (part, me)
            if (part == 0)
                backward_states_in(c, job, rows, n);
    const ptrdiff_t pairs = block_pairs(job, b);
    product_plan plans[1 + MAX_PHASES]; /* phases from COLLECT on */
    for (int i = 0; i <= c->phases; i++)
        plans[i].rows = -1;
    ptrdiff_t active = 0;
    if (!is_single(c, job))
        active = backward_steps(c, back, job, b, &space, &lay, me, plans, rows, n, pairs);
    else if (n > 0)
        active = backward_single(c, back, job, b, &space, &lay, me, plans, rows, pairs);
    if (b->s1 > b->s0)
        EACH_PART (part, me) {
            backward_plan(c, job, COLLECT, me->parts, part, active, plans);
            backward_phase(c, back, COLLECT, COLLECT, job, packed, &lay, &space, plans, rows,
                           pairs * c->slots * L, &(coming){0});
            for (int q = 0; q < c->states; q++)
                backward_cut(job, q, panels_of_part(state_width(c, &job->layer, q), grain, me->parts, part),
                             rows, active, b->s0);
        }
    if (b->ends)
        EACH_PART (part, me)
            if (part == 0)
                backward_states_out(c, job, rows, n);
}

/* Blocks: half of the level-2 cache for the gate gradients; 256 pairs at least, for each block reads and writes all of
 * dW. A single sequence, whose time loop one thread runs while others take the products of the block before, has eight of
 * them, unless dW is far or they would be too short for what the cores then hand over. They are the same with one thread,
 * or its sums would have other bits. */
static ptrdiff_t backward_pairs(const cell *c, const pyrnn_job *job)
{
    const ptrdiff_t H = job->H, Hp = panels_of(H) * L, pair = Hp * c->slots * (ptrdiff_t)sizeof(real);
    const ptrdiff_t most = min_of(max_of((ptrdiff_t)(job->l2 / 2) / pair, 256), job->pairs);
    if (job->B > 1 || far_away(job, max_of(job->I, H) * Hp * c->gates) ||
        sharers_of_units(job, c, panels_at_once(1)) > 1)
        return most;
    const double enough = 4e6, flops = 2.0 * (2 * (double)job->I + (double)H) * (double)(Hp * c->gates);
    return min_of(most, max_of(job->pairs / 8, (ptrdiff_t)(enough / flops)) + 1);
}

ONCE static void plan_backward(pyrnn_job *job)
{
    const cell its = resolved(&job->layer), *c = &its;
    const int allowed = job->threads;
    choose_split(job, c, panels_at_once(1));
    if (!job->by_units)
        job->threads = allowed; /* more than rows, too: they share out the products */
    job->block = backward_pairs(c, job);
    job->ahead = job->B == 1 && !job->by_units && job->threads > 1 && job->block < job->pairs;
    job->strip = max_of(min_of(job->B, job->block), 1);
    backward_space space;
    job->work_shared = backward_space_of(c, job, NULL, 0, &space);
    ptrdiff_t rows = job->by_units ? job->strip : job->strip / job->threads + 1;
    job->work_thread = ((size_t)rows * sizeof(backward_row) + 63) / 64 * 64;
}
