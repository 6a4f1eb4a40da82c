"""The digits of scikit-learn, read row by row."""

import importlib
import sys
from pathlib import Path

import pytest

import pyrnn

FOLDER = Path(__file__).parent.parent / "examples"


@pytest.fixture
def main(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    before = pyrnn.get_num_threads()
    yield importlib.import_module("sklearn_pipeline").main
    pyrnn.set_num_threads(before)
    for name in ("sklearn_pipeline", "_common"):
        sys.modules.pop(name, None)


def test_it_reads_digits_and_draws_what_it_confuses(main, tmp_path, capsys):
    small = "--digits 400 --hidden 12 --epochs 12 --folds 2 --jobs 1 --cells gru --threads 1"
    assert main([*small.split(), "--out", str(tmp_path)]) > 0.7  # guessing has 0.1
    assert (tmp_path / "confusion.png").read_bytes().startswith(b"\x89PNG")
    assert "of 100 new digits" in capsys.readouterr().out


def test_it_refuses_a_single_fold(main, capsys):
    with pytest.raises(SystemExit):
        main(["--folds", "1"])
    assert "--folds" in capsys.readouterr().err
