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

LABELS = {"slurp": "scenario", "iemocap": "emotion"}


def take_rows(source: Path, dest: Path, labels: str, num_clips: int | None) -> None:
    """Copy a folder of manifests: all clips, or the first of train and a quarter as many of valid."""
    dest.mkdir()
    (dest / f"dict.{labels}.txt").write_bytes((source / f"dict.{labels}.txt").read_bytes())
    for split, share in (("train", 1), ("valid", 4)):
        for extension, header in (("tsv", 1), (labels, 0)):
            lines = (source / f"{split}.{extension}").read_text(encoding="utf-8").splitlines(keepends=True)
            kept = lines if num_clips is None else lines[: num_clips // share + header]
            (dest / f"{split}.{extension}").write_text("".join(kept), encoding="utf-8")


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
    parser.add_argument("--clips", type=int, help="clips of train, and a quarter as many of valid (default: all)")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    return command.run_script(lambda: measure(args))


def measure(args: argparse.Namespace) -> str:
    """Print the table row by row; there is nothing left to print at the end."""
    print("| configuration | without, s | with, s | ratio | range |\n|---|---|---|---|---|")
    for config in args.configs:
        task = config.rpartition("_probe")[0]
        with temporary_folder("cache-speed-") as folder:
            data = folder / task
            take_rows(args.data / task, data, LABELS[task], args.clips)
            rounds = []
            for number in range(args.rounds):
                seconds = {
                    cache: train(config, args.encoder.resolve(), data, args.epochs, bool(cache)) for cache in (0, 1)
                }
                rounds.append(seconds)
                print(f"round {number + 1}: {seconds[0]:.1f} s, {seconds[1]:.1f} s", file=sys.stderr)
        ratios = [seconds[0] / seconds[1] for seconds in rounds]
        medians = [statistics.median(seconds[cache] for seconds in rounds) for cache in (0, 1)]
        print(
            f"| {config} | {medians[0]:.1f} | {medians[1]:.1f} | {statistics.median(ratios):.1f} | "
            f"{min(ratios):.1f} to {max(ratios):.1f} |",
            flush=True,
        )
    return ""


if __name__ == "__main__":
    command.as_script(main)
