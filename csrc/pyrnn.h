/*
 * pyrnn: fused recurrent layers on the CPU, forward and back-propagation through time.
 *
 * One call runs one direction of one layer over a batch of sequences. The library allocates nothing, keeps
 * nothing between calls and knows no Python: the caller owns every buffer and asks for its size first.
 *
 *     pyrnn_packed_size, pyrnn_pack      weights, once per weight value and use
 *     pyrnn_forward_work, pyrnn_forward  outputs and final state; with `saved`, all that backward needs
 *     pyrnn_backward_work, pyrnn_backward  gradients of input, weights, biases and initial state
 *
 * pyrnn_layers.h, which comes with it, has attention, affine maps, layer normalization and optimizers.
 *
 * Dimensions:  T steps, B sequences (rows), I inputs, H units, G gates, S states, K saved values per unit; P
 * numbers of h, which are H but where it is projected. So [S] of [B][H] is in truth [B][P] for h, the first.
 * Arrays are described as [slowest]...[fastest]; strides count elements, not bytes. Elements are float or
 * double as the layer's dtype says; void * keeps one entry for both. Every function returns PYRNN_OK or the
 * reason why it did nothing.
 *
 * Threads: calls may run at once as long as they share no buffer that one of them writes.
 *
 * Floating point: calls round to nearest and take numbers below the smallest normal one (1.2e-38, 2.2e-308) for
 * zeros, in operands and in results, so that a state that decays does not slow them down (x86-64 and aarch64;
 * elsewhere as the caller has it). The caller's own settings are put back.
 */
#ifndef PYRNN_H
#define PYRNN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(_WIN32) && defined(PYRNN_SHARED)
#define PYRNN_API __declspec(dllexport)
#elif defined(__GNUC__)
#define PYRNN_API __attribute__((visibility("default")))
#else
#define PYRNN_API
#endif

#define PYRNN_VERSION "0.1.0"
#define PYRNN_MAX_STATES 2 /* S of the cell with the most states */

typedef enum {
    PYRNN_OK = 0,
    PYRNN_BAD_CELL,      /* not one of pyrnn_cell */
    PYRNN_BAD_DTYPE,     /* neither PYRNN_F32 nor PYRNN_F64 */
    PYRNN_BAD_DIMS,      /* a dimension is negative, or I or H is zero */
    PYRNN_TOO_LARGE,     /* a size does not fit ptrdiff_t */
    PYRNN_BAD_LENGTHS,   /* a length is negative or above T */
    PYRNN_BAD_THREADS,   /* fewer than one thread */
    PYRNN_BAD_POINTER,   /* a required pointer is NULL, or packed or work is not aligned to 64 bytes */
    PYRNN_BAD_PACKED,    /* packed was not written for this layer or map and this use */
    PYRNN_BAD_OPTION,    /* an option is out of range */
    PYRNN_BAD_ISA,       /* no such instruction set, or this CPU lacks it */
} pyrnn_status;

typedef enum { PYRNN_F32 = 32, PYRNN_F64 = 64 } pyrnn_dtype;

/* The cells, by the names of cells.def: PYRNN_lstm, PYRNN_gru, ... */
typedef enum {
#define CELL(name, ...) PYRNN_##name,
#include "cells.def"
#undef CELL
    PYRNN_CELLS /* how many */
} pyrnn_cell;

typedef enum {
    PYRNN_FORWARD,  /* pyrnn_forward reads it */
    PYRNN_BACKWARD, /* pyrnn_backward reads it */
} pyrnn_use;

typedef struct {
    const char *name; /* as in cells.def */
    int gates;        /* G: blocks of H rows in w_ih */
    int states;       /* S: 2 for the LSTM (h, c), else 1 (h) */
    int saves;        /* K: values per unit, row and step that training keeps besides the states */
    int recurrent;    /* blocks of H rows in w_hh: G, or 0 where there is no recurrent product */
    int units;        /* U: weights that each unit has for itself ... */
    int peepholes;    /* ... and how many more if the layer has peepholes */
} pyrnn_cell_info;

PYRNN_API const char *pyrnn_message(int status);                         /* one English sentence, static */
PYRNN_API pyrnn_status pyrnn_describe(int cell, pyrnn_cell_info *info);

/* ---- Instruction sets ----
 * Built ones are numbered from 0, best first. pyrnn_pack packs for the selected one (at start: the best that
 * this CPU has) and the other calls follow what they are given, so selecting another later never makes packed
 * weights wrong. */
PYRNN_API int pyrnn_isa_count(void);
PYRNN_API const char *pyrnn_isa_name(int isa);   /* NULL beyond the last */
PYRNN_API int pyrnn_isa_available(int isa);      /* 1 when this CPU has it */
PYRNN_API int pyrnn_isa_lanes(int isa, int dtype); /* numbers per vector register */
PYRNN_API int pyrnn_isa_selected(void);
PYRNN_API pyrnn_status pyrnn_isa_select(int isa);

/* ---- Threads ----
 * 1 when calls may use more than the caller's thread: the library was built with PYRNN_THREADS.
 *
 * The library keeps the threads that have helped with a call for the next ones; they look out for it for 100 us and
 * then sleep. A call needs none of them: whatever no helper has begun the caller does itself, and calls at once share
 * the helpers there are. A forked child starts its own. A program that loads the library at run time must not unload
 * it once a call has used threads. */
PYRNN_API int pyrnn_threads_possible(void);

/* ---- Weights ---- */
typedef enum {
    PYRNN_DEFAULT, /* the cell's own */
    PYRNN_TANH,
    PYRNN_SIGMOID,
    PYRNN_RELU,
    PYRNN_HARD_SIGMOID, /* x/6 + 1/2 between 0 and 1 */
    PYRNN_SOFTSIGN, /* x / (1 + |x|) */
    PYRNN_IDENTITY,
    PYRNN_ACTIVATIONS /* how many */
} pyrnn_activation;

/* Options are for all cells, but for minGRU and minLSTM, which have no activation to choose. All zeros: none. */
typedef struct {
    int cell;                /* pyrnn_cell */
    int dtype;               /* pyrnn_dtype */
    ptrdiff_t inputs, units; /* I and H, both >= 1 (I is a macro of complex.h) */
    signed char activation,
        recurrent_activation; /* pyrnn_activation: of the candidate and the output, of the gates */
    signed char peepholes; /* 1: an LSTM's gates see c */
    signed char masked; /* 1: training multiplies h with a mask before products read it */
    float clip; /* > 0: an LSTM's c stays between -clip and clip */
    float zoneout[PYRNN_MAX_STATES]; /* the probability that a unit keeps a state, 0 to 1 */
    ptrdiff_t projection; /* P: an LSTM's h is w_hr times what it would be, 0 < P < H; 0: none, and P is H */
} pyrnn_layer;

/* lstm_norm and gru_norm have layer normalization inside (Ba et al. 2016, arXiv:1607.06450): with LN(x) = (x - mean) /
 * sqrt(variance + 1e-5) over all elements of a row, W x + b_ih becomes gain_ih * LN(W x) + b_ih and R h + b_hh becomes
 * gain_hh * LN(R h) + b_hh, over all gates of the LSTM, over r and z of the GRU and over its n; and the LSTM's h' is
 * o * tanh(gain_ch * LN(c') + bias_ch). */

/* Bytes that `packed` must hold. */
PYRNN_API pyrnn_status pyrnn_packed_size(const pyrnn_layer *layer, int use, size_t *bytes);

/*
 * Weights in PyTorch's layout (gate order i f g o and r z n) to the layout that the kernels read.
 *
 *   w_ih    [G*H][I]   in
 *   w_hh    [G*H][P]   in, NULL where there is no recurrent product
 *   b_ih    [G*H]      in, NULL for zeros
 *   b_hh    [G*H]      in, NULL for zeros
 *   units   [U][H]     in, NULL where there are none: u of indrnn; lstm_norm's gain_ih (i f g o), gain_hh, gain_ch and
 *                      bias_ch; gru_norm's gain_ih (r z n) and gain_hh; then peepholes in the order i f o
 *   w_hr    [P][H]     in, NULL where h is not projected
 *   packed  [bytes]    out, aligned to 64 bytes; a snapshot: later changes of the weights do not reach it. It
 *                      may be copied to another address of the same alignment, but not to another machine.
 */
PYRNN_API pyrnn_status pyrnn_pack(const pyrnn_layer *layer, int use, const void *w_ih, const void *w_hh,
                                  const void *b_ih, const void *b_hh, const void *units, const void *w_hr,
                                  void *packed);

/* The same bytes, by so many threads where it pays: large weights that every step of training changes. */
PYRNN_API pyrnn_status pyrnn_pack_shared(const pyrnn_layer *layer, int use, int threads, const void *w_ih,
                                         const void *w_hh, const void *b_ih, const void *b_hh,
                                         const void *units, const void *w_hr, void *packed);

/* What weights were packed for: the layer, and the number of the instruction set. */
PYRNN_API pyrnn_status pyrnn_open_packed(const void *packed, int use, pyrnn_layer *layer, int *isa);

/* ---- Sequences ----
 * What forward and backward of one sequence call share; backward wants the very values that forward was given.
 *
 *   x        [T][B][I]  element (t, b, i) at x[t*x_step + b*x_row + i]; strides of any sign and size
 *   lengths  [B]        NULL: every row has T steps. Row b takes part in steps 0..lengths[b]-1; reversed, it
 *                       starts at step lengths[b]-1. Beyond them x is not read, and y and dx are zero.
 *   reset    [T][B]     NULL: none. Non-zero at (t, b) marks the first step of an episode: no state and no
 *                       gradient passes between the steps t-1 and t, in either direction. Forward, (0, b) also
 *                       cuts off the initial state; reversed it does nothing.
 *   state0   [S] of [B][H]  the states before the first step (h, then the cell's others), each NULL for zeros
 *   mask     [B][P]     of a masked layer in training: what h is multiplied with before products read it
 *   seed     zoneout in training draws from it
 */
typedef struct {
    ptrdiff_t T, B; /* >= 0 */
    int reverse; /* 0: from step 0 on. 1: from the last step back; y[t] still belongs to x[t] */
    int threads; /* >= 1: the most that may be used. Results do not depend on it, bit for bit */
    const void *x;
    ptrdiff_t x_step, x_row;
    const int64_t *lengths;
    const uint8_t *reset;
    ptrdiff_t reset_step, reset_row;
    const void *state0[PYRNN_MAX_STATES];
    const void *mask;
    uint64_t seed;
} pyrnn_sequence;

/*
 * Buffers of pyrnn_forward.
 *
 *   packed  in       pyrnn_pack(..., PYRNN_FORWARD, ...); says cell, dtype, I, H and instruction set
 *   y       out      [T][B][P]  h after each step, element (t, b, j) at y[t*y_step + b*y_row + j]; the strides
 *                    must give every row of P elements a place of its own. Overlaps no input.
 *   state   out      [S] of [B][H]  the states after the last step; each may be its state0 itself, else they
 *                    overlap nothing
 *   saved   out      NULL for inference; else pyrnn_saved_size bytes, for pyrnn_backward. y may then change
 *                    freely.
 *   work    scratch  pyrnn_forward_work bytes, aligned to 64
 */
typedef struct {
    const void *packed;
    void *y;
    ptrdiff_t y_step, y_row;
    void *state[PYRNN_MAX_STATES];
    void *saved;
    void *work;
} pyrnn_outputs;

PYRNN_API pyrnn_status pyrnn_saved_size(const pyrnn_layer *layer, ptrdiff_t T, ptrdiff_t B, size_t *bytes);
PYRNN_API pyrnn_status pyrnn_forward_work(const void *packed, const pyrnn_sequence *seq, size_t *bytes);
PYRNN_API pyrnn_status pyrnn_forward(const pyrnn_sequence *seq, const pyrnn_outputs *out);

/*
 * ---- Single steps ----
 * The step of a stream: few rows, one thread, the same bits as pyrnn_forward with T = 1. Everything is judged and
 * prepared by pyrnn_step_init; pyrnn_step cannot fail. It neither allocates nor locks nor calls the system, so that an
 * audio callback may call it.
 *
 *   packed  in       pyrnn_pack(..., PYRNN_FORWARD, ...); read by every step: it outlives them, at its address
 *   memory  out      pyrnn_step_size bytes, aligned to 64, which the caller owns and may free at any time; neither
 *                    moved nor copied. Threads may step at once with a memory each; they share `packed`.
 *
 *   step    scratch  the memory
 *   x       in       [B][I]
 *   state0  in       [S] of [B][H]  the states before the step, each NULL for zeros; NULL for `state` itself
 *   state   out      [S] of [B][H]  the states after it; each may be its state0
 *   y       out      [B][P]  h after the step, NULL when not wanted: it is state[0] too
 *
 * Rows are dense. x, y, and states but for a state and its state0, overlap nothing that is written.
 */
PYRNN_API pyrnn_status pyrnn_step_size(const void *packed, ptrdiff_t B, size_t *bytes);
PYRNN_API pyrnn_status pyrnn_step_init(const void *packed, ptrdiff_t B, void *memory);
PYRNN_API void pyrnn_step(void *step, const void *x, const void *const *state0, void *const *state, void *y);

/*
 * Buffers of pyrnn_backward: gradients of  sum(y * dy) + sum(state * dstate).
 *
 *   packed   in       pyrnn_pack(..., PYRNN_BACKWARD, ...) of the weights that forward used
 *   saved    in       written by pyrnn_forward; left as it was, so backward may run again
 *   dy       in       [T][B][P]  strided as y was; not read beyond a length
 *   dstate   in       [S] of [B][H]  each NULL for zeros
 *   dx       out      [T][B][I]  strided, NULL when not wanted
 *   dstate0  out      [S] of [B][H]  each NULL when not wanted; overlap nothing
 *   dw_ih    out      [G*H][I]
 *   dw_hh    out      [G*H][P], NULL where there is no recurrent product
 *   db_ih    out      [G*H], NULL when not wanted
 *   db_hh    out      [G*H], NULL when not wanted
 *   dunits   out      [U][H], NULL when not wanted
 *   dw_hr    out      [P][H], NULL where h is not projected
 *   work     scratch  pyrnn_backward_work bytes, aligned to 64
 */
typedef struct {
    const void *packed;
    const void *saved;
    const void *dy;
    ptrdiff_t dy_step, dy_row;
    const void *dstate[PYRNN_MAX_STATES];
    void *dx;
    ptrdiff_t dx_step, dx_row;
    void *dstate0[PYRNN_MAX_STATES];
    void *dw_ih, *dw_hh, *db_ih, *db_hh, *dunits, *dw_hr;
    void *work;
} pyrnn_gradients;

PYRNN_API pyrnn_status pyrnn_backward_work(const void *packed, const pyrnn_sequence *seq, size_t *bytes);
PYRNN_API pyrnn_status pyrnn_backward(const pyrnn_sequence *seq, const pyrnn_gradients *grads);

/* ---- Several calls ----
 * n calls of pyrnn_forward, or of pyrnn_backward, that share nothing which one of them writes: the two directions of
 * a layer, say. The results are those of one call after the other, but up to `at_once` of them run side by side, each
 * in the threads of its sequence. PYRNN_OK, or what the first that failed returned. */
PYRNN_API pyrnn_status pyrnn_forward_many(int n, int at_once, const pyrnn_sequence *seqs,
                                          const pyrnn_outputs *outs);
PYRNN_API pyrnn_status pyrnn_backward_many(int n, int at_once, const pyrnn_sequence *seqs,
                                           const pyrnn_gradients *grads);

/* ---- Layers of a stack ----
 * n layers, not reversed, of which each reads what the one before writes: forward, x of call i+1 is y of call i, with its
 * strides; backward, where call 0 is the top layer, dy of call i+1 is dx of call i. They have T, B and the array of
 * lengths in common, and a sequence's `threads` is 1. The results are those of one call after the other, but up to
 * `at_once` layers run side by side, each a few steps behind the one that it reads from. Should a call be refused, nothing
 * has been done (of more than eight layers: nothing of its eight and those after them).
 *
 * pyrnn_chain_pays: 1 where that is faster than one call after the other, each in `seq->threads`. seq is the sequence of
 * every layer; its x and states are not read. */
PYRNN_API int pyrnn_chain_pays(int n, const void *const *packed, int use, const pyrnn_sequence *seq);
PYRNN_API pyrnn_status pyrnn_forward_chain(int n, int at_once, const pyrnn_sequence *seqs,
                                           const pyrnn_outputs *outs);
PYRNN_API pyrnn_status pyrnn_backward_chain(int n, int at_once, const pyrnn_sequence *seqs,
                                            const pyrnn_gradients *grads);

#ifdef __cplusplus
}
#endif

#include "pyrnn_layers.h"

#endif
