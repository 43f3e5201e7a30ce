"""What the layers of small encoders hold: SummaryMixing, attention and random weights, before and after fine-tuning.

    python examples/analysis/run.py            # from the repository's root; `make analyse` does this

Every stage is a command that you could type yourself. It is printed first. When this is run again, each stage goes on
from what an earlier run has left.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from summarymixing_fairseq.corpora.writing.options import positive_int
from summarymixing_fairseq.system import command, interrupts
from summarymixing_fairseq.system.jobs import Job, Messages, run_jobs
from summarymixing_fairseq.system.stages import run_beside, run_stage

ROOT = Path(__file__).resolve().parents[2]
MIXERS = {"summarymixing": [], "attention": ["model.mixer=mhsa", "+model.encoder_attention_heads=4"]}


@dataclass(frozen=True)
class Stage:
    """A command, and the file that it writes last."""

    name: str
    command: list[str]
    output: Path


def speech(dest: Path, source: str) -> dict[str, list[str]]:
    """Commands that make what is heard: prompts to train on, and speech with exact times to look at layers with."""
    return {
        "prompts": [
            *(sys.executable, "examples/corpora/asterisk.py"),
            *("--dest", str(dest / "corpus"), "--source", source),
        ],
        "timed speech": [sys.executable, "examples/corpora/timed_speech.py", "--dest", str(dest / "speech")],
    }


def trainings(dest: Path, pretrain_updates: int, finetune_updates: int) -> list[list[Stage]]:
    """Of each mixer pre-training and fine-tuning, one after the other."""

    def training(name: str, config_dir: str, data: str, updates: int, *overrides: str) -> Stage:
        command = ["fairseq-hydra-train", "--config-dir", f"examples/{config_dir}", "--config-name", "quickstart"]
        command += [f"task.data={dest / 'corpus' / data}", f"checkpoint.save_dir={dest / name}"]
        command += [f"optimization.max_update={updates}", *overrides]
        return Stage(name, command, dest / name / "checkpoint_last.pt")

    found = []
    for name, mixer in MIXERS.items():
        first = training(name, "pretraining", "pretrain", pretrain_updates, *mixer)
        begun = f"model.w2v_path={first.output}"
        found.append([first, training(f"{name}-finetuned", "finetuning", "finetune", finetune_updates, begun)])
    return found


def analyses(dest: Path, encoders: list[Stage]) -> list[Stage]:
    """A look into the layers of all encoders, and into the branches of the first."""
    named = [f"{encoder.name}={encoder.output}" for encoder in encoders]
    clips = ["--random", "--data", str(dest / "speech"), "--split", "train"]
    clips += ["--labels", str(dest / "speech" / "alignments")]
    places = ",".join(f"{layer}.{branch}" for layer in range(1, 5) for branch in ("f", "s"))
    branches = ["--places", places, "--measures", "clips,order"]

    def analysis(name: str, *arguments: str) -> Stage:
        command = ["summarymixing", "analyse", *arguments, "--results", str(dest / name)]
        return Stage(name, command, dest / name / "analysis.md")

    return [analysis("layers", *named, *clips), analysis("branches", named[0], *clips, *branches)]


def run(todo: list[Stage], dest: Path, seconds: dict[str, float]) -> Job:
    """Run stages one after the other, and note how long each took."""
    for stage in todo:
        seconds[stage.name] = yield from run_beside(
            stage.name, stage.command, stage.output, ROOT, dest / f"{stage.name}.log", lambda name=stage.name: name
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
    looks = analyses(dest, [stage for todo in mixers for stage in todo])
    for jobs in (mixers, [[look] for look in looks]):
        run_jobs([run(todo, dest, seconds) for todo in jobs], len(jobs), Messages())
    took = ", ".join(f"{name} {took:.0f} s" for name, took in seconds.items())
    pages = f"{dest / 'layers' / 'analysis.md'}, {dest / 'branches' / 'analysis.md'}"
    return f"{took}; {(time.monotonic() - began) / 60:.1f} minutes in all\n{pages}"


if __name__ == "__main__":
    command.as_script(main)
