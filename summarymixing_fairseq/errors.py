"""The error of bad input: one line that names the thing and says what to do."""


class InputError(ValueError):
    """A file, label or option that the user can mend. Commands print its message alone, without a stack trace."""
