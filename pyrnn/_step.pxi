# Single steps: part of _core.pyx. Pointers are prepared once; a call allocates its result at most.

# Operations of a step. From the first number on it is worth threads, so pyrnn_forward takes it; from the second on, about
# 10 us, others get the interpreter meanwhile: to give it away and to get it back takes 50 ns, and waiting for it longer.
cdef enum:
    WORTH_THREADS = 10_000_000
    WORTH_RELEASING = 400_000
    FAR = 4 << 20  # bytes of weights that come from behind the level-2 cache, where each counts as five operations


cdef struct Layer:
    void *step  # pyrnn_step's memory; NULL where pyrnn_forward takes the step
    pyrnn_sequence seq
    pyrnn_outputs out


cdef inline double work_of(packed, ptrdiff_t batch, int itemsize):
    """Operations of a step, or as many as take the time of its weights' way."""
    cdef double bytes = cnp.PyArray_NBYTES(packed)
    return max(2. * batch * bytes / itemsize, 5 * bytes if bytes >= FAR else 0)


cdef int prepare(Layer *layer, list held, packed, ptrdiff_t batch, ptrdiff_t inputs, ptrdiff_t units, int itemsize,
                 int threads) except -1:
    """Prepare steps of `batch` rows; what the layer points to is added to `held`."""
    cdef size_t size
    cdef bint alone = work_of(packed, batch, itemsize) < WORTH_THREADS
    memset(layer, 0, sizeof(Layer))
    layer.out.packed, layer.out.y_row = data(packed), units
    layer.seq.T, layer.seq.B, layer.seq.threads, layer.seq.x_row = 1, batch, threads, inputs
    if alone:
        check(pyrnn_step_size(layer.out.packed, batch, &size))
    else:
        check(pyrnn_forward_work(layer.out.packed, &layer.seq, &size))
    memory = buffer(size)
    layer.out.work = data(memory)
    if alone:
        layer.step = layer.out.work
        check(pyrnn_step_init(layer.out.packed, batch, layer.step))
    held += [packed, memory]
    return 0


cdef int advance(Layer *layer, const void *x, const void **state0, void **state, void *y) noexcept nogil:
    """pyrnn_step, or the same by pyrnn_forward; returns a status."""
    if layer.step != NULL:
        pyrnn_step(layer.step, x, <const void *const *>state0, <void *const *>state, y)
        return 0
    layer.seq.x, layer.out.y = x, y
    layer.seq.state0[0], layer.seq.state0[1] = state0[0], state0[1]
    layer.out.state[0], layer.out.state[1] = state[0], state[1]
    return pyrnn_forward(&layer.seq, &layer.out)


cdef int advance_all(Layer *layers, int count, const void *x, void *y) noexcept nogil:
    """One step through stacked layers, whose states advance in place."""
    cdef int number, status = 0
    for number in range(count):
        into = y if number == count - 1 else layers[number].out.y
        status |= advance(&layers[number], x, <const void **>layers[number].out.state, layers[number].out.state, into)
        x = into
    return status


cdef inline bint plain(object x, int typenum, cnp.npy_intp rows, cnp.npy_intp columns) noexcept:
    """Whether x is just what the kernels read: an ndarray (rows, columns), C-contiguous, aligned, of native dtype."""
    return (cnp.PyArray_CheckExact(x) and cnp.PyArray_TYPE(x) == typenum and cnp.PyArray_NDIM(x) == 2
            and cnp.PyArray_DIM(x, 0) == rows and cnp.PyArray_DIM(x, 1) == columns and cnp.PyArray_ISCARRAY_RO(x))


cdef inline bint overlap(const void *a, size_t a_bytes, const void *b, size_t b_bytes) noexcept:
    return <const char *>a < <const char *>b + b_bytes and <const char *>b < <const char *>a + a_bytes


cdef class Stream:
    """Stacked forward layers, one step a call.

    packed: one PYRNN_FORWARD pack a layer; states: one tuple of (B, H) arrays a layer, advanced in place. A subclass has the
    methods `_read(x)`, the checked (B, I) array for an x that is not one already, and `_refuse(out)`, which raises.
    """

    def __init__(self, list packed, Py_ssize_t inputs, Py_ssize_t units, list states, int threads):
        cdef Layer *layer
        cdef double work = 0
        cdef int number
        self.typenum, self.itemsize = cnp.PyArray_TYPE(states[0][0]), states[0][0].itemsize
        self.batch, self.inputs, self.units = len(states[0][0]), inputs, units
        memory = buffer(len(packed) * sizeof(Layer))
        held = [memory]
        self.layers = data(memory)
        for number in range(len(packed)):
            weights, state = packed[number], states[number]
            layer = <Layer *>self.layers + number
            prepare(layer, held, weights, self.batch, inputs, units, self.itemsize, threads)
            work += work_of(weights, self.batch, self.itemsize)
            y = np.empty((self.batch, units), states[0][0].dtype)
            layer.out.y = data(y)
            states_of(state, layer.out.state)
            held += [y, state]
            inputs = units
        self.count, self.is_long, self.held = len(packed), work >= WORTH_RELEASING, held

    cdef void step(self, const void *x, void *y) noexcept nogil:
        advance_all(<Layer *>self.layers, self.count, x, y)

    def __call__(self, x, out=None):
        cdef cnp.npy_intp[2] dims
        cdef const void *given
        cdef void *y
        cdef int status
        if not plain(x, self.typenum, self.batch, self.inputs):
            x = self._read(x)
        if out is None:
            dims[0], dims[1] = self.batch, self.units
            out = cnp.PyArray_EMPTY(2, dims, self.typenum, 0)
        elif not plain(out, self.typenum, self.batch, self.units) or not cnp.PyArray_ISWRITEABLE(out):
            self._refuse(out)
        elif overlap(data(x), cnp.PyArray_NBYTES(x), data(out), cnp.PyArray_NBYTES(out)):
            x = x.copy()
        if self.busy:
            raise RuntimeError("this stream is in use by another thread; make one for each")
        given, y = data(x), data(out)
        if self.is_long:
            self.busy = True
            with nogil:
                status = advance_all(<Layer *>self.layers, self.count, given, y)
            self.busy = False
        else:
            status = advance_all(<Layer *>self.layers, self.count, given, y)
        check(status)
        return out


cdef class Step:
    """One layer, one step a call, the state passed in and out: what a cell calls.

    Takes plain arrays alone (x (B, I), and for state and out a (B, H) array, or a tuple of as many as there are states) and
    returns None for anything else, and while another thread is in it: the caller then goes the long way.
    """
    cdef Layer layer
    cdef object packed, threads, held
    cdef cnp.npy_intp batch, inputs, units
    cdef int typenum, itemsize, states
    cdef bint busy, is_long

    def __init__(self, packed, dtype, Py_ssize_t inputs, Py_ssize_t units, int states, threads):
        """`threads()` says how many a call may use."""
        self.packed, self.inputs, self.units, self.states, self.threads = packed, inputs, units, states, threads
        self.itemsize, self.batch = dtype.itemsize, -1
        self.typenum = cnp.NPY_FLOAT if self.itemsize == 4 else cnp.NPY_DOUBLE

    cdef int prepare(self, cnp.npy_intp batch) except -1:
        """For steps of so many rows; threads matter only where pyrnn_forward takes them."""
        cdef double work = work_of(self.packed, batch, self.itemsize)
        cdef int threads = 1 if work < WORTH_THREADS else self.threads()
        if self.batch == batch and self.layer.seq.threads == threads:
            return 0
        self.batch, held = -1, []
        prepare(&self.layer, held, self.packed, batch, self.inputs, self.units, self.itemsize, threads)
        self.batch, self.held, self.is_long = batch, held, work >= WORTH_RELEASING
        return 0

    cdef bint read(self, given, cnp.npy_intp batch, void **pointers) noexcept:
        """The pointers of a state, passed in or out; NULL for None. Whether it is plain."""
        pointers[0] = pointers[1] = NULL
        if given is None:
            return True
        if self.states == 1:
            pointers[0] = data(given) if plain(given, self.typenum, batch, self.units) else NULL
            return pointers[0] != NULL
        if type(given) is not tuple or len(<tuple>given) != self.states:
            return False
        for q in range(self.states):
            part = <object>PyTuple_GET_ITEM(given, q)
            if part is not None:
                if not plain(part, self.typenum, batch, self.units):
                    return False
                pointers[q] = data(part)
        return True

    cdef bint writeable(self, out) noexcept:
        if self.states == 1:
            return cnp.PyArray_ISWRITEABLE(out)
        for q in range(self.states):
            if not cnp.PyArray_ISWRITEABLE(<cnp.ndarray>PyTuple_GET_ITEM(out, q)):
                return False
        return True

    cdef bint apart(self, x, void **before, void **after, cnp.npy_intp batch) noexcept:
        """Whether each part of `after` is a place of its own, or the part of `before` that it takes over."""
        cdef size_t size = batch * self.units * self.itemsize
        cdef int p, q
        for q in range(self.states):
            if after[q] == NULL or overlap(after[q], size, data(x), cnp.PyArray_NBYTES(x)):
                return False
            for p in range(self.states):
                if p == q and before[p] == after[q] and self.layer.step != NULL:
                    continue
                if p != q and overlap(after[q], size, after[p], size):
                    return False
                if before[p] != NULL and overlap(after[q], size, before[p], size):
                    return False
        return True

    cdef object fresh(self, cnp.npy_intp batch, void **pointers):
        cdef cnp.npy_intp[2] dims
        dims[0], dims[1] = batch, self.units
        h = cnp.PyArray_EMPTY(2, dims, self.typenum, 0)
        pointers[0] = data(h)
        if self.states == 1:
            return h
        c = cnp.PyArray_EMPTY(2, dims, self.typenum, 0)
        pointers[1] = data(c)
        return h, c

    def take(self, x, state, out):
        if self.busy:
            return None
        self.busy = True
        try:
            return self.taken(x, state, out)
        finally:
            self.busy = False

    cdef object taken(self, x, state, out):
        cdef void *before[2]
        cdef void *after[2]
        cdef const void *given
        cdef void *y
        cdef cnp.npy_intp batch
        cdef int status
        if not cnp.PyArray_CheckExact(x) or cnp.PyArray_NDIM(x) != 2:
            return None
        batch = cnp.PyArray_DIM(x, 0)
        if not plain(x, self.typenum, batch, self.inputs) or not self.read(state, batch, before):
            return None
        self.prepare(batch)
        if out is None:
            out = self.fresh(batch, after)
        elif not (self.read(out, batch, after) and self.apart(x, before, after, batch) and self.writeable(out)):
            return None
        given, y = data(x), NULL if self.layer.step != NULL else after[0]
        if self.is_long:
            with nogil:
                status = advance(&self.layer, given, <const void **>before, after, y)
        else:
            status = advance(&self.layer, given, <const void **>before, after, y)
        check(status)
        return out
