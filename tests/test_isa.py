"""Instruction sets: what is built, what this CPU has, and which one is chosen."""

import re
from pathlib import Path

import numpy as np
import pytest

import pyrnn
from pyrnn import _config, _core, _registry, functional

from .problems import assert_same, assert_true, problem, run
from .processes import python

SHOW = "import pyrnn; pyrnn.show_config()"
BUILD = Path(__file__).parents[1] / "CMakeLists.txt"


def available():
    return [name for name, has in _config.isas().items() if has]


def needed():
    """The features that the build asks a CPU for, by instruction set, under the kernel's names of them."""
    calls = re.findall(r"pyrnn_isa\((\w+)\s+(.*?)\s+(?:-m|1\)|\))", BUILD.read_text(), re.S)
    return {name: set(re.findall(r'\\"(\w+)\\"', test)) for name, test in calls}


def test_what_is_available_is_what_the_kernel_says():
    """A probe of the CPU that sees nothing would choose the baseline, and nobody would notice."""
    info = Path("/proc/cpuinfo").read_text()
    flags = set(re.search(r"^(?:flags|Features)\s*:(.*)", info, re.M)[1].split())
    assert set(_config.isas()) <= set(needed())
    assert _config.isas() == {name: needed()[name] <= flags for name in _config.isas()}


def test_the_best_available_is_chosen():
    output = python(SHOW, PYRNN_ISA=None)
    assert re.search(r"chosen +(\w+)", output)[1] == available()[0]
    assert python(SHOW, PYRNN_ISA="") == output


def test_the_last_is_always_there():
    assert list(_config.isas().values())[-1]


@pytest.mark.parametrize("name", available())
def test_the_environment_forces_one(name):
    output = python(SHOW, PYRNN_ISA=name)
    assert re.search(r"chosen +(\w+)", output)[1] == name
    assert all(built in output for built in _config.isas())


@pytest.mark.parametrize("name", ["avx1024", "AVX2", "avx2 ", "0"])
def test_an_unknown_name_is_an_error_that_lists_the_choices(name):
    output = python("import pyrnn", status=1, PYRNN_ISA=name)
    assert "ValueError: PYRNN_ISA" in output and repr(name) in output
    assert all(choice in output for choice in available())
    with pytest.raises(ValueError, match=", ".join(available())):
        _config.select_isa(name)


def test_widths_double_from_one_to_the_next():
    for dtype in (np.dtype(np.float32), np.dtype(np.float64)):
        lanes = [_core.lanes(number, dtype) for number in range(len(_config.isas()))]
        assert lanes == sorted(lanes, reverse=True) and min(lanes) * dtype.itemsize >= 16


def test_show_config_tells_what_there_is(capsys):
    pyrnn.show_config()
    output = capsys.readouterr().out
    assert pyrnn.__version__ in output and np.__version__ in output and _core.COMPILER in output
    assert re.search(rf"threads +{pyrnn.get_num_threads()}\b", output)
    for name, has in _config.isas().items():
        assert (f"{name} (not on this CPU)" in output) != has


def test_a_pack_stays_right_when_another_set_is_selected(cell, dtype, isa):
    given = problem(cell, dtype, 4, 3, 5, 33)
    entry = _registry.REGISTRY[cell]
    weights = [given[name] for name in ("w_ih", "w_hh", "b_ih", "b_hh", "w_units") if name in given]
    packs = [
        functional.pack(entry, use, functional.Weights(*weights)) for use in (_core.FORWARD, _core.BACKWARD)
    ]
    expected = run(given)
    seq = functional.Sequence(given["x"], tuple(given["state"]), None, None, False)
    for other in available():
        _config.select_isa(other)
        ran = functional.run([functional.Layer(*packs, seq)])
        ((dx, dstate, grads),) = functional.pull([ran[0].kept], [given["dy"]], [tuple(given["dstate"])])
        found = [ran[0].y, np.stack(ran[0].state), dx, np.stack(dstate), *grads[: len(weights)]]
        assert_same(dict(zip(expected, found, strict=True)), expected)
        assert_true(given, run(given))


def test_a_layer_keeps_its_pack_until_its_weights_change():
    """Another set selected later never makes packed weights wrong; new weights are packed for it."""
    layer, x = pyrnn.GRU(3, 33, rng=0), np.ones((4, 2, 3), np.float32)
    before, y = _core.isa(), layer(x)[0]
    try:
        for name in available():
            _config.select_isa(name)
            np.testing.assert_array_equal(layer(x)[0], y)
            layer.params.update(layer.state_dict())
            y = layer(x)[0]
    finally:
        _config.select_isa(before)
