"""How many threads a call may use."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import numpy as np

from . import _core


def set_num_threads(n: int | None) -> None:
    """Set how many threads a call may use, in this process.

    Parameters
    ----------
    n : int or None
        At least 1. None goes back to the default: the environment variable ``PYRNN_NUM_THREADS`` if it is
        set, else the cores that this process may use (its affinity, and its cgroup's quota rounded up).

    Raises
    ------
    TypeError
        `n` is not an integer.
    ValueError
        `n` is below 1, or ``PYRNN_NUM_THREADS`` is no such number.

    Notes
    -----
    Results do not depend on it, bit for bit. Small calls stay on one thread whatever it is. Threads that
    are late, or busy with another call, are not waited for: the calling thread does their part. A forked
    child has threads of its own.
    """
    global _threads
    if n is None:
        _threads = _default()
    elif isinstance(n, (bool, np.bool_)) or not isinstance(n, (int, np.integer)):
        raise TypeError(f"n must be an integer or None, got {n!r}")
    elif not 1 <= n <= 2**31 - 1:
        raise ValueError(f"n must be at least 1, got {n}")
    else:
        _threads = int(n)


def get_num_threads() -> int:
    """Return how many threads a call may use."""
    return (_here.threads or _threads) if _core.threads_possible() else 1


class at_most:
    """Calls of this thread in the with block use `n` threads, whatever the setting is."""

    __slots__ = ("before", "n")

    def __init__(self, n: int) -> None:
        self.n = n

    def __enter__(self) -> None:
        self.before, _here.threads = _here.threads, self.n

    def __exit__(self, *_: object) -> None:
        _here.threads = self.before


class _Here(threading.local):
    threads: int | None = None


def _default() -> int:
    named = os.environ.get("PYRNN_NUM_THREADS")
    if not named:
        return _usable_cores()
    if not named.strip().isdecimal() or not 1 <= int(named) <= 2**31 - 1:
        raise ValueError(f"PYRNN_NUM_THREADS must be an integer of at least 1, got {named!r}")
    return int(named)


def _usable_cores() -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, _quota(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup"))))


def _quota(membership: Path, mount: Path) -> int:
    """CPUs that the control group grants, rounded up; a large number where there is no limit."""
    limit = 1 << 30
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return limit
    for line in lines:
        if line.count(":") < 2:
            continue
        _, controllers, path = line.split(":", 2)
        # Version 2 has one hierarchy without a name; version 1 has one for cpu. A limit anywhere above
        # counts; in a container the path is often the host's, and the mount's root is the container's own.
        if controllers and "cpu" not in controllers.split(","):
            continue
        roots = [mount] if not controllers else [mount / controllers, mount / "cpu"]
        inner = [Path(path.lstrip("/"), *[".."] * up) for up in range(len(Path(path).parts))]
        for folder in (root / part for root in roots for part in [*inner, Path()]):
            limit = min(limit, _limit_of(folder))
    return limit


def _limit_of(folder: Path) -> int:
    try:
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text().strip()
            period = (folder / "cpu.cfs_period_us").read_text().strip()
        return 1 << 30 if quota == "max" or int(quota) <= 0 else max(1, -(-int(quota) // int(period)))
    except (OSError, ValueError, ZeroDivisionError):
        return 1 << 30


_threads = _default()
_here = _Here()
