/* The entries of affine maps: judge, plan the work, share out over threads, call. */
#include "kernels.h"

static pyrnn_status judge(const pyrnn_linear *c)
{
    const ptrdiff_t most = PTRDIFF_MAX / 64, more = WIDEST_GROUP + LINEAR_ROWS;
    if (c->dtype != PYRNN_F32 && c->dtype != PYRNN_F64)
        return PYRNN_BAD_DTYPE;
    if (c->rows < 0 || c->inputs < 1 || c->outputs < 1)
        return PYRNN_BAD_DIMS;
    if (c->rows > most || c->inputs > most || c->outputs > most ||
        !fits(c->rows + more, c->inputs + more, 1024) || !fits(c->outputs + more, c->inputs + more, 1024) ||
        !fits(c->rows + more, c->outputs + more, 1024))
        return PYRNN_TOO_LARGE;
    return c->threads < 1 ? PYRNN_BAD_THREADS : PYRNN_OK;
}

static size_t plan(const pyrnn_linear *c, int use, void *work, pyrnn_linear_job *job)
{
    const size_t size = (size_t)c->dtype / 8;
    const ptrdiff_t outputs = padded(c->outputs, WIDEST_GROUP), inputs = padded(c->inputs, WIDEST_GROUP),
                    rows = padded(c->rows, WIDEST);
    double flops = 2. * (double)c->rows * (double)c->inputs * (double)c->outputs;
    *job = (pyrnn_linear_job){.call = c};
    job->threads = pyrnn_useful_threads(c->threads, use == PYRNN_FORWARD ? flops : 2 * flops);
    job->work_w = (size_t)(use == PYRNN_FORWARD ? outputs * c->inputs : outputs * inputs) * size;
    job->work_w = (size_t)padded((ptrdiff_t)job->work_w, ALIGNMENT);
    job->work_shared = job->work_w + (use == PYRNN_FORWARD ? 0 : (size_t)(rows * inputs) * size);
    job->work_thread = use == PYRNN_FORWARD ? 0 : (size_t)(LINEAR_BLOCK * (LINEAR_ROWS + inputs)) * size;
    job->seats = work;
    job->work = (char *)work + (size_t)job->threads * sizeof(pyrnn_seat);
    return (size_t)job->threads * (sizeof(pyrnn_seat) + job->work_thread) + job->work_shared;
}

pyrnn_status pyrnn_linear_work(const pyrnn_linear *call, int use, size_t *bytes)
{
    pyrnn_linear_job job;
    if (!call || !bytes)
        return PYRNN_BAD_POINTER;
    pyrnn_status status = judge(call);
    if (!status)
        *bytes = plan(call, use, NULL, &job);
    return status;
}

pyrnn_status pyrnn_linear_forward(const pyrnn_linear *call, void *y, ptrdiff_t y_row, void *work)
{
    pyrnn_linear_job job;
    if (!call)
        return PYRNN_BAD_POINTER;
    pyrnn_status status = judge(call);
    if (status)
        return status;
    if (!call->w || !work || !aligned(work) || ((!call->x || !y) && call->rows > 0))
        return PYRNN_BAD_POINTER;
    plan(call, PYRNN_FORWARD, work, &job);
    job.y = y, job.y_row = y_row;
    pyrnn_run_parts(pyrnn_kernels_of(pyrnn_isa_selected(), call->dtype)->linear_forward, &job, 2, job.seats,
                    job.threads);
    return PYRNN_OK;
}

pyrnn_status pyrnn_linear_backward(const pyrnn_linear *call, const pyrnn_linear_gradients *g)
{
    pyrnn_linear_job job;
    if (!call || !g)
        return PYRNN_BAD_POINTER;
    pyrnn_status status = judge(call);
    if (status)
        return status;
    if (!g->work || !aligned(g->work) || (g->dx && !call->w) || (g->dw && !call->x && call->rows > 0) ||
        (!g->dy && call->rows > 0))
        return PYRNN_BAD_POINTER;
    plan(call, PYRNN_BACKWARD, g->work, &job);
    job.dy = g->dy, job.dy_row = g->dy_row, job.dx = g->dx, job.dx_row = g->dx_row;
    job.dw = g->dw, job.db = g->db;
    pyrnn_run_parts(pyrnn_kernels_of(pyrnn_isa_selected(), call->dtype)->linear_backward, &job, 2, job.seats,
                    job.threads);
    return PYRNN_OK;
}
