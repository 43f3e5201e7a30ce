"""`summarymixing benchmark layer`: what an encoder layer costs on a GPU, counted and not timed; see ``layer_cost``."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..benchmarks.benchmark import PAPER_MIXERS, add_config, add_contenders, choose, mixer_names, of_mixer
from ..system.errors import InputError

COLUMNS = ("mixer", "precision", "recompute", "kernels", "bytes beside products", "kept for backward", "H100 at best")
LEGEND = """kernels: forward + backward; an operator counts once, and what it copies first
bytes beside products: read and written, per frame and channel, without matrix products and attention
kept for backward: per frame, without weights
H100 at best: both passes by its datasheet, traffic beside products + products; predicted, not measured"""


def add_benchmark(benchmarks: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `layer` to the sub-commands of `benchmark`."""
    text = "kernels, memory traffic and stored activations of an encoder layer on a GPU; counted, no GPU is needed"
    parser = benchmarks.add_parser(
        "layer", help=text, description=text, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add_config(parser)
    add_contenders(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Count and print, for each mixer and precision, with nothing recomputed and with what is cheap.

    Raises:
        InputError: if there is no such recipe, or for an unknown mixer.
    """
    if not Path(args.config).is_file():
        raise InputError(f"{args.config}: no such recipe; run this in a checkout of the project, or give --config")
    import summarymixing_fairseq

    summarymixing_fairseq.register()

    from ..benchmarks.layer_cost import CLIPS, FRAMES, PRECISIONS, layer_cost
    from ..benchmarks.recipe import read_recipe

    rows = [COLUMNS]
    for mixer in choose(args.contenders, mixer_names(PAPER_MIXERS[0])):
        for precision in PRECISIONS:
            for recompute in ("none", "cheap"):
                overrides = ["task.data=.", *of_mixer(mixer), f"model.recompute={recompute}"]
                cost = layer_cost(read_recipe(Path(args.config), overrides).model, precision)
                kernels = " + ".join(map(str, cost.kernels))
                traffic = " + ".join(f"{value:.0f}" for value in cost.bytes_per_value)
                kept = f"{cost.kept_bytes_per_frame / 1e3:.1f} kB"
                best = " + ".join(f"{1e3 * seconds:.2f}" for seconds in cost.h100_seconds)
                rows.append((mixer, precision, recompute, kernels, traffic, kept, f"{best} ms"))
    widths = [max(map(len, column)) for column in zip(*rows)]
    print(f"# one layer of {args.config}, {CLIPS} clips of {FRAMES} frames without padding, precision by autocast")
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
    print(LEGEND)
