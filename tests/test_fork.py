"""A child forked from a process that has used threads computes the same bits, and comes to an end."""

import pytest

from .processes import python

PROLOGUE = """
import multiprocessing, os, warnings
import numpy as np
import pyrnn
# From 3.12 on Python warns of every fork of a process with threads, for the sake of libraries that hang.
warnings.filterwarnings("ignore", category=DeprecationWarning, message=".*fork.*")
layer = pyrnn.LSTM(5, 200, 2, bidirectional=True, rng=0)
x = np.random.default_rng(1).standard_normal((60, 9, 5))
slim = pyrnn.RNN(5, 400, rng=0)
stream = pyrnn.GRU(5, 400, rng=0).stream(40)
def results():
    (y, (h, c)), pull = layer.vjp(x)
    dx, _, grads = pull(np.ones_like(y))
    return [y, h, c, dx, *grads.values(), layer(x)[0], slim(x[:, :1])[0]]
def same(a, b):
    return len(a) == len(b) and all((p == q).all() for p, q in zip(a, b))
def child(work):
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os._exit(0)
        except BaseException as error:
            print("in the child:", repr(error), flush=True)
            os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0
pyrnn.set_num_threads(3)
expected = results()
def check():
    assert same(results(), expected)
"""

CASES = {
    "once": "child(check)",
    "many": "for _ in range(5): child(check); check()",
    "grandchild": "child(lambda: (check(), child(check), check()))",
    "threads there, as many as here": """
def threads():
    return len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else 1
def there():
    assert pyrnn.get_num_threads() == 3
    before = threads()
    check()
    assert threads() > before or not os.path.isdir("/proc/self/task")
child(there)
""",
    "from a thread": """
import threading
errors = []
def work():
    try:
        child(check)
    except BaseException as error:
        errors.append(error)
thread = threading.Thread(target=work)
thread.start()
thread.join()
assert not errors, errors
""",
    "while another thread computes": """
import threading
done = threading.Event()
def work():
    while not done.is_set():
        check()
thread = threading.Thread(target=work)
thread.start()
try:
    for _ in range(5):
        child(check)
finally:
    done.set()
    thread.join()
""",
    "a pull of the parent": """
(y, _), pull = layer.vjp(x)
dx = pull(np.ones_like(y))[0]
def work():
    assert (pull(np.ones_like(y))[0] == dx).all()
child(work)
""",
    "a stream of the parent": """
steps = np.random.default_rng(2).standard_normal((3, 40, 5)).astype(np.float32)
first = [stream(step) for step in steps]
stream.reset()
def work():
    assert same([stream(step) for step in steps], first)
child(work)
""",
    "a pool": """
def job(_):
    return results()
with multiprocessing.get_context("fork").Pool(2) as pool:
    assert all(same(found, expected) for found in pool.map(job, range(4)))
check()
""",
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_forked_child_computes(case):
    assert python(PROLOGUE + case, timeout=60) == ""


def test_a_child_forked_before_the_first_call_computes():
    start = "expected = results()"
    assert python(PROLOGUE.replace(start, f"child(results)\n{start}") + "child(check)", timeout=60) == ""
