/* Attention without its matrix: for a block of queries, scores of a block of keys at a time, with a running maximum m
 * and sum l of every query, to which what has been gathered is rescaled (the online softmax).
 *
 *     forward    S = Q K'   m' = max(m, max S)   P = exp(S - m')   l = l exp(m - m') + sum P   O = O exp(m - m') + P V
 *     backward   P = exp(S - m) / l    dP = dO V'    dS = P (dP - dO.O)    dQ = dS K    dK = dS' Q    dV = P' dO
 *
 * Dropout multiplies the P that meets V or dO, and dP, with a mask that is drawn again wherever it is needed.
 *
 * Online softmax: Milakov & Gimelshein 2018, arXiv:1805.02867; blocks of it, and their recomputation on the way back:
 * Dao et al. 2022, arXiv:2205.14135. Blocks begin at fixed queries and keys, and a query's sums run over its own keys in
 * their order, so nothing depends on what else is in work. */

/* One head of one batch row. */
typedef struct {
    ptrdiff_t b, n, length; /* keys that there are */
    int causal;
    matrix q, k, v, bias;
    real *stats;
    real scale;
    float dropout;
    real kept; /* what is not dropped is multiplied with it */
    uint64_t seed;
} head;

static matrix head_of(const pyrnn_heads *all, ptrdiff_t b, ptrdiff_t n)
{
    return (matrix){all->at ? (real *)all->at + b * all->batch + n * all->head : NULL, all->step};
}

DRIVER head open_head(const pyrnn_attention_job *job, ptrdiff_t number)
{
    const pyrnn_attention *c = job->call;
    ptrdiff_t b = number / c->heads, n = number % c->heads;
    head h = {b,
              n,
              c->lengths ? c->lengths[b] : c->keys,
              c->causal,
              .scale = (real)c->scale,
              .dropout = c->dropout,
              .kept = (real)(1 / (1 - (double)c->dropout)),
              .seed = c->seed};
    h.q = head_of(&c->q, b, n), h.k = head_of(&c->k, b, n), h.v = head_of(&c->v, b, n);
    if (c->bias)
        h.bias = (matrix){(real *)c->bias + b * c->bias_batch + n * c->bias_head, c->bias_step};
    if (job->stats)
        h.stats = (real *)job->stats + number * c->queries * 2;
    return h;
}

/* Keys that a query may attend to, not counting what a bias hides. */
INLINE ptrdiff_t keys_of(const head *h, ptrdiff_t query)
{
    return h->causal ? min_of(h->length, query + 1) : h->length;
}

/* L scores from column c on: scaled, biased, -inf from column n on. */
INLINE V biased(const real *s, const real *bias, real scale, ptrdiff_t c, ptrdiff_t n)
{
    V x = vfma(vloada(s + c), vset(scale), bias ? get(bias + c, n - c) : vset(0));
    if (n - c >= L)
        return x;
    VI kept = first_lanes(n - c);
    return (V)(((VI)x & kept) | ((VI)vset(-(real)INFINITY) & ~kept));
}

/* What is known of a query so far. */
typedef struct {
    real max, sum;
} running;

/* exp(s - maximum) in place of the first n scores, then zeros up to a whole group; what was gathered before is rescaled
 * to the new maximum. */
HOT void soften(real *s, const real *bias, real scale, ptrdiff_t n, running *so_far, real *out, ptrdiff_t D)
{
    const real none = -(real)INFINITY;
    const ptrdiff_t group = panels_at_once(1) * L, end = (n + group - 1) / group * group;
    V top = vset(none), sum = vset(0);
    for (ptrdiff_t c = 0; c < n; c += L) {
        V x = biased(s, bias, scale, c, n);
        vstorea(s + c, x);
        top = vmax(top, x);
    }
    real found = vlargest(top)[0], max = found > so_far->max ? found : so_far->max;
    real base = max == none ? 0 : max; /* -inf - -inf would be NaN */
    for (ptrdiff_t c = 0; c < n; c += L) {
        V p = vexp(vloada(s + c) - base);
        vstorea(s + c, p);
        sum += p;
    }
    for (ptrdiff_t c = panels_of(n) * L; c < end; c += L)
        vstorea(s + c, vset(0));
    if (max != so_far->max) {
        V before = vexp(vset(so_far->max - base));
        so_far->sum *= before[0];
        for (ptrdiff_t d = 0; d < D; d += L)
            vstorea(out + d, vloada(out + d) * before);
    }
    so_far->max = max;
    so_far->sum += vtotal(sum)[0];
}

/* Dropout of what a query has of the n keys from j0 on. Its random numbers are those of zoneout, with a head in the place of
 * a state and a query in that of a step. */
HOT void drop(const head *h, ptrdiff_t query, ptrdiff_t j0, ptrdiff_t n, real *p)
{
    const uint32_t key = noise_key(h->seed, h->n, query, h->b);
    for (ptrdiff_t c = 0; c < n && h->dropout > 0; c += L) {
        VI dropped = zoned(h->dropout, key, j0 + c);
        vstorea(p + c, (V)(~dropped & (VI)(vloada(p + c) * h->kept)));
    }
}

/* A thread's memory on the way forward; what is packed serves all queries of a head. */
typedef struct {
    packed_matrix k, v;
    matrix out, scores; /* [QUERIES][D], [QUERIES][KEYS] */
    running so_far[ATTENTION_QUERIES];
} attention_work;

/* The block of keys from j0 on for `rows` queries from q0 on. Groups of keys outside, queries inside: a group stays in
 * the level-1 cache. Queries before the first one that may attend to a group are left out. */
DRIVER void attend_keys(const head *h, attention_work *w, ptrdiff_t q0, ptrdiff_t rows, ptrdiff_t j0,
                        ptrdiff_t D)
{
    const ptrdiff_t panels = panels_at_once(1), group = panels * L, scores = w->scores.step;
    ptrdiff_t n = min_of(keys_of(h, q0 + rows - 1) - j0, ATTENTION_KEYS);
    matrix q = {h->q.at + q0 * h->q.step, h->q.step};
#define FIRST(g) (h->causal ? max_of(0, j0 + (g) - q0) : 0)
    for (ptrdiff_t g = 0; g < n; g += group) {
        ptrdiff_t r = FIRST(g), p = (j0 + g) / L;
        matrix to = {w->scores.at + r * scores + g, scores};
        multiply(rows - r, from_row(q, r), &w->k, 0, D, p, min_of(panels, w->k.panels - p), to, 0);
    }
    for (ptrdiff_t r = FIRST(0); r < rows; r++) {
        const real *bias = h->bias.at ? h->bias.at + (q0 + r) * h->bias.step + j0 : NULL;
        const ptrdiff_t own = min_of(keys_of(h, q0 + r) - j0, n);
        soften(w->scores.at + r * scores, bias, h->scale, own, &w->so_far[r], w->out.at + r * w->out.step,
               w->out.step);
        drop(h, q0 + r, j0, own, w->scores.at + r * scores);
    }
    for (ptrdiff_t g = 0; g < n; g += group) {
        ptrdiff_t r = FIRST(g);
        matrix p = {w->scores.at + r * scores + g, scores};
        multiply(rows - r, p, &w->v, j0 + g, min_of(group, n - g), 0, w->v.panels, from_row(w->out, r), 1);
    }
#undef FIRST
}

DRIVER void attend_queries(const pyrnn_attention_job *job, const head *h, attention_work *w, ptrdiff_t q0)
{
    const ptrdiff_t D = job->call->size, rows = min_of(ATTENTION_QUERIES, job->call->queries - q0);
    matrix out = head_of(&job->out, h->b, h->n);
    memset(w->out.at, 0, sizeof(real) * (size_t)(rows * w->out.step));
    for (ptrdiff_t r = 0; r < rows; r++)
        w->so_far[r] = (running){-(real)INFINITY, 0};
    for (ptrdiff_t j0 = 0; j0 < keys_of(h, q0 + rows - 1); j0 += ATTENTION_KEYS)
        attend_keys(h, w, q0, rows, j0, D);
    for (ptrdiff_t r = 0; r < rows; r++) {
        running all = w->so_far[r];
        real inverse = all.sum == 0 ? 0 : 1 / all.sum;
        put_row(out.at + (q0 + r) * out.step, w->out.at + r * w->out.step, D, inverse);
        if (h->stats) {
            h->stats[2 * (q0 + r)] = all.sum == 0 ? 0 : all.max;
            h->stats[2 * (q0 + r) + 1] = inverse;
        }
    }
}

static void attend(const void *context, int phase, int thread)
{
    (void)phase;
    const pyrnn_attention_job *job = context;
    const pyrnn_attention *c = job->call;
    const ptrdiff_t blocks = (c->queries + ATTENTION_QUERIES - 1) / ATTENTION_QUERIES;
    share tasks = share_of(c->batch * c->heads * blocks, thread, job->threads);
    real *keys = (real *)(job->work + (size_t)thread * job->work_thread);
    real *values = keys + job->keys * job->size, *out = values + job->keys * job->size;
    attention_work w = {.out = {out, job->size},
                        .scores = {out + ATTENTION_QUERIES * job->size, ATTENTION_KEYS}};
    head h = {0};
    for (ptrdiff_t task = tasks.from; task < tasks.to; task++) {
        if (task == tasks.from || task % blocks == 0) {
            h = open_head(job, task / blocks);
            w.k = pack_turned(h.k, h.length, c->size, keys);
            w.v = pack_upright(h.v, h.length, c->size, values);
        }
        attend_queries(job, &h, &w, task % blocks * ATTENTION_QUERIES);
    }
}

/* Scores to weights of one query and the n keys from j0 on, times factor: written to out, or added to it. */
HOT void weigh(const head *h, ptrdiff_t query, ptrdiff_t j0, ptrdiff_t n, real factor, const real *scores,
               real *out, int add)
{
    const ptrdiff_t own = keys_of(h, query) - j0;
    const real *bias = h->bias.at ? h->bias.at + query * h->bias.step + j0 : NULL;
    const real max = h->stats[2 * query], inverse = h->stats[2 * query + 1] * factor;
    for (ptrdiff_t c = 0; c < n; c += L) {
        V p = add ? get(out + c, n - c) : vset(0);
        if (c < own)
            p = p + vexp(biased(scores, bias, h->scale, c, own) - max) * inverse;
        put(out + c, p, n - c);
    }
}

/* The weights of `rows` queries from q0 on, times factor, to rows of the caller's; or added to them. */
DRIVER void weigh_queries(const pyrnn_attention_job *job, const head *h, const packed_matrix *k,
                          matrix scores, ptrdiff_t q0, matrix out, int add, real factor)
{
    const pyrnn_attention *c = job->call;
    const ptrdiff_t rows = min_of(ATTENTION_QUERIES, c->queries - q0);
    for (ptrdiff_t j0 = 0; j0 < c->keys; j0 += scores.step) {
        const ptrdiff_t there = max_of(0, min_of(h->length - j0, scores.step)),
                        n = min_of(c->keys - j0, scores.step);
        multiply(rows, from_row(h->q, q0), k, 0, c->size, j0 / L, panels_of(there), scores, 0);
        for (ptrdiff_t r = 0; r < rows; r++)
            weigh(h, q0 + r, j0, n, factor, scores.at + r * scores.step, from_row(out, q0 + r).at + j0, add);
    }
}

/* Batch rows, or heads of them where nothing is averaged, in blocks of queries. */
static void attend_weights(const void *context, int phase, int thread)
{
    (void)phase;
    const pyrnn_attention_job *job = context;
    const pyrnn_attention *c = job->call;
    const ptrdiff_t heads = job->average ? c->heads : 1,
                    blocks = (c->queries + ATTENTION_QUERIES - 1) / ATTENTION_QUERIES;
    const share tasks = share_of(c->batch * c->heads / heads * blocks, thread, job->threads);
    real *keys = (real *)(job->work + (size_t)thread * job->work_thread);
    const matrix scores = {keys + job->keys * job->size, ATTENTION_KEYS};
    for (ptrdiff_t task = tasks.from, end; task < tasks.to; task = end) {
        const ptrdiff_t number = task / blocks;
        const matrix out = {(real *)job->weights + number * c->queries * c->keys, c->keys};
        end = min_of(tasks.to, (number + 1) * blocks);
        for (ptrdiff_t n = 0; n < heads; n++) {
            const head h = open_head(job, number * heads + n);
            const packed_matrix k = pack_turned(h.k, h.length, c->size, keys);
            for (ptrdiff_t t = task; t < end; t++)
                weigh_queries(job, &h, &k, scores, t % blocks * ATTENTION_QUERIES, out, n > 0,
                              (real)1 / (real)heads);
        }
    }
}

/* A thread's memory on the way back, in one head. Of the keys: packed for products, and gradients so far; of a block of
 * queries: the same; of both: P and dS, and their transposes. */
typedef struct {
    packed_matrix k_columns, v_columns, k_rows;
    matrix dk, dv; /* [Tk][D] */
    real *q_at, *dout_at; /* where they are packed */
    matrix dq, p, ds, p_turned, ds_turned; /* [QUERIES][D], two of [QUERIES][KEYS], two of [KEYS][QUERIES] */
    real delta[ATTENTION_QUERIES]; /* dO.O */
} attention_back_work;

DRIVER attention_back_work open_back(const pyrnn_attention_job *job, const head *h, real *at)
{
    const ptrdiff_t D = job->call->size, of_keys = job->keys * job->size, rows = ATTENTION_QUERIES,
                    keys = ATTENTION_KEYS_BACK;
    real *block = at + 5 * of_keys, *scores = block + 3 * rows * job->size;
    attention_back_work w = {.dk = {at + 3 * of_keys, job->size},
                             .dv = {at + 4 * of_keys, job->size},
                             .q_at = block,
                             .dout_at = block + rows * job->size,
                             .dq = {block + 2 * rows * job->size, job->size},
                             .p = {scores, keys},
                             .ds = {scores + rows * keys, keys},
                             .p_turned = {scores + 2 * rows * keys, rows},
                             .ds_turned = {scores + 3 * rows * keys, rows}};
    w.k_columns = pack_turned(h->k, h->length, D, at);
    w.v_columns = pack_turned(h->v, h->length, D, at + of_keys);
    w.k_rows = pack_upright(h->k, h->length, D, at + 2 * of_keys);
    memset(w.dk.at, 0, 2 * sizeof(real) * (size_t)of_keys);
    return w;
}

/* Scores to P, and dP to dS, of one query and the first n of `keys` keys; zeros for the others. */
HOT void soften_back(const head *h, ptrdiff_t query, ptrdiff_t j0, ptrdiff_t keys, real delta, real *p,
                     real *ds)
{
    const ptrdiff_t n = max_of(0, min_of(keys, keys_of(h, query) - j0));
    const real *bias = h->bias.at ? h->bias.at + query * h->bias.step + j0 : NULL;
    const real max = h->stats[2 * query], inverse = h->stats[2 * query + 1];
    for (ptrdiff_t c = 0; c < keys; c += L) {
        V probability = vset(0), slope = vset(0);
        if (c < n) {
            probability = vexp(biased(p, bias, h->scale, c, n) - max) * inverse;
            slope = vkeep(probability * (vloada(ds + c) - delta), n - c);
        }
        vstorea(p + c, probability);
        vstorea(ds + c, slope);
    }
}

/* The block of keys from j0 on for `rows` queries from q0 on, whose q and gradient of out are packed. */
DRIVER void back_keys(const head *h, attention_back_work *w, matrix dout, const packed_matrix *q_rows,
                      const packed_matrix *dout_rows, ptrdiff_t q0, ptrdiff_t rows, ptrdiff_t j0, ptrdiff_t D)
{
    const ptrdiff_t keys = min_of(h->length - j0, ATTENTION_KEYS_BACK), panels = panels_of(keys), p0 = j0 / L;
    multiply(rows, from_row(h->q, q0), &w->k_columns, 0, D, p0, panels, w->p, 0);
    multiply(rows, from_row(dout, q0), &w->v_columns, 0, D, p0, panels, w->ds, 0);
    for (ptrdiff_t r = 0; r < rows; r++) {
        real *p = w->p.at + r * w->p.step, *ds = w->ds.at + r * w->ds.step;
        drop(h, q0 + r, j0, keys, ds);
        soften_back(h, q0 + r, j0, keys, w->delta[r], p, ds);
        drop(h, q0 + r, j0, keys, p);
    }
    multiply(rows, w->ds, &w->k_rows, j0, keys, 0, w->k_rows.panels, w->dq, 1);
    transpose(rows, keys, w->p.at, w->p.step, w->p_turned.at, w->p_turned.step);
    transpose(rows, keys, w->ds.at, w->ds.step, w->ds_turned.at, w->ds_turned.step);
    multiply(keys, w->p_turned, dout_rows, 0, rows, 0, dout_rows->panels, from_row(w->dv, j0), 1);
    multiply(keys, w->ds_turned, q_rows, 0, rows, 0, q_rows->panels, from_row(w->dk, j0), 1);
}

DRIVER void back_queries(const pyrnn_attention_job *job, const head *h, attention_back_work *w, ptrdiff_t q0)
{
    const ptrdiff_t D = job->call->size, rows = min_of(ATTENTION_QUERIES, job->call->queries - q0);
    matrix out = head_of(&job->out, h->b, h->n), dout = head_of(&job->dout, h->b, h->n);
    matrix dq = head_of(&job->dq, h->b, h->n);
    packed_matrix q_rows = pack_upright(from_row(h->q, q0), rows, D, w->q_at);
    packed_matrix dout_rows = pack_upright(from_row(dout, q0), rows, D, w->dout_at);
    memset(w->dq.at, 0, sizeof(real) * (size_t)(rows * w->dq.step));
    for (ptrdiff_t r = 0; r < rows; r++) {
        const real *o = out.at + (q0 + r) * out.step, *d_o = dout.at + (q0 + r) * dout.step;
        V sum = vset(0);
        for (ptrdiff_t d = 0; d < D; d += L)
            sum = vfma(get(o + d, D - d), get(d_o + d, D - d), sum);
        w->delta[r] = vtotal(sum)[0];
    }
    for (ptrdiff_t j0 = 0; j0 < keys_of(h, q0 + rows - 1); j0 += ATTENTION_KEYS_BACK)
        back_keys(h, w, dout, &q_rows, &dout_rows, q0, rows, j0, D);
    for (ptrdiff_t r = 0; r < rows; r++)
        put_row(dq.at + (q0 + r) * dq.step, w->dq.at + r * w->dq.step, D, h->scale);
}

/* A head is one task: its gradients of keys and values are sums over all its queries. */
static void attend_back(const void *context, int phase, int thread)
{
    (void)phase;
    const pyrnn_attention_job *job = context;
    const pyrnn_attention *c = job->call;
    share heads = share_of(c->batch * c->heads, thread, job->threads);
    for (ptrdiff_t number = heads.from; number < heads.to; number++) {
        head h = open_head(job, number);
        attention_back_work w = open_back(job, &h, (real *)(job->work + (size_t)thread * job->work_thread));
        matrix dk = head_of(&job->dk, h.b, h.n), dv = head_of(&job->dv, h.b, h.n);
        for (ptrdiff_t q0 = 0; q0 < c->queries; q0 += ATTENTION_QUERIES)
            back_queries(job, &h, &w, q0);
        for (ptrdiff_t j = 0; j < c->keys; j++) {
            put_row(dk.at + j * dk.step, w.dk.at + j * w.dk.step, c->size, h.scale);
            put_row(dv.at + j * dv.step, w.dv.at + j * w.dv.step, c->size, 1);
        }
    }
}
