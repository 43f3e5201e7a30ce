"""The quickstart: pre-train on voice prompts, fine-tune with CTC, decode, and compare with training from scratch.

    python examples/quickstart/run.py            # from the repository's root; `make quickstart` does this

Every stage is a command that you could type yourself. It is printed first. When this is run again, it skips the stages
that are done; a training that was interrupted resumes from its last checkpoint.
"""

from __future__ import annotations

import argparse
import functools
import json
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from report import write_report

from summarymixing_fairseq.corpora.writing.options import positive_int
from summarymixing_fairseq.system import command, files, interrupts
from summarymixing_fairseq.system.errors import InputError
from summarymixing_fairseq.system.progress import progress_line
from summarymixing_fairseq.system.stages import run_stage
from summarymixing_fairseq.system.strict_json import to_json
from summarymixing_fairseq.training.log_file import read_log

ROOT = Path(__file__).resolve().parents[2]
# Splits of English, by how much is labelled. With few labels it matters most what an encoder has learned without any.
LABELS = {"5min": "train_5min", "all": "train"}


@dataclass(frozen=True)
class Stage:
    """A command. For a training `max_update` is its length, and its progress is read from its log."""

    name: str
    command: list[str]
    max_update: int = 0


def stages(
    dest: Path, source: str, labels: str, seeds: Sequence[int], pretrain_updates: int, finetune_updates: int
) -> list[Stage]:
    """All stages in their order. Both models are fine-tuned from each of the seeds, on `LABELS[labels]`."""
    corpus, pretrained = dest / "corpus", dest / "pretrain" / "checkpoint_last.pt"

    def training(name: str, config_dir: str, data: str, max_update: int, *overrides: str) -> Stage:
        command = ["fairseq-hydra-train", "--config-dir", f"examples/{config_dir}", "--config-name", "quickstart"]
        command += [f"task.data={corpus / data}", f"checkpoint.save_dir={dest / name}"]
        return Stage(name, [*command, f"optimization.max_update={max_update}", *overrides], max_update)

    def decoding(model: str) -> Stage:
        name, checkpoint = f"decode_{model}", str(dest / model / "checkpoint_best.pt")
        where = ["--data", str(corpus / "finetune"), "--split", "test", "--results", str(dest / name), "--force"]
        return Stage(name, ["summarymixing", "decode", checkpoint, *where])

    asterisk = [sys.executable, "examples/corpora/asterisk.py", "--dest", str(corpus), "--source", source]
    w2v_path, random = f"model.w2v_path={pretrained}", "model.no_pretrained_weights=true"
    shared = [f"dataset.train_subset={LABELS[labels]}"]
    return [
        Stage("corpus", asterisk),
        training("pretrain", "pretraining", "pretrain", pretrain_updates),
        *(
            training(name, "finetuning", "finetune", finetune_updates, w2v_path, *own, *shared, f"common.seed={seed}")
            for seed in seeds
            for name, own in ((f"finetune_{labels}_{seed}", ()), (f"scratch_{labels}_{seed}", (random,)))
        ),
        *(decoding(f"{model}_{labels}_{seed}") for seed in seeds for model in ("finetune", "scratch")),
    ]


def describe(log: Path, max_update: int) -> str:
    """A training's progress on one line: the latest value of each figure."""
    latest = {key: value for record in read_log(log) for key, value in record.items()}
    names = {"loss": "loss", "accuracy": "accuracy", "code_perplexity": "perplexity", "valid_uer": "valid CER %"}
    figures = [f"{label} {latest[key]}" for key, label in names.items() if key in latest]
    return ", ".join([f"update {int(latest.get('num_updates', 0))}/{max_update}", *figures])


def follow(process: subprocess.Popen, log: Path, max_update: int) -> None:
    """Show a training's progress until it ends."""
    show = progress_line()
    while process.poll() is None:
        time.sleep(1.0)
        show(describe(log, max_update))
    show("")


def run_once(stage: Stage, dest: Path) -> dict[str, Any]:
    """Run a stage unless it is done, and return its command, seconds and peak memory.

    Raises:
        InputError: if the stage fails, or was done with other options.
    """
    done, log = dest / f"{stage.name}.done.json", dest / f"{stage.name}.log"
    if done.exists():
        record: dict[str, Any] = json.loads(done.read_text(encoding="utf-8"))
        if record["command"] != stage.command:
            raise InputError(f"{dest} was made with other options: give another --dest, or delete it")
        print(f"{stage.name}: done before, {record['seconds']:.0f} s", flush=True)
        return record
    if stage.max_update:
        show = functools.partial(follow, log=log, max_update=stage.max_update)
        seconds = run_stage(stage.name, stage.command, ROOT, log, show)
    else:  # these commands draw their own progress bars
        seconds = run_stage(stage.name, stage.command, ROOT)
    # the largest child process so far: the peak of all stages up to this one
    peak_mib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    record = {"command": stage.command, "seconds": seconds, "peak_mib": peak_mib}
    with files.atomic_write(done) as file:
        file.write(to_json(record, indent=2))
    return record


def main() -> int:
    """Run all stages and write the report."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--dest", type=Path, default=ROOT / "quickstart", help="folder for everything (default: quickstart)"
    )
    parser.add_argument(
        "--source",
        choices=("auto", "apt", "synthesiser"),
        default="auto",
        help="real prompts by apt, synthesised speech, or (auto, the default) real ones if apt has them",
    )
    parser.add_argument(
        "--labels", choices=LABELS, default="5min", help="of English to fine-tune on: 5 minutes, or all 16 (all)"
    )
    parser.add_argument("--seeds", type=positive_int, default=3, help="fine-tunings of each model (default: 3)")
    parser.add_argument("--pretrain-updates", type=int, default=1200)
    parser.add_argument("--finetune-updates", type=int, default=300)
    args = parser.parse_args()
    interrupts.install("interrupted: run the same command again to go on")
    dest = args.dest.resolve()
    return command.run_script(lambda: _run(args, dest), dest)


def _run(args: argparse.Namespace, dest: Path) -> str:
    seeds = range(1, args.seeds + 1)
    todo = stages(dest, args.source, args.labels, seeds, args.pretrain_updates, args.finetune_updates)
    table = write_report(dest, LABELS[args.labels], {stage.name: run_once(stage, dest) for stage in todo})
    return f"{table}\nreport: {dest / 'report.md'}, curves: {dest / 'curves.png'}"


if __name__ == "__main__":
    command.as_script(main)
