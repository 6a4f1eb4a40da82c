"""What the docstrings show is what happens."""

import doctest
import importlib
import inspect
import pkgutil

import numpy as np
import pytest

import pyrnn

from .conftest import ABSENT

MODULES = [
    found.name
    for found in pkgutil.walk_packages(pyrnn.__path__, "pyrnn.")
    if found.name.split(".")[1] not in ABSENT
]


def documented(name):
    module = importlib.import_module(name)
    found = doctest.DocTestFinder().find(module, globs={**vars(module), "np": np})
    return [test for test in found if test.examples]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    for test in documented(name):
        assert doctest.DocTestRunner().run(test).failed == 0


def test_there_are_examples():
    assert sum(len(documented(name)) for name in MODULES) >= 5


@pytest.mark.parametrize("name", pyrnn.__all__)
def test_public_names_are_documented(name):
    thing = getattr(pyrnn, name)
    assert isinstance(thing, str) or inspect.getdoc(thing)
