/* A row of the way back: where what it saved is, step by step, and its passage from the gradient of the state to those of
 * the pre-activations, a panel of units at a time. */

/* What happens to the gradient that arrives from the step after. */
enum {
    CARRY_BOTH, /* the part past the products, and through them */
    CARRY_PAST, /* the former alone: there was no step after, or a block ended there and has done the product
                 */
    CARRY_NONE /* an episode began after this step */
};

struct backward_row {
    ptrdiff_t p, row, length;
    const real *prev[MAX_STATES], *next[MAX_STATES], *saved, *dy; /* of the step */
    real *ds; /* [S][Hp] gradient of the state after the step, but for the part through the products */
    real *da; /* slot gradients of the step: panel i at da + i*panel_step */
    const real *after; /* those of the step after it */
    int carry;
    /* Of a general cell: */
    const real *read; /* what the step's product read of the state before it */
    const real *mask;
    uint32_t key[MAX_STATES];
    real stats[2 * MAX_NORMS], sums[2 * MAX_NORMS];
};

/* A panel of the gradient of state q after the step, all that arrives there: `through` the products too. What zoneout
 * leads past the cell is put in `past`, of a general cell. n elements of the state's width are left. */
INLINE V backward_state(const cell *c, const pyrnn_job *job, const backward_row *row, int q, ptrdiff_t j,
                        ptrdiff_t n, V through, V *past)
{
    V d = vloada(row->ds + q * panels_of(job->H) * L + j);
    if (row->carry == CARRY_BOTH && q == 0)
        d = d + through;
    if (row->carry == CARRY_NONE)
        d = vset(0);
    if (q == 0) {
        d = d + get(row->dy + j, n);
        if (job->order) /* as forward */
            __builtin_prefetch(row->dy + j - step_of(job, job->dy_step));
    }
    if (c->general)
        *past = zone_gradient(job, q, row->key[q], j, &d);
    return d;
}

/* A panel of the projection: it has no formula. */
INLINE void backward_projection(const cell *c, const pyrnn_job *job, const backward_row *row, ptrdiff_t j,
                                ptrdiff_t panel_step, V acc)
{
    const ptrdiff_t n = job->layer.projection - j;
    V past;
    acc = job->mask ? acc * get(row->mask + j, n) : acc;
    V d = backward_state(c, job, row, 0, j, n, vkeep(acc, n), &past);
    vstorea(row->da + j / L * panel_step + c->phase[c->phases - 1].first * L, d);
    vstorea(row->ds + j, past);
}

/* A unit panel of one row: from the gradient of the state to that of the pre-activations. `units` are the pack's, of a
 * general cell. */
INLINE void backward_panel(const cell *c, back_function *back, int phase, const pyrnn_job *job,
                           const backward_row *row, ptrdiff_t j, ptrdiff_t panel_step, V acc,
                           const real *units)
{
    const place at = {&job->layer, c->peeps, units + j * own_weights(c), row->stats, row->sums};
    const int last = last_of_formula(c), first_state = c->projected ? 1 : 0; /* as forward */
    V past[MAX_STATES];
    ptrdiff_t H = job->H, n = H - j, Hp = panels_of(H) * L;
    V ds[MAX_STATES], s0[MAX_STATES] = {0}, s1[MAX_STATES] = {0}, saved[MAX_SAVES], da[MAX_SLOTS];
    for (int q = first_state; q < c->states; q++) {
        s0[q] = get(row->prev[q] + j, n);
        s1[q] = get(row->next[q] + j, n);
    }
    EACH_BIT (k, 0, c->saves, c, c->phase[phase].looks_back)
        saved[k] = get(row->saved + k * H + j, n);
    if (c->general && job->mask && !(c->projected && phase == last))
        acc = acc * get(row->mask + j, n);
    acc = vkeep(acc, n); /* an infinite gradient times the zeros beyond H is a NaN, and would spread */
    ds[0] = acc; /* through the projection */
    for (int q = first_state; q < c->states; q++)
        ds[q] = phase == last ? backward_state(c, job, row, q, j, n, acc, past + q)
                              : vloada(row->ds + q * Hp + j);
    real *out = row->da + j / L * panel_step;
    if (last > 0)
        EACH_BIT (k, 0, c->slots, c, c->phase[phase].needs)
            da[k] = vloada(out + k * L);
    back(phase, acc, saved, s0, s1, ds, da, c->general ? &at : NULL);
    for (int q = first_state; c->general && phase == last && q < c->states; q++)
        ds[q] = ds[q] + past[q];
    EACH_BIT (k, 0, c->slots - c->projected, c, c->phase[phase].fills)
        vstorea(out + k * L, da[k]);
    for (int q = first_state; q < c->states; q++)
        vstorea(row->ds + q * Hp + j, ds[q]);
}

/* The same, or a panel of the projection. */
INLINE void backward_part(const cell *c, back_function *back, int phase, const pyrnn_job *job,
                          const backward_row *row, ptrdiff_t j, ptrdiff_t panel_step, V acc,
                          const real *units)
{
    if (projects(c, phase))
        backward_projection(c, job, row, j, panel_step, acc);
    else
        backward_panel(c, back, phase, job, row, j, panel_step, acc, units);
}

/* The same for all general cells in one function, as forward. */
NOINLINE static void backward_general(const cell *c, back_function *back, int phase, const pyrnn_job *job,
                                      const backward_row *row, ptrdiff_t j, ptrdiff_t panel_step, V acc,
                                      const real *units)
{
    if (!c->general)
        __builtin_unreachable();
    backward_part(c, back, phase, job, row, j, panel_step, acc, units);
}

INLINE void backward_point(const cell *c, back_function *back, int phase, const pyrnn_job *job,
                           const backward_row *row, ptrdiff_t j, ptrdiff_t panel_step, V acc,
                           const real *units)
{
    if (!known(c))
        backward_general(c, back, phase, job, row, j, panel_step, acc, units);
    else
        backward_part(c, back, phase, job, row, j, panel_step, acc, units);
}

/* A phase of a row at which nothing arrives through a product, as forward. */
INLINE void backward_alone(const cell *c, back_function *back, int phase, const pyrnn_job *job,
                           const real *units, share panels, const backward_row *row, int more,
                           ptrdiff_t panel_step)
{
    if (!known(c) && job->form == PLAIN_CELL && alones[job->layer.cell].backward) {
        alones[job->layer.cell].backward(job, panels, row, more, panel_step);
        return;
    }
    for (ptrdiff_t p = panels.from; p < panels.to; p++) {
        if (more) { /* the next row's, which comes from far */
            for (int k = 0; k < c->saves; k++)
                __builtin_prefetch(row[1].saved + k * job->H + p * L);
            for (int q = 0; q < c->states; q++)
                __builtin_prefetch(row[1].prev[q] + p * L);
            __builtin_prefetch(row[1].dy + p * L);
        }
        backward_point(c, back, phase, job, row, p * L, panel_step, vset(0), units);
    }
}

/* Points a row at what step s saved; pair is the index of (s, row) within the block. */
INLINE void backward_advance(const cell *c, const pyrnn_job *job, const pyrnn_block *b,
                             const backward_space *space, const real *zero, backward_row *row, ptrdiff_t s,
                             ptrdiff_t pair)
{
    ptrdiff_t index = job_offset(job, s) + row->p;
    ptrdiff_t before = s > 0 ? job_offset(job, s - 1) + row->p : 0, t = time_of(job, row->length, s);
    int cut = cut_before(job, row->row, row->length, s);
    for (int q = 0; q < c->states; q++) {
        const real *state0 = initial_state(c, job, zero, q, row->row);
        row->prev[q] = cut ? zero : s == 0 ? state0 : kept_state(c, job, q, before);
        row->next[q] = kept_state(c, job, q, index);
    }
    row->saved = kept_saves(c, job, index);
    row->dy = (const real *)job->dy + t * job->dy_step + row->row * job->dy_row;
    int cut_after = s + 1 < row->length && cut_before(job, row->row, row->length, s + 1);
    row->carry = cut_after ? CARRY_NONE : s == row->length - 1 || s == b->s1 - 1 ? CARRY_PAST : CARRY_BOTH;
    row->after = row->da;
    row->da = space->da + pair * c->slots * L;
    if (!c->general)
        return;
    row->read = row->prev[0];
    if (job->mask) {
        const real *all = masked_states(c, job);
        const ptrdiff_t width = state_width(c, &job->layer, 0);
        row->mask = (const real *)job->mask + row->row * width;
        row->read = cut ? zero : s == 0 ? all + row->p * width : all + (job->B + before) * width;
    }
    for (int q = 0; q < c->states; q++)
        if (zones(job, q))
            row->key[q] = noise_key(job->seed, q, t, row->row);
    cell_statistics(c, last_of_formula(c), row->saved, job->H, row->stats);
}

/* Lists the pair for the products. */
INLINE void backward_list(const cell *c, const pyrnn_job *job, const backward_space *space,
                          const backward_row *row, ptrdiff_t s, ptrdiff_t pair)
{
    ptrdiff_t t = time_of(job, row->length, s);
    space->x[pair] = (const real *)job->x + t * job->x_step + row->row * job->x_row;
    space->dx[pair] = job->dx ? (real *)job->dx + t * job->dx_step + row->row * job->dx_row : NULL;
    for (int i = 0; i < c->phases; i++)
        space->h[i][pair] = i > 0        ? row->saved + c->phase[i].source * job->H
                            : c->general ? row->read
                                         : row->prev[0];
}

/* One phase of one step for n rows, or, at the end of a block, COLLECT: the product of its first step alone, so
 * that da may be written anew. What arrives at phase p went through the product of phase p+1 of this step; what
 * arrives at the last phase, through that of phase 0 of the step after. */
enum { COLLECT = -1 };

/* The phase whose product leads to this one. */
INLINE int phase_through(const cell *c, int phase)
{
    return phase == COLLECT || phase == c->phases - 1 ? 0 : phase + 1;
}

/* How a part goes through a phase of n rows. */
ONCE static void backward_plan(const cell *c, const pyrnn_job *job, int phase, int parts, int part,
                               ptrdiff_t n, product_plan *plan)
{
    const int through = phase_through(c, phase);
    const ptrdiff_t units =
        phase == COLLECT ? phase_reads(c, &job->layer, 0) : phase_units(c, &job->layer, phase);
    plan_product(plan, job, n, part, panels_of_part(units, panels_at_once(1), parts, part), 1, L, units,
                 c->phase[through].count * phase_units(c, &job->layer, through), 1);
}

/* gradients.h: dx of some of the block's pairs. */
static void input_gradients(const cell *c, const pyrnn_job *job, const backward_space *space, ptrdiff_t pairs,
                            share mine);

/* In a chain, the block's dx and who waits for it: every few steps the rows that have been added since the last time.
 * They are independent products, with the same bits in any company. `pair` is the first that is there. */
NOINLINE static void backward_tell(const cell *c, const pyrnn_job *job, const pyrnn_block *b,
                                   const backward_space *space, ptrdiff_t pairs, ptrdiff_t pair, ptrdiff_t s,
                                   ptrdiff_t *told)
{
    if (s > b->s0 && (job->T - s) % LEAD != 0)
        return;
    input_gradients(c, job, space, pairs, (share){pair, *told});
    *told = pair;
    if (b->p1 == job->B)
        progress_tell(job->tells, job->T - s);
}
