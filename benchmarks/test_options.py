"""What options cost: every one is measured, and the page gets the tables."""

import sys
from pathlib import Path

import pytest

from . import options


def test_the_page_gets_a_line_for_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{options.BEGIN}\nold\n{options.END}\nafter\n")
    monkeypatch.setattr(sys, "argv", ["options", "--quick", "--rounds", "1", "--docs", str(page)])
    options.main()
    text = page.read_text()
    assert text.startswith("before") and text.endswith("after\n") and "old" not in text
    for kind, variants in options.VARIANTS.items():
        for variant in variants:
            assert f"| `{variant}` |" in text.partition(f"| {kind} |")[2], (kind, variant)
    assert all(f"| `{kind}` |" in text for kind in options.OTHERS)
    assert text.partition(options.BEGIN)[2].partition(options.END)[0].strip() in capsys.readouterr().out


def test_work_is_what_the_products_are() -> None:
    shape = options.QUICK["batch"]
    plain = options.make("LSTM", shape, options.Variant())[2]
    for layer, work in ({"coupled": True}, 3 / 4), ({"bidirectional": True}, 2), ({"peepholes": True}, 1):
        assert options.make("LSTM", shape, options.Variant(layer))[2] == work * plain
    ragged = options.make("LSTM", shape, options.Variant(call="lengths="))[2]
    assert ragged == plain * (4 + 6 + 8) / 24


def test_bad_numbers_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["options", "--rounds", "0"])
    with pytest.raises(SystemExit):
        options.main()
