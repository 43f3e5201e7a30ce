"""``speech_finetuning``: fairseq's ``audio_finetuning`` on segments of files, with bad clips replaced."""

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, Optional

import torch
from fairseq.criterions import CRITERION_REGISTRY
from fairseq.criterions.ctc import CtcCriterion
from fairseq.data import Dictionary
from fairseq.models.wav2vec.wav2vec2_asr import Wav2VecCtc
from fairseq.tasks import register_task
from fairseq.tasks.audio_finetuning import AudioFinetuningConfig, AudioFinetuningTask
from omegaconf import OmegaConf, open_dict
from torch import nn

from ..checkpoints.hf_folder import content_sha256
from ..checkpoints.recognisers_encoder import copy_outputs
from ..data.checks import check_labels, check_sample_rate, check_uncropped, warn_of_long_transcripts
from ..data.dictionary import load_dictionary
from ..data.manifest import Manifest
from ..data.references import POST_PROCESS
from ..models.wav2vec2_summarymixing import Wav2Vec2SummaryMixingModel
from ..modules.frontend import FilterbankFrontend
from ..system.errors import InputError
from ..system.options import Refused
from ..system.units import SAMPLE_RATE_HZ
from ..training.patches.checkpoints import OF_RECOGNISER
from .speech_fields import SpeechFields
from .speech_task import SegmentedAudioTask, SpeechTask

logger = logging.getLogger(__name__)


@dataclass
class SpeechFinetuningConfig(SpeechFields, AudioFinetuningConfig):
    """fairseq's fields, those of all our tasks, and which layers start anew."""

    reset_last_layers: int = field(
        default=0,
        metadata={
            "help": "the last layers of the pre-trained encoder that start from random weights: what they hold may "
            "serve the pre-training's targets more than yours"
        },
    )


@register_task("speech_finetuning", dataclass=SpeechFinetuningConfig)
class SpeechFinetuningTask(SpeechTask, AudioFinetuningTask, SegmentedAudioTask):
    """fairseq's task, with what ``speech_pretraining`` has, and labels checked before they train."""

    may_crop = False
    pretrained: str = ""  # SHA-256 of the file whose weights training starts from
    _output_lengths: Any = None  # samples to frames, (B,) to (B,), of the model that is trained
    _model: Any = None

    def build_model(self, model_cfg: Any, from_checkpoint: bool = False) -> Any:
        """As fairseq's. Raises InputError for audio at another rate, or normalised in another way, than the pre-trained
        model's, layers to reset that are not there, or a field that training needs and is not set."""
        if not (from_checkpoint or self.cfg.labels):
            raise InputError("task.labels is not set: name the ending of the label files, such as ltr")
        if OmegaConf.is_missing(model_cfg, "w2v_path"):
            raise InputError("model.w2v_path is not set: name the pre-trained checkpoint")
        try:
            model = super().build_model(model_cfg, from_checkpoint)
        except AssertionError as error:
            if "normalization" not in str(error):
                raise
            given = str(bool(self.cfg.normalize)).lower()
            raise InputError(
                f"task.normalize={given}: {model_cfg.w2v_path} was pre-trained with the opposite, so set it to that"
            ) from None
        self._model = model
        if getattr(model_cfg, "w2v_path", None) and not (from_checkpoint or model_cfg.no_pretrained_weights):
            self.pretrained = content_sha256(Path(model_cfg.w2v_path))
            self._keep_outputs(model, Path(model_cfg.w2v_path))
        if self.cfg.reset_last_layers and not from_checkpoint:
            _reset_last_layers(model, self.cfg.reset_last_layers)
        self._output_lengths = next(filter(None, map(_output_lengths, model.modules())), None)
        pretrained_task = (getattr(getattr(model, "cfg", None), "w2v_args", None) or {}).get("task")
        if pretrained_task is not None:  # a probe checks its encoder itself
            check_sample_rate(self.cfg.sample_rate, pretrained_task.get("sample_rate", SAMPLE_RATE_HZ))
        return model

    def min_samples(self) -> int:
        """Samples of a clip that gives a frame, by a model of ours."""
        modules = () if self._model is None else self._model.modules()
        frontends = [module for module in modules if isinstance(module, FilterbankFrontend)]
        return frontends[0].min_samples() if frontends else 0

    def _keep_outputs(self, model: Any, path: Path) -> None:
        """Where training starts from a fine-tuned model, outputs for symbols that it knows start as they are there."""
        w2v_args = getattr(getattr(model, "cfg", None), "w2v_args", None)
        if w2v_args is None or OF_RECOGNISER not in w2v_args:
            return
        with open_dict(w2v_args):
            del w2v_args[OF_RECOGNISER]
        if isinstance(model, Wav2VecCtc):
            new, gone = copy_outputs(model.w2v_encoder.proj, self.target_dictionary, path)
            logger.info(
                "outputs start as in %s; new symbols: %s; left out: %s",
                *(path, *(" ".join(symbols) or "none" for symbols in (new, gone))),
            )

    def build_criterion(self, cfg: Any, *args: Any, **kwargs: Any) -> Any:
        """As fairseq's. Raises InputError for another criterion than ``ctc`` where the model is fairseq's for CTC, or
        for a ``post_process`` that fairseq lacks, which it would tell at the first validation."""
        scheme = cfg.get("post_process")
        if scheme not in (None, *POST_PROCESS):
            raise InputError(f"criterion.post_process={scheme}: choose one of {', '.join(POST_PROCESS)}")
        if isinstance(self._model, Wav2VecCtc) and not issubclass(CRITERION_REGISTRY[cfg._name], CtcCriterion):
            raise InputError(f"criterion._name={cfg._name}: model wav2vec_ctc is trained by ctc")
        return super().build_criterion(cfg, *args, **kwargs)

    def get_checkpoint_dict(self) -> Dict[str, Any]:
        """As every task's, and which pre-trained file this is the fine-tuning of."""
        state = super().get_checkpoint_dict()
        state[type(self).__name__]["pretrained"] = self.pretrained
        return state

    def load_target_dictionary(self) -> Optional[Dictionary]:
        """Symbols of dict.LABELS.txt, or None without labels. Raises InputError for a file that is no dictionary."""
        if not self.cfg.labels:
            return None
        return load_dictionary(Path(self.cfg.target_dictionary or self.cfg.data) / f"dict.{self.cfg.labels}.txt")

    def check_split(self, split: str, manifest: Manifest) -> None:
        """Check a split before it trains.

        Raises:
            InputError: for a first clip that is not there, clips that would be cropped, or labels that do not fit rows
                and dictionary.
        """
        super().check_split(split, manifest)
        check_uncropped(manifest, self.cfg.max_sample_size)
        num_rows = len(manifest) + len(manifest.skipped)
        labels = check_labels(self.cfg.data, split, self.cfg.labels, self.target_dictionary, num_rows)
        if self._output_lengths is not None and not self.cfg.autoregressive:
            kept = {position + 1: line for position, line in enumerate(labels) if position not in manifest.skipped}
            num_frames = self._output_lengths(torch.from_numpy(manifest.sizes.copy())).tolist()
            warn_of_long_transcripts(manifest.path.with_suffix(f".{self.cfg.labels}"), kept, num_frames)


def _output_lengths(module: nn.Module) -> Any:
    """The function of a feature extractor from samples to frames, under our name or fairseq's."""
    return getattr(module, "output_lengths", None) or getattr(module, "_get_feat_extract_output_lengths", None)


def _reset_last_layers(model: Any, number: int) -> None:
    """Raises InputError where the encoder is not ours or has fewer layers."""
    # of fairseq's models for CTC and for sequences
    places = (getattr(getattr(model, name, None), "w2v_model", None) for name in ("w2v_encoder", "encoder"))
    encoder = next((place for place in places if isinstance(place, Wav2Vec2SummaryMixingModel)), None)
    try:
        if encoder is None:
            raise Refused("reset_last_layers", number, "only of wav2vec2_summarymixing in fine-tuning: leave it at 0")
        encoder.reset_last_layers(number)
    except Refused as error:
        raise InputError(f"task.{error}") from None
