/* One step of one row, whose time is its latency: what forward() finds out anew in each call stands ready, products
 * are inline, and the input part stays in registers. The recurrence is forward.h's. More rows go through forward(). */

typedef struct {
    pyrnn_prepared prepared;
    packed_layout lay;
    forward_space space; /* the job's, for one row */
} step_memory;

static void step_init(int id, pyrnn_prepared *prepared)
{
    const cell *c = cells[id];
    step_memory *step = (step_memory *)prepared;
    const pyrnn_job *job = &prepared->job;
    step->lay = layout_of(c, PYRNN_FORWARD, job->I, job->H);
    forward_space_of(c, job, job->work, &step->space);
}

/* m panels, a constant, of the only row; where there is one phase, their input part too. */
INLINE void step_panels(const cell *c, point_function *point, int phase, const step_memory *step,
                        const forward_row *row, const real *x, ptrdiff_t panel, int m)
{
    const int count = c->phase[phase].count, vecs = m * count;
    const pyrnn_job *job = &step->prepared.job;
    const real *packed = (const real *)job->packed, *ax = step->space.ax + panel * c->gates * L;
    const real *a = phase == 0 ? row->prev[0] : row->saved + c->phase[phase].source * job->H;
    ptrdiff_t at = panel * count * L;
    V input[MAX_VECS], ah[MAX_VECS];
    if (c->phases == 1) {
        product_row(vecs, input, (const V *)(packed + step->lay.bias_x + at), x, (span){1, job->I, 0},
                    packed + step->lay.w + at * job->I);
        ax = (const real *)input;
    }
    product_row(vecs, ah, (const V *)(packed + step->lay.bias_h[phase] + at), a, (span){1, job->H, 0},
                packed + step->lay.r[phase] + at * job->H);
#pragma GCC unroll 4
    for (int i = 0; i < m; i++)
        forward_point(c, point, phase, job, row, (panel + i) * L, ax + i * c->gates * L, ah + i * count);
}

INLINE void step_phase(const cell *c, point_function *point, int phase, const step_memory *step,
                       const forward_row *row, const real *x)
{
    const int most = panels_at_once(c->phase[phase].count);
    ptrdiff_t panel = 0, panels = panels_of(step->prepared.job.H);
    for (; panel + most <= panels; panel += most)
        step_panels(c, point, phase, step, row, x, panel, most);
    switch (panels - panel) {
    case 3:
        if (most > 3)
            step_panels(c, point, phase, step, row, x, panel, 3);
        break;
    case 2:
        if (most > 2)
            step_panels(c, point, phase, step, row, x, panel, 2);
        break;
    case 1:
        if (most > 1)
            step_panels(c, point, phase, step, row, x, panel, 1);
        break;
    }
}

/* In place, h is still read where its new value would go: that goes to y, or else aside, and then to its place. */
INLINE void step_row(const cell *c, point_function *point, const step_memory *step, const real *x,
                     const void *const *state0, void *const *state, real *y)
{
    const pyrnn_job *job = &step->prepared.job;
    const real *packed = (const real *)job->packed;
    int in_place = state0[0] == state[0];
    forward_row row = {.saved = c->phases > 1 ? step->space.scratch : NULL, .y = in_place ? NULL : y};
    for (int q = 0; q < c->states; q++) {
        row.prev[q] = state0[q] ? (const real *)state0[q] : packed + step->lay.zero;
        row.next[q] = state[q];
    }
    if (in_place)
        row.next[0] = y ? y : step->prepared.h;
    if (c->phases > 1)
        project(c, job, packed, (share){0, panels_of(job->H)}, &x, 1, step->space.ax);
    for (int phase = 0; phase < c->phases; phase++)
        step_phase(c, point, phase, step, &row, x);
    if (in_place)
        memcpy(state[0], row.next[0], sizeof(real) * (size_t)job->H);
}

/* `forward_all` is the cell's forward(), which is not to be inlined a second time. */
INLINE void step(const cell *c, point_function *point, void (*forward_all)(const pyrnn_job *job, int thread),
                 pyrnn_prepared *prepared, const void *x, const void *const *state0, void *const *state,
                 void *y)
{
    pyrnn_job *job = &prepared->job;
    if (job->B == 1) {
        step_row(c, point, (const step_memory *)prepared, x, state0, state, y);
        return;
    }
    job->x = x;
    job->y = y ? y : prepared->h;
    for (int q = 0; q < c->states; q++)
        job->state0[q] = state0[q], job->state[q] = state[q];
    forward_all(job, 0);
}
