/* GRU, reset after the product, with layer normalization. Gates r z n; state h. LN(x) = (x - mean) / sqrt(variance + 1e-5), over
 * a row.
 *
 *     r, z = gate(gain_x * LN(W x) + b_x + gain_h * LN(R h) + b_h)                     over the 2H of both
 *     n = act(gain_x * LN(W_n x) + b_x + r * (gain_h * LN(R_n h) + b_h))               over H
 *     h' = (1-z)*n + z*h
 *
 * in two phases: the products, and what waits for all of them. Saves W x in the order n r z, R h in the order r z n, and the
 * activated gates r z n.
 *
 * Slots: the gradients of these two, and those of b in the order n r z n' as in gru.h; then those of the weights that each unit
 * has for itself, which come behind b_x and b_h: gain_x and gain_h, both r z n.  Ba et al. 2016, arXiv:1607.06450,
 * equations 29-32. */
static const cell gru_norm = {
    .name = "gru_norm",
    .gates = 3,
    .slots = 10,
    .states = 1,
    .saves = 9,
    .phases = 2,
    .phase =
        {
            {.first = 3, .count = 3, .saves = 0x3f, .looks_back = 0x3f, .needs = 15 << 6, .fills = 0x3f},
            {.reads = 0x3f, .saves = 7 << 6, .looks_back = 0x1ff, .fills = 0x3ff << 6},
        },
    .norms = 4,
    .norm =
        {
            {.phase = 1, .first = 0, .count = 1, .gain = 8, .slot = 6},
            {.phase = 1, .first = 1, .count = 2, .gain = 6, .slot = 7},
            {.phase = 1, .first = 3, .count = 2, .gain = 9, .slot = 7},
            {.phase = 1, .first = 5, .count = 1, .gain = 11, .slot = 9},
        },
    .block_x = {2, 0, 1},
    .block_h = {-1, -1, -1, 0, 1, 2},
    .activation = PYRNN_TANH,
    .recurrent_activation = PYRNN_SIGMOID,
    .units = 6,
    .shifts = 6,
    .slot_x = 6,
    .slot_h = 7,
};

/* Of the saved W x and R h: the normalization, the gain among own weights and its gradient's slot, the slot of b's. */
enum { GRU_NORM_PARTS = 6 };
static const struct {
    tiny norm, gain, slot, db;
} gru_norm_parts[GRU_NORM_PARTS] = {
    {0, 8, 12, 6}, {1, 6, 10, 7}, {1, 7, 11, 8}, {2, 9, 13, 7}, {2, 10, 14, 8}, {3, 11, 15, 9},
};

/* Their normalizations, with gain and shift. */
INLINE V gru_norm_part(const place *at, int k, const V *saved)
{
    return vfma(normal(at, gru_norm_parts[k].norm, saved[k]), own_weight(at, gru_norm_parts[k].gain),
                own_weight(at, k));
}

/* The loops are to stay loops: their code is the activations'. */
INLINE void gru_norm_point(int phase, const V *ax, const V *ah, V *s, V *saved, const place *at)
{
    if (phase == 0) {
        for (int k = 0; k < 3; k++)
            saved[k] = ax[k], saved[3 + k] = ah[k];
        return;
    }
#pragma GCC unroll 1
    for (int k = 0; k < 3; k++) {
        V x = gru_norm_part(at, (k + 1) % 3, saved), h = gru_norm_part(at, 3 + k, saved);
        int last = k == 2;
        saved[6 + k] = activation(last ? at->options->activation : at->options->recurrent_activation,
                                  last ? vfma(saved[6], h, x) : x + h);
    }
    s[0] = vfma(saved[7], s[0] - saved[8], saved[8]);
}

INLINE void gru_norm_back(int phase, V acc, const V *saved, const V *s0, const V *s1, V *ds, V *da,
                          const place *at)
{
    (void)acc, (void)s1;
    if (phase == 1) {
        V r = saved[6], z = saved[7], n = saved[8];
        da[6] = ds[0] * (vset(1) - z) * act_slope(at, n);
        da[7] = da[6] * gru_norm_part(at, 5, saved) * gate_slope(at, r);
        da[8] = ds[0] * (s0[0] - n) * gate_slope(at, z);
        da[9] = da[6] * r;
        ds[0] = ds[0] * z;
    }
#pragma GCC unroll 1
    for (int k = 0; k < GRU_NORM_PARTS; k++) {
        const int norm = gru_norm_parts[k].norm;
        V x = normal(at, norm, saved[k]), d = da[gru_norm_parts[k].db];
        if (phase == 1)
            da[gru_norm_parts[k].slot] = d * x;
        else
            da[k] = normal_back(at, norm, d * own_weight(at, gru_norm_parts[k].gain), x);
    }
}
