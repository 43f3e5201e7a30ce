"""What a benchmark gives its worker: something to time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """One repetition of a contender.

    Attributes:
        run: does the work that is timed.
        warm_up: run once before; None: ``run`` itself.
        other_bytes: memory that processes of its own took in the last repetition; None: it has none.
    """

    run: Callable[[], object]
    warm_up: Callable[[], object] | None = None
    other_bytes: Callable[[], int] | None = None
