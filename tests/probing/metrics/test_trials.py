"""Lists of trials, speakers of clips, and trials of all pairs."""

from __future__ import annotations

import itertools
import re
from collections import Counter

import numpy as np
import pytest

from summarymixing_fairseq.probing.metrics.trials import Trials, all_pairs, check_speakers, read_trials, speakers_of
from summarymixing_fairseq.system.errors import InputError

NAMES = ["wav/id1/a/1.wav", "wav/id1/b/1.wav", "wav/id2/c/1.wav", "wav/id3/ç/1.wav"]


def written(folder, text: str | bytes):
    path = folder / "test.trials"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_read(tmp_path):
    lines = [f"1\t{NAMES[1]}\t{NAMES[0]}", f"0\t{NAMES[0]}\t{NAMES[3]}", f"1\t{NAMES[1]}\t{NAMES[0]}"]
    for text in ("\n".join(lines), "\r\n".join(lines) + "\r\n", "\ufeff" + "\n\n".join(lines) + "\n"):
        trials = read_trials(written(tmp_path, text), NAMES)
        assert trials.labels.tolist() == [True, False, True] and trials.labels.dtype == bool
        assert trials.first.tolist() == [1, 0, 1] and trials.second.tolist() == [0, 3, 0]
        assert len(trials) == 3 and trials.first.dtype == trials.second.dtype == np.int32


def test_read_what_the_voxceleb_script_writes(tmp_path):
    from summarymixing_fairseq.corpora.voxceleb import _written_trials

    keys = ["id10270/v/1", "id10271/w/2"]
    path_of = {key: f"wav/{key}.wav" for key in keys}
    lists = {"veri_test.txt": [("1", keys[0], keys[0]), ("0", keys[1], keys[0])]}
    files, _ = _written_trials(lists, path_of, tmp_path)
    trials = read_trials(written(tmp_path, files["test.trials"]), path_of.values())
    assert trials.labels.tolist() == [True, False]
    assert trials.first.tolist() == [0, 1] and trials.second.tolist() == [0, 0]


def test_names_that_are_not_utf8(tmp_path):
    trials = read_trials(written(tmp_path, b"1\ta\xff.wav\tb.wav\n"), ["b.wav", "a\udcff.wav"])
    assert (trials.first[0], trials.second[0]) == (1, 0)


@pytest.mark.parametrize(
    "line, message",
    [
        ("1\twav/id9/1.wav\twav/id2/c/1.wav", "'wav/id9/1.wav' is in no row of the manifest"),
        ("0\twav/id2/c/1.wav\t", "'' is in no row"),
        ("2\twav/id2/c/1.wav\twav/id2/c/1.wav", "label '2' must be 1 (same speaker) or 0"),
        ("1 wav/id1/a/1.wav wav/id2/c/1.wav", "is not `<0 or 1><TAB>path<TAB>path`"),
        ("1\twav/id2/c/1.wav", "is not `<0 or 1><TAB>path<TAB>path`"),
        ("1\ttwice.wav\twav/id2/c/1.wav", "'twice.wav' has several rows"),
    ],
)
def test_bad_line(tmp_path, line, message):
    path = written(tmp_path, f"0\t{NAMES[0]}\t{NAMES[2]}\n{line}\n")
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        read_trials(path, [*NAMES, "twice.wav", "twice.wav"])
    assert str(caught.value).startswith(f"{path}, line 2: ") and "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "\n \n"])
def test_empty_list(tmp_path, text):
    with pytest.raises(InputError, match="test.trials holds no trial: write one"):
        read_trials(written(tmp_path, text), NAMES)


def test_missing_list(tmp_path):
    with pytest.raises(InputError, match=r"nowhere cannot be read \(No such file or directory\): write one"):
        read_trials(tmp_path / "nowhere", NAMES)


@pytest.mark.parametrize(
    "names, speakers",
    [
        (["id1/a/1.wav", "id1/b/1.wav", "id2/1.wav"], ["id1", "id1", "id2"]),
        (NAMES, ["id1", "id1", "id2", "id3"]),
        (["x/y/id1/v/1.wav", "x/y/id2/v/1.wav"], ["id1", "id2"]),
        (["id1/1.wav", "id1/2.wav"], ["id1", "id1"]),
        ([], []),
    ],
)
def test_speakers_by_folder(tmp_path, names, speakers):
    assert speakers_of(tmp_path, "test", names) == speakers


def test_speakers_by_label_file(tmp_path):
    (tmp_path / "test.speaker").write_text("one\none\ntwo\none\n")
    assert speakers_of(tmp_path, "test", NAMES) == ["one", "one", "two", "one"]
    with pytest.raises(InputError, match="test.speaker has 4 lines, its manifest 3 rows"):
        speakers_of(tmp_path, "test", NAMES[:3])
    (tmp_path / "test.speaker").write_text("one\n\ntwo\none\n")
    with pytest.raises(InputError, match="test.speaker, line 2 is empty"):
        speakers_of(tmp_path, "test", NAMES)


@pytest.mark.parametrize("names", [["id1/1.wav", "2.wav"], ["1.wav", "2.wav"], ["1.wav"], ["x/1.wav", "x/id2/2.wav"]])
def test_no_speaker_folder(tmp_path, names):
    with pytest.raises(InputError, match=r"\d.wav lies in no speaker's folder: write the speakers.*valid.speaker"):
        speakers_of(tmp_path, "valid", names)


def test_labels_that_contradict_the_speakers():
    trials = all_pairs(["a"] * 15 + ["b"] * 15)
    names = [f"{i}.wav" for i in range(30)]
    check_speakers(trials, ["a"] * 15 + ["b"] * 15, names)
    stray = trials.labels.copy()
    stray[0] = False
    check_speakers(Trials(stray, trials.first, trials.second), ["a"] * 15 + ["b"] * 15, names)
    with pytest.raises(InputError, match="29 of 435 .*trial 14 labelled 1 with 0.wav of a and 14.wav of b: write"):
        check_speakers(trials, ["a"] * 14 + ["b"] * 16, names)
    with pytest.raises(InputError, match="225 of 435 trials contradict the clips' speakers, e.g. trial 211 labelled 0"):
        check_speakers(trials, ["wav"] * 30, names)


def as_set(trials: Trials) -> set[tuple[bool, int, int]]:
    return set(zip(trials.labels.tolist(), trials.first.tolist(), trials.second.tolist()))


def test_all_pairs():
    speakers = ["b", "a", "b", "c", "a", "a"]
    trials = all_pairs(speakers)
    pairs = itertools.combinations(range(len(speakers)), 2)
    assert as_set(trials) == {(speakers[i] == speakers[j], i, j) for i, j in pairs} and len(trials) == 15


@pytest.mark.parametrize("max_trials", [2, 3, 17, 90, 400, 1224, 1225])
def test_thinned_pairs(max_trials):
    speakers = [f"{i % 7}" for i in range(50)]
    every, trials = as_set(all_pairs(speakers)), all_pairs(speakers, max_trials)
    assert len(trials) == len(as_set(trials)) == max_trials and as_set(trials) <= every
    num_targets = sum(label for label, _, _ in every)
    assert trials.labels.sum() == min(num_targets, max_trials // 2)
    np.random.seed(99)
    assert as_set(all_pairs(speakers, max_trials)) == as_set(trials)


def test_thinning_prefers_targets_only_where_there_are_others_enough():
    """45 target trials, 10 others: all of the others are kept."""
    trials = all_pairs(["a"] * 10 + ["b"], 40)
    assert (trials.labels.sum(), (~trials.labels).sum()) == (30, 10)


def test_thinning_takes_all_clips_alike():
    trials = all_pairs([f"{i // 20}" for i in range(1000)], 20_000)
    counts = Counter(np.concatenate([trials.first, trials.second]).tolist())
    assert len(counts) == 1000 and min(counts.values()) / 40 > 0.4 and max(counts.values()) / 40 < 1.7


def test_pairs_of_one_kind():
    with pytest.raises(InputError, match="2 clips of one speaker"):
        all_pairs(["a", "a"])
    with pytest.raises(InputError, match="no speaker has two clips"):
        all_pairs(["a", "b", "c"])
    with pytest.raises(InputError):
        all_pairs([])
