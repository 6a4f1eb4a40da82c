from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]
States = tuple[Array | None, ...] | None

VERSION: str
COMPILER: str
FORWARD: int
BACKWARD: int
SGD: int
RMSPROP: int
ADAM: int
KEPT: int

def cells() -> dict[str, tuple[int, int, int, int, int, int, int]]: ...
def isas() -> dict[str, bool]: ...
def isa() -> str: ...
def select_isa(number: int) -> None: ...
def lanes(number: int, dtype: np.dtype[Any]) -> int: ...
def threads_possible() -> bool: ...
def empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array: ...
def empty_cache() -> None: ...
def same(ones: list[Array], others: list[Array]) -> bool: ...
def overwrite(arrays: list[Array], values: list[Array]) -> None: ...
def pack(
    cell: int,
    use: int,
    H: int,
    w_ih: Array,
    w_hh: Array,
    b_ih: Array | None,
    b_hh: Array | None,
    units: Array | None,
    w_hr: Array | None,
    options: tuple[Any, ...] | None,
    threads: int,
) -> Array: ...
def outputs(
    packed: Array, x: Array, y: Array | None, training: bool
) -> tuple[Array, tuple[Array, ...], Array]: ...
def gradients(packed: Array, x: Array, dx: Array | None) -> tuple[Any, ...]: ...
def saved_size(
    cell: int, dtype: np.dtype[Any], I: int, H: int, T: int, B: int, options: tuple[Any, ...] | None
) -> int: ...
def is_plain(x: object, dtype: np.dtype[Any], features: int) -> bool: ...
def chained(packs: list[Array], use: int, x: Array, lengths: Array | None, threads: int) -> list[range]: ...
def forward(calls: list[tuple[Any, ...]], threads: int, chain: bool = False) -> None: ...
def backward(calls: list[tuple[Any, ...]], threads: int, chain: bool = False) -> None: ...
def run(
    packed: Array,
    x: Array,
    state0: States,
    lengths: Array | None,
    reset: Array | None,
    reverse: bool,
    mask: Array | None,
    seed: int,
    y: Array | None,
    training: bool,
    threads: int,
) -> tuple[Array, tuple[Array, ...], Array]: ...
def pull(
    packed: Array,
    x: Array,
    state0: States,
    lengths: Array | None,
    reset: Array | None,
    reverse: bool,
    mask: Array | None,
    seed: int,
    saved: Array,
    dy: Array,
    dstate: States,
    dx: Array | None,
    threads: int,
) -> tuple[Any, ...]: ...
def attention_forward(
    q: Array, k: Array, v: Array, options: tuple[Any, ...], out: Array, stats: Array | None, threads: int
) -> None: ...
def attention_weights(
    q: Array, k: Array, v: Array, options: tuple[Any, ...], stats: Array, weights: Array, threads: int
) -> None: ...
def attention_backward(
    q: Array,
    k: Array,
    v: Array,
    options: tuple[Any, ...],
    out: Array,
    stats: Array,
    dout: Array,
    dq: Array,
    dk: Array,
    dv: Array,
    threads: int,
) -> None: ...
def linear_pack(w: Array) -> Array: ...
def linear_forward(
    x: Array, w: Array, b: Array | None, y: Array, threads: int, packed: Array | None = None
) -> None: ...
def linear_backward(
    x: Array, w: Array, dy: Array, dx: Array | None, dw: Array | None, db: Array | None, threads: int
) -> None: ...
def norm_forward(
    x: Array, gain: Array, shift: Array, eps: float, y: Array, stats: Array | None, threads: int
) -> None: ...
def norm_backward(
    x: Array, gain: Array, stats: Array, dy: Array, dx: Array, dgain: Array, dshift: Array, threads: int
) -> None: ...
def update(
    rule: int,
    told: tuple[Any, ...],
    arrays: list[tuple[int, Array, Array, Array | None, Array | None, Array | None]],
    threads: int,
) -> None: ...

class Step:
    def __init__(
        self,
        packed: Array,
        dtype: np.dtype[Any],
        inputs: int,
        units: int,
        states: int,
        threads: Callable[[], int],
    ) -> None: ...
    def take(self, x: object, state: object, out: object) -> Any: ...

class Stream:
    batch: int
    inputs: int
    units: int
    itemsize: int
    def __init__(
        self, packed: list[Array], inputs: int, units: int, states: list[tuple[Array, ...]], threads: int
    ) -> None: ...
    def __call__(self, x: ArrayLike, out: Array | None = None) -> Array: ...
