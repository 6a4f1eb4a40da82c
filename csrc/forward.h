/* The time loop forward. A thread runs its rows from the first step to the last, in strips of rows, in blocks
 * of steps: the input part of a block's pre-activations is one product that stays in the level-2 cache; then,
 * step by step, each tile's recurrent part is accumulated in registers and meets it in `point`. */

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
        real *all = masked_states(c, job);
        const ptrdiff_t width = state_width(c, job->H, 0);
        row->mask = (const real *)job->mask + row->row * width;
        row->read = cut ? zero : s == 0 ? all + row->p * width : row->masked;
        row->masked = all + (job->B + job_offset(job, s) + row->p) * width;
    }
    for (int q = 0; q < c->states; q++)
        if (zones(job, q))
            row->key[q] = noise_key(job->seed, q, time_of(job, row->length, s), row->row);
}

/* The initial h of a strip's rows as their first product reads it. */
static void forward_mask_initial(const cell *c, const pyrnn_job *job, const real *zero,
                                 const forward_row *rows, ptrdiff_t n)
{
    const ptrdiff_t width = state_width(c, job->H, 0);
    for (ptrdiff_t r = 0; r < n; r++) {
        const real *mask = (const real *)job->mask + rows[r].row * width;
        const real *h = initial_state(c, job, zero, 0, rows[r].row);
        real *masked = masked_states(c, job) + rows[r].p * width;
        for (ptrdiff_t j = 0; j < width; j++)
            masked[j] = h[j] * mask[j];
    }
}

/* Points a row's states before and after step s. */
INLINE void forward_advance(const cell *c, const pyrnn_job *job, const real *zero, forward_row *row,
                            ptrdiff_t s)
{
    ptrdiff_t index = job_offset(job, s) + row->p;
    real *y = (real *)job->y + time_of(job, row->length, s) * job->y_step + row->row * job->y_row;
    int cut = cut_before(job, row->row, row->length, s);
    for (int q = 0; q < c->states; q++) {
        const real *state0 = initial_state(c, job, zero, q, row->row);
        row->prev[q] = cut ? zero : s == 0 ? state0 : row->next[q];
        if (job->saved)
            row->next[q] = kept_state(c, job, q, index);
        else
            row->next[q] = q == 0 ? y : (real *)job->state[q] + row->row * job->H;
    }
    if (job->saved) {
        row->saved = kept_saves(c, job, index);
        row->y = y;
    }
    if (c->general)
        forward_advance_general(c, job, zero, row, s, cut);
}

/* ax[panel][pair][G][L] = bias + x @ W for n (step, row) pairs whose inputs are x[0..n-1]. */
NOINLINE static void project(const cell *c, const pyrnn_job *job, const real *packed, share panels,
                             const real *const *x, ptrdiff_t n, real *ax)
{
    const packed_layout lay = layout_of(c, PYRNN_FORWARD, job->I, job->H);
    const ptrdiff_t I = job->I, width = c->gates * L;
    const span k = {1, I, 0};
    const pass walk = pass_of(panels, c->gates, n, job->back);
    const int far = far_away(job, (panels.to - panels.from) * I * width);
    const row_split split = split_rows(n, tile_rows(walk.at_once * c->gates));
    target out = {.row = width};
    for (int v = 0; v < walk.at_once * c->gates; v++)
        out.vec[v] = v / c->gates * n * width + v % c->gates * L;
    for (ptrdiff_t i = 0; i < walk.bites; i++) {
        const bite b = pass_bite(&walk, i);
        const real *w = packed + lay.w + b.panel * I * width;
        const V *bias = (const V *)(packed + lay.bias_x + b.panel * width);
        int vecs = b.panels * c->gates;
        out.at = ax + b.panel * n * width;
        if (n == 1)
            product_of_row(b.groups, vecs, (V *)out.at, bias, x[0], k, w, vecs * L * I);
        else
            for (ptrdiff_t tile = 0, r = 0; tile < split.tiles; tile++) {
                int rows = split_size(&split, tile);
                product(rows, vecs, &out, bias, x + r, k, w,
                        ahead_of(far ? w + I * vecs * L : NULL, tile, I, vecs));
                r += rows, out.at += rows * width;
            }
    }
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
}

/* A unit panel of one row: from pre-activations to the next state. `units` are the pack's, of a general cell. */
INLINE void forward_panel(const cell *c, point_function *point, int phase, const pyrnn_job *job,
                          const forward_row *row, ptrdiff_t j, const real *ax, const V *ah, const real *units)
{
    const int last = last_of_formula(c),
              first_state = c->projected ? 1 : 0; /* which is not the projection's */
    ptrdiff_t H = job->H, n = H - j;
    V a[MAX_GATES], s[MAX_STATES] = {0}, saved[MAX_SAVES];
    const place at = {&job->layer, units + j * own_weights(c), row->stats, NULL};
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

/* The same for all general cells in one function: their point is called through a pointer anyway. */
NOINLINE static void forward_general(const cell *c, point_function *point, int phase, const pyrnn_job *job,
                                     const forward_row *row, ptrdiff_t j, const real *ax, const V *ah,
                                     const real *units)
{
    if (!c->general)
        __builtin_unreachable();
    if (projects(c, phase))
        forward_state(c, job, row, 0, j, c->projected - j, ah[0]);
    else
        forward_panel(c, point, phase, job, row, j, ax, ah, units);
}

INLINE void forward_point(const cell *c, point_function *point, int phase, const pyrnn_job *job,
                          const forward_row *row, ptrdiff_t j, const real *ax, const V *ah, const real *units)
{
    if (c->general)
        forward_general(c, point, phase, job, row, j, ax, ah, units);
    else
        forward_panel(c, point, phase, job, row, j, ax, ah, units);
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
    if (c->general && !job->general && alones[job->layer.cell].forward) {
        alones[job->layer.cell].forward(job, panels, row, ax, ax_panel);
        return;
    }
    for (ptrdiff_t p = panels.from; p < panels.to; p++)
        forward_point(c, point, phase, job, row, p * L, ax + p * ax_panel, NULL, units);
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

/* One phase of one step for n rows; panel p of row r has its input part at ax + p*ax_panel + r*G*L. */
INLINE void forward_phase(const cell *c, point_function *point, int phase, int until, const pyrnn_job *job,
                          const real *packed, const packed_layout *lay, share panels, forward_row *rows,
                          ptrdiff_t n, const real *ax, ptrdiff_t ax_panel, int back)
{
    const int count = c->phase[phase].count, width = count * L;
    const ptrdiff_t K = phase_reads(c, job->H, phase);
    const span k = {1, K, 0};
    if (c->general && count == 0) {
        /* Who has only some of the panels takes the statistics of whole rows all the same. */
        for (ptrdiff_t r = 0; r < n; r++)
            for (int part = phase; part < until; part++) {
                cell_statistics(c, part, rows[r].saved, job->H, rows[r].stats);
                forward_alone(c, point, part, job, packed + lay->units, panels, rows + r,
                              ax + r * c->gates * L, ax_panel);
            }
        return;
    }
    const pass walk = pass_of(panels, count, n, back);
    const int far = far_away(job, (panels.to - panels.from) * K * width);
    const row_split split = split_rows(n, tile_rows(walk.at_once * count));
    if (job->by_units) /* what others have just written comes from their caches: all of it at once, not line by line */
        for (ptrdiff_t r = 0; r < n; r++) {
            const real *a = forward_reads(c, phase, job, rows + r);
            for (ptrdiff_t j = 0; j < K; j += LINE / (ptrdiff_t)sizeof(real))
                __builtin_prefetch(a + j);
        }
    for (ptrdiff_t i = 0; i < walk.bites; i++) {
        const bite b = pass_bite(&walk, i);
        const real *w = packed + lay->r[phase] + b.panel * K * width, *next = NULL;
        const V *bias = (const V *)(packed + lay->bias_h[phase] + b.panel * width);
        int vecs = b.panels * count;
        if (far && i + 1 < walk.bites)
            next = packed + lay->r[phase] + pass_bite(&walk, i + 1).panel * K * width;
        for (ptrdiff_t tile = 0, r0 = 0; tile < split.tiles; r0 += split_size(&split, tile++)) {
            const real *a[MAX_ROWS];
            V ah[MAX_ROWS * MAX_VECS];
            const target out = {(real *)ah, vecs * L, {0, L, 2 * L, 3 * L}};
            int height = split_size(&split, tile);
            for (int r = 0; r < height; r++)
                a[r] = forward_reads(c, phase, job, rows + r0 + r);
            if (n == 1)
                product_of_row(b.groups, vecs, ah, bias, a[0], k, w, vecs * L * K);
            else
                product(height, vecs, &out, bias, a, k, w, ahead_of(next, tile, K, vecs));
            for (int p = 0; p < b.groups * b.panels; p++)
                for (int r = 0; r < height; r++)
                    forward_point(c, point, phase, job, rows + r0 + r, (b.panel + p) * L,
                                  ax + (b.panel + p) * ax_panel + (r0 + r) * c->gates * L,
                                  ah + r * vecs + p * count, packed + lay->units);
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
               sizeof(real) * (size_t)state_width(c, job->H, 0));
    for (int q = 0; q < c->states; q++) {
        const ptrdiff_t width = state_width(c, job->H, q);
        const real *last = row->length > 0 ? row->next[q] : initial_state(c, job, zero, q, row->row);
        real *state = (real *)job->state[q] + row->row * width;
        if (last != state)
            memcpy(state, last, sizeof(real) * (size_t)width);
    }
}

/* Panels that every product of a step takes at once. */
INLINE int forward_grain(const cell *c)
{
    int grain = panels_at_once(c->gates);
    for (int i = 0; i < c->phases; i++)
        grain = (int)max_of(grain, panels_at_once(c->phase[i].count));
    return grain;
}

/* Steps whose x is there, at least one after step s: waits for a few, which make a tile of the product. */
INLINE ptrdiff_t forward_known(const pyrnn_job *job, ptrdiff_t s)
{
    return job->behind ? (ptrdiff_t)progress_await(job->behind, min_of(s + LEAD, job->T)) : job->T;
}

/* The rows of one strip from their first step to their last. */
INLINE void forward_strip(const cell *c, point_function *point, const pyrnn_job *job, pyrnn_walk *me,
                          const forward_space *space, ptrdiff_t n)
{
    const real *packed = (const real *)job->packed;
    const packed_layout lay = layout_of(c, PYRNN_FORWARD, job->I, job->H);
    const int grain = forward_grain(c);
    forward_row *rows = space->rows;
    const ptrdiff_t in_strip = n;
    if (c->general && job->mask)
        EACH_PART (part, me)
            if (part == 0)
                forward_mask_initial(c, job, packed + lay.zero, rows, n);
    /* Who reads y must not wait long for the first of it, and finds the strips before this one done. */
    ptrdiff_t most = job->tells ? LEAD : job->T;
    pyrnn_progress *tells = rows[n - 1].p == job->B - 1 ? job->tells : NULL;
    for (ptrdiff_t s = 0; (n = still_active(rows, n, s)) > 0; most = min_of(2 * most, job->T)) {
        ptrdiff_t pairs = 0, end = s, until = min_of(forward_known(job, s), s + most);
        for (ptrdiff_t m = n; m > 0 && end < until && pairs + m <= job->block;
             m = still_active(rows, m, ++end))
            for (ptrdiff_t r = 0; r < m; r++)
                space->x[pairs++] = (const real *)job->x + time_of(job, rows[r].length, end) * job->x_step +
                                    rows[r].row * job->x_row;
        EACH_PART (part, me)
            project(c, job, packed, panels_of_part(job->H, grain, me, part), space->x, pairs, space->ax);
        const real *ax = space->ax;
        for (; s < end; s++) {
            n = still_active(rows, n, s);
            for (ptrdiff_t r = 0; r < n; r++)
                forward_advance(c, job, packed + lay.zero, rows + r, s);
            for (int phase = 0, until; phase < c->phases; phase = until) {
                until = forward_until(c, phase, me);
                EACH_PART (part, me)
                    forward_phase(c, point, phase, until, job, packed, &lay,
                                  panels_of_part(phase_units(c, job->H, phase), grain, me, part), rows, n, ax,
                                  pairs * c->gates * L, (s & 1) ^ job->back);
            }
            ax += n * c->gates * L;
            if (tells)
                progress_tell(tells, s + 1);
        }
    }
    EACH_PART (part, me)
        for (ptrdiff_t r = part; r < in_strip; r += me->parts)
            forward_end(c, job, packed + lay.zero, rows + r);
}

/* All rows, by units; or those of part `number`, alone. Rows are dealt out in turn: each part gets long and short
 * sequences alike, still sorted. */
INLINE void forward(const cell *c, point_function *point, const pyrnn_job *job, pyrnn_walk *me, int number)
{
    forward_space space;
    char *own = job->work + job->work_shared + (size_t)number * job->work_thread;
    const ptrdiff_t step = job->by_units ? 1 : job->threads;
    size_t used = job->by_units ? 0 : forward_shared(c, job, own, &space);
    if (job->by_units)
        forward_shared(c, job, job->work, &space);
    forward_own(job, own + used, &space);
    for (ptrdiff_t p = job->by_units ? 0 : number, n; p < job->B;) {
        for (n = 0; p < job->B && n < job->strip; p += step, n++)
            space.rows[n] =
                (forward_row){.p = p,
                              .row = job_row(job, p),
                              .length = job_length(job, p),
                              .saved = c->phases > 1 ? space.scratch + n * c->saves * job->H : NULL};
        forward_strip(c, point, job, me, &space, n);
    }
}

/* Blocks: a quarter of the level-2 cache for the pre-activations, so that R's panels and the states find room
 * beside them; 64 pairs at least, for a strip of few rows would stream R anew for each; and 6 MB at most over
 * all threads. */
static void plan_forward(pyrnn_job *job)
{
    const cell its = resolved(&job->layer), *c = &its;
    choose_split(job, c, forward_grain(c));
    ptrdiff_t pair = panels_of(job->H) * L * c->gates * (ptrdiff_t)sizeof(real);
    ptrdiff_t most = max_of((6 << 20) / job->threads / pair, 8);
    ptrdiff_t rows = job->by_units ? job->B : (job->B + job->threads - 1) / job->threads;
    ptrdiff_t pairs = job->T > 0 && rows > PTRDIFF_MAX / job->T ? PTRDIFF_MAX : rows * job->T;
    job->block = min_of(min_of(max_of((ptrdiff_t)(job->l2 / 4) / pair, 64), most), pairs);
    job->strip = max_of(min_of(rows, job->block), 1);
    forward_space space;
    size_t shared = forward_shared(c, job, NULL, &space);
    job->work_shared = job->by_units ? shared : 0;
    job->work_thread = forward_own(job, NULL, &space) + (job->by_units ? 0 : shared);
}
