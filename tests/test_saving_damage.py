"""Files of models that do not fit or are damaged: a ValueError, whatever they hold, and little memory."""

import tracemalloc
from contextlib import suppress

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st

from pyrnn import GRU, Linear, Sequential, _files, saving
from pyrnn._parameters import Parameters, limited

from .models import same
from .problems import at_random


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


def forge(path, told, state=None, **document):
    """A file whose sum is right, whatever it says."""
    _files.write(path, Linear(3, 2).params if state is None else state, {"model": told} | document)


def layer(name, **arguments):
    return {"class": name, "arguments": arguments}


def linear(**changes):
    arguments = {"in_features": 3, "out_features": 2, "bias": True, "dtype": "float32"} | changes
    return layer("Linear", **{name: value for name, value in arguments.items() if value is not ...})


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"class": "os.system", "arguments": {"command": "true"}}, "'os.system' is no layer of pyrnn"),
        ({"class": "Layer", "arguments": {}}, "'Layer' is no layer of pyrnn"),
        ({"class": ["Linear"], "arguments": {}}, r"\['Linear'\] is no layer of pyrnn"),
        ({"arguments": {}}, "None is no layer of pyrnn"),
        ({"class": "Linear", "arguments": [3, 2]}, r"the arguments of Linear are no object, but \[3, 2\]"),
        (linear(in_features=4), "more than expected"),
        (linear(in_features=2), r"weight must have shape \(2, 2\), got \(2, 3\)"),
        (linear(bias=False), "unexpected 'bias'"),
        (linear(in_features=...), "in_features"),
        (linear(features=3), "unexpected keyword argument 'features'"),
        (linear(self=3), "multiple values for argument 'self'"),
        (linear(in_features="3"), "in_features must be an integer, got '3'"),
        (linear(in_features=10**12), "more than expected"),
        (linear(in_features=10**400), "in_features is too large"),
        (linear(dtype="object"), "dtype must be float32 or float64"),
        (linear(rng=[1]), "rng must be None"),
        (linear(bias={"class": "Linear", "arguments": {}}), "in_features"),
        ([linear()], "it describes no layer"),
        ("Linear", "it describes no layer"),
        ({"class": "Sequential", "arguments": {"layers": 3}}, "must be an iterable"),
        ({"class": "Sequential", "arguments": {"layers": [3]}}, r"layers\[0\] must be a layer"),
        ({"class": "Sequential", "arguments": {}}, "layers must be one or more"),
        (
            layer("LSTM", input_size=1, hidden_size=1, num_layers=10**9),
            "LSTM has 1000000000 layers, but the file only 2 arrays",
        ),
        (
            {
                "class": "Bidirectional",
                "arguments": {"layer": layer("GRU", input_size=10**7, hidden_size=99)},
            },
            "more than expected",
        ),
    ],
)
def test_descriptions_that_do_not_fit_are_refused_before_they_cost_memory(path, told, message):
    forge(path, told)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=message):
            saving.load(path)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_a_file_of_another_format_or_maker(path):
    forge(path, linear(), format=2)
    with pytest.raises(ValueError, match="has format 2; this version of pyrnn reads 1"):
        saving.load(path)
    safetensors.numpy.save_file(Linear(3, 2).state_dict(), path)
    with pytest.raises(ValueError, match=r"was not written by pyrnn.save; read it with safetensors"):
        saving.load(path)
    for text in ("", "[1]", '{"format": 1', "[" * 100_000):
        safetensors.numpy.save_file(Linear(3, 2).state_dict(), path, metadata={"pyrnn": text})
        with pytest.raises(ValueError, match="is damaged"):
            saving.load(path)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "model"
    layer = Sequential(GRU(2, 3, rng=0), Linear(3, 1, dtype=np.float64, rng=1))
    saving.save(layer, path, metadata={"a": "b"})
    return path, path.read_bytes(), layer


@st.composite
def damages(draw, size):
    """A function from bytes to other bytes."""
    at, kind = (
        draw(st.integers(0, size - 1)),
        draw(st.sampled_from(["flip", "cut", "drop", "insert", "swap", "zero"])),
    )
    header = draw(st.booleans())
    at = at % 1200 if header else at
    some = draw(st.binary(min_size=1, max_size=9))
    return {
        "flip": lambda data: data[:at] + bytes([data[at] ^ 1 << some[0] % 8]) + data[at + 1 :],
        "cut": lambda data: data[:at],
        "drop": lambda data: data[:at] + data[at + len(some) :],
        "insert": lambda data: data[:at] + some + data[at:],
        "swap": lambda data: data[at:] + data[:at],
        "zero": lambda data: data[:at] + bytes(len(some)) + data[at + len(some) :],
    }[kind]


@at_random
@given(st.data())
def test_damaged_files_are_refused(saved, data):
    path, whole, layer = saved
    damaged = data.draw(damages(len(whole)))(whole)
    path.with_name("damaged").write_bytes(damaged)
    with suppress(ValueError):
        again = saving.load(path.with_name("damaged"))
        # It was no damage, but another way to write the same: a space less at the end of the header, say.
        assert repr(again) == repr(layer) and same(again.params, layer.params)


def test_a_missing_file_is_an_oserror(tmp_path):
    for missing in (tmp_path / "none", tmp_path):
        with pytest.raises(OSError):
            saving.load(missing)


def test_a_limit_on_parameters_ends_with_its_context():
    with limited(10):
        Parameters({"a": (3, 2)}, np.float32)
        with pytest.raises(ValueError, match="more than expected"):
            Parameters({"a": (5,)}, np.float32)
    Parameters({"a": (500,)}, np.float32)
