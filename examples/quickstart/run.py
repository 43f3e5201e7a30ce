"""The quickstart: pre-train on voice prompts, fine-tune with CTC, decode, and compare with training from scratch.

    python examples/quickstart/run.py            # from the repository's root; `make quickstart` does this

Every stage runs a command that you could type yourself, printed first. A stage that is done is skipped when this is run
again; one that was interrupted resumes from its last checkpoint.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from curves import read_log
from report import write_report

from summarymixing_fairseq.system import command, files, interrupts, processes
from summarymixing_fairseq.system.errors import InputError

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Stage:
    """A command, and how it is shown while it runs."""

    name: str
    command: list[str]
    max_update: int = 0  # of a training stage: its log is followed


def tool(name: str) -> str:
    """Path of a console script of this environment."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise InputError(f"{name} is not installed: run `make quickstart`, or pip install -e '.[quickstart]'")
    return found


def stages(dest: Path, source: str, pretrain_updates: int, finetune_updates: int) -> list[Stage]:
    """All stages in their order."""
    corpus, train, decode = dest / "corpus", tool("fairseq-hydra-train"), [tool("summarymixing"), "decode"]
    pretrained = dest / "pretrain" / "checkpoint_last.pt"

    def training(name: str, config_dir: str, data: str, max_update: int, *overrides: str) -> Stage:
        command = [train, "--config-dir", f"examples/{config_dir}", "--config-name", "quickstart"]
        command += [f"task.data={corpus / data}", f"checkpoint.save_dir={dest / name}"]
        return Stage(name, [*command, f"optimization.max_update={max_update}", *overrides], max_update)

    def decoding(name: str, model: str) -> Stage:
        checkpoint = str(dest / model / "checkpoint_last.pt")
        where = ["--data", str(corpus / "finetune"), "--split", "test", "--results", str(dest / name), "--force"]
        return Stage(name, [*decode, checkpoint, *where])

    asterisk = [sys.executable, "examples/corpora/asterisk.py", "--dest", str(corpus), "--source", source]
    w2v_path = f"model.w2v_path={pretrained}"
    random = "model.no_pretrained_weights=true"
    return [
        Stage("corpus", asterisk),
        training("pretrain", "pretraining", "pretrain", pretrain_updates),
        training("finetune", "finetuning", "finetune", finetune_updates, w2v_path),
        training("scratch", "finetuning", "finetune", finetune_updates, w2v_path, random),
        decoding("decode_finetune", "finetune"),
        decoding("decode_scratch", "scratch"),
    ]


def describe(records: list[dict[str, float]], max_update: int) -> str:
    """One line of a training's progress: the last value of each figure."""
    latest = {key: value for record in records for key, value in record.items()}
    names = {"loss": "loss", "accuracy": "accuracy", "code_perplexity": "perplexity", "valid_uer": "valid CER %"}
    figures = [f"{label} {latest[key]:g}" for key, label in names.items() if key in latest]
    return ", ".join([f"update {int(latest['num_updates'])}/{max_update}", *figures])


def follow(process: subprocess.Popen, log: Path, max_update: int) -> None:
    """Print the progress of a training until its process ends: in place on a terminal, now and then elsewhere."""
    last_shown, last_time = "", 0.0
    while process.poll() is None:
        time.sleep(1.0)
        records = read_log(log) if max_update else []
        line = describe(records, max_update) if records else "starting"
        if sys.stdout.isatty():
            print(f"\r  {line:<100}", end="", flush=True)
        elif line != last_shown and time.monotonic() - last_time > 30:
            print(f"  {line}", flush=True)
            last_time = time.monotonic()
        last_shown = line
    if sys.stdout.isatty():
        print()


def run_stage(stage: Stage, dest: Path) -> dict[str, float]:
    """Run a stage unless it is done, and return its seconds and peak memory.

    Raises:
        InputError: if the command fails, the end of its log having been printed; or if it is done with other options.
    """
    done, log = dest / f"{stage.name}.done.json", dest / f"{stage.name}.log"
    if done.exists():
        record = json.loads(done.read_text(encoding="utf-8"))
        if record["command"] == stage.command:
            print(f"{stage.name}: done before, {record['seconds']:.0f} s", flush=True)
            return record
        raise InputError(f"{dest} was made with other options: give another --dest, or delete it")
    print(f"{stage.name}: {' '.join(stage.command)}", flush=True)
    started = time.monotonic()
    quiet = bool(stage.max_update)  # fairseq's log is for the file; other commands draw their own progress bar
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONWARNINGS": "ignore"}
    # batches of ever other shapes fragment glibc's heap: with large tensors mapped instead, memory stops growing
    environment.setdefault("MALLOC_MMAP_THRESHOLD_", str(4 << 20))
    with open(log, "a", encoding="utf-8") as file:
        output = {"stdout": file, "stderr": subprocess.STDOUT} if quiet else {}
        with processes.started(stage.command, cwd=ROOT, env=environment, **output) as process:
            if quiet:
                follow(process, log, stage.max_update)
            status = process.wait()
    if status:
        if quiet:
            print("\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:]), file=sys.stderr)
        raise InputError(f"{stage.name} failed with status {status}" + (f"; its log is {log}" if quiet else ""))
    # the kernel keeps the largest child of this process so far: what any stage up to here has needed
    peak_mib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    record = {"command": stage.command, "seconds": time.monotonic() - started, "peak_mib": peak_mib}
    with files.atomic_write(done) as file:
        json.dump(record, file, indent=2)
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
        help="real prompts by apt, synthesised speech, or real where apt can be had (default)",
    )
    parser.add_argument("--pretrain-updates", type=int, default=1400)
    parser.add_argument("--finetune-updates", type=int, default=500)
    args = parser.parse_args()
    interrupts.install("interrupted: run the same command again to go on")
    dest = args.dest.resolve()
    return command.run_script(lambda: _run(args, dest), dest)


def _run(args: argparse.Namespace, dest: Path) -> str:
    todo = stages(dest, args.source, args.pretrain_updates, args.finetune_updates)
    table = write_report(dest, {stage.name: run_stage(stage, dest) for stage in todo})
    return f"{table}\nreport: {dest / 'report.md'}, curves: {dest / 'curves.png'}"


if __name__ == "__main__":
    command.as_script(main)
