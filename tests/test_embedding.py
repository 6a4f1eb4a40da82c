"""docs/embedding.md: its examples compile, run, and give the layer's own results."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import pyrnn

from .cells import layer_of
from .pages import ROOT, fenced
from .processes import python

PACKAGE = Path(pyrnn.__file__).parent


def test_what_cython_needs_is_in_the_package():
    assert {path.name for path in PACKAGE.glob("*.pxd")} == {"__init__.pxd", "_core.pxd"}


@pytest.fixture(scope="module")
def embedded(tmp_path_factory):
    """The Cython example as a module of its own: (its folder, its name)."""
    pytest.importorskip("Cython", reason="needs cython")
    compiler = os.environ.get("CC", "cc")
    include = sysconfig.get_path("include")
    if not shutil.which(compiler) or not Path(include, "Python.h").exists():
        pytest.skip(f"needs {compiler} and Python.h")
    folder = tmp_path_factory.mktemp("embedded")
    source, module = folder / "embedded.pyx", folder / f"embedded{sysconfig.get_config_var('EXT_SUFFIX')}"
    (code,) = fenced(ROOT / "docs" / "embedding.md", "cython")
    source.write_text(code)
    flags = [
        "-shared",
        "-fPIC",
        "-O1",
        *(["-undefined", "dynamic_lookup"] if sys.platform == "darwin" else []),
    ]
    for command in (
        [sys.executable, "-m", "cython", "-3", "-I", PACKAGE.parent, source],
        [compiler, *flags, f"-I{include}", folder / "embedded.c", "-o", module],
    ):
        done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
        assert done.returncode == 0, done.stdout + done.stderr
    return folder


CHECK = """
import sys
import numpy as np
import pyrnn
sys.path.append(FOLDER)
import embedded
x = np.random.default_rng(0).standard_normal((50, 3), np.float32)
for number in range(1, 3):
    layer = getattr(pyrnn, KIND)(3, 33, number, rng=0, **OPTIONS)
    stream, y = layer.stream(), np.empty((50, 33), np.float32)
    embedded.run(stream, x, y)
    assert (y == layer(x)[0]).all()
    assert (np.array(stream.state).ravel() == np.array(layer(x)[1]).ravel()).all()
for wrong in (layer.stream(2), type(layer)(3, 33, dtype=float).stream(), type(layer)(4, 33).stream()):
    try:
        embedded.run(wrong, x, y)
    except ValueError:
        continue
    raise AssertionError("a wrong stream is refused")
"""


def test_the_cython_example(embedded, cell):
    partial = layer_of(cell)
    settings = f"FOLDER, KIND, OPTIONS = {str(embedded)!r}, {partial.func.__name__!r}, {partial.keywords!r}"
    assert python(settings + CHECK) == ""
