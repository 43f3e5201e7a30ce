"""Rows that are parts of files, files at any rate, and replacements for bad clips."""

from __future__ import annotations

import multiprocessing
import zipfile

import numpy as np
import pytest
import soundfile
import torch
from fairseq.data.audio.raw_audio_dataset import FileAudioDataset
from torch.utils.data import DataLoader

from summarymixing_fairseq.data.bad_clips import BadClips
from summarymixing_fairseq.data.manifest import Manifest
from summarymixing_fairseq.data.segments import SegmentDataset
from summarymixing_fairseq.system.errors import InputError


def write_manifest(folder, rows):
    lines = "".join("\t".join(map(str, row)) + "\n" for row in rows)
    (folder / "train.tsv").write_text(f"{folder}\n{lines}")
    return folder / "train.tsv"


@pytest.mark.parametrize("normalize", [False, True])
def test_a_stock_manifest_gives_what_fairseq_gives(clips, rows, normalize):
    path = clips / "train.tsv"
    options = {"pad": True, "normalize": normalize, "min_sample_size": min(size for _, size in rows) + 1}
    stock = FileAudioDataset(path, 16_000, **options)
    ours = SegmentDataset(Manifest(path, options["min_sample_size"]), 16_000, **options)
    assert len(ours) == len(stock) == 3 and list(ours.fnames) == [
        stock.text_compressor.decompress(n) for n in stock.fnames
    ]
    assert ours.sizes.tolist() == stock.sizes.tolist() and ours.skipped_indices == stock.skipped_indices
    for index in range(3):
        assert ours[index]["id"] == index
        torch.testing.assert_close(ours[index]["source"], stock[index]["source"], rtol=0, atol=0)


def test_parts_of_a_long_file_equal_the_files_cut_from_it(clips, tiny_model, load):
    """Both give the same audio, and so the same loss."""
    samples, _ = soundfile.read(clips / "0.flac", dtype="int16")
    parts = [(0, 16_000), (16_000, 20_000), (30_000, 18_000)]
    for offset, length in parts:
        soundfile.write(clips / f"cut_{offset}.flac", samples[offset : offset + length], 16_000)
    write_manifest(clips, [("0.flac", length, offset) for offset, length in parts])
    in_parts = load(clips)
    write_manifest(clips, [(f"cut_{offset}.flac", length) for offset, length in parts])
    cut = load(clips)
    losses = []
    for dataset in (in_parts, cut):
        batch = dataset.collater([dataset[index] for index in range(3)])
        torch.manual_seed(3)
        np.random.seed(3)
        model = tiny_model().train()
        output = model(**batch["net_input"])
        losses.append(torch.nn.functional.cross_entropy(model.get_logits(output), model.get_targets(None, output)))
    torch.testing.assert_close(losses[0], losses[1], rtol=0, atol=0)


def test_other_rates_and_channels(clips, speech):
    stereo = np.stack([speech[0], 0.5 * speech[0]], 1)
    soundfile.write(clips / "stereo.wav", stereo, 16_000, subtype="FLOAT")
    soundfile.write(clips / "fast.wav", np.repeat(speech[0], 3), 48_000, subtype="FLOAT")
    path = write_manifest(clips, [("stereo.wav", len(stereo)), ("fast.wav", len(stereo)), ("fast.wav", 5000, 777)])
    dataset = SegmentDataset(Manifest(path), 16_000, pad=True)
    np.testing.assert_allclose(dataset[0]["source"], 0.75 * speech[0], atol=1e-6)
    assert len(dataset[1]["source"]) == len(stereo) and len(dataset[2]["source"]) == 5000
    np.testing.assert_allclose(dataset[2]["source"], dataset[1]["source"][777:5777], atol=1e-4)


def test_crops_depend_on_seed_epoch_and_batch_alone(clips, rows, recwarn):
    """Also if numpy's generator was used meanwhile, and in data workers of an earlier epoch."""
    manifest = Manifest(clips / "train.tsv")

    def cropped(seed: int, epoch: int, order: tuple[int, ...] = (0, 1, 2, 3)) -> torch.Tensor:
        dataset = SegmentDataset(manifest, 16_000, pad=True, max_sample_size=10_000, seed=seed)
        dataset.set_epoch(epoch)
        np.random.seed(epoch + seed + len(order))
        return dataset.collater([dataset[index] for index in order])["net_input"]["source"]

    first = cropped(1, 1)
    assert first.shape == (4, 10_000) and not [w for w in recwarn if "indexing" in str(w.message)]
    assert torch.equal(cropped(1, 1), first)
    for other in (cropped(2, 1), cropped(1, 2), cropped(1, 1, (1, 0, 2, 3))[[1, 0, 2, 3]]):
        assert not torch.equal(other, first)
    # a stretch of each clip
    whole = [SegmentDataset(manifest, 16_000)[index]["source"] for index in range(4)]
    for crop, clip in zip(first, whole):
        assert any(torch.equal(crop, clip[start : start + 10_000]) for start in range(len(clip) - 9_999))


def test_data_workers_know_the_epoch(clips, rows):
    dataset = SegmentDataset(Manifest(clips / "train.tsv"), 16_000, pad=True, max_sample_size=10_000)
    loader = DataLoader(
        dataset, batch_sampler=[[0, 1]], collate_fn=dataset.collater, num_workers=1, persistent_workers=True
    )
    heard = []
    for epoch in (1, 2):
        dataset.set_epoch(epoch)
        heard.append(next(iter(loader))["net_input"]["source"])
        assert torch.equal(heard[-1], dataset.collater([dataset[0], dataset[1]])["net_input"]["source"])
    assert not torch.equal(*heard)


def test_a_clip_in_a_stored_zip(clips, rows):
    with zipfile.ZipFile(clips / "all.zip", "w", zipfile.ZIP_STORED) as archive:
        archive.write(clips / "1.flac", "1.flac")
        entry = archive.getinfo("1.flac")
    start = (clips / "all.zip").read_bytes().index(b"fLaC")
    path = write_manifest(clips, [(f"all.zip:{start}:{entry.file_size}", rows[1][1]), ("none.zip:1:2", 5)])
    dataset = SegmentDataset(Manifest(path), 16_000, pad=True)
    expected, _ = soundfile.read(clips / "1.flac", dtype="float32")
    np.testing.assert_array_equal(dataset[0]["source"], expected)
    with pytest.raises(InputError, match=r"none\.zip:1:2 cannot be read"):
        dataset[1]


def test_a_bad_clip_is_replaced_with_the_labels_of_the_other(clips, rows, caplog, load):
    (clips / "train.ltr").write_text("A |\nB |\nC |\nD |\n")
    (clips / "dict.ltr.txt").write_text("".join(f"{letter} 1\n" for letter in "ABCD|"))
    dataset = load(clips, "speech_finetuning", labels="ltr", max_bad_fraction=0.5)
    whole = [dataset[index] for index in range(4)]
    assert not dataset.bad_clips.reasons
    (clips / "0.flac").write_bytes(b"no audio")
    item = dataset[0]
    stand_in = item["id"]
    assert stand_in != 0 and len(item["source"]) <= rows[0][1]
    torch.testing.assert_close(item["source"], whole[stand_in]["source"])
    assert item["label"].tolist() == whole[stand_in]["label"].tolist()
    dataset[0]
    assert dataset.bad_clips.indices() == [0] and "0.flac cannot be read" in dataset.bad_clips.reasons[0]
    assert caplog.text.count("clip 0 of train cannot be used") == 1
    batch = dataset.collater([dataset[index] for index in range(4)])
    assert batch["id"].tolist() == [stand_in, 1, 2, 3] and len(batch["target"]) == 4


def test_a_limit_stops_the_run_with_a_list(clips, rows, load):
    dataset = load(clips, max_bad_fraction=0.25)
    (clips / "0.flac").unlink()
    dataset[0]
    (clips / "2.flac").unlink()
    with pytest.raises(
        InputError, match=r"2 of 4 clips of train .* task\.max_bad_fraction=0\.25 .*0\.flac.*; .*2\.flac"
    ) as error:
        dataset[2]
    assert "\n" not in str(error.value)


def test_no_clip_at_all_ends_rather_than_searches_for_ever(clips, rows, load):
    dataset = load(clips, max_bad_fraction=1.0)
    for name, _ in rows:
        (clips / name).write_bytes(b"")
    with pytest.raises(InputError, match="4 of 4 clips"):
        dataset[0]


def test_the_shortest_clip_is_replaced_too(clips, rows, load):
    dataset = load(clips, max_bad_fraction=0.5)
    shortest = min(range(4), key=lambda index: rows[index][1])
    (clips / rows[shortest][0]).write_bytes(b"")
    assert dataset[shortest]["id"] != shortest


def test_data_workers_count_together(clips, rows, load):
    write_manifest(clips, rows * 10)
    dataset = load(clips, max_bad_fraction=0.6)
    (clips / "1.flac").unlink()
    (clips / "3.flac").unlink()
    batches = DataLoader(dataset, batch_size=4, num_workers=2, collate_fn=dataset.collater)
    assert sum(len(batch["id"]) for batch in batches) == 40
    assert dataset.bad_clips.indices() == [index for index in range(40) if index % 4 in (1, 3)]
    dataset.bad_clips.max_fraction = 0.2
    with pytest.raises(InputError):
        list(batches)


def test_clips_are_counted_while_another_process_marks_some():
    """torch's nonzero of memory that changes meanwhile writes past the end of its result."""
    bad = BadClips("train", 300_000, 1.0)
    reader = multiprocessing.get_context("fork").Process(target=lambda: [bad.indices() for _ in range(300)])
    reader.start()
    while reader.is_alive():
        bad._is_bad.zero_().fill_(True)
    assert reader.exitcode == 0


def test_no_file_holds_the_bad_clips(clips, rows, load, monkeypatch):
    """A cleaner may empty the system's temporary folder, or somebody fill it, and a signal leave files there."""
    monkeypatch.setattr("tempfile.tempdir", str(clips / "full"))
    dataset = load(clips, max_bad_fraction=0.5)
    (clips / "0.flac").unlink()
    assert dataset[0]["id"] != 0 and dataset.bad_clips.indices() == [0]
