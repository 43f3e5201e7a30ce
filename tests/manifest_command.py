"""`summarymixing manifest CORPUS` in the tests' own process."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from summarymixing_fairseq.commands.main import main


def corpus_command(corpus: str) -> Callable[[Sequence[str]], int]:
    """What takes the options of a corpus and returns the exit status."""
    return lambda argv: main(["manifest", corpus, *argv])
