/* GRU, reset after the product, as in cuDNN and PyTorch. Gates r z n; state h; saves r, z, n and the
 * recurrent part hn.
 *
 *     r, z = gate(ax + ah)    n = act(ax_n + r * ah_n)    h' = (1-z)*n + z*h
 *
 * gate is the sigmoid and act the tanh unless the layer says otherwise.
 *
 * Slots n r z n': the gradient of the candidate reaches the input as n and the recurrent product as n' = n *
 * r, so the input's products read the slots 0-2 and the recurrent ones 1-3.  Cho et al. 2014,
 * arXiv:1406.1078, first version. */

/* Plain and with options. */
#define GRU(cell_name, with_options)                                                                         \
    static const cell cell_name = {                                                                          \
        .name = "gru",                                                                                       \
        .gates = 3,                                                                                          \
        .slots = 4,                                                                                          \
        .states = 1,                                                                                         \
        .saves = 4,                                                                                          \
        .phases = 1,                                                                                         \
        .phase = {{.first = 1, .count = 3}},                                                                 \
        .block_x = {2, 0, 1},                                                                                \
        .block_h = {-1, 0, 1, 2},                                                                            \
        .activation = PYRNN_TANH,                                                                            \
        .recurrent_activation = PYRNN_SIGMOID,                                                               \
        .general = with_options,                                                                             \
        .first_own = 4,                                                                                      \
    };
GRU(gru, 0)
GRU(gru_options, 1)
#undef GRU

INLINE void gru_point(int phase, const V *ax, const V *ah, V *s, V *saved, const place *at)
{
    (void)phase;
    V r = gate(at, ax[1] + ah[0]), z = gate(at, ax[2] + ah[1]);
    V n = act(at, vfma(r, ah[2], ax[0]));
    s[0] = vfma(z, s[0] - n, n);
    saved[0] = r, saved[1] = z, saved[2] = n, saved[3] = ah[2];
}

INLINE void gru_back(int phase, V acc, const V *saved, const V *s0, const V *s1, V *ds, V *da,
                     const place *at)
{
    (void)phase, (void)acc, (void)s1;
    V one = vset(1), r = saved[0], z = saved[1], n = saved[2], hn = saved[3];
    V dn = ds[0] * (one - z) * act_slope(at, n);
    da[0] = dn;
    da[1] = dn * hn * gate_slope(at, r);
    da[2] = ds[0] * (s0[0] - n) * gate_slope(at, z);
    da[3] = dn * r;
    ds[0] = ds[0] * z;
}
