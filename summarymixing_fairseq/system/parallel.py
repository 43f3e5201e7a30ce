"""Work in parallel processes. Results come in the order of the items, however many processes there are.

Processes and not threads: reading an audio header holds the interpreter's lock most of the time.
"""

from __future__ import annotations

import math
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

from . import interrupts
from .errors import InputError
from .machine import available_threads

if TYPE_CHECKING:
    from concurrent.futures import Future
    from multiprocessing.context import BaseContext

# To start a process takes as long as some dozens of headers: fewer items are worked on in this process.
_ITEMS_PER_WORKER = 64
# Items that a process takes at a time, and chunks that may wait for it: memory holds their results.
_MOST_PER_CHUNK = 64
_CHUNKS_AHEAD = 8

Item = TypeVar("Item")
Result = TypeVar("Result")


def parallel_iter(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    workers: int | None,
    description: str,
    items_per_worker: int = _ITEMS_PER_WORKER,
    most_per_chunk: int = _MOST_PER_CHUNK,
) -> Generator[Result, None, None]:
    """``map(function, items)`` in several processes, with a progress bar on stderr.

    Args:
        function: a function of a module, so that a process can find it.
        workers: processes at most (None: one for each CPU); description: of the work, for the bar and for errors.
        items_per_worker: fewer items than this are not worth a process; most_per_chunk: items sent at a time.

    Raises:
        InputError: if a process dies.
    """
    from tqdm import tqdm

    class Bar(tqdm):
        monitor_interval = 0  # no thread that watches the bars: processes cannot be forked beside a thread

    workers = min(workers or available_threads(), math.ceil(len(items) / items_per_worker))
    # a log file gets few lines
    interval = 0.5 if sys.stderr.isatty() else 10
    with Bar(total=len(items), desc=description, unit="file", mininterval=interval) as bar:
        results: Iterator[Result] = map(function, items)
        if workers > 1:
            results = _in_processes(function, items, workers, description, most_per_chunk)
        for result in results:
            yield result
            bar.update()


def _in_processes(
    function: Callable[[Item], Result], items: Sequence[Item], workers: int, description: str, most_per_chunk: int
) -> Iterator[Result]:
    # imported here: they slow the start of every command, and most commands do without
    from concurrent.futures import ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool

    chunk_size = max(1, min(most_per_chunk, len(items) // (4 * workers)))
    chunks = (items[start : start + chunk_size] for start in range(0, len(items), chunk_size))
    pool = ProcessPoolExecutor(workers, _process_context(), initializer=_serve)
    pending: deque[Future[list[Result]]] = deque()
    try:
        # The processes start here and inherit the mask: the terminal's Ctrl-C is for this process, which ends them.
        earlier = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            for _ in range(workers):
                pending.append(pool.submit(_apply, function, next(chunks, [])))
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, earlier)
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
    """In a process of the pool: end on a signal without a line, and when the parent ends."""
    import multiprocessing

    for number in interrupts.SIGNALS:
        signal.signal(number, interrupts.end)
    parent = multiprocessing.parent_process()
    if parent is None:
        return  # this process has not been started by another one

    def follow_parent() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow_parent, daemon=True).start()


def _process_context() -> BaseContext:
    """How processes start. "fork" takes milliseconds; "spawn" imports everything again.

    A fork beside another thread may copy a lock that nobody will release. So there is a fork only where this process
    has one thread and has not imported torch, whose threads Python does not count.
    """
    import multiprocessing

    can_fork = sys.platform == "linux" and threading.active_count() == 1 and "torch" not in sys.modules
    return multiprocessing.get_context("fork" if can_fork else "spawn")
