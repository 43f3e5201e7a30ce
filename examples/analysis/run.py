"""What the layers of small encoders hold: SummaryMixing, attention and random weights, before and after fine-tuning.

    python examples/analysis/run.py            # from the repository's root; `make analyse` does this

Every stage is a command that you could type yourself. It is printed first. When this is run again, each stage goes on
from what an earlier run has left.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from summarymixing_fairseq.corpora.writing.options import positive_int
from summarymixing_fairseq.system import command, interrupts
from summarymixing_fairseq.system.stages import run_stage

ROOT = Path(__file__).resolve().parents[2]
MIXERS = {"summarymixing": [], "attention": ["model.mixer=mhsa", "+model.encoder_attention_heads=4"]}


def stages(
    dest: Path, source: str, pretrain_updates: int, finetune_updates: int
) -> list[tuple[str, list[str], Path | None]]:
    """Name, command and log of each stage, in their order."""
    corpus, speech = dest / "corpus", dest / "speech"
    found: list[tuple[str, list[str], Path | None]] = [
        (
            "prompts",
            [sys.executable, "examples/corpora/asterisk.py", "--dest", str(corpus), "--source", source],
            None,
        ),
        ("timed speech", [sys.executable, "examples/corpora/timed_speech.py", "--dest", str(speech)], None),
    ]
    encoders = []
    for name, mixer in MIXERS.items():
        pretrained, finetuned = dest / name, dest / f"{name}-finetuned"
        train = ["fairseq-hydra-train", "--config-dir", "examples/pretraining", "--config-name", "quickstart"]
        train += [f"task.data={corpus / 'pretrain'}", f"checkpoint.save_dir={pretrained}", *mixer]
        train.append(f"optimization.max_update={pretrain_updates}")
        found.append((f"pre-training, {name}", train, dest / f"{name}.log"))
        encoders.append(f"{name}={pretrained / 'checkpoint_last.pt'}")
        tune = ["fairseq-hydra-train", "--config-dir", "examples/finetuning", "--config-name", "quickstart"]
        tune += [f"task.data={corpus / 'finetune'}", f"checkpoint.save_dir={finetuned}"]
        tune += [f"model.w2v_path={pretrained / 'checkpoint_last.pt'}", f"optimization.max_update={finetune_updates}"]
        found.append((f"fine-tuning, {name}", tune, dest / f"{name}-finetuned.log"))
        encoders.append(f"{name}-finetuned={finetuned / 'checkpoint_last.pt'}")
    analyse = ["summarymixing", "analyse", *encoders, "--random", "--data", str(speech), "--split", "train"]
    analyse += ["--labels", str(speech / "alignments")]
    found.append(("layers", [*analyse, "--results", str(dest / "layers")], None))
    places = ",".join(f"{layer}.{branch}" for layer in range(1, 5) for branch in ("f", "s"))
    branches = ["summarymixing", "analyse", encoders[0], "--random", "--data", str(speech), "--split", "train"]
    branches += ["--labels", str(speech / "alignments"), "--places", places, "--measures", "branches,clips,order"]
    found.append(("branches", [*branches, "--results", str(dest / "branches")], None))
    return found


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
    seconds = {
        name: run_stage(name, words, ROOT, log)
        for name, words, log in stages(dest, args.source, args.pretrain_updates, args.finetune_updates)
    }
    took = ", ".join(f"{name} {took:.0f} s" for name, took in seconds.items())
    return f"{took}\n{dest / 'layers' / 'analysis.md'}, {dest / 'branches' / 'analysis.md'}"


if __name__ == "__main__":
    command.as_script(main)
