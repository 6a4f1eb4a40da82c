"""What the numbers were measured on, for the head of a report."""

from __future__ import annotations

import contextlib
import io
import os
import platform
from pathlib import Path
from typing import Any

import numpy as np

import pyrnn

from .peers import available, known


def cores() -> int:
    """Those this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu() -> str:
    """The name of the processor, its usable cores and its caches."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        models = [
            line.partition(":")[2].strip()
            for line in info.read_text().splitlines()
            if line.startswith("model name")
        ]
        name = models[0] if models else name
    caches = []
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        with contextlib.suppress(OSError):
            level, kind, size = ((index / field).read_text().strip() for field in ("level", "type", "size"))
            if kind != "Instruction":
                caches.append(f"L{level} {size[:-1]} KiB" if size.endswith("K") else f"L{level} {size}")
    return f"{name}, {cores()} cores" + (f" ({', '.join(caches)})" if caches else "")


def config() -> str:
    """What ``pyrnn.show_config()`` says: version, compiler, instruction sets, threads."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        pyrnn.show_config()
    return printed.getvalue().strip()


def blas() -> str:
    config: Any = np.show_config(mode="dicts")
    found = config.get("Build Dependencies", {}).get("blas", {})
    return f"{found.get('name', 'unknown')} {found.get('version', '')}".strip()


def summary() -> list[str]:
    """One line a fact."""
    present = available()
    absent = [name for name in known() if name not in {peer.name for peer in present}]
    lines = [
        f"CPU: {cpu()}",
        f"System: {platform.system()} {platform.release()}, Python {platform.python_version()}",
        f"BLAS of NumPy: {blas()}",
        "Versions: "
        + ", ".join(f"{p.version}" for p in present if p.name not in ("numpy", "onnxruntime-bound")),
    ]
    return [*lines, f"Not installed here: {', '.join(absent)}"] if absent else lines
