"""`summarymixing units`: a layer's frames as k-means units, for HuBERT's pre-training and spoken language models."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..system.errors import InputError, printable
from ..system.files import exclusive, refuse_existing, sha256_of, write_together
from ..system.strict_json import to_json
from .inputs import add_clip_arguments, add_input_arguments, check_seed, clips_to_read, layer, prepare

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np

    from ..checkpoints.encoders import Encoder
    from ..data.manifest import Clip

MAX_CLUSTERS = 100_000


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the `units` sub-command, and its own: `fit` and `apply`."""
    parser = subparsers.add_parser(
        "units",
        help="k-means units of a layer, a line a clip, as HuBERT's pre-training and spoken language models take them",
        description="`fit` clusters the frames of a layer, `apply` writes for each clip the numbers of the clusters "
        "that its frames are nearest to.",
    )
    commands = parser.add_subparsers(dest="units_command", required=True, metavar="COMMAND")
    fit = commands.add_parser(
        "fit",
        help="cluster the frames of a layer",
        description="Cluster the frames of a layer by mini-batch k-means, and write the centroids as safetensors. "
        "Meanwhile the frames lie in a temporary file in that folder, 4 bytes a number.",
    )
    add_input_arguments(fit)
    fit.add_argument(
        "--layer",
        type=layer,
        required=True,
        metavar="N",
        help="0: encoder input; n: output of layer n; output: the last layer's after the final LayerNorm",
    )
    fit.add_argument("--clusters", type=int, required=True, metavar="K", help="number of units")
    fit.add_argument("--dest", type=Path, required=True, metavar="FILE", help="file to write, FILE.safetensors")
    fit.add_argument("--seed", type=int, default=1, help="of the clustering and of the sample (default: 1)")
    fit.add_argument(
        "--max-frames", type=int, metavar="N", help="cluster a random sample of so many frames (default: all)"
    )
    fit.set_defaults(run=_fit)
    apply = commands.add_parser(
        "apply",
        help="write the units of clips",
        description="Write SPLIT.km (units.km for audio files), one line of units a clip, dict.km.txt, and "
        "SPLIT.km.json: frame t hears samples t * shift_samples to t * shift_samples + window_samples.",
    )
    apply.add_argument("checkpoint", type=Path, help="that the units were fitted on")
    apply.add_argument("units", type=Path, metavar="UNITS", help="FILE.safetensors of `units fit`")
    add_clip_arguments(apply)
    apply.add_argument("--dest", type=Path, required=True, metavar="DIR", help="folder for the units")
    apply.add_argument(
        "--collapse",
        action="store_true",
        help="also write SPLIT.runs, where runs of one unit are made one, and SPLIT.durations, the frames of each",
    )
    apply.add_argument(
        "--labels",
        type=Path,
        metavar="DIR",
        help="phones with their times, NAME.TextGrid or NAME.json of each clip, or a file .ctm: also print purity and "
        "PNMI, and write them to SPLIT.km.json (with --data)",
    )
    apply.set_defaults(run=_apply)


def _states(
    args: argparse.Namespace, encoder: Encoder, of_layer: int | str, clips: Sequence[Clip]
) -> Iterator[tuple[int, np.ndarray]]:
    """Position of each clip, and its states, (T, width) float32."""
    from ..data.clip_states import states_of_clips

    extract_batch = partial(encoder.extract_batch, layer=of_layer)
    for i, states in states_of_clips(clips, extract_batch, encoder.min_samples(), args.batch_seconds):
        yield i, states.numpy()


def _fit(args: argparse.Namespace) -> None:
    """Cluster and write.

    Raises:
        InputError: for input that cannot be read, a layer that is not there, more clusters than frames, a clip too
            short for a frame, or an output that is there already.
    """
    if args.dest.suffix != ".safetensors":
        raise InputError(f"{args.dest}: name it FILE.safetensors")
    if args.layer == "all":
        raise InputError("--layer all: units are of one layer, a number or output")
    if not 1 <= args.clusters <= MAX_CLUSTERS:
        raise InputError(f"--clusters {args.clusters}: must be 1 to {MAX_CLUSTERS}")
    check_seed(args.seed)
    if args.max_frames is not None and args.max_frames < args.clusters:
        raise InputError(f"--max-frames {args.max_frames}: must be at least --clusters, {args.clusters}")
    clips = clips_to_read(args)
    with exclusive(args.dest.parent):
        refuse_existing([args.dest], args.force)
        device = prepare(args)

        from ..analysis.kmeans import fit_centroids, kept_frames, num_empty
        from ..checkpoints.encoders import load_model
        from ..data.units import About, Units, write_units
        from ..system.precision import autocast

        encoder = load_model(args.checkpoint, device)
        encoder.check_layer(args.layer)
        with autocast(args.precision, device.type):
            states = (states for _, states in _states(args, encoder, args.layer, clips))
            frames = kept_frames(states, args.max_frames, args.seed, args.dest.parent)
        about = About(args.layer, encoder.describe(), encoder.weights_digest().hex(), args.seed, len(frames))
        units = Units(fit_centroids(frames, args.clusters, args.seed), about)
        empty = num_empty(frames, units)
        write_units(units, args.dest)
    print(printable(f"{args.dest}: {len(units)} units of layer {args.layer}, of {len(frames):,} frames"))
    if empty:
        print(f"{empty} units are nearest to no frame: fewer clusters would do")


def _apply(args: argparse.Namespace) -> None:
    """Assign and write.

    Raises:
        InputError: for input that cannot be read, units of another checkpoint, a clip too short for a frame or without
            labels, or outputs that are there already.
    """
    clips = clips_to_read(args)
    if args.labels and not args.data:
        raise InputError("--labels needs a manifest, which says how long clips are: give --data DIR --split SPLIT")

    from ..data import unit_files

    split = args.split if args.data else "units"
    km, *collapsed = (args.dest / name for name in unit_files.names(split))
    about, dictionary = km.with_name(f"{km.name}.json"), args.dest / unit_files.DICTIONARY_NAME
    with exclusive(args.dest):
        refuse_existing([km, about, *(collapsed if args.collapse else [])], args.force)

        from ..checkpoints.encoders import load_model
        from ..data.frame_times import FrameTimes
        from ..data.units import read_units
        from ..system.precision import autocast

        units = read_units(args.units)
        if not args.force:
            unit_files.check_dictionary(dictionary, len(units))
        device = prepare(args)
        phones = None
        if args.labels:
            from ..analysis.unit_quality import agreement
            from ..data.alignments import read_alignments

            phones = read_alignments(args.labels, clips)
            for clip, alignment in zip(clips, phones):
                if "phones" not in alignment.tiers:
                    raise InputError(f"labels of {clip.output_name} in {args.labels} have no phones: align phones too")
        encoder = load_model(args.checkpoint, device)
        units.check_encoder(encoder.weights_digest().hex(), encoder.state_dim, args.units)
        of_layer = units.about.layer
        encoder.check_layer(of_layer)
        with autocast(args.precision, device.type):
            found = {i: units.assign(states) for i, states in _states(args, encoder, of_layer, clips)}
        in_order = [found[i] for i in range(len(clips))]
        num_frames = sum(map(len, in_order))
        times = FrameTimes.of(encoder)
        summary = [f"{len(clips)} clips, {num_frames:,} frames: {km}"]
        described: dict[str, Any] = {
            "checkpoint": str(args.checkpoint),
            "encoder": units.about.encoder,
            "layer": of_layer,
            "units": str(args.units),
            "units_sha256": sha256_of(args.units),
            "clusters": len(units),
            "clips": len(clips),
            "frames": num_frames,
            # frame t hears the samples from t * shift_samples on
            **times.described(),
            "label_rate": encoder.frame_rate_hz,  # fairseq's name
        }
        if phones is not None:
            quality, num_spoken, num_phones = agreement(in_order, len(units), phones, times)
            described["phones"] = {"frames": num_spoken, "phones": num_phones, **quality._asdict()}
            shares = f"phone purity {quality.class_purity:.4f}, cluster purity {quality.cluster_purity:.4f}"
            summary.append(f"{num_spoken:,} frames of {num_phones} phones: {shares}, PNMI {quality.pnmi:.4f}")
        texts = unit_files.unit_texts(in_order, split, args.collapse)
        contents = {dictionary: unit_files.dictionary_text(len(units))}
        contents |= {args.dest / name: text for name, text in texts.items()}
        contents[about] = to_json(described, indent=2) + "\n"
        write_together(contents, absent=[path for path in collapsed if path not in contents])
    print("\n".join(map(printable, summary)))
