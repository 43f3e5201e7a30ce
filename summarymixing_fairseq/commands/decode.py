"""`summarymixing decode`: a fine-tuned checkpoint on a manifest split or on audio files."""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..system.errors import InputError, printable
from ..system.files import exclusive, refuse_existing, write_together
from ..system.strict_json import to_json
from .inputs import add_input_arguments, clips_to_read, prepare

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np

    from ..checkpoints.recogniser import Recogniser
    from ..data.manifest import Clip
    from ..data.transcripts import Transcript

FORMATS = ("txt", "json", "srt", "vtt", "ctm", "textgrid")
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
        "as name<TAB>text, or with --results DIR to hypo.wrd there, beside ref.wrd and scores.json. Other formats have "
        "times: json a line a clip with words, confidences (as the model gives them) and segments; srt and vtt "
        "subtitles; ctm and textgrid words.",
    )
    add_input_arguments(parser)
    parser.add_argument("--results", type=Path, metavar="DIR", help="folder for hypo.wrd, ref.wrd, scores.json")
    parser.add_argument(
        "--format",
        choices=FORMATS,
        default="txt",
        help="of stdout, or of files in DIR beside hypo.wrd: hypo.jsonl, hypo.ctm, or NAME.srt, .vtt, .TextGrid "
        "(default: txt)",
    )
    parser.add_argument(
        "--n-best", type=int, default=1, metavar="N", help="texts of a clip, for --format json (default: 1)"
    )
    parser.add_argument(
        "--skip-bad",
        action="store_true",
        help="name clips that cannot be read, and leave them and their references out",
    )
    parser.add_argument(
        "--stream",
        action="store_true",
        help="chunk by chunk, by a model with model.streaming=true; without clips words are printed while they are "
        "spoken: raw 16-bit samples at 16 kHz of one channel on stdin (arecord -t raw -f S16_LE -r 16000)",
    )
    parser.add_argument(
        "--chunk-ms",
        type=int,
        metavar="MS",
        help="length of a chunk of --stream (default: the longest in training)",
    )
    beam = parser.add_argument_group("beam search (needs the extra `lm`; greedy without --lm)")
    beam.add_argument("--lm", type=Path, help="word n-gram model, ARPA (`summarymixing lm train`) or KenLM binary")
    beam.add_argument(
        "--lexicon",
        type=Path,
        help="word<TAB>l e t t e r s | a line, or for pieces bpeN.model, which spells the words of the ARPA (default: "
        "these in letters)",
    )
    beam.add_argument("--beam", type=int, help="hypotheses kept (default: 100)")
    beam.add_argument("--lm-weight", type=float, help="weight of the n-gram model (default: 2)")
    beam.add_argument("--word-score", type=float, help="added per word (default: 0)")
    beam.add_argument(
        "--tune",
        action="store_true",
        help="look for the --lm-weight and --word-score with the lowest word error rate of this split, a validation "
        "split, and use them; frames of all clips are kept in memory",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Decode, write, print the scores.

    Raises:
        InputError: for input that cannot be read, or outputs that are there already.
    """
    if args.lexicon and not args.lm:
        raise InputError("--lexicon is of use with --lm only: name the language model too")
    if args.tune and not (args.lm and args.data):
        raise InputError("--tune needs --lm, whose weight it finds, and --data with the words that were said")
    for option, value in (("--beam", args.beam), ("--lm-weight", args.lm_weight), ("--word-score", args.word_score)):
        if value is None:
            continue
        if not args.lm:
            raise InputError(f"{option} is of use with --lm only")
        if not math.isfinite(value):
            raise InputError(f"{option} {value}: must be a finite number")
    if args.beam is not None and args.beam < 1:
        raise InputError(f"--beam {args.beam}: must be at least 1")
    if args.n_best < 1:
        raise InputError(f"--n-best {args.n_best}: must be at least 1")
    if args.n_best > 1 and args.format != "json":
        raise InputError("--n-best is of use with --format json only, which holds several texts of a clip")
    if args.stream and args.precision != "float32":
        raise InputError(f"--precision {args.precision}: a stream is heard in float32")
    if args.chunk_ms is not None and not args.stream:
        raise InputError("--chunk-ms is of use with --stream only")
    if args.stream and not args.audio and args.data is None:
        from .decode_stream import check_options, decode_microphone

        check_options(args)
        decode_microphone(args, prepare(args))
        return
    clips = clips_to_read(args)
    names: list[str] = []
    if args.format != "txt":
        from ..data.feature_files import feature_names
        from ..data.transcript_files import EXTENSIONS, file_names

        names = feature_names(clips)
        if args.format in EXTENSIONS and not args.results and len(clips) > 1:
            raise InputError(
                f"--format {args.format} has a file for each of {len(clips)} clips: name a folder by --results"
            )
    with exclusive(args.results) if args.results else nullcontext():
        if args.results:
            outputs = [*OUTPUT_NAMES, *(file_names(args.format, names) if names else ())]
            refuse_existing([args.results / name for name in outputs], args.force)
        _decode(args, clips, names)


def _decode(args: argparse.Namespace, clips: Sequence[Clip], names: Sequence[str]) -> None:
    device = prepare(args)

    from ..checkpoints.recogniser import load_recogniser
    from ..data.references import LETTERS, read_references

    given = {"beam_size": args.beam, "lm_weight": args.lm_weight, "word_score": args.word_score}
    recogniser = load_recogniser(
        args.checkpoint,
        device,
        language_model=args.lm,
        lexicon=args.lexicon,
        **{name: value for name, value in given.items() if value is not None},
        precision=args.precision,
        streamed=args.stream,
        chunk_ms=args.chunk_ms,
    )
    _note_words(recogniser)
    symbols = recogniser.symbols if recogniser.unit == recogniser.symbols.unit else LETTERS  # a lexicon makes words
    found = read_references(args.data, args.split, len(clips), symbols) if args.data else None
    if args.data and found is None:
        wanted = args.data / f"{args.split}.{symbols.labels}"
        print(f"no error rate, as there are no references: {printable(str(wanted))} is missing", file=sys.stderr)
    if args.tune and not (found and any(found[1])):
        raise InputError(f"--tune needs words that were said, and {printable(str(args.data))} has none of {args.split}")
    num_bad = 0

    def name_bad(_: int, error: InputError) -> None:
        nonlocal num_bad
        num_bad += 1
        print(f"left out: {printable(str(error))}", file=sys.stderr)

    started = time.perf_counter()
    frames: Iterable[tuple[int, np.ndarray, int]] = recogniser.frames_of(
        clips, args.batch_seconds, name_bad if args.skip_bad else None
    )
    if args.tune and found:
        frames = kept_frames = list(frames)
        started += _tune(recogniser, kept_frames, found[1])  # the search is no part of the real-time factor
    by_clip = {i: recogniser.transcript(log_probs, length, args.n_best) for i, log_probs, length in frames}
    if not by_clip:
        raise InputError(f"none of {len(clips)} clips can be read")
    kept = sorted(by_clip)
    transcripts = [by_clip[i] for i in kept]
    seconds = time.perf_counter() - started
    too_short = [clips[i].output_name for i in kept if by_clip[i].seconds < recogniser.min_seconds]
    if too_short:
        first = f"{len(too_short)} clips are too short for one frame and decode to nothing"
        print(f"{first}, {printable(too_short[0])} first", file=sys.stderr)
    if num_bad:
        print(f"{num_bad} of {len(clips)} clips are left out, as they cannot be read", file=sys.stderr)
    references = [found[1][i] for i in kept] if found else None
    named = [names[i] for i in kept] if names else []
    search = {**_search_of(args, recogniser), **({"chunk_ms": recogniser.chunk_ms} if args.stream else {})}
    _report(args, [clips[i] for i in kept], transcripts, named, seconds, references, search)


def _tune(recogniser: Recogniser, frames: Sequence[tuple[int, np.ndarray, int]], references: Sequence[str]) -> float:
    """Give the decoder the weights with the fewest word errors, then letter errors, and return the seconds it took."""
    from ..data.ctc_decoding import BeamDecoder
    from ..data.weight_search import least_cost
    from ..probing.metrics.error_rate import character_error_rate, word_error_rate

    decoder, started = recogniser.decoder, time.perf_counter()
    assert isinstance(decoder, BeamDecoder)  # noqa: S101 (--tune comes with --lm)
    said = [references[i] for i, *_ in frames]

    def cost(lm_weight: float, word_score: float) -> tuple[float, float]:
        decoder.weigh(lm_weight, word_score)
        texts = [decoder.decode(log_probs)[0].text for _, log_probs, _ in frames]
        words = word_error_rate(said, texts)
        print(f"--lm-weight {lm_weight:g} --word-score {word_score:g}: WER {100 * words.rate:.2f} %", file=sys.stderr)
        return words.errors, character_error_rate(said, texts).errors

    decoder.weigh(*least_cost(cost))
    return time.perf_counter() - started


def _search_of(args: argparse.Namespace, recogniser: Recogniser) -> dict[str, Any]:
    """What the beam search was, for scores.json; nothing without one."""
    from ..data.ctc_decoding import BeamDecoder

    decoder = recogniser.decoder
    if not isinstance(decoder, BeamDecoder):
        return {}
    weights = {"lm_weight": decoder.lm_weight, "word_score": decoder.word_score}
    return {"lm": str(args.lm), "beam": decoder.beam_size, **weights, "tuned_here": args.tune}


def _note_words(recogniser: Recogniser) -> None:
    from ..data.ctc_decoding import BeamDecoder

    decoder = recogniser.decoder
    if not isinstance(decoder, BeamDecoder):
        return
    if decoder.num_unspellable:
        left_out = f"{decoder.num_unspellable} words of the lexicon have letters the model lacks: left out"
        print(left_out, file=sys.stderr)
    if decoder.unscored:
        share = f"{len(decoder.unscored)} of {decoder.num_words} words are not in the language model"
        print(f"{share}, {decoder.unscored[0]!r} first: it takes them for unknown words", file=sys.stderr)


def _report(
    args: argparse.Namespace,
    clips: Sequence[Clip],
    transcripts: Sequence[Transcript],
    names: Sequence[str],
    seconds: float,
    references: list[str] | None,
    search: dict[str, Any],
) -> None:
    """Write and print.

    Args:
        names: of the files of a format other than txt; seconds: that all took; search: what scores.json says of how
            the clips were heard.
    """
    from ..probing.metrics.error_rate import error_rates, notes_on_writing

    texts, unit = [one.text for one in transcripts], transcripts[0].unit if transcripts else "word"
    audio_seconds = sum(one.seconds for one in transcripts)
    shown = [*map(printable, texts)]  # a model's symbols may be anything
    speed = seconds / max(audio_seconds, 1e-9)
    summary = (
        f"--lm-weight {search['lm_weight']:g} --word-score {search['word_score']:g}\n"
        if search.get("tuned_here")
        else ""
    )
    summary += f"{len(texts)} utterances, {audio_seconds:.1f} s of audio, real-time factor {speed:.4f}"
    scores: dict[str, float | None] = {"utterances": len(texts), "audio_seconds": round(audio_seconds, 3)}
    scores["real_time_factor"] = seconds / audio_seconds if audio_seconds else None
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
    timed: dict[str, str] = {}
    if names:
        from ..data.transcript_files import files_of

        timed = files_of(args.format, dict(zip(names, transcripts)))
    if args.results:
        lines = {"hypo.wrd": shown} if references is None else {"hypo.wrd": shown, "ref.wrd": references}
        contents = timed | {name: "".join(f"{line}\n" for line in these) for name, these in lines.items()}
        about = {"checkpoint": str(args.checkpoint), "precision": args.precision, **search}
        contents["scores.json"] = to_json(about | scores, indent=2) + "\n"
        absent = [args.results / name for name in OUTPUT_NAMES if name not in contents]  # of an earlier run (--force)
        write_together({args.results / name: content for name, content in contents.items()}, absent)
    elif names:
        print("".join(timed.values()), end="")
    else:
        for clip, text in zip(clips, shown):
            print(f"{printable(clip.output_name)}\t{text}")
    # stdout has the summary, or the hypotheses only
    print(summary, file=sys.stdout if args.results else sys.stderr)
