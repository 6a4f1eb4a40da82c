/* minLSTM: gates and candidate see the input alone. Gates and slots f i n; state h; saves f', i', n and the slopes of log f
 * and log i.
 *
 *     f, i = sigmoid(ax)    n = g(ax)    f' = f / (f + i)    i' = i / (f + i)    h' = f'*h + i'*n
 *
 * with minGRU's g. f and i may both be too small for their quotients, hence
 *
 *     f' = (1 + exp(-a_i)) / ((1 + exp(-a_i)) + (1 + exp(-a_f)))
 *
 * with every term divided by the largest, and gates that are infinite taken for very large ones. Feng et al. 2024, arXiv:2410.01201, section 3.2 and appendix B. */
static const cell minlstm = {
    .name = "minlstm",
    .gates = 3,
    .slots = 3,
    .states = 1,
    .saves = 5,
    .phases = 1,
    .block_x = {0, 1, 2},
};

INLINE void minlstm_point(int phase, const V *ax, const V *ah, V *s, V *saved, const place *at)
{
    (void)phase, (void)ah, (void)at;
    V limit = vset((real)1e30), af = vmin(limit, vmax(-limit, ax[0])), ai = vmin(limit, vmax(-limit, ax[1]));
    V most = vmax(vset(0), vmax(-af, -ai)), one = vexp(-most);
    V not_f = one + vexp(-af - most), not_i = one + vexp(-ai - most), sum = not_f + not_i;
    V f = not_i / sum, i = not_f / sum, n = positive(ax[2]);
    saved[0] = f, saved[1] = i, saved[2] = n;
    saved[3] = vsigmoid(-ax[0]), saved[4] = vsigmoid(-ax[1]);
    s[0] = vfma(f, s[0], i * n);
}

INLINE void minlstm_back(int phase, V acc, const V *saved, const V *s0, const V *s1, V *ds, V *da,
                         const place *at)
{
    (void)phase, (void)acc, (void)s1, (void)at;
    V f = saved[0], i = saved[1], n = saved[2], d = ds[0] * (s0[0] - n) * (f * i);
    da[0] = d * saved[3];
    da[1] = -d * saved[4];
    da[2] = ds[0] * i * positive_slope(n);
    ds[0] = ds[0] * f;
}
