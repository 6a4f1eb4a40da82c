/* The entries for attention: judge, plan the work, share out over threads, call. */
#include "kernels.h"

static pyrnn_status judge(const pyrnn_attention *c)
{
    const ptrdiff_t most = PTRDIFF_MAX / 64;
    if (c->dtype != PYRNN_F32 && c->dtype != PYRNN_F64)
        return PYRNN_BAD_DTYPE;
    if (c->batch < 0 || c->heads < 1 || c->queries < 0 || c->keys < 0 || c->size < 1)
        return PYRNN_BAD_DIMS;
    if (c->batch > most || c->heads > most || c->queries > most || c->keys > most || c->size > most ||
        !fits(c->batch * 8, c->heads, 2 * c->queries) ||
        !fits(c->keys + WIDEST_GROUP, c->size + WIDEST, 8192))
        return PYRNN_TOO_LARGE;
    if (c->threads < 1)
        return PYRNN_BAD_THREADS;
    if (!(c->dropout >= 0 && c->dropout <= 1))
        return PYRNN_BAD_OPTION;
    for (ptrdiff_t b = 0; c->lengths && b < c->batch; b++)
        if (c->lengths[b] < 0 || c->lengths[b] > c->keys)
            return PYRNN_BAD_LENGTHS;
    return PYRNN_OK;
}

/* Reals of a thread's work: see attention_work and attention_back_work of attention.h. */
static ptrdiff_t reals_of(const pyrnn_attention_job *job, int use)
{
    const ptrdiff_t rows = ATTENTION_QUERIES, of_keys = job->keys * job->size, of_rows = rows * job->size;
    if (use == PYRNN_FORWARD)
        return 2 * of_keys + of_rows + rows * ATTENTION_KEYS;
    return 5 * of_keys + 3 * of_rows + 4 * rows * ATTENTION_KEYS_BACK;
}

static size_t plan(const pyrnn_attention *c, int use, void *work, pyrnn_attention_job *job)
{
    ptrdiff_t blocks = use == PYRNN_FORWARD ? (c->queries + ATTENTION_QUERIES - 1) / ATTENTION_QUERIES : 1;
    ptrdiff_t tasks = c->batch * c->heads * blocks;
    double flops = (use == PYRNN_FORWARD ? 4. : 10.) * (double)c->batch * (double)c->heads *
                   (double)c->queries * (double)c->keys * (double)c->size;
    *job = (pyrnn_attention_job){.call = c,
                                 .threads = pyrnn_useful_threads(c->threads, flops),
                                 .flops = flops,
                                 .keys = padded(c->keys, WIDEST_GROUP),
                                 .size = padded(c->size, WIDEST)};
    if (job->threads > tasks)
        job->threads = tasks > 1 ? (int)tasks : 1;
    job->work_thread = (size_t)reals_of(job, use) * (size_t)c->dtype / 8;
    job->seats = work;
    job->work = (char *)work + (size_t)job->threads * sizeof(pyrnn_seat);
    return (size_t)job->threads * (sizeof(pyrnn_seat) + job->work_thread);
}

pyrnn_status pyrnn_attention_work(const pyrnn_attention *call, int use, size_t *bytes)
{
    pyrnn_attention_job job;
    if (!call || !bytes)
        return PYRNN_BAD_POINTER;
    pyrnn_status status = judge(call);
    if (!status)
        *bytes = plan(call, use, NULL, &job);
    return status;
}

/* Whether there is an array wherever there are elements. */
static int lacking(const pyrnn_heads *heads, ptrdiff_t batch, ptrdiff_t steps)
{
    return !heads->at && batch > 0 && steps > 0;
}

static pyrnn_status start(const pyrnn_attention *c, int use, void *work, pyrnn_attention_job *job)
{
    pyrnn_status status = judge(c);
    if (status)
        return status;
    if (!work || !aligned(work) || lacking(&c->q, c->batch, c->queries) ||
        lacking(&c->k, c->batch, c->keys) || lacking(&c->v, c->batch, c->keys))
        return PYRNN_BAD_POINTER;
    plan(c, use, work, job);
    return PYRNN_OK;
}

pyrnn_status pyrnn_attention_forward(const pyrnn_attention *call, const pyrnn_heads *out, void *stats,
                                     void *work)
{
    pyrnn_attention_job job;
    if (!call || !out)
        return PYRNN_BAD_POINTER;
    pyrnn_status status = start(call, PYRNN_FORWARD, work, &job);
    if (status)
        return status;
    if (lacking(out, call->batch, call->queries))
        return PYRNN_BAD_POINTER;
    job.out = *out, job.stats = stats;
    pyrnn_run_parts(pyrnn_kernels_of(pyrnn_isa_selected(), call->dtype)->attend, &job, 1, job.seats,
                    job.threads, job.flops);
    return PYRNN_OK;
}

pyrnn_status pyrnn_attention_backward(const pyrnn_attention *call, const pyrnn_attention_gradients *g)
{
    pyrnn_attention_job job;
    if (!call || !g)
        return PYRNN_BAD_POINTER;
    pyrnn_status status = start(call, PYRNN_BACKWARD, g->work, &job);
    if (status)
        return status;
    ptrdiff_t B = call->batch, Tq = call->queries, Tk = call->keys;
    if (lacking(&g->out, B, Tq) || lacking(&g->dout, B, Tq) || lacking(&g->dq, B, Tq) ||
        lacking(&g->dk, B, Tk) || lacking(&g->dv, B, Tk) || (!g->stats && B > 0 && Tq > 0))
        return PYRNN_BAD_POINTER;
    job.out = g->out, job.dout = g->dout, job.dq = g->dq, job.dk = g->dk, job.dv = g->dv;
    job.stats = (void *)g->stats; /* only read */
    pyrnn_run_parts(pyrnn_kernels_of(pyrnn_isa_selected(), call->dtype)->attend_back, &job, 1, job.seats,
                    job.threads, job.flops);
    return PYRNN_OK;
}

pyrnn_status pyrnn_attention_weights(const pyrnn_attention *call, const void *stats, int average,
                                     void *weights, void *work)
{
    pyrnn_attention_job job;
    if (!call)
        return PYRNN_BAD_POINTER;
    pyrnn_status status = start(call, PYRNN_FORWARD, work, &job);
    if (status)
        return status;
    if ((!stats || (!weights && call->keys > 0)) && call->batch > 0 && call->queries > 0)
        return PYRNN_BAD_POINTER;
    job.stats = (void *)stats, job.weights = weights, job.average = average;
    pyrnn_run_parts(pyrnn_kernels_of(pyrnn_isa_selected(), call->dtype)->attend_weights, &job, 1, job.seats,
                    job.threads, job.flops);
    return PYRNN_OK;
}
