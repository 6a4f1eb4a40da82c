"""examples/torch_dropin.py: the same curve on both sides, and a whole picture."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import pyrnn.torch

FOLDER = Path(__file__).parents[2] / "examples"
TOLERANCE = 1e-9  # rounding of 1e-16, and what five steps of Adam make of it


@pytest.mark.parametrize("cell", ["GRU", "LSTM", "RNN"])
def test_both_runs_have_the_same_curve(cell, tmp_path, monkeypatch, threads, capsys):
    monkeypatch.syspath_prepend(FOLDER)
    before, torch_before = pyrnn.get_num_threads(), torch.get_num_threads()
    options = f"--cell {cell} --hidden 8 --epochs 1 --batch 300 --threads 1 --out {tmp_path}"
    try:
        runs = importlib.import_module("torch_dropin").main(options.split())
    finally:
        threads(before)
        torch.set_num_threads(torch_before)
        for path in FOLDER.glob("*.py"):
            sys.modules.pop(path.stem, None)
    (theirs, curve, _), (ours, other, _) = runs.values()
    assert type(theirs.rnn).__module__.startswith("torch.") and type(ours.rnn) is getattr(pyrnn.torch, cell)
    assert len(curve) == 5
    np.testing.assert_allclose(other, curve, rtol=0, atol=TOLERANCE)
    assert (tmp_path / "torch_dropin.png").read_bytes().startswith(b"\x89PNG")
    assert "times as fast" in capsys.readouterr().out


def test_help_says_what_it_is(monkeypatch, capsys):
    monkeypatch.syspath_prepend(FOLDER)
    with pytest.raises(SystemExit) as ended:
        importlib.import_module("torch_dropin").main(["--help"])
    assert ended.value.code == 0 and "python examples/torch_dropin.py" in capsys.readouterr().out
