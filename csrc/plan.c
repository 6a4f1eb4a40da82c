/* From a judged call to a job: rows sorted, threads chosen, work carved up. */
#include <string.h>

#include "kernels.h"

/* Rows by falling length, and how many are active at each step. Stable, so that the plan is a function of the
 * lengths. */
static void sort_rows(const int64_t *lengths, ptrdiff_t T, ptrdiff_t B, ptrdiff_t *order, ptrdiff_t *length,
                      ptrdiff_t *active, ptrdiff_t *offset)
{
    memset(active, 0, sizeof(*active) * (size_t)(T + 1));
    for (ptrdiff_t b = 0; b < B; b++)
        active[lengths[b]]++;
    ptrdiff_t longer = 0; /* rows of more than s steps */
    for (ptrdiff_t s = T; s >= 0; s--) {
        ptrdiff_t of_s = active[s];
        active[s] = offset[s] = longer;
        longer += of_s;
    }
    for (ptrdiff_t b = 0; b < B; b++) {
        ptrdiff_t p = offset[lengths[b]]++;
        order[p] = b;
        length[p] = lengths[b];
    }
    offset[0] = 0;
    for (ptrdiff_t s = 0; s < T; s++)
        offset[s + 1] = offset[s] + active[s];
}

/* Whether rows may differ in length. */
static int ragged(const pyrnn_sequence *seq) { return seq->lengths && seq->B > 0; }

static size_t sort_size(const pyrnn_sequence *seq)
{
    if (!ragged(seq))
        return 0;
    size_t numbers = 2 * ((size_t)seq->B + (size_t)seq->T + 1);
    return (numbers * sizeof(ptrdiff_t) + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

/* A thread that is awake costs a microsecond, so each is given about seven at least; who sleeps is not woken up for so little
 * (pool.c). */
int pyrnn_useful_threads(int threads, double flops)
{
    const double flops_each = 7e5;
    const int most = 128; /* of one call's threads: a slip must not start a million */
    if (!pyrnn_crew_possible())
        return 1;
    if (threads > flops / flops_each)
        threads = (int)(flops / flops_each);
    if (threads > most)
        threads = most;
    return threads > 1 ? threads : 1;
}

/* Operations in the time in which a byte comes from behind the level-2 cache: 150 GFLOP/s and 30 GB/s a core. */
static const double FLOPS_PER_BYTE = 5;

/* How many weights the products of a step read. */
static double weights_of(const pyrnn_layer *layer)
{
    pyrnn_cell_info info;
    pyrnn_describe(layer->cell, &info);
    return (double)layer->units * (info.gates * (double)layer->inputs +
                                   info.recurrent * (double)layer_outputs(layer) + (double)layer->projection);
}

double pyrnn_flops(const pyrnn_sequence *seq, const pyrnn_layer *layer)
{
    double pairs = (double)seq->T * (double)seq->B;
    if (seq->lengths) {
        pairs = 0;
        for (ptrdiff_t b = 0; b < seq->B; b++)
            pairs += (double)seq->lengths[b];
    }
    return 2 * pairs * weights_of(layer);
}

/* What of the options of a layer the driver must look at, without a mask: that comes with training. */
static int form_of(const pyrnn_layer *layer)
{
    int any = layer->activation || layer->recurrent_activation || layer->clip > 0;
    for (int q = 0; q < PYRNN_MAX_STATES; q++)
        any |= layer->zoneout[q] > 0;
    if (layer->projection)
        return layer->peepholes ? EVERYTHING : PROJECTED;
    return layer->peepholes ? PEEPHOLES : any ? OPTIONS : PLAIN_CELL;
}

size_t pyrnn_plan(const pyrnn_sequence *seq, int isa, const pyrnn_layer *layer, int training, void *work,
                  pyrnn_job *job)
{
    ptrdiff_t T = seq->T, B = seq->B, I = layer->inputs, H = layer->units, pairs = T * B;
    const pyrnn_kernels *kernels = pyrnn_kernels_of(isa, layer->dtype);
    *job = (pyrnn_job){.T = T,
                       .B = B,
                       .I = I,
                       .H = H,
                       .reverse = seq->reverse != 0,
                       .l1 = pyrnn_level1(),
                       .l2 = pyrnn_level2(),
                       .l3 = pyrnn_level3()};
    job->round_flops = pyrnn_round_flops();
    job->layer = *layer, job->form = form_of(layer), job->seed = seq->seed;
    if (seq->lengths) {
        pairs = 0;
        for (ptrdiff_t b = 0; b < B; b++)
            pairs += seq->lengths[b];
    }
    double flops = pyrnn_flops(seq, layer), weights = weights_of(layer) * layer->dtype / 8;
    if (weights >
        (double)job->l2) /* of few rows the time is that of the weights on their way, each step anew */
        flops = flops > FLOPS_PER_BYTE * (double)T * weights ? flops : FLOPS_PER_BYTE * (double)T * weights;
    job->flops = flops;
    job->threads = pyrnn_useful_threads(seq->threads, training ? 2 * flops : flops);
    job->pairs = pairs;
    if (training)
        kernels->plan_backward(job);
    else
        kernels->plan_forward(job);
    size_t own = (size_t)job->threads * sizeof(pyrnn_seat) + sort_size(seq);
    size_t bytes = own + job->work_shared + (size_t)job->threads * job->work_thread;
    if (!work)
        return bytes;
    job->seats = work;
    crew_init(job->seats, job->threads);
    job->work = (char *)work + own;
    if (ragged(seq)) {
        ptrdiff_t *at = (ptrdiff_t *)(job->seats + job->threads);
        ptrdiff_t *order = at, *length = at + B, *active = at + 2 * B, *offset = at + 2 * B + T + 1;
        sort_rows(seq->lengths, T, B, order, length, active, offset);
        job->order = order, job->length = length, job->active = active, job->offset = offset;
    }
    job->x = seq->x, job->x_step = seq->x_step, job->x_row = seq->x_row;
    memcpy(job->state0, seq->state0, sizeof(job->state0));
    job->reset = seq->reset, job->reset_step = seq->reset_step, job->reset_row = seq->reset_row;
    return bytes;
}
