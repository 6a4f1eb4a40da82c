/* Layer normalization.   Ba et al. 2016, arXiv:1607.06450
 *     z = (x - mean) * scale      scale = 1 / sqrt(variance + eps)      y = z * gain + shift
 *     dx = (d - mean(d) - z * mean(d * z)) * scale      d = dy * gain      dgain = sum dy * z      dshift = sum dy
 * A row is read from memory once and then from the cache; the next one is asked for before, into level 2, for rows of 4 KB and
 * more fill level 1. So are the lines to be written, but where arrays are too large for the caches (`streams`): then these are
 * written past them, which saves a third of what memory moves on the way forward, and a quarter on the way back. */

INLINE void norm_put(real *p, V v, ptrdiff_t n, ptrdiff_t to_next, int streams)
{
    if (streams) {
        vstream(p, v);
    } else {
        put(p, v, n);
        __builtin_prefetch(p + to_next, 1);
    }
}

INLINE void norm_rows(const pyrnn_norm *norm, void *out, void *stats, ptrdiff_t from, ptrdiff_t to,
                      int streams)
{
    const ptrdiff_t n = norm->width;
    const real *gain = norm->gain, *shift = norm->shift;
    for (ptrdiff_t r = from; r < to; r++) {
        const real *x = (const real *)norm->x + r * norm->x_row;
        real *y = (real *)out + r * n, of_row[2];
        const ptrdiff_t more = r + 1 < to; /* rows to ask for on the way */
        row_statistics(x, n, norm->eps, of_row);
        V m = vset(of_row[0]), s = vset(of_row[1]);
        for (ptrdiff_t j = 0; j < n; j += L) {
            V z = (get(x + j, n - j) - m) * s;
            norm_put(y + j, vfma(z, get(gain + j, n - j), get(shift + j, n - j)), n - j, more * n, streams);
            __builtin_prefetch(x + more * norm->x_row + j, 0, 2);
        }
        if (stats)
            memcpy((real *)stats + 2 * r, of_row, sizeof(of_row));
    }
}

static void norm_forward(const pyrnn_norm *norm, void *y, void *stats, ptrdiff_t from, ptrdiff_t to,
                         int streams)
{
    if (streams) {
        norm_rows(norm, y, stats, from, to, 1);
        vstream_end();
    } else {
        norm_rows(norm, y, stats, from, to, 0);
    }
}

INLINE void norm_back_rows(const pyrnn_norm *norm, const pyrnn_norm_gradients *grads, real *dgain,
                           real *dshift, ptrdiff_t from, ptrdiff_t to, int streams)
{
    const ptrdiff_t n = norm->width;
    const real *gain = norm->gain;
    for (ptrdiff_t r = from; r < to; r++) {
        const real *x = (const real *)norm->x + r * norm->x_row;
        const real *dy = (const real *)grads->dy + r * grads->dy_row;
        const real *stats = (const real *)grads->stats + 2 * r;
        real *dx = (real *)grads->dx + r * n;
        const ptrdiff_t more = r + 1 < to;
        V m = vset(stats[0]), s = vset(stats[1]), mean_d = {0}, mean_dz = {0};
        for (ptrdiff_t j = 0; j < n; j += L) {
            V z = (get(x + j, n - j) - m) * s, g = get(dy + j, n - j), d = g * get(gain + j, n - j);
            mean_d += d;
            mean_dz = vfma(d, z, mean_dz);
            vstorea(dgain + j, vfma(g, z, vloada(dgain + j)));
            vstorea(dshift + j, vloada(dshift + j) + g);
            __builtin_prefetch(x + more * norm->x_row + j, 0, 2);
            __builtin_prefetch(dy + more * grads->dy_row + j, 0, 2);
        }
        mean_d = vset(vtotal(mean_d)[0] / (real)n);
        mean_dz = vset(vtotal(mean_dz)[0] / (real)n);
        for (ptrdiff_t j = 0; j < n; j += L) {
            V z = (get(x + j, n - j) - m) * s, d = get(dy + j, n - j) * get(gain + j, n - j) - mean_d;
            norm_put(dx + j, vfma(-z, mean_dz, d) * s, n - j, more * n, streams);
        }
    }
}

/* A block of rows, which has sums of its own: dgain, then dshift, each of norm_columns. */
static void norm_backward(const pyrnn_norm *norm, const pyrnn_norm_gradients *grads, void *sums,
                          ptrdiff_t from, ptrdiff_t to, int streams)
{
    const ptrdiff_t whole = norm_columns(norm);
    real *dgain = sums, *dshift = dgain + whole;
    memset(sums, 0, sizeof(real) * 2 * (size_t)whole);
    if (streams) {
        norm_back_rows(norm, grads, dgain, dshift, from, to, 1);
        vstream_end();
    } else {
        norm_back_rows(norm, grads, dgain, dshift, from, to, 0);
    }
}

/* Adds up the blocks' sums of the columns [from, to), of which the first begins a vector. */
static void norm_finish(const pyrnn_norm *norm, const pyrnn_norm_gradients *grads, ptrdiff_t blocks,
                        ptrdiff_t from, ptrdiff_t to)
{
    const ptrdiff_t whole = norm_columns(norm);
    for (ptrdiff_t j = from; j < to; j += L) {
        V dgain = {0}, dshift = {0};
        const real *sums = (const real *)grads->work + j;
        for (ptrdiff_t b = 0; b < blocks; b++, sums += 2 * whole) {
            dgain += vloada(sums);
            dshift += vloada(sums + whole);
        }
        put((real *)grads->dgain + j, dgain, to - j);
        put((real *)grads->dshift + j, dshift, to - j);
    }
}
