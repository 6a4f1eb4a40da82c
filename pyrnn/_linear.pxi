# Affine maps: arrays are (rows, features), of any stride in rows.


cdef pyrnn_linear linear_of(x, w, b, ptrdiff_t rows, int threads):
    cdef pyrnn_linear call
    call.dtype, call.threads = 8 * w.dtype.itemsize, threads
    call.rows, call.outputs, call.inputs = rows, w.shape[0], w.shape[1]
    call.x, call.x_row = data(x), 0 if x is None else stride(x, 0)
    call.w, call.b, call.packed = data(w), data(b), NULL
    return call


def linear_pack(w):
    """What linear_forward reads of w, contiguous, in the order in which it does."""
    cdef pyrnn_linear call = linear_of(None, w, None, 0, 1)
    cdef size_t size
    check(pyrnn_linear_packed_size(&call, &size))
    packed = buffer(size)
    check(pyrnn_linear_pack(&call, data(packed)))
    return packed


def linear_forward(x, w, b, y, int threads, packed=None):
    """y (rows, outputs) = x (rows, inputs) @ w.T + b; w, packed or not, and b, which may be None, contiguous."""
    cdef pyrnn_linear call = linear_of(x, w, b, x.shape[0], threads)
    cdef size_t size
    call.packed = data(packed)
    check(pyrnn_linear_work(&call, PYRNN_FORWARD, &size))
    held = buffer(size)
    cdef void *work = data(held)
    cdef void *to = data(y)
    cdef ptrdiff_t y_row = stride(y, 0)
    cdef int status
    with nogil:
        status = pyrnn_linear_forward(&call, to, y_row, work)
    check(status)


def linear_backward(x, w, dy, dx, dw, db, int threads):
    """Writes dx, dw and db, each unless it is None."""
    cdef pyrnn_linear call = linear_of(x, w, None, dy.shape[0], threads)
    cdef pyrnn_linear_gradients grads
    cdef size_t size
    check(pyrnn_linear_work(&call, PYRNN_BACKWARD, &size))
    held = buffer(size)
    grads.dy, grads.dy_row, grads.work = data(dy), stride(dy, 0), data(held)
    grads.dx, grads.dx_row = data(dx), 0 if dx is None else stride(dx, 0)
    grads.dw, grads.db = data(dw), data(db)
    cdef int status
    with nogil:
        status = pyrnn_linear_backward(&call, &grads)
    check(status)
