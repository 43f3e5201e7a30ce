"""`summarymixing align`: when each word and letter of a known text is spoken."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from ..system.errors import InputError, printable
from ..system.files import exclusive, read_text, refuse_existing, write_together
from ..system.tables import tsv_rows
from ..system.units import SAMPLE_RATE_HZ
from .inputs import add_input_arguments, clips_to_read, prepare

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..checkpoints.recogniser import Recogniser
    from ..data.alignments import Alignment
    from ..data.manifest import Clip

EXTENSIONS = {"textgrid": "TextGrid", "json": "json"}
# of formats that have all clips in one file
ONE_FILE = {"ctm": "align.ctm", "rows": "align.tsv"}


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the `align` sub-command."""
    parser = subparsers.add_parser(
        "align",
        help="when each word and letter of a known text is spoken, by a CTC fine-tuned checkpoint",
        description="The text of an audio file is --text, or NAME.txt beside it; that of a manifest split "
        "(--data DIR --split SPLIT) is DIR/SPLIT.LABELS of the checkpoint's training, or SPLIT.wrd. A recording may be "
        "hours long. Written to stdout, or below --dest DIR: NAME.TextGrid, NAME.json, align.ctm, or align.tsv: rows "
        "of a few seconds to train on, which `summarymixing manifest table` takes.",
    )
    add_input_arguments(parser)
    parser.add_argument("--text", type=Path, metavar="FILE", help="text of a single audio file")
    parser.add_argument("--dest", type=Path, metavar="DIR", help="folder for the files")
    parser.add_argument(
        "--format",
        choices=(*EXTENSIONS, *ONE_FILE),
        default="textgrid",
        help="ctm has the words alone, rows are parts of a recording with their texts (default: textgrid)",
    )
    parser.add_argument(
        "--row-seconds", type=float, default=15.0, metavar="S", help="longest of --format rows (default: 15)"
    )
    parser.add_argument(
        "--skip-bad",
        action="store_true",
        help="name clips that cannot be read or that their text does not fit, and leave them out",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Align and write.

    Raises:
        InputError: for input that cannot be read, a text that does not fit its clip, or outputs that are there already.
    """
    clips = clips_to_read(args)
    if args.text and (args.data or len(clips) != 1):
        what = "--data has its own texts" if args.data else f"there are {len(clips)} clips"
        raise InputError(f"--text is of one audio file, and {what}")

    from ..data.feature_files import feature_names

    names = feature_names(clips)
    if args.format == "rows" and not args.row_seconds > 0:
        raise InputError(f"--row-seconds {args.row_seconds:g} must be above 0")
    if args.format == "rows" and any(clip.content is not None for clip in clips):
        raise InputError("--format rows names files, and stdin is none: give the path")
    one_file = ONE_FILE.get(args.format)
    files = [one_file] if one_file else [f"{name}.{EXTENSIONS[args.format]}" for name in names]
    if not args.dest and len(files) > 1:
        raise InputError(f"--format {args.format} has a file for each of {len(files)} clips: name a folder by --dest")
    with exclusive(args.dest) if args.dest else nullcontext():
        if args.dest:
            refuse_existing([args.dest / name for name in files], args.force)
        device = prepare(args)

        from ..checkpoints.recogniser import load_recogniser
        from ..data.aligned_rows import COLUMNS, as_rows
        from ..data.alignments import as_ctm, as_json, as_textgrid

        recogniser = load_recogniser(args.checkpoint, device, precision=args.precision)
        found = _align(recogniser, clips, _texts(args, clips, recogniser), args.batch_seconds, args.skip_bad)
        clips, names = [clips[i] for i in found], [names[i] for i in found]
        if not one_file:
            files = [files[i] for i in found]
        alignments = found.values()
        tier = f"{recogniser.symbols.unit}s"
        if args.format == "ctm":
            contents = ["".join(as_ctm(name, one.tiers[tier]) for name, one in zip(names, alignments))]
        elif args.format == "rows":
            rows = [
                as_rows(
                    os.path.abspath(clip.path),
                    one.tiers[tier],
                    one.seconds,
                    args.row_seconds,
                    (clip.offset or 0) / SAMPLE_RATE_HZ,
                )
                for clip, one in zip(clips, alignments)
            ]
            contents = [tsv_rows([COLUMNS]) + "".join(rows)]
        else:
            contents = [(as_json if args.format == "json" else as_textgrid)(one) for one in alignments]
        if args.dest:
            write_together({args.dest / name: content for name, content in zip(files, contents)})
            print(f"{len(clips)} clips: {args.dest}")
        else:
            print(contents[0], end="")


def _align(
    recogniser: Recogniser, clips: Sequence[Clip], texts: Sequence[str | Path], batch_seconds: float, skip_bad: bool
) -> dict[int, Alignment]:
    """By the position of the clip, in order; of those that can be aligned, if the others are to be skipped."""

    def leave_out(_: int, error: InputError) -> None:
        print(f"left out: {printable(str(error))}", file=sys.stderr)

    @contextmanager
    def named(i: int) -> Iterator[None]:
        try:
            yield
        except InputError as error:
            error = InputError(f"{clips[i].output_name}: {error}")
            if not skip_bad:
                raise error from None
            leave_out(i, error)

    labels, found = {}, {}
    for i, text in enumerate(texts):
        with named(i):
            labels[i] = recogniser.labels_of(read_text(text, "text") if isinstance(text, Path) else text)
    places = list(labels)
    chosen = [clips[i] for i in places]
    for n, log_probs, num_samples in recogniser.frames_of(chosen, batch_seconds, leave_out if skip_bad else None):
        with named(places[n]):
            found[places[n]] = recogniser.align_frames(log_probs, num_samples, labels[places[n]])
    if not found:
        raise InputError(f"none of {len(clips)} clips can be aligned")
    if len(found) < len(clips):
        print(f"{len(clips) - len(found)} of {len(clips)} clips are left out", file=sys.stderr)
    return dict(sorted(found.items()))


def _texts(args: argparse.Namespace, clips: Sequence[Clip], recogniser: Recogniser) -> list[str | Path]:
    """Of the clips, or files of them; letters of a label file count as the words that they spell."""
    from ..data.manifest import read_labels

    symbols = recogniser.symbols
    if args.data:
        path = args.data / f"{args.split}.{symbols.labels}"
        if not path.exists() and symbols.post_process == "letter":
            return [*read_labels(args.data / f"{args.split}.wrd", len(clips))]
        lines = read_labels(path, len(clips))
        return [symbols.text_of(line) if symbols.post_process == "letter" else line for line in lines]
    return [args.text or clip.path.with_suffix(".txt") for clip in clips]
