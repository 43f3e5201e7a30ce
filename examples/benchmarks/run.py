"""Run the benchmarks, and write RESULTS.md from all results on record.

`make bench`       what two cores finish in 20 minutes
`make bench-full`  the update and the lengths of the targets, and every mixer: about 105 minutes on two cores
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from summarymixing_fairseq.system import command, files, processes
from summarymixing_fairseq.system.errors import InputError

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
RESULTS = HERE / "results"

# Name of the result, then the arguments of `summarymixing benchmark`.
QUICK = {
    "cell": "cell",
    "objective": "objective --repeats 7",
    "filterbank": "filterbank --repeats 9",
    "data": "data --repeats 7",
    "manifest": "manifest --repeats 1",
    "update-small": "update --config examples/pretraining/small.yaml --seconds 2",
    "length-short": "length --seconds 10 30",
    "stream": "stream --contenders all",
}
# without variants of our own, which `update-small` has
UPDATE = 'update --seconds 15 --contenders summarymixing mhsa "the paper\'s setting" "fairseq\'s wav2vec2 conformer"'
FULL = {
    "cell-mixers": "cell --contenders all --lengths 500 1500 4000",
    "update-mixers": "update --config examples/pretraining/small.yaml --seconds 2 --contenders all",
    "length-mixers": "length --config examples/pretraining/small.yaml --seconds 10 60 --contenders all",
    "update": UPDATE,
    "length": "length --seconds 10 60 300 3600 --repeats 1 --limit-seconds 600",
}
# On a GPU: the recipe's own 360 s of audio and its precision, and what else fits there.
QUICK_GPU = {
    "cell": "cell --dtype bfloat16",
    "cell-fp32": "cell",
    "objective": "objective --repeats 7",
    "update-small": "update --config examples/pretraining/small.yaml --clips 24 --precision amp",
    "length-short": "length --seconds 10 60 600 --precision bf16",
}
FULL_GPU = {
    "update": "update --clips 24 --seconds 15 --precision amp --compile",
    "update-plain": "update --clips 24 --seconds 15 --precision amp",
    "update-recompute": "update --clips 24 --seconds 15 --precision amp --recompute cheap",
    "update-long": "update --clips 12 --seconds 30 --precision amp --compile",
    "length": "length --seconds 60 300 900 3600 --precision bf16",
}
HEADER = """# Results

Written by `make bench` and `make bench-full` (`examples/benchmarks/run.py`) from `examples/benchmarks/results`. In each
round all contenders run in turn. Times are medians over the rounds. A ratio is the median over the rounds of the ratio
of two times of the same round. Peak memory is that of the contender's own process, less what it held after its imports
(on a GPU: allocated memory). "mhsa" is attention by `scaled_dot_product_attention`, with dropout 0.1 as in the recipes.
"""


def machine_folder(machine: dict[str, Any]) -> str:
    """A folder's name for results of a machine."""
    return re.sub(r"[^a-z0-9]+", "-", machine["hardware"].lower()).strip("-")


def read_results(folder: Path) -> list[dict[str, Any]]:
    """All results on record, in the order of their names."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*/*.json"))]


def render(results: Sequence[dict[str, Any]], notes: str) -> str:
    """RESULTS.md: targets first, then the tables of every machine.

    Args:
        results: of ``summarymixing benchmark --json``; notes: Markdown below the targets.
    """
    from targets import targets_table

    from summarymixing_fairseq.benchmarks.report import as_markdown, failures, provenance

    parts = [HEADER, "## Targets\n", targets_table(results) + "\n", notes.strip() + "\n"]
    for machine in sorted({result["machine"]["hardware"] for result in results}):
        parts.append(f"## {machine}\n")
        for result in results:
            if result["machine"]["hardware"] != machine:
                continue
            parts.append(f"### {result['benchmark']}\n")
            _, versions, settings, dated = provenance(result)
            date, _, typed = dated.partition(": ")
            parts.append(f"{date}, `{typed}`  \n{versions}; {settings}\n")
            parts.append(as_markdown(result) + "\n")
            if lines := failures(result):
                parts += [*(f"- {line}" for line in lines), ""]
    return "\n".join(parts)


def measure(stages: dict[str, str]) -> list[str]:
    """Run stages one after the other. Of those that fail the names are returned, and the others go on."""
    from summarymixing_fairseq.system.machine import available_threads, describe

    failed = []
    folder = RESULTS / machine_folder(describe("cuda" if _has_gpu() else "cpu", available_threads()))
    for number, (name, arguments) in enumerate(stages.items(), 1):
        print(f"[{number}/{len(stages)}] summarymixing benchmark {arguments}", flush=True)
        start = time.monotonic()
        outputs = ["--json", str(folder / f"{name}.json"), "--force"]
        call = [sys.executable, "-m", "summarymixing_fairseq", "benchmark", *shlex.split(arguments), *outputs]
        status = processes.run(call, cwd=ROOT).returncode
        if status:
            failed.append(name)
            print(f"{name}: exit status {status}; an earlier result stays", file=sys.stderr)
        print(f"{time.monotonic() - start:.0f} s\n", flush=True)
    return failed


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="the long benchmarks instead")
    parser.add_argument("--render", action="store_true", help="measure nothing: RESULTS.md and plots of what is there")
    args = parser.parse_args()
    return command.run_script(lambda: _run(args), RESULTS)


def _run(args: argparse.Namespace) -> str:
    failed = []
    if not args.render:
        quick, full = (QUICK_GPU, FULL_GPU) if _has_gpu() else (QUICK, FULL)
        failed = measure(full if args.full else quick)
    from summarymixing_fairseq.benchmarks import report

    for path in sorted(RESULTS.glob("*/*.json")):
        report.plot(json.loads(path.read_text(encoding="utf-8")), path.with_suffix(".png"))
    page = HERE / "RESULTS.md"
    with files.atomic_write(page) as file:
        file.write(render(read_results(RESULTS), (HERE / "NOTES.md").read_text(encoding="utf-8")))
    if failed:
        raise InputError(f"{page} is written; failed, and of an earlier run or not there: {', '.join(failed)}")
    return str(page)


if __name__ == "__main__":
    command.as_script(main)
