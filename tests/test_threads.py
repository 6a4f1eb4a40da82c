"""Threads of the library and of the caller: who takes part, and nobody waits in vain."""

import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import pyrnn
from pyrnn import _core, _registry, functional

from .cells import layer_of
from .problems import WEIGHTS, assert_same, problem
from .processes import python

COUNT = """
import os
import numpy as np
import pyrnn
pyrnn.set_num_threads(3)
def tasks():
    return len(os.listdir("/proc/self/task"))
def new_tasks(layer, *shape):
    before = tasks()
    if TRAINING:
        layer.vjp(np.zeros(shape))[1](np.zeros((*shape[:2], layer.hidden_size)))
    else:
        layer(np.zeros(shape))
    return tasks() - before
layers = pyrnn.RNN(3, 400, rng=0), pyrnn.RNN(33, 80, rng=0)
print(new_tasks(layers[0], 1, 1, 3), new_tasks(layers[1], 4, 1, 33), new_tasks(layers[LAYER], *SHAPE))
"""


@pytest.mark.parametrize("layer, shape", [(0, (190, 1, 3)), (1, (90, 40, 33))], ids=["units", "rows"])
@pytest.mark.parametrize("training", [False, True])
def test_large_calls_use_threads_and_small_ones_do_not(layer, shape, training):
    """Without this the laws of test_thread_bits.py would say nothing."""
    settings = f"LAYER, SHAPE, TRAINING = {layer}, {shape}, {training}"
    assert python(settings + COUNT, OPENBLAS_NUM_THREADS="1").split() == ["0", "0", "2"]


FEW = {
    "one core for all": """
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
""",
    "no more threads": """
if sys.platform == "linux":  # elsewhere the limit is not kept
    with open("/proc/self/statm") as statm:
        used = int(statm.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**22, used + 2**22))  # too little for a thread's stack
""",
}


@pytest.mark.parametrize("limit", FEW.values(), ids=FEW)
def test_fewer_threads_than_asked_for_are_enough(limit):
    """Nobody waits for a thread that is not there: whoever is there does its part."""
    if "resource.setrlimit" in limit and _core.KEPT == 0:
        pytest.skip("a sanitizer needs address space of its own")
    code = """
import os, resource, sys
import numpy as np
import pyrnn
few = np.random.default_rng(0).standard_normal((100, 2, 40)).astype(np.float32)
many = few.reshape(10, 20, 40).repeat(5, 1)
layers = [(kind(40, H, rng=0), x) for kind in (pyrnn.LSTM, pyrnn.GRU) for H, x in ((200, few), (60, many))]
def results(layer, x):
    (y, _), pull = layer.vjp(x)
    dx, _, grads = pull(np.ones_like(y))
    return [y, dx, layer(x)[0], *grads.values()]
expected = [results(*pair) for pair in layers]
pyrnn.set_num_threads(1)
assert all((a == b).all() for pair, e in zip(layers, expected) for a, b in zip(results(*pair), e))
exec(LIMIT)
for number in (3, 5):
    pyrnn.set_num_threads(number)
    for pair, e in zip(layers, expected):
        assert all((a == b).all() for a, b in zip(results(*pair), e))
if "resource.setrlimit" in LIMIT and sys.platform == "linux":
    assert len(os.listdir("/proc/self/task")) == 1
"""
    # By default there are as many threads as cores; here one until the limit holds.
    one = {"PYRNN_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    assert python(f"LIMIT = {limit!r}\n" + code, timeout=60, **one) == ""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="counts threads as Linux shows them")
def test_brief_calls_start_a_thread_only_where_they_follow_each_other():
    code = """
import os
import time
from pathlib import Path
import numpy as np
import pyrnn
threads = lambda: len(os.listdir("/proc/self/task"))
layer, x = pyrnn.RNN(64, 64, rng=0), np.ones((100, 1, 64), np.float32)
pyrnn.set_num_threads(1)
y, h = layer(x)
pyrnn.set_num_threads(2)
before = threads()
for _ in range(20):
    time.sleep(0.001)
    assert (layer(x)[0] == y).all()
assert threads() == before, "one by one"
for _ in range(10_000):
    if threads() > before:
        break
    for _ in range(20):
        last = layer(x)[0]
    assert (last == y).all()
print(threads() - before)
"""
    assert python(code) == ("1\n" if _core.threads_possible() else "0\n")


def test_more_threads_than_could_ever_help_are_not_started():
    code = """
import os
import numpy as np
import pyrnn
layer, x = pyrnn.RNN(1, 64, rng=0), np.random.default_rng(0).standard_normal((10, 200_000, 1))
pyrnn.set_num_threads(1)
y, h = layer(x)
pyrnn.set_num_threads(2**31 - 1)
assert (layer(x)[0] == y).all()
print(len(os.listdir("/proc/self/task")))
"""
    assert int(python(code)) < 1000


# ---- threads of the caller ----


class Progress:
    """Counts, in a thread of its own, how often it gets the interpreter."""

    def __enter__(self):
        self.count, self.stop, self.interval = 0, False, sys.getswitchinterval()
        sys.setswitchinterval(1000)  # nobody is made to let go
        self.thread = threading.Thread(target=self.work)
        self.thread.start()
        return self

    def work(self):
        while not self.stop:
            self.count += 1
            time.sleep(0)

    def __exit__(self, *error):
        self.stop = True
        sys.setswitchinterval(self.interval)
        self.thread.join()

    def during(self, call):
        before = self.count
        call()
        return self.count > before


def calls_of_the_binding(cell):
    """One call of the C library each, long enough for another thread to wake up."""
    entry, dtype = _registry.REGISTRY[cell], np.dtype(np.float32)
    T, B, I, H = 50, 20, 64, 64
    given = problem(cell, dtype, T, B, I, H)
    weights = [given[name] for name in (*WEIGHTS, "w_units") if name in given]
    large = problem(cell, dtype, 1, 1, 512, 256)
    wide = [large[name] for name in (*WEIGHTS, "w_units") if name in large]
    forward, back = (
        functional.pack(entry, use, functional.Weights(*weights)) for use in (_core.FORWARD, _core.BACKWARD)
    )
    y, state = np.empty((T, B, H), dtype), tuple(np.empty((B, H), dtype) for _ in range(entry.states))
    saved = np.empty(_core.saved_size(entry.number, dtype, I, H, T, B, None), dtype)
    grads = [np.empty_like(array) for array in weights]
    grads += [None] * (6 - len(grads))
    dx, sequence = np.empty_like(given["x"]), (given["x"], None, None, None, False, None, 0)
    step = layer_of(cell)(I, 256, rng=0).stream(200)
    x_t = np.zeros((200, I), dtype)
    return {
        "forward": lambda: _core.forward([(forward, *sequence, y, state, saved)], 1),
        "backward": lambda: _core.backward(
            [(back, *sequence, saved, given["dy"], None, dx, None, *grads)], 1
        ),
        "pack": lambda: functional.pack(entry, _core.FORWARD, functional.Weights(*wide)),
        "stream": lambda: step(x_t),
    }


@pytest.mark.parametrize(("inputs", "units"), [(300, 310), (2, 530)], ids=["many inputs", "few"])
@pytest.mark.parametrize("use", [_core.FORWARD, _core.BACKWARD], ids=["forward", "backward"])
def test_weights_are_packed_alike_by_any_number_of_threads(isa, cell, dtype, use, inputs, units, threads):
    entry = _registry.REGISTRY[cell]
    given = problem(cell, dtype, 1, 1, inputs, units)
    weights = functional.Weights(*(given[name] for name in (*WEIGHTS, "w_units") if name in given))
    threads(1)
    alone = functional.pack(entry, use, weights)
    for n in (2, 3, 64):
        threads(n)
        np.testing.assert_array_equal(functional.pack(entry, use, weights), alone)


@pytest.mark.parametrize("name", ["forward", "backward", "pack", "stream"])
def test_other_threads_run_during_a_call(cell, name):
    """Nothing gives the interpreter away but the call itself: who else runs, runs at the same time."""
    calls = calls_of_the_binding(cell)
    calls["forward"]()
    with Progress() as progress:
        assert any(progress.during(calls[name]) for _ in range(3000))


def in_threads(*works):
    """Run them at once; the first exception of any is raised."""
    errors, barrier = [], threading.Barrier(len(works))

    def guarded(work):
        barrier.wait()
        try:
            work()
        except BaseException as error:
            errors.append(error)

    workers = [threading.Thread(target=guarded, args=(work,)) for work in works]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if errors:
        raise errors[0]


@pytest.mark.parametrize("number", [1, 2])
def test_threads_share_a_layer(cell, threads, number):
    threads(number)
    layer = layer_of(cell)(5, 130, 2, rng=0)
    rng = np.random.default_rng(1)
    xs = [rng.standard_normal((T, B, 5)).astype(np.float32) for T, B in ((60, 1), (40, 9), (9, 40))]

    def results(x):
        (y, _), pull = layer.vjp(x)
        dx, _, grads = pull(np.ones_like(y))
        return {"y": layer(x)[0], "dx": dx} | grads

    expected = [results(x) for x in xs]
    layer.params.update(layer.state_dict())  # so that all pack anew, at once

    def work(x, known):
        for _ in range(5):
            assert_same(results(x), known)

    in_threads(*(lambda x=x, known=known: work(x, known) for x, known in zip(xs, expected, strict=True)))


def test_threads_share_a_cell():
    """A prepared step serves one thread at a time; the others are none the worse for it."""
    cell = pyrnn.LSTMCell(64, 200, rng=0)
    xs = [np.full((50, 64), value, np.float32) for value in (0.1, 0.2, 0.3)]
    expected = [cell(x)[1] for x in xs]

    def work(x, known):
        for _ in range(100):
            np.testing.assert_array_equal(cell(x)[1], known)

    in_threads(*(lambda x=x, known=known: work(x, known) for x, known in zip(xs, expected, strict=True)))


def test_a_stream_refuses_a_second_thread_or_serves_it():
    stream = pyrnn.LSTM(64, 200, rng=0).stream(50)
    x, results = np.zeros((50, 64), np.float32), []

    def step():
        try:
            return stream(x)
        except RuntimeError as error:
            return str(error)

    def work():
        results.extend(step() for _ in range(200))

    in_threads(work, work)
    refusal = "this stream is in use by another thread; make one for each"
    assert all(result == refusal if isinstance(result, str) else (result < 1).all() for result in results)
    assert len(results) == 400 and isinstance(step(), np.ndarray)


def test_writing_parameters_while_another_thread_runs_is_never_stale():
    """What runs meanwhile may see either weights; what begins afterwards sees the new ones."""
    layer, x = pyrnn.GRU(3, 40, rng=0), np.ones((2, 1, 3), np.float32)
    zeros = {name: np.zeros_like(array) for name, array in layer.params.items()}
    ones = {name: np.full_like(array, 0.1) for name, array in layer.params.items()}
    expected = []
    for values in (zeros, ones):
        layer.params.update(values)
        expected.append(layer(x)[0])
    done = threading.Event()

    def read():
        while not done.is_set():
            layer(x)

    def write():
        try:
            for turn in range(300):
                layer.params.update((zeros, ones)[turn % 2])
                np.testing.assert_array_equal(layer(x)[0], expected[turn % 2])
        finally:
            done.set()

    in_threads(write, read)
