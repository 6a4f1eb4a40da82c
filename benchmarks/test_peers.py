"""A peer keeps to its number of threads: on one, a call costs no more processor time than it lasts."""

import os
import time

import pytest

from .peers import Peer, available
from .problem import Problem
from .shapes import Shape

LARGE = Shape("large", 8, 64, 256, 256)  # enough work for every program to share it out, had it the threads


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="the peers that are bounded need Linux")
@pytest.mark.parametrize("mode", ["inference", "training"])
@pytest.mark.parametrize("peer", available(), ids=lambda peer: peer.name)
def test_one_thread(peer: Peer, mode: str) -> None:
    for other in available():
        other.set_threads(1)
    run = peer.prepare(Problem("rnn_tanh", LARGE), mode)  # type: ignore[arg-type]
    if run is None:
        pytest.skip(f"no {mode}")
    run.call()
    time.sleep(0.1)  # threads that the compiler or another peer has left come to rest
    wall, busy = time.perf_counter(), time.process_time()
    while time.perf_counter() - wall < 0.3:
        run.call()
    assert time.process_time() - busy < 1.15 * (time.perf_counter() - wall)
