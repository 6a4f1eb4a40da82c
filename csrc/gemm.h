/* Register-tiled products; those of a single row are in gemm_row.h. Two operand forms serve every product of the library:
 *
 *     product  out[r][v] = init[v] + sum_k a[r][k] * w[k][v]     x@W, h@R, dG@R, dG@W
 *     outer    out[r][v] += sum_k a[k][r] * p[k][v]              x'dG, h'dG
 *
 * In the first, rows r lie anywhere, k is contiguous and w packed; in the second, a has been gathered tile by tile. Every element adds its products in one fixed order, whatever the tile it falls into: that is what
 * makes a row's result independent of the batch around it. */

/* The k of a product: `runs` pieces of `length` elements, run_step apart in a row and contiguous in w. Of gates, a run is a
 * panel; where the last one is not whole, as many runs as it has gates follow, of the `rest` units of each, L apart. */
typedef struct {
    ptrdiff_t runs, length, run_step, rest;
} span;

/* The k of n elements that lie side by side. */
INLINE span span_of(ptrdiff_t n) { return (span){1, n, 0, 0}; }

/* The k of `count` gates of so many units. */
INLINE span span_of_gates(ptrdiff_t units, int count, ptrdiff_t panel_step)
{
    return (span){units / L, count * L, panel_step, units % L};
}

/* A sum runs over about PIECE k and is then added to the sum of those before: the error of a long sum grows with
 * the length of its parts. Pieces follow from k alone, so a tile and a single row have the same. Of runs a piece has a power of
 * two, as the shares of two threads do: a share then ends where a piece does. */
enum { PIECE = 256 };

INLINE ptrdiff_t runs_of_piece(ptrdiff_t length)
{
    ptrdiff_t runs = 1;
    while (2 * runs * length <= PIECE)
        runs *= 2;
    return runs;
}

/* Takes the next piece of k. What makes and reads a span does so field by field: two fields that are written apart and
 * copied together wait for the store, 1 to 4 % of a small layer's time. So spans go by address, too. */
INLINE span take_piece(span *k)
{
    if (k->run_step == 0) { /* one run: some of its elements */
        const span part = {1, min_of(k->length, PIECE), 0, 0};
        k->length -= part.length;
        return part;
    }
    if (k->runs == 0) { /* the panel that is not whole */
        const span part = {k->length / L, k->rest, L, 0};
        k->rest = 0;
        return part;
    }
    const span part = {min_of(k->runs, runs_of_piece(k->length)), k->length, k->run_step, 0};
    k->runs -= part.runs;
    return part;
}

/* Whether nothing is left of it. */
INLINE int is_taken(const span *k)
{
    return k->run_step == 0 ? k->length == 0 : k->runs == 0 && k->rest == 0;
}

/* Vectors in memory: v of row r is at + r*row + vec[v]. */
typedef struct {
    real *at;
    ptrdiff_t row, vec[MAX_VECS];
} grid;

static const V nothing[MAX_SUMS]; /* zeros */
static const grid zeros = {(real *)nothing, 0, {0, L, 2 * L, 3 * L}};

/* Where a product asks for memory on its way, a line for each k, so that it is in the level-2 cache when its turn
 * comes. NULL: nowhere. */
enum { LINE = 64 };

/* What the tile of this number asks for of `next`, the w of the next product: `vecs` vectors for each k. */
INLINE const char *ahead_of(const real *next, ptrdiff_t tile, ptrdiff_t k, ptrdiff_t vecs)
{
    ptrdiff_t skip = tile * k * LINE;
    return next && skip < k * vecs * PYRNN_BYTES ? (const char *)next + skip : NULL;
}

/* Whether there is an `ahead`: 0, 1, or to be asked for each round. */
enum { ASK = 2 };

/* Asks for so many lines; returns where the next ones are. */
INLINE const char *ask_for(int far, const char *ahead, int lines)
{
    if (far == ASK)
        __asm__("" : "+r"(ahead)); /* or the compiler would write the loop twice */
    if (far == ASK ? ahead == NULL : !far)
        return ahead;
#pragma GCC unroll 4
    for (int i = 0; i < lines; i++)
        __builtin_prefetch(ahead + i * LINE, 0, 2);
    return ahead + lines * LINE;
}

/* So many k of a tile, and pairs of an outer product, make a round of its loop. Whatever else a round takes shares its ports
 * with the multiply-adds of 64 bytes: 2 to 4 of 100, which float64 and low or narrow tiles are not worth in size. */
#if PYRNN_BYTES == 64 && PYRNN_REAL == 32
enum { ROUND = 4, ROUND_OUTER = 2 };
#else
enum { ROUND = 1, ROUND_OUTER = 1 };
#endif

INLINE int round_of(int rows, int vecs, int most)
{
    return vecs > 2 && 2 * rows > tile_rows(vecs) ? most : 1;
}

/* A row of a tile and one k; `round` is that of the tile's loop. */
INLINE void accumulate(int round, int vecs, V a, const V *w, V *acc)
{
#pragma GCC unroll 4
    for (int v = 0; v < vecs; v++)
        acc[v] = round > 1 ? vaccumulate(a, w[v], acc[v]) : vfma(a, w[v], acc[v]);
}

/* One k of a tile. */
INLINE void tile_step(int round, int rows, int vecs, V acc[MAX_ROWS][MAX_VECS], const real *const *row,
                      ptrdiff_t i, const real *w)
{
    V wk[MAX_VECS];
#pragma GCC unroll 4
    for (int v = 0; v < vecs; v++)
        wk[v] = vloada(w + v * L);
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
        accumulate(round, vecs, vset(row[r][i]), wk, acc[r]);
}

/* out[r][v] = before[v] + acc. The addresses run along with the rows: those that the compiler would work out for each vector
 * are 8 KB of the wheel. */
INLINE void put_tile(int rows, int vecs, const grid *out, const grid *before, V acc[MAX_ROWS][MAX_VECS])
{
    real *to = out->at;
    const real *from = before->at;
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++, to += out->row, from += before->row) {
        __asm__("" : "+r"(to), "+r"(from));
#pragma GCC unroll 4
        for (int v = 0; v < vecs; v++)
            vstorea(to + out->vec[v], vloada(from + before->vec[v]) + acc[r][v]);
    }
}

/* A piece of a product: out[r][v] = before[v] + sum. rows, vecs and `far` are constants. */
INLINE void product_tile(int rows, int vecs, int far, const grid *out, const grid *before,
                         const real *const *a, const span *k, const real *w, const char *ahead)
{
    const ptrdiff_t runs = k->runs, length = k->length, run_step = k->run_step;
    V acc[MAX_ROWS][MAX_VECS];
    const real *row[MAX_ROWS];
    const int round = round_of(rows, vecs, ROUND);
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++) {
        row[r] = a[r];
#pragma GCC unroll 4
        for (int v = 0; v < vecs; v++)
            acc[r][v] = vset(0);
    }
    for (ptrdiff_t run = 0; run < runs; run++) {
        ptrdiff_t i = 0;
        if (round > 1) {
            for (; i + round <= length; i += round, w += round * vecs * L) {
                ahead = ask_for(far, ahead, round);
#pragma GCC unroll 4
                for (int j = 0; j < round; j++)
                    tile_step(round, rows, vecs, acc, row, i + j, w + j * vecs * L);
            }
            for (; i < length; i++, w += vecs * L)
                tile_step(round, rows, vecs, acc, row, i, w);
        } else
#pragma GCC unroll 2
            for (; i < length; i++, w += vecs * L) {
                ahead = ask_for(far, ahead, 1);
                tile_step(round, rows, vecs, acc, row, i, w);
            }
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++)
            row[r] += run_step;
    }
    put_tile(rows, vecs, out, before, acc);
}

INLINE void product_rows(int rows, int vecs, int far, const grid *out, const grid *before,
                         const real *const *a, const span *k, const real *w, const char *ahead)
{
#define ROWS(n)                                                                                              \
    case n:                                                                                                  \
        if (n > tile_rows(vecs))                                                                             \
            __builtin_unreachable();                                                                         \
        product_tile(n, vecs, far, out, before, a, k, w, ahead);                                             \
        break;
    switch (rows) {
    default: __builtin_unreachable(); ROWS(1) ROWS(2) ROWS(3) ROWS(4) ROWS(5) ROWS(6) ROWS(7) ROWS(8)
    }
#undef ROWS
}

INLINE void product_vecs(int rows, int vecs, int far, const grid *out, const grid *before,
                         const real *const *a, const span *k, const real *w, const char *ahead)
{
    switch (vecs) {
    case 1: product_rows(rows, 1, far, out, before, a, k, w, ahead); break;
    case 2: product_rows(rows, 2, far, out, before, a, k, w, ahead); break;
    case 3: product_rows(rows, 3, far, out, before, a, k, w, ahead); break;
    case 4: product_rows(rows, 4, far, out, before, a, k, w, ahead); break;
    default: __builtin_unreachable();
    }
}

/* Never inlined: inside a time loop the compiler keeps the constants of tanh in registers across it, and spills
 * accumulators for them. Where tiles are small there are two: to ask for each k costs them a twentieth of the time, and
 * so does asking for what is in the cache already. Where they are large it costs nothing, and a second one 50 KB. */
#if PYRNN_BYTES == 64 || defined __aarch64__
NOINLINE static void product_piece(int rows, int vecs, const grid *out, const grid *before,
                                   const real *const *a, const span *k, const real *w, const char *ahead)
{
    product_vecs(rows, vecs, ASK, out, before, a, k, w, ahead);
}
#else
NOINLINE static void near_piece(int rows, int vecs, const grid *out, const grid *before, const real *const *a,
                                const span *k, const real *w)
{
    product_vecs(rows, vecs, 0, out, before, a, k, w, NULL);
}

NOINLINE static void far_piece(int rows, int vecs, const grid *out, const grid *before, const real *const *a,
                               const span *k, const real *w, const char *ahead)
{
    product_vecs(rows, vecs, 1, out, before, a, k, w, ahead);
}

INLINE void product_piece(int rows, int vecs, const grid *out, const grid *before, const real *const *a,
                          const span *k, const real *w, const char *ahead)
{
    if (ahead)
        far_piece(rows, vecs, out, before, a, k, w, ahead);
    else
        near_piece(rows, vecs, out, before, a, k, w);
}
#endif

/* How far a piece takes a row of a. */
INLINE ptrdiff_t piece_step(const span *k) { return k->run_step ? k->runs * k->run_step : k->length; }

NOINLINE static void product(int rows, int vecs, const grid *out, const V *init, const real *const *a,
                             const span *all, const real *w, const char *ahead)
{
    span k = {all->runs, all->length, all->run_step, all->rest};
    const grid initial = {(real *)(init ? init : nothing), 0, {0, L, 2 * L, 3 * L}}, *before = &initial;
    const real *moved[MAX_ROWS];
    for (;;) {
        const span part = take_piece(&k);
        product_piece(rows, vecs, out, before, a, &part, w, ahead);
        if (ahead)
            ahead += part.runs * part.length * LINE;
        if (is_taken(&k))
            return;
        for (int r = 0; r < rows; r++)
            moved[r] = a[r] + piece_step(&part);
        a = moved, before = out;
        w += part.runs * part.length * vecs * L;
    }
}

/* One pair k; offset: of its vectors in p. */
INLINE void outer_step(int round, int rows, int vecs, V acc[MAX_ROWS][MAX_VECS], const real *a,
                       const real *const *p, ptrdiff_t offset)
{
    V pk[MAX_VECS];
#pragma GCC unroll 4
    for (int v = 0; v < vecs; v++)
        pk[v] = vloada(p[v] + offset);
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
        accumulate(round, vecs, vset(a[r]), pk, acc[r]);
}

/* Reals of a pair in the tile that `outer` reads: a power of two, so that none lies across two lines. */
INLINE int pair_width(int rows)
{
    int width = 1;
    while (width < rows)
        width *= 2;
    return width;
}

/* out[r][v] = before[v] + sum over n pairs k of a[k][r] * pairs[k][v]. a: pairs of pair_width(rows) elements. rows and vecs
 * are constants. */
INLINE void outer_tile(int rows, int vecs, const grid *out, const grid *before, const real *a, ptrdiff_t n,
                       const grid *pairs)
{
    V acc[MAX_ROWS][MAX_VECS];
    const real *p[MAX_VECS];
#pragma GCC unroll 4
    for (int v = 0; v < vecs; v++) {
        p[v] = pairs->at + pairs->vec[v];
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++)
            acc[r][v] = vset(0);
#pragma GCC unroll 1
        for (int r = rows; r < 2 * rows; r++) /* the tile after this one, for its turn */
            __builtin_prefetch(out->at + r * out->row + out->vec[v], 1, 2);
    }
    const int round = round_of(rows, vecs, ROUND_OUTER), width = pair_width(rows);
    ptrdiff_t k = 0, offset = 0;
    if (round > 1)
        for (; k + round <= n; k += round, a += round * width)
#pragma GCC unroll 4
            for (int j = 0; j < round; j++, offset += pairs->row)
                outer_step(round, rows, vecs, acc, a + j * width, p, offset);
    for (; k < n; k++, a += width, offset += pairs->row)
        outer_step(round, rows, vecs, acc, a, p, offset);
    put_tile(rows, vecs, out, before, acc);
}

INLINE void outer_rows(int rows, int vecs, const grid *out, const grid *before, const real *a, ptrdiff_t n,
                       const grid *pairs)
{
#define ROWS(m)                                                                                              \
    case m:                                                                                                  \
        if (m > tile_rows(vecs))                                                                             \
            __builtin_unreachable();                                                                         \
        outer_tile(m, vecs, out, before, a, n, pairs);                                                       \
        break;
    switch (rows) {
    default: __builtin_unreachable(); ROWS(1) ROWS(2) ROWS(3) ROWS(4) ROWS(5) ROWS(6) ROWS(7) ROWS(8)
    }
#undef ROWS
}

NOINLINE static void outer(int rows, int vecs, const grid *out, const grid *before, const real *a,
                           ptrdiff_t n, const grid *pairs)
{
    switch (vecs) {
    case 1: outer_rows(rows, 1, out, before, a, n, pairs); break;
    case 2: outer_rows(rows, 2, out, before, a, n, pairs); break;
    case 3: outer_rows(rows, 3, out, before, a, n, pairs); break;
    case 4: outer_rows(rows, 4, out, before, a, n, pairs); break;
    default: __builtin_unreachable();
    }
}
