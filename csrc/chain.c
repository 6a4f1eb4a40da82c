/* Layers of a stack side by side, each a few steps behind the one whose results it reads. */
#include <math.h>

#include "kernels.h"

long long pyrnn_await(pyrnn_progress *progress, long long steps)
{
    long long known;
    for (int spins = 0; (known = atomic_load_explicit(&progress->steps, memory_order_acquire)) < steps;
         spins++)
        wait_a_turn(spins);
    return known;
}

enum { AT_ONCE = 8 }; /* layers; those of a higher stack wait for the first eight */

typedef struct {
    int n;
    atomic_int next; /* the first layer that nobody has begun */
    pyrnn_call calls[AT_ONCE];
    pyrnn_progress progress[AT_ONCE];
} chain;

/* Layers are begun in their order, so nobody waits for one that has no thread. Without helpers the caller runs one after
 * the other, and each finds everything there. */
static void take_layers(void *context, int number)
{
    chain *c = context;
    (void)number;
    for (int i; (i = atomic_fetch_add_explicit(&c->next, 1, memory_order_relaxed)) < c->n;)
        pyrnn_call_run_here(&c->calls[i]);
}

static void link_calls(chain *c)
{
    for (int i = 0; i < c->n; i++) {
        atomic_init(&c->progress[i].steps, 0);
        c->calls[i].job.behind = i > 0 ? &c->progress[i - 1] : NULL;
        c->calls[i].job.tells = i < c->n - 1 ? &c->progress[i] : NULL;
    }
}

/* A layer with itself and with the one that it follows, whose steps it counts on. */
static pyrnn_status judge_link(const pyrnn_sequence *seq, const pyrnn_sequence *before)
{
    if (seq->reverse)
        return PYRNN_BAD_DIMS;
    if (seq->threads != 1)
        return PYRNN_BAD_THREADS;
    if (before && (seq->T != before->T || seq->B != before->B))
        return PYRNN_BAD_DIMS;
    return before && seq->lengths != before->lengths ? PYRNN_BAD_LENGTHS : PYRNN_OK;
}

static pyrnn_status prepare_forward(chain *c, const pyrnn_sequence *seqs, const pyrnn_outputs *outs)
{
    for (int i = 0; i < c->n; i++) {
        const pyrnn_sequence *seq = &seqs[i];
        pyrnn_status status = judge_link(seq, i > 0 ? seq - 1 : NULL);
        if (!status)
            status = pyrnn_prepare_forward(seq, &outs[i], &c->calls[i]);
        if (status)
            return status;
        if (i == 0)
            continue;
        if (seq->x != outs[i - 1].y)
            return PYRNN_BAD_POINTER;
        if (c->calls[i].job.I != layer_outputs(&c->calls[i - 1].job.layer) ||
            seq->x_step != outs[i - 1].y_step || seq->x_row != outs[i - 1].y_row)
            return PYRNN_BAD_DIMS;
    }
    return PYRNN_OK;
}

static pyrnn_status prepare_backward(chain *c, const pyrnn_sequence *seqs, const pyrnn_gradients *grads)
{
    for (int i = 0; i < c->n; i++) {
        pyrnn_status status = judge_link(&seqs[i], i > 0 ? &seqs[i - 1] : NULL);
        if (!status)
            status = pyrnn_prepare_backward(&seqs[i], &grads[i], &c->calls[i]);
        if (status)
            return status;
        if (i == 0)
            continue;
        const pyrnn_gradients *before = &grads[i - 1];
        if (grads[i].dy != before->dx || !before->dx)
            return PYRNN_BAD_POINTER;
        if (layer_outputs(&c->calls[i].job.layer) != c->calls[i - 1].job.I ||
            grads[i].dy_step != before->dx_step || grads[i].dy_row != before->dx_row)
            return PYRNN_BAD_DIMS;
    }
    return PYRNN_OK;
}

static pyrnn_status run_chain(int n, int at_once, const pyrnn_sequence *seqs, const pyrnn_outputs *outs,
                              const pyrnn_gradients *grads)
{
    pyrnn_status several = pyrnn_judge_several(n, at_once, seqs, outs ? (const void *)outs : grads);
    if (several)
        return several;
    for (int at = 0; at < n; at += AT_ONCE) {
        chain c = {.n = n - at < AT_ONCE ? n - at : AT_ONCE};
        pyrnn_status status =
            outs ? prepare_forward(&c, seqs + at, outs + at) : prepare_backward(&c, seqs + at, grads + at);
        if (status)
            return status;
        link_calls(&c);
        pyrnn_crew_run(take_layers, &c, at_once < c.n ? at_once : c.n, INFINITY);
    }
    return PYRNN_OK;
}

pyrnn_status pyrnn_forward_chain(int n, int at_once, const pyrnn_sequence *seqs, const pyrnn_outputs *outs)
{
    return run_chain(n, at_once, seqs, outs, NULL);
}

pyrnn_status pyrnn_backward_chain(int n, int at_once, const pyrnn_sequence *seqs,
                                  const pyrnn_gradients *grads)
{
    return run_chain(n, at_once, seqs, NULL, grads);
}

/* Whether a layer is faster whole in one of `at_once` threads than shared out over those that it gets alone. */
static int layer_gains(const pyrnn_sequence *seq, const void *packed, int use, int at_once)
{
    const double flops_least = 3e6; /* some 30 us of work */
    const double flops_lead =
        6e3; /* of a step, for each step of the call; more cost more at the ends than rounds do */
    const ptrdiff_t steps_least = 4 * LEAD;
    size_t bytes;
    int isa, training = use == PYRNN_BACKWARD;
    pyrnn_layer layer;
    pyrnn_job job;
    pyrnn_status status =
        training ? pyrnn_backward_work(packed, seq, &bytes) : pyrnn_forward_work(packed, seq, &bytes);
    if (status || pyrnn_open_packed(packed, use, &layer, &isa))
        return 0;
    double flops = pyrnn_flops(seq, &layer),
           step = pyrnn_flops(&(pyrnn_sequence){.T = 1, .B = seq->B}, &layer);
    double weights = step / 2 / (double)(seq->B > 0 ? seq->B : 1) * layer.dtype / 8;
    pyrnn_plan(seq, isa, &layer, training, NULL, &job);
    if (job.T < steps_least || flops < flops_least)
        return 0;
    if (weights >
        (double)job.l2 / 2) /* threads that share the units keep a part of them each in their caches */
        return 0;
    if (!job.by_units) /* threads that share the rows need not wait for each other */
        return job.B < 4 || job.threads == 1;
    return job.threads <= at_once && (training || step <= flops_lead * (double)job.T);
}

int pyrnn_chain_pays(int n, const void *const *packed, int use, const pyrnn_sequence *seq)
{
    if (n < 2 || !packed || !seq || seq->threads < 2 || seq->reverse || !pyrnn_crew_possible())
        return 0;
    for (int i = 0; i < n; i++)
        if (!layer_gains(seq, packed[i], use, n < seq->threads ? n : seq->threads))
            return 0;
    return 1;
}
