"""The pages: what they show in Python runs, and the reference leaves no public name out."""

import contextlib
import doctest
import importlib
import io
import re
import subprocess
import sys

import pytest

import pyrnn

from .conftest import ABSENT
from .pages import PAGES, ROOT, fenced

# Languages that run, here and in test_commands.py; those of embedding.md by test_embedding, test_c_library.
RUNS = {"python", "sh", "cython", "c"}
OTHERS = {"text", "{eval-rst}", "{toctree}"}  # what a program has printed, and what Sphinx fills in


def needs(page):
    """The modules that the code of a page imports."""
    return set(re.findall(r"^\s*(?:import|from) (?:pyrnn\.)?(\w+)", "\n".join(fenced(page, "python")), re.M))


RUN = [page for page in PAGES if fenced(page, "python") and not needs(page) & set(ABSENT)]


@pytest.mark.parametrize("page", RUN, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_code_of_a_page_runs(page, tmp_path, monkeypatch):
    """One block after the other, in one namespace and an empty folder; whole programs for themselves."""
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "page"}
    for number, code in enumerate(fenced(page, "python")):
        where = f"{page.name}, block {number + 1}"
        if code.lstrip().startswith(">>>"):
            example = doctest.DocTestParser().get_doctest(code, names, where, str(page), 0)
            assert doctest.DocTestRunner().run(example, clear_globs=False).failed == 0
            names = example.globs
        elif '__name__ == "__main__"' in code:
            run_program(code)
        else:
            with contextlib.redirect_stdout(io.StringIO()) as printed:
                exec(compile(code, where, "exec"), names)
            shown = re.findall(r"^print\(.*\)  # (.*)$", code, re.M)
            assert not shown or printed.getvalue().splitlines() == shown


def run_program(code):
    """In a process of its own, whose processes import it as those of a user's program do."""
    with open("program.py", "w", encoding="utf-8") as file:
        file.write(code)
    done = subprocess.run([sys.executable, "program.py"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_block_has_a_language_that_is_run():
    found = {(page.name, language) for page in PAGES for language, _ in fenced(page)}
    assert {shown for shown in found if shown[1] not in RUNS | OTHERS} == set()
    assert {page for page, language in found if language in ("c", "cython")} == {"embedding.md"}
    for page in PAGES:  # and none that is indented, or opened and not closed
        assert page.read_text("utf-8").count("```") == 2 * len(fenced(page)), page


def test_the_reference_has_every_public_name():
    pages = "\n".join(page.read_text("utf-8") for page in (ROOT / "docs" / "api").glob("*.md"))
    modules = set(re.findall(r"automodule:: pyrnn\.(\w+)", pages))
    named = set(re.findall(r"auto(?:class|function):: pyrnn\.(\w+)", pages))
    found = [importlib.import_module(f"pyrnn.{module}") for module in modules]
    covered = {name for module in found for name in getattr(module, "__all__", ())}
    missing = set(pyrnn.__all__) - named - covered - modules - {"__version__", "layers", "reference"}
    assert not missing
