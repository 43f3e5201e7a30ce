"""Names of encoders."""

from __future__ import annotations

import hashlib

import pytest

from summarymixing_fairseq.probing.mp3s.encoders import parse_encoders
from summarymixing_fairseq.system.errors import InputError


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("base/checkpoint_last.pt", "w2v small.pt", "x=1.pt", ".hidden.pt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path


def names(*arguments: str) -> list[str]:
    return [encoder.name for encoder in parse_encoders(arguments)]


def test_names_given_and_made(here):
    assert names("base/checkpoint_last.pt", "w2v small.pt", "MHSA=base/checkpoint_last.pt") == [
        *("base", "w2v_small", "MHSA")
    ]
    assert names("x=1.pt", "y=x=1.pt", ".hidden.pt") == ["x_1", "y", "hidden"]
    assert names("=x=1.pt") == ["x_1"]
    (encoder,) = parse_encoders(["y=x=1.pt"])
    assert encoder.path == here / "x=1.pt" and encoder.sha256 == hashlib.sha256(b"x=1.pt").hexdigest()


def test_a_checkpoint_in_this_folder_is_called_by_the_folder(here, monkeypatch):
    monkeypatch.chdir(here / "base")
    assert names("checkpoint_last.pt") == ["base"]


def test_random_weights_are_those_of_the_first(here):
    encoders = parse_encoders(["A=x=1.pt", "B=base/checkpoint_last.pt"], with_random=True)
    assert [(e.name, e.title, e.random) for e in encoders] == [
        ("A", "A", False),
        ("B", "B", False),
        ("A-random", "A, random weights", True),
    ]
    assert encoders[2].path == encoders[0].path


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((), "name the checkpoints to probe"),
        (("A=x=1.pt", "a=w2v small.pt"), "two encoders are called a"),
        (("base/checkpoint_last.pt", "base=x=1.pt"), "two encoders are called base"),
        (("A=",), "encoder A=: no file after the name"),
        (("A=gone.pt",), "gone.pt is no file"),
        (("..=x=1.pt",), "'..' names a folder"),
        (("x y=x=1.pt",), "'x y' names a folder"),
    ],
)
def test_refusals(here, arguments, message):
    with pytest.raises(InputError, match=message.replace(".", r"\.")):
        parse_encoders(arguments)
