"""Programs in processes of their own, for what can be seen at an import, in a child, or at a crash."""

import os
import subprocess
import sys
from pathlib import Path

import pyrnn

BESIDE = Path(pyrnn.__file__).parent.parent  # where what `-c` finds first is the pyrnn that is tested


def python(code, *args, status=0, timeout=120, warnings="error", **env):
    """Run `code` to the end and return what it prints; None takes a variable out of the environment."""
    done = subprocess.run(
        [sys.executable, "-W", warnings, "-c", code, *args],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        cwd=BESIDE,
        env={name: value for name, value in (os.environ | env).items() if value is not None},
    )
    output = done.stdout + done.stderr
    assert done.returncode == status, output
    return output


def begin(code):
    """Begin to run `code`, which is written to and read from while it runs."""
    return subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=BESIDE
    )
