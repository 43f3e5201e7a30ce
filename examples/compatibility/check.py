"""Whether this package works on the Python, torch and fairseq that run this file.

    python examples/compatibility/check.py           # a row of the table in this folder's README
    python examples/compatibility/check.py --json    # the same, for machines

For ``base`` and its attention twin ``base_mhsa``, tiny: fairseq's own command composes the configuration, builds the
model, trains one step, saves a checkpoint, and takes it up again for a second step; then the checkpoint is read by this
package and gives features of a clip. Half a minute on one core. Exits with 1 if anything failed, after the log of it.
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
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = {"base": "summarymixing", "base_mhsa": "mhsa"}
STAGES = ("import", "compose", "build", "step", "save", "resume", "load")
# one import name, three distributions
FAIRSEQS = ("ve-fairseq", "fairseq-fixed", "fairseq")
LIBRARIES = ("torch", "hydra-core", "omegaconf", "numpy")
OVERRIDES = (
    "common.cpu=true",
    "common.log_interval=1",
    "dataset.num_workers=0",
    "dataset.max_tokens=100000",
    "optimization.update_freq=[1]",
    "model.encoder_layers=1",
    "model.encoder_embed_dim=64",
    "model.encoder_ffn_embed_dim=64",
)
SECONDS = 2
RATE = 16_000


class Failure(Exception):
    """A stage that did not work: its name, and what there is to read about it."""

    def __init__(self, stage: str, log: str):
        super().__init__(stage)
        self.stage, self.log = stage, log


@dataclass
class Report:
    """What was found."""

    versions: dict[str, str]
    passed: dict[str, list[str]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    logs: list[str] = field(default_factory=list)

    def cell(self, stage: str) -> str:
        """A stage's cell of the row: ``yes``, or the configurations that it failed for; ``-`` if it was not reached."""
        broken = [name for name, at in self.failed.items() if at == stage]
        if broken:
            return f"**no** ({', '.join(broken)})"
        return "yes" if all(stage in passed for passed in self.passed.values()) else "-"


def versions() -> dict[str, str]:
    """Versions of the interpreter and of what it would import, by metadata alone."""
    found = {"python": platform.python_version(), "fairseq": "none"}
    for name in FAIRSEQS:
        try:
            found["fairseq"] = f"{name} {metadata.version(name)}"
            break
        except metadata.PackageNotFoundError:
            continue
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "none"
    return found


def write_clips(folder: Path) -> None:
    """Manifests of four clips of noise under a slow envelope, for training and validation."""
    import numpy as np
    import soundfile

    generator = np.random.default_rng(1)
    envelope = 0.1 + 0.1 * np.sin(np.linspace(0, 12, SECONDS * RATE))
    rows = [str(folder)]
    for number in range(4):
        clip = (envelope * generator.standard_normal(SECONDS * RATE)).astype("float32")
        soundfile.write(str(folder / f"{number}.wav"), clip, RATE)
        rows.append(f"{number}.wav\t{len(clip)}")
    for split in ("train", "valid"):
        (folder / f"{split}.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")


def fairseq_command() -> str:
    """Path of ``fairseq-hydra-train`` beside this interpreter.

    Raises:
        Failure: if it is not there.
    """
    command = Path(sys.executable).with_name("fairseq-hydra-train")
    if not command.exists():
        raise Failure("import", f"{command} is not there: install the package for {sys.executable}")
    return str(command)


def training_log(name: str, data: Path, save_dir: Path, max_update: int) -> tuple[int, str]:
    """Exit status and output of a training by fairseq's command, up to an update."""
    command = [fairseq_command(), "--config-dir", "examples/pretraining", "--config-name", name, f"task.data={data}"]
    command += [f"checkpoint.save_dir={save_dir}", f"optimization.max_update={max_update}", *OVERRIDES]
    environment = {**os.environ, "PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=600,
    )
    return done.returncode, done.stdout


def losses(log: str) -> dict[str, float]:
    """Loss of each update in a log."""
    records = [json.loads(line[line.index("{") :]) for line in log.splitlines() if "[train_inner]" in line]
    return {record["num_updates"]: float(record["loss"]) for record in records}


def check_config(name: str, data: Path, save_dir: Path, passed: list[str]) -> None:
    """Take a configuration through all stages after the import; those that work are added to ``passed``.

    Raises:
        Failure: at the first that does not.
    """
    status, log = training_log(name, data, save_dir, 1)
    checkpoint = save_dir / "checkpoint_last.pt"

    def need(works: bool, stage: str) -> None:
        if not works:
            raise Failure(stage, log)
        passed.append(stage)

    # the configuration as fairseq logs it once hydra has composed it, and the model as it logs it once built
    need(f"'mixer': '{CONFIGS[name]}'" in log, "compose")
    need("Wav2Vec2SummaryMixingModel(" in log or "model: Wav2Vec2SummaryMixingModel" in log, "build")
    first = losses(log)
    need(list(first) == ["1"] and math.isfinite(first["1"]), "step")
    need(status == 0 and checkpoint.is_file(), "save")
    status, log = training_log(name, data, save_dir, 2)
    second = losses(log)
    need(
        status == 0 and "Loaded checkpoint" in log and list(second) == ["2"] and math.isfinite(second["2"]),
        "resume",
    )
    try:
        check_features(checkpoint, data / "0.wav")
    except Exception:
        import traceback

        raise Failure("load", traceback.format_exc()) from None
    passed.append("load")


def check_features(checkpoint: Path, clip: Path) -> None:
    """Features of a clip from a checkpoint.

    Raises:
        ValueError: if they are not what such a model gives.
    """
    import soundfile

    from summarymixing_fairseq import load_model

    waveform, _ = soundfile.read(str(clip), dtype="float32")
    frames = load_model(checkpoint).extract(waveform)
    # 50 frames a second, less a few that the edges cost; 64 wide, see OVERRIDES
    if not 0 <= 50 * SECONDS - len(frames) <= 5 or frames.shape[1] != 64 or not bool(frames.isfinite().all()):
        raise ValueError(f"features of shape {tuple(frames.shape)}, or not finite")


def check() -> Report:
    """Check both configurations under this interpreter."""
    report = Report(versions(), {name: [] for name in CONFIGS})
    try:
        fairseq_command()
        import summarymixing_fairseq  # noqa: F401  (registers models and tasks)
    except Exception as error:
        import traceback

        report.failed = dict.fromkeys(CONFIGS, "import")
        report.logs.append(error.log if isinstance(error, Failure) else traceback.format_exc())
        return report
    with tempfile.TemporaryDirectory() as name:
        data = Path(name).resolve() / "data"
        data.mkdir()
        write_clips(data)
        for config, passed in report.passed.items():
            passed.append("import")
            try:
                check_config(config, data, data.parent / config, passed)
            except Failure as failure:
                report.failed[config] = failure.stage
                report.logs.append(f"{config}, {failure.stage}:\n{failure.log[-4000:]}")
    return report


def markdown(report: Report) -> str:
    """The table's head and the row of this environment."""
    head = ["Python", "fairseq", *LIBRARIES, *STAGES]
    row = [*report.versions.values(), *map(report.cell, STAGES)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), row))


def main() -> int:
    """Print the row, and the logs of what failed."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0],
        epilog=f"Stages: {', '.join(STAGES)}; each for {' and '.join(CONFIGS)}. Half a minute on one core.",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of Markdown")
    args = parser.parse_args()
    report = check()
    if args.json:
        found = {"versions": report.versions, "passed": report.passed, "failed": report.failed}
        print(json.dumps({**found, "works": not report.failed}, indent=2))
    else:
        print(markdown(report))
    for log in report.logs:
        print(log, file=sys.stderr)
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
