"""The quickstart: pre-train on voice prompts, fine-tune with CTC, decode, and compare with training from scratch.

    python examples/quickstart/run.py            # from the repository's root; `make quickstart` does this

Every stage is a command that you could type yourself. It is printed first. When this is run again, it skips the stages
that are done; a training that was interrupted resumes from its last checkpoint.
"""

from __future__ import annotations

import argparse
import json
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
from summarymixing_fairseq.system.jobs import Job, Messages, peaks_mib, run_jobs
from summarymixing_fairseq.system.stages import run_beside, run_stage
from summarymixing_fairseq.system.strict_json import to_json
from summarymixing_fairseq.training.log_file import read_log

ROOT = Path(__file__).resolve().parents[2]
# Splits of English, by how much is labelled. With few labels it matters most what an encoder has learned without any.
LABELS = {"5min": "train_5min", "all": "train"}


@dataclass(frozen=True)
class Stage:
    """A command.

    Attributes:
        output: file that it writes last.
        max_update: a training's length; its progress is read from its log.
        after: file that has to be there before.
    """

    name: str
    command: list[str]
    output: Path
    max_update: int = 0
    after: Path | None = None


def kept_as(dest: Path, stage: str) -> Path:
    """The file that says that a stage is done."""
    return dest / f"{stage}.done.json"


def stages(
    dest: Path, source: str, labels: str, seeds: Sequence[int], pretrain_updates: int, finetune_updates: int
) -> tuple[Stage, list[list[Stage]]]:
    """The corpus, and what is made of it: lists of stages one after the other, of which two run side by side.

    Both models are fine-tuned from each of the seeds, on `LABELS[labels]`.
    """
    corpus, pretrained = dest / "corpus", dest / "pretrain" / "checkpoint_last.pt"

    def training(
        name: str, config_dir: str, data: str, max_update: int, *overrides: str, after: Path | None = None
    ) -> Stage:
        command = ["fairseq-hydra-train", "--config-dir", f"examples/{config_dir}", "--config-name", "quickstart"]
        command += [f"task.data={corpus / data}", f"checkpoint.save_dir={dest / name}"]
        command += [f"optimization.max_update={max_update}", *overrides]
        return Stage(name, command, dest / name / "checkpoint_last.pt", max_update, after)

    def fine_tuning(model: str, seed: int, after: Path, *overrides: str) -> list[Stage]:
        name = f"{model}_{labels}_{seed}"
        shared = [f"model.w2v_path={pretrained}", f"dataset.train_subset={LABELS[labels]}", f"common.seed={seed}"]
        where = ["--data", str(corpus / "finetune"), "--split", "test", "--results", str(dest / f"decode_{name}")]
        decode = ["summarymixing", "decode", str(dest / name / "checkpoint_best.pt"), *where, "--force"]
        return [
            training(name, "finetuning", "finetune", finetune_updates, *shared, *overrides, after=after),
            Stage(f"decode_{name}", decode, dest / f"decode_{name}" / "scores.json"),
        ]

    asterisk = [sys.executable, "examples/corpora/asterisk.py", "--dest", str(corpus), "--source", source]
    return Stage("corpus", asterisk, corpus / "LICENSES.txt"), [
        [training("pretrain", "pretraining", "pretrain", pretrain_updates)],
        # of the checkpoint they take the model's configuration alone, which the first one saved has
        *(fine_tuning("scratch", seed, pretrained, "model.no_pretrained_weights=true") for seed in seeds),
        *(fine_tuning("finetune", seed, kept_as(dest, "pretrain")) for seed in seeds),
    ]


def describe(log: Path, max_update: int) -> str:
    """A training's progress on one line: the latest value of each figure."""
    latest = {key: value for record in read_log(log) for key, value in record.items()}
    names = {"loss": "loss", "accuracy": "accuracy", "code_perplexity": "perplexity", "valid_uer": "valid CER %"}
    figures = [f"{label} {latest[key]:g}" for key, label in names.items() if key in latest]
    return ", ".join([f"update {int(latest.get('num_updates', 0))}/{max_update}", *figures])


def done_before(stage: Stage, dest: Path) -> dict[str, Any] | None:
    """What is kept of a stage that is done, which is printed, else None.

    Raises:
        InputError: if it was done with other options.
    """
    done = kept_as(dest, stage.name)
    if not done.exists():
        return None
    record: dict[str, Any] = json.loads(done.read_text(encoding="utf-8"))
    if record["command"] != stage.command:
        raise InputError(f"{dest} was made with other options: give another --dest, or delete it")
    print(f"{stage.name}: done before, {record['seconds']:.0f} s", flush=True)
    return record


def keep(stage: Stage, dest: Path, seconds: float, peak_mib: int | None) -> dict[str, Any]:
    """Keep that a stage is done: its command, seconds and peak memory (None: not measured)."""
    record = {"command": stage.command, "seconds": seconds, "peak_mib": peak_mib}
    with files.atomic_write(kept_as(dest, stage.name)) as file:
        file.write(to_json(record, indent=2))
    return record


def job(todo: Sequence[Stage], dest: Path, records: dict[str, dict[str, Any]]) -> Job:
    """Run stages one after the other, each unless it is done, and put what is kept of each into `records`.

    Raises:
        InputError: if a stage fails, or was done with other options.
    """
    for stage in todo:
        log = dest / f"{stage.name}.log"

        def progress(stage: Stage = stage, log: Path = log) -> str:
            return (
                f"{stage.name}, {describe(log, stage.max_update)}" if stage.max_update and log.exists() else stage.name
            )

        if (record := done_before(stage, dest)) is None:
            while stage.after and not stage.after.exists():
                yield progress
            seconds = yield from run_beside(stage.name, stage.command, stage.output, ROOT, log, progress)
            print(f"{stage.name}: {seconds:.0f} s", flush=True)
            record = keep(stage, dest, seconds, max(peaks_mib(log), default=0))
        records[stage.name] = record


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
    parser.add_argument("--pretrain-updates", type=positive_int, default=1200)
    parser.add_argument("--finetune-updates", type=positive_int, default=300)
    args = parser.parse_args()
    interrupts.install("interrupted: run the same command again to go on")
    dest = args.dest.resolve()
    return command.run_script(lambda: _run(args, dest), dest)


def _run(args: argparse.Namespace, dest: Path) -> str:
    seeds = range(1, args.seeds + 1)
    corpus, jobs = stages(dest, args.source, args.labels, seeds, args.pretrain_updates, args.finetune_updates)
    began = time.monotonic()
    # it draws its own progress bars
    made = done_before(corpus, dest) or keep(corpus, dest, run_stage(corpus.name, corpus.command, ROOT), None)
    records = {corpus.name: made}
    run_jobs([job(todo, dest, records) for todo in jobs], 2, Messages())
    print(f"all stages: {(time.monotonic() - began) / 60:.1f} minutes", flush=True)
    planned = [corpus.name, *(stage.name for todo in jobs for stage in todo)]  # they end in any order
    table = write_report(dest, LABELS[args.labels], {name: records[name] for name in planned})
    return f"{table}\nreport: {dest / 'report.md'}, curves: {dest / 'curves.png'}"


if __name__ == "__main__":
    command.as_script(main)
