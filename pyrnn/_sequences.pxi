# Layers over sequences, forward and back, one call or several at once: part of _core.pyx.

cdef void states_of(object arrays, void **pointers) noexcept:
    """The pointers of a tuple of one or two arrays (or Nones); None for no array at all."""
    pointers[0] = pointers[1] = NULL
    if arrays is not None:
        for i in range(len(<tuple>arrays)):
            pointers[i] = data((<tuple>arrays)[i])


cdef pyrnn_sequence sequence_of(x, state0, lengths, reset, bint reverse, mask, uint64_t seed, int threads):
    cdef pyrnn_sequence seq
    seq.mask, seq.seed = data(mask), seed
    seq.T, seq.B, seq.reverse, seq.threads = cnp.PyArray_DIM(x, 0), cnp.PyArray_DIM(x, 1), reverse, threads
    seq.x, seq.x_step, seq.x_row = data(x), stride(x, 0), stride(x, 1)
    seq.lengths = <const int64_t *>data(lengths)
    seq.reset = <const uint8_t *>data(reset)
    seq.reset_step = 0 if reset is None else stride(reset, 0)
    seq.reset_row = 0 if reset is None else stride(reset, 1)
    states_of(state0, <void **>seq.state0)
    return seq


def is_plain(x, dtype, ptrdiff_t features):
    """Whether x is an array (T, B, features) that can be read as it is, and too small for any result that could not be addressed."""
    cdef cnp.ndarray array
    cdef ptrdiff_t most = 1 << 31
    if not cnp.PyArray_CheckExact(x):
        return False
    array = x
    return (cnp.PyArray_NDIM(array) == 3 and cnp.PyArray_DIM(array, 2) == features
            and cnp.PyArray_DIM(array, 0) < most and cnp.PyArray_DIM(array, 1) < most
            and cnp.PyArray_DIM(array, 0) * cnp.PyArray_DIM(array, 1) < most
            and <object>cnp.PyArray_DESCR(array) is dtype and cnp.PyArray_ISCARRAY(array))


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


cdef Lease open_forward(tuple call, int threads, pyrnn_sequence *seq, pyrnn_outputs *out):
    """What C is told of a call of `forward`; the work of it, to be kept until it is over."""
    cdef Lease work
    cdef size_t size
    packed, x, state0, lengths, reset, reverse, mask, seed, y, state, saved = call
    seq[0] = sequence_of(x, state0, lengths, reset, reverse, mask, seed, threads)
    out.packed = data(packed)
    check(pyrnn_forward_work(out.packed, seq, &size))
    work = lease(size)
    out.y, out.y_step, out.y_row = data(y), stride(y, 0), stride(y, 1)
    states_of(state, out.state)
    out.saved, out.work = data(saved), work.block.raw
    return work


def forward(list calls, int threads, bint chain=False):
    """One direction of one layer a call, side by side where there are threads for it.

    In a chain x of each call is y of the one before, and each has one thread.

    A call is a tuple (packed, x, state0, lengths, reset, reverse, mask, seed, y, state, saved): x (T, B, I) and y (T, B, P) are
    contiguous in their last axis, mask is (B, P) or None; state0 and state are tuples of arrays, (B, P) and then (B, H);
    lengths int64; saved None for inference.
    """
    cdef pyrnn_sequence seqs[MANY]
    cdef pyrnn_outputs outs[MANY]
    cdef int status, n = len(calls), i
    cdef int each = 1 if chain or n == 0 else threads // n + (threads % n > 0)
    works = [open_forward(calls[i], each, &seqs[i], &outs[i]) for i in range(n)]
    with nogil:
        if chain:
            status = pyrnn_forward_chain(n, threads, seqs, outs)
        else:
            status = pyrnn_forward_many(n, threads, seqs, outs)
    check(status)


cdef Lease open_backward(tuple call, int threads, pyrnn_sequence *seq, pyrnn_gradients *grads):
    """As open_forward, of a call of `backward`."""
    cdef Lease work
    cdef size_t size
    (packed, x, state0, lengths, reset, reverse, mask, seed, saved, dy, dstate, dx, dstate0, dw_ih, dw_hh, db_ih, db_hh,
     dunits, dw_hr) = call
    seq[0] = sequence_of(x, state0, lengths, reset, reverse, mask, seed, threads)
    grads.packed = data(packed)
    check(pyrnn_backward_work(grads.packed, seq, &size))
    work = lease(size)
    grads.saved, grads.dy = data(saved), data(dy)
    grads.dy_step, grads.dy_row = stride(dy, 0), stride(dy, 1)
    states_of(dstate, <void **>grads.dstate)
    states_of(dstate0, grads.dstate0)
    grads.dx = data(dx)
    grads.dx_step = 0 if dx is None else stride(dx, 0)
    grads.dx_row = 0 if dx is None else stride(dx, 1)
    grads.dw_ih, grads.dw_hh, grads.db_ih, grads.db_hh = data(dw_ih), data(dw_hh), data(db_ih), data(db_hh)
    grads.dunits, grads.dw_hr, grads.work = data(dunits), data(dw_hr), work.block.raw
    return work


def backward(list calls, int threads, bint chain=False):
    """Gradients of `forward`; in a chain dy of each call is dx of the one before.

    A call is a tuple (packed, x, state0, lengths, reset, reverse, mask, seed, saved, dy, dstate, dx, dstate0, dw_ih, dw_hh,
    db_ih, db_hh, dunits, dw_hr), of which the last eight are written; of them only dw_ih and those of the products that there
    are may not be None.
    """
    cdef pyrnn_sequence seqs[MANY]
    cdef pyrnn_gradients grads[MANY]
    cdef int status, n = len(calls), i
    cdef int each = 1 if chain or n == 0 else threads // n + (threads % n > 0)
    works = [open_backward(calls[i], each, &seqs[i], &grads[i]) for i in range(n)]
    with nogil:
        if chain:
            status = pyrnn_backward_chain(n, threads, seqs, grads)
        else:
            status = pyrnn_backward_many(n, threads, seqs, grads)
    check(status)


def run(packed, x, state0, lengths, reset, reverse, mask, seed, y, bint training, int threads):
    """`outputs`, and `forward` of a single call that writes to them."""
    cdef tuple found = outputs(packed, x, y, training)
    cdef pyrnn_sequence seq
    cdef pyrnn_outputs out
    cdef int status
    work = open_forward((packed, x, state0, lengths, reset, reverse, mask, seed, *found), threads, &seq, &out)
    with nogil:
        status = pyrnn_forward(&seq, &out)
    check(status)
    return found


def pull(packed, x, state0, lengths, reset, reverse, mask, seed, saved, dy, dstate, dx, int threads):
    """`gradients`, and `backward` of a single call that writes to them."""
    cdef tuple found = gradients(packed, x, dx)
    cdef pyrnn_sequence seq
    cdef pyrnn_gradients grads
    cdef int status
    work = open_backward((packed, x, state0, lengths, reset, reverse, mask, seed, saved, dy, dstate, *found), threads,
                         &seq, &grads)
    with nogil:
        status = pyrnn_backward(&seq, &grads)
    check(status)
    return found
