"""One contender in a process of its own: built once, timed on request, with a peak memory of its own."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from contextlib import suppress
from typing import Any

from ..system import interrupts
from ..system.files import temporary_folder
from ..system.processes import resident_bytes
from ..system.strict_json import to_json

# Repetitions before the first that counts: they fill caches, set up what is lazy, and let the heap find its size.
WARM_UPS = 3
# After a repetition as long as this on a CPU, one warm-up is enough.
LONG_SECONDS = 1.0
# On a GPU a contender that is not held stays in one process all the same: a sample is the mean of so many repetitions.
GPU_REPETITIONS = 5


def serve(job: dict[str, Any], replies: Any) -> None:
    """Build the contender, then time one repetition for every line on standard input.

    Args:
        job: benchmark, contender, size, settings, device, num_threads.
        replies: file for one JSON object a line: ``{}`` when built, then ``seconds`` and ``peak_bytes`` (above what
            the process held once its libraries were imported).
    """
    import torch

    import summarymixing_fairseq

    from ..system.cpu_memory import keep_freed_memory
    from ..system.precision import allow_tf32
    from .suite import BENCHMARKS

    summarymixing_fairseq.register()
    torch.set_num_threads(job["num_threads"])
    allow_tf32(False)  # as in training; under amp the trainer allows it
    benchmark = BENCHMARKS[job["benchmark"]]
    on_gpu = job["device"] == "cuda"
    if benchmark.keep_freed_memory and not on_gpu:
        keep_freed_memory()
    if on_gpu:
        torch.cuda.init()
        torch.cuda.reset_peak_memory_stats()
    torch.manual_seed(0)
    # VmHWM starts again from what is resident now, where the kernel can
    with suppress(OSError), open("/proc/self/clear_refs", "w", encoding="ascii") as file:
        file.write("5")
    before = resident_bytes()
    step = benchmark.build(job["contender"], job["size"], job["settings"], job["device"])
    # A GPU's first repetitions pay for allocations and for the choice of kernels, whatever their length.
    for _ in range(WARM_UPS if benchmark.hold or on_gpu else 1):
        start = time.perf_counter()
        (step.warm_up or step.run)()
        is_long = time.perf_counter() - start > LONG_SECONDS
        if is_long and not on_gpu:
            break
    repetitions = GPU_REPETITIONS if on_gpu and not benchmark.hold and not is_long else 1

    def reply(**values: Any) -> None:
        print(to_json(values), file=replies, flush=True)

    reply()
    for _ in sys.stdin:
        if on_gpu:
            step.run()  # allocates again what the last sample gave back
            torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(repetitions):
            step.run()
        if on_gpu:
            torch.cuda.synchronize()
        seconds = (time.perf_counter() - start) / repetitions
        peak = torch.cuda.max_memory_allocated() if on_gpu else max(0, resident_bytes("VmHWM") - before)
        if step.other_bytes is not None:
            peak += step.other_bytes()
        if on_gpu:
            torch.cuda.empty_cache()  # the other contenders are in this GPU's memory too
        reply(seconds=seconds, peak_bytes=peak)


def main() -> None:
    """Entry point: the job is the one argument, in JSON."""
    interrupts.install()
    # replies go where standard output was; whatever a library prints goes to standard error
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    with temporary_folder("summarymixing-benchmark-") as folder:
        tempfile.tempdir = str(folder)
        try:
            serve(json.loads(sys.argv[1]), replies)
        except Exception as error:  # a contender that fails is reported in the table
            print(to_json({"failed": f"{type(error).__name__}: {error}".splitlines()[0]}), file=replies, flush=True)
            raise


if __name__ == "__main__":
    main()
