# cython: language_level=3, binding=False, boundscheck=False, wraparound=False, cdivision=True
"""Binding of csrc/pyrnn.h: arrays in, one C call without the GIL, a C status out as an exception.

Nothing here checks a shape, a dtype or a value: functional.py and _check.py have done so, and csrc/dispatch.c judges sizes.
Without binding functions are plain built-in ones: their calls are shorter, and so is the code, 12 KB of the wheel.
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
    int pyrnn_open_packed(const void *packed, int use, pyrnn_layer *layer, int *isa)
    int pyrnn_pack_shared(const pyrnn_layer *layer, int use, int threads, const void *w_ih, const void *w_hh,
                          const void *b_ih, const void *b_hh, const void *units, const void *w_hr, void *packed)
    int pyrnn_saved_size(const pyrnn_layer *layer, ptrdiff_t T, ptrdiff_t B, size_t *bytes)
    int pyrnn_forward_work(const void *packed, const pyrnn_sequence *seq, size_t *bytes)
    int pyrnn_step_size(const void *packed, ptrdiff_t B, size_t *bytes)
    int pyrnn_step_init(const void *packed, ptrdiff_t B, void *memory)
    void pyrnn_step(void *step, const void *x, const void *const *state0, void *const *state, void *y)
    int pyrnn_backward_work(const void *packed, const pyrnn_sequence *seq, size_t *bytes)
    int pyrnn_forward(const pyrnn_sequence *seq, const pyrnn_outputs *out)
    int pyrnn_backward(const pyrnn_sequence *seq, const pyrnn_gradients *grads)
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


include "_results.pxi"


def saved_size(int cell, dtype, ptrdiff_t I, ptrdiff_t H, ptrdiff_t T, ptrdiff_t B, options):
    """How many numbers training keeps for backward."""
    cdef pyrnn_layer layer = layer_of(cell, dtype, I, H, options)
    cdef size_t size
    check(pyrnn_saved_size(&layer, T, B, &size))
    return size // dtype.itemsize


include "_sequences.pxi"
include "_norm.pxi"
include "_update.pxi"
include "_step.pxi"
include "_attention.pxi"
include "_linear.pxi"
