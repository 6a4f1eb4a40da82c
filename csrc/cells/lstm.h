/* LSTM. Gates and slots i f g o; states h c; saves the four activated gates.
 *
 *     i, f, o = sigmoid(ax + ah)    g = tanh(ax + ah)    c' = f*c + i*g    h' = o * tanh(c')
 *
 * tanh(c') is computed again on the way back: c' is saved as a state, and a tanh costs less than a fifth
 * array. Hochreiter & Schmidhuber 1997; Gers, Schmidhuber & Cummins 2000 (the forget gate). */
static const cell lstm = {
    .name = "lstm",
    .gates = 4,
    .slots = 4,
    .states = 2,
    .saves = 4,
    .phases = 1,
    .phase = {{.first = 0, .count = 4}},
    .block_x = {0, 1, 2, 3},
    .block_h = {0, 1, 2, 3},
};

INLINE void lstm_point(int phase, const V *ax, const V *ah, V *s, V *saved)
{
    (void)phase;
    V i = vsigmoid(ax[0] + ah[0]), f = vsigmoid(ax[1] + ah[1]);
    V g = vtanh(ax[2] + ah[2]), o = vsigmoid(ax[3] + ah[3]);
    s[1] = vfma(f, s[1], i * g);
    s[0] = o * vtanh(s[1]);
    saved[0] = i, saved[1] = f, saved[2] = g, saved[3] = o;
}

INLINE void lstm_back(int phase, V acc, const V *saved, const V *s0, const V *s1, V *ds, V *da)
{
    (void)phase, (void)acc;
    V one = vset(1), i = saved[0], f = saved[1], g = saved[2], o = saved[3], tc = vtanh(s1[1]);
    V dc = vfma(ds[0] * o, one - tc * tc, ds[1]);
    da[0] = dc * g * (i * (one - i));
    da[1] = dc * s0[1] * (f * (one - f));
    da[2] = dc * i * (one - g * g);
    da[3] = ds[0] * tc * (o * (one - o));
    ds[0] = vset(0);
    ds[1] = dc * f;
}
