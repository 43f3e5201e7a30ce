"""Shards: written, indexed, read in an order that goes through them, and taken up in the middle of one."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
from manifest_command import corpus_writer, labels, lines, parse_manifest, paths, refused
from small_tasks import task_on, write_split
from training.conftest import NOISY, arguments, differences, load, manifests, zygote  # noqa: F401 (fixtures)

from summarymixing_fairseq.commands.main import main
from summarymixing_fairseq.data.audio import read_segment
from summarymixing_fairseq.data.clips import open_clip
from summarymixing_fairseq.data.manifest import Manifest
from summarymixing_fairseq.data.shards import ShardOrder, shard_numbers
from summarymixing_fairseq.system.errors import InputError

write = corpus_writer("shards")
RATE = 16_000


def noise(num_samples: int, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).uniform(-0.1, 0.1, num_samples) * 2**15).round() / 2**15


def add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def flac(num_samples: int) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, noise(num_samples, num_samples), RATE, format="FLAC")
    return file.getvalue()


def shard(path: Path, *files: tuple[str, bytes]) -> Path:
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in files:
            add(tar, name, content)
    return path


def pair(name: str, num_samples: int) -> list[tuple[str, bytes]]:
    return [(f"{name}.flac", flac(num_samples)), (f"{name}.json", b"{}")]


@pytest.fixture
def data(tmp_path) -> Path:
    """Seven clips, three of them parts of one file, with letters, and two of validation."""
    folder = tmp_path / "data"
    folder.mkdir()
    write_split(folder, "valid", [4000, 4100], ["A |", "B |"])
    write_split(folder, "train", [5000, 5100, 5200, 5300], ["A A |", "A B B |", "B A |", "B B |"])
    soundfile.write(folder / "long.flac", noise(9000), RATE)
    with open(folder / "train.tsv", "a") as file:
        file.write("long.flac\t2000\t0\nlong.flac\t3000\t2500\nlong.flac\t2000\t6000\n")
    with open(folder / "train.ltr", "a") as file:
        file.write("A |\nB |\nA B |\n")
    return folder


def samples_of(manifest: Path) -> dict[str, tuple]:
    """Samples of each row by its letters."""
    rows = Manifest(manifest)
    told = lines(manifest.with_suffix(".ltr"))
    return {line: tuple(read_segment(open_clip(row), *row.part)) for line, row in zip(told, rows)}


# writing


def test_shards_hold_the_same_clips_with_their_labels(data, tmp_path):
    summary = write(data, tmp_path / "out", clips_per_shard=3)
    out = tmp_path / "out"
    assert sorted(path.name for path in out.glob("*.tar")) == [
        *(f"train-{number:06}.tar" for number in range(3)),
        "valid-000000.tar",
    ]
    assert "train: 3 shards" in summary
    for split in ("train", "valid"):
        assert samples_of(out / f"{split}.tsv") == samples_of(data / f"{split}.tsv")
    assert (out / "dict.ltr.txt").read_bytes() == (data / "dict.ltr.txt").read_bytes()
    assert lines(out / "train.ltr") != lines(data / "train.ltr")  # by chance: neighbours are of one speaker
    assert main(["check-manifest", str(out), "--workers", "1"]) == 0
    with tarfile.open(out / "train-000000.tar") as tar:
        names = tar.getnames()
        about = [json.load(tar.extractfile(name)) for name in names if name.endswith(".json")]
    assert [name.split(".")[0] for name in names[::2]] == [name.split(".")[0] for name in names[1::2]]
    assert all(set(one) == {"name", "num_samples", "sample_rate"} for one in about)
    before = {path.name: path.read_bytes() for path in out.glob("*.t*")}
    with pytest.raises(InputError, match=r"train\.tsv is there already"):
        write(data, out)
    write(data, out, clips_per_shard=3, force=True)
    assert {path.name: path.read_bytes() for path in out.glob("*.t*")} == before
    with pytest.raises(InputError, match="holds the manifests that are read"):
        write(data, data, force=True)


def test_no_shard_is_replaced_unasked(data, tmp_path):
    shards = tmp_path / "shards"
    write(data, dest=shards)
    assert main(["manifest", "shards", "--index", str(shards), "--dest", str(tmp_path / "index")]) == 0
    kept = {path: path.read_bytes() for path in shards.glob("*.tar")}
    for name in shards.glob("*.tsv"):
        name.unlink()
    for force in ([], ["--force"]):  # what is read is never written over
        assert main(["manifest", "shards", str(tmp_path / "index"), "--dest", str(shards), *force]) == 1
    other = tmp_path / "other"
    shard(other / "train-000000.tar", ("theirs.txt", b"theirs"))
    theirs = (other / "train-000000.tar").read_bytes()
    assert main(["manifest", "shards", str(data), "--dest", str(other)]) == 1
    assert (other / "train-000000.tar").read_bytes() == theirs
    assert kept == {path: path.read_bytes() for path in shards.glob("*.tar")}


def test_a_split_whose_name_begins_another_is_not_taken_for_it(data, tmp_path, capsys):
    for ending in ("tsv", "ltr"):
        shutil.copy(data / f"train.{ending}", data / f"train-clean.{ending}")
    for force in ([], ["--force"]):
        assert main(["manifest", "shards", str(data), "--dest", str(tmp_path / "shards"), *force]) == 0
    assert "delete it" not in "".join(capsys.readouterr())


def test_a_clip_that_cannot_be_read_is_left_out(data, tmp_path):
    (data / "2_train.wav").write_bytes(b"no audio")
    write(data, tmp_path / "out")
    assert len(paths(tmp_path / "out" / "train.tsv")) == 6
    ((path, reason),) = refused(tmp_path / "out")
    assert path == "2_train.wav" and reason.startswith("cannot be read")
    assert "B A |" not in labels(tmp_path / "out", "train", "ltr").values()


def test_join_takes_shards(data, tmp_path):
    write(data, tmp_path / "out", clips_per_shard=3)
    other = tmp_path / "other"
    other.mkdir()
    write_split(other, "train", [6000], ["B |"])
    shutil.copy(data / "0_train.wav", other / "0.wav")  # is in a shard too
    (other / "train.tsv").write_text((other / "train.tsv").read_text() + "0.wav\t5000\n")
    (other / "train.ltr").write_text("B |\nA A |\n")
    corpus_writer("join")([tmp_path / "out", other], tmp_path / "joined")
    assert len(paths(tmp_path / "joined" / "train.tsv")) == 8
    assert [reason for _, reason in refused(tmp_path / "joined")][0].startswith("audio is in another manifest too")


# shards of others


def test_shards_of_webdataset_are_indexed(tmp_path):
    folder = tmp_path / "others"
    for number in range(4):
        files = [*pair(f"a/{number}x", 3000 + number), (f"a/{number}x.txt", b"hello"), *pair(f"a/{number}y", 4000)]
        shard(folder / f"corpus-{number:04}.tar", *files)
    write(folder, tmp_path / "out", index=True)
    root, valid = parse_manifest((tmp_path / "out" / "valid.tsv").read_text())
    train = paths(tmp_path / "out" / "train.tsv")
    assert root == str(folder) and len(valid) == 2 and len(train) == 6
    assert not {path.split(":")[0] for path in train} & {clip.path.split(":")[0] for clip in valid}  # whole shards
    clip = Manifest(tmp_path / "out" / "train.tsv")[0]
    np.testing.assert_allclose(read_segment(open_clip(clip)), noise(clip.num_samples, clip.num_samples))


def test_webdataset_reads_ours_and_we_read_its(data, tmp_path):
    webdataset = pytest.importorskip("webdataset")
    write(data, tmp_path / "out", clips_per_shard=10)
    found = list(webdataset.WebDataset(str(tmp_path / "out" / "train-000000.tar"), shardshuffle=False))
    assert len(found) == 7 and all("json" in one and ("wav" in one or "flac" in one) for one in found)
    (tmp_path / "its").mkdir()
    with webdataset.TarWriter(str(tmp_path / "its" / "train-000000.tar")) as writer:
        for number in range(3):
            writer.write({"__key__": f"{number}", "flac": flac(3000 + number), "json": {"text": "a"}})
    write(tmp_path / "its", tmp_path / "index", index=True, valid_fraction=0)
    assert [clip.num_samples for clip in Manifest(tmp_path / "index" / "train.tsv")] == [3000, 3001, 3002]


@pytest.mark.parametrize("name", ["test", "valid", "dev_clean"])
def test_shards_of_one_held_out_split_stay_held_out(tmp_path, name):
    for number in range(3):
        shard(tmp_path / "others" / f"{name}-{number}.tar", *pair("x", 3000))
    write(tmp_path / "others", tmp_path / "out", index=True)
    assert {path.stem for path in (tmp_path / "out").glob("*.tsv")} == {name}


@pytest.mark.parametrize("with_dictionary", [False, True])
def test_labels_without_a_dictionary(data, tmp_path, with_dictionary):
    """Where none has one, as of a table without a split train, they go along; what is left out is named."""
    (data / "valid.mood").write_text("glad\nsad\n")
    (data / "valid.trials").write_text("1 a b\n")
    if not with_dictionary:
        (data / "dict.ltr.txt").unlink()
    summary = write(data, tmp_path / "out")
    if with_dictionary:
        assert f"{data / 'valid.mood'} is left out: there is no dict.mood.txt" in summary
        assert not (tmp_path / "out" / "valid.mood").exists()
    else:
        assert sorted(lines(tmp_path / "out" / "valid.mood")) == ["glad", "sad"]
        assert f"{data / 'valid.trials'} is left out: it has not a line for each row of its manifest" in summary


def test_names_give_the_splits(tmp_path):
    for name in ("train-0", "train-1", "valid-0", "test_clean.3"):
        shard(tmp_path / "others" / f"{name}.tar", *pair("x", 3000))
    write(tmp_path / "others", tmp_path / "out", index=True)
    assert {path.stem for path in (tmp_path / "out").glob("*.tsv")} == {"train", "valid", "test_clean"}


@pytest.mark.parametrize(
    ("files", "path", "reason"),
    [
        ([("b.flac", b"x")], "0.tar: b.flac", "audio without its .json"),
        ([("b.json", b"{}")], "0.tar: b.json", ".json without its audio"),
        (pair("../b", 3000), "0.tar: ../b.flac", "name that leads out of the shard"),
        (pair("/b", 3000), "0.tar: /b.flac", "name that leads out of the shard"),
        (pair("good", 3000), "0.tar: good.flac", "name that is there twice"),
        ([*pair("b", 3000), ("b.wav", b"x")], "0.tar: b.wav", "second audio beside b.flac"),
        ([("b.flac", b"x"), ("b.json", b"")], "0.tar:", "unreadable or truncated"),
    ],
)
def test_files_of_a_shard_that_are_refused(files, path, reason, tmp_path):
    shard(tmp_path / "others" / "0.tar", *pair("good", 3000), *files)
    write(tmp_path / "others", tmp_path / "out", index=True, valid_fraction=0)
    assert len(paths(tmp_path / "out" / "train.tsv")) == 1
    found = refused(tmp_path / "out")
    assert found[0][0].startswith(path) and found[0][1].startswith(reason)


@pytest.mark.parametrize("cut", ["in a clip", "in a header", "between two", "compressed"])
def test_a_shard_that_is_truncated_or_compressed_is_refused_whole(cut, tmp_path):
    folder = tmp_path / "others"
    shard(folder / "0.tar", *pair("x", 3000))
    path = shard(folder / "1.tar", *pair("x", 3000), *pair("y", 3001))
    with tarfile.open(path) as tar:
        last = tar.getmembers()[2]
    if cut == "compressed":
        path.rename(folder / "1.tar.gz")
    else:
        places = {"in a clip": last.offset_data + 9, "in a header": last.offset + 100, "between two": last.offset}
        path.write_bytes(path.read_bytes()[: places[cut]])
    write(folder, tmp_path / "out", index=True, valid_fraction=0)
    assert [path.split(":")[0] for path in paths(tmp_path / "out" / "train.tsv")] == ["0.tar"]
    ((path, reason),) = refused(tmp_path / "out")
    assert path.startswith("1.tar") and reason.startswith("compressed" if cut == "compressed" else "truncated")


@pytest.mark.parametrize("cut", [True, False])
def test_a_shard_that_is_another_than_when_its_index_was_made(cut, data, tmp_path):
    """A bad clip in training, which another stands in for."""
    write(data, tmp_path / "out", clips_per_shard=3)
    folder = tmp_path / "out"
    first = Manifest(folder / "train.tsv")[0]
    path = folder / "train-000000.tar"
    if cut:
        path.write_bytes(path.read_bytes()[:600])
    else:
        shard(path, ("0.txt", b"x"), *pair("other", 9000), *pair("others", 9000), *pair("another", 9000))
    with pytest.raises(InputError, match="is it truncated, or another" if cut else "has changed since its index"):
        open_clip(first)
    task = task_on(folder, "speech_pretraining", max_bad_fraction=0.5)
    task.load_dataset("train")
    assert len(task.datasets["train"][0]["source"]) and task.datasets["train"].bad_clips.indices() == [0]
    assert main(["check-manifest", str(folder), "--workers", "1"]) == 1


def test_a_row_that_leads_out_of_the_root(data, tmp_path):
    write(data, tmp_path / "out")
    (data / "train.tsv").write_text(f"{data}\n../out/train-000000.tar:512:100\t5000\n")
    with pytest.raises(InputError, match="leads out of the manifest's root"):
        Manifest(data / "train.tsv")


# order


def test_an_epoch_goes_through_a_few_shards_at_a_time():
    """Each clip once; another order in each epoch, and the same in each run."""
    shards = np.repeat(np.arange(10), 20)
    order = ShardOrder(shards, buffer=3, seed=1)

    def pairs(indices: np.ndarray) -> list:
        return [list(indices[start : start + 2]) for start in range(0, len(indices), 2)]

    indices = np.random.default_rng(1).permutation(200)
    epochs = [order.batches(indices, epoch, pairs) for epoch in (1, 2)]
    assert epochs[0] != epochs[1] and epochs[0] == order.batches(indices, 1, pairs)
    assert epochs[0] != ShardOrder(shards, 3, seed=2).batches(indices, 1, pairs)
    for batches in epochs:
        clips = np.concatenate(batches)
        assert sorted(clips) == list(range(200))
        buffers = [set(shards[clips[start : start + 60]]) for start in range(0, 200, 60)]
        assert [len(buffer) for buffer in buffers] == [3, 3, 3, 1]
        assert len(set(shards[clips[:12]])) == 3  # shuffled within the buffer
        in_order = [list(batch) for batch in pairs(indices[np.isin(shards[indices], list(buffers[0]))])]
        assert sorted(map(list, batches[:30])) == sorted(in_order) and batches[:30] != in_order


def test_rows_in_shards_and_others(data, tmp_path):
    write(data, tmp_path / "out", clips_per_shard=3)
    assert shard_numbers(Manifest(tmp_path / "out" / "train.tsv")).tolist() == [0, 0, 0, 1, 1, 1, 2]
    assert shard_numbers(Manifest(data / "train.tsv")) is None
    text = (tmp_path / "out" / "train.tsv").read_text()
    (tmp_path / "out" / "train.tsv").write_text(text + "valid.wav\t5\n")
    assert shard_numbers(Manifest(tmp_path / "out" / "train.tsv")) is None


@pytest.mark.parametrize("fields", [{}, {"rebuild_batches": False}, {"subsample": 0.8}])
def test_iterators_of_a_task(fields, data, tmp_path):
    """Two processes share an epoch, each epoch has another order, and a state is taken up within it."""
    write(data, tmp_path / "out", clips_per_shard=2)
    num_clips = 6 if "subsample" in fields else 7

    def iterator(epoch: int, process: int = 0, num_processes: int = 1):
        task = task_on(tmp_path / "out", "speech_pretraining", shard_buffer=2, **fields)
        task.load_dataset("train")
        limits = {"max_sentences": 1, "num_shards": num_processes, "shard_id": process, "seed": 1}
        return task, task.get_batch_iterator(task.datasets["train"], epoch=epoch, **limits)

    def clips(given) -> list[int]:
        return [int(number) for batch in given for number in (batch["id"] if batch else [])]

    whole = clips(iterator(1)[1].next_epoch_itr(shuffle=True))
    assert len(set(whole)) == num_clips
    numbers = [clip // 2 for clip in whole]
    if not fields.get("subsample"):
        assert set(numbers[:4]) & set(numbers[4:]) == set()  # two shards, then the others
    halves = [clips(iterator(1, process, 2)[1].next_epoch_itr(shuffle=True)) for process in (0, 1)]
    assert sorted(halves[0] + halves[1]) == sorted(whole)
    task, second = iterator(2)
    assert clips(second.next_epoch_itr(shuffle=True)) != whole
    assert task.get_batch_iterator(task.datasets["train"], epoch=3, max_sentences=1) is not second
    _, begun = iterator(1)
    batches = begun.next_epoch_itr(shuffle=True)
    for _ in range(3):
        next(batches)
    _, taken_up = iterator(1)
    taken_up.load_state_dict(begun.state_dict())
    assert clips(taken_up.next_epoch_itr(shuffle=True)) == whole[3:]


def test_fine_tuning_takes_shards(data, tmp_path):
    write(data, tmp_path / "out", clips_per_shard=2)
    told = lines(tmp_path / "out" / "train.ltr")
    task = task_on(tmp_path / "out", shard_buffer=2)
    task.load_dataset("train")
    dataset = task.datasets["train"]
    assert dataset.shard_order.shards.tolist() == [0, 0, 1, 1, 2, 2, 3]
    for number, line in enumerate(told):
        assert task.target_dictionary.string(dataset[number]["label"]) == line
    batches = task.get_batch_iterator(dataset, max_sentences=2).next_epoch_itr()
    assert sorted(number for batch in batches for number in batch["id"].tolist()) == list(range(7))


def test_a_buffer_of_no_shard(data):
    with pytest.raises(InputError, match=r"task\.shard_buffer=0: must be 1 or more"):
        task_on(data, "speech_pretraining", shard_buffer=0).load_dataset("train")


# training


@pytest.fixture(scope="module")
def sharded(manifests, tmp_path_factory) -> Path:  # noqa: F811
    folder = tmp_path_factory.mktemp("sharded")
    write(manifests, folder, clips_per_shard=3)
    return folder


def test_a_run_stopped_in_the_middle_of_a_shard_and_one_that_was_not(sharded, arguments, zygote, tmp_path):  # noqa: F811
    """A batch a clip, three clips a shard: after two updates a shard is begun. The same weights to the bit."""
    shards = [f"task.data={sharded}", "+task.shard_buffer=1", "dataset.max_tokens=16000", "dataset.num_workers=0"]
    whole, taken_up = tmp_path / "whole", tmp_path / "taken_up"
    zygote.run(arguments(whole, 5, *NOISY, *shards), tmp_path / "log")
    for updates in (2, 5):
        zygote.run(arguments(taken_up, updates, *NOISY, *shards), tmp_path / "log")
    first, second = (load(folder / "checkpoint_last.pt") for folder in (whole, taken_up))
    assert first["extra_state"]["train_iterator"]["iterations_in_epoch"] == 5  # of 12
    for part in ("model", "last_optimizer_state"):
        assert differences(first[part], second[part]) == []
