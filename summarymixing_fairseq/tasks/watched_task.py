"""What every training of ours has: repeatable random numbers, health checks, and an explanation of a NaN."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from fairseq import checkpoint_utils
from fairseq.logging import metrics
from fairseq.tasks import FairseqTask
from fairseq.trainer import Trainer
from fairseq_cli.train import should_stop_early
from omegaconf.errors import OmegaConfBaseException
from torch import Tensor, nn

from ..modules.conformer import ConformerEncoder
from ..modules.frontend import FilterbankFrontend
from ..modules.mixing import most_frames
from ..system.errors import InputError
from ..system.finite import is_finite
from ..system.interrupts import noted
from ..system.machine import free_memory
from ..system.precision import autocast
from ..system.transfers import read_numbers
from ..system.units import SAMPLE_RATE_HZ
from ..training.criterion import PretrainingCriterion
from ..training.watch.divergence import first_bad_parameter, loss_scale_advice, watched
from ..training.watch.health import LastingSigns, signs_of_ill_health
from ..training.watch.memory import bytes_of_update
from ..training.watch.noise import batch_seeds
from ..training.watch.start_table import GIB, start_table

logger = logging.getLogger(__name__)

# Sums that each batch adds to its logging output. They are taken out again before fairseq logs the rest.
SUMS = (
    *("audio_samples", "computed_samples", "masked_frames", "valid_frames"),
    *("wait_seconds", "busy_seconds", "signals"),
)
# At most so many losses that are not finite are explained in a run: each costs another forward pass.
MOST_EXPLAINED = 20
MOST_NAMED = 8
# Of the noise by which memory is counted: 4 s.
TRIED_SAMPLES = 4 * SAMPLE_RATE_HZ


class WatchedTask(FairseqTask):
    """First base of our tasks, before one of fairseq's. ``training.patches.trainer`` calls its hooks."""

    may_crop = True  # whether a clip means the same when it is cropped, as one with a transcript does not
    _trainer: Any = None
    _noise: Iterator[int] | None = None  # seeds

    def __init__(self, cfg: Any, **kwargs: Any):
        super().__init__(cfg, **kwargs)
        self.audio_seconds = 0.0  # heard in training, resumed runs included
        self.told_to_stop = False  # by a signal to one of the processes; they all know since the same update
        self._health = LastingSigns(getattr(cfg, "health_updates", 200))
        self._update_started = 0.0
        self._busy_seconds = 0.0  # of the update before
        self.waits_since = 0.0  # when it began to wait for a batch: set once all is done that an update brings
        self._wait_seconds = 0.0
        self._samples: Sequence[Any] = ()  # batches of this update, as the data loader gave them
        self._seeds: list[int] = []  # of each batch of this update
        self._outputs: dict[int, dict[str, Any]] = {}  # what its batches log and nobody has read, by their places
        self._explained: set[tuple[int, ...]] = set()
        self._scaler_state: dict[str, Any] | None = None

    def begin_update(self, trainer: Trainer, samples: Sequence[Any]) -> None:
        """Before an update of these batches, and before each try of one under amp."""
        self._trainer = trainer
        self._samples = samples
        self._noise = batch_seeds(trainer.cfg.common.seed + trainer.get_num_updates())
        self._seeds.clear()
        self._outputs.clear()
        self._restore_scaler()
        self._update_started = time.perf_counter()
        self._wait_seconds = self._update_started - self.waits_since if self.waits_since else 0.0
        self.waits_since = 0.0  # an update that is tried again has not waited

    def min_samples(self) -> int:
        """Samples that the model needs of a clip, beyond what all clips of a manifest have."""
        return 0

    def begin_run(self, trainer: Trainer, epoch_itr: Any) -> None:
        """Before each epoch. Before the first, log what the run is going to be, and warn if an update takes more memory
        than is free: on a CPU such a run is killed without a word.

        Raises:
            InputError: for a clip that is longer than the mixers take.
        """
        is_begun, self._trainer = self._trainer is not None, trainer
        if is_begun:
            return
        self._check_lengths(trainer.get_model())
        needed, free = self._memory(trainer)  # by every process: they may exchange numbers in the forward pass
        if not trainer.is_data_parallel_master:
            return
        logger.info(start_table(trainer, epoch_itr, needed, free))
        if needed is not None and free is not None and needed > free:
            logger.warning(
                "an update takes about %.0f GiB of memory and %.0f GiB are free, so that the run may be killed: lower "
                "dataset.max_tokens=%d and raise optimization.update_freq, set +model.recompute=cheap, or train a "
                "smaller model",
                needed / GIB,
                free / GIB,
                trainer.cfg.dataset.max_tokens,
            )

    def _check_lengths(self, model: nn.Module) -> None:
        most = most_frames(model)
        frontend = next((module for module in model.modules() if isinstance(module, FilterbankFrontend)), None)
        if math.isinf(most) or frontend is None:
            return
        for split, dataset in self.datasets.items():
            longest = int(max(dataset.sizes))
            if (frames := int(frontend.output_lengths(torch.tensor(longest)))) > most:
                raise InputError(
                    f"{split}: a clip of {longest / SAMPLE_RATE_HZ:g} s has {frames} frames, and a mixer of this model "
                    f"takes {most:.0f}: leave it out (--max-seconds when making the manifest), or pre-train with a "
                    "larger model.mixer_options.max_frames"
                )

    def _memory(self, trainer: Trainer) -> tuple[int | None, int | None]:
        """Bytes that an update of all processes of this machine takes, on a CPU as far as they can be counted, and
        bytes that are free."""
        if trainer.cuda:
            return None, torch.cuda.mem_get_info()[0]
        max_tokens, free, model = trainer.cfg.dataset.max_tokens, free_memory(), trainer.get_model()
        encoders = [module for module in model.modules() if isinstance(module, ConformerEncoder)]
        # models of fairseq's may not take a waveform alone; compiled layers and parts of weights cannot be counted
        plain = bool(encoders) and not encoders[0].to_compile and not trainer.is_fsdp and not hasattr(model, "decoder")
        if free is None or not (max_tokens and plain):
            return None, free
        # processes of this machine, by torchrun or Slurm: without them a CPU has one
        here = int(os.environ.get("LOCAL_WORLD_SIZE") or os.environ.get("SLURM_NTASKS_PER_NODE") or 1)
        return here * bytes_of_update(model.train(), max_tokens, max(TRIED_SAMPLES, self.min_samples())), free

    def end_update(self) -> None:
        """After an update that did not fail."""
        self._busy_seconds = time.perf_counter() - self._update_started

    def train_step(self, sample: Any, model: nn.Module, criterion: Any, *args: Any, **kwargs: Any) -> Any:
        """As fairseq's: forward and backward pass of a batch, with random numbers of its own."""
        if self._noise is not None:
            self._seeds.append(next(self._noise))
            torch.manual_seed(self._seeds[-1])

        def in_precision(*inputs: Any) -> Any:
            # inside fairseq's own autocast, which is float16 on GPUs; the backward pass stays outside
            with self.autocast(model):
                return criterion(*inputs)

        loss, sample_size, logging_output = super().train_step(sample, model, in_precision, *args, **kwargs)
        self._outputs[len(self._seeds) - 1] = logging_output
        if "num_samples" in sample:
            logging_output.update(self._counts(sample, model, logging_output))
        return loss, sample_size, logging_output

    def read_update(self, numbers: dict[str, Any]) -> None:
        """Read what the batches of the update log, and further numbers: the only time that an update waits for a GPU.

        Tensors of one number become Python's numbers in place. A loss that is not finite is explained.
        """
        outputs, self._outputs = self._outputs, {}
        read_numbers([*outputs.values(), numbers])
        for place, output in outputs.items():
            if not math.isfinite(output["loss"]):
                sample, _ = self._trainer._prepare_sample(self._samples[place])
                self._explain_loss(output["loss"], sample, self._trainer.get_criterion(), self._seeds[place])

    def valid_step(self, sample: Any, model: nn.Module, criterion: Any) -> Any:
        """As fairseq's, in the precision of training: fairseq validates in float32 under ``common.amp``.

        Masks, negatives and the like depend on the updates so far and on the batch, as in training. fairseq's go on
        from where the last batch of training and the data loaders have left torch's generator.
        """
        if self._noise is not None:
            torch.manual_seed(next(self._noise))
        with self.autocast(model):
            return super().valid_step(sample, model, criterion)

    def autocast(self, model: nn.Module) -> torch.autocast:
        """The autocast of ``common.amp`` and ``task.amp_dtype``; without effect for a task that does not see them."""
        try:
            amp = bool(self.cfg.amp)
        except (AttributeError, OmegaConfBaseException):
            amp = False
        return autocast(str(self.cfg.amp_dtype) if amp else "float32", next(model.parameters()).device.type)

    def optimizer_step(self, optimizer: Any, model: nn.Module, update_num: int) -> None:
        """As fairseq's. Layers that LayerDrop left out get a gradient of zero first, so that all are updated."""
        for module in model.modules():
            if isinstance(module, ConformerEncoder):
                module.fill_missing_gradients()
        super().optimizer_step(optimizer, model=model, update_num=update_num)

    def begin_valid_epoch(self, epoch: int, model: nn.Module) -> None:
        """As fairseq's, with random numbers that depend on the updates so far."""
        if self._trainer is not None:
            cfg, fixed_seed = self._trainer.cfg.common, self._trainer.cfg.dataset.fixed_validation_seed
            self._noise = batch_seeds(cfg.seed + self._trainer.get_num_updates() if fixed_seed is None else fixed_seed)
        super().begin_valid_epoch(epoch, model)

    # health

    def _counts(self, sample: Any, model: nn.Module, logging_output: dict[str, Any]) -> dict[str, float]:
        """``SUMS`` of a batch."""
        is_first = len(self._seeds) <= 1
        num_samples = sample["num_samples"]
        counts = dict.fromkeys(SUMS, 0.0)
        counts["signals"] = float(bool(noted()))
        counts["audio_samples"] = float(sum(num_samples))
        # a batch may hold features that were kept: they count as the padded audio that they were computed from
        source = sample["net_input"].get("source")
        counts["computed_samples"] = float(len(num_samples) * max(num_samples) if source is None else source.numel())
        if is_first and self._busy_seconds:
            counts["wait_seconds"], counts["busy_seconds"] = self._wait_seconds, self._busy_seconds
        counts.update(self.mask_counts(sample, model, logging_output))
        return counts

    def mask_counts(self, sample: Any, model: nn.Module, logging_output: dict[str, Any]) -> dict[str, float]:
        """``masked_frames`` and ``valid_frames`` of a batch, where the task masks."""
        return {}

    def health_targets(self) -> dict[str, float]:
        """``masked_target`` and ``num_codes`` of ``signs_of_ill_health``, where the task has them."""
        return {}

    def reduce_metrics(self, logging_outputs: list[dict[str, Any]], criterion: Any) -> None:
        """As fairseq's. In training also logs ``audio_hours`` heard so far and the shares of ``padding``, ``masked``
        frames and ``data_wait``, and warns where these, the loss, the accuracy or the codebooks look wrong."""
        read_numbers(logging_outputs)
        if not logging_outputs or "audio_samples" not in logging_outputs[0]:
            super().reduce_metrics(logging_outputs, criterion)
            return
        sums = {name: float(sum(output.pop(name, 0.0) for output in logging_outputs)) for name in SUMS}
        super().reduce_metrics(logging_outputs, criterion)
        self.told_to_stop = sums["signals"] > 0
        self.audio_seconds += sums["audio_samples"] / getattr(self.cfg, "sample_rate", SAMPLE_RATE_HZ)
        metrics.log_scalar("audio_hours", self.audio_seconds / 3600, weight=0, priority=600, round=3)
        shares = {
            "padding": (sums["computed_samples"] - sums["audio_samples"], sums["computed_samples"]),
            "masked": (sums["masked_frames"], sums["valid_frames"]),
            "data_wait": (sums["wait_seconds"], sums["wait_seconds"] + sums["busy_seconds"]),
        }
        found: dict[str, float] = {}
        for name, (part, whole) in shares.items():
            if whole > 0:
                found[name] = part / whole
                metrics.log_scalar(name, found[name], weight=whole, priority=610, round=4)
        found |= {**self._learning(logging_outputs, criterion), **self.health_targets()}
        if self._trainer is not None and self._trainer.is_data_parallel_master:
            least = getattr(self.cfg, "min_codebook_use", 0.02)
            self._health.check(signs_of_ill_health(found, least, self.may_crop), self._trainer.get_num_updates())

    @staticmethod
    def _learning(logging_outputs: list[dict[str, Any]], criterion: Any) -> dict[str, float]:
        """Loss in bits, accuracy and code perplexity, as far as the criterion gives what they are made of."""

        def total(name: str) -> float:
            return float(sum(output.get(name, 0.0) for output in logging_outputs))

        found = {}
        if total("sample_size") > 0:
            found["loss_bits"] = total("loss") / total("sample_size") / math.log(2)
        if total("count") > 0:
            found["accuracy"] = total("correct") / total("count")
        if all("code_perplexity" in output for output in logging_outputs):
            # one of the two gives a mean for each batch, the other sums over the targets
            is_sum = isinstance(criterion, PretrainingCriterion)
            weight = total("sample_size") if is_sum else len(logging_outputs)
            found["code_perplexity"] = total("code_perplexity") / weight
        return found

    # what a checkpoint keeps in addition to fairseq's own

    def get_checkpoint_dict(self) -> dict[str, Any]:
        """What fairseq adds to a checkpoint's extra state: audio heard, the state of the loss scale, and counts.

        They are for how many updates each sign of ill health has lasted, and for how many validations nothing has
        improved (``checkpoint.patience``), which fairseq keeps in a function of the process.
        """
        state: dict[str, Any] = {
            "audio_seconds": self.audio_seconds,
            "health": self._health.state(),
            "early_stop": dict(vars(should_stop_early)),
        }
        scaler = None if self._trainer is None else getattr(self._trainer.optimizer, "scaler", None)
        if scaler is not None:
            state["scaler"] = scaler.state_dict() if hasattr(scaler, "state_dict") else dict(vars(scaler))
        return {type(self).__name__: state}

    def set_checkpoint_dict(self, state: dict[str, Any]) -> None:
        """Restore what ``get_checkpoint_dict`` saved."""
        self.audio_seconds = float(state.get("audio_seconds", 0.0))
        self._health = LastingSigns(self._health.patience, state.get("health"))
        if hasattr(checkpoint_utils.save_checkpoint, "best"):  # checkpoint.reset_meters forgets it
            vars(should_stop_early).update(state.get("early_stop", {}))
        self._scaler_state = state.get("scaler")

    def _restore_scaler(self) -> None:
        """Restore the loss scale. fairseq forgets when fp16's last changed, and amp's altogether."""
        state, self._scaler_state = self._scaler_state, None
        scaler = getattr(self._trainer.optimizer, "scaler", None)
        if not state or scaler is None:
            return
        if hasattr(scaler, "load_state_dict"):
            if scaler.is_enabled():  # how fast the scale grows is the configuration's, not the checkpoint's
                scaler.load_state_dict({**state, "growth_interval": scaler.get_growth_interval()})
        else:  # the scale and its counts; the rest is of the configuration
            kept = {name: value for name, value in state.items() if name == "loss_scale" or name.startswith("_")}
            vars(scaler).update({name: value for name, value in kept.items() if name in vars(scaler)})

    # numbers that are not finite

    def clip_names(self, numbers: Tensor) -> str:
        """Clips of training by their numbers, with the names of their files where the dataset has them."""
        dataset: Any = next((self.datasets[name] for name in self.datasets if name.startswith("train")), None)
        while dataset is not None and not hasattr(dataset, "fnames"):
            dataset = getattr(dataset, "dataset", None)
        listed = numbers.tolist()
        shown = [f"{n} ({dataset.fnames[n]})" if dataset is not None else str(n) for n in listed[:MOST_NAMED]]
        more = len(listed) - MOST_NAMED
        return ", ".join(shown) + (f" and {more} more" if more > 0 else "")

    def _policy(self) -> str:
        common = self._trainer.cfg.common
        if common.amp and self._trainer.optimizer.scaler.is_enabled():
            return "fairseq tries the batch again with a lower loss scale, then skips it (common.amp_batch_retries)"
        if common.fp16:
            return "fairseq lowers the loss scale and skips the update"
        return "fairseq ends the run, and saves crash.pt as it was before this update"

    def _explain_loss(self, value: float, sample: Any, criterion: Any, seed: int) -> None:
        """Log which utterances gave a loss that is not finite, and where in the model it began."""
        # amp tries a batch again, and fairseq looks at it a second time before it ends a run
        batch = (self._trainer.get_num_updates(), *sample["id"].tolist())
        if batch in self._explained or len(self._explained) >= MOST_EXPLAINED:
            return
        self._explained.add(batch)
        where = self._first_non_finite(sample, criterion, seed, backward=False)
        logger.error(
            "update %d: the loss is %s; %s; utterances %s. %s",
            self._trainer.get_num_updates() + 1,
            value,
            where,
            self.clip_names(sample["id"]),
            self._policy(),
        )

    def _first_non_finite(self, sample: Any, criterion: Any, seed: int, backward: bool) -> str:
        """The first module with a number that is not finite, in words. Runs the batch again with its random numbers."""
        model = self._trainer.get_model()
        parameter = first_bad_parameter(model)
        if parameter is not None:
            return f"parameter {parameter} itself is not finite"
        source = sample["net_input"].get("source")
        if source is not None and not is_finite(source):
            return "the waveform itself is not finite"
        if self._trainer.is_fsdp:
            return "where it began is not looked for under fully_sharded"
        torch.manual_seed(seed)
        # compiled layers would not call the hooks
        with torch.compiler.set_stance("force_eager"), watched(model) as found, torch.set_grad_enabled(backward):
            with self.autocast(model):
                loss = criterion(model, sample)[0]
            if backward:
                loss.backward()
        if found.forward is not None:
            return f"the first module with an output that is not finite is {found.forward}"
        if not is_finite(loss.detach()):
            return "all modules' outputs are finite: the loss itself overflows"
        if found.backward is not None:
            return f"the first module (from the loss on) with a gradient that is not finite is {found.backward}"
        return ""

    def explain_divergence(self, samples: list[Any], error: FloatingPointError) -> str:
        """The message with which a run ends, where fairseq gives up for gradients that are not finite."""
        update = self._trainer.get_num_updates() + 1
        message = f"update {update}: {error}"
        if "loss scale" in str(error):
            return f"{message} That is: {loss_scale_advice('amp' if self._trainer.cfg.common.amp else 'fp16')}"
        for number, sample in enumerate(samples):
            self._trainer.zero_grad()
            prepared, is_dummy = self._trainer._prepare_sample(sample)
            if is_dummy or number >= len(self._seeds):
                continue
            where = self._first_non_finite(prepared, self._trainer.get_criterion(), self._seeds[number], backward=True)
            if where:
                message += f"; {where}; utterances {self.clip_names(prepared['id'])}"
        return message
