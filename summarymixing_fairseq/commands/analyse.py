"""`summarymixing analyse`: what each layer and branch of encoders holds."""

from __future__ import annotations

import argparse
import hashlib
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from ..system.errors import InputError, printable
from ..system.files import read_text
from .inputs import add_device_arguments, add_outside_root_argument, check_batch_seconds, check_seed, prepare

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from ..analysis.run import Audio, NamedEncoder
    from ..checkpoints.encoders import Encoder
    from ..data.manifest import Clip
    from ..probing.mp3s.encoders import Encoder as ProbedEncoder

RANDOM_SEED = 1


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the `analyse` sub-command."""
    parser = subparsers.add_parser(
        "analyse",
        help="what each layer and branch of encoders holds: phones, speakers, order, context, rank; tables and plots",
        description="Measure the states of encoders on a manifest's clips, and write DIR/results.json, analysis.md and "
        "plots. What is there already is not measured again. Without --labels what needs no labels is measured. "
        "docs/analysis.md explains the measures.",
    )
    parser.add_argument("encoder", nargs="+", metavar="[NAME=]CHECKPOINT", help="once for each encoder")
    parser.add_argument("--random", action="store_true", help="also the first encoder with random weights")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder of manifests")
    parser.add_argument("--split", default="test", help="DIR/SPLIT.tsv is the manifest (default: test)")
    add_outside_root_argument(parser)
    parser.add_argument("--hours", type=float, default=1.0, help="audio at most, clips drawn at random (default: 1)")
    parser.add_argument(
        "--labels",
        type=Path,
        metavar="PATH",
        help="phones and words with times: a folder of NAME.TextGrid or NAME.json, or a .ctm of phones",
    )
    parser.add_argument(
        "--speakers",
        type=Path,
        metavar="FILE",
        help="lines of clip (its path in the manifest, without .flac or .wav), tab, speaker",
    )
    parser.add_argument(
        "--measures",
        metavar="NAME,...",
        help="only these of abx, branches, clips, context, information, layers, order, phones, rank, robustness, "
        "similarity, temporal, units (default: all but information, which takes long)",
    )
    parser.add_argument(
        "--places",
        metavar="PLACE,...",
        default="",
        help="such as latents,input,1,2.f,2.s: input enters layer 1, 2 is the output of layer 2, 2.s its branch s "
        "(default: latents, input and all layers); log-mel energies (mel) are always measured too",
    )
    parser.add_argument("--results", type=Path, required=True, metavar="DIR", help="folder for results")
    parser.add_argument("--seed", type=int, default=1, help="of clips, clusters and draws (default: 1)")
    parser.add_argument("--batch-seconds", type=float, default=60.0, help="audio in a padded batch (default: 60)")
    add_device_arguments(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Measure what has no result yet, and write page and plots.

    Raises:
        InputError: for options, encoders, audio or labels that cannot be used.
    """
    if not args.hours > 0:
        raise InputError(f"--hours {args.hours}: must be positive")
    check_batch_seconds(args.batch_seconds)
    check_seed(args.seed)

    from ..probing.mp3s.encoders import parse_encoders

    named = parse_encoders(args.encoder, args.random)
    device = prepare(args)

    from ..analysis.observations import MEASURES
    from ..analysis.report import PAGE, write_report
    from ..analysis.run import RESULTS, analyse
    from ..system.progress import progress_line

    if (args.results / PAGE).exists() and not (args.results / RESULTS).exists():
        raise InputError(f"{args.results / PAGE} is not of this command: choose another --results")
    default = [name for name, measure in MEASURES.items() if measure.by_default]
    measures = default if args.measures is None else args.measures.split(",")
    encoders = [_named(encoder, device, args.precision) for encoder in named]
    places = args.places.split(",") if args.places else []
    say = progress_line()
    content = analyse(encoders, _audio(args), measures, places, args.results, args.seed, args.batch_seconds, say)
    missing = write_report(content, args.results)
    say("")
    if missing:
        print(missing)
    for title, reason in content["skipped"].items():
        print(printable(f"{title}: not measured: {reason}"))
    seconds = sum(content["seconds"].values())
    number = "1 encoder" if len(encoders) == 1 else f"{len(encoders)} encoders"
    print(printable(f"{number}, measures took {seconds:.0f} s in all: {args.results / PAGE}"))


def _named(encoder: ProbedEncoder, device: torch.device, precision: str) -> NamedEncoder:
    import torch

    from ..analysis.run import NamedEncoder
    from ..checkpoints.encoders import load_model, random_encoder
    from ..system.precision import autocast

    def load() -> Encoder:
        model = load_model(encoder.path, device)
        if encoder.random:
            with torch.random.fork_rng():
                torch.manual_seed(RANDOM_SEED)
                model = random_encoder(model.spec).eval().requires_grad_(False).to(device)
        # of the encoder alone: measures have a precision of their own
        model.forward = autocast(precision, device.type)(model.forward)  # type: ignore[method-assign]
        return model

    identity = [
        encoder.sha256,
        *(["random"] if encoder.random else []),
        *([] if precision == "float32" else [precision]),
    ]
    return NamedEncoder(encoder.name, " ".join(identity), load)


def _audio(args: argparse.Namespace) -> Audio:
    """The clips, drawn until there are ``--hours`` of them, and their labels."""
    import random

    from ..analysis.run import Audio
    from ..data.alignments import read_alignments
    from ..data.clips import sha256_of_clip
    from ..data.manifest import Manifest
    from ..system.strict_json import to_json
    from ..system.units import SAMPLE_RATE_HZ

    manifest = Manifest(args.data / f"{args.split}.tsv", allow_outside_root=args.allow_outside_root)
    order = list(range(len(manifest)))
    random.Random(args.seed).shuffle(order)  # noqa: S311
    most, total = args.hours * 3600 * SAMPLE_RATE_HZ, 0
    chosen: list[int] = []
    for position in order:
        total += int(manifest.sizes[position])
        if chosen and total > most:
            break
        chosen.append(position)
    clips = [manifest[position] for position in sorted(chosen)]
    alignments = read_alignments(args.labels, clips) if args.labels else None
    speakers = _speakers(args.speakers, clips) if args.speakers else None
    labels = None if alignments is None else [asdict(alignment) for alignment in alignments]
    contents: dict[Path, str] = {}
    for clip in clips:
        if clip.path not in contents:
            contents[clip.path] = sha256_of_clip(clip)
    heard = [[clip.output_name, clip.num_samples, contents[clip.path]] for clip in clips]
    known = to_json([heard, labels, speakers])
    return Audio(clips, hashlib.sha256(known.encode()).hexdigest(), alignments, speakers)


def _speakers(path: Path, clips: Sequence[Clip]) -> list[str]:
    """Raises InputError for a file that is not clip, tab, speaker, or has a clip twice or not at all."""
    from ..data.feature_files import feature_names

    speaker_of: dict[str, str] = {}
    for number, line in enumerate(read_text(path, "--speakers").split("\n"), 1):
        clip, tab, speaker = line.partition("\t")
        if not line.strip():
            continue
        if not (clip and tab and speaker.strip()):
            raise InputError(f"{path}, line {number}: not clip, tab, speaker")
        if speaker_of.setdefault(clip, speaker.strip()) != speaker.strip():
            raise InputError(f"{path}, line {number}: {clip} has another speaker before")
    for name in feature_names(clips):
        if name not in speaker_of:
            raise InputError(f"{path} has no speaker of {name}: add a line of that name, a tab, and the speaker")
    return [speaker_of[name] for name in feature_names(clips)]
