/* Register-tiled products. Two operand forms serve every product of the library:
 *
 *     product  out[r][v] = init[v] + sum_k a[r][k] * w[k][v]     x@W, h@R, dG@R, dG@W
 *     outer    out[r][v] += sum_k a[k][r] * p[k][v]              x'dG, h'dG
 *
 * In the first, rows r lie anywhere, k is contiguous and w packed; in the second, r is contiguous and k lies
 * anywhere. Every element adds its products in one fixed order, whatever the tile it falls into: that is what
 * makes a row's result independent of the batch around it. */

/* Rows of a tile of `vecs` vectors: as many accumulators as registers allow beside the vectors of w and one
 * broadcast element. Measured with gcc 12: one row more spills, and a spilled accumulator halves the speed.
 */
#if PYRNN_BYTES == 64 || defined __aarch64__ /* 32 registers */
INLINE int tile_rows(int vecs) { return vecs == 4 ? 6 : 8; }
#else /* 16 */
INLINE int tile_rows(int vecs) { return vecs == 4 ? 2 : vecs == 3 ? 3 : 4; }
#endif
enum { MAX_ROWS = 8, MAX_VECS = 4 };

/* Panels of L units that a product over `gates` gates takes at once, so that a tile is about four vectors
 * wide. */
INLINE int panels_at_once(int gates) { return gates == 1 ? 4 : gates == 2 ? 2 : 1; }

/* Rows are split into tiles that differ by at most one row: {6, 2} would run its second tile at a third of
 * the speed. */
typedef struct {
    ptrdiff_t tiles, rows, more;
} row_split;

INLINE row_split split_rows(ptrdiff_t n, int max)
{
    ptrdiff_t tiles = (n + max - 1) / max;
    return (row_split){tiles, tiles ? n / tiles : 0, tiles ? n % tiles : 0};
}

INLINE int split_size(const row_split *split, ptrdiff_t tile)
{
    return (int)(split->rows + (tile < split->more));
}

/* The k of a product: `runs` pieces of `length` elements, run_step apart in a row and contiguous in w. */
typedef struct {
    ptrdiff_t runs, length, run_step;
} span;

/* Every sum over k is that of its first half plus that of its second: a single row has both under way at once,
 * and so enough independent chains for the latency of a multiply-add. */
typedef struct {
    span first, second;
    ptrdiff_t a, w; /* where the second half begins, in a row and in vectors' rows of w */
} halves;

INLINE halves halve(const span *k)
{
    span first = *k, second = *k;
    ptrdiff_t *n = k->runs > 1 ? &first.runs : &first.length;
    *n /= 2;
    *(k->runs > 1 ? &second.runs : &second.length) -= *n;
    return (halves){first, second, *n * (k->runs > 1 ? k->run_step : 1), first.runs * first.length};
}

/* acc[r][v] += sum_k a[r][k] * w[k][v]; rows and vecs are constants. */
INLINE void accumulate(int rows, int vecs, V (*acc)[MAX_VECS], const real *const *a, ptrdiff_t skip, span k,
                       const real *w)
{
    const real *row[MAX_ROWS];
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
        row[r] = a[r] + skip;
    for (ptrdiff_t run = 0; run < k.runs; run++) {
#pragma GCC unroll 2
        for (ptrdiff_t i = 0; i < k.length; i++, w += vecs * L) {
            V wk[MAX_VECS];
#pragma GCC unroll 4
            for (int v = 0; v < vecs; v++)
                wk[v] = vloada(w + v * L);
#pragma GCC unroll 8
            for (int r = 0; r < rows; r++) {
                V b = vset(row[r][i]);
#pragma GCC unroll 4
                for (int v = 0; v < vecs; v++)
                    acc[r][v] = vfma(b, wk[v], acc[r][v]);
            }
        }
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++)
            row[r] += k.run_step;
    }
}

/* out[r][v] = init[v] + sum_k a[r][k] * w[k][v]. rows, at least 2, and vecs are constants. */
INLINE void product_tile(int rows, int vecs, V *out, const V *init, const real *const *a, span k,
                         const real *w)
{
    halves h = halve(&k);
    V acc[MAX_ROWS][MAX_VECS];
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int v = 0; v < vecs; v++)
            acc[r][v] = init ? init[v] : vset(0);
    accumulate(rows, vecs, acc, a, 0, h.first, w);
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int v = 0; v < vecs; v++)
            out[r * vecs + v] = acc[r][v], acc[r][v] = vset(0);
    accumulate(rows, vecs, acc, a, h.a, h.second, w + h.w * vecs * L);
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int v = 0; v < vecs; v++)
            out[r * vecs + v] = out[r * vecs + v] + acc[r][v];
}

/* The same for one row: both halves at once, the second's odd run or element after them. */
INLINE void product_row(int vecs, V *out, const V *init, const real *a, span k, const real *w)
{
    halves h = halve(&k);
    V acc[2][MAX_VECS];
#pragma GCC unroll 4
    for (int v = 0; v < vecs; v++)
        acc[0][v] = init ? init[v] : vset(0), acc[1][v] = vset(0);
    const real *b = a + h.a, *u = w + h.w * vecs * L;
    for (ptrdiff_t run = 0; run < h.first.runs; run++, a += k.run_step, b += k.run_step)
        for (ptrdiff_t i = 0; i < h.first.length; i++, w += vecs * L, u += vecs * L) {
            V ai = vset(a[i]), bi = vset(b[i]);
#pragma GCC unroll 4
            for (int v = 0; v < vecs; v++) {
                acc[0][v] = vfma(ai, vloada(w + v * L), acc[0][v]);
                acc[1][v] = vfma(bi, vloada(u + v * L), acc[1][v]);
            }
        }
    ptrdiff_t done = k.runs > 1 ? 0 : h.first.length;
    ptrdiff_t left = k.runs > 1 ? (h.second.runs - h.first.runs) * k.length : h.second.length;
    if (k.runs == 1)
        b = a - k.run_step + h.a;
    for (ptrdiff_t i = done; i < left; i++, u += vecs * L)
#pragma GCC unroll 4
        for (int v = 0; v < vecs; v++)
            acc[1][v] = vfma(vset(b[i]), vloada(u + v * L), acc[1][v]);
#pragma GCC unroll 4
    for (int v = 0; v < vecs; v++)
        out[v] = acc[0][v] + acc[1][v];
}

INLINE void product_rows(int rows, int vecs, V *out, const V *init, const real *const *a, span k,
                         const real *w)
{
#define ROWS(n)                                                                                              \
    case n:                                                                                                  \
        if (n > tile_rows(vecs))                                                                             \
            __builtin_unreachable();                                                                         \
        product_tile(n, vecs, out, init, a, k, w);                                                           \
        break;
    switch (rows) {
    default: __builtin_unreachable();
    case 1:
        product_row(vecs, out, init, a[0], k, w);
        break;
        ROWS(2) ROWS(3) ROWS(4) ROWS(5) ROWS(6) ROWS(7) ROWS(8)
    }
#undef ROWS
}

/* out: rows of vecs vectors. Never inlined: inside a time loop the compiler keeps the constants of tanh in
 * registers across it, and spills accumulators for them. */
NOINLINE static void product(int rows, int vecs, V *out, const V *init, const real *const *a, span k,
                             const real *w)
{
    switch (vecs) {
    case 1: product_rows(rows, 1, out, init, a, k, w); break;
    case 2: product_rows(rows, 2, out, init, a, k, w); break;
    case 3: product_rows(rows, 3, out, init, a, k, w); break;
    case 4: product_rows(rows, 4, out, init, a, k, w); break;
    default: __builtin_unreachable();
    }
}

/* out[r][panel][gate] += sum over n pairs k of a[k][r] * p[k][panel][gate]. p: pairs are p_step apart, panels
 * p_panel apart. out: rows of `gates` vectors, panels out_panel apart, both in reals. rows, panels and gates
 * are constants. */
INLINE void outer_tile(int rows, int panels, int gates, real *out, ptrdiff_t out_panel, int from_zero,
                       const real *const *a, ptrdiff_t first, ptrdiff_t n, const real *p, ptrdiff_t p_step,
                       ptrdiff_t p_panel)
{
    V acc[MAX_ROWS][MAX_VECS];
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int v = 0; v < panels * gates; v++)
            acc[r][v] =
                from_zero ? vset(0) : vloada(out + v / gates * out_panel + (r * gates + v % gates) * L);
#pragma GCC unroll 2
    for (ptrdiff_t k = 0; k < n; k++, p += p_step) {
        const real *ak = a[k] + first;
        V pk[MAX_VECS];
#pragma GCC unroll 4
        for (int v = 0; v < panels * gates; v++)
            pk[v] = vloada(p + v / gates * p_panel + v % gates * L);
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
            V b = vset(ak[r]);
#pragma GCC unroll 4
            for (int v = 0; v < panels * gates; v++)
                acc[r][v] = vfma(b, pk[v], acc[r][v]);
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int v = 0; v < panels * gates; v++)
            vstorea(out + v / gates * out_panel + (r * gates + v % gates) * L, acc[r][v]);
}

INLINE void outer_rows(int rows, int panels, int gates, real *out, ptrdiff_t out_panel, int from_zero,
                       const real *const *a, ptrdiff_t first, ptrdiff_t n, const real *p, ptrdiff_t p_step,
                       ptrdiff_t p_panel)
{
#define ROWS(m)                                                                                              \
    case m:                                                                                                  \
        if (m > tile_rows(panels * gates))                                                                   \
            __builtin_unreachable();                                                                         \
        outer_tile(m, panels, gates, out, out_panel, from_zero, a, first, n, p, p_step, p_panel);            \
        break;
    switch (rows) {
    default: __builtin_unreachable(); ROWS(1) ROWS(2) ROWS(3) ROWS(4) ROWS(5) ROWS(6) ROWS(7) ROWS(8)
    }
#undef ROWS
}

NOINLINE static void outer(int rows, int panels, int gates, real *out, ptrdiff_t out_panel, int from_zero,
                           const real *const *a, ptrdiff_t first, ptrdiff_t n, const real *p,
                           ptrdiff_t p_step, ptrdiff_t p_panel)
{
#define SHAPE(m, g)                                                                                          \
    case (m) * 8 + (g):                                                                                      \
        outer_rows(rows, m, g, out, out_panel, from_zero, a, first, n, p, p_step, p_panel);                  \
        break;
    switch (panels * 8 + gates) {
    default:
        __builtin_unreachable();
        SHAPE(1, 1) SHAPE(2, 1) SHAPE(3, 1) SHAPE(4, 1) SHAPE(1, 2) SHAPE(2, 2) SHAPE(1, 3) SHAPE(1, 4)
    }
#undef SHAPE
}
