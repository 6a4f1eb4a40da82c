/* Tanh-RNN. One gate, one slot; state h; saves nothing, since h' says its own derivative.
 *
 *     h' = tanh(ax + ah) Elman 1990 */
static const cell rnn_tanh = {
    .name = "rnn_tanh",
    .gates = 1,
    .slots = 1,
    .states = 1,
    .saves = 0,
    .phases = 1,
    .phase = {{.first = 0, .count = 1}},
    .block_x = {0},
    .block_h = {0},
};

INLINE void rnn_tanh_point(int phase, const V *ax, const V *ah, V *s, V *saved)
{
    (void)phase, (void)saved;
    s[0] = vtanh(ax[0] + ah[0]);
}

INLINE void rnn_tanh_back(int phase, V acc, const V *saved, const V *s0, const V *s1, V *ds, V *da)
{
    (void)phase, (void)acc, (void)saved, (void)s0;
    da[0] = ds[0] * (vset(1) - s1[0] * s1[0]);
    ds[0] = vset(0);
}
