"""What the layers of small encoders hold: SummaryMixing, attention and random weights, before and after fine-tuning.

    python examples/analysis/run.py            # from the repository's root; `make analyse` does this

Every stage is a command that you could type yourself. It is printed first. When this is run again, each stage goes on
from what an earlier run has left.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from summarymixing_fairseq.corpora.writing.options import positive_int
from summarymixing_fairseq.system import command, interrupts
from summarymixing_fairseq.system.jobs import Job, Messages, run_jobs, run_process
from summarymixing_fairseq.system.stages import environment, run_stage

ROOT = Path(__file__).resolve().parents[2]
MIXERS = {"summarymixing": [], "attention": ["model.mixer=mhsa", "+model.encoder_attention_heads=4"]}


@dataclass(frozen=True)
class Training:
    """A training's name, command, and the checkpoint that it ends with."""

    name: str
    command: list[str]
    checkpoint: Path


def speech(dest: Path, source: str) -> dict[str, list[str]]:
    """Commands that make what is heard: prompts to train on, and speech with exact times to look at layers with."""
    return {
        "prompts": [
            *(sys.executable, "examples/corpora/asterisk.py"),
            *("--dest", str(dest / "corpus"), "--source", source),
        ],
        "timed speech": [sys.executable, "examples/corpora/timed_speech.py", "--dest", str(dest / "speech")],
    }


def trainings(dest: Path, pretrain_updates: int, finetune_updates: int) -> list[list[Training]]:
    """Of each mixer pre-training and fine-tuning, one after the other."""

    def training(name: str, config_dir: str, data: str, updates: int, *overrides: str) -> Training:
        command = ["fairseq-hydra-train", "--config-dir", f"examples/{config_dir}", "--config-name", "quickstart"]
        command += [f"task.data={dest / 'corpus' / data}", f"checkpoint.save_dir={dest / name}"]
        command += [f"optimization.max_update={updates}", *overrides]
        return Training(name, command, dest / name / "checkpoint_last.pt")

    found = []
    for name, mixer in MIXERS.items():
        first = training(name, "pretraining", "pretrain", pretrain_updates, *mixer)
        begun = f"model.w2v_path={first.checkpoint}"
        found.append([first, training(f"{name}-finetuned", "finetuning", "finetune", finetune_updates, begun)])
    return found


def analyses(dest: Path, encoders: list[Training]) -> dict[str, list[str]]:
    """Commands that look into the layers of all encoders, and into the branches of the first."""
    named = [f"{encoder.name}={encoder.checkpoint}" for encoder in encoders]
    clips = ["--random", "--data", str(dest / "speech"), "--split", "train"]
    clips += ["--labels", str(dest / "speech" / "alignments")]
    places = ",".join(f"{layer}.{branch}" for layer in range(1, 5) for branch in ("f", "s"))
    branches = ["--places", places, "--measures", "branches,clips,order"]
    analyse = ["summarymixing", "analyse"]
    return {
        "layers": [*analyse, *named, *clips, "--results", str(dest / "layers")],
        "branches": [*analyse, named[0], *clips, *branches, "--results", str(dest / "branches")],
    }


def train(todo: list[Training], dest: Path, seconds: dict[str, float]) -> Job:
    """Run trainings one after the other, each with one thread, and note how long each took."""
    one_thread = {**environment(), "OMP_NUM_THREADS": "1"}
    for one in todo:
        print(f"{one.name}: {shlex.join(one.command)}", flush=True)
        log = dest / f"{one.name}.log"
        seconds[one.name] = yield from run_process(
            one.command, one.checkpoint, log, ROOT, one_thread, (), lambda name=one.name: name
        )


def main() -> int:
    """Run all stages."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--dest", type=Path, default=ROOT / "analysis", help="folder for everything (default: analysis)"
    )
    parser.add_argument(
        "--source",
        choices=("auto", "apt", "synthesiser"),
        default="auto",
        help="real prompts by apt, synthesised speech, or (auto, the default) real ones if apt has them",
    )
    parser.add_argument("--pretrain-updates", type=positive_int, default=400)
    parser.add_argument("--finetune-updates", type=positive_int, default=100)
    args = parser.parse_args()
    interrupts.install("interrupted: run the same command again to go on")
    dest = args.dest.resolve()
    return command.run_script(lambda: _run(args, dest), dest)


def _run(args: argparse.Namespace, dest: Path) -> str:
    dest.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    seconds = {name: run_stage(name, words, ROOT) for name, words in speech(dest, args.source).items()}
    mixers = trainings(dest, args.pretrain_updates, args.finetune_updates)
    run_jobs([train(todo, dest, seconds) for todo in mixers], len(mixers), Messages())
    for name, words in analyses(dest, [one for todo in mixers for one in todo]).items():
        seconds[name] = run_stage(name, words, ROOT)
    took = ", ".join(f"{name} {took:.0f} s" for name, took in seconds.items())
    pages = f"{dest / 'layers' / 'analysis.md'}, {dest / 'branches' / 'analysis.md'}"
    return f"{took}; {(time.monotonic() - began) / 60:.1f} minutes in all\n{pages}"


if __name__ == "__main__":
    command.as_script(main)
