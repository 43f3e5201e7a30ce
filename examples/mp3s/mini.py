"""MP3S in miniature: synthetic corpora, a small encoder pre-trained on them, and all six tasks for it and a random one.

    python examples/mp3s/mini.py            # from the repository's root; `make mp3s-mini` does this

Every stage is a command that you could type yourself. It is printed first. When this is run again, each stage goes on
from what an earlier run has left.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from summarymixing_fairseq.corpora.writing.options import positive_int
from summarymixing_fairseq.system import command, files, interrupts
from summarymixing_fairseq.system.machine import available_threads
from summarymixing_fairseq.system.stages import run_stage
from summarymixing_fairseq.system.strict_json import to_json

ROOT = Path(__file__).resolve().parents[2]

NOTE = "Figures on synthetic speech compare encoders and show that the parts work; they are not the benchmark's."
BILSTM = "model.num_layers=1 model.hidden_dim=128 optimizer.groups.head.optimizer.lr=[0.002]"
SMALL_ECAPA = "model.channels=64 model.embedding_dim=64 +model.aggregated_channels=192"
FAST = "optimizer.groups.head.optimizer.lr=[0.002]"
FASTEST = "optimizer.groups.head.optimizer.lr=[0.01]"
PLOTS = ("mp3s.png", "layers.png")
BEGIN, END = "<!-- table -->", "<!-- end of table -->"
# ContextNet is left out: with its 110 convolutions it learns nothing in the time.
TASKS = "librispeech_probe1,prompts_en_probe1,commonvoice_cy,commonvoice_eu,slurp,iemocap,voxceleb1"
# They make heads, learning rates and epochs of the benchmark's configurations fit in a minute of training on one core.
OVERRIDES = {
    "": """common.cpu=true common.log_interval=20 dataset.num_workers=0 dataset.batch_size=8 dataset.validate_interval=2
        optimizer.groups.layer_weights.optimizer.lr=[0.02]""",
    "librispeech_probe1": f"{BILSTM} optimization.max_epoch=16",
    "prompts_en_probe1": f"{BILSTM} optimization.max_epoch=30",
    "commonvoice_cy_probe1": f"{BILSTM} optimization.max_epoch=16",
    "commonvoice_eu_probe1": f"{BILSTM} optimization.max_epoch=16",
    "commonvoice_cy_probe2": f"{FASTEST} optimization.max_epoch=30",
    "commonvoice_eu_probe2": f"{FASTEST} optimization.max_epoch=30",
    "slurp_probe1": f"{FASTEST} optimization.max_epoch=40",
    "slurp_probe2": f"{FAST} optimization.max_epoch=12 model.num_layers=1 model.hidden_dim=96",
    "iemocap_probe1": f"{FASTEST} optimization.max_epoch=40",
    "iemocap_probe2": f"{FAST} optimization.max_epoch=10 {SMALL_ECAPA}",
    "voxceleb1_probe1": "optimization.max_epoch=6 model.embedding_dim=64 +model.channels=64",
    "voxceleb1_probe2": f"optimization.max_epoch=6 {SMALL_ECAPA}",
}
PRETRAINING = (
    "common.cpu=true",
    "common.log_interval=50",
    "checkpoint.save_interval_updates=200",
    "dataset.validate_interval_updates=200",
)


def stages(dest: Path, source: str, updates: int, overrides: list[str]) -> list[tuple[str, list[str]]]:
    """Name and command of each stage, in their order."""
    data, checkpoint = dest / "data", dest / "pretrained" / "checkpoint_last.pt"
    pretrain = ["fairseq-hydra-train", "--config-dir", "examples/pretraining", "--config-name", "quickstart"]
    pretrain += [f"task.data={data / 'pretrain'}", f"checkpoint.save_dir={checkpoint.parent}"]
    pretrain += [f"optimization.max_update={updates}", *PRETRAINING]
    probe = ["summarymixing", "mp3s", "--encoder", f"pretrained={checkpoint}", "--random", "--no-paper", "--note", NOTE]
    probe += ["--data", str(data), "--results", str(dest / "results"), "--jobs", str(available_threads())]
    probe += ["--device", "cpu", "--tasks", TASKS]
    own = [f"{task}:{one}" if task else one for task, several in OVERRIDES.items() for one in several.split()]
    for override in [*own, *overrides]:
        probe += ["--override", override]
    prompts = [sys.executable, "examples/corpora/asterisk.py", "--dest", str(dest / "prompts"), "--languages", "en"]
    return [
        ("synthetic corpora", [sys.executable, "examples/corpora/mp3s_mini.py", "--dest", str(data)]),
        ("English prompts", [*prompts, "--source", source]),
        ("pre-training", pretrain),
        ("probes", probe),
    ]


def publish(results: Path, here: Path) -> None:
    """Copy table and plots from `results` to HERE/results, without paths of this machine, and render the README."""
    table = json.loads((results / "mp3s.json").read_text(encoding="utf-8"))
    table["command"] = "make mp3s-mini"
    table["machine"]["system"] = table["machine"]["system"].split("-")[0]
    for encoder in table["encoders"]:
        encoder["path"] = Path(encoder["path"]).name
    published: dict[Path, str | bytes] = {here / "results" / name: (results / name).read_bytes() for name in PLOTS}
    published[here / "results" / "mp3s.json"] = to_json(table, indent=1) + "\n"
    files.write_together(published)
    render(here)


def render(here: Path) -> None:
    """Write the table of HERE/results into HERE/README.md, between its two marks."""
    from summarymixing_fairseq.probing.mp3s.table import as_markdown

    table = as_markdown(json.loads((here / "results" / "mp3s.json").read_text(encoding="utf-8")))
    readme = (here / "README.md").read_text(encoding="utf-8")
    before, after = readme.split(BEGIN)[0], readme.split(END)[1]
    table = table.removeprefix("# MP3S\n\n")
    with files.atomic_write(here / "README.md") as file:
        file.write(f"{before}{BEGIN}\n{table}{END}{after}")


def main() -> int:
    """Run all stages and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--dest", type=Path, default=ROOT / "mp3s-mini", help="folder for everything")
    parser.add_argument(
        "--source",
        choices=("auto", "apt", "synthesiser"),
        default="auto",
        help="English prompts: real ones by apt, synthesised ones, or (auto, the default) real ones if apt has them",
    )
    parser.add_argument("--updates", type=positive_int, default=1000, help="of pre-training")
    parser.add_argument("--override", action="append", default=[], metavar="[TASK:]KEY=VALUE", help="of the probes")
    parser.add_argument("--publish", action="store_true", help="only copy the results into examples/mp3s")
    args = parser.parse_args()
    interrupts.install("interrupted: run the same command again to go on")
    dest = args.dest.resolve()
    return command.run_script(lambda: _run(args, dest), dest)


def _run(args: argparse.Namespace, dest: Path) -> str:
    if args.publish:
        here = ROOT / "examples" / "mp3s"
        publish(dest / "results", here)
        return f"{here / 'README.md'} and {here / 'results'} show the results of {dest}"
    (dest / "data").mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    prompts = dest / "data" / "prompts_en"
    if not prompts.is_symlink():
        prompts.symlink_to(Path("..", "prompts", "finetune"))
    for name, stage in stages(dest, args.source, args.updates, args.override):
        seconds = run_stage(name, stage, ROOT)
        print(f"{name}: {seconds:.0f} s", flush=True)
    return f"{NOTE}\n{(time.monotonic() - started) / 60:.1f} minutes in all; tables and plots: {dest / 'results'}"


if __name__ == "__main__":
    command.as_script(main)
