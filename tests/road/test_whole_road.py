"""The road of the tutorial, by its commands as they stand there: from synthesised speech and a CSV to subtitles."""

from __future__ import annotations

import csv
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import soundfile
from pipeline import ROOT, TEXTS, VOICES, run

from summarymixing_fairseq.data.synthesiser import speak

# What a page leaves to its reader, by its name there.
NAMES = {"/path/to/audio": "audio", "/path/to/long/audio": "audio", "a.flac": "talks/a.flac", "b.wav": "talks/b.wav"}
NAMES["checkpoint.pt"] = "checkpoints/tiny_ctc/checkpoint_last.pt"
# Two updates show that a command runs; `base` is for GPUs.
SHORT = ["optimization.max_update=2", "dataset.validate_interval_updates=2", "common.cpu=true"]


def commands(page: str) -> Iterator[list[str]]:
    """Of the page's blocks, in their order."""
    text = (ROOT / page).read_text(encoding="utf-8")
    for block in re.findall(r"^```bash\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            yield shlex.split(
                re.sub(r'"?\$\(summarymixing configs (\w+)\)"?', rf"{ROOT}/examples/\1", line), comments=True
            )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with audio, a table of it, and talks."""
    folder = tmp_path_factory.mktemp("road")
    for name in ("audio", "talks"):
        (folder / name).mkdir()
    with open(folder / "recordings.csv", "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["file", "sentence", "speaker"])
        for voice in VOICES:
            for i, text in enumerate(TEXTS):
                path = f"audio/{voice.replace('+', '_')}_{i}.flac"
                soundfile.write(folder / path, speak(f"{text}, {text}", voice), 16_000)
                table.writerow([path, f"{text}, {text}", voice])
    for source, name in (("audio/en-us_0.flac", "a.flac"), ("audio/en-us_1.flac", "b.wav")):
        samples, rate = soundfile.read(folder / source)
        soundfile.write(folder / "talks" / name, samples, rate)
    return folder


def test_from_recordings_to_subtitles(place):
    typed: list[list[str]] = []
    for words in (words for page in ("README.md", "docs/tutorial.md") for words in commands(page)):
        if words[:1] == ["fairseq-hydra-train"] and "base" not in words:
            typed.append([*words, *SHORT])
        elif words[:1] == ["summarymixing"]:
            # voice activity is computed by processes of its own, which a fork cannot start here
            typed.append([NAMES.get(word, word) for word in words if word != "--vad"])
    assert len(typed) >= 10
    script = place / "typed.py"
    lines = ["import os, subprocess", f"os.chdir({str(place)!r})", f"for words in {typed!r}:"]
    script.write_text("\n".join([*lines, "    subprocess.run(words, check=True)\n"]))
    run("python", script)
    assert [path.name for path in sorted((place / "subtitles").rglob("*.srt"))] == ["a.srt", "b.srt"]
    assert (place / "results/scores.json").exists()
