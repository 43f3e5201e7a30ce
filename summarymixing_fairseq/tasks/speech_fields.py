"""Fields that our tasks add to those of fairseq's. Annotations are types here: fairseq reads them on every Python."""

from dataclasses import dataclass, field

from fairseq.dataclass import FairseqDataclass
from omegaconf import II


@dataclass
class SpeechFields(FairseqDataclass):
    """Bad clips, files outside the root, shards, checkpoints, and the training precision, which follows ``common``."""

    max_bad_fraction: float = field(
        default=0.01,
        metadata={
            "help": "share of a split's clips that may be unreadable before the run stops; others stand in for them"
        },
    )
    allow_outside_root: bool = field(
        default=False,
        metadata={"help": "read rows that lead out of their manifest's root too: absolute paths, `..`, links"},
    )
    shard_buffer: int = field(
        default=8,
        metadata={"help": "of clips in shards: shards whose clips are shuffled together; they should fit the memory"},
    )
    amp_dtype: str = field(
        default="auto",
        metadata={
            "help": "dtype of products under common.amp: bfloat16, float16, float32, or auto: bfloat16 on GPUs that "
            "compute in it, float16 on others, float32 on CPUs"
        },
    )
    background_checkpoints: bool = field(
        default=False,
        metadata={"help": "write checkpoints while training goes on; a copy in main memory is made first"},
    )
    amp: bool = II("common.amp")
    fp16: bool = II("common.fp16")
    bf16: bool = II("common.bf16")
