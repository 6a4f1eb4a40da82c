/* GRU, reset before the product, as published. Gates r z n; state h; saves r, z, n and rh = r * h.
 *
 *     r, z = gate(ax + ah)    n = act(ax_n + R_n (r*h))    h' = (1-z)*n + z*h
 *
 * The candidate's product needs r of the whole row, so a step has two phases: r and z from h, then n from rh.
 * gate is the sigmoid and act the tanh unless the layer says otherwise.
 *
 * Slots n r z.  Cho et al. 2014, arXiv:1406.1078, third version, equations 5-8. */
static const cell gru_before = {
    .name = "gru_before",
    .gates = 3,
    .slots = 3,
    .states = 1,
    .saves = 4,
    .phases = 2,
    .phase =
        {
            {.first = 1, .count = 2, .saves = 11, .looks_back = 1, .fills = 2},
            {.first = 0, .count = 1, .source = 3, .reads = 2, .saves = 4, .looks_back = 6, .fills = 5},
        },
    .block_x = {2, 0, 1},
    .block_h = {2, 0, 1},
    .activation = PYRNN_TANH,
    .recurrent_activation = PYRNN_SIGMOID,
};

INLINE void gru_before_point(int phase, const V *ax, const V *ah, V *s, V *saved, const place *at)
{
    if (phase == 0) {
        saved[0] = gate(at, ax[1] + ah[0]);
        saved[1] = gate(at, ax[2] + ah[1]);
        saved[3] = saved[0] * s[0];
    } else {
        V n = act(at, ax[0] + ah[0]);
        s[0] = vfma(saved[1], s[0] - n, n);
        saved[2] = n;
    }
}

INLINE void gru_before_back(int phase, V acc, const V *saved, const V *s0, const V *s1, V *ds, V *da,
                            const place *at)
{
    (void)s1;
    if (phase == 1) {
        V one = vset(1), z = saved[1], n = saved[2];
        da[0] = ds[0] * (one - z) * act_slope(at, n);
        da[2] = ds[0] * (s0[0] - n) * gate_slope(at, z);
        ds[0] = ds[0] * z;
    } else { /* acc is the gradient of rh */
        V r = saved[0];
        da[1] = acc * s0[0] * gate_slope(at, r);
        ds[0] = vfma(acc, r, ds[0]);
    }
}
