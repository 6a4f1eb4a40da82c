/* The time loop forward. A thread runs its rows from the first step to the last, in strips of rows, in blocks
 * of steps: the input part of a block's pre-activations is one product that stays in the level-2 cache; then,
 * step by step, each tile's recurrent part is accumulated in registers and meets it in `point`. */

/* The input part of n pairs for a group of `vecs` vectors, w and bias theirs, with few inputs; where product would put it,
 * and the same sums. */
INLINE void project_few(int vecs, ptrdiff_t I, const real *const *x, ptrdiff_t n, const real *w,
                        const V *bias, const grid *out)
{
    for (ptrdiff_t i = 0; i < n; i++) {
        V sum[MAX_VECS] = {0};
        for (ptrdiff_t k = 0; k < I; k++)
#pragma GCC unroll 4
            for (int v = 0; v < vecs; v++)
                sum[v] = vfma(vset(x[i][k]), vloada(w + (k * vecs + v) * L), sum[v]);
#pragma GCC unroll 4
        for (int v = 0; v < vecs; v++)
            vstorea(out->at + i * out->row + out->vec[v], bias[v] + sum[v]);
    }
}

NOINLINE static void project_vecs(int vecs, ptrdiff_t I, const real *const *x, ptrdiff_t n, const real *w,
                                  const V *bias, const grid *out)
{
    switch (vecs * 2 + (I == 1)) {
    default: __builtin_unreachable();
#define VECS(m)                                                                                              \
    case (m) * 2: project_few(m, I, x, n, w, bias, out); break;                                              \
    case (m) * 2 + 1: project_few(m, 1, x, n, w, bias, out); break;
        VECS(1)
        VECS(2)
        VECS(3)
        VECS(4)
#undef VECS
    }
}

/* ax[panel][pair][G][L] = bias + x @ W for n (step, row) pairs whose inputs are x[0..n-1]. */
NOINLINE static void project(const cell *c, const pyrnn_job *job, const real *packed, share panels,
                             const real *const *x, ptrdiff_t n, real *ax)
{
    const packed_layout lay = layout_of(c, PYRNN_FORWARD, &job->layer);
    const ptrdiff_t I = job->I, width = c->gates * L;
    const span k = span_of(I);
    const int lanes = last_lanes(c, job->H);
    product_plan plan;
    plan_product(&plan, job, n, 0, panels, c->gates, lanes, job->H, I, 0);
    pass *walk = &plan.walk;
    walk->back = job->back;
    grid out = {.row = width};
    for (int v = 0; v < walk->at_once * c->gates; v++)
        out.vec[v] = v / c->gates * n * width + v % c->gates * L;
    for (ptrdiff_t i = 0; i < walk->bites; i++) {
        const bite b = pass_bite(walk, i);
        const real *w = packed + lay.w + b.panel * I * width;
        const V *bias = (const V *)(packed + lay.bias_x + b.panel * width);
        out.at = ax + b.panel * n * width;
        if (n == 1)
            product_of_row(b.groups, b.vecs, 0, (V *)out.at, bias, x[0], &k, w, b.vecs * L * I);
        else if (I <= FEW)
            project_vecs(b.vecs, I, x, n, w, bias, &out);
        else
            for (ptrdiff_t tile = 0, r = 0; tile < plan.split.tiles; tile++) {
                int rows = split_size(&plan.split, tile);
                const ptrdiff_t soon = min_of(r + 2 * rows, n); /* rows of the tile after the next */
                if (job->order && i == 0) /* as in forward_state */
                    for (ptrdiff_t next = soon; next < min_of(soon + rows, n); next++)
                        ask_for_row(x[next], I);
                product(rows, b.vecs, &out, bias, x + r, &k, w,
                        ahead_of(plan.far ? w + I * b.vecs * L : NULL, tile, I, b.vecs));
                r += rows, out.at += rows * width;
            }
    }
    if (walk->narrow)
        spread(c->gates, lanes, n, ax + (panels.to - 1) * n * width, width);
}

/* The phase up to which a row may go on, without waiting for others, once it has begun this one. */
INLINE int forward_until(const cell *c, int phase, const pyrnn_walk *me)
{
    int until = phase + 1;
    while (c->general && me->parts == 1 && c->phase[phase].count == 0 && until < c->phases &&
           c->phase[until].count == 0)
        until++;
    return until;
}

/* One phase of one step for the rows of the plan; panel p of row r has its input part at ax + p*ax_panel + r*G*L. */
INLINE void forward_phase(const cell *c, point_function *point, int phase, int until, const pyrnn_job *job,
                          const real *packed, const packed_layout *lay, const product_plan *plan,
                          forward_row *rows, const real *ax, ptrdiff_t ax_panel, coming *then)
{
    const int count = c->phase[phase].count, width = count * L;
    const ptrdiff_t K = phase_reads(c, &job->layer, phase), n = plan->rows;
    const span k = span_of(K);
    const pass *walk = &plan->walk;
    if (without_product(c, phase)) {
        /* Who has only some of the panels takes the statistics of whole rows all the same. */
        for (ptrdiff_t r = 0; r < n; r++)
            for (int part = phase; part < until; part++) {
                cell_statistics(c, part, rows[r].saved, job->H, rows[r].stats);
                forward_alone(c, point, part, job, packed + lay->units, walk->panels, rows + r,
                              ax + r * c->gates * L, ax_panel);
            }
        return;
    }
    if (job->by_units) /* what others have just written comes from their caches: all of it at once, not line by line */
        for (ptrdiff_t r = 0; r < n; r++)
            ask_for_row(forward_reads(c, phase, job, rows + r), K);
    for (ptrdiff_t i = 0; i < walk->bites; i++) {
        const bite b = pass_bite(walk, i);
        const real *w = packed + lay->r[phase] + b.panel * K * width, *next = NULL;
        const V *bias = (const V *)(packed + lay->bias_h[phase] + b.panel * width);
        if (plan->far && i + 1 < walk->bites)
            next = packed + lay->r[phase] + pass_bite(walk, i + 1).panel * K * width;
        for (ptrdiff_t tile = 0, r0 = 0; tile < plan->split.tiles; r0 += split_size(&plan->split, tile++)) {
            const real *a[MAX_ROWS];
            V ah[MAX_ROWS * MAX_VECS];
            const grid out = {(real *)ah, b.panels * width, {0, L, 2 * L, 3 * L}};
            int height = split_size(&plan->split, tile);
            for (int r = 0; r < height; r++)
                a[r] = forward_reads(c, phase, job, rows + r0 + r);
            if (n == 1)
                product_of_row(b.groups, b.vecs, b.more, ah, bias, a[0], &k, w, b.vecs * L * K);
            else
                product(height, b.vecs, &out, bias, a, &k, w,
                        next ? ahead_of(next, tile, K, b.vecs) : coming_next(then, K));
            if (b.spread >= 0)
                spread(count, last_lanes(c, job->H), height, (real *)(ah + b.spread), width);
            for (int p = 0; p < b.all; p++)
                for (int r = 0; r < height; r++)
                    forward_point(c, point, phase, job, rows + r0 + r, (b.panel + p) * L,
                                  ax + (b.panel + p) * ax_panel + (r0 + r) * c->gates * L,
                                  ah + r * b.panels * count + p * count, packed + lay->units);
        }
    }
}

/* The work of one walk through the steps, carved up: what its threads share, and what each keeps to itself. */
typedef struct {
    forward_row *rows;
    const real **x;
    real *ax, *scratch;
} forward_space;

#define PART(bytes)                                                                                          \
    (at ? at + used : NULL);                                                                                 \
    used += ((bytes) + 63) / 64 * 64

static size_t forward_shared(const cell *c, const pyrnn_job *job, char *at, forward_space *space)
{
    size_t used = 0, block = (size_t)job->block, strip = (size_t)job->strip;
    size_t units = (size_t)(panels_of(job->H) * L);
    space->ax = (real *)PART(block * units * c->gates * sizeof(real));
    space->scratch = (real *)PART(c->phases > 1 ? strip * c->saves * (size_t)job->H * sizeof(real) : 0);
    return used;
}

static size_t forward_own(const pyrnn_job *job, char *at, forward_space *space)
{
    size_t used = 0;
    space->rows = (forward_row *)PART((size_t)job->strip * sizeof(forward_row));
    space->x = (const real **)PART((size_t)job->block * sizeof(real *));
    return used;
}
#undef PART

/* Beyond a length y is zero; the final state is that of the last step, or the initial one where there is
 * none. */
static void forward_end(const cell *c, const pyrnn_job *job, const real *zero, const forward_row *row)
{
    for (ptrdiff_t t = row->length; t < job->T; t++)
        memset((real *)job->y + t * job->y_step + row->row * job->y_row, 0,
               sizeof(real) * (size_t)state_width(c, &job->layer, 0));
    for (int q = 0; q < c->states; q++) {
        const ptrdiff_t width = state_width(c, &job->layer, q);
        const real *last = row->length > 0 ? row->next[q] : initial_state(c, job, zero, q, row->row);
        real *state = (real *)job->state[q] + row->row * width;
        if (last != state)
            memcpy(state, last, sizeof(real) * (size_t)width);
    }
}

/* Steps whose x is there, at least one after step s: waits for a few, which make a tile of the product. */
INLINE ptrdiff_t forward_known(const pyrnn_job *job, ptrdiff_t s)
{
    return job->behind ? (ptrdiff_t)pyrnn_await(job->behind, min_of(s + LEAD, job->T)) : job->T;
}

/* Some steps of n rows, of which each has the first; panel p has its input part of that at ax + p*ax_panel. */
INLINE void forward_steps(const cell *c, point_function *point, const pyrnn_job *job,
                          const packed_layout *lay, pyrnn_walk *me, product_plan *plans, forward_row *rows,
                          ptrdiff_t n, share steps, const real *ax, ptrdiff_t ax_panel, pyrnn_progress *tells)
{
    const real *packed = (const real *)job->packed;
    for (ptrdiff_t s = steps.from; s < steps.to; s++) {
        n = still_active(rows, n, s);
        for (ptrdiff_t r = 0; r < n; r++)
            forward_advance(c, job, packed + lay->zero, rows + r, s);
        coming then; /* what nobody fills costs nothing */
        then.left = 0;
        const ptrdiff_t soon = s + coming_steps(n);
        if (me->parts == 1 && soon < job->T && (n > 1 || job->saved))
            coming_step(c, job, soon, soon, rows[0].p, rows[n - 1].p + 1 - rows[0].p, job->y, job->y_step,
                        job->y_row, &then);
        for (int phase = 0, until; phase < c->phases; phase = until) {
            until = forward_until(c, phase, me);
            EACH_PART (part, me) {
                product_plan *plan = plans + phase;
                if (!is_planned(plan, n, part))
                    forward_plan(c, job, phase, me->parts, part, n, plan);
                plan->walk.back = (s & 1) ^ job->back;
                forward_phase(c, point, phase, until, job, packed, lay, plan, rows, ax, ax_panel, &then);
            }
        }
        ax += n * c->gates * L;
        if (tells)
            progress_tell(tells, s + 1);
    }
}

/* Some steps of the rows of one strip. */
INLINE void forward_strip(const cell *c, point_function *point, const pyrnn_job *job, pyrnn_walk *me,
                          const forward_space *space, ptrdiff_t n, share steps)
{
    const real *packed = (const real *)job->packed;
    const packed_layout lay = layout_of(c, PYRNN_FORWARD, &job->layer);
    const int grain = forward_grain(c);
    forward_row *rows = space->rows;
    const ptrdiff_t in_strip = n;
    if (c->general && job->mask && steps.from == 0)
        EACH_PART (part, me)
            if (part == 0)
                forward_mask_initial(c, job, packed + lay.zero, rows, n);
    /* Who reads y must not wait long for the first of it, and finds the strips before this one done. */
    ptrdiff_t most = job->tells ? LEAD : job->T;
    pyrnn_progress *tells = rows[n - 1].p == job->B - 1 ? job->tells : NULL;
    product_plan plans[MAX_PHASES];
    for (int phase = 0; phase < c->phases; phase++)
        plans[phase].rows = -1;
    for (ptrdiff_t s = steps.from; s < steps.to && (n = still_active(rows, n, s)) > 0;
         most = min_of(2 * most, job->T)) {
        ptrdiff_t pairs = 0, end = s, until = min_of(min_of(forward_known(job, s), s + most), steps.to);
        for (ptrdiff_t m = n; m > 0 && end < until && pairs + m <= job->block;
             m = still_active(rows, m, ++end))
            for (ptrdiff_t r = 0; r < m; r++)
                space->x[pairs++] = (const real *)job->x + time_of(job, rows[r].length, end) * job->x_step +
                                    rows[r].row * job->x_row;
        if (!job->ahead)
            EACH_PART (part, me)
                project(c, job, packed, panels_of_part(job->H, grain, me->parts, part), space->x, pairs,
                        space->ax);
        if (is_single(c, job))
            forward_single(c, point, job, &lay, me, plans, rows, (share){s, end}, space->ax,
                           pairs * c->gates * L, tells);
        else
            forward_steps(c, point, job, &lay, me, plans, rows, n, (share){s, end}, space->ax,
                          pairs * c->gates * L, tells);
        s = end;
    }
    if (steps.to < job->T)
        return;
    EACH_PART (part, me)
        for (ptrdiff_t r = part; r < in_strip; r += me->parts)
            forward_end(c, job, packed + lay.zero, rows + r);
}

/* The spaces of some steps; the bytes at `own` that are taken. Where the time loop runs ahead, two blocks have theirs in turn. */
static size_t forward_spaces(const cell *c, const pyrnn_job *job, char *own, share steps,
                             forward_space *space)
{
    if (!job->by_units && !job->ahead)
        return forward_shared(c, job, own, space);
    const ptrdiff_t turn = job->ahead ? steps.from / job->steps % 2 : 0;
    forward_shared(c, job, job->work + (size_t)turn * job->work_shared / 2, space);
    return 0;
}

/* The input part of a block of the only row that `number` has, for a part of the panels. */
static void project_ahead(const pyrnn_job *job, share steps, int number, int part, int parts)
{
    const cell its = cell_of(&job->layer), *c = &its;
    const ptrdiff_t row = job_row(job, 0), length = job_length(job, 0);
    const ptrdiff_t pairs = max_of(min_of(steps.to, length) - steps.from, 0);
    forward_space space;
    forward_spaces(c, job, NULL, steps, &space);
    forward_own(job, job->work + job->work_shared + (size_t)number * job->work_thread, &space);
    for (ptrdiff_t i = 0; i < pairs; i++)
        space.x[i] =
            (const real *)job->x + time_of(job, length, steps.from + i) * job->x_step + row * job->x_row;
    project(c, job, (const real *)job->packed, panels_of_part(job->H, forward_grain(c), parts, part), space.x,
            pairs, space.ax);
}

/* Some steps of all rows, by units; or of those of part `number`, alone. */
INLINE void forward(const cell *c, point_function *point, const pyrnn_job *job, pyrnn_walk *me, int number,
                    share steps)
{
    forward_space space;
    char *own = job->work + job->work_shared + (size_t)number * job->work_thread;
    const row_share mine = rows_of_part(job, 0, job->B, number);
    forward_own(job, own + forward_spaces(c, job, own, steps, &space), &space);
    for (ptrdiff_t p = mine.first, n; p < mine.end;) {
        for (n = 0; p < mine.end && n < job->strip; p += mine.step, n++) {
            forward_row *row = space.rows + n;
            *row = (forward_row){.p = p,
                                 .row = job_row(job, p),
                                 .length = job_length(job, p),
                                 .saved = c->phases > 1 ? space.scratch + n * c->saves * job->H : NULL};
            if (steps.from > 0 && row->length > 0) /* as if it came from the step before, or its last one */
                forward_places(c, job, row, min_of(steps.from, row->length) - 1);
        }
        forward_strip(c, point, job, me, &space, n, steps);
    }
}

/* Steps that threads which share out rows go through in a round: two milliseconds, and whole blocks. One that comes late, since
 * somebody else had its core, is not missed for longer. */
static ptrdiff_t forward_round(const pyrnn_job *job)
{
    const double flops_each = 2e8;
    if (job->threads == 1 || job->by_units)
        return job->T;
    const ptrdiff_t block = max_of(job->block / job->strip, 1);
    const double blocks = flops_each * job->threads * (double)job->T / (job->flops * (double)block);
    return blocks * (double)block < (double)job->T ? max_of((ptrdiff_t)blocks, 1) * block : job->T;
}

/* Blocks: a quarter of the level-2 cache for the pre-activations, so that R's panels and the states find room
 * beside them; 64 pairs at least, for a strip of few rows would stream R anew for each; and 6 MB at most over
 * all threads. A single sequence whose time loop runs ahead has eight of them, or whole tiles: 24 is a multiple of each. */
ONCE static void plan_forward(pyrnn_job *job)
{
    const cell its = resolved(&job->layer), *c = &its;
    const int allowed = job->threads;
    choose_split(job, c, forward_grain(c));
    ptrdiff_t pair = panels_of(job->H) * L * c->gates * (ptrdiff_t)sizeof(real);
    ptrdiff_t most = max_of((6 << 20) / job->threads / pair, 8);
    ptrdiff_t rows = job->by_units ? job->B : (job->B + job->threads - 1) / job->threads;
    ptrdiff_t pairs = job->T > 0 && rows > PTRDIFF_MAX / job->T ? PTRDIFF_MAX : rows * job->T;
    job->block = min_of(min_of(max_of((ptrdiff_t)(job->l2 / 4) / pair, 64), most), pairs);
    job->strip = max_of(min_of(rows, job->block), 1);
    job->steps = forward_round(job);
    job->ahead = job->B == 1 && !job->by_units && allowed > 1 && job->I > FEW && c->phase[0].count > 0;
    if (job->ahead) {
        job->threads = allowed;
        job->block = job->steps = min_of(job->block, max_of(job->T / 8, 24));
    }
    forward_space space;
    size_t shared = forward_shared(c, job, NULL, &space);
    job->work_shared = job->by_units ? shared : job->ahead ? 2 * shared : 0;
    job->work_thread = forward_own(job, NULL, &space) + (job->by_units || job->ahead ? 0 : shared);
}
