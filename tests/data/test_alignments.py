"""Tests of data/alignments.py: labels with times, in TextGrids, CTM files and our JSON."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from summarymixing_fairseq.data.alignments import (
    PAUSES,
    Alignment,
    Interval,
    as_json,
    as_textgrid,
    read_alignments,
    read_ctm,
    read_json,
    read_textgrid,
)
from summarymixing_fairseq.data.manifest import Clip
from summarymixing_fairseq.system.errors import InputError

# As Praat writes them, with a point tier, a tier of another name, quotes, "!" and numbers in labels, and pauses.
LONG = """\
File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = 1.5
tiers? <exists>
size = 3
item []:
    item [1]:
        class = "IntervalTier"
        name = "words"
        xmin = 0
        xmax = 1.5
        intervals: size = 3
        intervals [1]:
            xmin = 0
            xmax = 0.25
            text = ""
        intervals [2]:
            xmin = 0.25
            xmax = 1.0
            text = "say ""hi!"" 5 <exists>"
        intervals [3]:
            xmin = 1.0
            xmax = 1.5
            text = "sil"
    item [2]:
        class = "TextTier"
        name = "bells ! rung"
        xmin = 0
        xmax = 1.5
        points: size = 1
        points [1]:
            number = 0.7
            mark = "ding"
    item [3]:
        class = "IntervalTier"
        name = "phones"
        xmin = 0
        xmax = 1.5
        intervals: size = 4
        intervals [1]:
            xmin = 0
            xmax = 0.25
            text = "spn"
        intervals [2]:
            xmin = 0.25
            xmax = 0.5
            text = "aː "
        intervals [3]:
            xmin = 0.5
            xmax = 1.0
            text = "s"
        intervals [4]:
            xmin = 1.0
            xmax = 1.5
            text = "<eps>"
"""
SHORT = """\
"ooTextFile"
"TextGrid"

0
1.5
<exists>
3
"IntervalTier" "words" 0 1.5 3
0 0.25 ""
0.25 1.0 "say ""hi!"" 5 <exists>" ! a comment, "with" 7 numbers
1.0 1.5 "sil"
"TextTier"
"bells ! rung"
0 1.5 1
0.7 "ding"
"IntervalTier" "phones" 0 1.5 4
0 0.25 "spn" 0.25 0.5 "aː" 0.5 1.0 "s" 1.0 1.5 "<eps>"
"""
READ = Alignment(
    {
        "words": (Interval('say "hi!" 5 <exists>', 0.25, 1.0),),
        "phones": (Interval("aː", 0.25, 0.5), Interval("s", 0.5, 1.0)),
    },
    1.5,
)


def saved(folder: Path, content: str | bytes, name: str = "a.TextGrid") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return path


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("text", [LONG, SHORT], ids=["long", "short"])
def test_textgrids_of_praat(tmp_path, text, ends, encoding):
    mark = b"\xfe\xff" if encoding == "utf-16-be" else b""
    assert read_textgrid(saved(tmp_path, mark + text.replace("\n", ends).encode(encoding))) == READ


def tier(name: str, *intervals: tuple[float, float, str]) -> str:
    lines = "".join(f'{start} {end} "{label}"\n' for start, end, label in intervals)
    return f'"IntervalTier" "{name}" 0 1 {len(intervals)}\n{lines}'


def short_grid(*tiers: str) -> str:
    return f'"ooTextFile"\n"TextGrid"\n0 1\n<exists>\n{len(tiers)}\n{"".join(tiers)}'


def test_tiers_of_one_speaker_as_the_montreal_aligner_writes_them(tmp_path):
    grid = short_grid(tier("Ann - Lee - words", (0, 1, "a")), tier("Ann - Lee - phones", (0, 1, "b")))
    found = read_textgrid(saved(tmp_path, grid))
    assert found.speaker == "Ann - Lee" and found.tiers["words"] == (Interval("a", 0, 1),) and len(found.tiers) == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (short_grid(tier("A - phones", (0, 1, "a")), tier("B - phones", (0, 1, "a"))), "has tiers of 'A' and 'B'"),
        (short_grid(tier("phones", (0, 1, "a")), tier("phones", (0, 1, "a"))), "has two tiers 'phones'"),
        (short_grid(tier("phone", (0, 1, "a"))), "no tier phones or words, but 'phone'"),
        (short_grid(), "no tier phones or words, but none at all"),
        ('"ooTextFile" "TextGrid" 0 1 <absent>', "no tier phones or words, but none at all"),
        (short_grid('"TextTier" "phones" 0 1 1 0.5 "a"'), "'phones' holds points"),
        (short_grid(tier("phones", (0, 0.5, "a"), (0.4, 1, "b"))), "phones 'b' from 0.4 to 1 s begins before"),
        (short_grid(tier("phones", (0.5, 1, "a"), (0, 0.5, "b"))), "phones 'b' from 0 to 0.5 s begins before"),
        (short_grid(tier("phones", (0.5, 0.4, "a"))), "from 0.5 to 0.4 s is no interval"),
        (short_grid(tier("phones", (-0.5, 0.4, "a"))), "from -0.5 to 0.4 s is no interval"),
        (short_grid(tier("phones", (0, 1e999, "a"))), "line 7: no TextGrid: a number is needed"),
        (LONG.replace('"bells ! rung"', "7"), "line 29: no TextGrid: a text in quotation marks is needed"),
        ("", "line 1: no TextGrid: 'ooTextFile' is needed"),
        ('"ooTextFile"\n"Pitch 1"\n', "line 2: no TextGrid: 'TextGrid' is needed"),
        ('"ooTextFile"\n"TextGrid"\n0 1\n"<exists>"\n', "line 4: no TextGrid: <exists> is needed"),
        (LONG[: LONG.index("xmax = 1.0")], "line 20: no TextGrid: a number is needed"),
        (LONG.replace("size = 4", "size = 5"), "line 57: no TextGrid: a number is needed"),
        (LONG.replace("size = 4", "size = 3.5"), "line 41: no TextGrid: a count is needed"),
        (LONG.replace('"say ""hi', '"say "hi'), "line 22: no TextGrid: a closing quotation mark is needed"),
        (LONG[: LONG.rindex('"')], "line 57: no TextGrid: a closing quotation mark is needed"),
        (LONG.replace('"IntervalTier"', '"PitchTier"', 1), "line 10: no TextGrid: 'IntervalTier' or 'TextTier'"),
        (LONG.encode("utf-8").replace("ː".encode(), b"\xff"), "line 49: neither UTF-8 nor UTF-16"),
        (b"ooBinaryFile\x08TextGrid", "is a binary TextGrid: save it as text"),
    ],
)
def test_textgrids_that_are_refused(tmp_path, content, message):
    with pytest.raises(InputError, match=r"a\.TextGrid") as refused:
        read_textgrid(saved(tmp_path, content))
    assert message in str(refused.value) and "\n" not in str(refused.value)


def test_times_rounded_to_hundredths_may_overlap_by_one(tmp_path):
    labels = tier("phones", (0, 0.25, "a"), (0.24, 0.24, "b"), (0.24, 0.5, "c"), (0.495, 1, "sil"))
    found = read_textgrid(saved(tmp_path, short_grid(labels)))
    assert found.tiers["phones"] == (Interval("a", 0, 0.24), Interval("c", 0.24, 0.495)) and found.seconds == 1


CTM = """\
;; clip channel start duration label
84-121 1 0.00 0.25 sil
84-121 1 0.25 0.10 k 0.98

84-122 A 0.5 0.25 SIL
84-122 A 0.75 0.25 d
84-121 1 0.35 0.40 {a}
"""


def test_ctm(tmp_path):
    found = read_ctm(saved(tmp_path, CTM, "a.ctm"))
    assert found == {
        "84-121": Alignment({"phones": (Interval("k", 0.25, 0.35), Interval("{a}", 0.35, 0.75))}, 0.75),
        "84-122": Alignment({"phones": (Interval("d", 0.75, 1.0),)}, 1.0),
    }


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("84-121 1 0.9 0.1", "line 8: '84-121 1 0.9 0.1' is not clip"),
        ("84-121 1 0.9 0.1 a 1.0 x", "line 8"),
        ("84-121 1 start 0.1 a", "line 8"),
        ("84-121 1 nan 0.1 a", "line 8"),
        ("84-121 2 0.9 0.1 a", "line 8: 84-121 has labels of channels 1 and 2"),
        ("84-121 1 0.9 -0.1 a", "84-121: phones 'a' from 0.9 to 0.8 s is no interval"),
        ("84-121 1 0.7 0.1 a", "84-121: phones 'a' from 0.7 to 0.8 s begins before"),
    ],
)
def test_ctm_that_is_refused(tmp_path, line, message):
    with pytest.raises(InputError, match=r"a\.ctm") as refused:
        read_ctm(saved(tmp_path, f"{CTM}{line}\n", "a.ctm"))
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"seconds": 1,\n "tiers": }', "line 2: no JSON"),
        ("[" * 100_000, "no JSON"),
        ("[]", "not labels of a clip"),
        ('{"tiers": {"phones": []}}', "not labels of a clip"),
        ('{"seconds": 1, "tiers": []}', "not labels of a clip"),
        ('{"seconds": true, "tiers": {"phones": []}}', "not labels of a clip"),
        ('{"seconds": 1, "speaker": 5, "tiers": {"phones": []}}', "not labels of a clip"),
        ('{"seconds": 1, "tiers": {"phones": [[0, 1]]}}', "not labels of a clip"),
        ('{"seconds": 1, "tiers": {"phones": [[0, 1, 2]]}}', "not labels of a clip"),
        ('{"seconds": 1, "tiers": {"phones": [[0, "1", "a"]]}}', "not labels of a clip"),
        (f'{{"seconds": 1, "tiers": {{"phones": [[0, 1{"0" * 400}, "a"]]}}}}', "not labels of a clip"),
        ('{"seconds": 1, "tiers": {"notes": []}}', "no tier phones or words"),
        ('{"seconds": 1, "tiers": {"phones": [[0, NaN, "a"]]}}', "is no interval"),
        ('{"seconds": NaN, "tiers": {"phones": []}}', "after the clip's nan seconds"),
        ('{"seconds": 1, "tiers": {"phones": [[0, 2, "a"]]}}', "labels end at 2 s, after the clip's 1 seconds"),
        ('{"seconds": 1, "tiers": {"phones": [[0, 0.5, "a"], [0.4, 1, "b"]]}}', "begins before"),
    ],
)
def test_json_that_is_refused(tmp_path, content, message):
    with pytest.raises(InputError, match=r"a\.json") as refused:
        read_json(saved(tmp_path, content, "a.json"))
    assert message in str(refused.value)


LABELS = st.text(st.characters(exclude_categories=["Cs", "Cc", "Z"]), min_size=1, max_size=5)


@st.composite
def tiers_of_a_clip(draw) -> Alignment:
    seconds = draw(st.floats(0.1, 1e5))

    def intervals() -> tuple[Interval, ...]:
        edges = draw(st.lists(st.floats(0, seconds), unique=True, max_size=12).map(sorted))
        spans = [(start, end) for start, end in zip(edges, edges[1:]) if draw(st.booleans())]
        words = st.lists(LABELS, min_size=1, max_size=2).map(" ".join).filter(lambda label: label not in PAUSES)
        return tuple(Interval(draw(words), start, end) for start, end in spans)

    names = draw(st.sampled_from([("phones",), ("words",), ("phones", "words"), ("words", "phones")]))
    return Alignment({name: intervals() for name in names}, seconds, *(draw(LABELS) for _ in range(3)))


@settings(max_examples=150, deadline=None)
@given(tiers_of_a_clip())
def test_what_is_written_is_read_again(tmp_path_factory, alignment):
    folder = tmp_path_factory.mktemp("written")
    (folder / "a.json").write_text(as_json(alignment), "utf-8")
    assert read_json(folder / "a.json") == alignment
    (folder / "a.TextGrid").write_text(as_textgrid(alignment), "utf-8")
    assert read_textgrid(folder / "a.TextGrid") == Alignment(alignment.tiers, alignment.seconds)


def test_a_textgrid_has_no_gaps(tmp_path):
    """Praat refuses one that has."""
    (tmp_path / "a.TextGrid").write_text(as_textgrid(Alignment({"words": READ.tiers["words"]}, 1.5)), "utf-8")
    words = LONG[: LONG.index("    item [2]")].replace("size = 3\nitem", "size = 1\nitem").replace('"sil"', '""')
    assert (tmp_path / "a.TextGrid").read_text("utf-8").replace("= 0.0\n", "= 0\n") == words


# Labels of the clips of a manifest

GRID = short_grid(tier("phones", (0, 0.5, "a"), (0.5, 1, "b")))


def clip(name: str, seconds: float = 1.0, offset: int | None = None) -> Clip:
    return Clip(Path("/audio", name), name, round(seconds * 16000), offset)


def test_labels_are_found_by_the_names_of_clips(tmp_path):
    for name in ("en/a", "b", "c_0000016000"):
        saved(tmp_path, GRID.replace('"a"', f'"{name}"'), f"{name}.TextGrid")
    saved(tmp_path, GRID, "d.TextGrid")
    of_d = Alignment({"words": (Interval("d", 0, 0.5),)}, 1.0, "ann", "en", "d")
    (tmp_path / "d.json").write_text(as_json(of_d), "utf-8")
    clips = [clip("en/a.flac"), clip("fr/x/b.wav"), clip("c.flac", offset=16000), clip("d.flac")]
    found = read_alignments(tmp_path, clips)
    assert [next(iter(one.tiers.values()))[0].label for one in found] == ["en/a", "b", "c_0000016000", "d"]
    assert found[3].speaker == "ann"  # of the JSON, as both are there


def test_a_last_part_that_two_clips_share_names_neither(tmp_path):
    saved(tmp_path, GRID, "a.TextGrid")
    with pytest.raises(InputError, match=r"has no labels of en/a\.flac: leave the clip out"):
        read_alignments(tmp_path, [clip("en/a.flac"), clip("fr/a.flac")])


def test_labels_in_one_ctm_file(tmp_path):
    path = saved(tmp_path, CTM, "all.ctm")
    clips = [clip("84/122/84-122.flac"), clip("84-121.flac", 0.8)]
    found = read_alignments(path, clips)
    assert [list(one.tiers) for one in found] == [["phones"]] * 2
    assert [one.tiers["phones"][0].label for one in found] == ["d", "k"]
    saved(tmp_path, CTM.replace("84-121", "84_121"), "spaced.ctm")  # a CTM's columns are spaced
    assert read_alignments(tmp_path / "spaced.ctm", [clip("84 121.flac", 0.8)])[0].tiers["phones"][0].label == "k"
    with pytest.raises(InputError, match=r"all\.ctm has no labels of 84-123\.flac"):
        read_alignments(path, [clip("84-123.flac")])


@pytest.mark.parametrize(("seconds", "near"), [(0.88, 0.92), (1.12, 1.08)])
def test_labels_of_another_length_are_refused(tmp_path, seconds, near):
    saved(tmp_path, GRID)
    assert read_alignments(tmp_path, [clip("a.flac", near)])
    with pytest.raises(
        InputError, match=rf"labels of a\.flac in .* end at 1\.000 s, the clip at {seconds:.3f} s: more"
    ):
        read_alignments(tmp_path, [clip("a.flac", seconds)])


def test_the_tier_that_ends_first_says_where_labels_end(tmp_path):
    saved(tmp_path, short_grid(tier("phones", (0, 0.5, "a")), tier("words", (0, 0.5, "a"), (0.5, 1, ""))))
    with pytest.raises(InputError, match=r"end at 0\.500 s"):
        read_alignments(tmp_path, [clip("a.flac")])


def test_labels_that_are_not_there(tmp_path):
    with pytest.raises(InputError, match="nowhere: neither a folder nor a .ctm file"):
        read_alignments(tmp_path / "nowhere", [clip("a.flac")])
    with pytest.raises(InputError, match="a.ctm cannot be read: No such file"):
        read_alignments(tmp_path / "a.ctm", [clip("a.flac")])
    os.mkfifo(tmp_path / "a.TextGrid")
    with pytest.raises(InputError, match="a.TextGrid cannot be read: no file"):
        read_alignments(tmp_path, [clip("a.flac")])


def test_json_is_as_documented():
    of_a = Alignment({"words": (Interval("hé", 0.25, 0.5),)}, 1.0, "ann", "fr", "hé")
    assert json.loads(as_json(of_a)) == {
        "seconds": 1.0,
        "speaker": "ann",
        "language": "fr",
        "text": "hé",
        "tiers": {"words": [[0.25, 0.5, "hé"]]},
    }
