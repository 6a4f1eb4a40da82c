/* Several calls side by side: parts of one round, each run by whoever claims it. Every call is judged by itself. */
#include <math.h>

#include "kernels.h"

enum { MANY = 8 }; /* calls at once */

typedef struct {
    int n;
    const pyrnn_sequence *seqs;
    const pyrnn_outputs *outs; /* or else */
    const pyrnn_gradients *grads;
    pyrnn_status status[MANY];
    pyrnn_seat seats[MANY];
} many;

static void walk_many(void *context, int number)
{
    many *m = context;
    pyrnn_walk me = m->n > 1 ? walk_with(m->seats, m->n, number) : walk_alone();
    EACH_PART (part, &me)
        m->status[part] = m->outs ? pyrnn_forward(&m->seqs[part], &m->outs[part])
                                  : pyrnn_backward(&m->seqs[part], &m->grads[part]);
}

/* Operations of a call; none of one that will be refused. */
static double flops_of(const pyrnn_sequence *seq, const void *packed, int use)
{
    pyrnn_layer layer;
    int isa;
    return pyrnn_open_packed(packed, use, &layer, &isa) ? 0 : pyrnn_flops(seq, &layer);
}

pyrnn_status pyrnn_judge_several(int n, int at_once, const pyrnn_sequence *seqs, const void *results)
{
    if (n < 0)
        return PYRNN_BAD_DIMS;
    if (at_once < 1)
        return PYRNN_BAD_THREADS;
    return n > 0 && (!seqs || !results) ? PYRNN_BAD_POINTER : PYRNN_OK;
}

static pyrnn_status run_many(int n, int at_once, const pyrnn_sequence *seqs, const pyrnn_outputs *outs,
                             const pyrnn_gradients *grads)
{
    pyrnn_status several = pyrnn_judge_several(n, at_once, seqs, outs ? (const void *)outs : grads);
    if (several)
        return several;
    for (int at = 0; at < n; at += MANY) {
        many m = {.n = n - at < MANY ? n - at : MANY, .seqs = seqs + at};
        int threads = at_once < m.n ? at_once : m.n;
        double least = INFINITY;
        m.outs = outs ? outs + at : NULL, m.grads = grads ? grads + at : NULL;
        for (int i = 0; i < m.n && threads > 1; i++)
            least = fmin(least, flops_of(&m.seqs[i], outs ? m.outs[i].packed : m.grads[i].packed,
                                         outs ? PYRNN_FORWARD : PYRNN_BACKWARD));
        crew_init(m.seats, m.n);
        pyrnn_crew_run(walk_many, &m, pyrnn_useful_threads(threads, threads * least), m.n * least);
        for (int i = 0; i < m.n; i++)
            if (m.status[i])
                return m.status[i];
    }
    return PYRNN_OK;
}

pyrnn_status pyrnn_forward_many(int n, int at_once, const pyrnn_sequence *seqs, const pyrnn_outputs *outs)
{
    return run_many(n, at_once, seqs, outs, NULL);
}

pyrnn_status pyrnn_backward_many(int n, int at_once, const pyrnn_sequence *seqs, const pyrnn_gradients *grads)
{
    return run_many(n, at_once, seqs, NULL, grads);
}
