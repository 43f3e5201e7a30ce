"""The tasks of MP3S (arXiv 2308.14456): configurations, metrics, data, and the commands that make the data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ...system.errors import InputError

PROBES = (1, 2)
# by whether higher is better
ARROWS = {True: "↑", False: "↓"}


@dataclass(frozen=True)
class MetricKind:
    """How a metric is shown. ``key``: its name in results.json."""

    key: str
    title: str
    higher_is_better: bool


WER = MetricKind("wer", "WER", higher_is_better=False)
ACCURACY = MetricKind("accuracy", "accuracy", higher_is_better=True)
EER = MetricKind("eer", "EER", higher_is_better=False)
EER_MEAN_SUBTRACTED = MetricKind("eer_mean_subtracted", "mean-subtracted EER", higher_is_better=False)


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
        also: metrics that are shown in rows of their own beside it.
        prepare: command that makes the data in the folder DIR.
        config: TASK in the names of its configurations, TASK_probeN.yaml; None: its name.
        has_folds: the folder may hold folders fold*, one for each fold of a cross-validation.
        of_mp3s: whether it is a task of the benchmark.
    """

    name: str
    title: str
    labels: str
    metric: MetricKind
    prepare: str
    splits: tuple[Split, ...] = (Split(),)
    also: tuple[MetricKind, ...] = ()
    config: str | None = None
    has_folds: bool = False
    of_mp3s: bool = True

    @property
    def metrics(self) -> tuple[MetricKind, ...]:
        """The task's metric, and those that are shown beside it."""
        return (self.metric, *self.also)

    def config_name(self, probe: int) -> str:
        """Configuration of a probe, 1 or 2."""
        return f"{self.config or self.name}_probe{probe}"

    def needed_files(self, train: str = "train", valid: str = "valid") -> list[str]:
        """Files that a folder of this task's data must hold.

        Args:
            train, valid: splits for training and validation; ``valid`` may be several, separated by commas.
        """
        files = [f"{split}.{kind}" for split in (train, *valid.split(",")) for kind in ("tsv", self.labels)]
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
    Task("commonvoice_cy", "Welsh recognition (Common Voice 11)", "bpe100", WER, _COMMON_VOICE.format(language="cy")),
    Task("commonvoice_eu", "Basque recognition (Common Voice 11)", "bpe100", WER, _COMMON_VOICE.format(language="eu")),
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
        also=(EER_MEAN_SUBTRACTED,),
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
        InputError: for an unknown name.
    """
    for task in TASKS:
        if task.name == name:
            return task
    raise InputError(f"there is no task {name!r}: choose among {', '.join(task.name for task in TASKS)}")


def choose_probes(names: str | None) -> dict[Task, list[int]]:
    """Tasks in their order, with the numbers of their probes.

    Args:
        names: TASK, which has all probes, or TASK_probeN, separated by commas; None: all tasks.

    Raises:
        InputError: for an unknown task or probe.
    """
    if names is None:
        return {task: list(PROBES) for task in TASKS}
    chosen: dict[Task, set[int]] = {}
    for name in map(str.strip, names.split(",")):
        stem, _, number = name.rpartition("_probe")
        is_one = bool(stem) and number in map(str, PROBES)
        chosen.setdefault(task_named(stem if is_one else name), set()).update([int(number)] if is_one else PROBES)
    return {task: sorted(chosen[task]) for task in TASKS if task in chosen}


@dataclass(frozen=True)
class TaskData:
    """Folders of a task's data.

    Attributes:
        folders: name of the fold ("" without folds) and its absolute folder; none if something is missing.
        problem: one line on what is missing and the command that makes it; "" if nothing is missing.
    """

    folders: tuple[tuple[str, Path], ...] = ()
    problem: str = ""


def find_data(task: Task, root: Path) -> TaskData:
    """Look for a task's data below ``root``. Only the names of the files are checked."""
    folder = Path(root).resolve() / task.name
    shown = Path(root) / task.name
    make = f"make it by {task.prepare}, where DIR is {shown}"
    if not folder.is_dir():
        return TaskData(problem=f"{shown} is not there: {make}")
    folders = [("", folder)]
    if task.has_folds and not (folder / "train.tsv").exists():
        # fold2 before fold10
        folds = sorted(folder.glob("fold*"), key=lambda path: (len(path.name), path.name))
        folders = [(fold.name, fold) for fold in folds if fold.is_dir()] or folders
    for fold, path in folders:
        for name in task.needed_files():
            if not (path / name).is_file():
                return TaskData(problem=f"{shown / fold / name} is not there: {make}")
    return TaskData(tuple(folders))
