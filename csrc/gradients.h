/* What follows a block's time loop: the products of its gate gradients with weights (dx), inputs (dW) and
 * states (dR), and their sums (biases). Tiles are shared out over threads; each is computed by one. */

/* How many pairs before its turn memory of a pair is asked for: they may lie anywhere. */
enum { AHEAD = 8 };

/* dx = dG @ W for some of the block's pairs, of few inputs: sums of vectors, whose lanes are added at the end. */
INLINE void few_gradients(const cell *c, int gates, const pyrnn_job *job, const backward_space *space,
                          ptrdiff_t pairs, share mine, const real *w)
{
    const ptrdiff_t width = gates * L, slots = c->slots * L, panels = panels_of(job->H);
    for (ptrdiff_t r = mine.from; r < mine.to; r++)
        for (ptrdiff_t i = 0; i < job->I; i++) {
            V sum[MAX_GATES] = {0};
            for (ptrdiff_t panel = 0; panel < panels; panel++)
#pragma GCC unroll 4
                for (int g = 0; g < gates; g++)
                    sum[g] = vfma(vloada(space->da + (panel * pairs + r) * slots + g * L),
                                  vloada(w + (i * panels + panel) * width + g * L), sum[g]);
            space->dx[r][i] = vtotal((sum[0] + sum[1]) + (sum[2] + sum[3]))[0];
        }
}

NOINLINE static void input_few(const cell *c, const pyrnn_job *job, const backward_space *space,
                               ptrdiff_t pairs, share mine, const real *w)
{
    switch (c->gates) {
    default: __builtin_unreachable();
    case 1: few_gradients(c, 1, job, space, pairs, mine, w); break;
    case 2: few_gradients(c, 2, job, space, pairs, mine, w); break;
    case 3: few_gradients(c, 3, job, space, pairs, mine, w); break;
    case 4: few_gradients(c, 4, job, space, pairs, mine, w); break;
    }
}

/* dx = dG @ W for some of the block's pairs. */
NOINLINE static void input_gradients(const cell *c, const pyrnn_job *job, const backward_space *space,
                                     ptrdiff_t pairs, share mine)
{
    const packed_layout lay = layout_of(c, PYRNN_BACKWARD, &job->layer);
    const real *w = (const real *)job->packed + lay.w;
    const ptrdiff_t I = job->I;
    if (I <= FEW) {
        input_few(c, job, space, pairs, mine, w);
        return;
    }
    const span k = span_of_gates(job->H, c->gates, pairs * c->slots * L);
    const ptrdiff_t K = c->gates * job->H, column = K * L; /* reals of w for a panel of inputs */
    const row_split split = split_rows(mine.to - mine.from, tile_rows(panels_at_once(1)));
    const int far = far_away(job, panels_of(I) * column);
    ptrdiff_t m;
    for (ptrdiff_t i0 = 0; i0 < I; i0 += m * L, w += m * column) {
        m = min_of(panels_at_once(1), panels_of(I - i0));
        for (ptrdiff_t tile = 0, r0 = mine.from; tile < split.tiles; r0 += split_size(&split, tile++)) {
            const real *a[MAX_ROWS];
            V sums[MAX_ROWS * MAX_VECS];
            const grid out = {(real *)sums, m * L, {0, L, 2 * L, 3 * L}};
            int rows = split_size(&split, tile);
            for (int r = 0; r < rows; r++)
                a[r] = space->da + (r0 + r) * c->slots * L;
            product(rows, (int)m, &out, NULL, a, &k, w, ahead_of(far ? w + m * column : NULL, tile, K, m));
            for (int r = 0; r < rows; r++)
                for (ptrdiff_t v = 0; v < m; v++) {
                    __builtin_prefetch(space->dx[min_of(r0 + r + AHEAD, mine.to - 1)] + i0 + v * L, 1);
                    put(space->dx[r0 + r] + i0 + v * L, sums[r * m + v], I - i0 - v * L);
                }
        }
    }
}

/* What the products of dW or dR read of some of the pairs, some tiles of it: out[tile][pair][pair_width]. Read where it
 * lies, every pair's few elements would be a line of their own, in every panel anew. */
static void gather(const row_split *split, share tiles, const real *const *a, ptrdiff_t pairs, share mine,
                   real *out)
{
    for (ptrdiff_t tile = tiles.from; tile < tiles.to; tile++) {
        const ptrdiff_t n = split_size(split, tile), k = split_start(split, tile);
        const ptrdiff_t width = pair_width((int)n);
        for (ptrdiff_t i = 0; i < n; i += L) {
            real *to = out + tile_offset(split, tile) * pairs + i;
            for (ptrdiff_t pair = mine.from; pair < mine.to; pair++) {
                __builtin_prefetch(a[min_of(pair + AHEAD, mine.to - 1)] + k + i);
                put(to + pair * width, get(a[pair] + k + i, n - i), n - i);
            }
        }
    }
}

/* A part of the same. Who has shared units takes tiles, about those that it wrote itself. */
static void gather_part(const pyrnn_job *job, int gates, const real *const *a, ptrdiff_t K, ptrdiff_t pairs,
                        int part, int parts, real *out)
{
    const row_split split = gradient_tiles(gates, K);
    share tiles = {0, split.tiles}, mine = {0, pairs};
    if (job->by_units)
        tiles = share_of(split.tiles, part, parts);
    else
        mine = share_of(pairs, part, parts);
    gather(&split, tiles, a, pairs, mine, out);
}

/* Of a narrow last panel the gradients of some pairs: of the slots from `first` on as many as there are gates, which share vectors
 * (last_lanes). */
NOINLINE static void gather_narrow(const cell *c, const pyrnn_job *job, const real *da, int first, int lanes,
                                   ptrdiff_t pairs, share mine, real *out)
{
    const ptrdiff_t step = c->slots * L, width = vectors_of(c->gates, lanes) * L;
    da += (panels_of(job->H) - 1) * pairs * step + first * L;
    for (ptrdiff_t pair = mine.from; pair < mine.to; pair++) {
        real *to = out + pair * width;
        vstorea(to + width - L, vset(0)); /* three gates do not fill it */
        for (int g = 0; g < c->gates; g++)
            put(to + g * lanes, vloada(da + pair * step + g * L), lanes);
    }
}

static void gather_pairs(const pyrnn_job *job, const pyrnn_block *b, int part, int parts)
{
    const cell its = cell_of(&job->layer), *c = &its;
    backward_space space;
    backward_space_of(c, job, job->work, b->turn, &space);
    const ptrdiff_t pairs = block_pairs(job, b);
    gather_part(job, c->gates, space.x, job->I, pairs, part, parts, space.x_tiles);
    for (int i = 0; i < c->phases; i++)
        gather_part(job, c->phase[i].count, space.h[i], phase_reads(c, &job->layer, i), pairs, part, parts,
                    space.h_tiles[i]);
    const int lanes = last_lanes(c, job->H);
    if (lanes == L)
        return;
    const share mine = share_of(pairs, part, parts);
    gather_narrow(c, job, space.da, 0, lanes, pairs, mine, space.narrow_x);
    if (space.narrow_h != space.narrow_x)
        gather_narrow(c, job, space.da, c->phase[0].first, lanes, pairs, mine, space.narrow_h);
}

/* A product of weight gradients: of what K tiles hold with the slots first..first+gates-1 of so many units, and where the sums go
 * in the end. */
typedef struct {
    int first, gates;
    ptrdiff_t units, K;
    const real *tiles; /* K elements of each pair, gathered */
    int lanes; /* of a gate in the last panel */
    real *narrow; /* its gradients, where gates share vectors there */
    real *sum; /* [panel][k][gate], or vectors that gates share */
    const tiny *block;
    real *dw; /* of the caller */
} weight_product;

static weight_product product_with_x(const cell *c, const pyrnn_job *job, const backward_space *space)
{
    return (weight_product){.gates = c->gates,
                            .units = job->H,
                            .K = job->I,
                            .tiles = space->x_tiles,
                            .lanes = last_lanes(c, job->H),
                            .narrow = space->narrow_x,
                            .sum = space->dw,
                            .block = c->block_x,
                            .dw = job->dw_ih};
}

static weight_product product_with_h(const cell *c, const pyrnn_job *job, const backward_space *space, int i)
{
    return (weight_product){.first = c->phase[i].first,
                            .gates = c->phase[i].count,
                            .units = phase_units(c, &job->layer, i),
                            .K = phase_reads(c, &job->layer, i),
                            .tiles = space->h_tiles[i],
                            .lanes = last_lanes(c, job->H),
                            .narrow = space->narrow_h,
                            .sum = space->dr[i],
                            .block = phase_blocks(c, i),
                            .dw = projects(c, i) ? job->dw_hr : job->dw_hh};
}

/* Whether each part has whole groups of panels, which it unpacks while its cache has them. */
static int has_whole_groups(const weight_product *p, int parts)
{
    const int at_once = panels_at_once(p->gates);
    return p->gates && (panels_of(p->units) + at_once - 1) / at_once % parts == 0;
}

/* sum[panel][k][gate] += a' dG over the block's pairs, for this part's tiles; after the call's last block that is it. */
static void weight_gradients(const cell *c, const backward_space *space, const pyrnn_block *b,
                             ptrdiff_t pairs, const weight_product *p, int last, int part, int parts)
{
    const int gates = p->gates, at_once = panels_at_once(gates);
    const ptrdiff_t panels = panels_of(p->units), groups = (panels + at_once - 1) / at_once, K = p->K,
                    step = c->slots * L;
    const row_split split = gradient_tiles(gates, K);
    const share mine = share_of(groups * split.tiles, part, parts);
    last = last && has_whole_groups(p, parts);
    for (ptrdiff_t task = mine.from; task < mine.to; task++) {
        ptrdiff_t group = task / split.tiles, tile = task % split.tiles, panel = group * at_once;
        const ptrdiff_t k = split_start(&split, tile);
        const ptrdiff_t here = min_of(at_once, panels - panel);
        const int narrow = p->lanes < L && panel + here == panels;
        const int vecs = narrow ? vectors_of(gates, p->lanes) : (int)here * gates;
        grid da = {.at = space->da + panel * pairs * step + p->first * L, .row = step};
        grid out = {.at = p->sum + (panel * K + k) * gates * L, .row = gates * L};
        if (narrow) {
            da = (grid){p->narrow, vecs * L, {0, L, 2 * L, 3 * L}};
            out = (grid){p->sum + panel * K * gates * L + k * vecs * L, vecs * L, {0, L, 2 * L, 3 * L}};
        }
        for (int v = 0; v < vecs && !narrow; v++) {
            da.vec[v] = v / gates * pairs * step + v % gates * L;
            out.vec[v] = v / gates * K * gates * L + v % gates * L;
        }
        outer(split_size(&split, tile), vecs, &out, b->first ? &zeros : &out,
              p->tiles + tile_offset(&split, tile) * pairs, pairs, &da);
        if (last && tile + 1 == split.tiles)
            unpack_columns(gates, p->block, K, p->units, p->lanes, p->sum, p->dw,
                           (share){panel, panel + here});
    }
}

/* sum[n] = that, or zero, + sum over pairs of da[n]: at once, since an addition takes as long as several loads. */
INLINE void slot_sums_of(int n, ptrdiff_t step, const real *da, ptrdiff_t pairs, int from_zero, real *sum)
{
    V acc[MAX_GATES];
    for (int k = 0; k < n; k++)
        acc[k] = from_zero ? vset(0) : vloada(sum + k * L);
    for (ptrdiff_t i = 0; i < pairs; i++, da += step)
#pragma GCC unroll 4
        for (int k = 0; k < n; k++)
            acc[k] = acc[k] + vloada(da + k * L);
    for (int k = 0; k < n; k++)
        vstorea(sum + k * L, acc[k]);
}

NOINLINE static void slot_sums(int n, ptrdiff_t step, const real *da, ptrdiff_t pairs, int from_zero,
                               real *sum)
{
    switch (n) {
    default: __builtin_unreachable();
    case 1: slot_sums_of(1, step, da, pairs, from_zero, sum); break;
    case 2: slot_sums_of(2, step, da, pairs, from_zero, sum); break;
    case 3: slot_sums_of(3, step, da, pairs, from_zero, sum); break;
    case 4: slot_sums_of(4, step, da, pairs, from_zero, sum); break;
    }
}

static void bias_gradients(const cell *c, const pyrnn_job *job, const backward_space *space,
                           const pyrnn_block *b, ptrdiff_t pairs, int part, int parts)
{
    share mine = share_of(panels_of(job->H), part, parts);
    for (ptrdiff_t panel = mine.from; panel < mine.to; panel++)
        /* Of what comes before biases there are no sums, nor of the projection's slot, which is the last. */
        for (int k = c->slot_x, n; k < c->slots - c->projected; k += n) {
            n = min_of(c->slots - c->projected - k, MAX_GATES);
            slot_sums(n, c->slots * L, space->da + (panel * pairs * c->slots + k) * L, pairs, b->first,
                      space->db + (panel * c->slots + k) * L);
        }
}

static void products(const pyrnn_job *job, const pyrnn_block *b, int part, int parts)
{
    const cell its = cell_of(&job->layer), *c = &its;
    backward_space space;
    backward_space_of(c, job, job->work, b->turn, &space);
    ptrdiff_t pairs = block_pairs(job, b);
    if (job->dx && !job->tells) /* who tells has done it step by step */
        input_gradients(c, job, &space, pairs, share_of(pairs, part, parts));
    const int last = b->ends && b->p1 == job->B;
    weight_product p = product_with_x(c, job, &space);
    weight_gradients(c, &space, b, pairs, &p, last, part, parts);
    for (int i = 0; i < c->phases; i++) {
        p = product_with_h(c, job, &space, i);
        weight_gradients(c, &space, b, pairs, &p, last, part, parts);
    }
    if (job->db_ih || job->db_hh || job->dunits)
        bias_gradients(c, job, &space, b, pairs, part, parts);
}

/* out[block[slot]*H + unit] = sum[panel][first + slot][lane] */
ONCE static void unpack_bias(const cell *c, int first, int count, const tiny *block, ptrdiff_t H,
                             const real *sum, real *out)
{
    for (ptrdiff_t j0 = 0; j0 < H && out; j0 += L, sum += c->slots * L)
        for (int k = 0; k < count; k++)
            memcpy(out + block[k] * H + j0, sum + (first + k) * L, sizeof(real) * (size_t)min_of(L, H - j0));
}

/* What the last block's products could not unpack. */
static void unpack_rest(const weight_product *p, int thread, int threads)
{
    if (!has_whole_groups(p, threads))
        unpack_columns(p->gates, p->block, p->K, p->units, p->lanes, p->sum, p->dw,
                       share_of(panels_of(p->units), thread, threads));
}

/* After the last block: sums into the caller's layout, and zeros into dx beyond the lengths. */
static void finish(const pyrnn_job *job, int thread)
{
    const cell its = cell_of(&job->layer), *c = &its;
    backward_space space;
    backward_space_of(c, job, job->work, 0, &space);
    weight_product p = product_with_x(c, job, &space);
    unpack_rest(&p, thread, job->threads);
    for (int i = 0; i < c->phases; i++) {
        p = product_with_h(c, job, &space, i);
        unpack_rest(&p, thread, job->threads);
    }
    if (thread == 0) {
        unpack_bias(c, c->first_own, c->units, in_order, job->H, space.db, job->dunits);
        unpack_bias(c, c->slot_x, c->gates, c->block_x, job->H, space.db, job->db_ih);
        for (int i = 0; i <= last_of_formula(c); i++)
            unpack_bias(c, c->shifts ? c->slot_h : c->phase[i].first, c->phase[i].count, phase_blocks(c, i),
                        job->H, space.db, job->db_hh);
    }
    for (ptrdiff_t p = thread; p < job->B && job->dx; p += job->threads)
        for (ptrdiff_t t = job_length(job, p); t < job->T; t++)
            memset((real *)job->dx + t * job->dx_step + job_row(job, p) * job->dx_row, 0,
                   sizeof(real) * (size_t)job->I);
}
