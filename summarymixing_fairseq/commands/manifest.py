"""`summarymixing manifest`: fairseq manifests and labels of a corpus, or of any folder of audio."""

from __future__ import annotations

import argparse
import inspect

from ..corpora import all_corpora
from ..corpora.writing.corpus import write_corpus
from ..corpora.writing.options import add_arguments, options_of
from ..system.files import exclusive


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the `manifest` sub-command, which has a sub-command for each corpus."""
    parser = subparsers.add_parser(
        "manifest",
        help="write manifests and labels of a corpus, or of any folder of audio",
        description="Write DEST/SPLIT.tsv and the labels beside it. What cannot be used is listed in DEST/refused.tsv.",
    )
    corpora = parser.add_subparsers(dest="corpus", required=True, metavar="CORPUS")
    for name, corpus in all_corpora().items():
        sub = corpora.add_parser(
            name,
            help=str(corpus.__doc__).partition("\n")[0],
            description=corpus.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            argument_default=argparse.SUPPRESS,  # defaults stand once: in the signature that an option is for
        )
        corpus.add_arguments(sub)
        add_arguments(sub)
        sub.set_defaults(prepare=corpus.prepare)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Write the manifests and print what was found.

    Raises:
        InputError: for audio, labels or options that cannot be used.
    """
    options = options_of(args)
    known = inspect.signature(args.prepare).parameters
    given = {name: value for name, value in vars(args).items() if name in known}
    with exclusive(options.dest):
        prepared = args.prepare(options=options, **given)
        summary = prepared if isinstance(prepared, str) else write_corpus(prepared, options)
    print(summary)
