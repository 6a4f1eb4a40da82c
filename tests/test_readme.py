"""What the README says in code holds."""

import doctest
from pathlib import Path

README = Path(__file__).parent.parent / "README.md"


def test_examples_of_the_readme():
    tests = doctest.DocTestParser().get_doctest(README.read_text("utf-8"), {}, "README.md", str(README), 0)
    assert tests.examples
    assert doctest.DocTestRunner().run(tests).failed == 0
