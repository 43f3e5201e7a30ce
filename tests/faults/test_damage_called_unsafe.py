"""A checkpoint that is cut or changed is called damaged and not unsafe, and never read as other weights."""

from __future__ import annotations

import io
import random
import zipfile
from pathlib import Path

import pytest
import torch

from summarymixing_fairseq.checkpoints.untrusted_file import load_safely
from summarymixing_fairseq.system.errors import InputError

STATE = {"cfg": {"model": {"_name": "wav2vec2"}}, "model": {"w": torch.arange(2_000.0), "b": torch.ones(3)}}
DAMAGED = r"c\.pt is (damaged: .*|no checkpoint, or a damaged one \(cut short\?\)): copy it again, or take an"


def saved(**options: bool) -> bytes:
    file = io.BytesIO()
    torch.save(STATE, file, **options)
    return file.getvalue()


def refused(path: Path) -> str | None:
    """The message about a file; None if it is read, with the same content as ever."""
    try:
        state = load_safely(path)
    except InputError as error:
        assert "\n" not in str(error)
        return str(error)
    assert state["cfg"] == STATE["cfg"]
    assert all(torch.equal(state["model"][name], weight) for name, weight in STATE["model"].items())
    return None


@pytest.mark.parametrize("old_format", [False, True])
def test_cut_anywhere(old_format, tmp_path):
    content, path = saved(_use_new_zipfile_serialization=not old_format), tmp_path / "c.pt"
    for length in (0, 1, 3, 10, 100, len(content) // 2, len(content) - 100, len(content) - 1):
        path.write_bytes(content[:length])
        # the old format tells how much is to come
        with pytest.raises(InputError, match=rf"{DAMAGED}|declares tensors of 8012 bytes, .* \(cut short\?\)"):
            load_safely(path)


@pytest.mark.parametrize("content", [b"some text\n", b"PK\x03\x04 broken zip", b"version https://git-lfs\n", bytes(9)])
def test_no_checkpoint_at_all(content, tmp_path):
    (tmp_path / "c.pt").write_bytes(content)
    with pytest.raises(InputError, match=DAMAGED):
        load_safely(tmp_path / "c.pt")


def test_a_flipped_bit(tmp_path):
    """torch reads most of these files, with other weights."""
    content, path, draw = saved(), tmp_path / "c.pt", random.Random(1)
    num_refused = 0
    for bit in (draw.randrange(8 * len(content)) for _ in range(100)):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        num_refused += refused(path) is not None  # what is read in spite of it lies between the members
    assert num_refused > 75


def test_weights_are_named(tmp_path):
    content = bytearray(saved())
    content[content.index(STATE["model"]["w"][1000:1010].numpy().tobytes())] ^= 4
    (tmp_path / "c.pt").write_bytes(content)
    message = refused(tmp_path / "c.pt")
    assert message and "the checksum of archive/data/0 in it is another one" in message


def behind(head: bytes, content: bytes) -> bytes:
    """An archive behind other bytes, its places corrected, so that zipfile and torch's reader both find it."""
    file = io.BytesIO(head)
    file.seek(0, io.SEEK_END)
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(file, "a") as target:
        for member in source.infolist():
            target.writestr(member.filename, source.read(member))
    return file.getvalue()


def test_what_torch_takes_for_an_archive(tmp_path):
    """torch asks the first four bytes: what stands in an archive at the end of another file was never looked at."""
    path, content = tmp_path / "c.pt", saved()
    for tail in (b"x", b"x" * 70_000, content):
        path.write_bytes(content + tail)
        with pytest.raises(InputError, match="is damaged: its archive is not whole"):
            load_safely(path)
    old_with_code = io.BytesIO()
    torch.save({"w": bytearray(3)}, old_with_code, _use_new_zipfile_serialization=False)
    path.write_bytes(behind(old_with_code.getvalue(), content))
    assert zipfile.is_zipfile(path)
    with pytest.raises(InputError, match="loaded safely .* it has '.*bytearray'"):
        load_safely(path)
    path.write_bytes(behind(b"", content))
    assert refused(path) is None  # packed anew, as others may do


def test_two_directories(tmp_path):
    """Of an archive of the 64-bit form: where its own record is, by one reader and by another."""
    content, path = saved(), tmp_path / "c.pt"
    at = content.rindex(b"PK\x06\x07")
    path.write_bytes(content[: at + 8] + (7).to_bytes(8, "little") + content[at + 16 :])
    with pytest.raises(InputError, match="two ends"):
        load_safely(path)
