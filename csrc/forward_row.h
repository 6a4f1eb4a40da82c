/* A row of the forward loop: where its states are, step by step, and its passage from pre-activations to the next state,
 * a panel of units at a time. */

/* A sequence of the strip on its way through the steps. */
struct forward_row {
    ptrdiff_t p, row, length; /* sorted number, row of the caller, steps */
    const real *prev[MAX_STATES]; /* state before the step */
    real *next[MAX_STATES]; /* where the state after it goes */
    real *saved; /* [K][H] of the step, NULL when nothing is to be kept */
    real *y; /* of the step, NULL when next[0] is it */
    /* Of a general cell: */
    const real *read; /* h before the step as its product reads it */
    const real *mask; /* that h is multiplied with for it, or NULL */
    real *masked; /* where h after the step goes, multiplied */
    uint32_t key[MAX_STATES];
    real stats[2 * MAX_NORMS]; /* of the phase */
};

/* The number of sequences among the first n (sorted) of this strip that have a step s. */
INLINE ptrdiff_t still_active(const forward_row *rows, ptrdiff_t n, ptrdiff_t s)
{
    while (n > 0 && rows[n - 1].length <= s)
        n--;
    return n;
}

/* The same for what only a general cell needs. */
INLINE void forward_advance_general(const cell *c, const pyrnn_job *job, const real *zero, forward_row *row,
                                    ptrdiff_t s, int cut)
{
    row->read = row->prev[0];
    if (job->mask) {
        const real *all = masked_states(c, job);
        const ptrdiff_t width = state_width(c, &job->layer, 0);
        row->mask = (const real *)job->mask + row->row * width;
        row->read = cut ? zero : s == 0 ? all + row->p * width : row->masked;
    }
    for (int q = 0; q < c->states; q++)
        if (zones(job, q))
            row->key[q] = noise_key(job->seed, q, time_of(job, row->length, s), row->row);
}

/* The initial h of a strip's rows as their first product reads it. */
static void forward_mask_initial(const cell *c, const pyrnn_job *job, const real *zero,
                                 const forward_row *rows, ptrdiff_t n)
{
    const ptrdiff_t width = state_width(c, &job->layer, 0);
    for (ptrdiff_t r = 0; r < n; r++) {
        const real *mask = (const real *)job->mask + rows[r].row * width;
        const real *h = initial_state(c, job, zero, 0, rows[r].row);
        real *masked = masked_states(c, job) + rows[r].p * width;
        for (ptrdiff_t j = 0; j < width; j++)
            masked[j] = h[j] * mask[j];
    }
}

/* Points a row at where its states go in step s, and at what it keeps. */
INLINE void forward_places(const cell *c, const pyrnn_job *job, forward_row *row, ptrdiff_t s)
{
    const ptrdiff_t index = job_offset(job, s) + row->p;
    real *y = (real *)job->y + time_of(job, row->length, s) * job->y_step + row->row * job->y_row;
    for (int q = 0; q < c->states; q++)
        if (job->saved)
            row->next[q] = kept_state(c, job, q, index);
        else
            row->next[q] = q == 0 ? y : (real *)job->state[q] + row->row * job->H;
    if (job->saved) {
        row->saved = kept_saves(c, job, index);
        row->y = y;
    }
    if (c->general && job->mask)
        row->masked = masked_states(c, job) + (job->B + index) * state_width(c, &job->layer, 0);
}

/* Points a row's states before and after step s. */
INLINE void forward_advance(const cell *c, const pyrnn_job *job, const real *zero, forward_row *row,
                            ptrdiff_t s)
{
    int cut = cut_before(job, row->row, row->length, s);
    for (int q = 0; q < c->states; q++) {
        const real *state0 = initial_state(c, job, zero, q, row->row);
        row->prev[q] = cut ? zero : s == 0 ? state0 : row->next[q];
    }
    if (c->general)
        forward_advance_general(c, job, zero, row, s, cut);
    forward_places(c, job, row, s);
}

/* A panel of state q after the step, of whose width n elements are left. */
INLINE void forward_state(const cell *c, const pyrnn_job *job, const forward_row *row, int q, ptrdiff_t j,
                          ptrdiff_t n, V s)
{
    if (c->general && zones(job, q))
        s = zone_state(job, q, row->key[q], j, get(row->prev[q] + j, n), s);
    if (c->general && job->mask && q == 0)
        put(row->masked + j, s * get(row->mask + j, n), n);
    put(row->next[q] + j, s, n);
    if (row->y && q == 0)
        put(row->y + j, s, n);
    if (job->order && q == 0) /* the next step's: no stream that the CPU would see coming */
        __builtin_prefetch((row->y ? row->y : row->next[0]) + j + step_of(job, job->y_step), 1);
}

/* A unit panel of one row: from pre-activations to the next state. `units` are the pack's, of a general cell. */
INLINE void forward_panel(const cell *c, point_function *point, int phase, const pyrnn_job *job,
                          const forward_row *row, ptrdiff_t j, const real *ax, const V *ah, const real *units)
{
    const int last = last_of_formula(c),
              first_state = c->projected ? 1 : 0; /* which is not the projection's */
    ptrdiff_t H = job->H, n = H - j;
    V a[MAX_GATES], s[MAX_STATES] = {0}, saved[MAX_SAVES];
    const place at = {&job->layer, c->peeps, units + j * own_weights(c), row->stats, NULL};
    for (int g = 0; g < c->gates; g++)
        a[g] = vloada(ax + g * L);
    for (int q = first_state; q < c->states; q++)
        s[q] = get(row->prev[q] + j, n);
    if (phase > 0)
        EACH_BIT (k, 0, c->saves, c, c->phase[phase].reads)
            saved[k] = get(row->saved + k * H + j, n);
    point(phase, a, ah, s, saved, c->general ? &at : NULL);
    if (c->general && job->mask && phase < last && c->phase[phase + 1].count > 0)
        saved[c->phase[phase + 1].source] *= get(row->mask + j, n);
    if (c->projected && phase == last)
        saved[c->saves - 1] = s[0];
    /* Without a way back, what no phase will read is not kept. */
    const int from = c->projected && phase == last && !job->saved ? c->saves - 1 : 0;
    if (row->saved)
        EACH_BIT (k, from, c->saves, c, c->phase[phase].saves)
            put(row->saved + k * H + j, saved[k], n);
    if (phase == last)
        for (int q = first_state; q < c->states; q++)
            forward_state(c, job, row, q, j, n, s[q]);
}

/* The same, or a panel of the projection. */
INLINE void forward_part(const cell *c, point_function *point, int phase, const pyrnn_job *job,
                         const forward_row *row, ptrdiff_t j, const real *ax, const V *ah, const real *units)
{
    if (projects(c, phase))
        forward_state(c, job, row, 0, j, job->layer.projection - j, ah[0]);
    else
        forward_panel(c, point, phase, job, row, j, ax, ah, units);
}

/* The same for all general cells in one function: their point is called through a pointer anyway. */
NOINLINE static void forward_general(const cell *c, point_function *point, int phase, const pyrnn_job *job,
                                     const forward_row *row, ptrdiff_t j, const real *ax, const V *ah,
                                     const real *units)
{
    if (!c->general)
        __builtin_unreachable();
    forward_part(c, point, phase, job, row, j, ax, ah, units);
}

INLINE void forward_point(const cell *c, point_function *point, int phase, const pyrnn_job *job,
                          const forward_row *row, ptrdiff_t j, const real *ax, const V *ah, const real *units)
{
    if (!known(c))
        forward_general(c, point, phase, job, row, j, ax, ah, units);
    else
        forward_part(c, point, phase, job, row, j, ax, ah, units);
}

/* Asks for n elements at once. */
INLINE void ask_for_row(const real *a, ptrdiff_t n)
{
    for (ptrdiff_t j = 0; j < n; j += LINE / (ptrdiff_t)sizeof(real))
        __builtin_prefetch(a + j);
}

/* What the product of a phase reads. */
INLINE const real *forward_reads(const cell *c, int phase, const pyrnn_job *job, const forward_row *row)
{
    if (phase > 0)
        return row->saved + c->phase[phase].source * job->H;
    return c->general ? row->read : row->prev[0];
}

/* The phase of a row that has no product: a pass over its units, compiled for itself (cells.def) where the cell has but
 * that and no options. */
INLINE void forward_alone(const cell *c, point_function *point, int phase, const pyrnn_job *job,
                          const real *units, share panels, const forward_row *row, const real *ax,
                          ptrdiff_t ax_panel)
{
    if (!known(c) && job->form == PLAIN_CELL && alones[job->layer.cell].forward) {
        alones[job->layer.cell].forward(job, panels, row, ax, ax_panel);
        return;
    }
    for (ptrdiff_t p = panels.from; p < panels.to; p++)
        forward_point(c, point, phase, job, row, p * L, ax + p * ax_panel, nothing, units);
}

/* Panels that every product of a step takes at once. */
INLINE int forward_grain(const cell *c)
{
    int grain = panels_at_once(c->gates);
    for (int i = 0; i < c->phases; i++)
        grain = (int)max_of(grain, panels_at_once(c->phase[i].count));
    return grain;
}

/* How a part goes through a phase of n rows. */
ONCE static void forward_plan(const cell *c, const pyrnn_job *job, int phase, int parts, int part,
                              ptrdiff_t n, product_plan *plan)
{
    const share panels = panels_of_part(phase_units(c, &job->layer, phase), forward_grain(c), parts, part);
    plan_product(plan, job, n, part, panels, c->phase[phase].count, last_lanes(c, job->H), job->H,
                 phase_reads(c, &job->layer, phase), 1);
}
