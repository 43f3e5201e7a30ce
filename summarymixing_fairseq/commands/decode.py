"""`summarymixing decode`: a fine-tuned checkpoint on a manifest split or on audio files."""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from ..system.errors import InputError
from ..system.files import check_writable, exclusive, refuse_existing, write_together
from .inputs import ClipToRead, add_input_arguments, clips_to_read, prepare, read_in_batches

# The last one says that all are there.
OUTPUT_NAMES = ("hypo.wrd", "ref.wrd", "scores.json")


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the `decode` sub-command."""
    parser = subparsers.add_parser(
        "decode",
        help="speech to text by a CTC fine-tuned checkpoint; WER and CER where there are references",
        description="Decode a manifest split (--data DIR --split SPLIT; references from DIR/SPLIT.wrd or .ltr) or "
        "audio files. Hypotheses go to stdout as name<TAB>text, or with --results DIR to hypo.wrd there, beside "
        "ref.wrd and scores.json.",
    )
    add_input_arguments(parser)
    parser.add_argument("--results", type=Path, metavar="DIR", help="folder for hypo.wrd, ref.wrd, scores.json")
    parser.add_argument("--dictionary", type=Path, help="dict.ltr.txt, for a checkpoint that carries none")
    beam = parser.add_argument_group("beam search (needs the extra `lm`; greedy without --lm)")
    beam.add_argument("--lm", type=Path, help="word n-gram model, ARPA or KenLM binary")
    beam.add_argument("--lexicon", type=Path, help="word<TAB>l e t t e r s | a line (default: the words of the ARPA)")
    beam.add_argument("--beam", type=int, default=100, help="hypotheses kept (default: 100)")
    beam.add_argument("--lm-weight", type=float, default=2.0, help="weight of the n-gram model (default: 2)")
    beam.add_argument("--word-score", type=float, default=0.0, help="added per word (default: 0)")
    parser.set_defaults(run=run)


def read_references(data: Path, split: str, num_clips: int) -> list[str] | None:
    """Reference words from DIR/SPLIT.wrd, else from .ltr, else None.

    Raises:
        InputError: for references that do not match the manifest.
    """
    from fairseq.data.data_utils import post_process

    from ..data.manifest import read_labels

    if (data / f"{split}.wrd").exists():
        return read_labels(data / f"{split}.wrd", num_clips)
    if (data / f"{split}.ltr").exists():
        return [post_process(line, "letter") for line in read_labels(data / f"{split}.ltr", num_clips)]
    return None


def _check_beam_options(args: argparse.Namespace) -> None:
    if args.lexicon and not args.lm:
        raise InputError("--lexicon is of use with --lm only: name the language model too")
    if args.beam < 1:
        raise InputError(f"--beam {args.beam}: must be at least 1")
    for option, value in (("--lm-weight", args.lm_weight), ("--word-score", args.word_score)):
        if not math.isfinite(value):
            raise InputError(f"{option} {value}: must be a finite number")


def run(args: argparse.Namespace) -> None:
    """Decode, write, print the scores.

    Raises:
        InputError: for input that cannot be read, or outputs that are there already.
    """
    _check_beam_options(args)
    clips = clips_to_read(args)
    with exclusive(args.results) if args.results else nullcontext():
        if args.results:
            refuse_existing([args.results / name for name in OUTPUT_NAMES], args.force)
            check_writable(args.results)
        _decode(args, clips)


def _decode(args: argparse.Namespace, clips: Sequence[ClipToRead]) -> None:
    device = prepare(args)

    import torch

    from ..checkpoints.fine_tuned import load_fine_tuned
    from ..data.batching import pad_batch
    from ..data.ctc_decoding import BeamDecoder, GreedyDecoder

    references = read_references(args.data, args.split, len(clips)) if args.data else None
    fine_tuned = load_fine_tuned(args.checkpoint, args.dictionary)
    model, dictionary = fine_tuned.model.to(device), fine_tuned.dictionary
    if args.lm:
        decoder = BeamDecoder(dictionary, args.lm, args.lexicon, args.beam, args.lm_weight, args.word_score)
        if decoder.num_unspellable:
            print(
                f"{decoder.num_unspellable} words of the lexicon have letters the model lacks: left out",
                file=sys.stderr,
            )
    else:
        decoder = GreedyDecoder(dictionary, fine_tuned.post_process)

    frontend = model.w2v_encoder.w2v_model.feature_extractor
    hypotheses: list[str | None] = [None] * len(clips)
    too_short = []
    num_samples = 0
    started = time.perf_counter()
    with torch.inference_mode():
        for positions, waveforms in read_in_batches(clips, args.batch_seconds):
            num_samples += sum(map(len, waveforms))
            for i, waveform in zip(positions, waveforms):
                if len(waveform) < frontend.min_samples():
                    hypotheses[i] = ""  # no frame, so no letter: an utterance all the same
                    too_short.append(clips[i].name)
            kept = [(i, w) for i, w in zip(positions, waveforms) if hypotheses[i] is None]
            if not kept:
                continue
            source, padding_mask = pad_batch([w for _, w in kept], device)
            net_output = model(source=source, padding_mask=padding_mask)
            log_probs = model.get_normalized_probs(net_output, log_probs=True)  # (T, B, symbols)
            log_probs = log_probs.transpose(0, 1).float().cpu().numpy()
            lengths = frontend.output_lengths((~padding_mask).sum(1)).tolist()
            for (i, _), emissions, length in zip(kept, log_probs, lengths):
                hypotheses[i] = decoder.decode(emissions[:length])
    seconds = time.perf_counter() - started

    decoded = [text for text in hypotheses if text is not None]
    if len(decoded) != len(clips):
        raise InputError(f"{len(decoded)} of {len(clips)} utterances decoded: please report this")
    if too_short:
        print(
            f"{len(too_short)} clips are too short for one frame and decode to nothing, {too_short[0]} first",
            file=sys.stderr,
        )
    _report(args, clips, decoded, references, num_samples / 16_000, seconds)


def _report(args, clips, hypotheses, references, audio_seconds: float, seconds: float) -> None:
    from ..probing.metrics.error_rate import character_error_rate, word_error_rate

    scores = {
        "utterances": len(hypotheses),
        "audio_seconds": round(audio_seconds, 3),
        "real_time_factor": seconds / audio_seconds if audio_seconds else None,
    }
    if references is not None:
        for name, error_rate in (("wer", word_error_rate), ("cer", character_error_rate)):
            score = error_rate(references, hypotheses)
            scores[name] = score.rate
            scores[f"{name}_errors"], scores[f"{name}_total"] = score.errors, score.total
    if args.results:
        files = {"hypo.wrd": hypotheses, "ref.wrd": references}
        contents = {name: "".join(f"{line}\n" for line in lines) for name, lines in files.items() if lines is not None}
        contents["scores.json"] = json.dumps({"checkpoint": str(args.checkpoint), **scores}, indent=2) + "\n"
        # --force: those of an earlier run would not match
        absent = [args.results / name for name in OUTPUT_NAMES if name not in contents]
        write_together({args.results / name: content for name, content in contents.items()}, absent)
    else:
        for clip, text in zip(clips, hypotheses):
            print(f"{clip.name}\t{text}")
    speed = seconds / max(audio_seconds, 1e-9)
    summary = f"{len(hypotheses)} utterances, {audio_seconds:.1f} s of audio, real-time factor {speed:.4f}"
    if references is not None:
        summary += (
            f"\nWER {100 * scores['wer']:.2f} % ({scores['wer_errors']} of {scores['wer_total']} words)"
            f"\nCER {100 * scores['cer']:.2f} % ({scores['cer_errors']} of {scores['cer_total']} characters)"
        )
    # hypotheses on stdout must stay parseable
    print(summary, file=sys.stdout if args.results else sys.stderr)
