"""`summarymixing manifest CORPUS` in the tests' own process, and manifests read back as fairseq reads them."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from summarymixing_fairseq.commands.main import main
from summarymixing_fairseq.corpora import all_corpora
from summarymixing_fairseq.corpora.writing.corpus import write_corpus
from summarymixing_fairseq.corpora.writing.options import ManifestOptions
from summarymixing_fairseq.corpora.writing.rows import Clip
from summarymixing_fairseq.data.synthesiser import speak


def corpus_command(corpus: str) -> Callable[[Sequence[str]], int]:
    """What takes the options of a corpus and returns the exit status."""
    return lambda argv: main(["manifest", corpus, *argv])


def corpus_writer(corpus: str) -> Callable[..., str]:
    """What prepares and writes a corpus and returns the summary; options of every corpus are keywords like its own."""

    def write(root: Path | list[Path], dest: Path, **options: Any) -> str:
        shared = {
            name: options.pop(name)
            for name in ("rules", "segments", "workers", "max_refused", "force")
            if name in options
        }
        manifest_options = ManifestOptions(dest, **shared)
        prepared = all_corpora()[corpus].prepare(root, manifest_options, **options)
        return prepared if isinstance(prepared, str) else write_corpus(prepared, manifest_options)

    return write


def parse_manifest(text: str) -> tuple[str, list[Clip]]:
    """Root folder and clips of a manifest's text."""
    lines = text.split("\n")
    rows = [line.strip().split("\t") for line in lines[1:] if line]
    return lines[0].strip(), [Clip(path, *map(int, numbers)) for path, *numbers in rows]


def lengths(path: Path) -> dict[str, int]:
    """Number of samples of each clip of a manifest, by its path."""
    return {clip.path: clip.num_samples for clip in parse_manifest(path.read_text("utf-8"))[1]}


def labels(dest: Path, split: str, kind: str) -> dict[str, str]:
    """Label of each clip of a split, by its path."""
    names, told = paths(dest / f"{split}.tsv"), lines(dest / f"{split}.{kind}")
    assert len(names) == len(told)
    return dict(zip(names, told))


def paths(path: Path) -> list[str]:
    """Paths of a manifest, in order."""
    return list(lengths(path))


def lines(path: Path) -> list[str]:
    """Lines of a text file."""
    return path.read_text("utf-8").splitlines()


def all_files(folder: Path) -> dict[str, bytes]:
    """Content of every file below a folder, by its path there."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(dest: Path) -> list[tuple[str, ...]]:
    """Path and reason of each row of refused.tsv; none where there is no such file."""
    path = dest / "refused.tsv"
    return [tuple(line.split("\t")) for line in lines(path)] if path.exists() else []


@functools.cache
def spoken(num_samples: int) -> np.ndarray:
    """Speech, (num_samples,); it must not be changed."""
    return np.resize(speak("nothing is lost in silence"), num_samples)


def write_audio(
    path: Path, samples: np.ndarray | int = 16000, rate_hz: int = 16000, subtype: str | None = None
) -> bytes:
    """Write a file, of so many samples of speech or of these samples, and the folders above it; returns its bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = spoken(samples) if isinstance(samples, int) else samples
    soundfile.write(path, samples, rate_hz, subtype=subtype)
    return path.read_bytes()


def linked_clips(root: Path, num_clips: int) -> Path:
    """Write one spoken clip, 0.flac, and links to it as 1.flac and on, into a folder; returns the folder."""
    soundfile.write(root / "0.flac", speak("Hello, who is it that speaks to me?"), 16000)
    for number in range(1, num_clips):
        os.link(root / "0.flac", root / f"{number}.flac")
    return root
