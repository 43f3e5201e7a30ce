"""MP3S in miniature: synthetic corpora, a small encoder pre-trained on them, and all six tasks for it and a random one.

    python examples/mp3s/mini.py            # from the repository's root; `make mp3s-mini` does this

Every stage runs a command that you could type yourself, printed first, and takes up what an earlier run left behind.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import sys
import time
from pathlib import Path

from summarymixing_fairseq.system import command, files, interrupts, processes
from summarymixing_fairseq.system.errors import InputError

ROOT = Path(__file__).resolve().parents[2]


NOTE = "Figures on synthetic speech compare encoders and prove the machinery; they are not the benchmark's."
BILSTM = "model.num_layers=1 model.hidden_dim=128 optimizer.groups.head.optimizer.lr=[0.002]"
SMALL_ECAPA = "model.channels=64 model.embedding_dim=64 +model.aggregated_channels=192"
FAST = "optimizer.groups.head.optimizer.lr=[0.002]"
FASTEST = "optimizer.groups.head.optimizer.lr=[0.01]"
PLOTS = ("mp3s.png", "layers.png")
BEGIN, END = "<!-- table -->", "<!-- end of table -->"
# What fits in the time: ContextNet, with its 110 convolutions, does not.
TASKS = "librispeech_probe1,prompts_en_probe1,commonvoice_cy,commonvoice_eu,slurp,iemocap,voxceleb1"
# The benchmark's configurations with heads, rates and epochs for a minute of training on one core.
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


def tool(name: str) -> str:
    """Path of a console script of this environment."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise InputError(f"{name} is not installed: run `make mp3s-mini`, or pip install -e '.[quickstart]'")
    return found


def stages(dest: Path, source: str, updates: int, overrides: list[str]) -> list[tuple[str, list[str]]]:
    """Name and command of each stage, in their order."""
    data, checkpoint = dest / "data", dest / "pretrained" / "checkpoint_last.pt"
    pretrain = [tool("fairseq-hydra-train"), "--config-dir", "examples/pretraining", "--config-name", "quickstart"]
    pretrain += [f"task.data={data / 'pretrain'}", f"checkpoint.save_dir={checkpoint.parent}"]
    pretrain += [f"optimization.max_update={updates}", *PRETRAINING]
    probe = [tool("summarymixing"), "mp3s", "--encoder", f"pretrained={checkpoint}", "--random"]
    probe += ["--no-paper", "--note", NOTE]
    probe += ["--data", str(data), "--results", str(dest / "results"), "--jobs", str(os.cpu_count() or 1)]
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


def run_stage(name: str, command: list[str], log: Path | None) -> None:
    """Run a command; what a training prints goes to its log.

    Raises:
        InputError: if the command fails; the end of its log has been printed.
    """
    print(f"{name}: {shlex.join(command)}", flush=True)
    started = time.monotonic()
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONWARNINGS": "ignore"}
    # batches of ever other shapes fragment glibc's heap: with large tensors mapped instead, memory stops growing
    environment.setdefault("MALLOC_MMAP_THRESHOLD_", str(4 << 20))
    if log is None:
        status = processes.run(command, cwd=ROOT, env=environment).returncode
    else:
        with open(log, "a", encoding="utf-8") as file:
            status = processes.run(command, cwd=ROOT, env=environment, stdout=file, stderr=file).returncode
    if status:
        if log is not None:
            print("\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:]), file=sys.stderr)
        raise InputError(f"{name} failed with status {status}" + (f"; its log is {log}" if log else ""))
    print(f"{name}: {time.monotonic() - started:.0f} s", flush=True)


def publish(results: Path, here: Path) -> None:
    """Put table and plots on record beside this file, without the paths of this machine."""
    table = json.loads((results / "mp3s.json").read_text(encoding="utf-8"))
    table["command"] = "make mp3s-mini"
    table["machine"]["system"] = table["machine"]["system"].split("-with-")[0].split("-")[0]
    for encoder in table["encoders"]:
        encoder["path"] = Path(encoder["path"]).name
    published = {here / "results" / name: (results / name).read_bytes() for name in PLOTS}
    published[here / "results" / "mp3s.json"] = json.dumps(table, indent=1, ensure_ascii=False) + "\n"
    files.write_together(published)
    render(here)


def render(here: Path) -> None:
    """Write the table on record into the README, between its marks."""
    from summarymixing_fairseq.probing.mp3s.table import as_markdown

    table = as_markdown(json.loads((here / "results" / "mp3s.json").read_text(encoding="utf-8")))
    readme = (here / "README.md").read_text(encoding="utf-8")
    before, rest = readme.split(BEGIN)
    after = rest.split(END)[1]
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
        help="of the English prompts: real ones by apt, synthesised, or real where apt can be had (default)",
    )
    parser.add_argument("--updates", type=int, default=1000, help="of pre-training")
    parser.add_argument("--override", action="append", default=[], metavar="[TASK:]KEY=VALUE", help="of the probes")
    parser.add_argument("--publish", action="store_true", help="only put what came out into the README here")
    args = parser.parse_args()
    interrupts.install("interrupted: run the same command again to go on")
    dest = args.dest.resolve()
    return command.run_script(lambda: _run(args, dest), dest)


def _run(args: argparse.Namespace, dest: Path) -> str:
    if args.publish:
        here = ROOT / "examples" / "mp3s"
        publish(dest / "results", here)
        return f"{here / 'README.md'} and {here / 'results'} hold what {dest} does"
    (dest / "data").mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    prompts = dest / "data" / "prompts_en"
    if not prompts.is_symlink():
        prompts.symlink_to(Path("..", "prompts", "finetune"))
    for name, stage in stages(dest, args.source, args.updates, args.override):
        run_stage(name, stage, dest / "pretrain.log" if name == "pre-training" else None)
    return f"{NOTE}\n{(time.monotonic() - started) / 60:.1f} minutes in all; tables and plots: {dest / 'results'}"


if __name__ == "__main__":
    command.as_script(main)
