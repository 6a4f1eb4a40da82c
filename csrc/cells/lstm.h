/* LSTM. Gates and slots i f g o; states h c; saves the four activated gates.
 *
 *     i, f = gate(ax + ah + p*c)    g = act(ax + ah)    c' = f*c + i*g    o = gate(ax + ah + p*c')    h' = o * act(c')
 *
 * gate is the sigmoid and act the tanh unless the layer says otherwise; p*c is there with peepholes alone, and c' may be
 * clipped. act(c') is computed again on the way back: c' is saved as a state, and a tanh costs less than a fifth
 * array. Coupled, f = 1 - i: gates and slots i g o; saves i g o.
 *
 * Hochreiter & Schmidhuber 1997; Gers, Schmidhuber & Cummins 2000 (the forget gate); Gers & Schmidhuber 2000
 * (peepholes); Greff et al. 2017 (coupled). */

/* Plain, with options, with peepholes too, and with a projection: drivers of their own (kernels.c). */
#define LSTM(cell_name, with_options, own, projection)                                                       \
    static const cell cell_name = {                                                                          \
        .name = "lstm",                                                                                      \
        .gates = 4,                                                                                          \
        .slots = 4 + (own) + (projection),                                                                   \
        .states = 2,                                                                                         \
        .saves = 4 + (projection),                                                                           \
        .phases = 1 + (projection),                                                                          \
        .phase = {{.first = 0, .count = 4}, {.first = 4, .count = projection, .source = 4}},                 \
        .block_x = {0, 1, 2, 3},                                                                             \
        .block_h = {0, 1, 2, 3},                                                                             \
        .activation = PYRNN_TANH,                                                                            \
        .recurrent_activation = PYRNN_SIGMOID,                                                               \
        .units = own,                                                                                        \
        .peepholes = 3,                                                                                      \
        .peeps = (own) > 0,                                                                                  \
        .general = with_options,                                                                             \
        .projected = projection,                                                                             \
        .first_own = 4,                                                                                      \
    };
LSTM(lstm, 0, 0, 0)
LSTM(lstm_options, 1, 0, 0)
LSTM(lstm_peephole, 1, 3, 0)
LSTM(lstm_projected, 1, 0, 1)
#undef LSTM

static const cell lstm_coupled = {
    .name = "lstm_coupled",
    .gates = 3,
    .slots = 3,
    .states = 2,
    .saves = 3,
    .phases = 1,
    .phase = {{.first = 0, .count = 3}},
    .block_x = {0, 1, 2},
    .block_h = {0, 1, 2},
    .activation = PYRNN_TANH,
    .recurrent_activation = PYRNN_SIGMOID,
    .peepholes = 2,
};

/* c' from the activated gates. */
INLINE V lstm_carry(V i, V f, V g, V c, const place *at)
{
    V next = vfma(f, c, i * g);
    if (at && at->options->clip > 0) {
        V most = vset((real)at->options->clip);
        next = vmin(most, vmax(-most, next)); /* a NaN stays one */
    }
    return next;
}

/* The gradient of c' before it was clipped. */
INLINE V lstm_unclipped(const place *at, V next, V dc)
{
    if (!at || !(at->options->clip > 0))
        return dc;
    V most = vset((real)at->options->clip);
    return (V)((VI)dc & ~(vmax(next, -next) >= most));
}

INLINE int lstm_peepholes(const place *at) { return at && at->peepholes; }

/* The formulas. The saved gates are i g o behind each other, f stands first among them where it is a gate of its own:
 * slots and peepholes likewise. */
INLINE void lstm_formula(int coupled, const V *ax, const V *ah, V *s, V *saved, const place *at)
{
    const int g_ = coupled ? 1 : 2, o_ = g_ + 1, peep = lstm_peepholes(at);
    V c = s[1], i = ax[0] + ah[0], o = ax[o_] + ah[o_], f;
    if (peep)
        i = vfma(own_weight(at, 0), c, i);
    i = gate(at, i);
    if (coupled)
        f = vset(1) - i;
    else {
        f = ax[1] + ah[1];
        if (peep)
            f = vfma(own_weight(at, 1), c, f);
        f = gate(at, f);
    }
    V g = act(at, ax[g_] + ah[g_]);
    s[1] = lstm_carry(i, f, g, c, at);
    if (peep)
        o = vfma(own_weight(at, g_), s[1], o);
    o = gate(at, o);
    s[0] = o * act(at, s[1]);
    saved[0] = i, saved[g_] = g, saved[o_] = o;
    if (!coupled)
        saved[1] = f;
}

INLINE void lstm_gradient(int coupled, const V *saved, const V *s0, const V *s1, V *ds, V *da,
                          const place *at)
{
    const int g_ = coupled ? 1 : 2, o_ = g_ + 1, peep = lstm_peepholes(at);
    V one = vset(1), i = saved[0], f = coupled ? one - i : saved[1], g = saved[g_], o = saved[o_], c = s0[1];
    /* With zoneout the state after the step need not be c'. */
    V next = at ? lstm_carry(i, f, g, c, at) : s1[1], tc = act(at, next);
    V dao = ds[0] * tc * gate_slope(at, o);
    V dc = vfma(ds[0] * o, act_slope(at, tc), ds[1]);
    if (peep)
        dc = vfma(dao, own_weight(at, g_), dc);
    dc = lstm_unclipped(at, next, dc);
    V dai = dc * (coupled ? g - c : g) * gate_slope(at, i), daf = vset(0);
    ds[0] = vset(0);
    ds[1] = dc * f;
    if (!coupled)
        da[1] = daf = dc * c * gate_slope(at, f);
    da[0] = dai;
    da[g_] = dc * i * act_slope(at, g);
    da[o_] = dao;
    if (!peep)
        return;
    ds[1] = vfma(dai, own_weight(at, 0), ds[1]);
    da[o_ + 1] = dai * c; /* the slots of the peepholes */
    if (!coupled) {
        ds[1] = vfma(daf, own_weight(at, 1), ds[1]);
        da[o_ + 2] = daf * c;
    }
    da[o_ + 1 + g_] = dao * next;
}

INLINE void lstm_point(int phase, const V *ax, const V *ah, V *s, V *saved, const place *at)
{
    (void)phase;
    lstm_formula(0, ax, ah, s, saved, at);
}

INLINE void lstm_back(int phase, V acc, const V *saved, const V *s0, const V *s1, V *ds, V *da,
                      const place *at)
{
    (void)phase, (void)acc;
    lstm_gradient(0, saved, s0, s1, ds, da, at);
}

INLINE void lstm_coupled_point(int phase, const V *ax, const V *ah, V *s, V *saved, const place *at)
{
    (void)phase;
    lstm_formula(1, ax, ah, s, saved, at);
}

INLINE void lstm_coupled_back(int phase, V acc, const V *saved, const V *s0, const V *s1, V *ds, V *da,
                              const place *at)
{
    (void)phase, (void)acc;
    lstm_gradient(1, saved, s0, s1, ds, da, at);
}
