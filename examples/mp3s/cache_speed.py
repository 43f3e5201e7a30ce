"""Time that kept features save: 20 epochs of the classification probes with and without them.

    python examples/mp3s/cache_speed.py --encoder CHECKPOINT --data mp3s-mini/data

Times are of whole trainings by fairseq-hydra-train, set-up included. Trainings with and without kept features
alternate. Those with kept features begin with an empty cache.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

from mini import OVERRIDES, ROOT

from summarymixing_fairseq.system import command, processes
from summarymixing_fairseq.system.errors import InputError
from summarymixing_fairseq.system.files import temporary_folder
from summarymixing_fairseq.system.tables import markdown_table


def train(config: str, encoder: Path, data: Path, epochs: int, cache: bool) -> float:
    """Seconds of a whole training.

    Raises:
        InputError: with the end of its log, if it fails.
    """
    overrides = [*OVERRIDES[""].split(), *OVERRIDES[config].split(), f"optimization.max_epoch={epochs}"]
    with temporary_folder("cache-speed-") as folder:
        tool = str(Path(sys.executable).with_name("fairseq-hydra-train"))
        arguments = [tool, "--config-dir", "examples/mp3s", "--config-name", config]
        arguments += [f"model.encoder_path={encoder}", f"task.data={data}", f"checkpoint.save_dir={folder}/run"]
        arguments += [f"task.cache={str(cache).lower()}", f"task.cache_dir={folder}/cache", *overrides]
        started = time.monotonic()
        done = processes.run(arguments, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        seconds = time.monotonic() - started
    if done.returncode:
        raise InputError(f"{config} failed:\n{done.stdout[-1000:]}{done.stderr[-1000:]}")
    return seconds


def main() -> int:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--encoder", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="folder of mp3s_mini.py, or of the real corpora")
    parser.add_argument("--configs", nargs="+", default=["slurp_probe1", "iemocap_probe1"], metavar="CONFIG")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    return command.run_script(lambda: measure(args))


def measure(args: argparse.Namespace) -> str:
    """The table."""
    rows = []
    for config in args.configs:
        data, encoder = args.data.resolve() / config.rpartition("_probe")[0], args.encoder.resolve()
        rounds = []
        for number in range(args.rounds):
            without, kept = (train(config, encoder, data, args.epochs, cache) for cache in (False, True))
            rounds.append((without, kept, without / kept))
            print(f"{config}, round {number + 1}: {without:.1f} s, {kept:.1f} s", file=sys.stderr)
        ratios = [ratio for *_, ratio in rounds]
        medians = (f"{statistics.median(figures):.1f}" for figures in zip(*rounds))
        rows.append((config, *medians, f"{min(ratios):.1f} to {max(ratios):.1f}"))
    return markdown_table(("configuration", "without, s", "with, s", "ratio", "range"), rows)


if __name__ == "__main__":
    command.as_script(main)
