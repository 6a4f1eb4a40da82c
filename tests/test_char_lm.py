"""The example that trains on text: it learns, stops on Ctrl-C, and never leaves half a file."""

import importlib.util
import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors

import pyrnn

SCRIPT = Path(__file__).parent.parent / "examples" / "char_lm.py"
SMALL = "--hidden=16 --embedding=8 --seq-len=10 --batch-size=4 --lr=0.02 --sample=30 --threads=1"
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def char_lm():
    spec = importlib.util.spec_from_file_location("char_lm", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["char_lm"] = module
    spec.loader.exec_module(module)
    threads = pyrnn.get_num_threads()
    yield module
    pyrnn.set_num_threads(threads)
    del sys.modules["char_lm"]


@pytest.fixture
def run(char_lm, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("the cat sat on the mat; “the dog” did not.\n" * 60, encoding="utf-8")

    def main(*options):
        return char_lm.main([*SMALL.split(), "--text", str(text), "--out", str(tmp_path / "out"), *options])

    return main


def saved(tmp_path):
    with safetensors.safe_open(tmp_path / "out" / "model.safetensors", "numpy") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118


@pytest.mark.parametrize("options", ["--cell lstm", "--cell gru --layers 2", "--cell rnn --dropout 0"])
def test_it_learns_and_leaves_model_curve_and_sample(run, tmp_path, capsys, options):
    training = run("--steps", "200", *options.split())
    assert len(training.losses) == 200 and len(training.history) == 10
    assert np.mean(training.losses[-5:]) < 0.8 * np.mean(training.losses[:5])
    assert training.best[0] == min(nats for _, nats in training.history) < training.history[0][1]
    arrays, metadata = saved(tmp_path)
    assert all(np.array_equal(array, training.best[1][name]) for name, array in arrays.items())
    assert float(metadata["held_out_nats"]) == pytest.approx(training.best[0], abs=1e-6)
    assert "“" in json.loads(metadata["vocabulary"])
    assert (tmp_path / "out" / "loss.png").read_bytes().startswith(PNG)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["loss.png", "model.safetensors"]
    printed = capsys.readouterr().out
    sample = printed.split("-" * 72 + "\n")[1].removesuffix("\n")
    assert len(sample) == 30 and set(sample) <= set(json.loads(metadata["vocabulary"]))
    for figure in ("nats/char", "bits/char", "chars/s", " s with evaluations"):
        assert figure in printed


def test_the_same_seed_is_the_same_run(run):
    first, second = run("--steps", "20").best, run("--steps", "20").best
    assert first[0] == second[0]
    assert all(np.array_equal(array, second[1][name]) for name, array in first[1].items())
    assert run("--steps", "20", "--seed", "1").best[0] != first[0]


def test_the_held_out_figure_is_that_of_the_whole_held_out_text(char_lm, run, tmp_path):
    training = run("--steps", "5", "--evaluations", "1")
    inputs, targets = training.held_out
    nats, count = 0.0, 0
    for stream in range(inputs.shape[1]):  # character by character, from the definition
        state = None
        for code, target in zip(inputs[:, stream], targets[:, stream], strict=True):
            logits, state = training.network(np.array([[code]]), state)
            if target != char_lm.PADDING:
                p = np.exp(logits[0, 0].astype(np.float64))
                nats, count = nats - math.log(p[target] / p.sum()), count + 1
    held_out = len((tmp_path / "text.txt").read_text(encoding="utf-8")) // 10
    assert count == held_out - 1
    assert training.history[0][1] == pytest.approx(nats / count, rel=1e-5)


def interrupt(monkeypatch, char_lm, at):
    step, calls = char_lm.train_step, []

    def interrupted(*args):
        calls.append(None)
        if len(calls) == at:
            raise KeyboardInterrupt
        return step(*args)

    monkeypatch.setattr(char_lm, "train_step", interrupted)


@pytest.mark.parametrize("at", [1, 2, 35])
def test_ctrl_c_keeps_the_best_model(char_lm, run, tmp_path, monkeypatch, capsys, at):
    interrupt(monkeypatch, char_lm, at)
    training = run("--steps", "60")
    assert len(training.losses) == at - 1 and training.history
    assert all(np.array_equal(array, training.best[1][name]) for name, array in saved(tmp_path)[0].items())
    assert (tmp_path / "out" / "loss.png").read_bytes().startswith(PNG)
    captured = capsys.readouterr()
    assert "stopped by Ctrl-C" in captured.out + captured.err and "held out:" in captured.out


def test_a_failed_save_leaves_the_old_file_whole(char_lm, run, tmp_path, monkeypatch):
    run("--steps", "5")
    before = (tmp_path / "out" / "model.safetensors").read_bytes()

    def half(state, path, metadata):
        Path(path).write_bytes(b"half of a fi")
        raise OSError("disk full")

    monkeypatch.setattr(char_lm, "save_file", half)
    with pytest.raises(OSError, match="disk full"):
        run("--steps", "5")
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == before
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["loss.png", "model.safetensors"]


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_the_reference_takes_the_same_step(char_lm, run, monkeypatch, capsys, cell):
    losses, step = [], char_lm.train_step

    def recorded(*args):
        result = step(*args)
        losses.append(result[0])
        return result

    monkeypatch.setattr(char_lm, "train_step", recorded)
    run("--time-reference", "--cell", cell, "--steps", "1", "--sample", "0")
    assert losses[:5] == pytest.approx(losses[5:10], rel=1e-3)
    assert "with the NumPy reference" in capsys.readouterr().out


@pytest.mark.parametrize("length", [1, 2, 7, 8, 9, 100])
def test_columns_hold_every_character_once(char_lm, length):
    codes = np.arange(length + 1)
    inputs, targets = char_lm.columns(codes, 4)
    real = targets.T != char_lm.PADDING
    np.testing.assert_array_equal(inputs.T[real], codes[:-1])
    np.testing.assert_array_equal(targets.T[real], codes[1:])


def test_the_default_budget_is_a_minute_and_the_default_text_is_at_hand(char_lm):
    assert char_lm.parse([]).minutes == 1 and char_lm.parse(["--steps", "3"]).minutes is None
    assert len(char_lm.read_text(None)) > 300_000


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--hidden", "0"], "must be positive"),
        (["--lr", "nan"], "must be positive"),
        (["--dropout", "1"], "below 1"),
        (["--steps", "many"], "invalid int value"),
        (["--cell", "transformer"], "invalid choice"),
    ],
)
def test_bad_options_are_refused(run, capsys, options, message):
    with pytest.raises(SystemExit):
        run(*options)
    assert message in capsys.readouterr().err


def test_a_text_that_cannot_be_used_is_named(run, tmp_path):
    with pytest.raises(SystemExit, match=r"cannot read --text .*nowhere"):
        run("--text", str(tmp_path / "nowhere"))
    (tmp_path / "short").write_text("too short")
    with pytest.raises(SystemExit, match="the text is too short: 9 characters"):
        run("--text", str(tmp_path / "short"))


def test_missing_extras_say_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    spec = importlib.util.spec_from_file_location("char_lm_without_tqdm", SCRIPT)
    with pytest.raises(
        SystemExit, match=r'tqdm is missing; install it with: pip install "pyrnn\[examples\]"'
    ):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
