/* One step of one row, whose time is its latency: what forward() finds out anew in each call stands ready, and
 * the input part stays at hand. The recurrence is forward.h's. More rows go through forward(). */

typedef struct {
    pyrnn_prepared prepared;
    packed_layout lay;
    forward_space space; /* the job's, for one row */
    pass walk[MAX_PHASES];
} step_memory;

ONCE static void step_init(pyrnn_prepared *prepared)
{
    step_memory *step = (step_memory *)prepared;
    const pyrnn_job *job = &prepared->job;
    const cell its = cell_of(&job->layer), *c = &its;
    step->lay = layout_of(c, PYRNN_FORWARD, &job->layer);
    size_t used = forward_shared(c, job, job->work, &step->space);
    forward_own(job, job->work + used, &step->space);
    for (int phase = 0; phase < c->phases; phase++)
        step->walk[phase] =
            pass_of((share){0, panels_of(job->H)}, c->phase[phase].count, last_lanes(c, job->H), job->H, 1,
                    (c->phases == 1 ? job->I : 0) + job->H, near_reals(job), 1);
}

/* product_of_row for a few k: the same sums, vector after vector. */
INLINE void product_of_few(int groups, int vecs, int more, V *out, const V *init, const real *a, ptrdiff_t n,
                           const real *w, ptrdiff_t w_step)
{
    for (int group = 0; group < groups + (more > 0); group++, w += w_step) {
        const int here = group < groups ? vecs : more;
        for (int v = 0; v < here; v++) {
            V sum = vset(0);
            for (ptrdiff_t k = 0; k < n; k++)
                sum = vfma(vset(a[k]), vloada(w + (k * here + v) * L), sum);
            *out++ = *init++ + sum;
        }
    }
}

/* A phase of the only row; where there is one phase, its input part too. */
INLINE void step_phase(const cell *c, point_function *point, int phase, const step_memory *step,
                       const forward_row *row, const real *x)
{
    const pyrnn_job *job = &step->prepared.job;
    const int count = c->phase[phase].count;
    const ptrdiff_t I = job->I, H = job->H;
    const real *packed = (const real *)job->packed;
    const real *a = phase == 0 ? row->prev[0] : row->saved + c->phase[phase].source * H;
    const span of_x = span_of(I), of_h = span_of(H);
    pass walk = step->walk[phase];
    walk.back = job->back;
    for (ptrdiff_t i = 0; i < walk.bites; i++) {
        const bite b = pass_bite(&walk, i);
        const ptrdiff_t at = b.panel * count * L;
        const real *ax = step->space.ax + b.panel * c->gates * L;
        V input[MAX_SUMS], ah[MAX_SUMS];
        if (c->phases == 1) {
            const V *bias = (const V *)(packed + step->lay.bias_x + at);
            const real *w = packed + step->lay.w + at * I;
            if (I <= FEW)
                product_of_few(b.groups, b.vecs, b.more, input, bias, x, I, w, b.vecs * L * I);
            else
                product_of_row(b.groups, b.vecs, b.more, input, bias, x, &of_x, w, b.vecs * L * I);
            ax = (const real *)input;
        }
        product_of_row(b.groups, b.vecs, b.more, ah, (const V *)(packed + step->lay.bias_h[phase] + at), a,
                       &of_h, packed + step->lay.r[phase] + at * H, b.vecs * L * H);
        if (b.spread >= 0) {
            spread(count, last_lanes(c, H), 1, (real *)(input + b.spread), 0);
            spread(count, last_lanes(c, H), 1, (real *)(ah + b.spread), 0);
        }
        for (int p = 0; p < b.all; p++)
            forward_point(c, point, phase, job, row, (b.panel + p) * L, ax + p * c->gates * L, ah + p * count,
                          NULL);
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

/* A step of any number of rows, and of any cell. */
INLINE void step_rows(void (*forward_all)(const pyrnn_job *job, pyrnn_walk *me, int number, share steps),
                      pyrnn_prepared *prepared, const void *x, const void *const *state0, void *const *state,
                      void *y)
{
    pyrnn_job *job = &prepared->job;
    job->back ^= 1; /* begins with the weights that the step before left in the cache */
    job->x = x;
    job->y = y ? y : prepared->h;
    for (int q = 0; q < cells[job->layer.cell]->states; q++)
        job->state0[q] = state0[q], job->state[q] = state[q];
    pyrnn_walk alone = walk_alone();
    forward_all(job, &alone, 0, (share){0, 1});
}

/* `forward_all` is the cell's forward(), which is not to be inlined a second time. */
INLINE void step(const cell *c, point_function *point,
                 void (*forward_all)(const pyrnn_job *job, pyrnn_walk *me, int number, share steps),
                 pyrnn_prepared *prepared, const void *x, const void *const *state0, void *const *state,
                 void *y)
{
    if (c->general || prepared->job.B != 1) {
        step_rows(forward_all, prepared, x, state0, state, y);
        return;
    }
    prepared->job.back ^= 1;
    step_row(c, point, (const step_memory *)prepared, x, state0, state, y);
}
