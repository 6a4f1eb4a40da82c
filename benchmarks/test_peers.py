"""A peer keeps to its number of threads: on one, a call costs no more processor time than it lasts."""

import os
import time

import pytest

from .peers import Peer, available
from .peers.jax_scan import Jax
from .problem import Problem
from .shapes import Shape

LARGE = Shape("large", 8, 64, 256, 256)  # enough work for every program to share it out, had it the threads


@pytest.mark.parametrize("mode", ["inference", "training"])
@pytest.mark.parametrize("peer", available(), ids=lambda peer: peer.name)
def test_one_thread(peer: Peer, mode: str) -> None:
    for other in available():
        other.set_threads(1)
    run = peer.prepare(Problem("rnn_tanh", LARGE), mode)  # type: ignore[arg-type]
    if run is None or not peer.bounded:
        pytest.skip(f"no {mode}, or nothing to bound its threads with")
    run.call()
    time.sleep(0.1)  # threads that the compiler or another peer has left come to rest
    wall, busy = time.perf_counter(), time.process_time()
    while time.perf_counter() - wall < 0.3:
        run.call()
    assert time.process_time() - busy < 1.15 * (time.perf_counter() - wall)


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="JAX is bounded on Linux alone")
def test_the_threads_of_jax_are_bound() -> None:
    """Also where other processes leave it too little processor time for the test above to tell."""
    pytest.importorskip("jax")
    jax = next(peer for peer in available() if isinstance(peer, Jax))
    for n in (1, 2):
        jax.set_threads(n)
        assert jax.prepare(Problem("rnn_tanh", LARGE), "inference") is not None
        bound = [os.sched_getaffinity(thread) for thread in jax.workers()]
        cores = min(n, len(os.sched_getaffinity(0)))
        assert bound and all(allowed == bound[0] and len(allowed) == cores for allowed in bound)
