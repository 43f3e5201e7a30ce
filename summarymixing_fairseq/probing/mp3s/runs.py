"""One run: a probe of an encoder on a folder of data, the commands that it takes, and what it was made with."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...system.errors import InputError
from ...system.files import atomic_write, sha256_of
from .encoders import Encoder
from .tasks import PROBES, TASKS, Split, Task

RECORD_NAME = "run.json"
TRAINED_NAME = "trained.json"
LOG_NAME = "run.log"
CHECKPOINT_NAME = "checkpoint_best.pt"
RESULTS_NAME = "results.json"
# What this command sets itself
OWN_KEYS = ("model.encoder_path", "model.random_encoder", "task.data", "checkpoint.save_dir", "common.seed")
_PACKAGE = Path(__file__).resolve().parents[2]
_PLAIN = re.compile(r"[A-Za-z0-9_/.+:@%-]+")
_PARTS = {
    "config": "the configuration file",
    "options": "overrides, seed or --random",
    "encoder": "the encoder's file",
    "data": "manifests or labels",
}


@dataclass(frozen=True)
class Tools:
    """The two commands that runs consist of, as lists of arguments."""

    train: tuple[str, ...]
    evaluate: tuple[str, ...]


@dataclass(frozen=True)
class Settings:
    """What all runs of a command share.

    Attributes:
        results, config_dir: absolute folders.
        overrides: (task or TASK_probeN or "" for all, KEY=VALUE) in the order given.
        device: cpu, cuda, cuda:N or auto.
        allow_outside_root: read rows that lead out of their manifest's root too.
    """

    results: Path
    config_dir: Path
    seed: int = 1
    overrides: tuple[tuple[str, str], ...] = ()
    device: str = "auto"
    allow_outside_root: bool = False


@dataclass(frozen=True)
class Run:
    """A probe of one encoder on one folder of data; ``fold``: "" where the task has no folds."""

    encoder: Encoder
    task: Task
    probe: int
    data: Path
    settings: Settings = field(repr=False)
    fold: str = ""

    @property
    def name(self) -> str:
        """For progress and errors."""
        return " ".join(filter(None, (self.encoder.name, f"{self.task.name}_probe{self.probe}", self.fold)))

    @property
    def folder(self) -> Path:
        """Of checkpoints, log and results."""
        return self.settings.results / self.encoder.name / f"{self.task.name}_probe{self.probe}" / self.fold

    @property
    def config(self) -> Path:
        """Its configuration."""
        return self.settings.config_dir / f"{self.task.config_name(self.probe)}.yaml"

    def results_path(self, split: Split) -> Path:
        """results.json of a test split."""
        return self.folder / split.name / RESULTS_NAME

    def options(self) -> list[str]:
        """Overrides that decide what comes out, but for the files, whose content counts."""
        options = [f"common.seed={self.settings.seed}"]
        if self.encoder.random:
            options.append("model.random_encoder=true")
        names = ("", self.task.name, f"{self.task.name}_probe{self.probe}")
        return options + [override for name, override in self.settings.overrides if name in names]

    def train_command(self, tools: Tools) -> list[str]:
        """fairseq's training; it resumes from checkpoint_last.pt by itself."""
        paths = {
            "common.user_dir": _PACKAGE,
            "model.encoder_path": self.encoder.path,
            "task.data": self.data,
            "checkpoint.save_dir": self.folder,
        }
        command = [*tools.train, "--config-dir", str(self.settings.config_dir), "--config-name", self.config.stem]
        command += [f"{key}={quoted(str(path))}" for key, path in paths.items()]
        if self.settings.device == "cpu":
            command.append("common.cpu=true")
        if self.settings.allow_outside_root:
            command.append("task.allow_outside_root=true")
        return command + self.options()

    def evaluate_command(self, tools: Tools, split: Split) -> list[str]:
        """Evaluation of the best checkpoint on a test split."""
        command = [*tools.evaluate, str(self.folder / CHECKPOINT_NAME), "--data", str(self.data)]
        command += ["--split", split.name, "--results", str(self.results_path(split).parent)]
        command += ["--encoder-name", self.encoder.name]
        if split.trials:
            command += ["--trials", str(self.data / split.trials)]
        if self.settings.allow_outside_root:
            command.append("--allow-outside-root")
        if self.settings.device != "auto":
            # a GPU's number is the environment's matter: see ``runner.environment``
            command += ["--device", self.settings.device.partition(":")[0]]
        return command

    def record(self) -> dict[str, Any]:
        """What the run is made with: two runs of the same record give the same."""
        # what evaluation takes where it is there: words of reference, speakers of test clips
        extra = [f"{split.name}.{kind}" for split in self.task.splits for kind in ("wrd", "speaker")]
        files = [*self.task.needed_files(), *(name for name in extra if (self.data / name).is_file())]
        return {
            "config": sha256_of(self.config),
            "options": self.options(),
            "encoder": self.encoder.sha256,
            "data": _hash_of_files(self.data, files),
        }

    def difference(self) -> str | None:
        """What the folder's earlier run was made with that this one is not; None if nothing.

        Also None if the earlier run left neither checkpoints nor results: nothing is lost by starting over, and what
        it failed for may be what has been changed.
        """
        path = self.folder / RECORD_NAME
        # what fairseq would take for an earlier part of this run
        checkpoint = next(iter(sorted(self.folder.glob("checkpoint*.pt"))), None)
        if not path.exists():
            return f"{checkpoint.name}, which it did not make" if checkpoint else None
        if checkpoint is None and not any(self.results_path(split).exists() for split in self.task.splits):
            return None
        try:
            earlier = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return f"a {RECORD_NAME} that cannot be read"
        now = self.record()
        changed = [name for key, name in _PARTS.items() if earlier.get(key) != now[key]]
        return f"other {', '.join(changed)}" if changed else None

    def begin(self) -> None:
        """Make the folder and write the record into it."""
        with atomic_write(self.folder / RECORD_NAME) as file:
            json.dump(self.record(), file, indent=1)
            file.write("\n")

    def is_trained(self) -> bool:
        """Whether training has come to its end."""
        return (self.folder / TRAINED_NAME).exists() and (self.folder / CHECKPOINT_NAME).exists()

    def clear(self) -> None:
        """Remove an earlier run."""
        shutil.rmtree(self.folder, ignore_errors=True)


def quoted(value: str) -> str:
    """A value in hydra's grammar, in which a space, comma or equals sign has a meaning of its own."""
    return value if _PLAIN.fullmatch(value) else "'" + value.replace("'", r"\'") + "'"


def refuse_changed(runs: Sequence[Run], force: bool) -> None:
    """Hold all runs against what their folders hold, before any starts.

    With ``force``, what is there of other options is removed.

    Raises:
        InputError: naming the first run that was made with other options.
    """
    for run in runs:
        difference = run.difference()
        if difference and not force:
            raise InputError(
                f"{run.folder} holds a run with {difference}: choose another --results, or replace it by --force"
            )
        if difference:
            run.clear()


def left_out(runs: Sequence[Run]) -> list[str]:
    """Encoders' folders of the runs below the results folder that are not of ``runs``: one entry a run, sorted."""
    chosen = {run.folder / RECORD_NAME for run in runs}
    results = runs[0].settings.results
    # ENCODER/TASK_probeN, and folds in it
    records = {path for depth in ("*/*", "*/*/*") for path in results.glob(f"{depth}/{RECORD_NAME}")}
    return sorted(path.relative_to(results).parts[0] for path in records - chosen)


def _hash_of_files(folder: Path, names: Sequence[str]) -> str:
    digest = hashlib.sha256()
    for name in names:
        digest.update(f"{name} {sha256_of(folder / name)}\n".encode())
    return digest.hexdigest()


def parse_overrides(arguments: Sequence[str]) -> list[tuple[str, str]]:
    """``[TASK:]KEY=VALUE`` each, TASK also as TASK_probeN, into (TASK or "", KEY=VALUE).

    A task that there is but that is not run may be named too: the same options serve for some of the tasks.

    Raises:
        InputError: for another form, a task that there is not, or a key that the command sets itself.
    """
    known = {name for task in TASKS for name in (task.name, *(f"{task.name}_probe{probe}" for probe in PROBES))}
    overrides = []
    for argument in arguments:
        key, equals, value = argument.partition("=")
        task, colon, bare = key.partition(":")
        if not colon:
            task, bare = "", key
        if not equals or not bare.strip():
            raise InputError(f"--override {argument}: must be KEY=VALUE or TASK:KEY=VALUE")
        if task and task not in known:
            raise InputError(f"--override {argument}: there is no task {task!r}")
        if bare.lstrip("+~") in OWN_KEYS:
            raise InputError(f"--override {argument}: {bare} is set by an option of this command, see --help")
        overrides.append((task, f"{bare}={value}"))
    return overrides
