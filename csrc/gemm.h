/* Register-tiled products. Two operand forms serve every product of the library:
 *
 *   product  out[r][v] = init[v] + sum_k a[r][k] * w[k][v]     rows r anywhere, k contiguous, w packed: x@W,
 * h@R, dG@R, dG@W outer    out[r][v] += sum_k a[k][r] * p[k][v]              r contiguous, k anywhere: x'dG,
 * h'dG
 *
 * Every element adds its products in the order of k from one accumulator, whatever the tile it falls into:
 * that is what makes a row's result independent of the batch around it. */

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

/* Row r's k runs over `runs` pieces of `length` elements, `run_step` apart. w: [runs*length][vecs][L],
 * aligned. out: rows of vecs vectors. rows and vecs are constants. */
INLINE void product_tile(int rows, int vecs, V *out, const V *init, const real *const *a, ptrdiff_t runs,
                         ptrdiff_t length, ptrdiff_t run_step, const real *w)
{
    V acc[MAX_ROWS][MAX_VECS];
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int v = 0; v < vecs; v++)
            acc[r][v] = init ? init[v] : vset(0);
    const real *row[MAX_ROWS];
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
        row[r] = a[r];
    for (ptrdiff_t run = 0; run < runs; run++) {
        for (ptrdiff_t k = 0; k < length; k++, w += vecs * L) {
            V wk[MAX_VECS];
#pragma GCC unroll 4
            for (int v = 0; v < vecs; v++)
                wk[v] = vloada(w + v * L);
#pragma GCC unroll 8
            for (int r = 0; r < rows; r++) {
                V b = vset(row[r][k]);
#pragma GCC unroll 4
                for (int v = 0; v < vecs; v++)
                    acc[r][v] = vfma(b, wk[v], acc[r][v]);
            }
        }
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++)
            row[r] += run_step;
    }
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int v = 0; v < vecs; v++)
            out[r * vecs + v] = acc[r][v];
}

/* product_tile for a number of rows known at run time; vecs is a constant. */
INLINE void product(int rows, int vecs, V *out, const V *init, const real *const *a, ptrdiff_t runs,
                    ptrdiff_t length, ptrdiff_t run_step, const real *w)
{
#define ROWS(n)                                                                                              \
    case n:                                                                                                  \
        if (n > tile_rows(vecs))                                                                             \
            __builtin_unreachable();                                                                         \
        product_tile(n, vecs, out, init, a, runs, length, run_step, w);                                      \
        break;
    switch (rows) {
    default: __builtin_unreachable(); ROWS(1) ROWS(2) ROWS(3) ROWS(4) ROWS(5) ROWS(6) ROWS(7) ROWS(8)
    }
#undef ROWS
}

/* product for m panels of `gates` vectors, both known at run time: for the products outside the time loop. */
NOINLINE static void product_any(int rows, int vecs, V *out, const V *init, const real *const *a,
                                 ptrdiff_t runs, ptrdiff_t length, ptrdiff_t run_step, const real *w)
{
    switch (vecs) {
    case 1: product(rows, 1, out, init, a, runs, length, run_step, w); break;
    case 2: product(rows, 2, out, init, a, runs, length, run_step, w); break;
    case 3: product(rows, 3, out, init, a, runs, length, run_step, w); break;
    case 4: product(rows, 4, out, init, a, runs, length, run_step, w); break;
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
