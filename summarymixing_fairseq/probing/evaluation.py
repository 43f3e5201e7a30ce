"""Evaluate a trained probe on a split: metrics with their intervals, and the outputs that they were computed from."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Union

import numpy as np
import torch
from torch import Tensor

from ..checkpoints.contents import first_of_type, section
from ..data.checks import check_labels
from ..data.clip_states import states_of_clips
from ..data.ctc_decoding import GreedyDecoder
from ..data.manifest import Clip
from ..data.reading import pad_batch
from ..data.references import read_references, symbols_of
from ..system.errors import InputError, printable
from ..system.figures import literal, new_figure
from ..system.machine import installed_versions
from ..system.tables import tsv_rows
from .checkpoint import CLASSIFICATION, RECOGNITION, VERIFICATION, Probe
from .metrics.bootstrap import interval_by_speaker, interval_of_macro_f1, interval_of_ratio
from .metrics.error_rate import ErrorRate, error_rates, notes_on_writing
from .metrics.trials import check_speakers, read_trials, speakers_of
from .metrics.verification import eer_and_min_dcf, score_trials
from .results import EncoderSource, EvaluationData, Metric, Results

logger = logging.getLogger(__name__)

Files = dict[str, Union[str, bytes]]


@dataclass(frozen=True)
class Evaluation:
    """A probe and the clips that it is evaluated on.

    Attributes:
        data, split: of the manifest; names: of its clips, relative to its root, those of parts of one file told apart.
        num_samples: (clips,) of the manifest, at 16 kHz.
        clips: all of them; batch_seconds: of a padded batch; trials: their list, for a probe of speaker verification.
        num_replicates, seed: of the bootstrap.
    """

    probe: Probe
    data: Path
    split: str
    names: list[str]
    num_samples: np.ndarray
    clips: Sequence[Clip]
    batch_seconds: float
    trials: Path
    num_replicates: int
    seed: int

    def outputs(self, name: str) -> list[np.ndarray]:
        """One of the model's outputs for every clip: (T, symbols) of scores by frame, or a vector.

        Raises:
            InputError: as ``states_of_clips``; a clip may be too short for encoder or head.
        """
        model = self.probe.model
        device = next(model.parameters()).device

        def of_batch(waveforms: list[np.ndarray]) -> list[Tensor]:
            net_output = model(*pad_batch(waveforms, device))
            values, padding = net_output[name].float().cpu(), net_output["padding_mask"]
            if values.dim() == 2 or padding is None:
                return list(values)
            return [value[:length] for value, length in zip(values, (~padding).sum(1).tolist())]

        min_samples = model.encoder.min_samples(model.head.min_frames)
        with torch.no_grad():
            found = states_of_clips(self.clips, of_batch, min_samples, self.batch_seconds)
            outputs = {i: value.numpy().copy() for i, value in found}
        return [outputs[i] for i in range(len(self.clips))]

    def results(self, metrics: dict[str, Metric], counts: Mapping[str, float]) -> Results:
        """Metrics, with the description of probe, data and software that belongs to them."""
        config, model = self.probe.config, self.probe.model
        path = model.cfg.encoder_path or ""
        description = model.encoder.describe()
        if model.cfg.random_encoder:
            description = description.rsplit(", ", 1)[0] + ", random weights"
        source = EncoderSource(
            name=Path(path).stem or "unknown",
            description=description,
            path=path,
            # recorded in training: by now the file may be another one, as checkpoint_last.pt of a pre-training
            sha256=model.cfg.encoder_sha256 or "",
        )
        hours = float(self.num_samples.sum()) / model.encoder.sample_rate_hz / 3600
        return Results(
            task=self.probe.task,
            head=model.cfg.head,
            encoder=source,
            checkpoint=str(self.probe.path),
            # logging is no part of what was trained
            config={name: value for name, value in config.items() if name != "job_logging_cfg"},
            data=EvaluationData(str(self.data), self.split, {"clips": len(self.names), "hours": hours, **counts}),
            seed=first_of_type("seed", int, 1, section(config, "common")),
            metrics=metrics,
            layer_weights=model.layer_weights(),
            summary_shares=model.summary_shares(),
            versions=installed_versions(),
        )


def _percent(value: float, interval: tuple[float, float]) -> Metric:
    return Metric(100 * value, 100 * interval[0], 100 * interval[1], "%")


def _lines(texts: Iterable[str]) -> str:
    return "".join(f"{text}\n" for text in texts)


def evaluate_recognition(evaluation: Evaluation) -> tuple[Results, Files]:
    """WER and CER of greedy decoding, or the error rate of symbols that spell no words, against ``read_references``.

    Raises:
        InputError: for references that are missing or do not fit the manifest.
    """
    config, dictionary = evaluation.probe.config, evaluation.probe.dictionary
    symbols = symbols_of(config["task"], section(config, "criterion"), dictionary.symbols)
    decoder = GreedyDecoder(dictionary, symbols)
    found = read_references(evaluation.data, evaluation.split, len(evaluation.names), symbols)
    if found is None:
        wanted = evaluation.data / f"{evaluation.split}.{symbols.labels}"
        raise InputError(f"labels {wanted} cannot be read: they are the references that {evaluation.probe.path} needs")
    path, references = found
    if not any(references):
        raise InputError(f"{path}: all transcripts are empty, no error rate is defined")
    hypotheses = [decoder.decode(scores)[0].text for scores in evaluation.outputs("scores")]

    def rate(error_rate: ErrorRate) -> Metric:
        errors, lengths = error_rate.utterance_errors, error_rate.utterance_lengths
        return _percent(error_rate.rate, interval_of_ratio(errors, lengths, evaluation.num_replicates, evaluation.seed))

    rates = error_rates(references, hypotheses, symbols.unit)
    for note in notes_on_writing(references, hypotheses):
        logger.warning(note)
    counts = {counted: score.total for score, counted in rates.values()}
    empty = sum(not line for line in references)
    if empty:
        counts["empty transcripts"] = empty
    results = evaluation.results({name: rate(score) for name, (score, _) in rates.items()}, counts)
    files: Files = {"hypo.wrd": _lines(map(printable, hypotheses)), "ref.wrd": _lines(references)}
    return results, files


def evaluate_classes(evaluation: Evaluation) -> tuple[Results, Files]:
    """Accuracy, macro-F1 and the confusion matrix. Clips of a class that training lacks count as errors.

    Raises:
        InputError: for labels that are missing or do not fit the manifest.
    """
    from sklearn.metrics import confusion_matrix, f1_score  # takes a second

    probe = evaluation.probe
    symbols = symbols_of(probe.config["task"], {}, probe.dictionary.symbols)
    num_rows = len(evaluation.names)
    references = check_labels(str(evaluation.data), evaluation.split, symbols.labels, None, num_rows, one_class=True)
    classes = list(probe.dictionary.symbols)
    unknown = sorted(set(references) - set(classes))
    index = {label: i for i, label in enumerate([*classes, *unknown])}
    shown = [*map(printable, index)]  # a checkpoint's classes may be anything
    targets = np.array([index[label] for label in references])
    predictions = np.array([int(scores.argmax()) for scores in evaluation.outputs("scores")])
    confusion = confusion_matrix(targets, predictions, labels=range(len(index)))  # rows are references
    replicates, seed = evaluation.num_replicates, evaluation.seed
    is_right = targets == predictions
    # over the classes that occur among the references or the predictions
    macro_f1 = float(f1_score(targets, predictions, average="macro", zero_division=0))
    f1_interval = interval_of_macro_f1(targets, predictions, len(index), replicates, seed)
    metrics = {
        "accuracy": _percent(
            float(is_right.mean()), interval_of_ratio(is_right, np.ones(len(targets)), replicates, seed)
        ),
        "macro_f1": _percent(macro_f1, f1_interval),
    }
    counts = {"classes": len(set(references))}
    if unknown:
        counts["clips of classes unknown to training"] = sum(label in unknown for label in references)
    files: Files = {
        "predictions.tsv": tsv_rows(zip(evaluation.names, references, [classes[i] for i in predictions])),
        "confusion.tsv": tsv_rows(
            [["reference \\ prediction", *index], *([c, *confusion[i]] for c, i in index.items())]
        ),
    }
    try:
        files["confusion.png"] = _confusion_picture(confusion, shown, evaluation.split)
    except InputError as error:
        logger.warning("no confusion.png: %s", error)
    return evaluation.results(metrics, counts), files


def _confusion_picture(confusion: np.ndarray, classes: list[str], split: str) -> bytes:
    """PNG of a confusion matrix, each row as shares of its reference's clips. Raises InputError where it cannot be."""
    side = 2.5 + 0.32 * len(classes)
    axes = (figure := new_figure(side + 1, side)).subplots()
    classes = [*map(literal, classes)]
    shares = confusion / np.maximum(confusion.sum(1, keepdims=True), 1)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(classes)), classes, rotation=90)
    axes.set_yticks(range(len(classes)), classes)
    axes.set_xlabel("prediction")
    axes.set_ylabel("reference")
    axes.set_title(f"{literal(split)}: {int(confusion.sum()):,} clips")
    if len(classes) <= 20:
        for row, column in zip(*np.nonzero(confusion)):
            colour = "white" if shares[row, column] > 0.6 else "black"
            axes.text(column, row, str(confusion[row, column]), ha="center", va="center", fontsize=7, color=colour)
    figure.colorbar(image, ax=axes, label="share of the reference's clips", shrink=0.8)
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def evaluate_trials(evaluation: Evaluation) -> tuple[Results, Files]:
    """EER and minDCF of a list of trials, by the cosine of the two embeddings of each.

    ``eer`` and ``min_dcf`` are of the embeddings as they are, ``eer_mean_subtracted`` and ``min_dcf_mean_subtracted``
    of embeddings less their mean over the split. The prior of minDCF is 0.01.

    Raises:
        InputError: for a list that cannot be read, or names a clip that the manifest lacks.
    """
    names = evaluation.names
    trials = read_trials(evaluation.trials, names)
    if trials.labels.all() or not trials.labels.any():  # checked before embeddings take an hour
        raise InputError(
            f"{evaluation.trials}: all {len(trials)} trials are of one kind, EER and minDCF need both (1 and 0)"
        )
    speakers = speakers_of(evaluation.data, evaluation.split, names)
    check_speakers(trials, speakers, names)
    embeddings = np.stack(evaluation.outputs("embeddings"))
    by_kind = {kind: score_trials(embeddings, trials, names, bool(kind)) for kind in ("", "_mean_subtracted")}
    metrics: dict[str, Metric] = {}
    for kind, scores in by_kind.items():
        eer, min_dcf = eer_and_min_dcf(scores, trials.labels)
        of_eer, of_dcf = interval_by_speaker(scores, trials, speakers, evaluation.num_replicates, evaluation.seed)
        metrics |= {f"eer{kind}": _percent(eer, of_eer), f"min_dcf{kind}": Metric(min_dcf, *of_dcf, unit="")}
    used = np.union1d(trials.first, trials.second)
    counts = {"trials": len(trials), "targets": int(trials.labels.sum()), "speakers": len({speakers[i] for i in used})}
    first, second = ([names[i] for i in side] for side in (trials.first, trials.second))
    shown = ([f"{score:.6f}" for score in scores] for scores in by_kind.values())
    rows = tsv_rows(zip(trials.labels.astype(int), first, second, *shown))
    return evaluation.results(metrics, counts), {"scores.tsv": rows}


def evaluate(evaluation: Evaluation) -> tuple[Results, Files]:
    """Evaluate a probe by the metrics of its task.

    Returns:
        the results, and the contents of the other files by their names.

    Raises:
        InputError: for labels, references or trials that are missing or do not fit the manifest.
    """
    by_task = {RECOGNITION: evaluate_recognition, CLASSIFICATION: evaluate_classes, VERIFICATION: evaluate_trials}
    return by_task[evaluation.probe.task](evaluation)
