"""Every example runs, reaches what it is there to show, leaves whole pictures, and stops on Ctrl-C."""

import importlib
import math
import sys
from pathlib import Path

import numpy as np
import pytest

import pyrnn

FOLDER = Path(__file__).parent.parent / "examples"
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def run(tmp_path, monkeypatch, threads):
    """Runs an example's main with options in one string, and returns what it returns."""
    monkeypatch.syspath_prepend(FOLDER)

    def main(name, options):
        found = importlib.import_module(name).main([*options.split(), "--out", str(tmp_path), "--threads=1"])
        pictures = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
        assert pictures and all(content.startswith(PNG) for content in pictures.values())
        return found

    yield main
    threads(pyrnn.get_num_threads())
    for path in FOLDER.glob("*.py"):
        sys.modules.pop(path.stem, None)


def test_vanishing_gradient(run, tmp_path, capsys):
    found = run("vanishing_gradient", "--steps 25 --hidden 32 --batch 2 --scales 0.7 3")
    small, large = found[0.7], found[3.0]
    assert small["RNN"].verdict == small["LSTM, forget bias 0"].verdict == "vanishes"
    assert small["LSTM, forget bias 1"].verdict == "healthy"
    flows = {name: report.slots["l0"].flow[-1] for name, report in small.items()}
    assert flows["LSTM, forget bias 1"] > 100 * flows["RNN"]
    assert large["RNN"].slots["l0"].flow.max() > 30 * large["LSTM, forget bias 1"].slots["l0"].flow.max()
    assert {path.name for path in tmp_path.iterdir()} == {"gradient_flow.png", "jacobian.png"}
    assert "recurrent weights × 0.7" in capsys.readouterr().out


def test_exploding_gradient(run, capsys):
    runs = run("exploding_gradient", "--steps 300 --clip 0.3 --radius 1.7")
    losses, norms, _ = runs["no clipping"]
    assert not math.isfinite(losses[-1]) and len(losses) < 300 and max(norms) > 1e3
    losses, norms, _ = runs["clipped at 0.3"]
    assert len(losses) == 300 and np.mean(losses[-20:]) < 0.45  # a constant has about 0.5
    assert "no clipping: loss" in capsys.readouterr().out


def test_adding_problem(run):
    found = run(
        "adding_problem", "--steps 10 --hidden 16 --count 2000 --epochs 30 --lr 0.01 --cells gru lstm rnn"
    )
    assert list(found) == ["gru", "lstm", "rnn"]
    for cell in ("gru", "lstm"):  # who always answers 1 has 1/6
        assert min(found[cell]["val_loss"]) < 0.02


def test_forecast(run, tmp_path_factory):
    table = tmp_path_factory.mktemp("data") / "rises.csv"
    table.write_text("t,value\n" + "\n".join(f"{t},{math.sin(t)}" for t in range(120)))
    found = run("forecast", f"--epochs 30 --members 1 --data {table}")
    assert found["sine"]["LSTM"] < found["sine"]["persistence"]
    assert found["rises"]["LSTM"] < 0.5 * found["rises"]["persistence"]


def test_forecast_refuses_what_is_no_table(run, tmp_path):
    with pytest.raises(SystemExit, match="cannot read --data"):
        run("forecast", f"--epochs 1 --members 1 --data {tmp_path / 'none.csv'}")


def test_music(run):
    found = run("music", "--cells lstm --hidden 64 --epochs 30 --batch 8 --weights 0 --recurrent 0")
    assert found["lstm"] < 10  # coins that know how many keys sound have 16


def test_music_refuses_what_is_no_archive(run, tmp_path):
    (tmp_path / "none.npz").write_bytes(b"nothing")
    with pytest.raises(SystemExit, match="cannot read --data"):
        run("music", f"--data {tmp_path / 'none.npz'}")


def test_sentiment(run):
    assert run("sentiment", "--hidden 32 --embedding 32 --lr 0.01") > 0.9  # the half is chance
