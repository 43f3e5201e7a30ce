"""Tests of corpora/iemocap.py: labels of dialogues, four classes, folds without shared speakers."""

from __future__ import annotations

from pathlib import Path

import pytest
from manifest_command import corpus_command, corpus_writer, labels, refused, write_audio

from summarymixing_fairseq.corpora.iemocap import SPEAKERS
from summarymixing_fairseq.system.errors import InputError

main = corpus_command("iemocap")
prepare = corpus_writer("iemocap")

NUM_SAMPLES = 4000

# Who speaks in every dialogue, and with what emotion.
NAMES = ("F000", "M000", "F001", "M001", "F002", "M002", "M003")
ROWS = tuple(zip(NAMES, ("neu", "ang", "exc", "hap", "sad", "fru", "xxx")))
KEPT = {"F000": "neu", "M000": "ang", "F001": "hap", "M001": "hap", "F002": "sad"}
# The first F or M names who wore the markers: it must not count.
DIALOGS = ("{0}F_impro01", "{0}M_script01_1b")


def evaluation(dialog: str, rows=ROWS) -> str:
    """A file of EmoEvaluation as it is released, with the votes of single annotators."""
    lines = ["% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]", ""]
    for index, (name, emotion) in enumerate(rows):
        lines += [
            f"[{index}.2901 - {index + 1}.2357]\t{dialog}_{name}\t{emotion}\t[2.5000, 2.5000, 2.5000]",
            "C-E2:\tNeutral;\t()",
            "C-F1:\tNeutral; Anger;\t(curious)",
            "A-E3:\tval 3; act 2; dom  2;\t()",
            "A-F1:\tval 3; act 2; dom  1;\t()",
            "",
        ]
    return "\n".join(lines)


def labels_of(root: Path, session: int, dialog: str) -> Path:
    return root / f"Session{session}" / "dialog" / "EmoEvaluation" / f"{dialog}.txt"


def path_of(utterance: str) -> str:
    return f"Session{utterance[4]}/sentences/wav/{utterance.rpartition('_')[0]}/{utterance}.wav"


@pytest.fixture
def corpus(tmp_path) -> Path:
    """Two dialogues for each session, and what else the release holds."""
    root = tmp_path / "IEMOCAP_full_release"
    for session in range(1, 6):
        for pattern in DIALOGS:
            dialog = pattern.format(f"Ses0{session}")
            told = labels_of(root, session, dialog)
            (told.parent / "Categorical").mkdir(parents=True, exist_ok=True)
            (told.parent / "Categorical" / f"{dialog}_e2_cat.txt").write_text(f"{dialog}_F000 :Anger; ()\n")
            told.write_text(evaluation(dialog))
            told.with_name(f"._{dialog}.txt").write_bytes(b"\x00\x05\x16\x07\n[Mac OS X\xff")
            for name, _ in ROWS:
                wav = root / path_of(f"{dialog}_{name}")
                write_audio(wav, NUM_SAMPLES)
                wav.with_name(f"._{wav.name}").write_bytes(b"\x00\x05\x16\x07")
            write_audio(root / f"Session{session}" / "dialog" / "wav" / f"{dialog}.wav", NUM_SAMPLES)
    return root


def rows(dest: Path, split: str) -> dict[str, str]:
    """Label of each clip of a split, by its path."""
    return labels(dest, split, "emotion")


def speakers(dest: Path, split: str) -> set[str]:
    names = [Path(path).stem for path in rows(dest, split)]
    return {name[:5] + name.rpartition("_")[2][0] for name in names}


def expected(session: int) -> dict[str, str]:
    dialogs = [pattern.format(f"Ses0{session}") for pattern in DIALOGS]
    return {path_of(f"{dialog}_{name}"): label for dialog in dialogs for name, label in KEPT.items()}


def test_folds_hold_out_each_session_in_turn(corpus, tmp_path):
    dest = tmp_path / "out"
    summary = prepare(corpus, dest)
    for fold, (valid, train) in enumerate(
        [(2, (3, 4, 5)), (3, (1, 4, 5)), (4, (1, 2, 5)), (5, (1, 2, 3)), (1, (2, 3, 4))], 1
    ):
        assert rows(dest, f"fold{fold}/test") == expected(fold)
        assert rows(dest, f"fold{fold}/valid") == expected(valid)
        assert rows(dest, f"fold{fold}/train") == {
            path: label for session in train for path, label in expected(session).items()
        }
        assert (dest / f"fold{fold}" / "dict.emotion.txt").read_text() == "hap 12\nang 6\nneu 6\nsad 6\n"
    assert (dest / "fold1" / "test.tsv").read_text() == "\n".join(
        [
            str(corpus),
            *(f"{path_of(f'Ses01F_impro01_{name}')}\t4000" for name in ("F000", "F001", "F002", "M000", "M001")),
            *(f"{path_of(f'Ses01M_script01_1b_{name}')}\t4000" for name in ("F000", "F001", "F002", "M000", "M001")),
            "",
        ]
    )
    assert (dest / "fold1" / "test.emotion").read_text() == "neu\nhap\nsad\nang\nhap\n" * 2
    assert dict(refused(dest)) == {
        path_of(f"{pattern.format(f'Ses0{session}')}_{name}"): f"emotion {emotion}"
        for session in range(1, 6)
        for pattern in DIALOGS
        for name, emotion in (("M002", "fru"), ("M003", "xxx"))
    }
    assert "found 70 clips" in summary
    assert "fold1/train: 30 clips" in summary and "fold5/valid: 10 clips" in summary
    assert "refused 10: emotion fru, e.g. Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_M002.wav" in summary
    assert "50 utterances of the four classes; the full release has 5,531" in summary
    assert not [path for path in dest.rglob("*") if path.suffix in (".ltr", ".wrd")]


def test_folds_hold_out_each_speaker_in_turn(corpus, tmp_path):
    dest = tmp_path / "out"
    assert main([str(corpus), "--dest", str(dest), "--held-out", "speaker"]) == 0
    assert sorted(path.name for path in dest.glob("fold*")) == sorted(f"fold{fold}" for fold in range(1, 11))
    assert SPEAKERS[:2] + SPEAKERS[9:] == ["Ses01F", "Ses01M", "Ses05M"]
    for fold, test in enumerate(SPEAKERS, 1):
        valid = test[:-1] + {"F": "M", "M": "F"}[test[-1]]
        assert speakers(dest, f"fold{fold}/test") == {test}
        assert speakers(dest, f"fold{fold}/valid") == {valid}
        assert speakers(dest, f"fold{fold}/train") == set(SPEAKERS) - {test, valid}
    assert rows(dest, "fold1/test") == {path: label for path, label in expected(1).items() if "_F00" in path}
    # the probes would take the mean over the folds of both
    assert main([str(corpus), "--dest", str(dest), "--force"]) == 1


def test_damaged_labels(corpus, tmp_path):
    dialog = "Ses02F_impro01"
    told = labels_of(corpus, 2, dialog)
    first = "[1.0 - 2.0]\t"
    lines = [
        f"{first}{dialog}_F000\tneu\t[2.5000, 2.5000, 2.5000]",
        "C-E2:\tNeutral;\t(na\xefve)",
        "",
        f"{first}{dialog}_F000\tneu\t[2.5000, 2.5000, 2.5000]",
        f"{first}{dialog}_M000\tang\t[2.5000, 2.5000, 2.5000]",
        f"{first}{dialog}_M000\tsad\t[2.5000, 2.5000, 2.5000]",
        f"{first}{dialog}_F001",
        f"{dialog}_M001\thap",
        f"{first}Ses02F_impro02_F000\tsad\t[2.5000, 2.5000, 2.5000]",
        f"{first}Ses03F_impro01_F000\tsad\t[2.5000, 2.5000, 2.5000]",
        f"[ 3.0-4.0 ] {dialog}_F002 SAD [2.5, 2.5, 2.5] ",
    ]
    told.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode("latin-1"))
    dest = tmp_path / "out"
    summary = prepare(corpus, dest)
    here = {path: label for path, label in rows(dest, "fold2/test").items() if dialog in path}
    assert here == {path_of(f"{dialog}_F000"): "neu", path_of(f"{dialog}_F002"): "sad"}
    place = f"Session2/dialog/EmoEvaluation/{dialog}.txt"
    found = dict(refused(dest))
    assert {key: reason for key, reason in found.items() if dialog in key} == {
        f"{place}:4": f"label given twice: {dialog}_F000",
        path_of(f"{dialog}_M000"): "labelled twice, differently: ang, sad",
        f"{place}:7": f"line is no label: {first[:-1]}\\t{dialog}_F001",
        f"{place}:8": f"line is no label: {dialog}_M001\\thap",
        f"{place}:9": "label for another dialogue or session: Ses02F_impro02_F000",
        f"{place}:10": "label for another dialogue or session: Ses03F_impro01_F000",
        **{path_of(f"{dialog}_{name}"): "no label" for name in ("F001", "M001", "M002", "M003")},
    }
    assert "refused 2: line is no label" in summary
    assert f"found {47 + len(found)} clips" in summary


def test_labels_in_the_folder_of_another_session(corpus, tmp_path):
    labels_of(corpus, 3, "Ses03F_impro01").rename(labels_of(corpus, 2, "Ses03F_impro01"))
    prepare(corpus, tmp_path)
    assert rows(tmp_path, "fold2/test") == expected(2)
    assert {path for path in rows(tmp_path, "fold3/test") if "Ses03F_impro01" in path} == set()
    reasons = [reason.partition(":")[0] for path, reason in refused(tmp_path) if "Ses03F_impro01" in path]
    assert sorted(reasons) == ["label for another dialogue or session"] * len(ROWS) + ["no label"] * len(ROWS)


def test_audio_missing_broken_and_without_label(corpus, tmp_path):
    (corpus / path_of("Ses01F_impro01_F000")).unlink()
    (corpus / path_of("Ses01F_impro01_M003")).unlink()  # of no class: refused for its emotion, once
    (corpus / path_of("Ses01F_impro01_M000")).write_bytes(b"")
    (corpus / path_of("Ses01F_impro01_F001")).unlink()
    (corpus / path_of("Ses01F_impro01_F001")).symlink_to("nowhere.wav")
    write_audio(corpus / path_of("Ses01F_impro01_F099"), NUM_SAMPLES)
    write_audio(corpus / path_of("Ses05F_impro09_M000"), NUM_SAMPLES)
    prepare(corpus, tmp_path / "out")
    found = dict(refused(tmp_path / "out"))
    assert {key: reason for key, reason in found.items() if not reason.startswith("emotion")} == {
        path_of("Ses01F_impro01_F000"): "no such file",
        path_of("Ses01F_impro01_M000"): "empty file",
        path_of("Ses01F_impro01_F001"): "dead link",
        path_of("Ses01F_impro01_F099"): "no label",
        path_of("Ses05F_impro09_M000"): "no label",
    }
    assert found[path_of("Ses01F_impro01_M003")] == "emotion xxx"
    kept = {path for path in rows(tmp_path / "out", "fold1/test") if "Ses01F" in path}
    assert kept == {path_of(f"Ses01F_impro01_{name}") for name in ("M001", "F002")}


def test_a_class_that_train_lacks_is_pointed_out(corpus, tmp_path):
    for session in (3, 4, 5):
        for pattern in DIALOGS:
            told = labels_of(corpus, session, pattern.format(f"Ses0{session}"))
            told.write_text(told.read_text().replace("\tsad\t", "\txxx\t"))
    summary = prepare(corpus, tmp_path)
    assert "fold1/test: not in dict.emotion.txt, as train lacks them (rows with them): sad (2)" in summary


def test_emotions_left_out_count_as_refused(corpus, tmp_path, capsys):
    assert main([str(corpus), "--dest", str(tmp_path), "--max-refused", "0.2"]) == 1
    assert "20 of 70 clips refused, more than --max-refused 0.2" in capsys.readouterr().err
    assert not list(tmp_path.glob("fold*"))


@pytest.mark.parametrize(
    ("gone", "message"),
    [
        (["Session2", "Session4"], "lacks Session2, Session4: give the folder that holds Session1 to Session5"),
        (["Session3/dialog/EmoEvaluation"], "Session3/dialog/EmoEvaluation does not exist: give the full release"),
        (["Session3/sentences/wav"], "Session3/sentences/wav does not exist"),
        (
            ["Session3/sentences/wav/Ses03F_impro01", "Session3/sentences/wav/Ses03M_script01_1b"],
            r"fold2/valid has no usable clip below .*refused\.tsv lists all",
        ),
        (
            [labels_of(Path(), 1, pattern.format("Ses01")).as_posix() for pattern in DIALOGS],
            "fold1/test has no usable clip below ",
        ),
    ],
)
def test_an_incomplete_release(corpus, tmp_path, gone, message):
    for number, name in enumerate(gone):
        (corpus / name).rename(tmp_path / str(number))
    with pytest.raises(InputError, match=message):
        prepare(corpus, tmp_path / "out")
    assert not list((tmp_path / "out").glob("fold*"))
