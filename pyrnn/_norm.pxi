# Layer normalization: part of _core.pyx.

cdef pyrnn_norm norm_of(cnp.ndarray x, gain, shift, double eps, int threads) noexcept:
    cdef pyrnn_norm norm
    norm.dtype, norm.threads = 8 * <int>cnp.PyArray_ITEMSIZE(x), threads
    norm.rows, norm.width, norm.eps = cnp.PyArray_DIM(x, 0), cnp.PyArray_DIM(x, 1), eps
    norm.x, norm.x_row, norm.gain, norm.shift = data(x), stride(x, 0), data(gain), data(shift)
    return norm


def norm_forward(x, gain, shift, double eps, y, stats, int threads):
    """x (rows, width), contiguous in its last axis; y (rows, width) and, unless None, stats (rows, 2) are written."""
    cdef pyrnn_norm norm = norm_of(x, gain, shift, eps, threads)
    cdef void *out = data(y)
    cdef void *kept = data(stats)
    cdef int status
    with nogil:
        status = pyrnn_norm_forward(&norm, out, kept)
    check(status)


def norm_backward(x, gain, stats, dy, dx, dgain, dshift, int threads):
    """Gradients of `norm_forward`: the last three arrays are written."""
    cdef pyrnn_norm norm = norm_of(x, gain, None, 0, threads)
    cdef pyrnn_norm_gradients grads
    cdef size_t size
    cdef int status
    check(pyrnn_norm_work(&norm, &size))
    work = buffer(size)
    grads.stats, grads.dy, grads.dy_row, grads.work = data(stats), data(dy), stride(dy, 0), data(work)
    grads.dx, grads.dgain, grads.dshift = data(dx), data(dgain), data(dshift)
    with nogil:
        status = pyrnn_norm_backward(&norm, &grads)
    check(status)
