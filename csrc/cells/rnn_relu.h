/* ReLU-RNN. One gate, one slot; state h; saves nothing, since h' says its own derivative (0 at 0).
 *
 *     h' = max(0, ax + ah)                                                       Le, Jaitly & Hinton 2015,
 * arXiv:1504.00941 */
static const cell rnn_relu = {
    .name = "rnn_relu",
    .gates = 1,
    .slots = 1,
    .states = 1,
    .saves = 0,
    .phases = 1,
    .phase = {{.first = 0, .count = 1}},
    .block_x = {0},
    .block_h = {0},
};

INLINE void rnn_relu_point(int phase, const V *ax, const V *ah, V *s, V *saved)
{
    (void)phase, (void)saved;
    s[0] = vrelu(ax[0] + ah[0]);
}

INLINE void rnn_relu_back(int phase, V acc, const V *saved, const V *s0, const V *s1, V *ds, V *da)
{
    (void)phase, (void)acc, (void)saved, (void)s0;
    da[0] = (V)((VI)ds[0] & (VI)(s1[0] > vset(0)));
    ds[0] = vset(0);
}
