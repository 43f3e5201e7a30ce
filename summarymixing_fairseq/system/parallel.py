"""Work in parallel processes whose results come in the order of the work, however many there are.

Processes, not threads: a header scan spends its time inside calls that hold the interpreter's lock.
"""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from . import interrupts
from .errors import InputError
from .machine import available_threads

# Starting a process costs as much as some dozens of headers: fewer items are worked on in this process.
_ITEMS_PER_WORKER = 64
# Items that a process takes at a time, and that may wait for it: their results are what memory holds.
_MOST_PER_CHUNK = 64
_CHUNKS_AHEAD = 8

Item = TypeVar("Item")
Result = TypeVar("Result")


def parallel_map(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    workers: int | None,
    description: str,
    items_per_worker: int = _ITEMS_PER_WORKER,
) -> list[Result]:
    """`[function(item) for item in items]` in up to `workers` processes, with a progress bar on stderr."""
    return list(
        parallel_iter(function, items, workers=workers, description=description, items_per_worker=items_per_worker)
    )


def parallel_iter(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    workers: int | None,
    description: str,
    items_per_worker: int = _ITEMS_PER_WORKER,
    most_per_chunk: int = _MOST_PER_CHUNK,
) -> Iterator[Result]:
    """As `parallel_map`, one result after the other: only `_CHUNKS_AHEAD` chunks a process are ever held."""
    workers = min(workers or available_threads(), math.ceil(len(items) / items_per_worker))
    bar = _bar_class()(
        total=len(items),
        desc=description,
        unit="file",
        mininterval=0.5 if sys.stderr.isatty() else 10,  # a log file gets few lines
    )
    with bar:
        results = (
            map(function, items)
            if workers <= 1
            else _in_processes(function, items, workers, description, most_per_chunk)
        )
        for result in results:
            yield result
            bar.update()


def _bar_class() -> type:
    from tqdm import tqdm

    class Bar(tqdm):
        monitor_interval = 0  # no thread that watches the bars: beside a thread, processes cannot be forked

    return Bar


def _in_processes(
    function: Callable[[Item], Result], items: Sequence[Item], workers: int, description: str, most_per_chunk: int
) -> Iterator[Result]:
    from collections import deque
    from concurrent.futures import ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool

    chunk_size = max(1, min(most_per_chunk, len(items) // (4 * workers)))
    chunks = (items[start : start + chunk_size] for start in range(0, len(items), chunk_size))
    pool = ProcessPoolExecutor(workers, _process_context(), initializer=_serve)
    try:
        pending = deque()
        with interrupts.ctrl_c_blocked():  # the processes start here: this one alone answers to Ctrl-C
            for _ in range(workers):
                pending.append(pool.submit(_apply, function, next(chunks, [])))
        for chunk in chunks:
            pending.append(pool.submit(_apply, function, chunk))
            if len(pending) > _CHUNKS_AHEAD * workers:
                yield from pending.popleft().result()
        while pending:
            yield from pending.popleft().result()
    except BrokenProcessPool:
        raise InputError(f"a process died while {description}: give --workers 1, or free memory") from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _apply(function: Callable[[Item], Result], chunk: Sequence[Item]) -> list[Result]:
    return [function(item) for item in chunk]


def _serve() -> None:
    """In a process of the pool; of this module, so that a spawned one finds it."""
    interrupts.serve_parent()


def _process_context():
    """How processes start: "fork" costs milliseconds where "spawn" imports everything again, but copies locked locks.

    A process of one thread holds none, unless torch has started its own (Python does not count them).
    """
    import multiprocessing

    can_fork = sys.platform == "linux" and threading.active_count() == 1 and "torch" not in sys.modules
    return multiprocessing.get_context("fork" if can_fork else "spawn")
