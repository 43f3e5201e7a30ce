"""Tests of data/native_messages.py on an mp3 file that libmpg123 has something to say of."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import threading

import pytest
import soundfile
from manifest_command import write_audio

from summarymixing_fairseq.corpora.audio.audio_file import read_clip
from summarymixing_fairseq.corpora.writing.options import AudioRules
from summarymixing_fairseq.corpora.writing.rows import Clip
from summarymixing_fairseq.data.native_messages import without_native_messages


@pytest.fixture
def talkative(tmp_path):
    """An mp3 with a tag that is broken."""
    audio = write_audio(tmp_path / "a.mp3", 32_000)
    frame = b"COMM" + struct.pack(">I", 3) + b"\0\0" + b"\x00en"
    (tmp_path / "a.mp3").write_bytes(b"ID3\x03\x00\x00\x00\x00\x00" + bytes([len(frame)]) + frame + audio)
    return tmp_path / "a.mp3"


def test_a_library_is_silent(talkative, capfd):
    with soundfile.SoundFile(talkative) as file:
        file.read()
    assert "libmpg123" in capfd.readouterr().err  # or the test shows nothing
    assert isinstance(read_clip("a.mp3", str(talkative.parent), AudioRules(verify=True)), Clip)
    assert capfd.readouterr().err == ""


def test_what_others_write_is_passed_on(capfd):
    with without_native_messages():
        os.write(2, b"mine\n[src/libmpg123/id3.c:f():5] error: no\nNote: Trying to resync...\nmine too\n")
        with without_native_messages():
            os.write(2, b"inner\n")
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "mine\nmine too\ninner\nafter\n"


def test_threads_that_overlap_leave_standard_error_as_it_was(capfd):
    inside, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with without_native_messages():
            inside.set()
            leave.wait()

    thread = threading.Thread(target=hold)
    before = os.fstat(2)
    with without_native_messages():
        thread.start()
        inside.wait()
    os.write(2, b"between\n")
    leave.set()
    thread.join()
    after = os.fstat(2)
    assert (before.st_dev, before.st_ino) == (after.st_dev, after.st_ino)
    assert capfd.readouterr().err == "between\n"


def test_the_line_of_an_interrupted_command_is_not_held_back():
    code = """if True:
        import os, signal, time
        from summarymixing_fairseq.data.native_messages import without_native_messages
        from summarymixing_fairseq.system import interrupts
        interrupts.install("the line")
        with without_native_messages():
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(60)
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr.strip()) == (130, "the line")
