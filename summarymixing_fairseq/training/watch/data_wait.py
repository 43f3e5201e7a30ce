"""How long training waits for its next batch."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

_MARK = "is_timed"


class WaitClock:
    """Seconds spent fetching batches from fairseq's epoch iterators."""

    def __init__(self) -> None:
        self._seconds = 0.0

    def watch(self, epoch_iterator: Any) -> None:
        """Time every fetch from an ``EpochBatchIterator``. Doing it twice is harmless."""
        original = epoch_iterator._get_iterator_for_epoch
        if getattr(original, _MARK, False):
            return

        def timed(*args: Any, **kwargs: Any) -> Any:
            iterator = original(*args, **kwargs)
            if iterator is not None:
                iterator._itr = _Timed(iterator._itr, self)
            return iterator

        setattr(timed, _MARK, True)
        epoch_iterator._get_iterator_for_epoch = timed

    def add(self, seconds: float) -> None:
        """Count a fetch."""
        self._seconds += seconds

    def take(self) -> float:
        """Seconds since the last call."""
        seconds, self._seconds = self._seconds, 0.0
        return seconds


class _Timed:
    def __init__(self, iterator: Iterator, clock: WaitClock):
        self._iterator, self._clock = iterator, clock

    def __getattr__(self, name: str) -> Any:  # fairseq's buffered iterator can be cut short
        return getattr(self._iterator, name)

    def __iter__(self) -> _Timed:
        return self

    def __next__(self) -> Any:
        started = time.perf_counter()
        try:
            return next(self._iterator)
        finally:
            self._clock.add(time.perf_counter() - started)
