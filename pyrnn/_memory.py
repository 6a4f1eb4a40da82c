"""The memory that is kept from one call to the next."""

from . import _core


def empty_cache() -> None:
    """Give the memory that is kept for further calls, 256 MiB at most, back to the system.

    Arrays of 64 KiB or more live in memory that is kept when they are gone, since fresh memory costs a call
    up to a third of its time. Arrays that are in use are not touched.
    """
    _core.empty_cache()
