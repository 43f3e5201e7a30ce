"""`summarymixing evaluate`: metrics of a trained probe on a split, with 95 % intervals."""

from __future__ import annotations

import argparse
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..probing.results import RESULTS_NAME, Results, as_json
from ..system.errors import InputError, printable
from ..system.files import check_writable, exclusive, refuse_existing, write_together
from .inputs import add_device_arguments, add_outside_root_argument, check_batch_seconds, check_seed, prepare

if TYPE_CHECKING:
    from ..data.manifest import Manifest

# the other files of all tasks
OTHER_NAMES = ("hypo.wrd", "ref.wrd", "predictions.tsv", "confusion.tsv", "confusion.png", "scores.tsv")


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the `evaluate` sub-command."""
    parser = subparsers.add_parser(
        "evaluate",
        help="a trained probe on a split: WER, accuracy, F1 or EER with 95 %% intervals",
        description="Evaluate a probe (examples/mp3s) on DIR/SPLIT.tsv. Recognition: WER and CER, or the error rate "
        "of phones and other symbols that spell no words (hypo.wrd, ref.wrd). "
        "Classes: accuracy, macro-F1, predictions.tsv, confusion.tsv and confusion.png. Speakers: EER and minDCF of "
        "DIR/SPLIT.trials (scores.tsv), by cosines of embeddings, and of embeddings less the split's mean. All go to "
        "results.json too, with checkpoint, configuration, counts and layer weights.",
    )
    parser.add_argument("checkpoint", type=Path, help="checkpoint of ssl_probe")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder of manifests and labels")
    parser.add_argument("--split", default="test", help="DIR/SPLIT.tsv is the manifest (default: test)")
    add_outside_root_argument(parser)
    parser.add_argument("--results", type=Path, required=True, metavar="DIR", help="folder for the output files")
    parser.add_argument("--trials", type=Path, help="list of trials (default: DIR/SPLIT.trials)")
    parser.add_argument("--bootstrap", type=int, default=1000, help="replicates of the intervals (default: 1000)")
    parser.add_argument("--seed", type=int, default=0, help="random seed of the intervals (default: 0)")
    parser.add_argument("--batch-seconds", type=float, default=60.0, help="audio in a padded batch (default: 60)")
    parser.add_argument("--encoder-name", help="what results.json calls the encoder (default: its file's name)")
    add_device_arguments(parser)
    parser.add_argument("--force", action="store_true", help="overwrite outputs that are there already")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Evaluate, write, print.

    Raises:
        InputError: for input that cannot be read, or outputs that are there already.
    """
    if args.bootstrap < 1:
        raise InputError(f"--bootstrap {args.bootstrap}: must be at least 1")
    check_seed(args.seed)
    check_batch_seconds(args.batch_seconds)
    from ..data.manifest import Manifest

    manifest = Manifest(args.data / f"{args.split}.tsv", allow_outside_root=args.allow_outside_root)
    with exclusive(args.results):
        refuse_existing([args.results / name for name in (RESULTS_NAME, *OTHER_NAMES)], args.force)
        check_writable(args.results)
        _evaluate(args, manifest)


def _evaluate(args: argparse.Namespace, manifest: Manifest) -> None:
    device = prepare(args)

    from ..probing.checkpoint import VERIFICATION, load_probe
    from ..probing.evaluation import Evaluation, evaluate
    from ..system.precision import autocast

    probe = load_probe(args.checkpoint.absolute(), device)
    if args.trials and probe.task != VERIFICATION:
        raise InputError(f"--trials: {args.checkpoint} was trained by {probe.task}, and has no embeddings")
    clips = list(manifest)
    rows_of = Counter(clip.name for clip in clips)  # of a file; parts are told from each other by their first sample
    evaluation = Evaluation(
        probe=probe,
        data=args.data,
        split=args.split,
        names=[clip.name if rows_of[clip.name] == 1 else clip.output_name for clip in clips],
        num_samples=manifest.sizes,
        clips=clips,
        batch_seconds=args.batch_seconds,
        trials=args.trials or args.data / f"{args.split}.trials",
        num_replicates=args.bootstrap,
        seed=args.seed,
    )
    with autocast(args.precision, device.type):
        results, files = evaluate(evaluation)
    if args.precision != "float32":
        results = replace(results, versions={**results.versions, "precision": args.precision})
    if args.encoder_name:
        results = replace(results, encoder=replace(results.encoder, name=args.encoder_name))
    # fsencode: the names of clips may be no UTF-8
    contents: dict[Path, str | bytes] = {args.results / name: os.fsencode(text) for name, text in files.items()}
    contents[args.results / RESULTS_NAME] = as_json(results)  # last: a folder with results.json is complete
    of_earlier_run = [args.results / name for name in OTHER_NAMES if name not in files]
    write_together(contents, of_earlier_run)
    print(summary(results))


def summary(results: Results) -> str:
    """The metrics with their intervals, one a line."""
    counts = ", ".join(f"{value:,.6g} {name}" for name, value in results.data.counts.items())
    lines = [f"{results.task}, {results.head} on {results.encoder.description}", f"{results.data.split}: {counts}"]
    for name, metric in results.metrics.items():
        unit = f" {metric.unit}" if metric.unit else ""
        lines.append(f"{name} {metric.value:.4g}{unit} (95 % interval {metric.low:.4g} to {metric.high:.4g})")
    return "\n".join(map(printable, lines))
