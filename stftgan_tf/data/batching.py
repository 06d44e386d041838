"""Batches of rows."""

from collections.abc import Iterator


def slices(count: int, size: int) -> Iterator[slice]:
    """Yields the slices of consecutive batches of `count` rows.

    Args:
      count: number of rows.
      size: rows in a batch; the last one may be smaller.
    """
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))
