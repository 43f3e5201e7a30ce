"""What an update costs as models, clips and corpora grow: counted by torch, measured here, predicted for GPUs.

Writes examples/benchmarks/SCALING.md from SCALING.template.md, and what was measured to results/scaling.json.
"""

from __future__ import annotations

import argparse
import datetime
import json
import re
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from summarymixing_fairseq.system import command, files
from summarymixing_fairseq.system.errors import InputError
from summarymixing_fairseq.system.strict_json import to_json
from summarymixing_fairseq.system.tables import markdown_table
from summarymixing_fairseq.system.units import SAMPLE_RATE_HZ

HERE = Path(__file__).resolve().parent
NAMES = ("small", "small_mhsa", "base", "base_mhsa", "large", "large_mhsa")
# One update of the recipes: 24 clips of 15 s are the 360 s of a GPU.
SIZES = {"CLIPS": 24, "CLIP_SECONDS": 15, "BATCHES": 4, "GPUS": 4, "UPDATES": 300_000}
CLIPS, CLIP_SECONDS, BATCHES, GPUS, UPDATES = SIZES.values()
AUDIO_SECONDS = CLIPS * CLIP_SECONDS * BATCHES * GPUS
FRAMES_PER_SECOND = 50
CORPORA_HOURS = {"Libri-Light medium": 4_300, "Libri-Light": 60_000}
PAPER_SECONDS = 7 * 86_400  # reported for the recipe on 4 A100
# Datasheets, SXM with 80 GB: dense TFLOP/s in half precision, TB/s of memory.
DATASHEETS = {"a100": 312, "a100_bytes": 2.039, "h100": 989, "h100_bytes": 3.35}
LAYER = ("feed-forward", "mixer", "convolution")
# Groups of operations by name, the first that matches. Not arithmetic: bookkeeping and the Fourier transform.
GROUPS = {
    "matrix products": r"aten::(b?mm|baddbmm|addmm|_scaled_dot_product\w*)$",
    "convolutions": r"aten::\w*convolution\w*|.*Depthwise",
    "AdamW": r"aten::_fused_adamw_",
    "elementwise, norms, dropout, copies": r"aten::(?!_fft|index|gather|scatter|arg|nonzero|empty|view|as_|detach)",
    "rest": r"",
}


def recipe_path(name: str | Path) -> Path:
    """A recipe of ``examples/pretraining``, or the one at a path without suffix."""
    return HERE.parent / "pretraining" / f"{name}.yaml"


class Cost:
    """FLOPs of a model for a clip of any length, from counts of torch's ``FlopCounterMode`` at three short lengths.

    The FLOPs of every component are a polynomial of degree 2 in the number of frames or, in the objective, of masked
    frames. Three counts determine it. All layers are alike, so one of them is counted.

    Args:
        cfg: the ``model`` group of a recipe.
    """

    def __init__(self, cfg: Any):
        import numpy as np
        import torch
        from omegaconf import OmegaConf

        from summarymixing_fairseq.models.wav2vec2_summarymixing import Wav2Vec2SummaryMixingModel

        self.cfg = cfg
        one_layer: Any = OmegaConf.merge(cfg, {"encoder_layers": 1, "encoder_layerdrop": 0.0})
        model = Wav2Vec2SummaryMixingModel(one_layer)
        self._output_lengths = model.feature_extractor.output_lengths
        layer, whole = (sum(p.numel() for p in part.parameters()) for part in (model.encoder.layers[0], model))
        self.num_parameters = whole + (cfg.encoder_layers - 1) * layer
        counts = [self._count(model, torch.randn(1, seconds * SAMPLE_RATE_HZ)) for seconds in (1, 2, 3)]
        frames = [self.num_frames(seconds) for seconds in (1, 2, 3)]
        self.polynomials = {
            name: np.poly1d(np.polyfit(frames, [count[name] for count in counts], 2)) for name in counts[0]
        }

    def num_frames(self, seconds: float) -> int:
        """Latent frames of a clip."""
        import torch

        return int(self._output_lengths(torch.tensor([round(seconds * SAMPLE_RATE_HZ)])))

    def _count(self, model: Any, source: Any) -> dict[str, int]:
        """FLOPs of the forward and the backward pass by component, with all frames masked."""
        import torch
        from torch.nn.attention import SDPBackend, sdpa_kernel
        from torch.utils.flop_counter import FlopCounterMode, conv_flop_count

        def convolution_backward(grad: Any, x: Any, weight: Any, *others: Any, **_: Any) -> int:
            # torch's formula ignores groups: for the filter of a depthwise convolution it is D times too large
            return conv_flop_count(x, weight, grad) * sum(others[7][:2])

        mapping = {
            torch.ops.aten.convolution_backward: convolution_backward,
            torch.ops.aten.addmm_: lambda _, x, y, **options: 2 * x[0] * x[1] * y[1],  # torch knows addmm alone
        }
        mask = torch.ones(1, self.num_frames(source.size(1) / SAMPLE_RATE_HZ), dtype=torch.bool)
        # torch has no formula for the fused attention of a CPU: count plain products
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False, custom_mapping=mapping) as counter:
            model.get_logits(model(source, mask_indices=mask)).sum().backward()
        counts = {name.partition(".")[2]: sum(flops.values()) for name, flops in counter.get_flop_counts().items()}
        modules = {
            "front end": ("feature_extractor", "post_extract_proj"),
            "feed-forward": ("encoder.layers.0.ffn1", "encoder.layers.0.ffn2"),
            "mixer": ("encoder.layers.0.mixer",),
            "convolution": ("encoder.layers.0.conv",),
        }
        flops = {name: sum(counts.get(part, 0) for part in parts) for name, parts in modules.items()}
        flops["objective"] = counter.get_total_flops() - sum(flops.values())
        return {name: value * (self.cfg.encoder_layers if name in LAYER else 1) for name, value in flops.items()}

    def flops(self, seconds: float) -> dict[str, float]:
        """FLOPs of the forward and the backward pass for one clip by component, with as many masks as expected."""
        T = self.num_frames(seconds)
        spans = T * (1 - (1 - self.cfg.mask_prob / self.cfg.mask_length) ** self.cfg.mask_length)  # they overlap
        masked = T * self.cfg.mask_prob if self.cfg.mask_fill else spans
        return {name: float(p(masked if name == "objective" else T)) for name, p in self.polynomials.items()}

    def run_flops(self) -> float:
        """FLOPs of all updates of the recipe, without the layers that LayerDrop is expected to skip."""
        clip = self.flops(CLIP_SECONDS)
        layers = self.cfg.encoder_layerdrop * sum(clip[part] for part in LAYER)
        return UPDATES * CLIPS * BATCHES * GPUS * (sum(clip.values()) - layers)


def profile_update(update: Callable[[], None], on_gpu: bool) -> dict[str, float]:
    """Milliseconds of self time of one update by group."""
    from torch.autograd import DeviceType
    from torch.profiler import ProfilerActivity, profile

    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * on_gpu
    with profile(activities=activities) as profiler:
        update()
    groups = dict.fromkeys(GROUPS, 0.0)
    # the time of a GPU's kernel is also that of the operation on the CPU that launched it
    for event in (event for event in profiler.key_averages() if event.device_type == DeviceType.CPU):
        group = next(name for name, pattern in GROUPS.items() if re.match(pattern, event.key))
        groups[group] += (event.self_device_time_total if on_gpu else event.self_cpu_time_total) / 1000
    return groups


def measure(recipes: Sequence[str | Path], clips: int, seconds: float, repeats: int) -> dict[str, Any]:
    """Time updates and a feed-forward's products in turn: fp32 on a CPU, amp on a GPU if there is one."""
    import torch

    from summarymixing_fairseq.benchmarks import recipe
    from summarymixing_fairseq.system import cpu_memory, machine

    on_gpu = torch.cuda.is_available()
    cpu_memory.keep_freed_memory()  # as training does
    device, precision = ("cuda", "amp") if on_gpu else ("cpu", "fp32")
    overrides = [*recipe.precision_overrides(precision, device), "model.encoder_layerdrop=0", "task.data=."]
    batch = recipe.noise_batch(clips, round(seconds * SAMPLE_RATE_HZ))
    steps: dict[str, Callable[[], Any]] = {}
    costs = {}
    for path in map(recipe_path, recipes):
        cfg = recipe.read_recipe(path, overrides)
        costs[path.stem] = Cost(cfg.model)
        steps[path.stem] = partial(recipe.train_step, recipe.build_trainer(cfg), batch)
    frames = clips * costs[path.stem].num_frames(seconds)
    D, F = cfg.model.encoder_embed_dim, cfg.model.encoder_ffn_embed_dim
    new = partial(torch.randn, device=device, dtype=torch.float16 if on_gpu else torch.float32)
    x, inner, outer = new(frames, D), new(D, F), new(F, D)
    steps["products"] = lambda: torch.mm(torch.mm(x, inner), outer)
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for repeat in range(repeats + 1):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if on_gpu:
                torch.cuda.synchronize()
            taken[name].append(time.perf_counter() - start)
            print(f"round {repeat}/{repeats}: {name} {taken[name][-1]:.3f} s", file=sys.stderr, flush=True)
    described = machine.describe(device, torch.get_num_threads())
    return {
        "date": datetime.date.today().isoformat(),
        "machine": f"{described['hardware']}, torch {described['torch']}",
        "batch": f"{clips} clips of {seconds:g} s, {precision}",
        "flops_per_second": [4 * frames * D * F / t for t in taken["products"][1:]],
        "updates": {
            name: {
                "seconds": taken[name][1:],
                "flops": clips * sum(cost.flops(seconds).values()),
                "groups": profile_update(steps[name], on_gpu),
            }
            for name, cost in costs.items()
        },
    }


def table(head: str, rows: Iterable[Sequence[Any]]) -> str:
    """Markdown table, numbers to three digits."""
    cells = ([v if isinstance(v, str) else f"{v:,.0f}" if v >= 100 else f"{v:.3g}" for v in row] for row in rows)
    return markdown_table(head.split("; "), cells)


def counted(costs: dict[str, Cost]) -> dict[str, Any]:
    """Tables of section 1."""
    clips = {name: cost.flops(CLIP_SECONDS) for name, cost in costs.items()}
    parts = [[part, *(clip[part] / CLIP_SECONDS / 1e9 for clip in clips.values())] for part in clips["base"]]
    totals = []
    for name, cost in costs.items():
        flops = sum(clips[name].values())
        batch = flops * CLIPS / 1e12
        totals.append([name, f"{cost.num_parameters:,}", flops / CLIP_SECONDS / 1e9, batch, batch * BATCHES * GPUS])
    return {
        "frames": costs["base"].num_frames(CLIP_SECONDS),
        "components": table("component; " + "; ".join(costs), parts),
        "totals": table("recipe; parameters; GFLOP per s of audio; TFLOP per batch; TFLOP per update", totals),
    }


def timed(measured: dict[str, Any]) -> dict[str, Any]:
    """The table of section 2, from what ``measure`` returned."""
    product_rate, rows, groups = median(measured["flops_per_second"]), [], ()
    for name, update in measured["updates"].items():
        seconds, total = update["seconds"], sum(update["groups"].values())
        rate = update["flops"] / median(seconds)
        row = [f"{median(seconds):.3g} ({min(seconds):.3g} to {max(seconds):.3g})", update["flops"] / 1e12, rate / 1e9]
        groups = update["groups"]  # names as they were when it was measured
        shares = [rate / product_rate, *(ms / total for ms in groups.values())]
        rows.append([name, *row, *(f"{share:.1%}" for share in shares)])
    head = "; ".join(("model", "s per update", "TFLOP", "GFLOP/s", "of `torch.mm`", *groups))
    num_rounds = len(measured["flops_per_second"])
    return {"product_rate": product_rate / 1e9, "num_rounds": num_rounds, "updates": table(head, rows)}


def predicted(costs: dict[str, Cost]) -> dict[str, Any]:
    """Figures and tables of section 3."""
    a100, a100_bytes, h100, h100_bytes = DATASHEETS.values()
    run = {name: cost.run_flops() / 1e12 for name, cost in costs.items()}
    share = run["base"] / (PAPER_SECONDS * GPUS * a100)
    rates = share * a100, share * h100, share * a100 * h100_bytes / a100_bytes
    hours = {name: [flops / (GPUS * rate) / 3600 for rate in rates] for name, flops in run.items()}
    seen, corpora = UPDATES * AUDIO_SECONDS / 3600, []
    for name, length in CORPORA_HOURS.items():
        more = length / CORPORA_HOURS["Libri-Light medium"]
        corpora.append([name, f"{length:,}", seen / length, more * UPDATES / 1e6, *(more * h for h in hours["base"])])
    columns = "A100; H100, same share; H100, by bandwidth"
    return {
        **DATASHEETS,
        "share": share,
        "saved": 1 - run["base"] / run["base_mhsa"],
        "seen": seen,
        "hours": table(f"recipe; {columns}", ([name, *row] for name, row in hours.items())),
        "corpora": table(f"corpus; hours; passes in a run; million updates; {columns}", corpora),
    }


def by_clip_length(costs: dict[str, Cost]) -> dict[str, Any]:
    """Tables of section 4: from which length attention costs more than something else, and shares by length."""
    attention, ours = costs["base_mhsa"].polynomials["mixer"], costs["base"].polynomials["mixer"]
    crossings = {
        f"attention > {ratio} x SummaryMixing": (ratio * ours[1] - attention[1]) / attention[2]
        for ratio in (2, 3, 5, 10)
    }
    for size in ("small", "base", "large"):
        feed_forward, mixer, convolution = (costs[f"{size}_mhsa"].polynomials[part] for part in LAYER)
        others = feed_forward[1] + convolution[1]
        crossings[f"{size}: quadratic part > all else"] = (mixer[1] + others) / mixer[2]
        crossings[f"{size}: attention > all else"] = (others - mixer[1]) / mixer[2]
    rows = []
    for label, seconds in (("10 s", 10), ("30 s", 30), ("1 min", 60), ("5 min", 300), ("1 h", 3600)):
        clips = [costs[name].flops(seconds) for name in ("base", "base_mhsa")]
        whole = [sum(clip.values()) for clip in clips]
        mixing = [f"{clip['mixer'] / total:.1%}" for clip, total in zip(clips, whole)]
        rows.append([label, *mixing, f"{clips[0]['objective'] / whole[0]:.1%}", whole[1] / whole[0]])
    frames = [[what, max(0.0, T), max(0.0, T) / FRAMES_PER_SECOND] for what, T in crossings.items()]
    head = "clip; mixer, `base`; mixer, `base_mhsa`; objective, `base`; `base_mhsa` / `base`"
    return {"crossings": table("from where (0: always); frames; s", frames), "lengths": table(head, rows)}


def main() -> int:
    """Measure, or read what was measured, and write the page."""
    parser = argparse.ArgumentParser(
        description="Write SCALING.md.", formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=HERE / "SCALING.md", help="page; results/scaling.json beside it")
    parser.add_argument("--from-json", action="store_true", help="measure nothing: write the page from that JSON")
    parser.add_argument("--clips", type=int, default=4, help="clips in a measured batch")
    parser.add_argument("--seconds", type=float, default=15.0, help="length of each")
    parser.add_argument("--repeats", type=int, default=5, help="timed rounds, after one to warm up")
    args = parser.parse_args()
    if min(args.clips, args.seconds, args.repeats) < 1:
        parser.error("--clips, --seconds and --repeats must be at least 1")
    return command.run_script(lambda: _run(args), args.output.parent)


def _run(args: argparse.Namespace) -> str:
    results = args.output.parent / "results" / "scaling.json"
    if args.from_json and not results.exists():
        raise InputError(f"{results}: no such file; measure first, without --from-json")

    import summarymixing_fairseq

    summarymixing_fairseq.register()  # first, as it keeps fairseq from printing every library's debug lines
    from summarymixing_fairseq.benchmarks.recipe import read_recipe

    if not args.from_json:
        measured = measure(("base", "base_mhsa"), args.clips, args.seconds, args.repeats)
        measured["command"] = " ".join(["python examples/benchmarks/scaling.py", *sys.argv[1:]])
        with files.atomic_write(results) as file:
            file.write(to_json(measured, indent=2) + "\n")
    measured = json.loads(results.read_text(encoding="utf-8"))
    costs = {name: Cost(read_recipe(recipe_path(name), ["task.data=."]).model) for name in NAMES}
    values = {**SIZES, **counted(costs), **timed(measured), **predicted(costs), **by_clip_length(costs)}
    page = (HERE / "SCALING.template.md").read_text(encoding="utf-8").format(measured=measured, **values)
    with files.atomic_write(args.output) as file:
        file.write(page)
    return str(args.output)


if __name__ == "__main__":
    command.as_script(main)
