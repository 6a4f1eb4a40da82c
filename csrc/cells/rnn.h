/* Elman network. One gate, one slot; state h; saves nothing, since h' says its own derivative (0 at 0 for relu).
 *
 *     h' = act(ax + ah)
 *
 * act is the tanh (Elman 1990), or the rectifier (Le, Jaitly & Hinton 2015, arXiv:1504.00941), unless the layer says
 * otherwise. */
#define RNN(cell_name, kind)                                                                                 \
    static const cell cell_name = {                                                                          \
        .name = #cell_name,                                                                                  \
        .gates = 1,                                                                                          \
        .slots = 1,                                                                                          \
        .states = 1,                                                                                         \
        .phases = 1,                                                                                         \
        .phase = {{.first = 0, .count = 1}},                                                                 \
        .activation = kind,                                                                                  \
    };                                                                                                       \
                                                                                                             \
    INLINE void cell_name##_point(int phase, const V *ax, const V *ah, V *s, V *saved, const place *at)      \
    {                                                                                                        \
        (void)phase, (void)saved;                                                                            \
        s[0] = activation(at ? at->options->activation : kind, ax[0] + ah[0]);                               \
    }                                                                                                        \
                                                                                                             \
    INLINE void cell_name##_back(int phase, V acc, const V *saved, const V *s0, const V *s1, V *ds, V *da,   \
                                 const place *at)                                                            \
    {                                                                                                        \
        (void)phase, (void)acc, (void)saved, (void)s0;                                                       \
        da[0] = through(at ? at->options->activation : kind, ds[0], s1[0]);                                  \
        ds[0] = vset(0);                                                                                     \
    }

RNN(rnn_tanh, PYRNN_TANH)
RNN(rnn_relu, PYRNN_RELU)
#undef RNN
