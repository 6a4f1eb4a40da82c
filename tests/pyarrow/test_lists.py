"""Arrow's fixed-size lists and tensors as inputs, without a copy."""

import numpy as np
import pyarrow as pa
import pytest

import pyrnn


@pytest.fixture
def x(rng):
    return rng.standard_normal((4, 2, 3)).astype(np.float32)


def lists(x):
    flat = pa.array(x.reshape(-1))
    for size in x.shape[:0:-1]:
        flat = pa.FixedSizeListArray.from_arrays(flat, size)
    return flat


def test_lists_are_not_copied(x, kernels_read):
    found = kernels_read(pyrnn.GRU(3, 5), lists(x))
    assert found.ctypes.data == x.ctypes.data
    np.testing.assert_array_equal(found, x)


def test_a_slice_begins_where_it_begins(x, kernels_read):
    found = kernels_read(pyrnn.GRU(3, 5), lists(x)[1:3])
    assert found.ctypes.data == x[1:].ctypes.data
    np.testing.assert_array_equal(found, x[1:3])


def test_tensors_are_not_copied(x, kernels_read):
    assert kernels_read(pyrnn.GRU(3, 5), pa.Tensor.from_numpy(x)).ctypes.data == x.ctypes.data


def test_nulls_are_refused(x):
    holes = pa.array([[1.0, None, 2.0], [1.0, 2.0, 3.0]], pa.list_(pa.float32(), 3))
    gaps = pa.array([[1.0, 2.0, 3.0], None], pa.list_(pa.float32(), 3))
    for value in (holes, gaps):
        with pytest.raises(ValueError, match=r"x must be array_like, got FixedSizeListArray: .*null"):
            pyrnn.GRU(3, 5)(value)
