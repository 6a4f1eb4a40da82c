"""Every example runs, reaches what it is there to show, leaves whole pictures, and stops on Ctrl-C."""

import importlib
import math
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import pyrnn

from .slopes import assert_slope

FOLDER = Path(__file__).parent.parent / "examples"
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def load(monkeypatch):
    """Imports an example."""
    monkeypatch.syspath_prepend(FOLDER)
    yield importlib.import_module
    for path in FOLDER.glob("*.py"):
        sys.modules.pop(path.stem, None)


@pytest.fixture
def run(load, tmp_path):
    """Runs an example's main with options in one string, and returns what it returns."""
    before = pyrnn.get_num_threads()

    def main(name, options, draws=True):
        found = load(name).main([*options.split(), "--out", str(tmp_path), "--threads=1"])
        pictures = [path.read_bytes() for path in tmp_path.iterdir()]
        assert bool(pictures) == draws and all(content.startswith(PNG) for content in pictures)
        return found

    yield main
    pyrnn.set_num_threads(before)


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


def test_exploding_gradient(run, tmp_path, capsys):
    runs = run("exploding_gradient", "--steps 300 --clip 0.3 --radius 1.7")
    losses, norms, _ = runs["no clipping"]
    assert not math.isfinite(losses[-1]) and len(losses) < 300 and max(norms) > 1e3
    losses, norms, _ = runs["clipped at 0.3"]
    assert len(losses) == 300 and np.mean(losses[-20:]) < 0.45  # a constant has about 0.5
    assert "no clipping: loss" in capsys.readouterr().out
    assert (tmp_path / "clipping.png").exists()


def test_rnn_states(run, tmp_path):
    history, share = run("rnn_states", "--hidden 24 --steps 20 --sequences 256 --epochs 15")
    assert history["loss"][-1] < 0.5 * history["loss"][0] and share > 0.8
    assert (tmp_path / "states.png").exists()


def test_bidirectional(run, tmp_path):
    reached = run("bidirectional", "--hidden 12 --steps 20 --texts 600 --epochs 5")
    assert reached["bidirectional"] > 0.9 > 0.6 > reached["forward only"]
    assert {path.name for path in tmp_path.iterdir()} == {"tags.png", "history.png"}


def test_tags_are_those_of_the_sentence_that_a_word_is_in(load, rng):
    bidirectional = load("bidirectional")
    symbols, tags = bidirectional.texts(30, 4, rng)
    for text, found in zip(symbols.T, tags.T, strict=True):
        for t in range(len(text)):
            mark = next(symbol for symbol in text[t:] if symbol < len(bidirectional.MARKS))
            assert found[t] == mark


def test_transformer(run, tmp_path):
    reached = run(
        "transformer", "--size 16 --heads 2 --steps 5 --symbols 5 --texts 2000 --lr 0.01 --epochs 6"
    )
    assert min(reached.values()) > 0.9  # the more frequent answer alone has 0.6
    assert (tmp_path / "history.png").exists()


def test_attention(run, tmp_path, capsys):
    losses, _ = run("attention", "--hidden 16 --embedding 8 --steps 40 --batch 16 --lr 0.02 --held-out 50")
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])
    assert {path.name for path in tmp_path.iterdir()} == {"alignment.png", "loss.png"}
    assert "of 50 days that it never saw" in capsys.readouterr().out


def test_the_gradients_of_the_translator_are_slopes(load, rng):
    """Through attention, cell and encoder together, each parameter along a random direction."""
    attention = load("attention")
    sizes = SimpleNamespace(embedding=3, hidden=4)
    model = attention.Translator(sizes, rng, np.float64)
    source, lengths, target, _ = attention.batch(rng.integers(attention.DAYS, size=3), rng)
    _, grads = model.gradients(source, lengths, target)
    for layer, own in zip(model.layers, grads, strict=True):
        for name, g in own.items():
            before, along = layer.params[name].copy(), rng.standard_normal(g.shape)
            along /= np.linalg.norm(along)

            def loss(step, layer=layer, name=name, before=before, along=along):
                layer.params[name] = before + step[0] * along
                return model.gradients(source, lengths, target)[0]

            assert_slope(np.array([(g * along).sum()]), loss, np.zeros(1))
            layer.params[name] = before


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


@pytest.mark.parametrize("name", ["exploding_gradient", "attention"])
@pytest.mark.parametrize("at", [1, 4])
def test_ctrl_c_leaves_the_training_and_draws_what_there_is(load, run, monkeypatch, capsys, name, at):
    module = load(name)
    batch, calls = module.batch, []

    def interrupted(*args):
        calls.append(None)
        if len(calls) == at + (name == "exploding_gradient"):  # whose first batch is for the report
            raise KeyboardInterrupt
        return batch(*args)

    monkeypatch.setattr(module, "batch", interrupted)
    small = {
        "exploding_gradient": "--steps 6 --hidden 4 --length 5 --clip 1",
        "attention": "--steps 6 --hidden 4 --embedding 3 --batch 4 --held-out 5",
    }
    found = run(name, small[name])
    captured = capsys.readouterr()
    assert "stopped by Ctrl-C" in captured.out + captured.err
    if name == "attention":
        assert len(found[0]) == at - 1
    else:  # the runs after it go on
        assert len(found["clipped at 1"][0]) == 6
        assert ("no clipping" in found) == (at > 1) and (at == 1 or len(found["no clipping"][0]) == at - 1)


@pytest.mark.parametrize("name", ["rnn_states", "bidirectional", "transformer"])
def test_ctrl_c_in_the_first_epoch_of_a_fit(run, tmp_path, monkeypatch, name):
    def interrupted(*args, **options):
        return pyrnn.training.History()  # what fit returns then

    monkeypatch.setattr(pyrnn, "fit", interrupted)
    small = {
        "rnn_states": "--hidden 4 --steps 9 --sequences 8",
        "bidirectional": "--hidden 4 --texts 8",
        "transformer": "--size 4 --heads 1 --texts 8",
    }
    run(name, small[name], draws=name != "transformer")
    assert not (tmp_path / "history.png").exists()


PROGRAMS = {path.stem for path in FOLDER.glob("[a-z]*.py")} - {"torch_dropin"}  # tests/torch has that


@pytest.mark.parametrize("name", sorted(PROGRAMS))
def test_help_says_what_it_is(load, capsys, name):
    with pytest.raises(SystemExit) as ended:
        load(name).main(["--help"])
    assert ended.value.code == 0
    assert f"python examples/{name}.py" in capsys.readouterr().out


@pytest.mark.parametrize(
    "name, options",
    [
        ("adding_problem", ["--steps=1"]),
        ("vanishing_gradient", ["--steps=1"]),
        ("exploding_gradient", ["--length=1"]),
        ("transformer", ["--size=10", "--heads=4"]),
        ("attention", ["--held-out=36525"]),
        ("attention", ["--steps=0"]),
        ("rnn_states", ["--hidden=many"]),
    ],
)
def test_bad_options_are_refused(load, capsys, name, options):
    with pytest.raises(SystemExit) as ended:
        load(name).main(options)
    assert ended.value.code == 2 and options[0].split("=")[0] in capsys.readouterr().err
