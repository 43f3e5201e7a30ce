"""``new_bob``: a learning rate that shrinks after an epoch without progress; ``per_group``: one for each group."""

from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional

from fairseq.dataclass import FairseqDataclass
from fairseq.optim.lr_scheduler import FairseqLRScheduler, register_lr_scheduler
from fairseq.optim.lr_scheduler.pass_through import PassThroughScheduleConfig, PassThroughScheduleSchedule
from omegaconf import II

from ...system.errors import InputError

# Metrics of the run's last validation: fairseq tells schedules of checkpoint.best_checkpoint_metric alone.
last_validation: Dict[str, Any] = {}


@dataclass
class NewBobConfig(FairseqDataclass):
    """Shrinking, and what counts as progress."""

    lr_shrink: float = field(default=0.5, metadata={"help": "factor of the rate after an epoch without progress"})
    lr_threshold: float = field(
        default=0.0025, metadata={"help": "relative improvement over the epoch before that counts as progress"}
    )
    is_accuracy: bool = field(
        default=False, metadata={"help": "the metric is an accuracy in percent: 100 minus it is what must fall"}
    )
    metric: str = field(
        default=II("checkpoint.best_checkpoint_metric"),
        metadata={"help": "what is followed, by its name in the log; by default what the best checkpoint is chosen by"},
    )
    lr: List[float] = II("optimization.lr")


@register_lr_scheduler("new_bob", dataclass=NewBobConfig)
class NewBobSchedule(FairseqLRScheduler):
    """New-bob annealing: after each epoch, the validation metric is compared with that of the epoch before.

    fairseq's ``reduce_lr_on_plateau`` compares with the best epoch so far: after one very good epoch every later one
    would count as without progress.

    Raises:
        InputError: for a factor out of (0, 1].
    """

    def __init__(self, cfg: NewBobConfig, optimizer: Any):
        super().__init__(cfg, optimizer)
        if not 0 < cfg.lr_shrink <= 1:
            raise InputError(f"lr_scheduler.lr_shrink={cfg.lr_shrink}: must be above 0 and at most 1")
        self.previous: Optional[float] = None
        self.optimizer.set_lr(cfg.lr[0])

    def state_dict(self) -> Dict[str, Any]:
        """The metric of the last epoch. The optimizer keeps the rate."""
        return {"previous": self.previous}

    def load_state_dict(self, state_dict: Dict[str, Any]) -> None:
        """Restore what ``state_dict`` saved."""
        self.previous = state_dict["previous"]

    def step(self, epoch: int, val_loss: Optional[float] = None) -> float:
        """Shrink the rate if the metric of the epoch that ends is no better than the last one's.

        Raises:
            InputError: for a ``lr_scheduler.metric`` that the validation does not have.
        """
        if val_loss is None:  # taken up again, or an epoch without validation
            return self.optimizer.get_lr()
        if last_validation:  # fairseq's own tasks do not note it
            if self.cfg.metric not in last_validation:
                raise InputError(
                    f"lr_scheduler.metric={self.cfg.metric}: the validation has no such number, but "
                    f"{', '.join(sorted(last_validation))}"
                )
            val_loss = float(last_validation[self.cfg.metric])
        error = 100.0 - val_loss if self.cfg.is_accuracy else float(val_loss)
        if self.previous is not None:
            improvement = (self.previous - error) / self.previous if self.previous else 0.0
            if improvement < self.cfg.lr_threshold:
                self.optimizer.set_lr(self.optimizer.get_lr() * self.cfg.lr_shrink)
        self.previous = error
        return self.optimizer.get_lr()

    def step_update(self, num_updates: int) -> float:
        """The rate changes between epochs only."""
        return self.optimizer.get_lr()


@register_lr_scheduler("per_group", dataclass=PassThroughScheduleConfig)
class PerGroupSchedule(PassThroughScheduleSchedule):
    """fairseq's ``pass_through`` that also ends epochs: in it, schedules which follow a metric never move."""

    def step(self, epoch: int, val_loss: Optional[float] = None) -> None:
        """End an epoch in the schedule of every group."""
        super().step(epoch, val_loss)
        # fairseq's CompositeLRScheduler.step would keep the metric from them
        for schedule in self.optimizer.lr_scheduler.lr_schedulers.values():
            schedule.step(epoch, val_loss)
