"""Folders as tables: Kaldi's data folders, and a .txt beside each audio file."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from ...system.errors import InputError
from ...system.files import read_text
from ..audio.scan import find_audio
from ..writing.options import ManifestOptions
from ..writing.rows import Refusal
from .table import Row, Table

KALDI_AUDIO = "wav.scp"


def read_kaldi(folder: Path, refusals: list[Refusal]) -> Table:
    """Read wav.scp and, where they are there, segments, text and utt2spk.

    Utterances without audio, text or times are added to `refusals`. Relative paths count from the folder.

    Raises:
        InputError: for a file that cannot be read or names something twice, and for commands in wav.scp.
    """
    audio = _pairs(folder / KALDI_AUDIO)
    for name, path in audio.items():
        if path.endswith("|"):
            raise InputError(
                f"{folder / KALDI_AUDIO}: {name} is a command ({path[:60]}), which is not run: write its audio to a "
                "file (wav-copy) and name that"
            )
    tables = {
        name: _pairs(folder / name) if (folder / name).is_file() else None for name in ("segments", "text", "utt2spk")
    }
    segments, texts, speakers = tables["segments"], tables["text"], tables["utt2spk"] or {}
    rows: list[Row] = []
    for name in audio if segments is None else segments:
        cells = {"id": name, "audio": audio.get(name, ""), "speaker": speakers.get(name, "")}
        if segments is not None:
            recording, *times = segments[name].split() or [""]
            cells["audio"] = audio.get(recording, "")
            if len(times) != 2:
                refusals.append(Refusal(name, "line of segments is not: utterance, recording, start, end"))
                continue
            cells.update(start=times[0], end="" if times[1] == "-1" else times[1])
        if not cells["audio"]:
            refusals.append(Refusal(name, f"recording is not in {KALDI_AUDIO}"))
        elif texts is not None and name not in texts:
            refusals.append(Refusal(name, "utterance is not in text"))
        else:
            rows.append(Row(name, cells if texts is None else {**cells, "text": texts[name]}))
    for name in sorted((texts or {}).keys() - (audio if segments is None else segments).keys()):
        refusals.append(Refusal(name, f"utterance of text is not in {KALDI_AUDIO if segments is None else 'segments'}"))
    columns = ["id", "audio", "speaker", "text", "start", "end"]
    there = {"id", "audio", *(name for row in rows for name, cell in row.cells.items() if cell)}
    if texts is not None:
        there.add("text")
    return Table([name for name in columns if name in there], rows, folder)


def _pairs(path: Path) -> dict[str, str]:
    """First word and the rest of each line."""
    pairs: dict[str, str] = {}
    for number, line in enumerate(read_text(path, newline="").split("\n"), start=1):
        if line.strip():
            name, _, rest = line.strip().replace("\t", " ").partition(" ")
            if name in pairs:
                raise InputError(f"{path}, line {number}: {name} is there twice")
            pairs[name] = rest.strip()
    return pairs


def read_texts_beside(
    folder: Path, options: ManifestOptions, refusals: list[Refusal], passed_over: Counter[str]
) -> Table:
    """Audio below a folder, each with the text of the .txt file of its name; either without the other is refused.

    Raises:
        InputError: where there is no such pair.
    """
    found = find_audio(folder, options, refusals, passed_over=passed_over)
    texts = find_audio(folder, options, [], ("txt",))
    text_of = {Path(path).with_suffix("").as_posix(): path for path in texts}
    rows: list[Row] = []
    used: set[str] = set()
    for path in found:
        stem = Path(path).with_suffix("").as_posix()
        if stem not in text_of:
            refusals.append(Refusal(path, "no .txt beside it"))
            continue
        used.add(stem)
        try:
            text = read_text(folder / text_of[stem])
        except InputError as error:
            refusals.append(Refusal(text_of[stem], "text that cannot be read", str(error)))
        else:
            rows.append(Row(path, {"audio": path, "text": " ".join(text.split())}))
    if not used:
        raise InputError(
            f"{folder} has no {KALDI_AUDIO}, no metadata.csv, .tsv or .jsonl, and no audio with a .txt beside it: name "
            "the file of the table"
        )
    refusals += [Refusal(text_of[stem], "no audio beside it") for stem in sorted(text_of.keys() - used)]
    return Table(["audio", "text"], rows, folder)
