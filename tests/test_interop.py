"""Weights of PyTorch and flax as arrays and files: what is found, what is refused; arrays of others."""

import array
import contextlib

import numpy as np
import pytest
import safetensors.numpy

import pyrnn
from pyrnn import interop

from .problems import assert_same

LAYERS = [
    pyrnn.LSTM(3, 5, 2, bidirectional=True, rng=0),
    pyrnn.LSTM(3, 5, bias=False, proj_size=2, dtype=np.float64, rng=0),
    pyrnn.GRU(4, 2, 3, rng=0),
    pyrnn.RNN(2, 6, bidirectional=True, rng=0),
    pyrnn.LSTMCell(3, 5, rng=0),
    pyrnn.GRUCell(3, 5, rng=0),
    pyrnn.RNNCell(3, 5, bias=False, rng=0),
]


def nested(layer, prefix="model.encoder"):
    return {f"{prefix}.{name}": array for name, array in layer.state_dict().items()}


def options(layer):
    return {"nonlinearity": "tanh"} if "RNN" in type(layer).__name__ else {}


@pytest.mark.parametrize("layer", LAYERS, ids=repr)
@pytest.mark.parametrize("form", ["bare", "nested", "file"])
def test_a_state_dict_is_the_layer_that_it_is_of(layer, form, tmp_path):
    source = layer.state_dict() if form == "bare" else nested(layer)
    if form == "file":
        safetensors.numpy.save_file(source, tmp_path / "model.safetensors")
        source = tmp_path / "model.safetensors"
    found = interop.from_torch(source, **options(layer))
    assert repr(found) == repr(layer)
    assert_same(found.params, layer.params)
    assert interop.list_torch(source) == {
        "" if form == "bare" else "model.encoder": repr(layer).replace(", dtype=np.float64", "")
    }


def test_several_layers_are_listed_and_picked():
    first, second = pyrnn.LSTM(3, 5, rng=0), pyrnn.GRU(5, 4, rng=1)
    others = {"embedding.weight": np.ones((9, 3)), "head.bias": np.ones(2, int)}
    source = nested(first, "a.rnn") | others | nested(second, "b")
    assert interop.list_torch(source) == {"a.rnn": "LSTM(3, 5)", "b": "GRU(5, 4)"}
    assert_same(interop.from_torch(source, "b").params, second.params)
    assert_same(interop.from_torch(source, "a.rnn.").params, first.params)
    with pytest.raises(
        ValueError, match=r"one recurrent layer, or prefix say which; there are 'a\.rnn': LSTM"
    ):
        interop.from_torch(source)
    with pytest.raises(ValueError, match=r"no recurrent layer at prefix 'c'; there are"):
        interop.from_torch(source, "c")
    with pytest.raises(ValueError, match="there are none"):
        interop.from_torch(others)


def test_options_that_weights_do_not_tell():
    rnn = pyrnn.RNN(3, 4, nonlinearity="relu", rng=0)
    with pytest.raises(ValueError, match="nonlinearity must be given"):
        interop.from_torch(rnn.state_dict())
    found = interop.from_torch(rnn.state_dict(), nonlinearity="relu", batch_first=True, dtype=np.float64)
    assert repr(found) == "RNN(3, 4, batch_first=True, nonlinearity='relu', dtype=np.float64)"
    with pytest.raises(ValueError, match="nonlinearity must be None for GRU, got 'tanh'"):
        interop.from_torch(pyrnn.GRU(3, 4).state_dict(), nonlinearity="tanh")
    with pytest.raises(ValueError, match="batch_first must be None for GRUCell"):
        interop.from_torch(pyrnn.GRUCell(3, 4).state_dict(), batch_first=True)


def test_half_precision_is_held_exactly():
    source = {name: array.astype(np.float16) for name, array in pyrnn.GRU(3, 4, rng=0).state_dict().items()}
    found = interop.from_torch(source)
    assert found.dtype == np.float32
    assert_same(found.params, {name: array.astype(np.float32) for name, array in source.items()})


def changed(**changes):
    source = pyrnn.LSTM(3, 4, 2, rng=0).state_dict()
    for name, change in changes.items():
        source[name] = change(source[name]) if name in source else change
    return {name: array for name, array in source.items() if array is not None}


REFUSED = {
    "a weight too many": (changed(weight_ch_l0=np.ones((3, 4))), "'weight_ch_l0' is nothing that pyrnn"),
    "a parametrization": (
        changed() | {"parametrizations.weight_hh_l0.original0": np.ones(4)},
        "parametrizations.weight_hh_l0.original0",
    ),
    "a bias missing": (changed(bias_hh_l1=lambda a: None), "missing 'bias_hh_l1'"),
    "a layer missing": (changed() | {"weight_ih_l7": np.ones((16, 4))}, "lacks layers"),
    "a shape": (changed(weight_hh_l1=lambda a: a[:-1]), "weight_hh_l1 must have shape"),
    "gates": (changed(weight_ih_l0=lambda a: a[:8]), "weight_ih_l0 must have 4, 3 or 1 times"),
    "integers": (changed(weight_ih_l0=lambda a: a.astype(np.int8)), "weight_ih_l0 must hold floating"),
    "a vector": (changed(weight_hh_l0=lambda a: a[0]), "weight_hh_l0 must be a matrix"),
    "a GRU's projection": (
        {"weight_ih_l0": np.ones((12, 3)), "weight_hh_l0": np.ones((12, 2)), "weight_hr_l0": np.ones((2, 4))},
        "pyrnn has a projection in the LSTM alone",
    ),
    "no mapping": (5, "source must be a module, a mapping or a path, got int"),
    "keys": ({1: np.ones(3)}, "strings for keys, got 1"),
    "a file of another kind": ("model.h5", "must end in"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_it_cannot_represent_is_refused_by_name(case):
    source, message = REFUSED[case]
    with pytest.raises((TypeError, ValueError), match=message):
        interop.from_torch(source)


def test_damaged_files(tmp_path):
    """Cut anywhere, or with any byte changed: a layer comes out, or an error that says something."""
    path = tmp_path / "model.safetensors"
    safetensors.numpy.save_file(nested(pyrnn.GRU(2, 3, rng=0)), path)
    whole = path.read_bytes()
    rng, read = np.random.default_rng(0), []
    for attempt in range(300):
        data = bytearray(whole)
        if attempt % 3 == 0:
            del data[rng.integers(len(data)) :]
        elif attempt % 3 == 1:
            data[rng.integers(len(data))] ^= int(rng.integers(1, 256))
        else:
            data[: int(rng.integers(1, 9))] = rng.bytes(8)
        path.write_bytes(data)
        with contextlib.suppress(TypeError, ValueError):  # anything else fails the test
            read.append(interop.from_torch(path))
        if attempt % 3 == 0:
            assert not read  # nothing that is cut is a model
            with pytest.raises(ValueError, match="is damaged"):
                interop.from_torch(path)
        read.clear()
    with pytest.raises(FileNotFoundError):
        interop.from_torch(tmp_path / "none.safetensors")


def test_layers_that_pytorch_lacks_are_refused_before_it_is_asked_for():
    for layer, name in (
        (pyrnn.LSTM(3, 4, peepholes=True), "peepholes=True"),
        (pyrnn.GRU(3, 4, reset_after=False), "reset_after=False"),
        (pyrnn.LSTM(3, 4, activation="relu"), "activation='relu'"),
        (pyrnn.RNN(3, 4, nonlinearity="softsign"), "nonlinearity='softsign'"),
    ):
        with pytest.raises(ValueError, match=name):
            interop.to_torch(layer)
    with pytest.raises(TypeError, match="layer must be an LSTM"):
        interop.to_torch(pyrnn.Linear(3, 4))


# ---- flax ----


@pytest.mark.parametrize(
    "layer", [pyrnn.LSTM(3, 5, rng=0), pyrnn.RNN(3, 5, dtype=np.float64, rng=0)], ids=repr
)
def test_a_tree_is_the_layer_that_it_is_of(layer):
    found = interop.from_flax(interop.to_flax(layer))
    assert repr(found) == repr(layer)
    x = np.random.default_rng(0).standard_normal((7, 2, 3))
    # The two biases have become one: a sum is rounded.
    np.testing.assert_allclose(found(x)[0], layer(x)[0], rtol=0, atol=16 * np.finfo(layer.dtype).eps)


TREES = {
    "another cell": ({"dense_i": {"kernel": np.ones((3, 4))}}, "parameters of a cell of flax, got dense_i"),
    "an array": ({"dense_i": np.ones(3), "dense_h": np.ones(3)}, "dense_i must be a mapping"),
    "another parameter": (
        {"dense_i": {"kernel": np.ones((3, 8)), "scale": np.ones(8)}, "dense_h": {"kernel": np.ones((2, 8))}},
        "dense_i must have a kernel, and may have a bias, got kernel, scale",
    ),
    "gates": ({name: {"kernel": np.ones((2, 4))} for name in ("dense_i", "dense_h")}, "4, 3 or 1 times"),
    "integers": ({"dense_i": {"kernel": np.ones((2, 4), int)}}, "dense_i.kernel must hold floating"),
    "a bias": (
        {"dense_i": {"kernel": np.ones((2, 8))}, "dense_h": {"kernel": np.ones((2, 8)), "bias": np.ones(2)}},
        "dense_h.bias must have shape",
    ),
}


@pytest.mark.parametrize("case", TREES)
def test_trees_that_are_refused(case):
    tree, message = TREES[case]
    with pytest.raises((TypeError, ValueError), match=message):
        interop.from_flax(tree)


def test_layers_that_flax_lacks():
    for layer, name in (
        (pyrnn.LSTM(3, 4, 2), "num_layers=2"),
        (pyrnn.LSTM(3, 4, bidirectional=True), "bidirectional=True"),
        (pyrnn.LSTM(3, 4, activation="relu"), "activation='relu'"),
        (pyrnn.GRU(3, 4, rng=0), "bias_hh_l0 of n"),
    ):
        with pytest.raises(ValueError, match=name):
            interop.to_flax(layer)


# ---- arrays of others ----


def test_buffers_are_not_copied(kernels_read):
    raw = array.array("f", range(24))
    view = memoryview(raw).cast("B").cast("f", (4, 2, 3))
    found = kernels_read(pyrnn.GRU(3, 5, rng=0), view)
    assert found.ctypes.data == raw.buffer_info()[0]


class Exporter:
    """An array that shows itself through DLPack alone."""

    def __init__(self, array):
        self.array = array

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


@pytest.mark.parametrize("batch_first", [False, True])
def test_dlpack_is_not_copied(batch_first, kernels_read):
    x = np.random.default_rng(0).standard_normal((4, 2, 6)).astype(np.float32)[:, ::-1][..., :3][:, ::-1]
    layer = pyrnn.LSTM(3, 5, batch_first=batch_first, rng=0)
    found = kernels_read(layer, Exporter(x))
    assert np.shares_memory(found, x)
    np.testing.assert_array_equal(layer(Exporter(x))[0], layer(x)[0])


def test_dlpack_elsewhere_is_refused():
    class Far(Exporter):
        def __dlpack__(self, **options):
            raise BufferError("the array is on another device")

    with pytest.raises(TypeError, match="x must be array_like, got Far: the array is on another device"):
        pyrnn.GRU(3, 5)(Far(np.ones((4, 2, 3), np.float32)))
