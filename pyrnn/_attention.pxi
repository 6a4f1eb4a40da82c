# Attention: arrays are (B, N, T, D) views of any strides whose last axis is contiguous.


cdef pyrnn_heads heads_of(array):
    cdef pyrnn_heads heads
    heads.at, heads.batch, heads.head, heads.step = data(array), stride(array, 0), stride(array, 1), stride(array, 2)
    return heads


cdef pyrnn_attention attention_of(q, k, v, options, int threads):
    """Options are (scale, lengths, causal, bias, dropout, seed): lengths int64 or None; bias (B, N, Tq, Tk), of any strides, or
    None."""
    cdef pyrnn_attention call
    scale, lengths, causal, bias, call.dropout, call.seed = options
    call.dtype, call.threads, call.causal, call.scale = 8 * q.dtype.itemsize, threads, causal, scale
    call.batch, call.heads, call.queries, call.size = q.shape
    call.keys = k.shape[2]
    call.lengths = <const int64_t *>data(lengths)
    call.bias = data(bias)
    call.bias_batch = call.bias_head = call.bias_step = 0
    if bias is not None:  # broadcast axes have the stride 0
        call.bias_batch, call.bias_head, call.bias_step = stride(bias, 0), stride(bias, 1), stride(bias, 2)
    call.q, call.k, call.v = heads_of(q), heads_of(k), heads_of(v)
    return call


def attention_forward(q, k, v, tuple options, out, stats, int threads):
    """Writes out; and stats (B, N, Tq, 2) unless that is None."""
    cdef pyrnn_attention call = attention_of(q, k, v, options, threads)
    cdef pyrnn_heads to = heads_of(out)
    cdef size_t size
    check(pyrnn_attention_work(&call, PYRNN_FORWARD, &size))
    held = buffer(size)
    cdef void *work = data(held)
    cdef void *kept = data(stats)
    cdef int status
    with nogil:
        status = pyrnn_attention_forward(&call, &to, kept, work)
    check(status)


def attention_weights(q, k, v, tuple options, stats, weights, int threads):
    """Writes weights (B, N, Tq, Tk) or, averaged over the heads, (B, Tq, Tk); contiguous."""
    cdef pyrnn_attention call = attention_of(q, k, v, options, threads)
    cdef size_t size
    check(pyrnn_attention_work(&call, PYRNN_FORWARD, &size))
    held = buffer(size)
    cdef void *work = data(held)
    cdef void *kept = data(stats)
    cdef void *to = data(weights)
    cdef bint average = weights.ndim == 3
    cdef int status
    with nogil:
        status = pyrnn_attention_weights(&call, kept, average, to, work)
    check(status)


def attention_backward(q, k, v, tuple options, out, stats, dout, dq, dk, dv, int threads):
    """Writes dq, dk and dv."""
    cdef pyrnn_attention call = attention_of(q, k, v, options, threads)
    cdef pyrnn_attention_gradients grads
    cdef size_t size
    check(pyrnn_attention_work(&call, PYRNN_BACKWARD, &size))
    held = buffer(size)
    grads.out, grads.dout, grads.dq = heads_of(out), heads_of(dout), heads_of(dq)
    grads.dk, grads.dv = heads_of(dk), heads_of(dv)
    grads.stats, grads.work = data(stats), data(held)
    cdef int status
    with nogil:
        status = pyrnn_attention_backward(&call, &grads)
    check(status)
