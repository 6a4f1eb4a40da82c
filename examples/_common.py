"""What the example programs share: options, training that Ctrl-C may end, and pictures on disk."""

import argparse
import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# NumPy's products are small here: its idle threads would only spin on the cores that pyrnn's compute on.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

import pyrnn
from pyrnn import plot

try:
    from matplotlib.figure import Figure
    from tqdm import tqdm
except ImportError as error:
    raise SystemExit(f'{error.name} is missing; install it with: pip install "pyrnn[examples]"') from error

__all__ = ["Figure", "draw_histories", "options", "positive", "replacing", "save", "start", "training"]


def options(doc: str, name: str) -> argparse.ArgumentParser:
    """A parser with what every program takes."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(name), metavar="DIR", help=f"default: {name}")
    parser.add_argument("--seed", type=int, default=0, help="default: 0")
    parser.add_argument("--threads", type=positive(int), help="default: all cores this process may use")
    return parser


def start(given: argparse.Namespace) -> np.random.Generator:
    """Do what the common options say; the source of all random numbers."""
    if given.threads:
        pyrnn.set_num_threads(given.threads)
    given.out.mkdir(parents=True, exist_ok=True)
    return np.random.default_rng(given.seed)


def positive(kind: type) -> Callable[[str], Any]:
    """A type of options: a number above 0."""

    def convert(text: str) -> Any:
        value = kind(text)
        if not 0 < value < math.inf:
            raise argparse.ArgumentTypeError(f"must be positive, got {text}")
        return value

    convert.__name__ = kind.__name__  # argparse says "invalid int value"
    return convert


@contextmanager
def training(steps: int, label: str) -> Iterator[Any]:
    """A progress bar around a training loop; Ctrl-C leaves the loop, and the program goes on with it."""
    with tqdm(total=steps, desc=label) as bar:
        try:
            yield bar
        except KeyboardInterrupt:
            bar.write("stopped by Ctrl-C: going on with what has been learned")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path that becomes `path` in one move: `path` is never half written."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def save(figure: Any, path: Path) -> None:
    """Write a figure, or that of some axes, as PNG."""
    with replacing(path) as temporary:
        getattr(figure, "figure", figure).savefig(temporary, format="png", dpi=120)
    print(f"wrote {path}")


def draw_histories(histories: dict[str, pyrnn.training.History], metric: str, label: str, path: Path) -> None:
    """A panel a model, on one scale; of a run that Ctrl-C has ended in its first epoch there is nothing."""
    shown = {name: history for name, history in histories.items() if history.epochs}
    if not shown:
        return
    figure = Figure(figsize=(4.5 * len(shown), 3.6), layout="constrained")
    panels = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    for axes, (name, history) in zip(panels, shown.items(), strict=True):
        plot.history(history, axes, metric=metric).set(title=name, ylabel=label)
    save(figure, path)
