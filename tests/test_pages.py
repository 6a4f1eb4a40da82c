"""docs/ and the README: what they show in Python runs, and the reference leaves no public name out."""

import doctest
import importlib
import re
from pathlib import Path

import pytest

import pyrnn

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.M | re.S)


def blocks(page):
    return BLOCK.findall(page.read_text("utf-8"))


@pytest.mark.parametrize(
    "page", [page for page in PAGES if blocks(page)], ids=lambda page: str(page.relative_to(ROOT))
)
def test_the_code_of_a_page_runs(page, tmp_path, monkeypatch):
    """One block after the other, in one namespace and an empty folder."""
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "page"}
    for number, code in enumerate(blocks(page)):
        where = f"{page.name}, block {number + 1}"
        if code.lstrip().startswith(">>>"):
            example = doctest.DocTestParser().get_doctest(code, names, where, str(page), 0)
            assert doctest.DocTestRunner().run(example, clear_globs=False).failed == 0
            names = example.globs
        else:
            exec(compile(code, where, "exec"), names)


def test_the_reference_has_every_public_name():
    pages = "\n".join(page.read_text("utf-8") for page in (ROOT / "docs" / "api").glob("*.md"))
    modules = set(re.findall(r"automodule:: pyrnn\.(\w+)", pages))
    named = set(re.findall(r"auto(?:class|function):: pyrnn\.(\w+)", pages))
    found = [importlib.import_module(f"pyrnn.{module}") for module in modules]
    covered = {name for module in found for name in getattr(module, "__all__", ())}
    missing = set(pyrnn.__all__) - named - covered - modules - {"__version__", "layers", "reference"}
    assert not missing
