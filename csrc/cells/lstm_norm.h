/* LSTM with layer normalization. Gates i f g o; states h c. LN(x) = (x - mean) / sqrt(variance + 1e-5), over a row.
 *
 *     a = gain_x * LN(W x) + b_x + gain_h * LN(R h) + b_h          over the 4H of all gates
 *     i, f = gate(a + p*c)    g = act(a)    c' = f*c + i*g    o = gate(a + p*c')    h' = o * act(gain_c * LN(c') + b_c)
 *
 * in three phases: the products; c', once all of them are there; h', once all of c' is. Saves W x and R h, the activated gates
 * i f g o, and c', which with zoneout the state after the step need not be.
 *
 * Slots: the gradients of W x and of R h; that of c' past LN; those of b (b_x and b_h have the same); then those of the weights
 * that each unit has for itself, which come behind b_x and b_h: gain_x, gain_h, gain_c, b_c, p.  Ba et al. 2016,
 * arXiv:1607.06450, equations 20-22. */

/* As listed in cells.def, and as its driver knows it, with the slots of those weights. */
#define LSTM_NORM(cell_name, with_own)                                                                       \
    static const cell cell_name = {                                                                          \
        .name = "lstm_norm",                                                                                 \
        .gates = 4,                                                                                          \
        .slots = 13 + 10 * (with_own),                                                                       \
        .states = 2,                                                                                         \
        .saves = 13,                                                                                         \
        .phases = 3,                                                                                         \
        .phase =                                                                                             \
            {                                                                                                \
                {.first = 4,                                                                                 \
                 .count = 4,                                                                                 \
                 .saves = 0x00ff,                                                                            \
                 .looks_back = 0xff,                                                                         \
                 .needs = 15 << 9,                                                                           \
                 .fills = 0x00ff},                                                                           \
                {.reads = 0x00ff,                                                                            \
                 .saves = 0x1f00,                                                                            \
                 .looks_back = 0x17ff,                                                                       \
                 .needs = 1 << 8 | 1 << 12 | 1 << 22,                                                        \
                 .fills = 7 << 9 | 0xff << 13 | 3 << 23},                                                    \
                {.reads = 0x1800, .looks_back = 0x1800, .fills = 1 << 8 | 1 << 12 | 3 << 21 | 1 << 25},      \
            },                                                                                               \
        .norms = 3,                                                                                          \
        .norm =                                                                                              \
            {                                                                                                \
                {.phase = 1, .first = 0, .count = 4, .gain = 8, .slot = 9},                                  \
                {.phase = 1, .first = 4, .count = 4, .gain = 12, .slot = 9},                                 \
                {.phase = 2, .first = 12, .count = 1, .gain = 16, .slot = 22},                               \
            },                                                                                               \
        .block_x = {0, 1, 2, 3},                                                                             \
        .block_h = {-1, -1, -1, -1, 0, 1, 2, 3},                                                             \
        .activation = PYRNN_TANH,                                                                            \
        .recurrent_activation = PYRNN_SIGMOID,                                                               \
        .units = 10,                                                                                         \
        .peepholes = 3,                                                                                      \
        .shifts = 8,                                                                                         \
        .general = with_own,                                                                                 \
        .first_own = 13,                                                                                     \
        .slot_x = 9,                                                                                         \
        .slot_h = 9,                                                                                         \
    };
LSTM_NORM(lstm_norm, 0)
LSTM_NORM(lstm_norm_own, 1)
#undef LSTM_NORM

/* The activation of gate k. */
INLINE int lstm_norm_kind(const place *at, int k)
{
    return k == 2 ? at->options->activation : at->options->recurrent_activation;
}

/* The loops are to stay loops: their code is the activations'. */
INLINE void lstm_norm_point(int phase, const V *ax, const V *ah, V *s, V *saved, const place *at)
{
    V *act_of = saved + 8, *next = saved + 12;
    if (phase == 0)
        for (int k = 0; k < 4; k++)
            saved[k] = ax[k], saved[4 + k] = ah[k];
    else if (phase == 1) {
        const int peep = lstm_peepholes(at);
#pragma GCC unroll 1
        for (int k = 0; k < 4; k++) {
            V a = vfma(normal(at, 0, saved[k]), own_weight(at, 8 + k), own_weight(at, k));
            a = vfma(normal(at, 1, saved[4 + k]), own_weight(at, 12 + k), a + own_weight(at, 4 + k));
            if (k == 3)
                *next = lstm_carry(act_of[0], act_of[1], act_of[2], s[1], at);
            if (peep && k != 2)
                a = vfma(own_weight(at, 18 + k - k / 3), k == 3 ? *next : s[1], a);
            act_of[k] = activation(lstm_norm_kind(at, k), a);
        }
    } else {
        s[1] = *next;
        s[0] = act_of[3] * act(at, vfma(normal(at, 2, *next), own_weight(at, 16), own_weight(at, 17)));
    }
}

INLINE void lstm_norm_back(int phase, V acc, const V *saved, const V *s0, const V *s1, V *ds, V *da,
                           const place *at)
{
    (void)acc, (void)s1;
    const int peep = lstm_peepholes(at);
    const V *act_of = saved + 8;
    V c = s0[1], next = saved[12], *db = da + 9, *dp = da + 23;
    if (phase == 2) {
        V z = normal(at, 2, next);
        V tc = act(at, vfma(z, own_weight(at, 16), own_weight(at, 17)));
        da[22] = ds[0] * act_of[3] * act_slope(at, tc);
        da[21] = da[22] * z;
        db[3] = ds[0] * tc * gate_slope(at, act_of[3]);
        da[8] = ds[1];
        if (peep) {
            da[8] = vfma(db[3], own_weight(at, 20), ds[1]);
            dp[2] = db[3] * next;
        }
        ds[0] = ds[1] = vset(0);
    } else if (phase == 1) {
        V d = normal_back(at, 2, da[22] * own_weight(at, 16), normal(at, 2, next));
        V dc = lstm_unclipped(at, next, da[8] + d);
        V other[3] = {act_of[2], c, act_of[0]};
        ds[1] = vfma(dc, act_of[1], ds[1]);
#pragma GCC unroll 1
        for (int k = 0; k < 3; k++) {
            db[k] = dc * other[k] * activation_slope(lstm_norm_kind(at, k), act_of[k]);
            if (peep && k < 2) {
                ds[1] = vfma(db[k], own_weight(at, 18 + k), ds[1]);
                dp[k] = db[k] * c;
            }
        }
#pragma GCC unroll 1
        for (int k = 0; k < 8; k++)
            da[13 + k] = db[k % 4] * normal(at, k / 4, saved[k]);
    } else
#pragma GCC unroll 1
        for (int k = 0; k < 8; k++)
            da[k] = normal_back(at, k / 4, db[k % 4] * own_weight(at, 8 + k), normal(at, k / 4, saved[k]));
}
