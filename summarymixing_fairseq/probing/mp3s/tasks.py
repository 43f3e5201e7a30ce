"""The tasks of MP3S (arXiv 2308.14456): data, configurations, metrics, and where each one's data comes from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ...system.errors import InputError

PROBES = (1, 2)


@dataclass(frozen=True)
class MetricKind:
    """How a metric is shown. ``key``: its name in results.json."""

    key: str
    title: str
    higher_is_better: bool

    @property
    def arrow(self) -> str:
        """Which way is better."""
        return "↑" if self.higher_is_better else "↓"


WER = MetricKind("wer", "WER", higher_is_better=False)
ACCURACY = MetricKind("accuracy", "accuracy", higher_is_better=True)
EER = MetricKind("eer", "EER", higher_is_better=False)


@dataclass(frozen=True)
class Split:
    """A test split; ``trials``: its file of verification trials beside the manifest, if it has one."""

    name: str = "test"
    trials: str | None = None


@dataclass(frozen=True)
class Task:
    """A task.

    Attributes:
        name: also its folder below the data's root; title: for tables.
        labels: extension of the label files.
        prepare: what makes the data, DIR being its folder.
        config: stem of its configurations, TASK in TASK_probeN.yaml; None: its name.
        has_folds: the folder may hold folders fold*, one a fold of cross-validation.
        of_mp3s: whether it is one of the benchmark's.
    """

    name: str
    title: str
    labels: str
    metric: MetricKind
    prepare: str
    splits: tuple[Split, ...] = (Split(),)
    config: str | None = None
    has_folds: bool = False
    of_mp3s: bool = True

    def config_name(self, probe: int) -> str:
        """Configuration of a probe, 1 or 2."""
        return f"{self.config or self.name}_probe{probe}"

    def needed_files(self) -> list[str]:
        """Files without which a folder is not this task's data."""
        files = [f"{split}.{kind}" for split in ("train", "valid") for kind in ("tsv", self.labels)]
        files.append(f"dict.{self.labels}.txt")
        for split in self.splits:
            files += [f"{split.name}.tsv", split.trials or f"{split.name}.{self.labels}"]
        return files


_COMMON_VOICE = "summarymixing manifest commonvoice CV_DIR/{language} --dest DIR --max-seconds 10 --bpe 100"
TASKS = (
    Task(
        "librispeech",
        "English recognition (LibriSpeech)",
        "ltr",
        WER,
        "summarymixing manifest librispeech LIBRISPEECH_DIR --dest DIR --subset 100h",
        splits=(Split("test_clean"), Split("test_other")),
    ),
    Task(
        "commonvoice_cy",
        "Welsh recognition (Common Voice 11)",
        "bpe100",
        WER,
        _COMMON_VOICE.format(language="cy"),
    ),
    Task(
        "commonvoice_eu",
        "Basque recognition (Common Voice 11)",
        "bpe100",
        WER,
        _COMMON_VOICE.format(language="eu"),
    ),
    Task("slurp", "intent (SLURP)", "scenario", ACCURACY, "summarymixing manifest slurp SLURP_DIR --dest DIR"),
    Task(
        "iemocap",
        "emotion (IEMOCAP)",
        "emotion",
        ACCURACY,
        "summarymixing manifest iemocap IEMOCAP_DIR --dest DIR --held-out speaker",
        has_folds=True,
    ),
    Task(
        "voxceleb1",
        "speaker verification (VoxCeleb1)",
        "speaker",
        EER,
        "summarymixing manifest voxceleb VOXCELEB1_DIR --dest DIR",
        splits=(Split("test", trials="test.trials"),),
    ),
    Task(
        "prompts_en",
        "English prompts, not of MP3S",
        "ltr",
        WER,
        "python examples/corpora/asterisk.py --dest CORPUS; ln -s CORPUS/finetune DIR",
        config="librispeech",
        of_mp3s=False,
    ),
)


def task_named(name: str) -> Task:
    """A task by its name.

    Raises:
        InputError: for one that there is not.
    """
    for task in TASKS:
        if task.name == name:
            return task
    raise InputError(f"there is no task {name!r}: choose among {', '.join(task.name for task in TASKS)}")


@dataclass(frozen=True)
class TaskData:
    """What was found of a task's data.

    Attributes:
        folders: name of the fold ("" without folds) and its absolute folder; none if something is missing.
        problem: what is missing and what makes it, in a line; "" if nothing is.
    """

    folders: tuple[tuple[str, Path], ...] = ()
    problem: str = ""


def find_data(task: Task, root: Path) -> TaskData:
    """Look for a task's data below ``root``: files by their names, their content is left to whoever reads it."""
    folder = Path(root).resolve() / task.name
    shown = Path(root) / task.name
    make = f"make it by {task.prepare}, DIR being {shown}"
    if not folder.is_dir():
        return TaskData(problem=f"{shown} is not there: {make}")
    folders = [("", folder)]
    if task.has_folds and not (folder / "train.tsv").exists():
        folders = [(fold.name, fold) for fold in _by_number(folder.glob("fold*")) if fold.is_dir()] or folders
    for fold, path in folders:
        for name in task.needed_files():
            if not (path / name).is_file():
                return TaskData(problem=f"{shown / fold / name} is not there: {make}")
    return TaskData(tuple(folders))


def _by_number(folders: Iterable[Path]) -> list[Path]:
    """fold2 before fold10."""
    return sorted(folders, key=lambda path: (len(path.name), path.name))
