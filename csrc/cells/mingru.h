/* minGRU: gates and candidate see the input alone. Gates and slots z n; state h; saves z n.
 *
 *     z = gate(ax)    n = g(ax)    h' = (1-z)*h + z*n        g(x) = x + 1/2 from 0 on, else sigmoid(x)
 *
 * g keeps the candidate positive, so that nothing cancels. Feng et al. 2024, arXiv:2410.01201, section 3.1 and
 * appendix B. */
static const cell mingru = {
    .name = "mingru",
    .gates = 2,
    .slots = 2,
    .states = 1,
    .saves = 2,
    .phases = 1,
    .block_x = {0, 1},
    .recurrent_activation = PYRNN_SIGMOID,
};

INLINE V positive(V x)
{
    VI right = x >= 0;
    return (V)((right & (VI)(x + vset((real)0.5))) | (~right & (VI)vsigmoid(x)));
}

/* The slope of g where its value is y. */
INLINE V positive_slope(V y)
{
    VI right = y >= (real)0.5;
    return (V)((right & (VI)vset(1)) | (~right & (VI)(y * (vset(1) - y))));
}

INLINE void mingru_point(int phase, const V *ax, const V *ah, V *s, V *saved, const place *at)
{
    (void)phase, (void)ah;
    V z = saved[0] = gate(at, ax[0]), n = saved[1] = positive(ax[1]);
    s[0] = vfma(z, n, (vset(1) - z) * s[0]);
}

INLINE void mingru_back(int phase, V acc, const V *saved, const V *s0, const V *s1, V *ds, V *da,
                        const place *at)
{
    (void)phase, (void)acc, (void)s1;
    V z = saved[0], n = saved[1];
    da[0] = ds[0] * (n - s0[0]) * gate_slope(at, z);
    da[1] = ds[0] * z * positive_slope(n);
    ds[0] = ds[0] * (vset(1) - z);
}
