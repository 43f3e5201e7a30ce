"""What is fuzzed: one function for each kind of input, from bytes to None.

A target may refuse its input by an InputError with one short line. Any other exception is a bug, and so is too much
time or memory. Each input may take ``MAX_SECONDS`` of processor time, and ``BASE_BYTES`` of memory plus
``BYTES_PER_BYTE`` for each of its bytes. 64 MiB hold the blocks in which audio is read, with all copies. 2,000 bytes
are 500 float32 samples, more than FLAC decodes from a byte of digital silence.
"""

from __future__ import annotations

import atexit
import functools
import gzip
import math
import os
import resource
import shutil
import struct
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import fields
from pathlib import Path

os.environ.setdefault("TQDM_DISABLE", "1")

import numpy as np
import soundfile
import torch

from summarymixing_fairseq.checkpoints.contents import over_defaults, refusals_named
from summarymixing_fairseq.corpora import table
from summarymixing_fairseq.corpora.writing.corpus import Prepared, write_corpus
from summarymixing_fairseq.corpora.writing.options import ManifestOptions
from summarymixing_fairseq.data.audio import read_segment
from summarymixing_fairseq.data.checks import check_labels
from summarymixing_fairseq.data.dictionary import load_dictionary
from summarymixing_fairseq.data.manifest import Clip, Manifest, OutsideRootError, read_labels
from summarymixing_fairseq.data.reading import read_in_batches
from summarymixing_fairseq.data.segments import SegmentDataset
from summarymixing_fairseq.models.checks import validate
from summarymixing_fairseq.models.config import Wav2Vec2SummaryMixingConfig, num_parameters
from summarymixing_fairseq.models.wav2vec2_summarymixing import Wav2Vec2SummaryMixingModel
from summarymixing_fairseq.system.errors import InputError

MAX_SECONDS = 5.0
BASE_BYTES = 64 * 2**20
BYTES_PER_BYTE = 2_000
# A message is one line, with a path or two.
MAX_MESSAGE = 10_000
# Larger models are not built: only their configuration is checked.
MAX_PARAMETERS_BUILT = 300_000
EXTENSIONS = ("wav", "flac", "ogg", "opus", "mp3", "raw", "aiff", "")
# An audio input starts with these: extension, first sample, number of samples. The file's content follows.
AUDIO_HEAD = struct.Struct("<BqI")


class Violation(AssertionError):
    """What no input may cause."""


@contextmanager
def bounded(num_bytes: int) -> Iterator[None]:
    """Raise Violation if the body takes more time or memory than an input of that length may."""
    tracemalloc.start()
    resident, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    try:
        yield
    finally:
        seconds = time.process_time() - started
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        # includes what libraries allocate outside of Python
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - resident) * 1024
    limit = BASE_BYTES + BYTES_PER_BYTE * num_bytes
    if seconds > MAX_SECONDS:
        raise Violation(f"{seconds:.1f} s for {num_bytes} bytes")
    if max(peak, grown) > limit:
        raise Violation(f"{peak} bytes of Python's memory, {grown} of the process's for an input of {num_bytes}")


@contextmanager
def refusable() -> Iterator[None]:
    """Let an InputError pass if its message is one short line."""
    try:
        yield
    except InputError as error:
        message = str(error)
        if not message.strip() or "\n" in message or len(message) > MAX_MESSAGE:
            raise Violation(f"not a line to read: {message[:200]!r}") from error


@functools.lru_cache(maxsize=1)
def folder() -> Path:
    """A folder of this process, in memory if possible, removed at its end. It holds files that rows can name."""
    made = Path(tempfile.mkdtemp(prefix="fuzz-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None))
    atexit.register(shutil.rmtree, made, True)
    (made / "root" / "a").mkdir(parents=True)
    (made / "outside").mkdir()
    for path in ("root/x.wav", "root/a/y.wav", "outside/z.wav"):
        soundfile.write(made / path, np.sin(np.arange(1600) / 5) / 2, 16_000)
    (made / "root" / "out").symlink_to(made / "outside")
    (made / "root" / "z.wav").symlink_to(made / "outside" / "z.wav")
    return made


def fuzz_manifest(data: bytes) -> None:
    """A byte of options, then a manifest. Rows are read if its root is our folder, which the byte decides."""
    options, content = data[:1] or b"\0", data[1:]
    allowed, min_samples = bool(options[0] & 1), (0, 100)[options[0] >> 1 & 1]
    root = folder() / "root"
    path = folder() / "m.tsv"
    path.write_bytes(content if options[0] & 4 else os.fsencode(root) + b"\n" + content)
    with bounded(len(data)), refusable():
        manifest = Manifest(path, min_samples, allowed)
        if not (manifest.sizes >= min_samples).all():
            raise Violation("a clip is shorter than the minimum")
        for index, clip in enumerate(manifest):
            if clip.name != manifest.name(index) or not clip.name or "\0" in clip.name:
                raise Violation(f"{clip.name!r} of row {index}")
            if not allowed and not _is_below(os.path.join("/r", clip.name), "/r"):
                raise Violation(f"{clip.name!r} is outside of the root")
        if options[0] & 4:  # only our own files are read
            return
        dataset = SegmentDataset(manifest, 16_000, pad=True)
        for index in range(min(len(manifest), 4)):
            clip = manifest[index]
            forbidden = not allowed and not _is_below(os.path.realpath(clip.path), str(root))
            with refusable():
                dataset[index]
                if forbidden:
                    raise Violation(f"{clip.path} was read")
            with refusable():
                list(read_in_batches([clip], 10))
            if forbidden and not any(ending in clip.name for ending in (".zip:", ".tar:")):
                with suppress(OutsideRootError):
                    clip.check_inside()
                    raise Violation(f"{clip.path} is outside of the root, and was not refused")


def _is_below(path: str, root: str) -> bool:
    normal = os.path.normpath(path)
    return normal == root or normal.startswith(root + "/")


def fuzz_transcripts(data: bytes) -> None:
    """A byte for the number of rows, one for the split, then labels. Every reader of labels gets them."""
    num_rows, split = (data[0] if data else 0), ("train", "valid")[data[1] & 1 if len(data) > 1 else 0]
    path = folder() / f"{split}.ltr"
    path.write_bytes(data[2:])
    (folder() / "dict.ltr.txt").write_text("A 1\nB 1\n| 2\n")
    with bounded(len(data)):
        with refusable():
            dictionary = load_dictionary(folder() / "dict.ltr.txt")
            num_rows = num_rows if data[:1] != b"\xff" else data[2:].count(b"\n")
            labels = read_labels(path, num_rows)
            if len(labels) != num_rows or any("\n" in line for line in labels):
                raise Violation(f"{len(labels)} labels of {num_rows} rows")
        for one_class in (False, True):
            with refusable():
                check_labels(str(folder()), split, "ltr", dictionary, num_rows, one_class=one_class)


def fuzz_dictionary(data: bytes) -> None:
    """fairseq's dictionary, with its special symbols and without."""
    from summarymixing_fairseq.data.manifest_check import _symbols

    path = folder() / "dict.fuzz.txt"
    path.write_bytes(data)
    with bounded(len(data)):
        for special in (True, False):
            with refusable():
                dictionary = load_dictionary(path, special)
                if len(dictionary.symbols) != len(dictionary.indices) or len(dictionary) < 4 * special:
                    raise Violation("symbols and their numbers do not match")
                dictionary.encode_line("A B |", append_eos=False)
        with refusable():
            _symbols(path)


_WORDS = ("uniform", "static", "normal", "poisson", "mhsa", "summarymixing", "full", "lite", "expdecay", "relu", "gelu")
_SPECIAL = (math.nan, math.inf, -math.inf, None, True, False, "", "???", "${a}", 10**40, -0.0, b"\0", "nan")


class Values:
    """Makes values of all kinds from bytes, and from zeros when the bytes run out."""

    def __init__(self, data: bytes):
        self._data, self._at = data, 0

    def take(self, size: int) -> bytes:
        """The next bytes."""
        part = self._data[self._at : self._at + size]
        self._at += size
        return part.ljust(size, b"\0")

    def byte(self) -> int:
        """The next byte."""
        return self.take(1)[0]

    @property
    def left(self) -> bool:
        """Whether bytes are left."""
        return self._at < len(self._data)

    def value(self, default: object, depth: int = 0) -> object:
        """A value, in a quarter of all cases the default."""
        kind = self.byte() % 16
        if kind in (12, 13) and depth == 2:
            kind = 15
        makers: dict[int, Callable[[], object]] = {
            4: lambda: int.from_bytes(self.take(2), "little", signed=True),
            5: lambda: int.from_bytes(self.take(9), "little", signed=True),
            6: lambda: struct.unpack("<d", self.take(8))[0],
            7: lambda: self.byte() / 255,
            8: lambda: self.byte() % 65,
            9: lambda: _SPECIAL[self.byte() % len(_SPECIAL)],
            10: lambda: self.take(self.byte() % 12).decode("latin-1"),
            11: lambda: _WORDS[self.byte() % len(_WORDS)],
            12: lambda: [self.value(1, depth + 1) for _ in range(self.byte() % 6)],
            13: lambda: {"a": self.value(1, depth + 1)},
            14: lambda: [self.byte() % 9 for _ in range(self.byte() % 20)],
            15: lambda: 2 ** (self.byte() % 70),
        }
        return makers[kind]() if kind in makers else default


_CONFIG_FIELDS = [field.name for field in fields(Wav2Vec2SummaryMixingConfig)]
_SMALL = {
    "encoder_layers": 1,
    "encoder_embed_dim": 16,
    "encoder_ffn_embed_dim": 16,
    "encoder_attention_heads": 4,
    "summary_heads": 4,
    "depthwise_conv_kernel_size": 3,
    "frontend_channels": 8,
    "latent_vars": 4,
    "final_dim": 8,
    "num_negatives": 2,
    "quantize_targets": True,
}


def fuzz_config(data: bytes) -> None:
    """A byte of options, then pairs of field and value over a small model: from a checkpoint, or set directly."""
    values = Values(data)
    through_omegaconf = values.byte() & 1
    small = Wav2Vec2SummaryMixingConfig(**_SMALL)
    overrides = dict(_SMALL)
    while values.left and len(overrides) < 40:
        name = _CONFIG_FIELDS[values.byte() % len(_CONFIG_FIELDS)]
        overrides[name] = values.value(getattr(small, name))
    with bounded(len(data)), refusable():
        if through_omegaconf:
            with refusals_named("fuzz"):
                config = over_defaults(Wav2Vec2SummaryMixingConfig(), overrides)
        else:
            config = Wav2Vec2SummaryMixingConfig()
            for name, value in overrides.items():
                setattr(config, name, value)
        try:
            validate(config)
        except ValueError as error:
            if not str(error).startswith("model."):
                raise Violation(f"names no field: {error}") from error
            raise InputError(str(error)) from error
        if num_parameters(config) > MAX_PARAMETERS_BUILT:
            return
        with refusals_named("fuzz"):
            model = Wav2Vec2SummaryMixingModel(config)
            built = sum(parameter.numel() for parameter in model.parameters())
            if built > 2 * num_parameters(config) + 10_000:
                raise Violation(f"{built} parameters, {num_parameters(config)} were computed beforehand")
            with torch.no_grad():
                model.eval()(torch.zeros(1, 8_000), features_only=True, mask=False)


def fuzz_audio(data: bytes) -> None:
    """Extension, first sample and number of samples, then a file. It is read whole, in part, and as ``decode`` does."""
    head = data[: AUDIO_HEAD.size].ljust(AUDIO_HEAD.size, b"\0")
    kind, offset, num_samples = AUDIO_HEAD.unpack(head)
    extension = EXTENSIONS[kind % len(EXTENSIONS)]
    path = folder() / (f"clip.{extension}" if extension else "clip")
    path.write_bytes(data[AUDIO_HEAD.size :])
    with bounded(len(data)):
        for part in ((0, None), (offset, num_samples)):
            with refusable():
                _check_samples(read_segment(path, *part), part[1])
        with refusable():
            for clip in (Clip(path, "a"), Clip(path, "b", num_samples, max(offset, 0))):
                for _, (samples,) in read_in_batches([clip], 10):
                    _check_samples(samples, None if clip.offset is None else clip.num_samples)


def _check_samples(samples: np.ndarray, num_samples: int | None) -> None:
    if samples.dtype != np.float32 or samples.ndim != 1 or not np.isfinite(samples).all() or not len(samples):
        raise Violation(f"{samples.dtype} {samples.shape}")
    if num_samples is not None and len(samples) != num_samples:
        raise Violation(f"{len(samples)} of {num_samples} samples")


TABLE_NAMES = ("t.csv", "t.tsv", "t.jsonl", "t.jsonl.gz", "wav.scp", "text", "segments", "x.txt")


def fuzz_table(data: bytes) -> None:
    """A byte for the form of a table and one of options, then the table. Of a Kaldi folder it is one of the files."""
    name = TABLE_NAMES[(data[0] if data else 0) % len(TABLE_NAMES)]
    options, content = (data[1] if len(data) > 1 else 0), data[2:]
    place = folder() / "table"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    shutil.copy(folder() / "root" / "x.wav", place)
    if name in ("wav.scp", "text", "segments"):
        (place / "wav.scp").write_text("u x.wav\n")
        (place / "text").write_text("u a\n")
    (place / name).write_bytes(gzip.compress(content) if name.endswith(".gz") and options & 1 else content)
    given = place / name if name.startswith("t.") else place
    kept = ManifestOptions(place / "out", force=True, workers=1)
    with bounded(len(data)), refusable():
        units = ("letters", "characters", "phones", "letters")[options >> 2 & 3]
        preview, as_is = bool(options & 16), bool(options & 2)
        prepared = table.prepare(given, kept, valid_fraction=0, preview=preview, as_is=as_is, units=units)
        if isinstance(prepared, Prepared):
            write_corpus(prepared, kept)
            manifest = Manifest(place / "out" / "train.tsv")
            for path in (place / "out").glob("train.*"):
                if path.suffix != ".tsv":
                    read_labels(path, len(manifest))


TARGETS: dict[str, Callable[[bytes], None]] = {
    "manifest": fuzz_manifest,
    "transcripts": fuzz_transcripts,
    "dictionary": fuzz_dictionary,
    "config": fuzz_config,
    "audio": fuzz_audio,
    "table": fuzz_table,
}


def warm_up() -> None:
    """Run all seeds, so that imports and caches take their memory before any input is measured."""
    for name, data in SEEDS.items():
        for one in data:
            try:
                TARGETS[name](one)
            except Violation as error:
                print(f"warm-up of {name}: {error}", file=sys.stderr)


SEEDS: dict[str, list[bytes]] = {
    "manifest": [
        b"\0x.wav\t1600\na/y.wav\t1600\nx.wav\t100\t50\n",
        b"\0out/z.wav\t1600\nz.wav\t1600\n../outside/z.wav\t1600\n",
        b"\1../outside/z.wav\t1600\n",
        b"\2x.zip:1:2\t1600\r\nx.wav\t99\n",
        b"\2x.tar:512:2\t1600\n",
        b"\4/data\na.wav\t5",
    ],
    "transcripts": [b"\xff\0A B |\n\nB A |\n", b"\1\0A |", b"\2\1A |\r\nZ |\n", b"\1\0\xff\n"],
    "dictionary": [b"A 1\nB 2\n| 2\n", b"A 1\nA 1\n", b"A 1 #fairseq:overwrite\n", b"\xff 1\n", b"A\n"],
    "config": [b"", b"\0\x02\x08\x10", b"\1\x02\x0c\x03\x08\x01", bytes(range(64)), bytes(range(255, 128, -1))],
    "audio": [b""],
    "table": [
        b'\0\0audio,text,speaker\nx.wav,"a, b",c\n',
        b"\0\2x|one|one\n",
        b"\1\4path\tsentence\tstart\tend\nx.wav\ta\t0\t0.05\n",
        b'\2\0{"audio": "x.wav", "text": "a", "offset": 0, "duration": 0.1}\n',
        b'\3\1{"type": "MonoCut", "start": 0, "duration": 0.1, "supervisions": [{"start": 0, "duration": 0.1, '
        b'"text": "a"}], "recording": {"duration": 0.1, "sources": [{"type": "file", "source": "x.wav"}]}}\n',
        b"\4\0u x.wav\n",
        b"\5\0u a b\n",
        b"\6\0u u 0 0.1\n",
        b"\7\0a b\n",
    ],
}


def audio_seeds() -> list[bytes]:
    """Small real files of every format that `decode` names, for mutation: a sweep of a few hundredths of a second."""
    seeds = []
    sweep = np.sin(np.cumsum(np.linspace(0.01, 1.0, 2400))) / 2
    for kind, extension in enumerate(EXTENSIONS[:5]):
        options = {"opus": {"format": "OGG", "subtype": "OPUS"}}.get(extension, {})
        for rate_hz, channels in ((16_000, 1), (48_000, 2), (8_000, 1)):
            path = folder() / f"seed.{extension}"
            soundfile.write(path, np.stack([sweep] * channels, 1), rate_hz, **options)
            seeds.append(AUDIO_HEAD.pack(kind, 100, 500) + path.read_bytes())
    return seeds
