"""Whether this package works on the Python, torch and fairseq that run this file.

    python examples/compatibility/check.py           # a row of the table in this folder's README
    python examples/compatibility/check.py --json    # the same as JSON

Checks tiny versions of ``base`` and its attention twin ``base_mhsa``. fairseq's own command composes the configuration,
builds the model, trains one step, saves a checkpoint and resumes from it for a second step. This package then reads the
checkpoint and computes features of a clip. Takes half a minute on one core. Exits with 1 and a log if anything failed.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import subprocess
import sys
import tempfile
import traceback
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = {"base": "summarymixing", "base_mhsa": "mhsa"}
STAGES = ("import", "compose", "build", "step", "save", "resume", "load")
# Distributions that provide fairseq.
FAIRSEQS = ("ve-fairseq", "fairseq-fixed", "fairseq")
LIBRARIES = ("torch", "hydra-core", "omegaconf", "numpy")
OVERRIDES = (
    "common.cpu=true",
    "common.log_interval=1",
    "common.log_format=json",
    "dataset.num_workers=0",
    "dataset.max_tokens=100000",
    "optimization.update_freq=[1]",
    "model.encoder_layers=1",
    "model.encoder_embed_dim=64",
    "model.encoder_ffn_embed_dim=64",
)
SECONDS = 2
SAMPLE_RATE_HZ = 16_000


class Failure(Exception):
    """A stage that failed, and the log."""

    def __init__(self, stage: str, log: str):
        super().__init__(stage)
        self.stage, self.log = stage, log


def versions() -> dict[str, str]:
    """Versions of the interpreter and of the libraries that it would import; nothing is imported."""
    installed = {str(one.metadata["Name"]).replace("_", "-"): one.version for one in metadata.distributions()}
    fairseq = next((f"{name} {installed[name]}" for name in FAIRSEQS if name in installed), "none")
    libraries = {name: installed.get(name, "none") for name in LIBRARIES}
    return {"python": platform.python_version(), "fairseq": fairseq, **libraries}


def write_clips(folder: Path) -> None:
    """Write four clips of noise with a slow envelope, and their manifests for training and validation."""
    import numpy as np
    import soundfile

    generator = np.random.default_rng(1)
    envelope = 0.1 + 0.1 * np.sin(np.linspace(0, 12, SECONDS * SAMPLE_RATE_HZ))
    rows = [str(folder)]
    for number in range(4):
        clip = (envelope * generator.standard_normal(SECONDS * SAMPLE_RATE_HZ)).astype("float32")
        soundfile.write(str(folder / f"{number}.wav"), clip, SAMPLE_RATE_HZ)
        rows.append(f"{number}.wav\t{len(clip)}")
    for split in ("train", "valid"):
        (folder / f"{split}.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")


def fairseq_command() -> Path:
    """``fairseq-hydra-train`` beside this interpreter."""
    command = Path(sys.executable).with_name("fairseq-hydra-train")
    if not command.exists():
        raise Failure("import", f"{command} is not there: install the package for {sys.executable}")
    return command


def training_log(name: str, data: Path, save_dir: Path, max_update: int) -> tuple[int, str]:
    """Exit status and output of a training by fairseq's command, up to an update."""
    command = [str(fairseq_command()), "--config-dir", "examples/pretraining", "--config-name", name]
    command += [f"task.data={data}", f"checkpoint.save_dir={save_dir}", f"optimization.max_update={max_update}"]
    environment = {**os.environ, "PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    done = subprocess.run([*command, *OVERRIDES], cwd=ROOT, env=environment, timeout=600, **streams)
    return done.returncode, done.stdout


def losses(log: str) -> dict[str, float]:
    """Loss of each update in a log, by the update's number."""
    records = [json.loads(line[line.index("{") :]) for line in log.splitlines() if "[train_inner]" in line]
    return {record["num_updates"]: float(record["loss"]) for record in records}


def check_config(name: str, data: Path, save_dir: Path) -> None:
    """Run all stages after the import for a configuration.

    Raises:
        Failure: at the first stage that fails.
    """

    def need(works: bool, stage: str) -> None:
        if not works:
            raise Failure(stage, log)

    status, log = training_log(name, data, save_dir, 1)
    checkpoint = save_dir / "checkpoint_last.pt"
    # fairseq logs the configuration after hydra has composed it, and the model after it is built
    need(f"'mixer': '{CONFIGS[name]}'" in log, "compose")
    need("Wav2Vec2SummaryMixingModel(" in log or "model: Wav2Vec2SummaryMixingModel" in log, "build")
    first = losses(log)
    need(list(first) == ["1"] and math.isfinite(first["1"]), "step")
    need(status == 0 and checkpoint.is_file(), "save")
    status, log = training_log(name, data, save_dir, 2)
    second = losses(log)
    resumed = "Loaded checkpoint" in log and list(second) == ["2"] and math.isfinite(second["2"])
    need(status == 0 and resumed, "resume")
    try:
        check_features(checkpoint, data / "0.wav")
    except Exception:
        raise Failure("load", traceback.format_exc()) from None


def check_features(checkpoint: Path, clip: Path) -> None:
    """Compute features of a clip; raises ValueError for a wrong shape, or if they are not finite."""
    import soundfile

    from summarymixing_fairseq import load_model

    waveform, _ = soundfile.read(str(clip), dtype="float32")
    frames = load_model(checkpoint).extract(waveform)
    # 50 frames a second, a few less at the edges; 64 wide, see OVERRIDES
    if not 0 <= 50 * SECONDS - len(frames) <= 5 or frames.shape[1] != 64 or not bool(frames.isfinite().all()):
        raise ValueError(f"features of shape {tuple(frames.shape)}, or not finite")


def check() -> dict[str, Failure]:
    """The failures of this interpreter by configuration."""
    try:
        fairseq_command()
        import summarymixing_fairseq

        summarymixing_fairseq.register()
    except Exception as error:
        failure = error if isinstance(error, Failure) else Failure("import", traceback.format_exc())
        return dict.fromkeys(CONFIGS, failure)
    failures = {}
    with tempfile.TemporaryDirectory() as name:
        data = Path(name).resolve() / "data"
        data.mkdir()
        write_clips(data)
        for config in CONFIGS:
            try:
                check_config(config, data, data.parent / config)
            except Failure as failure:
                failures[config] = failure
    return failures


def passed(failed: dict[str, str]) -> dict[str, list[str]]:
    """The stages that each configuration passed, from the stage at which some failed."""
    return {name: list(STAGES[: STAGES.index(failed[name])] if name in failed else STAGES) for name in CONFIGS}


def markdown(found: dict[str, str], failed: dict[str, str]) -> str:
    """The table's head and the row of this environment: ``-`` for a stage that some configuration did not reach."""
    cells = []
    for stage in STAGES:
        broken = ", ".join(name for name, at in failed.items() if at == stage)
        reached = all(stage in stages for stages in passed(failed).values())
        cells.append(f"**no** ({broken})" if broken else "yes" if reached else "-")
    head = ["Python", "fairseq", *LIBRARIES, *STAGES]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), [*found.values(), *cells]))


def main() -> int:
    """Print the row, and the logs of what failed."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0],
        epilog=f"Stages: {', '.join(STAGES)}; each for {' and '.join(CONFIGS)}. About half a minute on one core.",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of Markdown")
    args = parser.parse_args()
    failures, found = check(), versions()
    failed = {name: failure.stage for name, failure in failures.items()}
    if args.json:
        report = {"versions": found, "passed": passed(failed), "failed": failed, "works": not failed}
        print(json.dumps(report, indent=2))
    else:
        print(markdown(found, failed))
    for name, failure in failures.items():
        print(f"{name}, {failure.stage}:\n{failure.log[-4000:]}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
