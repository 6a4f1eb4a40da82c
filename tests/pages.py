"""The pages that people read, and the code in them."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "benchmarks/README.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
FENCE = re.compile(r"^```(\S*)\n(.*?)^```$", re.M | re.S)


def fenced(page, language=None):
    """The blocks of a page as (language, code), or the code of those in one language."""
    found = FENCE.findall(page.read_text("utf-8"))
    return found if language is None else [code for name, code in found if name == language]
