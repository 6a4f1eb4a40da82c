"""``python -m benchmarks.report``: every cell in every shape beside the peers, as tables and plots."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pyrnn import functional

from . import machine, peers, plots, readme, shapes, tables
from .results import Merged, Results, replace_file
from .session import Options, measure


def write(merged: Merged, folder: Path) -> None:
    """The report and its plots, each file whole or not at all."""
    rows, pictures, extra = merged.rows, {}, []
    if any((row.of_roof or 0) > 1.02 for row in rows):
        extra.append("rows above 100 % of the roof: the machine was busy when the roof was measured")
    try:
        if any(row.ratios for row in rows):
            pictures["speedup.png"] = plots.speedup(rows)
        if merged.roofs and any(row.of_roof is not None for row in rows):
            pictures["roof.png"] = plots.roof(rows, merged.roofs)
    except ImportError as missing:
        extra.append(f"no plots: {missing}")
    for name, content in pictures.items():
        replace_file(folder / name, content)
    replace_file(folder / "report.md", tables.markdown(merged, list(pictures), extra).encode())


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description=__doc__)
    add = parser.add_argument
    add("--threads", type=int, nargs="+", help="each row once for each (1 2)")
    add("--cells", nargs="+", default=_CELLS, choices=list(functional.CELLS), help=" ".join(_CELLS))
    add("--shapes", nargs="+", default=None, help="names and groups, see --list (grid; quick: quick)")
    add("--peers", nargs="+", choices=peers.known(), help="only these (all that are installed)")
    add("--budget", type=float, help="seconds of timing a row (1.5; quick: 0.3)")
    add("--quick", action="store_true", help="fewer shapes, less time each")
    add("--no-targets", action="store_true", help="do not measure the targets that have no row")
    add(
        "--repeat", type=int, default=1, metavar="N", help="runs in all; every figure is the median of theirs"
    )
    add(
        "--again",
        type=int,
        default=1,
        metavar="N",
        help="rounds in which rows are measured again that were disturbed: somebody took far longer than in "
        "another run (1; none for a single run)",
    )
    add("--data", type=Path, help="folder that keeps the measurements of each run, row by row")
    add(
        "--resume", action="store_true", help="go on with the runs in --data: only what they lack is measured"
    )
    add("--out", type=Path, default=Path("docs/benchmarks"), help="folder (docs/benchmarks)")
    add("--readme", nargs="?", type=Path, const=Path("README.md"), help="rewrite the table of this file too")
    add("--list", action="store_true", help="print the shapes and their groups, and stop")
    args = parser.parse_args(argv)
    args.shapes = args.shapes or ["quick" if args.quick else "grid"]
    args.budget = args.budget or (0.3 if args.quick else 1.5)
    try:
        shapes.select(args.shapes, "inference")
    except ValueError as unknown:
        parser.error(str(unknown))
    if args.resume and args.data is None:
        parser.error("--resume needs --data")
    if args.data and not args.resume and list(args.data.glob("run-*.json")):
        parser.error(f"{args.data} has runs already: --resume goes on with them")
    allowed = machine.cores()
    args.threads = args.threads or [n for n in (1, 2) if n <= allowed]
    if not all(1 <= n <= allowed for n in args.threads):
        parser.error(f"--threads: this process may use 1 to {allowed}")
    return args


_CELLS = [cell for cell in ("lstm", "gru", "rnn_tanh") if cell in functional.CELLS]


def run_all(args: argparse.Namespace, runs: list[Results]) -> None:
    """Measure, filling `runs`. Those that were kept are filled up first."""
    options = Options(
        args.cells, args.shapes, args.threads, args.peers, args.budget, args.quick, not args.no_targets
    )

    def path(number: int) -> Path | None:
        return args.data / f"run-{number + 1}.json" if args.data else None

    kept = sorted(args.data.glob("run-*.json"), key=lambda p: int(p.stem[4:])) if args.resume else []
    runs += [Results.load(path) for path in kept]
    for number in range(args.repeat):
        if number == len(runs):
            runs.append(Results())
        if args.repeat > 1:
            print(f"run {number + 1} of {args.repeat}", file=sys.stderr)
        measure(runs[number], options, path(number))
    for _ in range(args.again):
        disturbed = Merged(runs).disturbed
        for number, run in enumerate(runs):
            if keys := {key for other, key in disturbed if other is run}:
                print(f"run {number + 1}: rows that were disturbed, again", file=sys.stderr)
                measure(run, options, path(number), keys)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    if args.list:
        print("\n".join(shapes.listing()))
        return 0
    runs: list[Results] = []
    merged, whole = Merged(runs), False
    try:
        run_all(args, runs)
        whole = True
    except KeyboardInterrupt:
        print("stopped, writing what there is", file=sys.stderr)
    finally:
        if runs:
            if not whole:
                runs[-1].notes.append("stopped before the end: the report is not complete")
            write(merged, args.out)
    if args.readme:
        readme.rewrite(args.readme, merged)
    for target in tables.all_targets(merged):
        met = "met   " if target.met else "NOT MET"
        print(f"{met:8}{target.bullet}: {target.what}: asked {target.asked}, reached {target.reached_text}")
    for line in merged.lines("wrong"):
        print(f"left out: {line}", file=sys.stderr)
    print(f"wrote {args.out / 'report.md'}")
    return (0 if whole else 130) or (1 if merged.lines("wrong") else 0)


if __name__ == "__main__":
    sys.exit(main())
