/* Attention with every instruction set that this CPU has, in both dtypes: the formula forward, what gradients have in
 * common with values backward, the same bits for any number of threads, and the reasons for which nothing is done.
 * Prints what was run and exits with the number of failures. */
#include "numbers.h"
#include <math.h>
#include <stdint.h>

typedef struct {
    pyrnn_attention call;
    size_t item, of_queries, of_keys, bytes[2]; /* bytes of work, forward and backward */
    void *stats, *work;
    pyrnn_heads out;
    pyrnn_attention_gradients grads;
} problem;

static pyrnn_heads heads(const pyrnn_attention *c, ptrdiff_t T, void *at)
{
    return (pyrnn_heads){at, T * c->heads * c->size, c->size, c->heads * c->size}; /* [B][T][N][D] */
}

static problem make(int dtype, ptrdiff_t Tq, ptrdiff_t Tk, ptrdiff_t D, int causal, const int64_t *lengths)
{
    problem p = {.item = (size_t)dtype / 8};
    p.call = (pyrnn_attention){.dtype = dtype,
                               .threads = 1,
                               .causal = causal,
                               .batch = 2,
                               .heads = 3,
                               .queries = Tq,
                               .keys = Tk,
                               .size = D,
                               .scale = 1 / sqrt((double)D),
                               .lengths = lengths};
    ptrdiff_t of_queries = 6 * Tq * D, of_keys = 6 * Tk * D;
    p.of_queries = p.item * (size_t)of_queries, p.of_keys = p.item * (size_t)of_keys;
    p.call.q = heads(&p.call, Tq, numbers(dtype, of_queries));
    p.call.k = heads(&p.call, Tk, numbers(dtype, of_keys));
    p.call.v = heads(&p.call, Tk, numbers(dtype, of_keys));
    p.grads.dout = heads(&p.call, Tq, numbers(dtype, of_queries));
    return p;
}

/* Buffers of results, and of work for so many threads. */
static void prepare(problem *p, int threads)
{
    ptrdiff_t Tq = p->call.queries, Tk = p->call.keys;
    p->call.threads = threads;
    for (int use = PYRNN_FORWARD; use <= PYRNN_BACKWARD; use++)
        expect(pyrnn_attention_work(&p->call, use, &p->bytes[use]) == PYRNN_OK, "the size of work");
    p->out = p->grads.out = heads(&p->call, Tq, buffer(p->of_queries));
    p->stats = buffer(12 * p->item * (size_t)Tq), p->grads.stats = p->stats;
    p->grads.dq = heads(&p->call, Tq, buffer(p->of_queries));
    p->grads.dk = heads(&p->call, Tk, buffer(p->of_keys));
    p->grads.dv = heads(&p->call, Tk, buffer(p->of_keys));
}

static void run(problem *p)
{
    expect(pyrnn_attention_forward(&p->call, &p->out, p->stats, buffer(p->bytes[0])) == PYRNN_OK, "forward");
    p->grads.work = buffer(p->bytes[1]);
    expect(pyrnn_attention_backward(&p->call, &p->grads) == PYRNN_OK, "backward");
}

static double number(const problem *p, const pyrnn_heads *of, ptrdiff_t b, ptrdiff_t n, ptrdiff_t t,
                     ptrdiff_t d)
{
    return at(p->call.dtype, of->at, b * of->batch + n * of->head + t * of->step + d);
}

static double score(const problem *p, ptrdiff_t b, ptrdiff_t n, ptrdiff_t i, ptrdiff_t j)
{
    double sum = 0;
    for (ptrdiff_t d = 0; d < p->call.size; d++)
        sum += number(p, &p->call.q, b, n, i, d) * number(p, &p->call.k, b, n, j, d);
    return p->call.scale * sum;
}

/* Of one query. */
static void follows_the_formula(const problem *p, ptrdiff_t b, ptrdiff_t n, ptrdiff_t i)
{
    const pyrnn_attention *c = &p->call;
    ptrdiff_t keys = c->lengths ? c->lengths[b] : c->keys;
    double all = 0, error = 0;
    if (c->causal && keys > i + 1)
        keys = i + 1;
    for (ptrdiff_t j = 0; j < keys; j++)
        all += exp(score(p, b, n, i, j));
    for (ptrdiff_t d = 0; d < c->size; d++) {
        double sum = 0;
        for (ptrdiff_t j = 0; j < keys; j++)
            sum += exp(score(p, b, n, i, j)) / all * number(p, &c->v, b, n, j, d);
        error = fmax(error, fabs(sum - number(p, &p->out, b, n, i, d)));
    }
    expect(error < (c->dtype == PYRNN_F32 ? 1e-5 : 1e-13), "out");
}

static double dot(const problem *p, const pyrnn_heads *x, const pyrnn_heads *y, ptrdiff_t T)
{
    double sum = 0;
    for (ptrdiff_t i = 0; i < 6 * T * p->call.size; i++)
        sum += at(p->call.dtype, x->at, i) * at(p->call.dtype, y->at, i);
    return sum;
}

/* out is linear in v, and q and k come in as their products alone. */
static void gradients_belong_to_values(const problem *p)
{
    const pyrnn_attention *c = &p->call;
    double tolerance = (c->dtype == PYRNN_F32 ? 1e-5 : 1e-13) * 6. * (double)(c->queries * c->size);
    double v = dot(p, &c->v, &p->grads.dv, c->keys), out = dot(p, &p->out, &p->grads.dout, c->queries);
    double q = dot(p, &c->q, &p->grads.dq, c->queries), k = dot(p, &c->k, &p->grads.dk, c->keys);
    expect(fabs(v - out) < tolerance, "v.dv is out.dout");
    expect(fabs(q - k) < tolerance, "q.dq is k.dk");
}

static void threads_change_nothing(problem *p)
{
    problem other = *p;
    prepare(p, 1), prepare(&other, 4);
    run(p), run(&other);
    expect(!memcmp(p->out.at, other.out.at, p->of_queries), "out by threads");
    expect(!memcmp(p->grads.dq.at, other.grads.dq.at, p->of_queries), "dq by threads");
    expect(!memcmp(p->grads.dk.at, other.grads.dk.at, p->of_keys), "dk by threads");
    expect(!memcmp(p->grads.dv.at, other.grads.dv.at, p->of_keys), "dv by threads");
}

static void refused(const problem *p, pyrnn_attention wrong, pyrnn_status status)
{
    size_t bytes;
    expect(pyrnn_attention_work(&wrong, PYRNN_FORWARD, &bytes) == status, "a status of work");
    expect(pyrnn_attention_forward(&wrong, &p->out, NULL, p->grads.work) == status, "a status of forward");
    expect(pyrnn_attention_backward(&wrong, &p->grads) == status, "a status of backward");
}

static void statuses(void)
{
    const int64_t lengths[2] = {3, 8};
    problem p = make(PYRNN_F32, 5, 7, 4, 0, NULL);
    prepare(&p, 1);
    run(&p);
#define WITH(field, value, status)                                                                           \
    {                                                                                                        \
        pyrnn_attention wrong = p.call;                                                                      \
        wrong.field = value;                                                                                 \
        refused(&p, wrong, status);                                                                          \
    }
    WITH(dtype, 16, PYRNN_BAD_DTYPE)
    WITH(threads, 0, PYRNN_BAD_THREADS)
    WITH(heads, 0, PYRNN_BAD_DIMS)
    WITH(size, 0, PYRNN_BAD_DIMS)
    WITH(queries, -1, PYRNN_BAD_DIMS)
    WITH(keys, PTRDIFF_MAX / 2, PYRNN_TOO_LARGE)
    WITH(batch, PTRDIFF_MAX / 100, PYRNN_TOO_LARGE)
    WITH(lengths, lengths, PYRNN_BAD_LENGTHS)
    WITH(dropout, 1.5f, PYRNN_BAD_OPTION)
#undef WITH
    pyrnn_attention_gradients grads = p.grads;
    pyrnn_heads none = {0};
    grads.stats = NULL;
    expect(pyrnn_attention_work(&p.call, 0, NULL) == PYRNN_BAD_POINTER, "no size");
    expect(pyrnn_attention_forward(NULL, &p.out, NULL, p.grads.work) == PYRNN_BAD_POINTER, "no call");
    expect(pyrnn_attention_forward(&p.call, &none, NULL, p.grads.work) == PYRNN_BAD_POINTER, "no out");
    expect(pyrnn_attention_forward(&p.call, &p.out, NULL, (char *)p.grads.work + 4) == PYRNN_BAD_POINTER,
           "work that is not aligned");
    expect(pyrnn_attention_backward(&p.call, &grads) == PYRNN_BAD_POINTER, "no stats");
    expect(pyrnn_attention_weights(&p.call, NULL, 0, p.out.at, p.grads.work) == PYRNN_BAD_POINTER,
           "no stats for weights");
    expect(pyrnn_attention_weights(&p.call, p.grads.stats, 0, NULL, p.grads.work) == PYRNN_BAD_POINTER,
           "no weights");
    release();
}

int main(void)
{
    const ptrdiff_t shapes[][3] = {{1, 1, 1}, {5, 7, 3}, {50, 70, 17}, {60, 270, 8}};
    for (int isa = 0; isa < pyrnn_isa_count(); isa++) {
        if (pyrnn_isa_select(isa))
            continue;
        for (int dtype = PYRNN_F32; dtype <= PYRNN_F64; dtype += PYRNN_F64 - PYRNN_F32) {
            for (size_t k = 0; k < sizeof shapes / sizeof *shapes; k++)
                for (int causal = 0; causal < 2; causal++) {
                    const int64_t lengths[2] = {shapes[k][1], shapes[k][1] / 2};
                    problem p =
                        make(dtype, shapes[k][0], shapes[k][1], shapes[k][2], causal, k % 2 ? lengths : NULL);
                    prepare(&p, 1);
                    run(&p);
                    for (ptrdiff_t i = 0; i < p.call.queries; i += 1 + p.call.queries / 4)
                        follows_the_formula(&p, 0, 2, i), follows_the_formula(&p, 1, 0, i);
                    gradients_belong_to_values(&p);
                    release();
                }
            problem large = make(dtype, 150, 300, 33, 1, NULL);
            threads_change_nothing(&large);
            release();
        }
        printf("%s: both dtypes\n", pyrnn_isa_name(isa));
    }
    statuses();
    printf("%d failures\n", failures);
    return failures > 99 ? 99 : failures;
}
