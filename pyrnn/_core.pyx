# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Binding of csrc/pyrnn.h: arrays in, one C call without the GIL, a C status out as an exception.

Nothing here checks a shape, a dtype or a value: functional.py and _check.py have done so, and csrc/dispatch.c judges sizes.
"""
from cpython.tuple cimport PyTuple_GET_ITEM
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.string cimport memcmp, memcpy, memset
cimport numpy as cnp
import numpy as np

cnp.import_array()


cdef extern from "pyrnn.h" nogil:
    const char *PYRNN_VERSION
    enum: PYRNN_CELLS, PYRNN_F32, PYRNN_F64, PYRNN_FORWARD, PYRNN_BACKWARD
    ctypedef struct pyrnn_cell_info:
        const char *name
        int gates, states, saves, recurrent, units, peepholes
    ctypedef struct pyrnn_layer:
        int cell, dtype
        ptrdiff_t inputs, units
        signed char activation, recurrent_activation, peepholes, masked
        float clip
        float zoneout[2]
        ptrdiff_t projection
    ctypedef struct pyrnn_sequence:
        ptrdiff_t T, B
        int reverse, threads
        const void *x
        ptrdiff_t x_step, x_row
        const int64_t *lengths
        const uint8_t *reset
        ptrdiff_t reset_step, reset_row
        const void *state0[2]
        const void *mask
        uint64_t seed
    ctypedef struct pyrnn_outputs:
        const void *packed
        void *y
        ptrdiff_t y_step, y_row
        void *state[2]
        void *saved
        void *work
    ctypedef struct pyrnn_gradients:
        const void *packed
        const void *saved
        const void *dy
        ptrdiff_t dy_step, dy_row
        const void *dstate[2]
        void *dx
        ptrdiff_t dx_step, dx_row
        void *dstate0[2]
        void *dw_ih
        void *dw_hh
        void *db_ih
        void *db_hh
        void *dunits
        void *dw_hr
        void *work
    ctypedef struct pyrnn_heads:
        void *at
        ptrdiff_t batch, head, step
    ctypedef struct pyrnn_attention:
        int dtype, threads, causal
        ptrdiff_t batch, heads, queries, keys, size
        double scale
        const int64_t *lengths
        const void *bias
        ptrdiff_t bias_batch, bias_head, bias_step
        pyrnn_heads q, k, v
        float dropout
        uint64_t seed
    ctypedef struct pyrnn_attention_gradients:
        pyrnn_heads out, dout, dq, dk, dv
        const void *stats
        void *work
    const char *pyrnn_message(int status)
    int pyrnn_describe(int cell, pyrnn_cell_info *info)
    int pyrnn_isa_count()
    const char *pyrnn_isa_name(int isa)
    int pyrnn_isa_available(int isa)
    int pyrnn_isa_lanes(int isa, int dtype)
    int pyrnn_isa_selected()
    int pyrnn_isa_select(int isa)
    int pyrnn_threads_possible()
    int pyrnn_packed_size(const pyrnn_layer *layer, int use, size_t *bytes)
    int pyrnn_pack_shared(const pyrnn_layer *layer, int use, int threads, const void *w_ih, const void *w_hh,
                          const void *b_ih, const void *b_hh, const void *units, const void *w_hr, void *packed)
    int pyrnn_saved_size(const pyrnn_layer *layer, ptrdiff_t T, ptrdiff_t B, size_t *bytes)
    int pyrnn_forward_work(const void *packed, const pyrnn_sequence *seq, size_t *bytes)
    int pyrnn_step_size(const void *packed, ptrdiff_t B, size_t *bytes)
    int pyrnn_step_init(const void *packed, ptrdiff_t B, void *memory)
    void pyrnn_step(void *step, const void *x, const void *const *state0, void *const *state, void *y)
    int pyrnn_backward_work(const void *packed, const pyrnn_sequence *seq, size_t *bytes)
    int pyrnn_forward(const pyrnn_sequence *seq, const pyrnn_outputs *out)
    int pyrnn_forward_many(int n, int at_once, const pyrnn_sequence *seqs, const pyrnn_outputs *outs)
    int pyrnn_backward_many(int n, int at_once, const pyrnn_sequence *seqs, const pyrnn_gradients *grads)
    int pyrnn_chain_pays(int n, const void *const *packed, int use, const pyrnn_sequence *seq)
    int pyrnn_forward_chain(int n, int at_once, const pyrnn_sequence *seqs, const pyrnn_outputs *outs)
    int pyrnn_backward_chain(int n, int at_once, const pyrnn_sequence *seqs, const pyrnn_gradients *grads)
    int pyrnn_attention_work(const pyrnn_attention *call, int use, size_t *bytes)
    int pyrnn_attention_forward(const pyrnn_attention *call, const pyrnn_heads *out, void *stats, void *work)
    int pyrnn_attention_backward(const pyrnn_attention *call, const pyrnn_attention_gradients *grads)
    int pyrnn_attention_weights(const pyrnn_attention *call, const void *stats, int average, void *weights, void *work)
    ctypedef struct pyrnn_linear:
        int dtype, threads
        ptrdiff_t rows, inputs, outputs
        const void *x
        ptrdiff_t x_row
        const void *w
        const void *b
        const void *packed
    ctypedef struct pyrnn_linear_gradients:
        const void *dy
        ptrdiff_t dy_row
        void *dx
        ptrdiff_t dx_row
        void *dw
        void *db
        void *work
    int pyrnn_linear_packed_size(const pyrnn_linear *call, size_t *bytes)
    int pyrnn_linear_pack(const pyrnn_linear *call, void *packed)
    int pyrnn_linear_work(const pyrnn_linear *call, int use, size_t *bytes)
    int pyrnn_linear_forward(const pyrnn_linear *call, void *y, ptrdiff_t y_row, void *work)
    int pyrnn_linear_backward(const pyrnn_linear *call, const pyrnn_linear_gradients *grads)
    ctypedef struct pyrnn_norm:
        int dtype, threads
        ptrdiff_t rows, width
        double eps
        const void *x
        ptrdiff_t x_row
        const void *gain
        const void *shift
    ctypedef struct pyrnn_norm_gradients:
        const void *stats
        const void *dy
        ptrdiff_t dy_row
        void *dx
        void *dgain
        void *dshift
        void *work
    int pyrnn_norm_forward(const pyrnn_norm *norm, void *y, void *stats)
    int pyrnn_norm_work(const pyrnn_norm *norm, size_t *bytes)
    int pyrnn_norm_backward(const pyrnn_norm *norm, const pyrnn_norm_gradients *grads)
    enum: PYRNN_SGD, PYRNN_RMSPROP, PYRNN_ADAM
    ctypedef struct pyrnn_update:
        int rule, dtype, threads, nesterov, decoupled
        int64_t step
        double lr, weight_decay, momentum, eps
        double decay[2]
    ctypedef struct pyrnn_parameter:
        ptrdiff_t size
        void *p
        const void *g
        void *m
        void *v
        void *u
    int pyrnn_update_run(const pyrnn_update *update, ptrdiff_t n, const pyrnn_parameter *parameters)

cdef extern from *:
    """
    #ifdef __clang__
    #define PYRNN_COMPILER "clang " __clang_version__
    #else
    #define PYRNN_COMPILER "gcc " __VERSION__
    #endif
    """
    const char *PYRNN_COMPILER

VERSION = PYRNN_VERSION.decode()
COMPILER = PYRNN_COMPILER.decode()
FORWARD = PYRNN_FORWARD
BACKWARD = PYRNN_BACKWARD


cdef int check(int status) except -1:
    """The one place where a C status becomes an exception."""
    if status:
        raise ValueError(pyrnn_message(status).decode())
    return 0


cdef inline void *data(object array) noexcept:
    """The array's first element; NULL for None."""
    return NULL if array is None else cnp.PyArray_DATA(<cnp.ndarray>array)


cdef inline ptrdiff_t stride(object array, int axis) noexcept:
    """In elements."""
    return cnp.PyArray_STRIDE(<cnp.ndarray>array, axis) // cnp.PyArray_ITEMSIZE(<cnp.ndarray>array)


cdef pyrnn_layer layer_of(int cell, object dtype, ptrdiff_t I, ptrdiff_t H, options):
    """Options are functional.Options, in the order of the struct; None for a plain cell."""
    cdef pyrnn_layer layer
    memset(&layer, 0, sizeof(layer))
    layer.cell, layer.dtype, layer.inputs, layer.units = cell, 8 * dtype.itemsize, I, H
    if options is not None:
        layer.activation, layer.recurrent_activation, layer.peepholes, layer.masked = options[:4]
        layer.clip, (layer.zoneout[0], layer.zoneout[1]), layer.projection = options[4:]
    return layer


def cells():
    """The registry: {name: (number, gates, states, saves, recurrent, units, peepholes)}."""
    cdef pyrnn_cell_info info
    found = {}
    for cell in range(PYRNN_CELLS):
        check(pyrnn_describe(cell, &info))
        found[info.name.decode()] = (cell, info.gates, info.states, info.saves, info.recurrent, info.units,
                                     info.peepholes)
    return found


def isas():
    """The instruction sets that were built, best first: {name: whether this CPU has it}."""
    return {pyrnn_isa_name(i).decode(): bool(pyrnn_isa_available(i)) for i in range(pyrnn_isa_count())}


def isa():
    """The instruction set for which weights are packed now."""
    return pyrnn_isa_name(pyrnn_isa_selected()).decode()


def select_isa(int number):
    check(pyrnn_isa_select(number))


def lanes(int number, dtype):
    return pyrnn_isa_lanes(number, 8 * dtype.itemsize)


def threads_possible():
    return bool(pyrnn_threads_possible())


include "_memory.pxi"


def pack(int cell, int use, ptrdiff_t H, w_ih, w_hh, b_ih, b_hh, units, w_hr, options, int threads):
    """A snapshot of the weights as the kernels read them; opaque, read-only bytes."""
    cdef pyrnn_layer layer = layer_of(cell, w_ih.dtype, w_ih.shape[1], H, options)
    cdef size_t size
    check(pyrnn_packed_size(&layer, use, &size))
    packed = buffer(size)
    cdef const void *wi = data(w_ih)
    cdef const void *wh = data(w_hh)
    cdef const void *bi = data(b_ih)
    cdef const void *bh = data(b_hh)
    cdef const void *own = data(units)
    cdef const void *hr = data(w_hr)
    cdef void *out = data(packed)
    cdef int status
    with nogil:
        status = pyrnn_pack_shared(&layer, use, threads, wi, wh, bi, bh, own, hr, out)
    check(status)
    packed.flags.writeable = False
    return packed


def saved_size(int cell, dtype, ptrdiff_t I, ptrdiff_t H, ptrdiff_t T, ptrdiff_t B, options):
    """How many numbers training keeps for backward."""
    cdef pyrnn_layer layer = layer_of(cell, dtype, I, H, options)
    cdef size_t size
    check(pyrnn_saved_size(&layer, T, B, &size))
    return size // dtype.itemsize


cdef void states_of(object arrays, void **pointers) noexcept:
    """The pointers of a tuple of one or two arrays (or Nones); None for no array at all."""
    pointers[0] = pointers[1] = NULL
    if arrays is not None:
        for i in range(len(<tuple>arrays)):
            pointers[i] = data((<tuple>arrays)[i])


cdef pyrnn_sequence sequence_of(x, state0, lengths, reset, bint reverse, mask, uint64_t seed, int threads):
    cdef pyrnn_sequence seq
    seq.mask, seq.seed = data(mask), seed
    seq.T, seq.B, seq.reverse, seq.threads = x.shape[0], x.shape[1], reverse, threads
    seq.x, seq.x_step, seq.x_row = data(x), stride(x, 0), stride(x, 1)
    seq.lengths = <const int64_t *>data(lengths)
    seq.reset = <const uint8_t *>data(reset)
    seq.reset_step = 0 if reset is None else stride(reset, 0)
    seq.reset_row = 0 if reset is None else stride(reset, 1)
    states_of(state0, <void **>seq.state0)
    return seq


cdef enum:
    MANY = 8  # calls at once


def chained(list packs, int use, x, lengths, int threads):
    """The layers of a stack in groups, ranges: those of a group should run as a chain, one group after the other.

    x (T, B, I) is that of any layer. A last layer that would run alone beside idle threads is a group of its own, which has
    all threads.
    """
    cdef const void *packed[MANY]
    cdef pyrnn_sequence seq
    cdef int n = len(packs), start = 0, end, i
    groups = []
    if threads > 1:
        seq = sequence_of(x, None, lengths, None, False, None, 0, threads)
    while start < n:
        end = min(start + MANY, n)
        if end - start > threads and (end - start) % threads == 1:
            end -= 1
        for i in range(start, end):
            packed[i - start] = data(packs[i])
        if threads == 1 or not pyrnn_chain_pays(end - start, packed, use, &seq):
            end = start + 1
        groups.append(range(start, end))
        start = end
    return groups


def forward(list calls, int threads, bint chain=False):
    """One direction of one layer a call, side by side where there are threads for it.

    In a chain x of each call is y of the one before, and each has one thread.

    A call is a tuple (packed, x, state0, lengths, reset, reverse, mask, seed, y, state, saved): x (T, B, I) and y (T, B, P) are
    contiguous in their last axis, mask is (B, P) or None; state0 and state are tuples of arrays, (B, P) and then (B, H);
    lengths int64; saved None for inference.
    """
    cdef pyrnn_sequence seqs[MANY]
    cdef pyrnn_outputs outs[MANY]
    cdef size_t size
    cdef int status, n = len(calls), i
    held = []
    for i in range(n):
        packed, x, state0, lengths, reset, reverse, mask, seed, y, state, saved = <tuple>calls[i]
        seqs[i] = sequence_of(x, state0, lengths, reset, reverse, mask, seed,
                              1 if chain else threads // n + (threads % n > 0))
        outs[i].packed = data(packed)
        check(pyrnn_forward_work(outs[i].packed, &seqs[i], &size))
        work = buffer(size)
        held.append(work)
        outs[i].y, outs[i].y_step, outs[i].y_row = data(y), stride(y, 0), stride(y, 1)
        states_of(state, outs[i].state)
        outs[i].saved, outs[i].work = data(saved), data(work)
    with nogil:
        if chain:
            status = pyrnn_forward_chain(n, threads, seqs, outs)
        else:
            status = pyrnn_forward_many(n, threads, seqs, outs)
    check(status)


def backward(list calls, int threads, bint chain=False):
    """Gradients of `forward`; in a chain dy of each call is dx of the one before.

    A call is a tuple (packed, x, state0, lengths, reset, reverse, mask, seed, saved, dy, dstate, dx, dstate0, dw_ih, dw_hh,
    db_ih, db_hh, dunits, dw_hr), of which the last eight are written; of them only dw_ih and those of the products that there
    are may not be None.
    """
    cdef pyrnn_sequence seqs[MANY]
    cdef pyrnn_gradients grads[MANY]
    cdef size_t size
    cdef int status, n = len(calls), i
    held = []
    for i in range(n):
        (packed, x, state0, lengths, reset, reverse, mask, seed, saved, dy, dstate, dx, dstate0, dw_ih, dw_hh, db_ih,
         db_hh, dunits, dw_hr) = <tuple>calls[i]
        seqs[i] = sequence_of(x, state0, lengths, reset, reverse, mask, seed,
                              1 if chain else threads // n + (threads % n > 0))
        grads[i].packed = data(packed)
        check(pyrnn_backward_work(grads[i].packed, &seqs[i], &size))
        work = buffer(size)
        held.append(work)
        grads[i].saved, grads[i].dy = data(saved), data(dy)
        grads[i].dy_step, grads[i].dy_row = stride(dy, 0), stride(dy, 1)
        states_of(dstate, <void **>grads[i].dstate)
        states_of(dstate0, grads[i].dstate0)
        grads[i].dx = data(dx)
        grads[i].dx_step = 0 if dx is None else stride(dx, 0)
        grads[i].dx_row = 0 if dx is None else stride(dx, 1)
        grads[i].dw_ih, grads[i].dw_hh, grads[i].db_ih, grads[i].db_hh = data(dw_ih), data(dw_hh), data(db_ih), data(db_hh)
        grads[i].dunits, grads[i].dw_hr, grads[i].work = data(dunits), data(dw_hr), data(work)
    with nogil:
        if chain:
            status = pyrnn_backward_chain(n, threads, seqs, grads)
        else:
            status = pyrnn_backward_many(n, threads, seqs, grads)
    check(status)


include "_norm.pxi"
include "_update.pxi"
include "_step.pxi"
include "_attention.pxi"
include "_linear.pxi"
