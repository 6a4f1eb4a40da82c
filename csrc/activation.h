/* The activations that a layer may choose, and their slopes. A plain cell, which has no `at`, gets its own one at compile
 * time. */

INLINE V activation(int kind, V x)
{
    V one = vset(1);
    switch (kind) {
    case PYRNN_TANH: return vtanh(x);
    case PYRNN_SIGMOID: return vsigmoid(x);
    case PYRNN_RELU: return vrelu(x);
    case PYRNN_HARD_SIGMOID: return vmin(one, vmax(vset(0), vfma(x, vset((real)(1. / 6)), vset((real)0.5))));
    case PYRNN_SOFTSIGN: return x / (one + vmax(x, -x));
    default: return x; /* PYRNN_IDENTITY */
    }
}

/* The slope where the activation's value is y. */
INLINE V activation_slope(int kind, V y)
{
    V one = vset(1), rest;
    switch (kind) {
    case PYRNN_TANH: return one - y * y;
    case PYRNN_SIGMOID: return y * (one - y);
    case PYRNN_RELU: return (V)((y > 0) & (VI)one);
    case PYRNN_HARD_SIGMOID: return (V)((y > 0) & (y < 1) & (VI)vset((real)(1. / 6)));
    case PYRNN_SOFTSIGN: rest = one - vmax(y, -y); return rest * rest;
    default: return one;
    }
}

/* The gradient d through an activation whose value is y: where that is flat, 0 even if d is infinite. */
INLINE V through(int kind, V d, V y)
{
    return kind == PYRNN_RELU ? (V)((y > 0) & (VI)d) : d * activation_slope(kind, y);
}

/* The activation of the candidate and the output, that of the gates, and their slopes. */
INLINE V act(const place *at, V x) { return activation(at ? at->options->activation : PYRNN_TANH, x); }
INLINE V act_slope(const place *at, V y)
{
    return activation_slope(at ? at->options->activation : PYRNN_TANH, y);
}
INLINE V gate(const place *at, V x)
{
    return activation(at ? at->options->recurrent_activation : PYRNN_SIGMOID, x);
}
INLINE V gate_slope(const place *at, V y)
{
    return activation_slope(at ? at->options->recurrent_activation : PYRNN_SIGMOID, y);
}

/* Weight number k that the units have for themselves. */
INLINE V own_weight(const place *at, int k) { return vloada(at->units + k * L); }
