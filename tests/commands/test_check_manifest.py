"""`summarymixing check-manifest`: it reports every error in manifests and labels, and nothing else."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from summarymixing_fairseq.commands.check_manifest import histogram
from summarymixing_fairseq.commands.main import main
from summarymixing_fairseq.data.manifest import Manifest


@pytest.fixture
def data(tmp_path, speech):
    """Two splits of two clips each with letters; audio beside them."""
    audio = tmp_path / "audio"
    audio.mkdir()
    for number, wave in enumerate(speech):
        soundfile.write(audio / f"{number}.flac", wave, 16_000)
    write(tmp_path, "train", [("0.flac", len(speech[0])), ("1.flac", len(speech[1]))], ["A B |", "B |"])
    write(tmp_path, "valid", [("2.flac", len(speech[2])), ("3.flac", len(speech[3]))], ["A |", "B A |"])
    (tmp_path / "dict.ltr.txt").write_text("A 1\nB 2\n| 2\n")
    return tmp_path


def write(folder: Path, split: str, rows, letters=None) -> None:
    text = "".join("\t".join(map(str, row)) + "\n" for row in rows)
    (folder / f"{split}.tsv").write_text(f"{folder / 'audio'}\n{text}")
    if letters is not None:
        (folder / f"{split}.ltr").write_text("".join(f"{line}\n" for line in letters))


def check(capsys, data, *options) -> tuple[int, str, str]:
    status = main(["check-manifest", str(data), *map(str, options)])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_all_well(capsys, data, speech):
    status, out, _ = check(capsys, data)
    hours = (len(speech[0]) + len(speech[1])) / 16_000 / 3600
    assert status == 0 and out.rstrip().endswith("all well") and "WRONG" not in out
    assert f"train: 2 clips, {hours:.2f} h" in out and "2 to 5 s" in out


def wrongs(out: str) -> dict[str, str]:
    lines = [line[len("WRONG ") :] for line in out.splitlines() if line.startswith("WRONG ")]
    return dict(line.split(": ", 1) for line in lines)


def test_rows_against_files(capsys, data, speech):
    soundfile.write(data / "audio" / "fast.wav", np.zeros(4801), 48_000)
    (data / "audio" / "text.flac").write_text("no audio")
    rows = [
        ("0.flac", len(speech[0]) + 1),
        ("gone.flac", 5),
        ("text.flac", 5),
        ("fast.wav", 4801),
        ("1.flac", 9, 10**6),
    ]
    write(data, "train", [*rows, ("fast.wav", 1601, 0), ("fast.wav", 1601, 0)], ["A |"] * 4 + ["A"] * 3)
    status, out, err = check(capsys, data)
    found = wrongs(out)
    assert status == 1 and found.keys() == {
        "other length",
        "missing file",
        "unreadable file",
        "part beyond the end of its file",
        "twice in a split",
    }
    assert found["other length"].startswith("2, e.g. train.tsv, line 2: 0.flac: ")
    assert "4801 in the manifest, 1601 in the file, counted at its own 48000 Hz" in found["other length"]
    assert found["missing file"] == "1, e.g. train.tsv, line 3: gone.flac"
    assert "train.tsv, line 4: text.flac" in found["unreadable file"]
    assert found["twice in a split"] == "1, e.g. train.tsv, line 8: fast.wav"
    assert "note: 1 files at 48000 Hz" in out and "6 problems; --report FILE lists them all" in err


def test_labels(capsys, data):
    (data / "train.ltr").write_text("A C |\n\n")
    (data / "valid.ltr").write_text("A |\n")
    (data / "train.wrd").write_text("one\ntwo\nthree\n")
    status, out, _ = check(capsys, data)
    found = wrongs(out)
    assert status == 1
    assert found == {
        "labels that do not fit": "2, e.g. train.wrd: has 3 lines, its manifest 2 rows: make both again; "
        "valid.ltr: has 1 lines, its manifest 2 rows: make both again",
        "not in dict.ltr.txt": "1, e.g. train.ltr, line 1: C",
        "empty label": "1, e.g. train.ltr, line 2",
    }


def test_letters_without_a_dictionary(capsys, data):
    (data / "dict.ltr.txt").unlink()
    status, out, _ = check(capsys, data)
    assert status == 0
    assert "note: valid.ltr: there is no dict.ltr.txt to compare it with; training needs one" in out


def test_units_of_every_frame_are_not_too_long(capsys, data):
    """As `summarymixing units apply` writes them: CTC would need a blank between two that are the same."""
    for split in ("train", "valid"):
        clips = Manifest(data / f"{split}.tsv")
        (data / f"{split}.km").write_text("".join(f"{'3 ' * (num_samples // 320)}\n" for num_samples in clips.sizes))
    (data / "dict.km.txt").write_text("3 1\n")
    assert "longer than its clip" not in check(capsys, data)[1]


def test_splits_that_share_audio(capsys, data, speech):
    shutil.copy(data / "audio" / "0.flac", data / "audio" / "copy.flac")
    size = len(speech[1])
    write(data, "valid", [("copy.flac", len(speech[0])), ("1.flac", 2000, size - 2000)], ["A |", "A |"])
    write(data, "train", [("0.flac", len(speech[0])), ("1.flac", size - 1999, 0)], ["A |", "A |"])
    status, out, _ = check(capsys, data)
    found = wrongs(out)
    assert status == 1 and found.keys() == {"in two splits", "same content in two splits"}
    assert found["in two splits"] == f"1, e.g. train.tsv and valid.tsv: {data}/audio/1.flac"
    assert "copy.flac" in found["same content in two splits"]
    write(data, "train", [("2.flac", len(speech[2])), ("1.flac", size - 2000, 0)], ["A |", "A |"])
    assert check(capsys, data)[0] == 0  # parts that only touch


def test_a_link_is_the_file_it_leads_to(capsys, data, speech):
    (data / "audio" / "link.flac").symlink_to("0.flac")
    write(data, "valid", [("link.flac", len(speech[0]))], ["A |"])
    assert "in two splits" in wrongs(check(capsys, data)[1])


def test_chosen_splits_and_a_report(capsys, data):
    (data / "train.ltr").unlink()
    write(data, "valid", [("gone.flac", 5), ("gone too.flac", 5)], ["A |", "A |"])
    assert check(capsys, data, "--split", "train")[0] == 0
    status, _, _ = check(capsys, data, "--report", data / "report.tsv", "--workers", 1)
    assert status == 1
    assert (data / "report.tsv").read_text() == (
        "missing file\tvalid.tsv, line 2\tgone.flac\nmissing file\tvalid.tsv, line 3\tgone too.flac\n"
    )


def test_no_manifest(capsys, tmp_path):
    status, _, err = check(capsys, tmp_path)
    assert status == 1 and "has no manifest (SPLIT.tsv)" in err


def test_a_split_that_is_not_there(capsys, data):
    status, _, err = check(capsys, data, "--split", "valid", "nope")
    assert status == 1 and "nope.tsv cannot be read" in err


def test_many_files_in_processes(capsys, data):
    soundfile.write(data / "audio" / "tone.wav", 0.1 * np.ones(160), 16_000)
    names = [f"{number:03}.wav" for number in range(200)]
    for name in names:
        os.link(data / "audio" / "tone.wav", data / "audio" / name)
    write(data, "many", [(name, 160 + (name == "150.wav")) for name in names])
    status, out, _ = check(capsys, data, "--split", "many", "--workers", 2)
    assert status == 1 and wrongs(out) == {
        "other length": "1, e.g. many.tsv, line 152: 150.wav: 161 in the manifest, 160 in the file"
    }


def test_histogram():
    lines = histogram(np.array([0.2] * 3 + [12.0] * 40 + [100.0])).splitlines()
    assert [line.split() for line in lines] == [
        ["0", "to", "0.5", "s", "###", "3"],
        ["10", "to", "15", "s", "#" * 40, "40"],
        ["60", "s", "and", "more", "#", "1"],
    ]
