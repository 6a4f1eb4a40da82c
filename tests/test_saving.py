"""Models in files: every layer with every option comes back, and nothing but what was written does."""

import copy
import inspect
import json
import os
import pickle
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import safetensors.numpy

import pyrnn
from pyrnn import (
    GRU,
    LSTM,
    Adam,
    Bidirectional,
    Checkpointed,
    Linear,
    Sequential,
    TransformerEncoderLayer,
    _files,
    saving,
)
from pyrnn._layer import Layer

from .models import same
from .processes import begin, python

LIBRARY = saving.library()


def values(cls):
    """What options may be whose default does not tell."""
    return {
        "activation": ["relu", "gelu" if cls is TransformerEncoderLayer else "tanh"],
        "recurrent_activation": ["hard_sigmoid"],
        "nonlinearity": ["relu"],
        "merge_mode": ["mul"],
        "cell_clip": [1.5],
        "padding_idx": [2],
        "value_size": [4],
        "segments": [3],
        "dtype": [np.float64],
    }


def required(cls):
    """Arguments without which a layer cannot be made."""
    parameters = inspect.signature(cls).parameters
    if cls is Sequential:
        return (
            GRU(3, 4, rng=0),
            Sequential(Linear(4, 2, rng=1), pyrnn.Dropout(0.25)),
            pyrnn.LayerNorm(2),
        ), {}
    if cls in (Bidirectional, Checkpointed):
        return (LSTM(3, 4, num_layers=2, rng=0),), {}
    return (), {name: 4 for name, p in parameters.items() if p.default is p.empty}


def options(cls):
    """Each of the options alone, with a value that is not its default."""
    yield {}
    for name, p in inspect.signature(cls).parameters.items():
        if p.default is p.empty or name == "rng":
            continue
        if name in values(cls):
            value = next(value for value in values(cls)[name] if value != p.default)
        elif isinstance(p.default, bool):
            value = not p.default
        else:
            assert isinstance(p.default, (int, float)), f"say in values() what {name} may be"
            value = 2 if isinstance(p.default, int) else 0.25
        yield {name: value}
    if cls is LSTM:
        yield {"zoneout": (0.25, 0.125)}


CASES = {f"{name} {option}": (cls, option) for name, cls in LIBRARY.items() for option in options(cls)}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


@pytest.mark.parametrize("cls, option", CASES.values(), ids=CASES)
def test_every_layer_with_every_option_comes_back(cls, option, path):
    arguments, named = required(cls)
    layer = cls(*arguments, **named, **option)
    saving.save(layer, path)
    again = saving.load(path)
    assert type(again) is cls and repr(again) == repr(layer)
    assert saving.describe(again) == saving.describe(layer)
    assert same(again.params, layer.params)
    assert {n: a.dtype for n, a in again.params.items()} == {n: a.dtype for n, a in layer.params.items()}
    for name, value in option.items():
        found = again._arguments()[name]
        assert found == value and found != inspect.signature(cls).parameters[name].default
    saving.save(again, path.with_name("again"))
    assert path.with_name("again").read_bytes() == path.read_bytes()


def model():
    rng = np.random.default_rng(0)
    return Sequential(
        pyrnn.Embedding(9, 8, rng=rng),
        pyrnn.PositionalEncoding(),
        TransformerEncoderLayer(8, 2, 16, rng=rng),
        Bidirectional(LSTM(8, 4, num_layers=2, peepholes=True, rng=rng), merge_mode="mean"),
        pyrnn.LastStep(bidirectional=True),
        Linear(4, 3, dtype=np.float64, rng=rng),
    )


def test_a_model_computes_what_it_did(path):
    first, tokens = model(), np.arange(10).reshape(5, 2) % 9
    saving.save(first, path)
    np.testing.assert_array_equal(saving.load(path)(tokens, lengths=[5, 2]), first(tokens, lengths=[5, 2]))


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
def test_copies_can_be_saved_too(clone, path):
    saving.save(clone(model()), path)
    assert repr(saving.load(path)) == repr(model())


def test_attributes_are_saved_as_they_are_now(path):
    layer = GRU(3, 4, 2, dropout=0.5)
    layer.dropout = 0.125
    saving.save(layer, path)
    assert saving.load(path).dropout == 0.125


def test_the_file_is_plain_safetensors(path):
    first = model()
    saving.save(first, path, metadata={"vocabulary": "a b ü", "note": ""})
    assert same(dict(sorted(safetensors.numpy.load_file(path).items())), dict(sorted(first.params.items())))
    assert saving.load_metadata(path) == {"vocabulary": "a b ü", "note": ""}
    with safetensors.safe_open(path, "numpy") as file:
        told = json.loads(file.metadata()["pyrnn"])
    assert told["model"]["class"] == "Sequential" and told["format"] == 1


def test_state_dicts_of_anything(path):
    layer = Linear(3, 2, rng=0)
    adam = Adam(layer)
    adam.step(layer.vjp(np.ones((1, 3)))[1](np.ones((1, 2)))[1])
    for state in (
        adam.state_dict(),
        {},
        {"a": np.arange(3, dtype=">i8"), "b": [True], "c": 2.5, "d": np.ones((0, 3), "f2")},
    ):
        saving.save(state, path)
        found = saving.load(path)
        assert found.keys() == state.keys()
        for name, array in state.items():
            np.testing.assert_array_equal(found[name], array)
    adam.load_state_dict(adam.state_dict())


class Scaled(Layer):
    """A layer of a user's own."""

    def __init__(self, size, factor=2.0, inner=None, *, rng=None):
        super().__init__({"bias": (size,)}, np.float64)
        self.factor, self.inner = factor, inner

    def __call__(self, x):
        return self.factor * x + self.params["bias"]

    def vjp(self, x):
        return self(x), lambda dy: (self.factor * dy, {"bias": dy})


def test_layers_of_ones_own(path):
    saving.save(Sequential(Scaled(3, factor=0.5, inner=pyrnn.Dropout(0.25), rng=3)), path)
    with pytest.raises(
        ValueError, match="'Scaled' is no layer of pyrnn; give classes of your own as custom_layers"
    ):
        saving.load(path)
    again = saving.load(path, custom_layers=[Scaled])
    assert isinstance(again[0], Scaled) and again[0].factor == 0.5 and repr(again[0].inner) == "Dropout(0.25)"


# ---- Writing ----


def test_a_full_disk_leaves_the_file_as_it_was(path):
    saving.save(Linear(3, 2, rng=0), path)
    before = path.read_bytes()
    output = python(
        "import resource, sys, pyrnn\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "try:\n"
        f"    pyrnn.save(pyrnn.Linear(300, 200), {str(path)!r})\n"
        "except OSError as error:\n"
        "    print('refused:', error.errno)\n"
    )
    assert "refused: 27" in output  # EFBIG
    assert path.read_bytes() == before and os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize("where", ["write", "fsync", "replace"])
def test_a_kill_while_saving_leaves_the_file_as_it_was(path, where):
    saving.save(Linear(3, 2, rng=0), path)
    before = path.read_bytes()
    kill = {
        "write": "_files.open = half",
        "fsync": "os.fsync = die",
        "replace": "os.replace = die",
    }[where]
    python(
        "import os, signal, pyrnn\n"
        "from pyrnn import _files\n"
        "def die(*args): os.kill(os.getpid(), signal.SIGKILL)\n"
        "def half(path, mode):\n"
        "    with open(path, mode) as file:\n"
        "        file.write(b'half of a fi')\n"
        "    die()\n"
        f"{kill}\n"
        f"pyrnn.save(pyrnn.Linear(300, 200), {str(path)!r})\n",
        status=-9,
    )
    assert path.read_bytes() == before and repr(saving.load(path)) == "Linear(3, 2)"
    assert len(os.listdir(path.parent)) == 2  # with what the process had begun
    saving.save(Linear(4, 2), path)
    assert repr(saving.load(path)) == "Linear(4, 2)" and os.listdir(path.parent) == [path.name]


def test_only_orphans_of_the_same_file_are_removed(path):
    """What a process that lives is writing stays, and so does what has another name."""
    alive = f".{path.name}.3.4"
    others = [".other.1.2", f".{path.name}.x.2", f".{path.name}.1", f"{path.name}.1.2"]
    for name in (*others, f".{path.name}.1.2"):
        (path.parent / name).write_bytes(b"")
    code = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from pyrnn import _files\n"
        f"with _files._locked(Path({str(path.parent)!r}) / {alive!r}):\n"
        "    print('writing', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    with begin(code) as writer:
        assert writer.stdout.readline() == b"writing\n"
        saving.save(Linear(3, 2), path)
        assert sorted(os.listdir(path.parent)) == sorted([*others, alive, path.name])
        writer.kill()
    saving.save(Linear(3, 2), path)
    assert sorted(os.listdir(path.parent)) == sorted([*others, path.name])


def test_a_file_that_is_taken_for_an_orphan_before_it_is_locked_is_begun_anew(path, monkeypatch):
    taken, begin = [], open

    def opened(name, mode):
        file = begin(name, mode)
        if not taken:
            taken.append(name.unlink())
        return file

    monkeypatch.setattr(_files, "open", opened, raising=False)
    saving.save(Linear(3, 2), path)
    assert taken and repr(saving.load(path)) == "Linear(3, 2)" and os.listdir(path.parent) == [path.name]


def test_threads_save_to_one_file_at_once(path):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: saving.save(Linear(n, 2), path), range(1, 41)))
    assert repr(saving.load(path)).startswith("Linear(") and os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: saving.save(3, "x"),
            TypeError,
            "model must be a layer or a mapping of names to ar",
        ),
        (
            lambda: saving.save({"a": [1j]}, "x"),
            TypeError,
            "a must hold real numbers of at most 64 bits, got",
        ),
        (lambda: saving.save({"a": ["b"]}, "x"), TypeError, "a must hold real numbers of at most 64 bits"),
        (lambda: saving.save({}, "x", metadata={"a": 1}), TypeError, "metadata must map str to str"),
        (
            lambda: saving.save({}, "x", metadata={"pyrnn": ""}),
            TypeError,
            "metadata must .* without 'pyrnn'",
        ),
        (
            lambda: saving.save(Scaled(2, len), "x"),
            TypeError,
            "a layer with the argument <built-in function",
        ),
        (
            lambda: saving.save(Bidirectional(GRU(2, 2)).backward_layer, "x"),
            ValueError,
            r"GRU\(2, 2\) is the backward half of a Bidirectional",
        ),
    ],
)
def test_what_cannot_be_saved(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_custom_layers_are_classes(path):
    saving.save(Linear(2, 2), path)
    with pytest.raises(TypeError, match=r"custom_layers must be classes of layers, got 'Scaled'"):
        saving.load(path, custom_layers=["Scaled"])


def test_safetensors_is_an_extra(path, monkeypatch):
    saving.save({}, path)
    monkeypatch.setitem(sys.modules, "safetensors", None)
    for call in (lambda: saving.save({}, path), lambda: saving.load(path)):
        with pytest.raises(ImportError, match=r'need safetensors; .* pip install "pyrnn\[train\]"'):
            call()
