"""``branches``: what SummaryMixing layers take from f and from s."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from ...data.reading import pad_batch
from ..measures.branches import changed, of_another_clip, strength_of_summary, zero
from ..measures.robustness import similarity
from ..observed import Observed, mean_of_clips
from ..states import evaluating, states_of_batch
from .registry import Row, register_measure

CHANGES = {"without s": ("s", zero), "without f": ("f", zero), "s of another clip": ("s", of_another_clip)}


@register_measure("branches", "strength of f and s, and the layer's output without one of them", needs=("branches",))
def branches(observed: Observed, places: Sequence[str]) -> Iterator[Row]:
    """For each layer with both: ``strength of s``, and the mean cosine of its output with that after each change."""
    encoder = observed.encoder
    modules = encoder.branches()
    layers = [str(n) for n in range(1, encoder.num_layers + 1) if f"{n}.f" in modules and f"{n}.s" in modules]
    rows = list(observed.waves)
    groups = [observed.group_of_clips()[row] for row in rows]
    source, padding_mask = pad_batch(list(observed.waves.values()), next(encoder.parameters()).device)
    num_frames = [observed.states.index.num_frames[row] for row in rows]
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    with evaluating(encoder):
        wanted = [place for layer in layers for place in (layer, f"{layer}.f", f"{layer}.s")]
        states = states_of_batch(encoder, source, padding_mask, wanted)
        intact = {place: of_place.cpu().split(num_frames) for place, of_place in states.items()}
        for layer in layers:
            mean = observed.states.frames(layer).double().mean(0)
            combiner = getattr(modules[f"{layer}.mixer"], "combiner", None)
            if combiner is not None:
                of_branches = zip(intact[f"{layer}.f"], intact[f"{layer}.s"])
                found[layer, "strength of s"] = [
                    strength_of_summary(f, s, combiner.weight.cpu()) for f, s in of_branches
                ]
            for name, (branch, change) in CHANGES.items():
                with changed(modules[f"{layer}.{branch}"], change):
                    other = states_of_batch(encoder, source, padding_mask, [layer])[layer].cpu().split(num_frames)
                found[layer, name] = [similarity(one, two, mean) for one, two in zip(intact[layer], other)]
    for (layer, name), values in found.items():
        yield Row(layer, name, mean_of_clips(values, groups))
