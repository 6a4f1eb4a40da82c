# Memory for large arrays, kept from one call to the next: fresh memory costs a page fault for every page of it, which takes
# as long as a third of a training step. The interpreter's lock guards it.
cdef extern from *:
    """
    #include <stddef.h>
    #include <stdint.h>
    #include <stdlib.h>
    #if defined __linux__
    #include <sys/mman.h>
    #endif

    #ifdef __SANITIZE_ADDRESS__
    enum { KEPT_MEGABYTES = 0 }; /* memory that is not freed hides who still uses it */
    #else
    enum { KEPT_MEGABYTES = 256 };
    #endif

    enum { HUGE_PAGE = 2 << 20, TRACED = 0x70797267 /* a domain of tracemalloc */ };

    /* Begins, where it is large, with whole huge pages: physically contiguous memory is spread evenly over a level-2 cache. Scattered pages
     * crowd some of its sets, more or less by chance, and weights that just fit evict each other: the same product was
     * up to 1.3 times slower in some processes than in others. */
    static void *take_memory(size_t size)
    {
        void *memory;
        if (posix_memalign(&memory, size < HUGE_PAGE ? 64 : HUGE_PAGE, size))
            return NULL;
    #if defined __linux__ && defined MADV_HUGEPAGE
        if (size >= HUGE_PAGE)
            madvise(memory, size / HUGE_PAGE * HUGE_PAGE, MADV_HUGEPAGE);
    #endif
        PyTraceMalloc_Track(TRACED, (uintptr_t)memory, size);
        return memory;
    }

    static void give_back(void *memory)
    {
        PyTraceMalloc_Untrack(TRACED, (uintptr_t)memory);
        free(memory);
    }
    """
    enum: KEPT_MEGABYTES
    void *take_memory(size_t size) noexcept
    void give_back(void *memory) noexcept

KEPT = KEPT_MEGABYTES

cdef struct Block:
    void *raw
    size_t size

cdef enum:
    KEPT_BLOCKS = 64
    SMALL = 1 << 16  # bytes; below it the C library keeps memory well enough by itself
    ALIGNED = 64

cdef Block[KEPT_BLOCKS] kept  # oldest first
cdef int kept_blocks = 0
cdef size_t kept_bytes = 0


cdef Block remove_kept(int i) noexcept:
    global kept_blocks, kept_bytes
    cdef Block block = kept[i]
    kept_blocks -= 1
    kept_bytes -= block.size
    for j in range(i, kept_blocks):
        kept[j] = kept[j + 1]
    return block


cdef class Lease:
    """A block that an array lives in; goes back when the last array that needs it is gone."""
    cdef Block block

    def __dealloc__(self):
        global kept_blocks, kept_bytes
        cdef size_t limit = <size_t>KEPT_MEGABYTES << 20
        if self.block.raw == NULL:
            return
        if self.block.size < SMALL or self.block.size > limit:
            give_back(self.block.raw)
            return
        while kept_blocks == KEPT_BLOCKS or kept_bytes + self.block.size > limit:
            give_back(remove_kept(0).raw)
        kept[kept_blocks] = self.block
        kept_blocks += 1
        kept_bytes += self.block.size


cdef Lease lease(size_t size):
    """At least `size` bytes, aligned: a kept block of up to twice as many, the latest first, or a new one."""
    cdef Lease taken = Lease.__new__(Lease)
    for i in range(kept_blocks - 1 if size >= SMALL else -1, -1, -1):
        if size <= kept[i].size <= 2 * size:
            taken.block = remove_kept(i)
            return taken
    taken.block.raw = take_memory(size)
    if taken.block.raw == NULL:
        empty_cache()
        taken.block.raw = take_memory(size)
    if taken.block.raw == NULL:
        raise MemoryError(f"no memory for {size} bytes")
    taken.block.size = size
    return taken


cdef cnp.ndarray new_array(int nd, cnp.npy_intp *dims, int typenum, size_t bytes):
    """An array of `bytes`, not initialized, aligned to 64 where it is large."""
    cdef Lease home
    cdef char *start
    if bytes < SMALL:
        return cnp.PyArray_EMPTY(nd, dims, typenum, 0)
    home = lease(bytes + ALIGNED)
    start = <char *>home.block.raw
    start += (ALIGNED - <size_t>start % ALIGNED) % ALIGNED
    array = cnp.PyArray_SimpleNewFromData(nd, dims, typenum, start)
    cnp.set_array_base(array, home)
    return array


def empty(tuple shape, dtype):
    """As numpy.empty for float32 and float64, in memory that may have been used before."""
    cdef cnp.npy_intp[4] dims
    cdef size_t bytes = dtype.itemsize
    cdef int nd = len(shape)
    for i in range(nd):
        dims[i] = shape[i]
        bytes *= <size_t>dims[i]
    return new_array(nd, dims, cnp.NPY_FLOAT if dtype.itemsize == 4 else cnp.NPY_DOUBLE, bytes)


def empty_cache():
    """See pyrnn._memory."""
    while kept_blocks:
        give_back(remove_kept(kept_blocks - 1).raw)


cdef cnp.ndarray buffer(size_t size):
    """`size` bytes, aligned to 64."""
    cdef cnp.npy_intp n = <cnp.npy_intp>size + ALIGNED
    cdef cnp.ndarray raw = new_array(1, &n, cnp.NPY_UINT8, n)
    cdef size_t skip = (ALIGNED - <size_t>cnp.PyArray_DATA(raw) % ALIGNED) % ALIGNED
    return raw[skip:skip + size]


cdef Py_ssize_t bytes_of(a, b) except -1:
    """The size of two C-contiguous arrays of the same shape and dtype; ValueError for others."""
    cdef cnp.ndarray one = a, other = b
    if not cnp.PyArray_SAMESHAPE(one, other) or cnp.PyArray_TYPE(one) != cnp.PyArray_TYPE(other):
        raise ValueError(f"an array of shape {a.shape} and dtype {a.dtype} in place of {b.shape} and {b.dtype}")
    return cnp.PyArray_NBYTES(one)


def same(list ones, list others):
    """Whether arrays and as many others are the same, bit for bit."""
    cdef const void *a
    cdef const void *b
    cdef size_t size
    cdef int difference
    for one, other in zip(ones, others, strict=True):
        size, a, b = bytes_of(one, other), data(one), data(other)
        with nogil:
            difference = memcmp(a, b, size)
        if difference:
            return False
    return True


def overwrite(list arrays, list values):
    """Copy values to arrays, writeable or not."""
    for array, value in zip(arrays, values, strict=True):
        memcpy(data(array), data(value), bytes_of(value, array))
