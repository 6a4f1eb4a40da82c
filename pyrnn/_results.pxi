# The arrays that calls write to, of the sizes that the packed weights say: part of _core.pyx. A short call takes a
# tenth of its time for them where Python makes them one by one.

cdef inline cnp.ndarray vector(cnp.npy_intp n, int typenum):
    return new_array(1, &n, typenum, n * (4 if typenum == cnp.NPY_FLOAT else 8))


cdef inline cnp.ndarray matrix(cnp.npy_intp rows, cnp.npy_intp columns, int typenum):
    cdef cnp.npy_intp *dims = [rows, columns]
    return new_array(2, dims, typenum, rows * columns * (4 if typenum == cnp.NPY_FLOAT else 8))


cdef inline cnp.ndarray sequence(x, cnp.npy_intp features, int typenum):
    """(T, B, features), T and B those of x."""
    cdef cnp.npy_intp *dims = [cnp.PyArray_DIM(x, 0), cnp.PyArray_DIM(x, 1), features]
    return new_array(3, dims, typenum, dims[0] * dims[1] * features * (4 if typenum == cnp.NPY_FLOAT else 8))


cdef int open_packed(packed, int use, pyrnn_layer *layer, pyrnn_cell_info *info) except -1:
    """What weights were packed for; its numpy type."""
    cdef int isa
    check(pyrnn_open_packed(data(packed), use, layer, &isa))
    check(pyrnn_describe(layer.cell, info))
    return cnp.NPY_FLOAT if layer.dtype == PYRNN_F32 else cnp.NPY_DOUBLE


cdef inline tuple states(const pyrnn_layer *layer, const pyrnn_cell_info *info, cnp.npy_intp B, int typenum):
    h = matrix(B, layer.projection or layer.units, typenum)
    return (h,) if info.states == 1 else (h, matrix(B, layer.units, typenum))


def outputs(packed, x, y, bint training):
    """What `forward` writes to: y (T, B, P) if it is None, the states (B, P) and (B, H), saved or None."""
    cdef pyrnn_layer layer
    cdef pyrnn_cell_info info
    cdef size_t size
    cdef int typenum = open_packed(packed, PYRNN_FORWARD, &layer, &info)
    cdef cnp.npy_intp T = cnp.PyArray_DIM(x, 0), B = cnp.PyArray_DIM(x, 1)
    saved = None
    if training:
        check(pyrnn_saved_size(&layer, T, B, &size))
        saved = vector(8 * size // layer.dtype, typenum)
    if y is None:
        y = sequence(x, layer.projection or layer.units, typenum)
    return y, states(&layer, &info, B, typenum), saved


def gradients(packed, x, dx):
    """What `backward` writes to: dx (T, B, I) if it is None, dstate0, dw_ih, dw_hh, db_ih, db_hh, dunits, dw_hr."""
    cdef pyrnn_layer layer
    cdef pyrnn_cell_info info
    cdef int typenum = open_packed(packed, PYRNN_BACKWARD, &layer, &info)
    cdef cnp.npy_intp H = layer.units, P = layer.projection or H, rows = info.gates * H, rows_hh = info.recurrent * H
    cdef int own = info.units + (info.peepholes if layer.peepholes else 0)
    return (
        sequence(x, layer.inputs, typenum) if dx is None else dx,
        states(&layer, &info, cnp.PyArray_DIM(x, 1), typenum),
        matrix(rows, layer.inputs, typenum),
        matrix(rows_hh, P, typenum),
        vector(rows, typenum),
        vector(rows_hh, typenum),
        matrix(own, H, typenum) if own else None,
        matrix(P, H, typenum) if layer.projection else None,
    )
