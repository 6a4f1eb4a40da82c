"""Checkpoints of fit: a run that was killed goes on as if nothing had been; no file is ever half written."""

import functools
import os
from pathlib import Path

import numpy as np
import pytest

import pyrnn
from pyrnn import Adam, DivergenceError, Dropout, fit, load

from .models import Descent, Scale, classifier, ragged, same, sequences, tagger
from .processes import python

ROOT = str(Path(__file__).parents[1])  # where a process of its own finds these tests
X, Y = sequences(20)
OPTIONS = {"loss": "cross_entropy", "metrics": ["accuracy"], "batch_size": 6, "rng": 0, "epochs": 6}
SPLIT = {"validation_split": 0.25}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.safetensors"


def run(model=None, x=X, y=Y, **options):
    """A run with dropout, from the same weights each time."""
    model = model or classifier(p=0.5)
    optimizer = options.pop("optimizer", None) or Adam(model, lr=0.02)
    history = fit(model, x, y, optimizer=optimizer, **OPTIONS | options)
    return model, optimizer, history


def assert_same_run(first, second):
    assert same(first[0].params, second[0].params) and same(first[1].state_dict(), second[1].state_dict())
    assert first[2] == second[2] and first[2].best_epoch == second[2].best_epoch
    assert first[2].stopped == second[2].stopped


# ---- The same bits ----


class Killed(Exception):
    pass


class Mortal(Adam):
    """Fails at a step."""

    last = 0

    def step(self, grads):
        if self.steps == self.last:
            raise Killed
        super().step(grads)


@pytest.mark.parametrize("last", [0, 1, 4, 5, 9, 17])
@pytest.mark.parametrize(
    "options", [SPLIT, {}, SPLIT | {"shuffle": False}, {"bucket": True, "clip_norm": 0.1}], ids=str
)
def test_a_resumed_run_has_the_same_bits(path, last, options):
    whole = run(**options)
    model = classifier(p=0.5)
    optimizer = Mortal(model, lr=0.02)
    optimizer.last = last
    with pytest.raises(Killed):
        run(model, optimizer=optimizer, checkpoint=path, **options)
    seen, ended = [], last // (3 if "validation_split" in options else 4)  # epochs
    assert path.exists() == (ended > 0)
    changed = {"rng": 99} if ended else {}  # if nothing was written, it starts anew, from a seed of its own
    model = classifier(rng=5 if ended else 0, p=0.5)
    callbacks = [lambda epoch, numbers: seen.append(epoch)]
    again = run(model, checkpoint=path, resume=True, callbacks=callbacks, **options | changed)
    assert seen == list(range(ended, 6))
    assert_same_run(again, whole)


def test_kill_9_in_the_middle(path):
    """The same, with a real signal in a process of its own, in the middle of an epoch."""
    x, y = ragged(30)
    whole = run(tagger(), x, y)
    python(
        "import os, signal\n"
        "from pyrnn import Adam\n"
        "from tests.models import ragged, tagger\n"
        "from tests.test_checkpoints import run\n"
        "class Mortal(Adam):\n"
        "    def step(self, grads):\n"
        "        super().step(grads)\n"
        "        if self.steps == 13:\n"
        "            os.kill(os.getpid(), signal.SIGKILL)\n"
        "model = tagger()\n"
        f"run(model, *ragged(30), optimizer=Mortal(model, lr=0.02), checkpoint={str(path)!r})\n",
        status=-9,
        PYTHONPATH=ROOT,
    )
    assert_same_run(run(tagger(rng=5), x, y, checkpoint=path, resume=True), whole)


def test_a_run_may_be_made_longer(path):
    run(**SPLIT, checkpoint=path, epochs=2)
    assert_same_run(run(**SPLIT, checkpoint=path, resume=True), run(**SPLIT))
    model, _, history = again = run(classifier(rng=3), **SPLIT, checkpoint=path, resume=True)
    assert_same_run(again, run(**SPLIT))  # there was nothing left to do
    assert history.epochs == 6 and model.params.size


def test_patience_outlives_the_process(path):
    options = SPLIT | {"patience": 2, "monitor": "val_accuracy", "epochs": 40}
    whole = run(**options)
    assert whole[2].stopped == "patience"
    epochs = whole[2].epochs
    run(**options | {"epochs": epochs - 1}, checkpoint=path)
    for _ in range(2):
        assert_same_run(run(**options, checkpoint=path, resume=True), whole)


def test_a_model_and_optimizer_of_ones_own(path):
    class Kept(Descent):
        def state_dict(self):
            return {"steps": np.array(self.steps)}

        def load_state_dict(self, state):
            self.steps = int(state["steps"])

    x, results = np.arange(7.0), []
    for epochs, resume in ((5, False), (2, False), (5, True)):
        model = Scale()
        optimizer = Kept(model, 0.001)
        options = {"loss": "mse", "epochs": epochs, "batch_size": 2, "rng": 1, "checkpoint": path}
        history = fit(model, x, 3 * x, optimizer=optimizer, resume=resume, **options)
        results.append((float(model.params["w"][0]), optimizer.steps, history))
    assert results[0] == results[2] != results[1] and results[0][1] == 20
    assert load(path)["w"][0] == results[0][0]


# ---- The file is that of the best model ----


def test_load_reads_the_best_model(path):
    model, _, history = run(**SPLIT, checkpoint=path, epochs=12)
    assert history.best_epoch < 11
    assert same(load(path).params, model.params) and repr(load(path)) == repr(model)
    last, *_ = run(**SPLIT, restore_best=False, epochs=12)
    assert not same(last.params, model.params)


def test_ctrl_c_and_on_again(path):
    def callback(epoch, numbers):
        if epoch == 3:
            raise KeyboardInterrupt

    model, _, history = run(**SPLIT, checkpoint=path, callbacks=[callback])
    assert history.stopped == "interrupted" and same(load(path).params, model.params)
    assert_same_run(run(**SPLIT, checkpoint=path, resume=True), run(**SPLIT))


def test_divergence_leaves_the_last_good_checkpoint(path):
    model = classifier()

    class Explodes(Adam):
        def step(self, grads):
            super().step(grads)
            if self.steps == 9:
                model.params["3.bias"] = [np.nan, 0]

    good = run(classifier(), epochs=2)
    with pytest.raises(DivergenceError, match="the loss is nan at epoch 2, step 1"):
        run(model, optimizer=Explodes(model, lr=0.02), checkpoint=path)
    assert same(load(path).params, good[0].params)
    assert all(np.isfinite(array).all() for array in model.params.values())


@pytest.mark.parametrize("where", ["write", "fsync", "replace"])
def test_a_kill_while_saving_leaves_the_checkpoint_before(path, where):
    python(
        "import os, signal\n"
        "from pyrnn import _files\n"
        "from tests.test_checkpoints import SPLIT, run\n"
        "def die(*args): os.kill(os.getpid(), signal.SIGKILL)\n"
        "class Half:\n"
        "    def __init__(self, path, mode): self.file, self.name = open(path, mode), path\n"
        "    def fileno(self): return self.file.fileno()\n"
        "    def __enter__(self): return self\n"
        "    def __exit__(self, *args): pass\n"
        "    def write(self, data):\n"
        "        self.file.write(data[:len(data) // 2])\n"
        "        self.file.flush()\n"
        "        die()\n"
        "def callback(epoch, numbers):\n"
        "    if epoch == 2:\n"
        f"        {'_files.open = Half' if where == 'write' else f'os.{where} = die'}\n"
        f"run(**SPLIT, checkpoint={str(path)!r}, callbacks=[callback])\n",
        status=-9,
        PYTHONPATH=ROOT,
    )
    assert_same_run(run(**SPLIT, checkpoint=path, resume=True), run(**SPLIT))


def test_a_full_disk_leaves_the_checkpoint_before(path):
    output = python(
        "import resource\n"
        "from tests.test_checkpoints import SPLIT, run\n"
        "def callback(epoch, numbers):\n"
        "    if epoch == 2:\n"
        "        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try:\n"
        f"    run(**SPLIT, checkpoint={str(path)!r}, callbacks=[callback])\n"
        "except OSError as error:\n"
        "    print('refused:', error.errno)\n",
        PYTHONPATH=ROOT,
    )
    assert "refused: 27" in output and os.listdir(path.parent) == [path.name]
    assert_same_run(run(**SPLIT, checkpoint=path, resume=True), run(**SPLIT))


# ---- Errors ----


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    path = tmp_path_factory.mktemp("finished") / "run"
    run(**SPLIT, checkpoint=path, epochs=1)
    return path


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"batch_size": 5}, "had batch_size 6, this one has 5"),
        ({"x": X[:, 1:], "y": Y[1:]}, "had sequences 15, this one has 14"),
        ({"x": X[1:]}, "had steps 90, this one has 75"),
        ({"shuffle": False}, "had shuffle True, this one has False"),
        ({"monitor": "loss"}, "had monitor 'val_loss', this one has 'loss'"),
        ({"clip_norm": 3.0}, "had clip_norm None, this one has 3.0"),
        ({"model": pyrnn.Sequential(pyrnn.LSTM(3, 2), pyrnn.LastStep())}, "has parameters .* this one has"),
        ({"loss": "mse"}, None),
    ],
)
def test_another_run_is_refused(finished, changed, message):
    if message is None:  # what is measured may change, if it fits
        changed = {"loss": functools.partial(pyrnn.losses.cross_entropy, ignore_index=-1)}
        assert run(**SPLIT | changed, checkpoint=finished, resume=True, epochs=1)[2].epochs == 1
        return
    with pytest.raises(ValueError, match=message):
        run(**SPLIT | changed, checkpoint=finished, resume=True)


def test_other_files_are_refused(path, monkeypatch):
    pyrnn.save(classifier(), path)
    with pytest.raises(ValueError, match=r"checkpoint must be a file of fit, which .* is not"):
        run(checkpoint=path, resume=True)
    path.write_bytes(b"x" * 100)
    with pytest.raises(ValueError, match="is damaged"):
        run(checkpoint=path, resume=True)
    with pytest.raises(ValueError, match="checkpoint must say from which file to resume, got None"):
        run(resume=True)
    with pytest.raises(TypeError, match="resume must be True or False, got 1"):
        run(checkpoint=path, resume=1)
    with pytest.raises(FileNotFoundError, match="checkpoint must be in a folder that is there"):
        run(checkpoint=path.parent / "none" / "run")
    model = Scale()
    with pytest.raises(TypeError, match="optimizer must have load_state_dict if there is a checkpoint"):
        fit(model, X, X, loss="mse", optimizer=Descent(model), checkpoint=path)
    monkeypatch.setitem(__import__("sys").modules, "safetensors", None)
    with pytest.raises(ImportError, match=r'install it with: pip install "pyrnn\[train\]"'):
        run(checkpoint=path)


def test_an_architecture_that_json_cannot_say_is_left_out(path):
    class Odd(Dropout):
        def __init__(self, function):
            super().__init__(0.5)

    model = pyrnn.Sequential(*classifier(), Odd(np.tanh))
    run(model, checkpoint=path, epochs=1)
    found = load(path)
    assert isinstance(found, dict) and all((found[name] == a).all() for name, a in model.params.items())
