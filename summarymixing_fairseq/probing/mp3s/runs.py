"""A run: one probe of one encoder on one folder of data, with its commands and the record of its inputs."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ...system.errors import InputError
from ...system.files import atomic_write, sha256_of
from ...system.strict_json import to_json
from ...system.tools import Tools, quoted
from ..results import RESULTS_NAME, Results, read_results
from .encoders import Encoder
from .tasks import PROBES, TASKS, Split, Task

RECORD_NAME = "run.json"
TRAINED_NAME = "trained.json"
LOG_NAME = "run.log"
CHECKPOINT_NAME = "checkpoint_best.pt"
# Keys of the configuration that are set by options of the command
OWN_KEYS = ("model.encoder_path", "model.random_encoder", "task.data", "checkpoint.save_dir", "common.seed")
_PACKAGE = Path(__file__).resolve().parents[2]
_PARTS = {
    "config": "the configuration file",
    "options": "overrides, seed or --random",
    "encoder": "the encoder's file",
    "data": "manifests or labels",
}


@dataclass(frozen=True)
class Settings:
    """Options that all runs of a command share.

    Attributes:
        results, config_dir: absolute folders.
        overrides: (task or TASK_probeN or "" for all, KEY=VALUE) in the order given.
        device: cpu, cuda, cuda:N or auto.
        allow_outside_root: also read rows that lead out of their manifest's root.
    """

    results: Path
    config_dir: Path
    seed: int = 1
    overrides: tuple[tuple[str, str], ...] = ()
    device: str = "auto"
    allow_outside_root: bool = False


@dataclass(frozen=True)
class Run:
    """A probe of one encoder on one folder of data; ``fold``: "" for a task without folds."""

    encoder: Encoder
    task: Task
    probe: int
    data: Path
    settings: Settings = field(repr=False)
    fold: str = ""

    @property
    def name(self) -> str:
        """Name in progress and error messages."""
        return " ".join(filter(None, (self.encoder.name, f"{self.task.name}_probe{self.probe}", self.fold)))

    @property
    def folder(self) -> Path:
        """Folder of checkpoints, log and results."""
        return self.settings.results / self.encoder.name / f"{self.task.name}_probe{self.probe}" / self.fold

    @property
    def config(self) -> Path:
        """File of its configuration."""
        return self.settings.config_dir / f"{self.task.config_name(self.probe)}.yaml"

    def results_path(self, split: Split) -> Path:
        """results.json of a test split."""
        return self.folder / split.name / RESULTS_NAME

    def options(self) -> list[str]:
        """Overrides that change the result. Paths are not among them: the files' content counts (see ``record``)."""
        options = [f"common.seed={self.settings.seed}"]
        if self.encoder.random:
            options.append("model.random_encoder=true")
        return options + overrides_of(self.task, self.probe, self.settings.overrides)

    def needed_files(self) -> list[str]:
        """Files that its folder of data must hold."""
        return needed_files(self.task, self.probe, self.settings.overrides)

    def paths(self) -> dict[str, Path]:
        """Paths of the configuration, by their keys."""
        return {
            "common.user_dir": _PACKAGE,
            "model.encoder_path": self.encoder.path,
            "task.data": self.data,
            "checkpoint.save_dir": self.folder,
        }

    def train_command(self, tools: Tools) -> list[str]:
        """fairseq's training; it resumes from checkpoint_last.pt by itself."""
        command = [*tools.train, "--config-dir", str(self.settings.config_dir), "--config-name", self.config.stem]
        command += [f"{key}={quoted(str(path))}" for key, path in self.paths().items()]
        if self.settings.device == "cpu":
            command.append("common.cpu=true")
        if self.settings.allow_outside_root:
            command.append("+task.allow_outside_root=true")  # no configuration lists it
        return command + self.options()

    def evaluate_command(self, tools: Tools, split: Split) -> list[str]:
        """Evaluation of the best checkpoint on a test split."""
        command = [*tools.summarymixing, "evaluate", str(self.folder / CHECKPOINT_NAME), "--data", str(self.data)]
        command += ["--split", split.name, "--results", str(self.results_path(split).parent)]
        command += ["--encoder-name", self.encoder.name]
        if split.trials:
            command += ["--trials", str(self.data / split.trials)]
        if self.settings.allow_outside_root:
            command.append("--allow-outside-root")
        if self.settings.device != "auto":
            # ``system.jobs.environment`` shows the process GPU N alone, which is "cuda" there
            command += ["--device", self.settings.device.partition(":")[0]]
        return command

    def record(self) -> dict[str, Any]:
        """Hashes of all inputs: two runs with the same record give the same result."""
        # read by the evaluation if they are there: words of the references, speakers of the clips
        extra = [f"{split.name}.{kind}" for split in self.task.splits for kind in ("wrd", "speaker")]
        files = [*self.needed_files(), *(name for name in extra if (self.data / name).is_file())]
        return {
            "config": _hash_of_files(self.config.parent, _config_names(self.config)),
            "options": self.options(),
            "encoder": self.encoder.sha256,
            "data": _hash_of_files(self.data, files),
        }

    def difference(self) -> str | None:
        """How the inputs of an earlier run in this folder differ; None if they do not.

        Also None if the earlier run left neither checkpoints nor results. Nothing is lost then by starting again, and
        the change may mend what it failed for.
        """
        path = self.folder / RECORD_NAME
        # fairseq would resume from it
        checkpoint = next(iter(sorted(self.folder.glob("checkpoint*.pt"))), None)
        if not path.exists():
            return f"{checkpoint.name}, which it did not make" if checkpoint else None
        if checkpoint is None and not any(self.results_path(split).exists() for split in self.task.splits):
            return None
        try:
            earlier = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            earlier = None
        if not isinstance(earlier, dict):
            return f"a {RECORD_NAME} that cannot be read"
        now = json.loads(to_json(self.record()))
        changed = [name for key, name in _PARTS.items() if earlier.get(key) != now[key]]
        return f"other {', '.join(changed)}" if changed else None

    def begin(self) -> None:
        """Make the folder and write the record into it."""
        with atomic_write(self.folder / RECORD_NAME) as file:
            file.write(to_json(self.record(), indent=1) + "\n")

    def is_trained(self) -> bool:
        """Whether training has ended."""
        return (self.folder / TRAINED_NAME).exists() and (self.folder / CHECKPOINT_NAME).exists()


def read_run(run: Run, split: Split) -> Results:
    """Results of a run on a test split.

    Raises:
        InputError: if results.json cannot be read or lacks a metric of the task's.
    """
    path = run.results_path(split)
    results = read_results(path)
    for metric in run.task.metrics:
        if metric.key not in results.metrics:
            raise InputError(f"{path} lacks the metric {metric.key}")
    return results


def refuse_changed(runs: Sequence[Run], force: bool) -> None:
    """Refuse, before any run starts, folders with runs that were made with other options.

    With ``force``, these runs are removed instead.

    Raises:
        InputError: naming the first such run.
    """
    for run in runs:
        difference = run.difference()
        if difference and not force:
            raise InputError(
                f"{run.folder} holds a run with {difference}: choose another --results, or replace it by --force"
            )
        if difference:
            shutil.rmtree(run.folder, ignore_errors=True)


def _config_names(config: Path) -> list[str]:
    """A configuration file and the shared files that its list of defaults names.

    Raises:
        InputError: for a file that is no YAML.
    """
    try:
        content = yaml.safe_load(config.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        raise InputError(f"{config} cannot be read as YAML") from None
    defaults = (content.get("defaults") or []) if isinstance(content, dict) else []
    return [config.name, *(f"{name}.yaml" for name in defaults if isinstance(name, str) and name != "_self_")]


def _hash_of_files(folder: Path, names: Sequence[str]) -> str:
    digest = hashlib.sha256()
    for name in names:
        digest.update(f"{name} {sha256_of(folder / name)}\n".encode())
    return digest.hexdigest()


def parse_overrides(arguments: Sequence[str]) -> list[tuple[str, str]]:
    """Split each ``[TASK:]KEY=VALUE`` into (TASK or "", KEY=VALUE); TASK may also be TASK_probeN.

    A task may be named that is not run: the same options then serve for a selection of the tasks.

    Raises:
        InputError: for another form, an unknown task, or a key that an option of the command sets.
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


def overrides_of(task: Task, probe: int, overrides: Sequence[tuple[str, str]]) -> list[str]:
    """Those of a probe among the (TASK or TASK_probeN or "", KEY=VALUE) of ``parse_overrides``."""
    return [override for name, override in overrides if name in ("", task.name, f"{task.name}_probe{probe}")]


def needed_files(task: Task, probe: int, overrides: Sequence[tuple[str, str]]) -> list[str]:
    """Files that a folder of data must hold for a probe: of the splits that its overrides name, if they do."""
    given = (override.partition("=") for override in overrides_of(task, probe, overrides))
    fields = {key.lstrip("+"): value.strip("'\"") for key, _, value in given}  # as hydra reads them
    splits = {name: fields.get(f"dataset.{name}_subset", name) for name in ("train", "valid")}
    return task.needed_files(**splits)
