# Optimizers: part of _core.pyx.

SGD = PYRNN_SGD
RMSPROP = PYRNN_RMSPROP
ADAM = PYRNN_ADAM


cdef char *place(object flat, ptrdiff_t start) noexcept:
    """The address of an element; NULL for None."""
    return NULL if flat is None else <char *>data(flat) + start * cnp.PyArray_ITEMSIZE(<cnp.ndarray>flat)


def update(int rule, object told, list arrays, int threads):
    """One step of an optimizer in place. `told` is optim's Rule.

    An entry of `arrays` is a tuple (start, g, p, m, v, u): g, of any shape but C-contiguous, and flat buffers, None for one
    that the rule has not, of which the elements from `start` on belong to it. All have one dtype; there is at least one entry.
    """
    cdef pyrnn_update step
    cdef pyrnn_parameter *parameters
    cdef ptrdiff_t n = len(arrays), i, start
    cdef int status
    step.rule, step.threads, step.dtype = rule, threads, 8 * <int>cnp.PyArray_ITEMSIZE(<cnp.ndarray>(arrays[0][1]))
    (step.step, step.lr, step.weight_decay, step.momentum, step.eps, (step.decay[0], step.decay[1]), step.nesterov,
     step.decoupled) = told
    memory = buffer(n * sizeof(pyrnn_parameter))
    parameters = <pyrnn_parameter *>data(memory)
    for i in range(n):
        start, g, p, m, v, u = <tuple>arrays[i]
        parameters[i].size, parameters[i].g, parameters[i].p = cnp.PyArray_SIZE(<cnp.ndarray>g), data(g), place(p, start)
        parameters[i].m, parameters[i].v, parameters[i].u = place(m, start), place(v, start), place(u, start)
    with nogil:
        status = pyrnn_update_run(&step, n, parameters)
    check(status)
