"""`summarymixing decode`: a fine-tuned checkpoint on a manifest split or on audio files."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..system.errors import InputError, printable
from ..system.files import exclusive, refuse_existing, write_together
from ..system.strict_json import to_json
from .inputs import add_input_arguments, clips_to_read, prepare

if TYPE_CHECKING:
    from ..data.ctc_decoding import BeamDecoder, GreedyDecoder
    from ..data.manifest import Clip
    from ..data.references import Symbols
    from ..data.transcribing import Transcripts

# The last file is written last: where it is, all are.
OUTPUT_NAMES = ("hypo.wrd", "ref.wrd", "scores.json")


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the `decode` sub-command."""
    parser = subparsers.add_parser(
        "decode",
        help="speech to text by a CTC fine-tuned checkpoint; error rates where there are references",
        description="Decode a manifest split (--data DIR --split SPLIT) or audio files. References are the words of "
        "DIR/SPLIT.wrd, or those that the label files of the checkpoint's training spell; phones and other symbols "
        "that spell no words are compared with these label files. Texts are compared as NFC. Hypotheses go to stdout "
        "as name<TAB>text, or with --results DIR to hypo.wrd there, beside ref.wrd and scores.json.",
    )
    add_input_arguments(parser)
    parser.add_argument("--results", type=Path, metavar="DIR", help="folder for hypo.wrd, ref.wrd, scores.json")
    parser.add_argument(
        "--dictionary", type=Path, help="dict.LABELS.txt of the training, for a checkpoint that has none inside"
    )
    beam = parser.add_argument_group("beam search (needs the extra `lm`; greedy without --lm)")
    beam.add_argument("--lm", type=Path, help="word n-gram model, ARPA or KenLM binary")
    beam.add_argument("--lexicon", type=Path, help="word<TAB>l e t t e r s | a line (default: the words of the ARPA)")
    beam.add_argument("--beam", type=int, default=100, help="hypotheses kept (default: 100)")
    beam.add_argument("--lm-weight", type=float, default=2.0, help="weight of the n-gram model (default: 2)")
    beam.add_argument("--word-score", type=float, default=0.0, help="added per word (default: 0)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Decode, write, print the scores.

    Raises:
        InputError: for input that cannot be read, or outputs that are there already.
    """
    if args.lexicon and not args.lm:
        raise InputError("--lexicon is of use with --lm only: name the language model too")
    if args.beam < 1:
        raise InputError(f"--beam {args.beam}: must be at least 1")
    for option, value in (("--lm-weight", args.lm_weight), ("--word-score", args.word_score)):
        if not math.isfinite(value):
            raise InputError(f"{option} {value}: must be a finite number")
    clips = clips_to_read(args)
    with exclusive(args.results) if args.results else nullcontext():
        if args.results:
            refuse_existing([args.results / name for name in OUTPUT_NAMES], args.force)
        _decode(args, clips)


def _decode(args: argparse.Namespace, clips: Sequence[Clip]) -> None:
    device = prepare(args)

    from ..checkpoints.fine_tuned import load_fine_tuned
    from ..data.references import LETTERS, read_references
    from ..data.transcribing import transcribe
    from ..system.precision import autocast

    fine_tuned = load_fine_tuned(args.checkpoint, args.dictionary)
    symbols = fine_tuned.symbols
    if args.lm and symbols.unit != "word":
        symbols = LETTERS  # the lexicon makes words of any symbols
    found = read_references(args.data, args.split, len(clips), symbols) if args.data else None
    if args.data and found is None:
        wanted = args.data / f"{args.split}.{symbols.labels}"
        print(f"no error rate, as there are no references: {printable(str(wanted))} is missing", file=sys.stderr)
    model = fine_tuned.model.to(device)
    decoder = _decoder(args, fine_tuned.dictionary, symbols)
    with autocast(args.precision, device.type):
        transcripts = transcribe(model, decoder, clips, args.batch_seconds, fine_tuned.normalize)
    if transcripts.too_short:
        first = f"{len(transcripts.too_short)} clips are too short for one frame and decode to nothing"
        print(f"{first}, {printable(transcripts.too_short[0])} first", file=sys.stderr)
    _report(args, clips, transcripts, found and found[1], symbols.unit)


def _decoder(args: argparse.Namespace, dictionary: Any, symbols: Symbols) -> GreedyDecoder | BeamDecoder:
    from ..data.ctc_decoding import BeamDecoder, GreedyDecoder

    if not args.lm:
        return GreedyDecoder(dictionary, symbols)
    decoder = BeamDecoder(dictionary, args.lm, args.lexicon, args.beam, args.lm_weight, args.word_score)
    if decoder.num_unspellable:
        left_out = f"{decoder.num_unspellable} words of the lexicon have letters the model lacks: left out"
        print(left_out, file=sys.stderr)
    if decoder.unscored:
        share = f"{len(decoder.unscored)} of {decoder.num_words} words are not in the language model"
        print(f"{share}, {decoder.unscored[0]!r} first: it takes them for unknown words", file=sys.stderr)
    return decoder


def _report(
    args: argparse.Namespace, clips: Sequence[Clip], transcripts: Transcripts, references: list[str] | None, unit: str
) -> None:
    from ..probing.metrics.error_rate import error_rates, notes_on_writing

    texts, audio_seconds = transcripts.texts, transcripts.audio_seconds
    shown = [*map(printable, texts)]  # a model's symbols may be anything
    speed = transcripts.seconds / max(audio_seconds, 1e-9)
    summary = f"{len(texts)} utterances, {audio_seconds:.1f} s of audio, real-time factor {speed:.4f}"
    scores: dict[str, float | None] = {"utterances": len(texts), "audio_seconds": round(audio_seconds, 3)}
    scores["real_time_factor"] = transcripts.seconds / audio_seconds if audio_seconds else None
    if references is not None:
        for name, (score, counted) in error_rates(references, texts, unit).items():
            # nothing in the references: no rate is defined, for which JSON has null and no NaN
            rate = score.rate if score.total else None
            scores |= {name: rate, f"{name}_errors": score.errors, f"{name}_total": score.total}
            title = name.upper() if unit == "word" else name.replace("_", " ")
            percent = "undefined" if rate is None else f"{100 * rate:.2f} %"
            summary += f"\n{title} {percent} ({score.errors} of {score.total} {counted})"
        for note in notes_on_writing(references, texts):
            print(note, file=sys.stderr)
    if args.results:
        lines = {"hypo.wrd": shown} if references is None else {"hypo.wrd": shown, "ref.wrd": references}
        contents = {name: "".join(f"{line}\n" for line in these) for name, these in lines.items()}
        about = {"checkpoint": str(args.checkpoint), "precision": args.precision}
        contents["scores.json"] = to_json(about | scores, indent=2) + "\n"
        absent = [args.results / name for name in OUTPUT_NAMES if name not in contents]  # of an earlier run (--force)
        write_together({args.results / name: content for name, content in contents.items()}, absent)
    else:
        for clip, text in zip(clips, shown):
            print(f"{printable(clip.output_name)}\t{text}")
    # stdout has the summary, or the hypotheses only
    print(summary, file=sys.stdout if args.results else sys.stderr)
