"""The error of bad input: one line that names the file, label or option, and says what to do."""


class InputError(ValueError):
    """An error that the user can correct. Commands print its message alone, without a stack trace."""


def printable(text: str) -> str:
    """``text`` on one line and in valid UTF-8: file names on Linux may hold any bytes."""
    escaped = text.replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")
    return escaped.encode("utf-8", "backslashreplace").decode("utf-8")
