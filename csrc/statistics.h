/* Layer normalization asks for statistics of whole rows: mean and scale = 1 / sqrt(variance + eps). Sums run in an order that
 * the width alone determines. */

/* The mean of x - centre, or of its square. About the mean itself and not as E[x^2] - mean^2, whose digits cancel. */
INLINE real row_mean(const real *x, ptrdiff_t n, V centre, int squared)
{
    enum { CHAINS = 4 }; /* independent sums: an addition takes as long as four loads */
    V sum[CHAINS] = {{0}};
    ptrdiff_t j = 0;
    for (; j <= n - CHAINS * L; j += CHAINS * L)
#pragma GCC unroll 4
        for (int k = 0; k < CHAINS; k++) {
            V d = vload(x + j + k * L) - centre;
            sum[k] = squared ? vfma(d, d, sum[k]) : sum[k] + d;
        }
    for (; j < n; j += L) {
        V d = vkeep(get(x + j, n - j) - centre, n - j);
        sum[0] = squared ? vfma(d, d, sum[0]) : sum[0] + d;
    }
    return vtotal((sum[0] + sum[1]) + (sum[2] + sum[3]))[0] / (real)n;
}

/* stats: mean, scale. */
NOINLINE static void row_statistics(const real *x, ptrdiff_t n, double eps, real *stats)
{
    stats[0] = row_mean(x, n, (V){0}, 0);
    stats[1] = (real)(1 / __builtin_sqrt((double)row_mean(x, n, vset(stats[0]), 1) + eps));
}

/* ---- Normalizations within a cell ---- */

static const double CELL_EPS = 1e-5;

/* Of a row's saved values, those that the normalizations of a phase run over. */
NOINLINE static void cell_statistics(const cell *c, int phase, const real *saved, ptrdiff_t H, real *stats)
{
    for (int k = 0; k < c->norms; k++)
        if (c->norm[k].phase == phase)
            row_statistics(saved + c->norm[k].first * H, c->norm[k].count * H, CELL_EPS, stats + 2 * k);
}

/* Normalization k of a value, without gain and shift. */
INLINE V normal(const place *at, int k, V x)
{
    return (x - vset(at->stats[2 * k])) * vset(at->stats[2 * k + 1]);
}

/* The way back through normalization k: from the gradient d of z to that of what z is the normal of. */
INLINE V normal_back(const place *at, int k, V d, V z)
{
    return (d - vset(at->sums[2 * k]) - z * vset(at->sums[2 * k + 1])) * vset(at->stats[2 * k + 1]);
}

/* The means over a row that this takes, of d and of d*z, for the normalizations of a phase: the row's slots hold the
 * gradients of gain * z + shift. `units` are the pack's. */
NOINLINE static void cell_sums(const cell *c, int phase, const real *da, ptrdiff_t panel_step,
                               const real *saved, ptrdiff_t H, const real *stats, const real *units,
                               real *sums)
{
    for (int k = 0; k < c->norms; k++) {
        if (c->norm[k].phase != phase)
            continue;
        const int count = c->norm[k].count, first = c->norm[k].first;
        const V mean = vset(stats[2 * k]), scale = vset(stats[2 * k + 1]);
        const real *d = da + c->norm[k].slot * L, *gain = units + c->norm[k].gain * L;
        V sum_d[MAX_GATES] = {{0}}, sum_dz[MAX_GATES] = {{0}}; /* independent ones */
        for (ptrdiff_t j = 0; j < H; j += L, d += panel_step, gain += own_weights(c) * L)
#pragma GCC unroll 4
            for (int g = 0; g < MAX_GATES; g++) {
                if (g == count)
                    break;
                V dz = vkeep(vloada(d + g * L) * vloada(gain + g * L), H - j);
                V z = (get(saved + (first + g) * H + j, H - j) - mean) * scale;
                sum_d[g] += dz;
                sum_dz[g] = vfma(dz, z, sum_dz[g]);
            }
        sums[2 * k] = vtotal((sum_d[0] + sum_d[1]) + (sum_d[2] + sum_d[3]))[0] / (real)(count * H);
        sums[2 * k + 1] = vtotal((sum_dz[0] + sum_dz[1]) + (sum_dz[2] + sum_dz[3]))[0] / (real)(count * H);
    }
}
