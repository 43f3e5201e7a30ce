"""Stand-ins for `fairseq-hydra-train` and `summarymixing evaluate` that take milliseconds, and data for them.

Overrides control them: ``fake.value`` is the value of the metric, ``fake.refuse`` the exit status before the first
checkpoint, ``fake.fail`` the exit status after it, ``fake.sleep`` the seconds after it.
"""

from __future__ import annotations

import sys
from pathlib import Path

from summarymixing_fairseq.probing.mp3s.tasks import TASKS, task_named
from summarymixing_fairseq.system.tools import Tools

TRAIN = """
import json, os, pathlib, sys, time
arguments = sys.argv[1:]
assert arguments[0] == "--config-dir" and arguments[2] == "--config-name"
options = dict(argument.split("=", 1) for argument in arguments[4:])
options = {key: value.strip("'") for key, value in options.items()}
folder = pathlib.Path(options["checkpoint.save_dir"])
last = folder / "checkpoint_last.pt"
with open(folder / "trace.jsonl", "a") as file:
    print(json.dumps({"options": options, "config": arguments[3], "resumed": last.exists(), "pid": os.getpid(),
                      "start": time.time(), "threads": os.environ.get("OMP_NUM_THREADS"),
                      "gpus": os.environ.get("CUDA_VISIBLE_DEVICES")}), file=file)
if "fake.refuse" in options:
    sys.exit(int(options["fake.refuse"]))
for epoch in (1, 2):
    figures = json.dumps({"epoch": epoch, "valid_wer": str(epoch), "valid_best_wer": "7"})
    print("[2026-11-23 03:00:00][valid][INFO] - " + figures, flush=True)
last.write_text("half")
time.sleep(float(options.get("fake.sleep", 0)))
if "fake.fail" in options:
    print("ValueError: the disk is made of cheese")
    sys.exit(int(options["fake.fail"]))
assert pathlib.Path(options["model.encoder_path"]).exists()
value = float(options.get("fake.value", 40))
if options.get("model.random_encoder") == "true":
    value += 30
pathlib.Path(folder, "checkpoint_best.pt").write_text(json.dumps({"value": value, "options": options}))
"""

EVALUATE = """
import argparse, json, pathlib, sys
parser = argparse.ArgumentParser()
for name in ("command", "checkpoint"):
    parser.add_argument(name)
for name in ("data", "split", "results", "trials", "device", "encoder-name"):
    parser.add_argument("--" + name)
parser.add_argument("--allow-outside-root", action="store_true")
args = parser.parse_args()
probe = json.loads(pathlib.Path(args.checkpoint).read_text())
clips = len(pathlib.Path(args.data, args.split + ".tsv").read_text().splitlines()) - 1
if args.trials:
    assert pathlib.Path(args.trials).exists()
value = probe["value"] + (1 if args.split == "test_other" else 0)
right = pathlib.Path(args.data, "right")  # number of clips that the probe of a fold classifies correctly
if right.exists():
    value = 100 * int(right.read_text()) / clips
metric = {"value": value, "low": value - 1, "high": value + 1, "unit": "%"}
results = {
    "schema_version": 1, "task": "probe", "head": "some_head",
    "encoder": {"name": args.encoder_name, "description": "an encoder", "path": "p", "sha256": "s"},
    "checkpoint": args.checkpoint, "config": {}, "data": {"folder": args.data, "split": args.split,
    "counts": {"clips": clips}}, "seed": 1, 
    "metrics": dict.fromkeys(("wer", "accuracy", "eer", "eer_mean_subtracted"), metric),
    "layer_weights": [0.5, 0.3, 0.2], "versions": {"python": "3.11"}}
pathlib.Path(args.results).mkdir(parents=True, exist_ok=True)
pathlib.Path(args.results, "results.json").write_text(json.dumps(results))
"""


def fake_tools(folder: Path) -> Tools:
    """Both as scripts in a folder."""
    folder.mkdir(exist_ok=True)
    (folder / "train.py").write_text(TRAIN)
    (folder / "evaluate.py").write_text(EVALUATE)
    # isolated and without site-packages: a start takes 10 ms
    python = (sys.executable, "-I", "-S")
    return Tools((*python, str(folder / "train.py")), (*python, str(folder / "evaluate.py")))


def mp3s_command(tools: Tools, *arguments: object) -> list[str]:
    """`summarymixing mp3s` as the console script runs it, with these tools."""
    # the machine's description is left out: it takes seconds to import torch
    code = f"""if True:
        import sys
        sys.argv = ["summarymixing", "mp3s", "--device", "cpu", *{list(map(str, arguments))!r}]
        from summarymixing_fairseq.commands.main import console_main
        from summarymixing_fairseq.probing.mp3s import benchmark
        from summarymixing_fairseq.system.tools import Tools
        benchmark.find_tools = lambda: {tools!r}
        benchmark.of_device = lambda device, jobs: {{"num_threads": 1}}
        console_main()
    """
    return [sys.executable, "-c", code]


def write_configs(folder: Path) -> None:
    """A configuration for every probe."""
    folder.mkdir(exist_ok=True)
    for task in TASKS:
        for probe in (1, 2):
            (folder / f"{task.config_name(probe)}.yaml").write_text(f"of: {task.name}\n")


def write_data(root: Path, name: str, num_clips: int = 5, fold: str = "", right: int | None = None) -> Path:
    """All files that a task needs; ``right``: number of clips that the probe of this fold classifies correctly."""
    folder = root / name / fold
    folder.mkdir(parents=True, exist_ok=True)
    for file in task_named(name).needed_files():
        rows = "".join(f"{i}.flac\t16000\n" for i in range(num_clips))
        (folder / file).write_text(f"/audio\n{rows}" if file.endswith(".tsv") else f"{name} {fold}\n")
    if right is not None:
        (folder / "right").write_text(str(right))
    return folder
