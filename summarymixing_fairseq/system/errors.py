"""The error of bad input: one line that names the file, label or option, and says what to do."""

import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager

# control characters and ends of lines; marks that turn the order of a line round
STEERING = ("Cc", "Zl", "Zp")
BIDI = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


class InputError(ValueError):
    """An error that the user can correct. Commands print its message alone, without a stack trace."""


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether torch says that the memory of a GPU or of the machine does not suffice."""
    return any(words in str(error) for words in ("out of memory", "not enough memory", "can't allocate memory"))


@contextmanager
def enough_memory(what: str) -> Iterator[None]:
    """Raises InputError, which ends in ``what``, where the block needs more memory than a CPU or GPU has."""
    try:
        yield
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise InputError(f"memory does not suffice for {what}") from error


def reason_of(error: Exception) -> str:
    """The first line of what a library says, at most 300 characters; the kind of its error where it says nothing."""
    text = str(error).strip()
    return text.splitlines()[0][:300] if text else type(error).__name__


def printable(text: str) -> str:
    """``text`` on one line, in valid UTF-8, without what steers a terminal: names of files may hold any bytes."""
    escaped = "".join(
        char.encode("unicode_escape").decode() if unicodedata.category(char) in STEERING or char in BIDI else char
        for char in text
    )
    return escaped.encode("utf-8", "backslashreplace").decode("utf-8")
