"""Whether a FLAC file's last frame is there, by a look at its end: a sixth of what seeking there costs.

Format: RFC 9639, sections 8.2 (STREAMINFO) and 9.1 (frame header).
"""

from __future__ import annotations

import os

_STREAMINFO_BYTES = 42  # marker, block header and STREAMINFO, which always comes first
_LONGEST_FRAME_HEADER = 16
_SYNC_CODES = (b"\xff\xf8", b"\xff\xf9")  # frames of one size, frames of several
# Frames longer than this are left to the library.
_MOST_TAIL_BYTES = 2**18
_BLOCK_SIZES = {1: 192, **{code: 144 << code for code in range(2, 6)}, **{code: 1 << code for code in range(8, 16)}}


def _crc8_table() -> bytes:
    table = bytearray()
    for value in range(256):
        for _ in range(8):
            value = (value << 1 ^ 0x107) if value & 0x80 else value << 1
        table.append(value)
    return bytes(table)


_CRC8 = _crc8_table()


def ends_as_promised(descriptor: int, num_samples: int) -> bool:
    """True if the frame that ends at sample `num_samples` begins in the last bytes of the open file.

    False says nothing: let the library seek there. A file cut within its last frame, a quarter of a second, passes.
    The file's position stays where it is.
    """
    start = os.pread(descriptor, _STREAMINFO_BYTES, 0)
    if start[:4] != b"fLaC" or len(start) < _STREAMINFO_BYTES:
        return False
    longest_frame = int.from_bytes(start[15:18], "big")
    block_size = int.from_bytes(start[8:10], "big")
    if not 0 < longest_frame <= _MOST_TAIL_BYTES:
        return False
    size = os.fstat(descriptor).st_size
    tail = os.pread(descriptor, longest_frame, max(_STREAMINFO_BYTES, size - longest_frame))
    for sync_code in _SYNC_CODES:
        position = tail.find(sync_code)
        while position >= 0:
            # A frame of silence is shorter than the longest header.
            header = tail[position : position + _LONGEST_FRAME_HEADER].ljust(_LONGEST_FRAME_HEADER, b"\0")
            if _end_of_frame(header, block_size) == num_samples:
                return True
            position = tail.find(sync_code, position + 1)
    return False


def _end_of_frame(header: bytes, block_size: int) -> int | None:
    """Number of the sample after a frame, or None where `header` is no frame header."""
    if header[2] >> 4 == 0 or header[2] & 0xF == 0xF or header[3] & 1:
        return None
    number, length = _coded_number(header[4:])
    if number is None:
        return None
    position = 4 + length
    code = header[2] >> 4
    if code in (6, 7):
        width = code - 5
        this_block = int.from_bytes(header[position : position + width], "big") + 1
        position += width
    else:
        this_block = _BLOCK_SIZES[code]
    rate_code = header[2] & 0xF
    position += {12: 1, 13: 2, 14: 2}.get(rate_code, 0)
    crc = 0
    for byte in header[:position]:
        crc = _CRC8[crc ^ byte]
    if crc != header[position]:
        return None
    variable_blocks = header[1] & 1
    return (number if variable_blocks else number * block_size) + this_block


def _coded_number(data: bytes) -> tuple[int | None, int]:
    """Number in the extended UTF-8 of frame headers, and its length in bytes."""
    first = data[0]
    if first < 0x80:
        return first, 1
    length = 8 - (~first & 0xFF).bit_length()
    if not 2 <= length <= 7:
        return None, 0
    number = first & (0x7F >> length)
    for byte in data[1:length]:
        if byte >> 6 != 2:
            return None, 0
        number = number << 6 | (byte & 0x3F)
    return number, length
