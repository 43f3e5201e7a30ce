"""Files that hold more or less audio than their header says, which libsndfile does not tell.

More: two files that were joined, a recording whose header was never finished, and an mp3 file of variable bitrate
without the frame that says how many follow (Xing). Less: a file that was cut short. Those of FLAC and mp3 cannot be
decoded to the end that they promise; of other formats libsndfile takes what is there for the whole.
"""

from __future__ import annotations

import struct
from typing import BinaryIO

# Bytes after the audio that may be anything: a tag, or what a writer fills up by. Zeros at the end do not count.
_MOST_TRAILING_BYTES = 4_096
# Bytes of audio that may be missing: some writers count the header with the audio.
_MOST_MISSING_BYTES = 64
# From here on a chunk's size may be what a writer puts there that does not know it, such as sox and ffmpeg in a pipe.
_UNKNOWN_BYTES = 0x7F000000
# Where the first chunk begins, and name and size of each.
_CHUNKED = {
    "WAV": (12, "<4sI"),
    "WAVEX": (12, "<4sI"),
    "RF64": (12, "<4sI"),
    "AIFF": (12, ">4sI"),
    "CAF": (8, ">4sq"),
    "W64": (40, "<16sq"),
}
# How a stream begins.
_STREAM_STARTS = {
    "FLAC": (b"fLaC\x00\x00\x00\x22", b"fLaC\x80\x00\x00\x22"),  # its first block has 34 bytes, and may be its last
    "OGG": (b"OggS\x00\x02",),
}
# Frames of mp3 that may be more than the header says: the Xing frame, and what encoders add at both ends.
_MOST_MP3_FRAMES_MORE = 6
_KBITS_PER_SECOND = {  # by MPEG-1 or later, and layer
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_MPEG1_RATES_HZ = (44_100, 48_000, 32_000)
_MORE = "audio beyond what its header says (two files joined, or a header not finished), so encode it again"
_LESS = "truncated (it ends before its audio does)"


def length_problem(file: BinaryIO, sound_format: str, num_seconds: float) -> str:
    """Why a file does not hold the audio that its header says; empty if it does. FLAC, ogg and mp3 are read whole.

    Args:
        file: an open one; its position is changed.
        sound_format: as libsndfile names it; num_seconds: length by the header.
    """
    file.seek(0)
    if sound_format in _CHUNKED:
        return _problem_at(file, _end_of_chunks(file, *_CHUNKED[sound_format]))
    if sound_format == "AU":
        data_offset, num_bytes = struct.unpack(">4xII", file.read(12))
        return _problem_at(file, data_offset + num_bytes) if num_bytes < _UNKNOWN_BYTES else ""
    if sound_format in _STREAM_STARTS:
        content = file.read()
        joined = sum(content.count(start) for start in _STREAM_STARTS[sound_format]) > 1
        if joined or (sound_format == "FLAC" and _flac_holds_more(content)):
            return _MORE
        return _LESS if sound_format == "OGG" and _ogg_is_cut(content) else ""
    if sound_format in ("MP3", "MPEG"):
        return _MORE if _mp3_holds_more(file.read(), num_seconds) else ""
    return ""


def _problem_at(file: BinaryIO, end: int) -> str:
    """Compare where the audio, and what may follow it, ends by the header with what the file holds."""
    if end > file.seek(0, 2) + _MOST_MISSING_BYTES:
        return _LESS
    file.seek(end)
    while block := file.read(1 << 20):
        if len(block.rstrip(b"\0")) > _MOST_TRAILING_BYTES:
            return _MORE
    return ""


def _end_of_chunks(file: BinaryIO, start: int, layout: str) -> int:
    """Where the last chunk ends: audio, or what follows it; beyond the file where audio is missing."""
    num_bytes = file.seek(0, 2)
    in_ds64 = 0
    after_audio = False
    while True:
        file.seek(start)
        header = file.read(struct.calcsize(layout))
        if len(header) < struct.calcsize(layout):
            return start
        name, size = struct.unpack(layout, header)
        if len(name) == 16:  # of W64, whose names begin with the letters of WAV's, and whose sizes count the header
            name, size = name[:4], size - len(header)
        if name == b"ds64":
            in_ds64 = int.from_bytes(file.read(16)[8:], "little")
        is_audio = name in (b"data", b"SSND")
        if is_audio and size in (-1, 2**32 - 1):
            size = in_ds64 or _UNKNOWN_BYTES
        if is_audio and size >= _UNKNOWN_BYTES:  # at most to the end of the file
            size = min(size, num_bytes - start - len(header))
        if size < 0:
            return start
        end = start + len(header) + size
        if end > num_bytes and not after_audio:
            return end if is_audio else num_bytes
        if after_audio and not (name.isascii() and name.decode().isprintable() and end <= num_bytes):
            return start
        after_audio = after_audio or is_audio
        start = end + -size % {8: 2, 24: 8}.get(len(header), 1)


def _ogg_is_cut(content: bytes) -> bool:
    """Whether the last page is not the stream's last, or not all there (RFC 3533, section 6)."""
    page = content[content.rfind(b"OggS") :]
    return len(page) < 27 or not page[5] & 4 or len(page) < 27 + page[26] + sum(page[27 : 27 + page[26]])


def _flac_holds_more(content: bytes) -> bool:
    """Whether the last frame begins where the header says that the audio has ended, or later.

    Format: RFC 9639, section 9. Where the last frame is not found, as before a tag, the header is believed.
    """
    begin = content.find(b"fLaC") + 8  # what the header says of the stream: STREAMINFO
    block_samples, most_bytes = int.from_bytes(content[begin + 2 : begin + 4], "big"), content[begin + 7 : begin + 10]
    num_samples = int.from_bytes(content[begin + 13 : begin + 18], "big") & 2**36 - 1
    end = len(content) - 4
    first = max(begin, end - (int.from_bytes(most_bytes, "big") or 2**16) - _MOST_TRAILING_BYTES)
    while (position := max(content.rfind(sync, first, end) for sync in (b"\xff\xf8", b"\xff\xf9"))) >= 0:
        end = position
        length = 0  # of the coded number, in bytes
        while length < 7 and content[position + 4] << length & 0x80:
            length += 1
        length = max(length, 1)
        coded = content[position + 4 : position + 4 + length]
        if len(coded) < length or any(byte >> 6 != 2 for byte in coded[1:]):
            continue
        number = coded[0] & (0x7F if length == 1 else 0xFF >> (length + 1))
        for byte in coded[1:]:
            number = number << 6 | byte & 0x3F
        more = {6: 1, 7: 2}.get(content[position + 2] >> 4, 0) + {12: 1, 13: 2, 14: 2}.get(
            content[position + 2] & 15, 0
        )
        start = number if content[position + 1] & 1 else number * block_samples
        header = content[position : position + 4 + length + more + 1]
        if _remainder(header, 8, 0x07):  # the header's own checksum, its last byte, is wrong
            continue
        if not 0 < num_samples <= start:
            return False
        if not _remainder(content[position:], 16, 0x8005):  # nor is that of the whole frame
            return True
    return False


def _remainder(content: bytes, num_bits: int, polynomial: int) -> int:
    """Of a cyclic redundancy check: 0 where ``content`` ends in its own checksum."""
    top, mask, crc = 1 << num_bits - 1, (1 << num_bits) - 1, 0
    for byte in content:
        crc ^= byte << num_bits - 8
        for _ in range(8):
            crc = (crc << 1 ^ (polynomial if crc & top else 0)) & mask
    return crc


def _mp3_holds_more(content: bytes, num_seconds: float) -> bool:
    """Whether the frames, one after the other, are longer together than the header says."""
    position, seconds, frame_seconds = 0, 0.0, 0.0
    in_step = False  # the last frame ended here
    while 0 <= position <= len(content) - 4:
        if content.startswith(b"ID3", position) and len(content) >= position + 10:
            high, *low = content[position + 6 : position + 10]
            position += 10 + (high << 21 | low[0] << 14 | low[1] << 7 | low[2])
            continue
        frame = _mp3_frame(content, position)
        # elsewhere, four bytes may look like a frame: another one has to follow
        if frame and (in_step or position + frame[0] == len(content) or _mp3_frame(content, position + frame[0])):
            position, frame_seconds = position + frame[0], frame[1]
            seconds += frame_seconds
            in_step = True
        else:
            position, in_step = content.find(b"\xff", position + 1), False
    return seconds > num_seconds + _MOST_MP3_FRAMES_MORE * frame_seconds


def _mp3_frame(content: bytes, position: int) -> tuple[int, float] | None:
    """Bytes and seconds of the frame that begins there; None where none does."""
    if len(content) < position + 4 or content[position] != 0xFF or content[position + 1] < 0xE0:
        return None
    version, layer = content[position + 1] >> 3 & 3, 4 - (content[position + 1] >> 1 & 3)
    bitrate, rate, padding = content[position + 2] >> 4, content[position + 2] >> 2 & 3, content[position + 2] >> 1 & 1
    if version == 1 or layer == 4 or not 0 < bitrate < 15 or rate == 3:
        return None
    is_mpeg1 = version == 3
    rate_hz = _MPEG1_RATES_HZ[rate] // {3: 1, 2: 2, 0: 4}[version]
    bits_per_second = 1000 * _KBITS_PER_SECOND[is_mpeg1, layer][bitrate - 1]
    if layer == 1:
        return (12 * bits_per_second // rate_hz + padding) * 4, 384 / rate_hz
    num_samples = 576 if layer == 3 and not is_mpeg1 else 1152
    return num_samples // 8 * bits_per_second // rate_hz + padding, num_samples / rate_hz
