"""The examples of ONNX and Keras, with tiny settings."""

import importlib.util
import shutil
from pathlib import Path

import numpy as np
import pytest

import pyrnn.onnx

EXAMPLES = Path(__file__).parent.parent / "examples"
TINY = ["--hidden=5", "--steps=6", "--batch=3", "--repeats=1"]


def example(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_the_round_trip_keeps_the_numbers(tmp_path, capsys, cell):
    path = tmp_path / "kept.onnx"
    largest = example("onnx_roundtrip").main([*TINY, "--cell", cell, "--layers=2", f"--out={path}"])
    assert largest <= 64 * np.finfo(np.float32).eps
    assert pyrnn.onnx.load(path).outputs[0].name == "y"
    printed = capsys.readouterr().out
    for name in ("the layers", "the file in pyrnn", "the file in ONNX Runtime"):
        assert name in printed


def test_a_file_of_keras_runs(tmp_path, capsys):
    module = example("from_keras")
    assert module.main(["--steps=3", "--batch=2"]) <= 1e-5
    assert "largest difference from what Keras computed" in capsys.readouterr().out
    shutil.copy(module.DATA / "masked.keras", tmp_path / "other.keras")
    assert module.main([str(tmp_path / "other.keras"), "--steps=3"]) is None


@pytest.mark.parametrize("name", ["onnx_roundtrip", "from_keras"])
def test_help_and_bad_options(name, capsys):
    module = example(name)
    for arguments, code in ((["--help"], 0), (["--steps=0"], 2), (["--steps=many"], 2)):
        with pytest.raises(SystemExit) as ended:
            module.main(arguments)
        assert ended.value.code == code
    assert "usage" in capsys.readouterr().out


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "bad.keras").write_bytes(b"no zip")
    with pytest.raises(SystemExit, match=r"cannot read .*bad\.keras"):
        example("from_keras").main([str(tmp_path / "bad.keras")])
