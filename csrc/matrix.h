/* Matrices in memory, packed for `product`, and their products outside the time loop. */

/* What calls others and is not worth its size unrolled: compilers make what is cold small, and with it what is called
 * by nothing else and not named hot. */
#define DRIVER static __attribute__((noinline, cold))
#define HOT static __attribute__((noinline, hot))

/* A matrix in memory: rows of contiguous elements, `step` apart. */
typedef struct {
    real *at;
    ptrdiff_t step;
} matrix;

INLINE matrix from_row(matrix m, ptrdiff_t row) { return (matrix){m.at + row * m.step, m.step}; }

/* A matrix as `product` reads it: pack_rows or pack_columns of one gate, `k` rows of `panels` panels. */
typedef struct {
    const real *at;
    ptrdiff_t k, panels;
} packed_matrix;

/* The transpose of `rows` rows, D long. */
DRIVER packed_matrix pack_turned(matrix from, ptrdiff_t rows, ptrdiff_t D, real *to)
{
    pack_columns(1, (const tiny[]){0}, D, rows, from.at, from.step, to, L, 0, 1);
    return (packed_matrix){to, D, panels_of(rows)};
}

/* `rows` rows, D long; then rows of zeros up to whole vectors of them. */
DRIVER packed_matrix pack_upright(matrix from, ptrdiff_t rows, ptrdiff_t D, real *to)
{
    pack_rows(1, (const tiny[]){0}, D, rows, from.at, from.step, to, L, 0, 1);
    return (packed_matrix){to, panels_of(rows) * L, panels_of(D)};
}

/* out = a w, or out += a w: `rows` rows; of w `k` rows from k0 on and `panels` panels from p0 on, the first one of a
 * group. */
HOT void multiply(ptrdiff_t rows, matrix a, const packed_matrix *w, ptrdiff_t k0, ptrdiff_t k, ptrdiff_t p0,
                  ptrdiff_t panels, matrix out, int add)
{
    const ptrdiff_t groups = panels_at_once(1);
    for (ptrdiff_t p = p0; p < p0 + panels; p += groups) {
        int vecs = (int)min_of(groups, w->panels - p), n;
        row_split tiles = split_rows(rows, tile_rows(vecs));
        for (ptrdiff_t r = 0, tile = 0; r < rows; r += n, tile++) {
            n = split_size(&tiles, tile);
            grid to = {out.at + r * out.step + (p - p0) * L, out.step, {0, L, 2 * L, 3 * L}};
            for (ptrdiff_t i = 0; i < k; i += PIECE) {
                const span piece = span_of(min_of(PIECE, k - i));
                const real *row[MAX_ROWS];
                for (int j = 0; j < n; j++)
                    row[j] = a.at + (r + j) * a.step + i;
                product_piece(n, vecs, &to, add || i ? &to : &zeros, row, &piece,
                              w->at + p * L * w->k + (k0 + i) * vecs * L, NULL);
            }
        }
    }
}

/* A row of sums to its place, times `factor`. */
HOT void put_row(real *to, const real *from, ptrdiff_t D, real factor)
{
    for (ptrdiff_t d = 0; d < D; d += L)
        put(to + d, vloada(from + d) * factor, D - d);
}
