"""Names that cannot be written, found before anything is computed; files that are shorter than their rows say."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
from encoder_checkpoints import OURS, configuration, save

from summarymixing_fairseq.commands.main import main
from summarymixing_fairseq.corpora.audio.segments import cut_files
from summarymixing_fairseq.corpora.writing.options import ManifestOptions
from summarymixing_fairseq.corpora.writing.rows import Clip
from summarymixing_fairseq.data.feature_files import feature_names
from summarymixing_fairseq.data.manifest import Manifest
from summarymixing_fairseq.data.reading import read_in_batches
from summarymixing_fairseq.data.segments import SegmentDataset
from summarymixing_fairseq.probing.chunks import ChunkDataset
from summarymixing_fairseq.system.errors import InputError
from summarymixing_fairseq.system.files import refuse_existing


@pytest.mark.parametrize("force", [True, False])
@pytest.mark.parametrize(
    "names, message",
    [
        (("x.npy", "x.npy/y.npy"), r"x\.npy would be a folder too, of another output"),
        (("x.npy/a/y.npy", "b", "x.npy"), r"x\.npy would be a folder too, of another output"),
        (("a.json", "a.json"), r"a\.json would be written twice"),
        (("folder",), r"folder is a folder: no file can be written there"),
        (("file/a.npy",), r"file is a file: nothing can be written below it"),
        (("file/deep/a.npy",), r"file is a file: nothing can be written below it"),
    ],
)
def test_outputs_that_cannot_all_be_written(tmp_path, names, message, force):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=message):
        refuse_existing([tmp_path / name for name in names], force)


@pytest.mark.parametrize("names", [("x.npy", "x/y.npy"), ("folder/a.npy", "new/folder/b.npy"), ()])
def test_outputs_that_can(tmp_path, names):
    (tmp_path / "folder").mkdir()
    refuse_existing([tmp_path / name for name in names], False)


def test_features_are_refused_before_the_checkpoint_is_read(tmp_path, capsys):
    (tmp_path / "a.tsv").write_text(f"{tmp_path}\nx.wav\t16000\nx.npy/y.wav\t16000\n")
    arguments = ["features", __file__, "--data", str(tmp_path), "--split", "a", "--dest", str(tmp_path / "out")]
    assert main(arguments)
    assert "x.npy would be a folder too" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("option", ["--json", "--plot"])
def test_a_benchmark_is_refused_before_it_is_run(tmp_path, option, capsys):
    (tmp_path / "a.png").mkdir()
    assert main(["benchmark", "cell", option, str(tmp_path / "a.png"), "--force"])
    assert "is a folder: no file can be written there" in capsys.readouterr().err


def test_an_export_to_a_folder(tmp_path, tiny_model, capsys):
    model = tiny_model()
    path = save(tmp_path / "checkpoint.pt", configuration(model, OURS), model.state_dict())
    (tmp_path / "a.safetensors").mkdir()
    assert main(["export", str(path), str(tmp_path / "a.safetensors"), "--force"])
    assert "is a folder: no file can be written there" in capsys.readouterr().err


def test_two_recordings_that_would_be_cut_to_one_folder(tmp_path):
    segments = [Clip("a/x.wav", 1_000, 0), Clip("a/x.wav", 1_000, 5_000), Clip("a/x.flac", 1_000, 0)]
    with pytest.raises(InputError, match=r"a/x\.wav and a/x\.flac would be cut to one folder: rename one"):
        cut_files(tmp_path, segments, tmp_path / "cut", ManifestOptions(tmp_path), [])
    assert not (tmp_path / "cut").exists()


KINDS = {"opus": {"format": "OGG", "subtype": "OPUS"}}


def datasets(folder: Path) -> list[SegmentDataset]:
    manifest = Manifest(folder / "train.tsv")
    return [
        SegmentDataset(manifest, 16_000, pad=True, normalize=False),
        ChunkDataset(manifest, 16_000, chunk_seconds=1.25, pad=True, normalize=False),
    ]


@pytest.fixture
def zipped(tmp_path, speech) -> tuple[Path, list[str]]:
    """A stored zip of two clips, and the rows that name them."""
    rows = []
    content = b"PK"
    for wave in speech[2:]:
        file = io.BytesIO()
        soundfile.write(file, wave, 16_000, format="FLAC")
        rows.append(f"stored.zip:{len(content)}:{len(file.getvalue())}\t{len(wave)}\n")
        content += file.getvalue()
    (tmp_path / "stored.zip").write_bytes(content)
    (tmp_path / "train.tsv").write_text(f"{tmp_path}\n{''.join(rows)}")
    return tmp_path, rows


def test_rows_of_a_zip_are_read_by_commands(zipped, speech, capsys):
    folder, rows = zipped
    clips = list(Manifest(folder / "train.tsv"))
    for positions, waveforms in read_in_batches(clips, 10):
        for i, waveform in zip(positions, waveforms):
            np.testing.assert_allclose(waveform, speech[2 + i], atol=2**-15)
    assert feature_names(clips) == [row.split("\t")[0] for row in rows]
    assert main(["check-manifest", str(folder), "--workers", "1"]) == 0
    (folder / "valid.tsv").write_text((folder / "train.tsv").read_text())
    assert main(["check-manifest", str(folder), "--workers", "1"]) == 1
    assert "WRONG in two splits: 2" in capsys.readouterr().out


@pytest.mark.parametrize("position", ["2:99999999999999", "999999:1", "-1:5", "2:-5", "2:30"])
def test_bytes_that_a_zip_lacks(zipped, position, capsys):
    folder, _ = zipped
    (folder / "train.tsv").write_text(f"{folder}\nstored.zip:{position}\t5\n")
    with pytest.raises(InputError, match="stored.zip.* cannot be read"):
        list(read_in_batches(list(Manifest(folder / "train.tsv")), 10))
    assert main(["check-manifest", str(folder), "--workers", "1"]) == 1
    assert "WRONG unreadable file: 1" in capsys.readouterr().out


def test_a_file_that_is_shorter_than_its_row(tmp_path, speech):
    """In commands as in training."""
    soundfile.write(tmp_path / "a.ogg", speech[3], 16_000)
    (tmp_path / "train.tsv").write_text(f"{tmp_path}\na.ogg\t{len(speech[3]) + 8_000}\n")
    with pytest.raises(InputError, match="is it truncated"):
        list(read_in_batches(list(Manifest(tmp_path / "train.tsv")), 10))


@pytest.mark.parametrize("rate_hz", [16_000, 48_000])
@pytest.mark.parametrize("extension", ["ogg", "mp3", "opus", "flac", "wav"])
@pytest.mark.parametrize("in_zip", [True, False])
def test_a_recording_that_is_cut_short(tmp_path, speech, in_zip, extension, rate_hz):
    wave = np.tile(speech[0], 3)
    audio = tmp_path / f"a.{extension}"
    soundfile.write(audio, wave, rate_hz, **KINDS.get(extension, {}))
    content = audio.read_bytes()
    cut = content[: len(content) * 4 // 5]

    def write(content: bytes, num_bytes: int, num_samples: int) -> None:
        (tmp_path / "stored.zip").write_bytes(b"before" + content)
        audio.write_bytes(content)
        name = f"stored.zip:6:{num_bytes}" if in_zip else audio.name
        (tmp_path / "train.tsv").write_text(f"{tmp_path}\n{name}\t{num_samples}\n")

    length = -(-len(wave) * 16_000 // rate_hz)
    for counted in {length, len(wave)}:  # the latter by another tool, at the file's own rate
        write(content, len(content), counted)
        for dataset in datasets(tmp_path):
            assert len(dataset[0]["source"]) in (length, 20_000)
    for num_bytes in {len(content), len(cut)} if in_zip else {0}:
        write(cut, num_bytes, length)
        for dataset in datasets(tmp_path):
            if isinstance(dataset, ChunkDataset):
                dataset.chunk_start = lambda index: length - 20_000
            with pytest.raises(InputError, match=r"(is it truncated|breaks off|cannot be read)"):
                dataset[0]
