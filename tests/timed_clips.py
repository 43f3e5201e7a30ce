"""A few spoken clips with the times of their phones and words, and a manifest of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from summarymixing_fairseq.data.alignments import Alignment, as_json
from summarymixing_fairseq.data.manifest import Clip
from summarymixing_fairseq.data.synthesiser import speak_timed, tiers_of

RATE_HZ = 16_000
TEXTS = ("no new tea", "see two men", "ten new nets", "my men see")
VOICES = {"anna": "en-us+f3", "ben": "en-us+m3", "cy": "de"}


@dataclass
class TimedClips:
    """Waveforms, alignments and clips in the order of the manifest ``folder/test.tsv``; labels lie in
    ``folder/labels``."""

    folder: Path
    waves: list[np.ndarray]
    alignments: list[Alignment]
    clips: list[Clip]


def make_timed_clips(folder: Path) -> TimedClips:
    """Twelve clips of three speakers."""
    made = TimedClips(folder, [], [], [])
    (folder / "labels").mkdir()
    rows = [str(folder)]
    for number, text in enumerate(TEXTS):
        for speaker, voice in VOICES.items():
            wave, words = speak_timed(text, voice)
            name = f"{speaker}_{number}.wav"
            soundfile.write(folder / name, wave, RATE_HZ, "FLOAT")
            alignment = Alignment(tiers_of(words), len(wave) / RATE_HZ, speaker, voice[:2])
            (folder / "labels" / f"{speaker}_{number}.json").write_text(as_json(alignment))
            rows.append(f"{name}\t{len(wave)}")
            made.waves.append(wave)
            made.alignments.append(alignment)
            made.clips.append(Clip(folder / name, name, len(wave)))
    (folder / "test.tsv").write_text("\n".join(rows) + "\n")
    return made
