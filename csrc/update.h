/* Optimizers: the formulas of pyrnn_layers.h, number by number, so that no order matters. A number is read once and written
 * once; the time is that of memory. What does not change in a loop is asked there all the same: it costs nothing. */

INLINE void descend_plainly(const pyrnn_rate *rate, const pyrnn_parameter *q, ptrdiff_t from, ptrdiff_t to)
{
    const V lr = vset((real)-rate->lr), l2 = vset((real)rate->l2), shrink = vset((real)rate->shrink);
    const V momentum = vset((real)rate->momentum);
    real *p = q->p, *u = q->u;
    const real *g = q->g;
    for (ptrdiff_t j = from; j < to; j += L) {
        V x = get(p + j, to - j), d = vfma(l2, x, get(g + j, to - j));
        if (u) {
            V fast = vfma(momentum, get(u + j, to - j), d);
            put(u + j, fast, to - j);
            d = rate->nesterov ? vfma(momentum, fast, d) : fast;
        }
        put(p + j, vfma(lr, d, x * shrink), to - j);
    }
}

INLINE void rmsprop(const pyrnn_rate *rate, const pyrnn_parameter *q, ptrdiff_t from, ptrdiff_t to)
{
    const V lr = vset((real)-rate->lr), l2 = vset((real)rate->l2), shrink = vset((real)rate->shrink);
    const V momentum = vset((real)rate->momentum), eps = vset((real)rate->eps);
    const V old1 = vset((real)rate->old[0]), new1 = vset((real)rate->new[0]);
    const V old2 = vset((real)rate->old[1]), new2 = vset((real)rate->new[1]);
    real *p = q->p, *m = q->m, *v = q->v, *u = q->u;
    const real *g = q->g;
    for (ptrdiff_t j = from; j < to; j += L) {
        V x = get(p + j, to - j), d = vfma(l2, x, get(g + j, to - j));
        V square = vfma(old2, get(v + j, to - j), new2 * (d * d));
        put(v + j, square, to - j);
        if (m) {
            V mean = vfma(old1, get(m + j, to - j), new1 * d);
            put(m + j, mean, to - j);
            square = vmax(vset(0), vfma(-mean, mean, square)); /* rounding may leave less than nothing */
        }
        d = d / (vsqrt(square) + eps);
        if (u) {
            d = vfma(momentum, get(u + j, to - j), d);
            put(u + j, d, to - j);
        }
        put(p + j, vfma(lr, d, x * shrink), to - j);
    }
}

INLINE void adam(const pyrnn_rate *rate, const pyrnn_parameter *q, ptrdiff_t from, ptrdiff_t to)
{
    const V lr = vset((real)-rate->lr), l2 = vset((real)rate->l2), shrink = vset((real)rate->shrink);
    const V root = vset((real)rate->root), eps = vset((real)rate->eps);
    const V old1 = vset((real)rate->old[0]), new1 = vset((real)rate->new[0]);
    const V old2 = vset((real)rate->old[1]), new2 = vset((real)rate->new[1]);
    real *p = q->p, *m = q->m, *v = q->v;
    const real *g = q->g;
    for (ptrdiff_t j = from; j < to; j += L) {
        V x = get(p + j, to - j), d = vfma(l2, x, get(g + j, to - j));
        V mean = vfma(old1, get(m + j, to - j), new1 * d);
        V square = vfma(old2, get(v + j, to - j), new2 * (d * d));
        put(m + j, mean, to - j);
        put(v + j, square, to - j);
        put(p + j, vfma(lr, mean / vfma(vsqrt(square), root, eps), x * shrink), to - j);
    }
}

static void update(const pyrnn_rate *rate, const pyrnn_parameter *parameter, ptrdiff_t from, ptrdiff_t to)
{
    if (rate->rule == PYRNN_SGD)
        descend_plainly(rate, parameter, from, to);
    else if (rate->rule == PYRNN_RMSPROP)
        rmsprop(rate, parameter, from, to);
    else
        adam(rate, parameter, from, to);
}
