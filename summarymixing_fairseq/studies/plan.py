"""A study: the encoders that a YAML file names, and the settings that make their results comparable."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ..data.manifest import check_splits
from ..probing.mp3s.runs import needed_files, parse_overrides
from ..probing.mp3s.tasks import choose_probes, find_data
from ..system.errors import InputError, printable
from ..system.strict_json import to_json

_KEYS = {"title", "data", "data_from", "pretraining", "finetuning", "probing", "seeds", "baseline", "encoders"}
_PRETRAINING_KEYS = {"config", "data", "overrides"}
_FINETUNING_KEYS = {"config", "data", "overrides", "train", "valid", "test", "updates"}
_PROBING_KEYS = {"data", "tasks", "overrides"}
_ENCODER_KEYS = {"config", "overrides", "finetuning", "probing", "tried"}
# Names of encoders and settings are parts of the names of files.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,60}")
# Keys that the study sets itself.
OWN_KEYS = {
    *("task.data", "checkpoint.save_dir", "common.seed", "common.user_dir", "common.log_format", "model.w2v_path")
}
_OWN_KEYS_OF_FINETUNING = {"optimization.max_update", "dataset.train_subset", "dataset.valid_subset"}
MOST_DIFFERENCES = 3


@dataclass(frozen=True)
class Encoder:
    """An encoder under study: a configuration of pre-training, what is changed in it, in the fine-tuning and in the
    probes; ``tried``: settings of the probes by name, of which the best on the validation clips counts."""

    name: str
    config: Path
    overrides: tuple[str, ...]
    finetuning: tuple[str, ...]
    probing: tuple[str, ...]
    tried: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class FineTuning:
    """CTC fine-tuning that is the same for all encoders.

    Attributes:
        data: folder; train, valid, test: splits in it.
        updates: lengths that are tried, each a training of its own. The best on ``valid`` goes to ``test``.
    """

    config: Path
    data: Path
    overrides: tuple[str, ...]
    train: str
    valid: str
    test: str
    updates: tuple[int, ...]


@dataclass(frozen=True)
class Probing:
    """Probes of MP3S that are the same for all encoders.

    Attributes:
        data: folder with a folder of manifests for each task.
        tasks, overrides: as ``summarymixing mp3s`` takes them; configs: of the probes.
    """

    data: Path
    tasks: tuple[str, ...]
    configs: tuple[Path, ...]
    overrides: tuple[str, ...]


@dataclass(frozen=True)
class Study:
    """A study as its file has it. Folders count from the working directory.

    Attributes:
        pretraining_data: folder of the manifests; finetuning: None where no recogniser is trained; probing: None where
            no probe is.
        baseline: the encoder that the error rates of the others are divided by, or None.
    """

    name: str
    title: str
    data_from: str
    pretraining_data: Path
    finetuning: FineTuning | None
    probing: Probing | None
    seeds: tuple[int, ...]
    baseline: str | None
    encoders: tuple[Encoder, ...]

    def pretrained_as(self, encoder: Encoder) -> str:
        """The first encoder with the same pre-training, which is done once for all of them."""
        settings = encoder.config, encoder.overrides
        return next(other.name for other in self.encoders if (other.config, other.overrides) == settings)


@dataclass(frozen=True)
class Cell:
    """One encoder from one seed."""

    encoder: Encoder
    seed: int

    @property
    def name(self) -> str:
        """Name of its file and its folder."""
        return f"{self.encoder.name}-seed{self.seed}"


def read_study(path: Path, config_dir: Callable[[str], Path]) -> Study:
    """Read and check a study's file.

    Args:
        config_dir: folder of a group's configurations, by ``pretraining``, ``finetuning`` and ``mp3s``.

    Raises:
        InputError: naming the key, for what is missing, unknown or of another kind.
    """
    content = _mapping(_load(path), str(path), _KEYS)
    for key in ("data", "pretraining", "seeds", "encoders"):
        if key not in content:
            raise InputError(f"{path}: {key} is missing")
    data = Path(_text(content["data"], f"{path}: data"))
    before = _mapping(content["pretraining"], f"{path}: pretraining", _PRETRAINING_KEYS)
    shared = _overrides(before.get("overrides", []), f"{path}: pretraining.overrides")
    encoders = []
    for name, given in _mapping(content["encoders"], f"{path}: encoders").items():
        where = f"{path}: encoders.{name}"
        _check_name(name, where)
        own = _mapping(given or {}, where, _ENCODER_KEYS)
        config = config_path(own.get("config", before.get("config")), config_dir("pretraining"), f"{where}: config")
        overrides = (*shared, *_overrides(own.get("overrides", []), f"{where}.overrides"))
        tuned = tuple(_overrides(own.get("finetuning", []), f"{where}.finetuning", _OWN_KEYS_OF_FINETUNING))
        if tuned and "finetuning" not in content:
            raise InputError(f"{where}.finetuning: the study has no fine-tuning")
        probed = _probe_overrides(own.get("probing", []), f"{where}.probing")
        tried = {}
        for setting, more in _mapping(own.get("tried", {}), f"{where}.tried").items():
            _check_name(setting, f"{where}.tried.{setting}")
            tried[setting] = _probe_overrides(more, f"{where}.tried.{setting}")
        if (probed or tried) and "probing" not in content:
            raise InputError(f"{where}: the study has no probes")
        encoders.append(Encoder(name, config, overrides, tuned, probed, tried))
    if not encoders:
        raise InputError(f"{path}: encoders names none")
    finetuning = None
    if "finetuning" in content:
        finetuning = _finetuning(content["finetuning"], data, config_dir, f"{path}: finetuning")
    probing = None
    if "probing" in content:
        probing = _probing(content["probing"], data, config_dir("mp3s"), f"{path}: probing")
    baseline = None if content.get("baseline") is None else _text(content["baseline"], f"{path}: baseline")
    if baseline is not None and baseline not in {encoder.name for encoder in encoders}:
        raise InputError(f"{path}: baseline: {baseline!r} is none of the encoders")
    return Study(
        path.stem,
        _text(content.get("title", path.stem), f"{path}: title"),
        _text(content.get("data_from", ""), f"{path}: data_from"),
        data / _text(before.get("data", "."), f"{path}: pretraining.data"),
        finetuning,
        probing,
        _whole_numbers(content["seeds"], f"{path}: seeds", 0),
        baseline,
        tuple(encoders),
    )


def _finetuning(given: object, data: Path, config_dir: Callable[[str], Path], where: str) -> FineTuning:
    after = _mapping(given, where, _FINETUNING_KEYS)
    splits = {name: _text(after.get(name, name), f"{where}.{name}") for name in ("train", "valid", "test")}
    check_splits(splits["train"], splits["valid"])
    return FineTuning(
        config_path(after.get("config"), config_dir("finetuning"), f"{where}.config"),
        data / _text(after.get("data", "."), f"{where}.data"),
        tuple(_overrides(after.get("overrides", []), f"{where}.overrides", _OWN_KEYS_OF_FINETUNING)),
        updates=_whole_numbers(after.get("updates", []), f"{where}.updates", 1),
        **splits,
    )


def _probing(given: object, data: Path, folder: Path, where: str) -> Probing:
    probing = _mapping(given, where, _PROBING_KEYS)
    tasks = probing.get("tasks")
    if not isinstance(tasks, list) or not tasks or any(not isinstance(task, str) for task in tasks):
        raise InputError(f"{where}.tasks: must be a list of tasks, such as slurp_probe1")
    overrides = _probe_overrides(probing.get("overrides", []), f"{where}.overrides")
    chosen = choose_probes(",".join(tasks))
    configs = tuple(folder / f"{task.config_name(probe)}.yaml" for task, probes in chosen.items() for probe in probes)
    return Probing(data / _text(probing.get("data", "."), f"{where}.data"), tuple(tasks), configs, overrides)


def _load(path: Path) -> object:
    try:
        text = path.read_text(encoding="utf-8")
        content = yaml.safe_load(text)
        if isinstance(content, dict):
            OmegaConf.create(text)  # refuses a key that stands there twice, of which yaml takes the last
        return content
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, yaml.YAMLError, OmegaConfBaseException) as error:
        raise InputError(f"{path} is no YAML: {printable(str(error))[:200]}") from None


def _mapping(value: object, where: str, known: Iterable[str] | None = None) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError(f"{where}: must be keys with values")
    unknown = set() if known is None else set(value) - set(known)
    if unknown:
        raise InputError(f"{where}: {min(map(str, unknown))} is unknown: choose from {', '.join(sorted(known or []))}")
    return value


def _check_name(name: object, where: str) -> None:
    if not (isinstance(name, str) and _NAME.fullmatch(name)):  # YAML reads 155 and no as something else
        raise InputError(f"{where}: a name has at most 61 letters, digits, '_', '.' and '-', no mark first")


def _text(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise InputError(f"{where}: must be a text")
    return value


def _overrides(value: object, where: str, more_own_keys: Iterable[str] = ()) -> list[str]:
    """KEY=VALUE of hydra's, without the keys that the study sets."""
    if not isinstance(value, list):
        raise InputError(f"{where}: must be a list of KEY=VALUE")
    for one in value:
        key, equals, _ = _text(one, where).partition("=")
        if not equals:
            raise InputError(f"{where}: {one}: must be KEY=VALUE")
        if key.lstrip("+") in {*OWN_KEYS, *more_own_keys}:
            raise InputError(f"{where}: {one}: the study sets {key} itself")
    return value


def _probe_overrides(value: object, where: str) -> tuple[str, ...]:
    """[TASK:]KEY=VALUE as ``summarymixing mp3s`` takes them."""
    overrides = tuple(_overrides(value, where))
    try:
        parse_overrides(overrides)
    except InputError as error:
        raise InputError(f"{where}: {str(error).removeprefix('--override ')}") from None
    return overrides


def _whole_numbers(value: object, where: str, least: int) -> tuple[int, ...]:
    numbers = value if isinstance(value, list) else [value]
    if not numbers or any(not isinstance(one, int) or isinstance(one, bool) or one < least for one in numbers):
        raise InputError(f"{where}: must be a list of whole numbers from {least}")
    if len(set(numbers)) < len(numbers):
        raise InputError(f"{where}: a number stands there twice")
    return tuple(numbers)


def config_path(name: object, folder: Path, where: str) -> Path:
    """A configuration by its name in the package, or by its path, which ends in .yaml."""
    name = _text(name, where)
    path = Path(name).absolute() if name.endswith(".yaml") else folder / f"{name}.yaml"
    if not path.is_file():
        raise InputError(f"{where}: {path} is not there: see `summarymixing configs`, or give a path to a .yaml")
    return path


# what makes results comparable


def settings_of(study: Study, cell: Cell) -> dict[str, Any]:
    """All that decides a cell's result: fields of both trainings, the probes, and the data.

    Raises:
        InputError: for configurations or data that are not there, or an unknown task of the probes.
    """
    settings: dict[str, Any] = {
        "seed": cell.seed,
        "pretraining": (fields := fields_of(cell.encoder.config, cell.encoder.overrides)),
        "pretraining_data": fingerprint(study.pretraining_data, _manifests(fields), study.data_from),
    }
    if (after := study.finetuning) is not None:
        settings["finetuning"] = fields_of(after.config, (*after.overrides, *cell.encoder.finetuning))
        labels = settings["finetuning"].get("task.labels", "ltr")
        names = [f"{split}.{kind}" for split in (after.train, after.valid, after.test) for kind in ("tsv", labels)]
        settings["finetuning"] |= {"train": after.train, "valid": after.valid, "test": after.test}
        settings["finetuning"]["updates"] = list(after.updates)
        settings["finetuning_data"] = fingerprint(after.data, [*names, f"dict.{labels}.txt"], study.data_from)
    if (probing := study.probing) is not None:
        overrides = [*probing.overrides, *cell.encoder.probing]
        tried = {name: list(more) for name, more in cell.encoder.tried.items()}
        files: dict[str, None] = {}  # in their order
        for task, probes in choose_probes(",".join(probing.tasks)).items():
            if (found := find_data(task, probing.data)).problem:
                raise InputError(found.problem)
            for probe, more in product(probes, tried.values() or [[]]):
                names = needed_files(task, probe, parse_overrides([*overrides, *more]))
                files |= dict.fromkeys(f"{task.name}/{fold}/{name}" for fold, _ in found.folders for name in names)
        settings["probing"] = {"tasks": list(probing.tasks), "overrides": overrides, "tried": tried}
        settings["probing"] |= {config.stem: fields_of(config, ()) for config in probing.configs}
        settings["probing_data"] = fingerprint(probing.data, list(files), study.data_from)
    return settings


def _manifests(fields: Mapping[str, Any]) -> list[str]:
    splits = [str(fields.get(f"dataset.{name}_subset", name)) for name in ("train", "valid")]
    return [f"{split}.tsv" for names in splits for split in names.split(",")]


def fields_of(config: Path, overrides: Sequence[str]) -> dict[str, Any]:
    """Fields of a configuration, with those of its defaults and the overrides, as GROUP.FIELD."""
    content = _mapping(_load(config), str(config))
    own = dict(_flat({key: value for key, value in content.items() if key not in ("defaults", "hydra")}))
    fields: dict[str, Any] = {}
    defaults = content.get("defaults") or []
    for name in defaults if "_self_" in defaults else [*defaults, "_self_"]:
        fields |= own if name == "_self_" else fields_of(config.parent / f"{name}.yaml", ())
    for override in overrides:
        key, _, value = override.partition("=")
        try:
            fields[key.lstrip("+")] = yaml.safe_load(value)
        except yaml.YAMLError:  # hydra has a grammar of its own
            fields[key.lstrip("+")] = value
    return fields


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for key, below in value.items():
        if isinstance(below, dict) and below:
            yield from _flat(below, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", below


def fingerprint(folder: Path, names: Sequence[str], data_from: str) -> str:
    """Hash of files of a data folder. The first line of a manifest, its root, is left out: it differs by machine.

    Raises:
        InputError: for a file that is not there, and how the data are made.
    """
    digest = hashlib.sha256()
    for name in names:
        try:
            lines = (folder / name).read_bytes().splitlines()
        except OSError:
            made = f": make the data by {data_from}" if data_from else ""
            raise InputError(f"{folder / name} is not there{made}") from None
        digest.update(b"\n".join([name.encode(), *lines[name.endswith(".tsv") :]]))
    return digest.hexdigest()


def read_cell(path: Path, settings: Mapping[str, Any] | None) -> dict[str, Any]:
    """A cell's result on record.

    Args:
        settings: what it has to be of; None: its data are not here to compare.

    Raises:
        InputError: for a file that cannot be read, or a result of other settings, whose fields are named.
    """
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
        earlier = result["settings"]
        for numbers in (result["pretraining"]["start"], result["pretraining"]["valid"]):  # JSON has null for NaN
            numbers.update({key: math.nan for key, value in numbers.items() if value is None})
    except (AttributeError, OSError, ValueError, KeyError, TypeError):
        raise InputError(f"{path} is no result of a study: delete it to compute it again") from None
    # as JSON has it: lists for tuples
    now = earlier if settings is None else json.loads(to_json(settings))
    if now != earlier:
        then, now = dict(_flat(earlier)), dict(_flat(now))
        changed = [key for key in sorted({*then, *now}) if then.get(key) != now.get(key)]
        shown = "; ".join(f"{key} {then.get(key)!r} there, {now.get(key)!r} here" for key in changed[:MOST_DIFFERENCES])
        more = f" and {len(changed) - MOST_DIFFERENCES} more" if len(changed) > MOST_DIFFERENCES else ""
        raise InputError(f"{path} is of other settings ({printable(shown)}{more}): delete it to compute it again")
    return result
