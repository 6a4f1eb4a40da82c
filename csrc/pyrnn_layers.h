/*
 * What stands beside recurrent layers in a network, and what trains it: attention, affine maps, layer normalization,
 * optimizers. What pyrnn.h says of threads, floating point, sizes and status holds here too.
 */
#ifndef PYRNN_LAYERS_H
#define PYRNN_LAYERS_H

#include "pyrnn.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * ---- Attention ----
 * Scaled dot-product attention of N heads over B batch rows: Tq queries, Tk keys with a value each, vectors of size D.
 *
 *     s[i][j] = scale * q[i].k[j] + bias[i][j]      p[i] = softmax(s[i])      out[i] = sum_j p[i][j] v[j]
 *
 * s and p are never stored: keys are taken block by block with a running maximum and sum of every query.
 *
 *   q, out   [B][N][Tq][D]  element (b, n, t, d) at at[b*batch + n*head + t*step + d]; strides of any sign and size
 *   k, v     [B][N][Tk][D]  likewise
 *   lengths  [B]            NULL: every row has Tk keys. Keys and values from lengths[b] on are not read, and their
 *                           gradients are zero
 *   causal                  1: query i attends to the keys j <= i
 *   bias     [B][N][Tq][Tk] NULL: none. Strides for the first three, 0 for an axis that it does not have; -inf
 *                           hides a key from a query
 *
 *   dropout  0 to 1, else 0: the probability with which an element of p is dropped, for out alone, and the others scaled by
 *            1 / (1 - dropout). Drawn from seed, batch row, head, query and key: alike forward and back
 *
 * A query that may attend to nothing gives zeros, and takes no part in any gradient. Results depend neither on the
 * threads nor, for a query, on the others and on the batch, bit for bit.
 */
typedef struct {
    void *at;
    ptrdiff_t batch, head, step;
} pyrnn_heads;

typedef struct {
    int dtype, threads, causal;
    ptrdiff_t batch, heads, queries, keys, size; /* B, N, Tq, Tk, D; N and D >= 1 */
    double scale;
    const int64_t *lengths;
    const void *bias;
    ptrdiff_t bias_batch, bias_head, bias_step;
    pyrnn_heads q, k, v; /* only read */
    float dropout;
    uint64_t seed;
} pyrnn_attention;

/* Bytes of work for forward or backward (a pyrnn_use). */
PYRNN_API pyrnn_status pyrnn_attention_work(const pyrnn_attention *call, int use, size_t *bytes);

/*
 *   out    out      overlaps no input
 *   stats  out      [B][N][Tq][2] for backward, NULL for inference: maximum of s, and 1 / sum of exp(s - maximum)
 *   work   scratch  pyrnn_attention_work bytes, aligned to 64
 */
PYRNN_API pyrnn_status pyrnn_attention_forward(const pyrnn_attention *call, const pyrnn_heads *out,
                                               void *stats, void *work);

/*
 *   out, stats  in   as forward wrote them
 *   dout        in   the gradient of out
 *   dq, dk, dv  out  those of q, k and v; overlap nothing
 *   work        scratch
 */
typedef struct {
    pyrnn_heads out, dout, dq, dk, dv;
    const void *stats;
    void *work;
} pyrnn_attention_gradients;

PYRNN_API pyrnn_status pyrnn_attention_backward(const pyrnn_attention *call,
                                                const pyrnn_attention_gradients *grads);

/*
 *   stats    in       as forward wrote them for the same call
 *   average  in       1: weights are averaged over the heads
 *   weights  out      [B][N][Tq][Tk], or [B][Tq][Tk], contiguous: p, zeros where a query may not attend
 *   work     scratch  that of forward
 */
PYRNN_API pyrnn_status pyrnn_attention_weights(const pyrnn_attention *call, const void *stats, int average,
                                               void *weights, void *work);

/*
 * ---- Affine maps ----
 *
 *     y[r] = W x[r] + b
 *
 *   x  [rows][inputs]     rows x_row elements apart
 *   w  [outputs][inputs]  contiguous
 *   b  [outputs]          NULL: zeros
 *
 * A row's result depends neither on the other rows nor on the threads, bit for bit; gradients do not depend on the threads.
 */
typedef struct {
    int dtype, threads;
    ptrdiff_t rows, inputs, outputs; /* the last two >= 1 */
    const void *x;
    ptrdiff_t x_row;
    const void *w, *b;
    /* By pyrnn_linear_pack, for forward, which does not read w then; NULL: it packs w anew. */
    const void *packed;
} pyrnn_linear;

/* Packs w, for as many calls of forward as there may be: of the call are read dtype, inputs, outputs and w. `packed` is
 * aligned to 64; it holds no pointers, and is for the instruction set that is selected now. */
PYRNN_API pyrnn_status pyrnn_linear_packed_size(const pyrnn_linear *call, size_t *bytes);
PYRNN_API pyrnn_status pyrnn_linear_pack(const pyrnn_linear *call, void *packed);

/* Bytes of work for forward or backward (a pyrnn_use). */
PYRNN_API pyrnn_status pyrnn_linear_work(const pyrnn_linear *call, int use, size_t *bytes);

/*
 *   y     out      [rows][outputs], rows y_row elements apart; overlaps no input
 *   work  scratch  pyrnn_linear_work bytes, aligned to 64
 */
PYRNN_API pyrnn_status pyrnn_linear_forward(const pyrnn_linear *call, void *y, ptrdiff_t y_row, void *work);

/*
 *   dy    in   the gradient of y, rows dy_row elements apart
 *   dx    out  that of x, rows dx_row elements apart; NULL if it is not wanted, as the others, and w may be NULL then
 *   dw    out  [outputs][inputs]; NULL: x may be, too
 *   db    out  [outputs]
 *   work  scratch
 */
typedef struct {
    const void *dy;
    ptrdiff_t dy_row;
    void *dx;
    ptrdiff_t dx_row;
    void *dw, *db, *work;
} pyrnn_linear_gradients;

PYRNN_API pyrnn_status pyrnn_linear_backward(const pyrnn_linear *call, const pyrnn_linear_gradients *grads);

/*
 * ---- Layer normalization ----
 * Every row to mean 0 and variance 1, then scaled and shifted (Ba et al. 2016, arXiv:1607.06450):
 *
 *     y = (x - mean) * scale * gain + shift      scale = 1 / sqrt(variance + eps)
 *
 *   x      in  [rows][width]  row r at x + r*x_row; rows are contiguous
 *   gain   in  [width]
 *   shift  in  [width]  not read by backward
 *   y      out [rows][width]  dense; may be x itself where that is dense
 *   stats  out [rows][2]  mean and scale, for backward; NULL when not wanted
 */
typedef struct {
    int dtype, threads; /* as in pyrnn_layer and pyrnn_sequence */
    ptrdiff_t rows, width; /* >= 0 and >= 1 */
    double eps;
    const void *x;
    ptrdiff_t x_row;
    const void *gain, *shift;
} pyrnn_norm;

PYRNN_API pyrnn_status pyrnn_norm_forward(const pyrnn_norm *norm, void *y, void *stats);

/*
 * Gradients of sum(y * dy).
 *
 *   stats          in       written by pyrnn_norm_forward
 *   dy             in       [rows][width]  row r at dy + r*dy_row
 *   dx             out      [rows][width]  dense; may be dy itself where that is dense
 *   dgain, dshift  out      [width]
 *   work           scratch  pyrnn_norm_work bytes, aligned to 64
 */
typedef struct {
    const void *stats, *dy;
    ptrdiff_t dy_row;
    void *dx, *dgain, *dshift, *work;
} pyrnn_norm_gradients;

PYRNN_API pyrnn_status pyrnn_norm_work(const pyrnn_norm *norm, size_t *bytes);
PYRNN_API pyrnn_status pyrnn_norm_backward(const pyrnn_norm *norm, const pyrnn_norm_gradients *grads);

/*
 * ---- Optimizers ----
 * One step down the gradient, in one pass over memory. t is `step`, b1 and b2 are `decay`:
 *
 *     g = g + weight_decay * p                       or, decoupled:  p = p - lr * weight_decay * p
 *     PYRNN_SGD      d = g
 *                    with a velocity u:  u = momentum * u + g,  d = u,  or with nesterov d = g + momentum * u
 *     PYRNN_RMSPROP  v = b2 * v + (1 - b2) * g^2,  d = g / (sqrt(v) + eps)
 *                    with a mean m (centered):  m = b1 * m + (1 - b1) * g,  v - m^2 in the place of v
 *                    with a velocity u:  u = momentum * u + d,  d = u
 *     PYRNN_ADAM     m = b1 * m + (1 - b1) * g,  v = b2 * v + (1 - b2) * g^2
 *                    d = m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps)
 *     p = p - lr * d
 *
 * m, v and u are zeros before the first step. Kingma & Ba 2015, arXiv:1412.6980; Loshchilov & Hutter 2019,
 * arXiv:1711.05101 (decoupled); Tieleman & Hinton 2012 (RMSprop); Sutskever et al. 2013 (momentum).
 */
typedef enum { PYRNN_SGD, PYRNN_RMSPROP, PYRNN_ADAM, PYRNN_RULES /* how many */ } pyrnn_rule;

typedef struct {
    int rule; /* pyrnn_rule */
    int dtype, threads; /* as in pyrnn_layer and pyrnn_sequence */
    int nesterov, decoupled;
    int64_t step; /* t, 1 for the first; Adam's alone */
    double lr, weight_decay, momentum, eps; /* >= 0 */
    double decay[2]; /* of m and of v, at least 0 and below 1 */
} pyrnn_update;

/*
 *   p        in/out  [size]  the parameters
 *   g        in      [size]  may be p itself, else it overlaps nothing
 *   m, v, u  in/out  [size]  NULL where the rule has none, or is not to have it
 */
typedef struct {
    ptrdiff_t size;
    void *p;
    const void *g;
    void *m, *v, *u;
} pyrnn_parameter;

/* Steps with n arrays. Should one be refused, none has been changed. */
PYRNN_API pyrnn_status pyrnn_update_run(const pyrnn_update *update, ptrdiff_t n,
                                        const pyrnn_parameter *parameters);

#ifdef __cplusplus
}
#endif

#endif
