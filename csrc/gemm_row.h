/* Products of a single row, whose sums are few: several groups at once hide the latency of a multiply-add. */

/* One k of a single row. */
INLINE void row_step(int groups, int vecs, int more, real a, const real *w, ptrdiff_t w_step,
                     const real *w_more, V *acc)
{
    const V b = vset(a);
#pragma GCC unroll 12
    for (int v = 0; v < groups * vecs; v++)
        acc[v] = vfma(b, vloada(w + v / vecs * w_step + v % vecs * L), acc[v]);
#pragma GCC unroll 2
    for (int v = 0; v < more; v++)
        acc[groups * vecs + v] = vfma(b, vloada(w_more + v * L), acc[groups * vecs + v]);
}

/* A piece of the product, or the rest of one whose sums so far are at `start`, else NULL: those and out and before have a group
 * after the other. groups, vecs, more and whether there is a start are constants. */
INLINE void product_row(int groups, int vecs, int more, V *out, const V *before, const V *start,
                        const real *a, const span *k, const real *w, ptrdiff_t w_step, const real *w_more)
{
    const int sums = groups * vecs + more;
    const ptrdiff_t runs = k->runs, length = k->length, run_step = k->run_step;
    V acc[MAX_SUMS];
#pragma GCC unroll 12
    for (int v = 0; v < sums; v++)
        acc[v] = start ? start[v] : vset(0);
    for (ptrdiff_t run = 0; run < runs; run++, a += run_step) {
        ptrdiff_t i = 0;
        if (!more)
#pragma GCC unroll 2
            for (; i < length; i++, w += vecs * L)
                row_step(groups, vecs, 0, a[i], w, w_step, NULL, acc);
        for (; more && i < length; i++, w += vecs * L, w_more += more * L)
            row_step(groups, vecs, more, a[i], w, w_step, w_more, acc);
    }
#pragma GCC unroll 12
    for (int v = 0; v < sums; v++)
        out[v] = before[v] + acc[v];
}

INLINE void row_piece(int groups, int vecs, int more, V *out, const V *before, const V *start, const real *a,
                      const span *k, const real *w, ptrdiff_t w_step, const real *w_more)
{
#define JOINED(g, n, m)                                                                                      \
    case ((g) * 8 + (n)) * 4 + (m): product_row(g, n, m, out, before, start, a, k, w, w_step, w_more); break;
#define SHAPE(g, n) JOINED(g, n, 0)
    switch ((groups * 8 + vecs) * 4 + more) {
    default: __builtin_unreachable();
#if PYRNN_BYTES == 64 && PYRNN_REAL == 32 /* CAN_SPREAD */
        JOINED(1, 3, 1)
        JOINED(1, 3, 2)
        JOINED(2, 3, 1)
        JOINED(2, 3, 2)
        JOINED(3, 3, 1)
        JOINED(3, 3, 2)
        JOINED(1, 4, 1)
        JOINED(1, 4, 2)
        JOINED(2, 4, 1)
        JOINED(2, 4, 2)
#endif
        SHAPE(1, 1)
        SHAPE(1, 2)
        SHAPE(1, 3)
        SHAPE(2, 3)
        SHAPE(3, 3)
        SHAPE(4, 3)
        SHAPE(1, 4)
        SHAPE(2, 4)
        SHAPE(3, 4)
    }
#undef SHAPE
#undef JOINED
}

/* out[v] = init[v] + sum_k a[k] * w[k][v] for `groups` groups of `vecs` vectors, w_step apart, and then maybe a narrow one of `more`
 * vectors. Of several groups each has as many as a tile, 3 or 4. */
NOINLINE static void product_of_row(int groups, int vecs, int more, V *out, const V *init, const real *a,
                                    const span *all, const real *w, ptrdiff_t w_step)
{
    span k = {all->runs, all->length, all->run_step, all->rest};
    const real *w_more = w + groups * w_step;
    for (const V *before = init ? init : nothing;; before = out) {
        const span part = take_piece(&k);
        row_piece(groups, vecs, more, out, before, NULL, a, &part, w, w_step, w_more);
        if (is_taken(&k))
            return;
        a += piece_step(&part);
        w += part.runs * part.length * vecs * L;
        w_more += part.runs * part.length * more * L;
    }
}

/* Where the product of a row may be cut in two, which together add the same sums. */
typedef struct {
    ptrdiff_t head; /* elements or, of gates, runs of k before the cut; none if there is no cut */
    int within; /* a piece: its sums go on behind the cut */
} row_cut;

/* A cut behind as many as possible of the first `own` of k, of which it has more: behind whole pieces, or in the only one. */
ONCE static row_cut cut_row(const span *k, ptrdiff_t own)
{
    span rest = {k->runs, k->length, k->run_step, k->rest};
    const span piece = take_piece(&rest);
    const ptrdiff_t all = k->run_step ? k->runs : k->length, each = k->run_step ? piece.runs : piece.length;
    if (own == all)
        return (row_cut){all, 0};
    if (each == all)
        return k->rest > 0 ? (row_cut){0} : (row_cut){own, 1};
    return (row_cut){own / each * each, 0};
}

/* The rest of a product that is one piece: the same loops, once more, for to begin with sums costs all others 2 %. */
NOINLINE static void rest_of_row(int groups, int vecs, V *out, const V *init, const V *start, const real *a,
                                 const span *k, const real *w, ptrdiff_t w_step)
{
    row_piece(groups, vecs, 0, out, init, start, a, k, w, w_step, NULL);
}

/* What lies before the cut, into `sums`. */
INLINE void product_before(const row_cut *cut, const bite *b, V *sums, const V *init, const real *a,
                           const span *all, const real *w, ptrdiff_t w_step)
{
    const span k = all->run_step ? (span){cut->head, all->length, all->run_step, 0} : span_of(cut->head);
    product_of_row(b->groups, b->vecs, 0, sums, cut->within ? NULL : init, a, &k, w, w_step);
}

/* What lies behind it, from there into out. */
NOINLINE static void product_behind(const row_cut *cut, const bite *b, V *out, const V *sums, const V *init,
                                    const real *a, const span *all, const real *w, ptrdiff_t w_step)
{
    const ptrdiff_t head = cut->head, step = all->run_step;
    const span k =
        step ? (span){all->runs - head, all->length, step, all->rest} : span_of(all->length - head);
    a += head * (step ? step : 1);
    w += head * (step ? all->length : 1) * b->vecs * L;
    if (!cut->within) {
        product_of_row(b->groups, b->vecs, 0, out, sums, a, &k, w, w_step);
        return;
    }
    rest_of_row(b->groups, b->vecs, out, init ? init : nothing, sums, a, &k, w, w_step);
}
