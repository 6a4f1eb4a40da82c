# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Binding of csrc/pyrnn.h: arrays in, one C call without the GIL, a C status out as an exception.

Nothing here checks a shape, a dtype or a value: functional.py and _check.py have done so, and csrc/dispatch.c judges sizes.
"""
from libc.stdint cimport int64_t, uint8_t
cimport numpy as cnp
import numpy as np

cnp.import_array()


cdef extern from "pyrnn.h" nogil:
    const char *PYRNN_VERSION
    enum: PYRNN_CELLS, PYRNN_F32, PYRNN_F64, PYRNN_FORWARD, PYRNN_BACKWARD
    ctypedef struct pyrnn_cell_info:
        const char *name
        int gates, states, saves
    ctypedef struct pyrnn_layer:
        int cell, dtype
        ptrdiff_t inputs, units
    ctypedef struct pyrnn_sequence:
        ptrdiff_t T, B
        int reverse, threads
        const void *x
        ptrdiff_t x_step, x_row
        const int64_t *lengths
        const uint8_t *reset
        ptrdiff_t reset_step, reset_row
        const void *state0[2]
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
    int pyrnn_pack(const pyrnn_layer *layer, int use, const void *w_ih, const void *w_hh, const void *b_ih,
                   const void *b_hh, void *packed)
    int pyrnn_saved_size(const pyrnn_layer *layer, ptrdiff_t T, ptrdiff_t B, size_t *bytes)
    int pyrnn_forward_work(const void *packed, const pyrnn_sequence *seq, size_t *bytes)
    int pyrnn_forward(const pyrnn_sequence *seq, const pyrnn_outputs *out)
    int pyrnn_backward_work(const void *packed, const pyrnn_sequence *seq, size_t *bytes)
    int pyrnn_backward(const pyrnn_sequence *seq, const pyrnn_gradients *grads)

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


cdef pyrnn_layer layer_of(int cell, object dtype, ptrdiff_t I, ptrdiff_t H):
    cdef pyrnn_layer layer
    layer.cell, layer.dtype, layer.inputs, layer.units = cell, 8 * dtype.itemsize, I, H
    return layer


def cells():
    """The registry: {name: (number, gates, states, saves)}."""
    cdef pyrnn_cell_info info
    found = {}
    for cell in range(PYRNN_CELLS):
        check(pyrnn_describe(cell, &info))
        found[info.name.decode()] = (cell, info.gates, info.states, info.saves)
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


cdef cnp.ndarray buffer(size_t size):
    """`size` bytes, aligned to 64."""
    cdef cnp.npy_intp n = <cnp.npy_intp>size + 64
    cdef cnp.ndarray raw = cnp.PyArray_EMPTY(1, &n, cnp.NPY_UINT8, 0)
    cdef size_t skip = (64 - <size_t>cnp.PyArray_DATA(raw) % 64) % 64
    return raw[skip:skip + size]


def pack(int cell, int use, w_ih, w_hh, b_ih, b_hh):
    """A snapshot of the weights as the kernels read them; opaque, read-only bytes."""
    cdef pyrnn_layer layer = layer_of(cell, w_ih.dtype, w_ih.shape[1], w_hh.shape[1])
    cdef size_t size
    check(pyrnn_packed_size(&layer, use, &size))
    packed = buffer(size)
    cdef const void *wi = data(w_ih)
    cdef const void *wh = data(w_hh)
    cdef const void *bi = data(b_ih)
    cdef const void *bh = data(b_hh)
    cdef void *out = data(packed)
    cdef int status
    with nogil:
        status = pyrnn_pack(&layer, use, wi, wh, bi, bh, out)
    check(status)
    packed.flags.writeable = False
    return packed


def saved_size(int cell, dtype, ptrdiff_t I, ptrdiff_t H, ptrdiff_t T, ptrdiff_t B):
    """How many numbers training keeps for backward."""
    cdef pyrnn_layer layer = layer_of(cell, dtype, I, H)
    cdef size_t size
    check(pyrnn_saved_size(&layer, T, B, &size))
    return size // dtype.itemsize


cdef void states_of(object arrays, void **pointers) noexcept:
    """The pointers of a tuple of one or two arrays (or Nones); None for no array at all."""
    pointers[0] = pointers[1] = NULL
    if arrays is not None:
        for i in range(len(<tuple>arrays)):
            pointers[i] = data((<tuple>arrays)[i])


cdef pyrnn_sequence sequence_of(x, state0, lengths, reset, bint reverse, int threads):
    cdef pyrnn_sequence seq
    seq.T, seq.B, seq.reverse, seq.threads = x.shape[0], x.shape[1], reverse, threads
    seq.x, seq.x_step, seq.x_row = data(x), stride(x, 0), stride(x, 1)
    seq.lengths = <const int64_t *>data(lengths)
    seq.reset = <const uint8_t *>data(reset)
    seq.reset_step = 0 if reset is None else stride(reset, 0)
    seq.reset_row = 0 if reset is None else stride(reset, 1)
    states_of(state0, <void **>seq.state0)
    return seq


def forward(packed, x, state0, lengths, reset, bint reverse, y, state, saved, int threads):
    """One direction of one layer.

    x (T, B, I) and y (T, B, H) are contiguous in their last axis; state0 and state are tuples of (B, H) arrays, one a state;
    lengths int64; saved None for inference.
    """
    cdef pyrnn_sequence seq = sequence_of(x, state0, lengths, reset, reverse, threads)
    cdef pyrnn_outputs out
    cdef size_t size
    out.packed = data(packed)
    check(pyrnn_forward_work(out.packed, &seq, &size))
    work = buffer(size)
    out.y, out.y_step, out.y_row = data(y), stride(y, 0), stride(y, 1)
    states_of(state, out.state)
    out.saved, out.work = data(saved), data(work)
    cdef int status
    with nogil:
        status = pyrnn_forward(&seq, &out)
    check(status)


def backward(packed, x, state0, lengths, reset, bint reverse, saved, dy, dstate, dx, dstate0, dw_ih, dw_hh, db_ih, db_hh,
             int threads):
    """Gradients of `forward`, into the last six arrays before `threads`; dx, dstate0, db_ih and db_hh may be None."""
    cdef pyrnn_sequence seq = sequence_of(x, state0, lengths, reset, reverse, threads)
    cdef pyrnn_gradients grads
    cdef size_t size
    grads.packed = data(packed)
    check(pyrnn_backward_work(grads.packed, &seq, &size))
    work = buffer(size)
    grads.saved, grads.dy, grads.dy_step, grads.dy_row = data(saved), data(dy), stride(dy, 0), stride(dy, 1)
    states_of(dstate, <void **>grads.dstate)
    states_of(dstate0, grads.dstate0)
    grads.dx = data(dx)
    grads.dx_step = 0 if dx is None else stride(dx, 0)
    grads.dx_row = 0 if dx is None else stride(dx, 1)
    grads.dw_ih, grads.dw_hh, grads.db_ih, grads.db_hh = data(dw_ih), data(dw_hh), data(db_ih), data(db_hh)
    grads.work = data(work)
    cdef int status
    with nogil:
        status = pyrnn_backward(&seq, &grads)
    check(status)


cdef inline bint plain(object x, int typenum, cnp.npy_intp rows, cnp.npy_intp columns) noexcept:
    """Whether x is just what the kernels read: an ndarray (rows, columns), C-contiguous, aligned, of native dtype."""
    return (cnp.PyArray_CheckExact(x) and cnp.PyArray_TYPE(x) == typenum and cnp.PyArray_NDIM(x) == 2
            and cnp.PyArray_DIM(x, 0) == rows and cnp.PyArray_DIM(x, 1) == columns and cnp.PyArray_ISCARRAY_RO(x))


cdef class Step:
    """One layer, one step a call, the state passed in and out: what a cell calls.

    Takes plain arrays alone (x (B, I), and one (B, H) array a state) and returns None for anything else, and while another
    thread is in it: the caller then goes the long way.
    """
    cdef StreamLayer layer
    cdef object packed
    cdef cnp.npy_intp inputs, units
    cdef int typenum, states
    cdef bint busy

    def __init__(self, packed, dtype, Py_ssize_t inputs, Py_ssize_t units, int states):
        self.packed, self.inputs, self.units, self.states = packed, inputs, units, states
        self.typenum = cnp.PyArray_DescrFromType(cnp.NPY_FLOAT if dtype.itemsize == 4 else cnp.NPY_DOUBLE).type_num

    def __call__(self, x, state, int threads):
        cdef cnp.npy_intp[2] dims
        cdef tuple given
        cdef int q, status
        if self.busy or not cnp.PyArray_CheckExact(x) or cnp.PyArray_NDIM(x) != 2:
            return None
        dims[0], dims[1] = cnp.PyArray_DIM(x, 0), self.units
        if not plain(x, self.typenum, dims[0], self.inputs):
            return None
        if state is None:
            given = (None,) * self.states
        elif self.states == 1:
            given = (state,)
        elif type(state) is tuple and len(<tuple>state) == self.states:
            given = <tuple>state
        else:
            return None
        for part in given:
            if part is not None and not plain(part, self.typenum, dims[0], self.units):
                return None
        if self.layer is None or self.layer.seq.B != dims[0] or self.layer.seq.threads != threads:
            self.layer = StreamLayer(self.packed, None, dims[0], self.inputs, None, threads)
        cdef StreamLayer layer = self.layer
        cdef tuple after = tuple([cnp.PyArray_EMPTY(2, dims, self.typenum, 0) for q in range(self.states)])
        states_of(given, <void **>layer.seq.state0)
        states_of(after, layer.out.state)
        layer.seq.x, layer.out.y, layer.out.y_row = data(x), layer.out.state[0], self.units
        self.busy = True
        with nogil:
            status = pyrnn_forward(&layer.seq, &layer.out)
        self.busy = False
        check(status)
        return after if self.states > 1 else after[0]


cdef class Stream:
    """Stacked forward layers, one step a call: pointers are prepared once, a call allocates its result and nothing else.

    packed: one PYRNN_FORWARD pack a layer; states: one tuple of (B, H) arrays a layer, advanced in place; read(x): the checked
    (B, I) array for an x that is not one already.
    """
    cdef list outputs
    cdef object read
    cdef cnp.npy_intp batch, inputs, units
    cdef int typenum
    cdef bint busy

    def __init__(self, list packed, Py_ssize_t inputs, Py_ssize_t units, list states, read, int threads):
        cdef StreamLayer layer
        dtype = states[0][0].dtype
        self.batch, self.inputs, self.units = len(states[0][0]), inputs, units
        self.typenum, self.read, self.outputs = cnp.PyArray_TYPE(states[0][0]), read, []
        cdef void *x = NULL
        for weights, state in zip(packed, states):
            layer = StreamLayer(weights, state, self.batch, inputs, np.empty((self.batch, units), dtype), threads)
            if self.outputs:
                layer.seq.x = x
            x = layer.out.y
            self.outputs.append(layer)
            inputs = units

    def __call__(self, x):
        cdef StreamLayer layer, last
        cdef int status = 0
        cdef cnp.ndarray y
        if not plain(x, self.typenum, self.batch, self.inputs):
            x = self.read(x)
        if self.busy:
            raise RuntimeError("this stream is in use by another thread; make one for each")
        cdef cnp.npy_intp[2] dims
        dims[0], dims[1] = self.batch, self.units
        y = cnp.PyArray_EMPTY(2, dims, self.typenum, 0)
        last = <StreamLayer>self.outputs[len(self.outputs) - 1]
        (<StreamLayer>self.outputs[0]).seq.x = cnp.PyArray_DATA(x)
        last.out.y = cnp.PyArray_DATA(y)
        self.busy = True
        for layer in self.outputs:
            with nogil:
                status |= pyrnn_forward(&layer.seq, &layer.out)
        self.busy = False
        check(status)
        return y


cdef class StreamLayer:
    """One layer of one step: what its C call is given each time."""
    cdef pyrnn_sequence seq
    cdef pyrnn_outputs out
    cdef tuple held  # arrays that the pointers point into

    def __init__(self, packed, tuple state, Py_ssize_t batch, Py_ssize_t inputs, y, int threads):
        """`state` is advanced in place and y takes the result; both may be None, and be set before each call."""
        cdef size_t size
        self.seq.T, self.seq.B, self.seq.reverse, self.seq.threads = 1, batch, 0, threads
        self.seq.x, self.seq.x_step, self.seq.x_row = NULL, 0, inputs
        self.seq.lengths, self.seq.reset = NULL, NULL
        states_of(state, <void **>self.seq.state0)
        self.out.packed = data(packed)
        check(pyrnn_forward_work(self.out.packed, &self.seq, &size))
        work = buffer(size)
        self.out.y, self.out.y_step, self.out.y_row = data(y), 0, 0 if y is None else y.shape[1]
        states_of(state, self.out.state)
        self.out.saved, self.out.work = NULL, data(work)
        self.held = (packed, state, work, y)
