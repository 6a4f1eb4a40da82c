/* Independently recurrent network: a unit sees of the state its own value alone, times a weight u of its own. One gate;
 * state h; saves h' as it was before zoneout.
 *
 *     h' = act(ax + u * h)        act is the rectifier unless the layer says otherwise
 *
 * Slots: the gate, u. Li et al. 2018, arXiv:1803.04831. */
static const cell indrnn = {
    .name = "indrnn",
    .gates = 1,
    .slots = 1,
    .states = 1,
    .saves = 1,
    .phases = 1,
    .activation = PYRNN_RELU,
    .units = 1,
};

INLINE void indrnn_point(int phase, const V *ax, const V *ah, V *s, V *saved, const place *at)
{
    (void)phase, (void)ah;
    s[0] = saved[0] = act(at, vfma(own_weight(at, 0), s[0], ax[0]));
}

INLINE void indrnn_back(int phase, V acc, const V *saved, const V *s0, const V *s1, V *ds, V *da,
                        const place *at)
{
    (void)phase, (void)acc, (void)s1;
    da[0] = through(at->options->activation, ds[0], saved[0]);
    da[1] = da[0] * s0[0];
    ds[0] = da[0] * own_weight(at, 0);
}
