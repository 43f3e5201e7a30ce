"""Any folder of audio to manifests: what is found, split, kept and refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from manifest_command import corpus_command, corpus_writer, lengths, refused
from manifest_command import write_audio as write_samples
from synthesiser import speak

from summarymixing_fairseq.corpora.audio.scan import find_audio, read_clips
from summarymixing_fairseq.corpora.writing.options import AudioRules, ManifestOptions
from summarymixing_fairseq.corpora.writing.rows import Refusal
from summarymixing_fairseq.system.errors import InputError

main = corpus_command("folder")
prepare = corpus_writer("folder")


def write_audio(path: Path, num_samples: int = 16000, rate_hz: int = 16000) -> bytes:
    return write_samples(path, np.resize(speak("hello"), num_samples), rate_hz)


@pytest.fixture
def audio(tmp_path) -> Path:
    """Usable and unusable files of all kinds."""
    root = tmp_path / "audio"
    for index in range(20):
        write_audio(root / "speaker" / f"{index:02}.flac", 8000 + index)
    write_audio(root / "with space" / "ein Füßchen.wav")
    write_audio(root / "кто" / "там.FLAC")
    write_audio(root / "bad" / "rate.flac", rate_hz=8000)
    write_audio(root / "bad" / "nothing.wav", 0)
    (root / "bad" / "text.wav").write_text("this is no audio")
    whole = write_audio(root / "bad" / "cut.mp3", 64000)
    (root / "bad" / "cut.mp3").write_bytes(whole[: len(whole) // 2])
    (root / "notes.txt").write_text("not audio")
    write_audio(root / ".hidden" / "a.flac")
    return root


BAD = {
    "bad/rate.flac": "sample rate 8000 Hz, not 16000 Hz",
    "bad/nothing.wav": "no samples",
    "bad/text.wav": "unreadable or truncated",
    "bad/cut.mp3": "truncated",
}


def test_a_tree_with_everything(audio, tmp_path):
    summary = prepare(audio, tmp_path / "out", valid_fraction=0.3, rules=AudioRules(other_rates="refuse"))
    train, valid = (lengths(tmp_path / "out" / f"{name}.tsv") for name in ("train", "valid"))
    everything = {**train, **valid}
    assert not set(train) & set(valid) and train and valid
    assert everything == {
        **{f"speaker/{index:02}.flac": 8000 + index for index in range(20)},
        **dict.fromkeys(("with space/ein Füßchen.wav", "кто/там.FLAC"), 16000),
    }
    assert (tmp_path / "out" / "train.tsv").read_text("utf-8").startswith(f"{audio}\n")
    for path, num_samples in everything.items():
        assert len(soundfile.read(audio / path)[0]) == num_samples
    reasons = dict(refused(tmp_path / "out"))
    assert reasons.keys() == BAD.keys()
    for path, reason in BAD.items():
        assert reason in reasons[path]
    assert "found 26 audio files" in summary
    assert "refused 1: sample rate 8000 Hz, not 16000 Hz (resample it first), e.g. bad/rate.flac" in summary
    assert f"train: {len(train)} clips" in summary and f"valid: {len(valid)} clips" in summary


def test_lengths_allowed(tmp_path):
    for seconds in (1, 2, 3):
        write_audio(tmp_path / "audio" / f"{seconds}.wav", 16000 * seconds)
    summary = prepare(tmp_path / "audio", tmp_path, valid_fraction=0, rules=AudioRules(min_seconds=1.5, max_seconds=2))
    assert lengths(tmp_path / "train.tsv") == {"2.wav": 32000}
    assert "refused 1: shorter than 1.5 s, e.g. 1.wav" in summary
    assert "refused 1: longer than 2 s, e.g. 3.wav" in summary


def test_another_sample_rate_and_other_endings(audio, tmp_path):
    rules = AudioRules(sample_rate_hz=8000, other_rates="refuse")
    prepare(audio, tmp_path / "out", valid_fraction=0, rules=rules, extensions=["FLAC"])
    assert lengths(tmp_path / "out" / "train.tsv") == {"bad/rate.flac": 16000}


def test_linked_files_and_folders_are_found_once(tmp_path):
    write_audio(tmp_path / "elsewhere" / "deep" / "a.flac")
    root = tmp_path / "audio"
    write_audio(root / "b.flac")
    (root / "link.flac").symlink_to(tmp_path / "elsewhere" / "deep" / "a.flac")
    for name in ("one", "two"):
        (root / name).symlink_to(tmp_path / "elsewhere")
    refusals: list[Refusal] = []
    found = find_audio(root, ManifestOptions(tmp_path, AudioRules(allow_outside_root=True)), refusals)
    assert found == ["b.flac", "link.flac", "one/deep/a.flac"] and not refusals


def test_links_out_of_the_folder_are_refused(tmp_path, capsys):
    write_audio(tmp_path / "elsewhere" / "a.flac")
    root = tmp_path / "audio"
    write_audio(root / "deep" / "b.flac")
    (root / "inside.flac").symlink_to("deep/b.flac")
    (root / "file.flac").symlink_to(tmp_path / "elsewhere" / "a.flac")
    (root / "folder").symlink_to(tmp_path / "elsewhere")
    write_audio(tmp_path / "audio2" / "c.flac")  # its path begins as the root's does
    (root / "sibling.flac").symlink_to(tmp_path / "audio2" / "c.flac")
    (root / "notes.txt").symlink_to("/etc/passwd")
    (tmp_path / "linked").symlink_to(root)  # the folder itself may be a link
    options = ["--valid-fraction", "0", "--workers", "1"]
    for folder in (root, tmp_path / "linked"):
        dest = tmp_path / f"out {folder.name}"
        assert main([str(folder), "--dest", str(dest), *options]) == 0
        assert lengths(dest / "train.tsv").keys() == {"deep/b.flac", "inside.flac"}
        assert (dest / "refused.tsv").read_text() == (
            "file.flac\tlink out of the root (--allow-outside-root keeps it)\n"
            "folder\tlink out of the root (--allow-outside-root keeps it)\n"
            "sibling.flac\tlink out of the root (--allow-outside-root keeps it)\n"
        )
    assert main([str(root), "--dest", str(tmp_path / "all"), *options, "--allow-outside-root"]) == 0
    assert lengths(tmp_path / "all" / "train.tsv").keys() == {
        "deep/b.flac",
        "inside.flac",
        "file.flac",
        "folder/a.flac",
        "sibling.flac",
    }
    assert not (tmp_path / "all" / "refused.tsv").exists()


@pytest.mark.parametrize(
    "path", ["../elsewhere/a.flac", "deep/../../elsewhere/a.flac", "file.flac", "folder/a.flac", "ABSOLUTE"]
)
def test_paths_of_a_corpus_that_lead_out_are_refused_unless_allowed(tmp_path, path):
    write_audio(tmp_path / "elsewhere" / "a.flac")
    root = tmp_path / "audio"
    (root / "deep").mkdir(parents=True)
    (root / "file.flac").symlink_to(tmp_path / "elsewhere" / "a.flac")
    (root / "folder").symlink_to(tmp_path / "elsewhere")
    path = str(tmp_path / "elsewhere" / "a.flac") if path == "ABSOLUTE" else path
    refusals: list[Refusal] = []
    assert not read_clips(root, [path], ManifestOptions(tmp_path / "out"), refusals)
    assert "out of the root (--allow-outside-root keeps it)" in refusals.pop().reason
    allowed = ManifestOptions(tmp_path / "out", AudioRules(allow_outside_root=True))
    (clip,) = read_clips(root, [path], allowed, refusals)
    assert clip.path == path and not refusals


def test_nothing_usable_writes_nothing(tmp_path):
    write_audio(tmp_path / "audio" / "a.flac", rate_hz=8000)
    with pytest.raises(InputError, match=r"none of 1 clips .* a\.flac: sample rate 8000 Hz"):
        prepare(tmp_path / "audio", tmp_path / "out", rules=AudioRules(other_rates="refuse"))
    assert {path.name for path in (tmp_path / "out").iterdir()} <= {"refused.tsv", ".headers.journal"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"valid_fraction": 1.0}, r"--valid-fraction 1 must be at least 0 and below 1"),
        ({"valid_fraction": float("nan")}, r"--valid-fraction nan must be"),
        ({"min_seconds": -1}, r"--min-seconds -1 must be 0 or more"),
        ({"min_seconds": 3, "max_seconds": 2}, r"--min-seconds 3 must not exceed --max-seconds 2"),
        ({"sample_rate_hz": 0}, r"--sample-rate 0 must be positive"),
        ({"max_clipped": -1}, "--max-clipped -1 must be between 0 and 1"),
    ],
)
def test_options_out_of_range(tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        if "valid_fraction" in options:
            prepare(tmp_path, tmp_path / "out", **options)
        AudioRules(**options)


@pytest.mark.parametrize(("name", "message"), [("file", "is no directory"), ("", "no audio below .* flac, wav, ogg")])
def test_a_root_without_audio(tmp_path, name, message):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=message):
        prepare(tmp_path / name, tmp_path / "out")
