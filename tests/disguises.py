"""Arguments for calls at random: the same values in other clothes, and things that no call accepts."""

import numpy as np

# ---- the same values ----


def swapped(array):
    """The other byte order."""
    return array.astype(array.dtype.newbyteorder())


def backwards(array):
    """Negative strides."""
    flip = (slice(None, None, -1),) * array.ndim
    return array[flip].copy()[flip]


def every_other(array):
    """Gaps between elements."""
    return np.repeat(array, 2, axis=-1)[..., ::2]


def misaligned(array):
    raw = np.empty(array.nbytes + 1, np.uint8)
    view = raw[1:].view(array.dtype).reshape(array.shape)
    view[...] = array
    return view


def field(array):
    """A field of records: strides that are no multiples of the element's size."""
    records = np.zeros(array.shape, [("flag", "u1"), ("value", array.dtype)])
    records["value"] = array
    return records["value"]


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


def nested(array):
    """Lists; that of an empty array would have forgotten the sizes behind its zero."""
    return array.tolist() if array.size else array


def longer(array):
    """A wider dtype, and one without a sign."""
    return array.astype({"f": np.longdouble, "i": np.uint64}.get(array.dtype.kind, array.dtype))


def shorter(array):
    """A narrower dtype: the tests' values are eighths and small integers, which it holds."""
    return array.astype({"f": np.float16, "i": np.int8}.get(array.dtype.kind, array.dtype))


class Foreign:
    """A tensor of another library."""

    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return np.array(self.array, dtype)


MEMORY = (np.copy, np.asfortranarray, swapped, backwards, every_other, misaligned, field, read_only)
DISGUISES = (*MEMORY, nested, longer, shorter, Foreign)


# ---- what no call accepts ----


class Hostile:
    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("no array today")


def wrong_kinds(array):
    """Of the right shape, but no numbers; and no arrays at all."""
    return [
        *(array.astype(kind) for kind in (complex, str, object, "S4")),
        *(np.zeros(array.shape, kind) for kind in ("M8[s]", "V8", "m8[s]", [("a", "f4"), ("b", "f4")])),
        *(Hostile(), object(), "text", {"a": 1}, b"bytes", lambda: 1),
        *([[1, 2], [3]], [[[1.0], [2.0, 3.0]]], [None], [[{}]]),
    ]


def wrong_shapes(array, axes):
    """More dimensions and none, and one more in one of the axes that other arguments determine."""
    shape = array.shape
    longer = [(*shape[:axis], shape[axis] + 1, *shape[axis + 1 :]) for axis in axes]
    return [np.ones(wrong, array.dtype) for wrong in ((1, *shape, 1), (*shape, 2, 1), (), *longer)]


def wrong_lengths(T, B):
    shapes = np.zeros(B + 1, int), np.zeros((B, 1), int), 1, [[1], [1, 2]], range(B + 1)
    if B == 0:  # a dtype says nothing without a value
        return [*shapes, "text", Hostile()]
    kinds = (2**64 - 1, "u8"), (1, "f4"), (True, bool), (1, "O"), ("1", "U1"), (1, "m8[s]"), (1, complex)
    return [
        *(np.full(B, value) for value in (-1, T + 1, 2**62, -(2**63), np.nan)),
        *(np.full(B, value, kind) for value, kind in kinds),
        *(*shapes, "text", Hostile(), [10**30] * B),
    ]


def wrong_resets(T, B):
    return [
        *(np.ones((T, B), kind) for kind in (int, float, np.uint8, object, "U1")),
        *(np.ones(shape, bool) for shape in ((T + 1, B), (T, B + 1), (T, B, 1), ())),
        *("text", True, [[True], [True, False]], Hostile(), object()),
    ]


FLAGS = [0, 1, "yes", [], 1.0, np.ones(1, bool)]
SIZES = [0, -1, 1.5, "3", True, None, [1], 2**63, 10**30, np.float64(2), np.array([1, 2])]
NUMBERS = [-0.1, 1.5, float("nan"), float("inf"), "0.5", [0.5], True, 1j, object()]
RNGS = [-1, 1.5, "seed", True, [1], np.random.RandomState(0), object()]
DTYPES = [np.float16, int, ">f4", "real", "O", complex, object(), 7]
