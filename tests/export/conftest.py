"""Clips whose words are known, for tests of what an export hears."""

from __future__ import annotations

from pathlib import Path

import pytest
import soundfile
from toned import RATE, sentence, spoken


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """A manifest of clips of tones, and their words."""
    texts = [sentence(6, seed) for seed in range(3)]
    rows = [str(tmp_path)]
    for seed, text in enumerate(texts):
        waveform = spoken(text, seed).waveform
        soundfile.write(tmp_path / f"{seed}.wav", waveform, RATE)
        rows.append(f"{seed}.wav\t{len(waveform)}")
    (tmp_path / "test.tsv").write_text("\n".join(rows) + "\n")
    (tmp_path / "test.wrd").write_text("\n".join(texts) + "\n")
    return tmp_path / "test.tsv"
