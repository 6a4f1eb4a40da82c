"""What other Cython modules may cimport: streams, made by ``layer.stream(batch_size)``. See docs/embedding.md."""


cdef class Stream:
    cdef readonly ptrdiff_t batch, inputs, units  # B, I and P of a step
    cdef readonly int itemsize  # 4: float, 8: double
    cdef int typenum, count
    cdef bint busy, is_long
    cdef void *layers
    cdef object held

    # x [B][I] and y [B][P], dense, of the layer's dtype; they do not overlap. One thread at a time.
    cdef void step(self, const void *x, void *y) noexcept nogil
