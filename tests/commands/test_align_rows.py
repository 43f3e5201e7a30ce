"""From a long recording with a text to rows to train on: `align --format rows`, then `manifest table`."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import soundfile
import toned as sounds

from summarymixing_fairseq.data.aligned_rows import as_rows
from summarymixing_fairseq.data.alignments import Interval

LONGEST = 4.0


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, sounds.Spoken]]:
    """Two of half a minute, each with its text beside it."""
    folder = tmp_path_factory.mktemp("long")
    said = {name: sounds.spoken(sounds.sentence(40, seed), seed) for name, seed in (("a", 5), ("b", 6))}
    for name, one in said.items():
        soundfile.write(folder / f"{name}.wav", one.waveform, sounds.RATE)
        (folder / f"{name}.txt").write_text(" ".join(word.label for word in one.words))
    return folder, said


def rows_of(table: str) -> list[dict[str, str]]:
    return list(csv.DictReader(table.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE))


def test_rows_hold_every_word_at_its_time_and_train(command, toned, recordings, tmp_path):
    folder, said = recordings
    command("align", toned, folder, "--format", "rows", "--row-seconds", LONGEST, "--dest", tmp_path, "--device", "cpu")
    rows = rows_of((tmp_path / "align.tsv").read_text())
    assert len(rows) > 8
    for name, spoken in said.items():
        of_file = [row for row in rows if row["audio"] == str(folder / f"{name}.wav")]
        assert " ".join(row["text"] for row in of_file).split() == [word.label for word in spoken.words]
        words = iter(spoken.words)
        for before, row in zip([{"end": "0"}, *of_file], of_file):
            start, end = float(row["start"]), float(row["end"])
            assert float(before["end"]) <= start and end <= len(spoken.waveform) / sounds.RATE
            for _ in row["text"].split():
                word = next(words)
                assert start - 0.02 <= word.start and word.end <= end + 0.02
            assert 0 < float(row["confidence"]) <= 1
    command(
        "manifest", "table", tmp_path / "align.tsv", "--as-is", "--dest", tmp_path / "data", "--valid-fraction", "0.5"
    )
    texts = [(tmp_path / "data" / f"{split}.wrd").read_text().splitlines() for split in ("train", "valid")]
    assert sorted(texts[0] + texts[1]) == sorted(row["text"] for row in rows)


def test_cuts_are_at_the_longest_pauses():
    """By a plain search: of all ways to cut once, the one with the longest pause."""
    random = np.random.default_rng(3)
    starts = np.cumsum(random.uniform(0.5, 1.5, 30))
    words = [Interval(str(i), start, start + 0.3, 0.5 + i / 100) for i, start in enumerate(starts)]

    def cut(first: int, last: int) -> list[list[int]]:
        if first == last or words[last].end - words[first].start <= LONGEST:
            return [list(range(first, last + 1))]
        at = max(range(first, last), key=lambda i: words[i + 1].start - words[i].end)
        return cut(first, at) + cut(at + 1, last)

    wanted = cut(0, 29)
    rows = [line.split("\t") for line in as_rows("x.wav", words, 40.0, LONGEST, 100.0).splitlines()]
    assert [row[3].split() for row in rows] == [[str(i) for i in part] for part in wanted]
    for row, part in zip(rows, wanted):
        assert 0 <= words[part[0]].start + 100 - float(row[1]) <= 0.2505
        assert 0 <= float(row[2]) - 100 - words[part[-1]].end <= 0.2505
        assert float(row[4]) == pytest.approx(0.5 + part[0] / 100)
    assert all(float(before[2]) <= float(after[1]) for before, after in zip(rows, rows[1:]))


def test_what_cannot_be(command, toned, recordings):
    folder, _ = recordings
    for arguments, said in (
        ((folder / "a.wav", "--row-seconds", "0"), "--row-seconds 0 must be above 0"),
        (("-", "--text", folder / "a.txt"), "stdin"),
    ):
        done = command("align", toned, *arguments, "--format", "rows", "--device", "cpu", check=False)
        assert done.returncode == 1 and said in done.stderr
