/* Private: what dispatch.c and the per-ISA objects say to each other. dispatch.c judges and plans; kernels
 * cannot fail. */
#ifndef PYRNN_KERNELS_H
#define PYRNN_KERNELS_H

#include "chain.h"
#include "crew.h"
#include "pyrnn.h"

/*
 * One call, resolved. Rows (sequences) are sorted by falling length, so that those still active at a step are
 * the first ones; p counts sorted rows. order, length, active and offset are NULL where all rows have T
 * steps.
 *
 * A valid (step, row) pair has the index offset[s] + p in everything that is saved: no room for padding, and
 * the products after the time loop run over valid steps alone.
 */
typedef struct {
    ptrdiff_t T, B, I, H;
    ptrdiff_t pairs; /* valid (step, row) pairs */
    pyrnn_layer layer; /* with the activations that PYRNN_DEFAULT stands for */
    int form; /* PLAIN_CELL ... */
    uint64_t seed;
    const void *mask; /* [B][H], NULL in inference */
    int reverse, threads;
    const char *packed; /* behind the header */

    const void *x, *state0[PYRNN_MAX_STATES];
    ptrdiff_t x_step, x_row;
    const uint8_t *reset;
    ptrdiff_t reset_step, reset_row;

    const ptrdiff_t *order; /* [B] row of sorted row p */
    const ptrdiff_t *length; /* [B] of sorted row p */
    const ptrdiff_t *active; /* [T+1] sorted rows that have a step s */
    const ptrdiff_t *offset; /* [T+1] valid pairs before step s */

    void *y, *state[PYRNN_MAX_STATES], *saved; /* saved is written by forward, only read by backward */
    ptrdiff_t y_step, y_row;

    const void *dy, *dstate[PYRNN_MAX_STATES];
    ptrdiff_t dy_step, dy_row;
    void *dx, *dstate0[PYRNN_MAX_STATES], *dw_ih, *dw_hh, *db_ih, *db_hh, *dunits, *dw_hr;
    ptrdiff_t dx_step, dx_row;

    /* How the call is cut up: sizes of blocks and shares of threads, never results. */
    size_t l1, l2; /* bytes of a core's level-1 cache for data, and of its level-2 cache */
    size_t l3; /* of the level-3 cache that it shares */
    double round_flops; /* of a thread in a step, at least, for units to be shared */
    int by_units; /* threads share the units of every row, with a round a phase of a step, and not the rows */
    /* Of one row: one runs the time loop of a block while the others take products, backward those of the block before, forward
     * the input's of the block to come. */
    int ahead;
    int back; /* the first step takes the panels from the last one back */
    ptrdiff_t strip; /* rows that run together */
    ptrdiff_t block; /* (step, row) pairs, at most, whose gates are in work at once */
    double flops; /* of the products forward */
    ptrdiff_t steps; /* forward, of a round that does not share out units */
    char *work; /* what threads share, then a part for each */
    size_t work_shared, work_thread;
    pyrnn_seat *seats; /* one a thread */

    /* In a chain, else NULL: of the layer that writes x, or dy on the way back, and of this one for who reads y or dx */
    pyrnn_progress *behind, *tells;
} pyrnn_job;

/* The width of y and of state 0. */
static inline ptrdiff_t layer_outputs(const pyrnn_layer *layer)
{
    return layer->projection > 0 ? layer->projection : layer->units;
}

static inline ptrdiff_t job_row(const pyrnn_job *job, ptrdiff_t p) { return job->order ? job->order[p] : p; }
static inline ptrdiff_t job_length(const pyrnn_job *job, ptrdiff_t p)
{
    return job->length ? job->length[p] : job->T;
}
static inline ptrdiff_t job_active(const pyrnn_job *job, ptrdiff_t s)
{
    return job->active ? job->active[s] : job->B;
}
static inline ptrdiff_t job_offset(const pyrnn_job *job, ptrdiff_t s)
{
    return job->offset ? job->offset[s] : s * job->B;
}

/* A block of backward's work: steps [s0, s1) of the sorted rows [p0, p1). */
typedef struct {
    ptrdiff_t p0, p1, s0, s1;
    int first; /* the first block of the call: gradients of weights start here */
    int starts, ends; /* the first and the last block of its strip: gradients of states go in and come out */
    int turn; /* which of the two spaces for blocks it has, where the time loop runs ahead */
} pyrnn_block;

/* A prepared step, which the kernels continue with what they need. */
typedef struct pyrnn_prepared pyrnn_prepared;

typedef void pyrnn_step_function(pyrnn_prepared *step, const void *x, const void *const *state0,
                                 void *const *state, void *y);

struct pyrnn_prepared {
    pyrnn_step_function *run;
    pyrnn_job job; /* of one step, in one thread; its buffers are those of the latest call */
    void *h; /* [B][H] for a new h that has no place yet */
};

typedef struct {
    /* Both by units, walked through with others, or one part of the rows, alone. Steps: all of them by units. */
    void (*forward)(const pyrnn_job *job, pyrnn_walk *me, int number, share steps);
    void (*backward)(const pyrnn_job *job, const pyrnn_block *block, pyrnn_walk *me,
                     int number); /* the time loop of a block */
    pyrnn_step_function *step;
} pyrnn_cell_kernels;

/* Part number `part` of a phase of a job. */
typedef void pyrnn_part_function(const void *job, int phase, int part);

/* Weights to be packed. */
typedef struct {
    const pyrnn_layer *layer;
    int use, parts;
    const void *w_ih, *w_hh, *b_ih, *b_hh, *units, *w_hr;
    void *packed; /* behind the header */
} pyrnn_pack_job;

/* A call of attention, resolved. Sizes are rounded up for the widest vectors, so that the work is the same for every
 * instruction set. */
typedef struct {
    const pyrnn_attention *call;
    pyrnn_heads out, dout, dq, dk, dv;
    void *stats; /* [B][N][Tq][2]: maximum, 1 / sum of exponentials; NULL where nobody wants them */
    void *weights;
    int average;
    int threads;
    double flops; /* of both products */
    ptrdiff_t keys, size; /* Tk and D, rounded up */
    char *work; /* a part for each thread */
    size_t work_thread;
    pyrnn_seat *seats; /* one a thread */
} pyrnn_attention_job;

/* A call of an affine map, resolved; what is not wanted is NULL. */
typedef struct {
    const pyrnn_linear *call;
    void *y, *dx, *dw, *db;
    const void *dy;
    ptrdiff_t y_row, dy_row, dx_row;
    int threads;
    double flops; /* of all products */
    const char *packed; /* what forward reads of w; phase 0 writes it if it is in work */
    char *work; /* packed w, packed x from work_w on; from work_shared on a part for each thread */
    size_t work_w, work_shared, work_thread;
    pyrnn_seat *seats;
} pyrnn_linear_job;

/* Rows that are in work at once, and outputs whose gradients are turned together. */
enum { LINEAR_ROWS = 256, LINEAR_BLOCK = 96 };

/* Queries that are in work at once, and keys, forward and backward. */
enum { ATTENTION_QUERIES = 48, ATTENTION_KEYS = 256, ATTENTION_KEYS_BACK = 64 };

/* What an optimizer's step multiplies by. */
typedef struct {
    int rule, nesterov;
    double lr; /* Adam's is that of m with its bias */
    double l2, shrink; /* g += l2 * p, p *= shrink */
    double momentum, eps, root; /* of v, sqrt(v) is multiplied by root */
    double old[2], new[2]; /* m = old * m + new * g */
} pyrnn_rate;

/* What of its options a layer's driver must look at: none; those that change neither slots nor phases; peepholes too; or a
 * projection; all. */
enum { PLAIN_CELL, OPTIONS, PEEPHOLES, PROJECTED, EVERYTHING, FORMS };

typedef struct {
    int lanes;
    pyrnn_cell_kernels own[PYRNN_CELLS][FORMS]; /* of those cells and options that have one */
    pyrnn_cell_kernels any; /* for all others */
    size_t (*packed_size)(const pyrnn_layer *layer, int use);
    pyrnn_part_function *pack; /* of a pyrnn_pack_job, one phase */
    /* Set threads (from the most that are allowed), by_units, strip, block and the sizes of work. */
    void (*plan_forward)(pyrnn_job *job);
    void (*plan_backward)(pyrnn_job *job);
    /* After a block's time loop: first one, then the other; a part of so many. */
    void (*project)(const pyrnn_job *job, share steps, int number, int part,
                    int parts); /* where forward runs ahead */
    void (*gather)(const pyrnn_job *job, const pyrnn_block *block, int part, int parts);
    void (*products)(const pyrnn_job *job, const pyrnn_block *block, int part, int parts);
    void (*finish)(const pyrnn_job *job, int thread); /* after the last block */
    pyrnn_part_function *attend, *attend_weights, *attend_back; /* of a pyrnn_attention_job, one phase */
    pyrnn_part_function *linear_forward, *linear_backward; /* of a pyrnn_linear_job, two phases */
    size_t step_size; /* bytes of a prepared step */
    void (*step_init)(pyrnn_prepared *step); /* all but the job is left to do */
    /* `streams`: what is written goes past the caches; rows of it are whole, aligned vectors */
    void (*norm_forward)(const pyrnn_norm *norm, void *y, void *stats, ptrdiff_t from, ptrdiff_t to,
                         int streams);
    void (*norm_backward)(const pyrnn_norm *norm, const pyrnn_norm_gradients *grads, void *sums,
                          ptrdiff_t from, ptrdiff_t to, int streams);
    void (*norm_finish)(const pyrnn_norm *norm, const pyrnn_norm_gradients *grads, ptrdiff_t blocks,
                        ptrdiff_t from, ptrdiff_t to);
    void (*update)(const pyrnn_rate *rate, const pyrnn_parameter *parameter, ptrdiff_t from, ptrdiff_t to);
} pyrnn_kernels;

enum { ALIGNMENT = 64 }; /* bytes, of packs, of work and of its parts */

/* What the entries judge with. */
static inline int aligned(const void *p) { return (uintptr_t)p % ALIGNMENT == 0; }

/* So many elements of any dtype are whole vectors of any instruction set, and so many columns whole groups of panels. */
enum { WIDEST = 16, WIDEST_GROUP = 64 };

static inline ptrdiff_t padded(ptrdiff_t n, ptrdiff_t to) { return (n + to - 1) / to * to; }

/* Whether a*b*c bytes can be addressed. Factors are >= 0. */
static inline int fits(ptrdiff_t a, ptrdiff_t b, ptrdiff_t c)
{
    ptrdiff_t product;
    return !__builtin_mul_overflow(a, b, &product) && !__builtin_mul_overflow(product, c, &product) &&
           product <= PTRDIFF_MAX / 4; /* several such buffers lie side by side in one allocation */
}

/* A row's width in the work of layer normalization: whole vectors of any instruction set. */
static inline ptrdiff_t norm_columns(const pyrnn_norm *norm)
{
    ptrdiff_t line = ALIGNMENT / (norm->dtype / 8);
    return (norm->width + line - 1) / line * line;
}

/* isa.c */
const pyrnn_kernels *pyrnn_kernels_of(int isa, int dtype);

/* The kernels of a job's time loop. */
static inline const pyrnn_cell_kernels *kernels_of_job(const pyrnn_kernels *kernels, const pyrnn_job *job)
{
    const pyrnn_cell_kernels *own = &kernels->own[job->layer.cell][job->form];
    return own->forward ? own : &kernels->any;
}

/* rounds.c: what every thread of a call does. */
typedef void pyrnn_walk_function(pyrnn_walk *me, const pyrnn_kernels *kernels, const pyrnn_job *job);
pyrnn_walk_function pyrnn_forward_rounds, pyrnn_backward_rounds;

/* dispatch.c: a judged call, ready to run. */

typedef struct {
    pyrnn_walk_function *work;
    const pyrnn_kernels *kernels;
    pyrnn_job job;
} pyrnn_call;

pyrnn_status pyrnn_prepare_forward(const pyrnn_sequence *seq, const pyrnn_outputs *out, pyrnn_call *call);
pyrnn_status pyrnn_prepare_backward(const pyrnn_sequence *seq, const pyrnn_gradients *grads,
                                    pyrnn_call *call);
void pyrnn_call_run_here(const pyrnn_call *call); /* one whose job has one thread: this one */

/* parts.c: all parts of all phases of a job, no part of one before every part of the one before is done; about so many operations. */
void pyrnn_run_parts(pyrnn_part_function *kernel, const void *job, int phases, pyrnn_seat *seats, int parts,
                     double flops);

/* machine.c */
size_t pyrnn_level1(void);
size_t pyrnn_level2(void);
size_t pyrnn_level3(void);
double pyrnn_round_flops(void);

/* plan.c: how many of the threads that are allowed pay for so many operations. */
int pyrnn_useful_threads(int threads, double flops);

/* many.c: the arguments of an entry that takes n calls; `results` are where theirs go. */
pyrnn_status pyrnn_judge_several(int n, int at_once, const pyrnn_sequence *seqs, const void *results);

/* plan.c: operations of the products of a judged call's way forward. */
double pyrnn_flops(const pyrnn_sequence *seq, const pyrnn_layer *layer);

/* plan.c: resolves a judged call and returns the bytes of work that it needs. With a NULL work it does no
 * more than that; else the job lacks only `packed` and what forward and backward do not share. */
size_t pyrnn_plan(const pyrnn_sequence *seq, int isa, const pyrnn_layer *layer, int training, void *work,
                  pyrnn_job *job);

#endif
