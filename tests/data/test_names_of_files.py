"""File names that a shell would run: they reach every reader unharmed."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import soundfile
from pipeline import ROOT

from summarymixing_fairseq.data.manifest import Manifest
from summarymixing_fairseq.data.reading import read_in_batches
from summarymixing_fairseq.data.segments import SegmentDataset

NAMES = ("a;touch x.flac", "$(touch x).flac", "`touch x`.flac", "a|touch x.flac", "-rf.flac", "a&&touch x.flac")
NAMES += ("a'b\"c.flac", "*.flac", "~.flac", "$HOME.flac", "a\\b.flac", "> x.flac")


def test_names_that_a_shell_would_run(tmp_path):
    """Commands work in an empty folder: a file that one of the names makes would be there."""
    audio, here = tmp_path / "$(touch y) ;audio", tmp_path / "here"
    audio.mkdir()
    here.mkdir()
    noise = np.random.default_rng(1).uniform(-0.5, 0.5, 16_000)
    for number, name in enumerate(NAMES):
        soundfile.write(audio / name, noise[: 8_000 + number], 16_000)
    command = [sys.executable, str(ROOT / "manifests" / "make_manifest.py"), str(audio), "--dest", str(tmp_path / "d")]
    subprocess.run([*command, "--valid-fraction", "0", "--verify", "--workers", "1"], check=True, cwd=here)
    manifest = Manifest(tmp_path / "d" / "train.tsv")
    assert {clip.name: clip.num_samples for clip in manifest} == {name: 8_000 + i for i, name in enumerate(NAMES)}
    dataset = SegmentDataset(manifest, 16_000, pad=True)
    assert [len(dataset[i]["source"]) for i in range(len(dataset))] == manifest.sizes.tolist()
    assert sum(len(batch) for batch, _ in read_in_batches(list(manifest), 10)) == len(NAMES)
    check = [sys.executable, "-m", "summarymixing_fairseq", "check-manifest", str(tmp_path / "d"), "--split", "train"]
    subprocess.run([*check, "--workers", "1"], check=True, cwd=here, env={"PYTHONPATH": str(ROOT)})
    assert not list(here.iterdir())
    assert sorted(path.name for path in audio.iterdir()) == sorted(NAMES)
