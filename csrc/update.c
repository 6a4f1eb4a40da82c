/* The entry of the optimizers: judge, share the numbers of all arrays out over threads, call. */
#include <math.h>
#include <stdatomic.h>

#include "denormals.h"
#include "kernels.h"

/* Numbers are shared out in blocks, of which none crosses from one array to the next. */
enum { BLOCK = 4096, PIECE = 4 /* blocks, that a thread takes at once */, MOST_THREADS = 32 };

static ptrdiff_t blocks_of(const pyrnn_parameter *q) { return (q->size + BLOCK - 1) / BLOCK; }

/* Whether an array has what the rule needs. */
static pyrnn_status judge_parameter(const pyrnn_update *update, const pyrnn_parameter *q)
{
    if (q->size < 0)
        return PYRNN_BAD_DIMS;
    if (q->size > 0 &&
        (!q->p || !q->g || (update->rule != PYRNN_SGD && !q->v) || (update->rule == PYRNN_ADAM && !q->m)))
        return PYRNN_BAD_POINTER;
    return PYRNN_OK;
}

/* 0 <= x, and finite; no NaN. */
static int usable(double x) { return x >= 0 && x <= 1.7e308; }

static pyrnn_status judge(const pyrnn_update *update, ptrdiff_t n, const pyrnn_parameter *parameters)
{
    if (!update || (!parameters && n > 0))
        return PYRNN_BAD_POINTER;
    if (update->dtype != PYRNN_F32 && update->dtype != PYRNN_F64)
        return PYRNN_BAD_DTYPE;
    if (update->rule < 0 || update->rule >= PYRNN_RULES || !usable(update->lr) ||
        !usable(update->weight_decay) || !usable(update->momentum) || !usable(update->eps) ||
        !usable(update->decay[0]) || update->decay[0] >= 1 || !usable(update->decay[1]) ||
        update->decay[1] >= 1 || (update->rule == PYRNN_ADAM && update->step < 1))
        return PYRNN_BAD_OPTION;
    if (n < 0)
        return PYRNN_BAD_DIMS;
    if (update->threads < 1)
        return PYRNN_BAD_THREADS;
    ptrdiff_t sum = 0;
    for (ptrdiff_t i = 0; i < n; i++) {
        pyrnn_status status = judge_parameter(update, &parameters[i]);
        if (status)
            return status;
        if (__builtin_add_overflow(sum, parameters[i].size, &sum) || sum > PTRDIFF_MAX / 64)
            return PYRNN_TOO_LARGE;
    }
    return PYRNN_OK;
}

static pyrnn_rate rate_of(const pyrnn_update *update)
{
    const double b1 = update->decay[0], b2 = update->decay[1], decayed = update->lr * update->weight_decay;
    pyrnn_rate rate = {.rule = update->rule, .nesterov = update->nesterov, .lr = update->lr};
    rate.l2 = update->decoupled ? 0 : update->weight_decay;
    rate.shrink = update->decoupled ? 1 - decayed : 1;
    rate.momentum = update->momentum, rate.eps = update->eps, rate.root = 1;
    rate.old[0] = b1, rate.old[1] = b2, rate.new[0] = 1 - b1, rate.new[1] = 1 - b2;
    if (update->rule == PYRNN_ADAM) {
        rate.lr /= 1 - pow(b1, (double)update->step);
        rate.root = 1 / sqrt(1 - pow(b2, (double)update->step));
    }
    return rate;
}

/* What is left of a thread's share of the blocks. On a line of its own. */
typedef struct {
    _Alignas(64) atomic_llong next;
    long long to;
} counter;

typedef struct {
    const pyrnn_parameter *parameters;
    ptrdiff_t n;
    pyrnn_rate rate;
    const pyrnn_kernels *kernels;
    int parts;
    counter counters[MOST_THREADS];
} call;

static void do_blocks(const call *c, ptrdiff_t from_block, ptrdiff_t to_block)
{
    ptrdiff_t first = 0; /* block of an array */
    for (ptrdiff_t i = 0; i < c->n && first < to_block; i++) {
        const pyrnn_parameter *q = &c->parameters[i];
        ptrdiff_t next = first + blocks_of(q);
        ptrdiff_t from = from_block > first ? from_block - first : 0;
        ptrdiff_t to = to_block < next ? (to_block - first) * BLOCK : q->size;
        if (from * BLOCK < to)
            c->kernels->update(&c->rate, q, from * BLOCK, to);
        first = next;
    }
}

/* Each begins with its own share, whose numbers its cache may have from the last step, and helps with the others' when
 * it is through: a thread that comes late, or is put aside, is missed for one piece at most. */
static void walk(void *context, int number)
{
    call *c = context;
    fp_state before = denormals_off();
    for (int i = 0; i < c->parts; i++) {
        counter *left = &c->counters[(number + i) % c->parts];
        const long long piece = c->parts > 1 ? PIECE : left->to;
        long long at;
        while ((at = atomic_fetch_add_explicit(&left->next, piece, memory_order_relaxed)) < left->to)
            do_blocks(c, at, at + piece < left->to ? at + piece : left->to);
    }
    fp_restore(before);
}

pyrnn_status pyrnn_update_run(const pyrnn_update *update, ptrdiff_t n, const pyrnn_parameter *parameters)
{
    pyrnn_status status = judge(update, n, parameters);
    if (status)
        return status;
    call c = {.parameters = parameters, .n = n, .rate = rate_of(update)};
    double bytes = 0;
    ptrdiff_t blocks = 0;
    for (ptrdiff_t i = 0; i < n; i++) {
        const pyrnn_parameter *q = &parameters[i];
        int arrays = 3 + 2 * ((q->m != NULL) + (q->v != NULL) + (q->u != NULL));
        bytes += (double)arrays * (double)q->size * update->dtype / 8;
        blocks += blocks_of(q);
    }
    int most = update->threads < MOST_THREADS ? update->threads : MOST_THREADS;
    c.kernels = pyrnn_kernels_of(pyrnn_isa_selected(), update->dtype);
    c.parts = pyrnn_useful_threads(most, 3 * bytes); /* as in norm.c: numbers come from memory */
    for (int i = 0; i < c.parts; i++) {
        const share mine = share_of(blocks, i, c.parts);
        atomic_init(&c.counters[i].next, mine.from);
        c.counters[i].to = mine.to;
    }
    pyrnn_crew_run(walk, &c, c.parts, 3 * bytes);
    return PYRNN_OK;
}
