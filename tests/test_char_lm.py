"""The example that trains on text: it learns, stops on Ctrl-C, and never leaves half a file."""

import importlib
import itertools
import json
import math
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import safetensors

import pyrnn

FOLDER = Path(__file__).parent.parent / "examples"
SMALL = "--hidden=16 --embedding=8 --seq-len=10 --batch-size=4 --lr=0.02 --sample=30 --threads=1"
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def char_lm(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    threads = pyrnn.get_num_threads()
    yield importlib.import_module("char_lm")
    pyrnn.set_num_threads(threads)
    for name in ("char_lm", "_common"):
        sys.modules.pop(name, None)


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
    assert training.steps == sum(steps for steps, _ in training.losses) == 200
    assert [characters for characters, _ in training.history] == [800 * (i + 1) for i in range(10)]
    assert training.losses[-1][1] < 0.8 * training.losses[0][1]
    assert training.best[0] == min(nats for _, nats in training.history) < training.history[0][1]
    arrays, metadata = saved(tmp_path)
    assert all(np.array_equal(array, training.best[1][name]) for name, array in arrays.items())
    assert float(metadata["held_out_nats"]) == pytest.approx(training.best[0], abs=1e-6)
    assert "“" in json.loads(metadata["vocabulary"])
    assert (tmp_path / "out" / "loss.png").read_bytes().startswith(PNG)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["loss.png", "model.safetensors"]
    loaded, codes = pyrnn.load(tmp_path / "out" / "model.safetensors"), np.zeros((3, 1), int)
    np.testing.assert_array_equal(loaded(codes), training.network(codes))
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


def test_the_held_out_figure_is_that_of_the_whole_held_out_text(run, tmp_path):
    training = run("--steps", "5", "--evaluations", "1")
    inputs, targets, lengths = training.held_out
    nats, count = 0.0, 0
    for stream, steps in enumerate(lengths):  # character by character, from the definition
        state = None
        for code, target in zip(inputs[:steps, stream], targets[:steps, stream], strict=True):
            logits, state = training.network(np.array([[code]]), state=state, return_state=True)
            p = np.exp(logits[0, 0].astype(np.float64))
            nats, count = nats - math.log(p[target] / p.sum()), count + 1
    held_out = len((tmp_path / "text.txt").read_text(encoding="utf-8")) // 10
    assert count == held_out - 1
    assert training.history[0][1] == pytest.approx(nats / count, rel=1e-5)


def test_a_stretch_ends_where_the_held_out_text_is_to_be_measured(run, monkeypatch):
    taken, fit = [], pyrnn.Sequential.fit

    def watched(self, x, y, **options):
        taken.append(x.shape)
        return fit(self, x, y, **options)

    monkeypatch.setattr(pyrnn.Sequential, "fit", watched)
    training = run("--steps", "7", "--evaluations", "2")
    assert taken == [(40, 4), (30, 4)] and training.characters == 280
    assert [characters for characters, _ in training.history] == [160, 280]


@pytest.mark.parametrize("pause", [0, 0.01, 0.2, 1])
def test_minutes_end_a_run(run, char_lm, monkeypatch, pause):
    now, show = itertools.accumulate(itertools.repeat(0.001)), char_lm.Training._show  # seconds, a look each

    def slow(self, bar):  # time goes by between two stretches, too
        late.append(pause)
        show(self, bar)

    late = []
    clock = types.SimpleNamespace(perf_counter=lambda: next(now) + sum(late))
    monkeypatch.setattr(char_lm, "time", clock)
    monkeypatch.setattr(char_lm.Training, "_show", slow)
    training = run("--minutes", "0.01", "--evaluations", "3")
    assert training.steps > 1 and training.elapsed >= 0.6
    assert training.history[-1][0] == training.characters  # what it ends with has been measured
    assert len(training.history) == 3 or pause > 0.1


def test_epochs_end_a_run(run):
    training = run("--epochs", "2", "--evaluations", "3")
    assert training.steps == round(2 * len(training.inputs) / 10) and len(training.history) == 3


def interrupt(monkeypatch, at):
    step = pyrnn.Adam.step

    def interrupted(self, grads):
        if self.steps == at - 1:
            raise KeyboardInterrupt
        step(self, grads)

    monkeypatch.setattr(pyrnn.Adam, "step", interrupted)


@pytest.mark.parametrize("at", [1, 2, 35])
def test_ctrl_c_keeps_the_best_model(run, tmp_path, monkeypatch, capsys, at):
    interrupt(monkeypatch, at)
    training = run("--steps", "60")
    assert training.steps == at - 1 and training.history
    assert all(np.array_equal(array, training.best[1][name]) for name, array in saved(tmp_path)[0].items())
    assert (tmp_path / "out" / "loss.png").read_bytes().startswith(PNG)
    captured = capsys.readouterr()
    assert "stopped by Ctrl-C" in captured.out + captured.err and "held out:" in captured.out


def test_a_loss_that_diverges_keeps_the_best_model(run, monkeypatch, capsys):
    step = pyrnn.Adam.step

    def far(self, grads):
        self.lr = 3e38 if self.steps == 20 else 0.01
        step(self, grads)

    monkeypatch.setattr(pyrnn.Adam, "step", far)
    training = run("--steps", "60")
    assert 0 < len(training.history) < 10 and math.isfinite(training.best[0])
    captured = capsys.readouterr()
    assert "at epoch 0, step" in captured.out + captured.err and "held out:" in captured.out


def test_a_failed_save_leaves_the_old_file_whole(run, tmp_path, monkeypatch):
    run("--steps", "5")
    before = (tmp_path / "out" / "model.safetensors").read_bytes()

    def full(descriptor):
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="disk full"):
        run("--steps", "5")
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == before
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["loss.png", "model.safetensors"]


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_the_reference_takes_the_same_step(char_lm, run, monkeypatch, capsys, cell):
    timed, found = char_lm.time_reference, {}

    def recorded(*args):
        found.update(timed(*args))
        return found

    monkeypatch.setattr(char_lm, "time_reference", recorded)
    run("--time-reference", "--cell", cell, "--steps", "1", "--sample", "0")
    (_, losses), (_, truth) = found["pyrnn"], found["NumPy reference"]
    assert len(losses) == 5 and losses == pytest.approx(truth, rel=1e-3)
    assert "with the NumPy reference" in capsys.readouterr().out


@pytest.mark.parametrize("length", [1, 2, 7, 8, 9, 100])
def test_columns_hold_every_character_once(char_lm, length):
    codes = np.arange(length + 1)
    inputs, targets, lengths = char_lm.columns(codes, 4)
    real = np.arange(len(inputs)) < lengths[:, np.newaxis]
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
    monkeypatch.syspath_prepend(FOLDER)
    monkeypatch.setitem(sys.modules, "tqdm", None)
    with pytest.raises(
        SystemExit, match=r'tqdm is missing; install it with: pip install "pyrnn\[examples\]"'
    ):
        importlib.import_module("char_lm")
    sys.modules.pop("_common", None)
