"""What an update costs as models, clips and corpora grow: counted by hand, measured here, predicted for GPUs.

Writes examples/benchmarks/SCALING.md, and what was measured to results/scaling.json beside it.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import re
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

import yaml

from summarymixing_fairseq.system import command, files
from summarymixing_fairseq.system.errors import InputError

HERE = Path(__file__).resolve().parent


NAMES = ("small", "small_mhsa", "base", "base_mhsa", "large", "large_mhsa")
SAMPLE_RATE_HZ, FRAMES_PER_SECOND = 16_000, 50
# One update of the recipes: 24 clips of 15 s are the 360 s of a GPU.
CLIPS, CLIP_SECONDS, BATCHES, GPUS, UPDATES = 24, 15, 4, 4, 300_000
SAMPLES, AUDIO_SECONDS = CLIP_SECONDS * SAMPLE_RATE_HZ, CLIPS * CLIP_SECONDS * BATCHES * GPUS
CORPORA_HOURS = {"Libri-Light medium": 4_300, "Libri-Light": 60_000}
PAPER_SECONDS = 7 * 86_400  # reported for the recipe on 4 A100
# Datasheets, SXM with 80 GB: dense FLOP/s in half precision, bytes/s of memory.
DATASHEETS = {"A100": (312e12, 2.039e12), "H100": (989e12, 3.35e12)}
# Scaling by the sample size 1, norm 2, clipping 1; AdamW: decay 1, moments 3 + 4, denominator 3, step 3.
OPTIMIZER_FLOPS = 18
# Gradient: scaled, measured, clipped, 20 bytes. AdamW reads it, the parameter and both moments, and writes three.
OPTIMIZER_BYTES = 20 + 28
CALLS = 10  # of a product or a triad in one timing
LAYER = ("feed-forward", "mixer", "convolution")
GROUPS = ("matrix products", "depthwise convolution", "elementwise, norms, dropout, copies", "optimizer", "rest")
OPTIMIZER_SCOPES = {"reduce-grads", "multiply-grads", "clip-grads", "optimizer"}  # as fairseq's trainer calls them
PRODUCT = re.compile(r"aten::(b?mm|baddbmm|addmm|_scaled_dot_product\w*|\w*convolution\w*)")
# our dropout, and what of torch's operations is neither bookkeeping nor the Fourier transform
ARITHMETIC = re.compile(r"aten::(?!_fft|index|gather|scatter|arg|nonzero|empty|view|as_|detach|item|_local)|_Masked")


def read_model(name: str | Path) -> SimpleNamespace:
    """The ``model`` group of a recipe in ``examples/pretraining``, or at a path without suffix."""
    recipe = yaml.safe_load((HERE.parent / "pretraining" / f"{name}.yaml").read_text(encoding="utf-8"))
    return SimpleNamespace(**{"num_mel_bins": 80, "frontend_channels": 512, **recipe["model"]})


def layer_sizes(cfg: Any) -> tuple[int, int, int, int, str]:
    """D, the feed-forward's width, heads, kernel size and mixer of a model's layers."""
    heads = cfg.encoder_attention_heads if cfg.mixer == "mhsa" else cfg.summary_heads
    return cfg.encoder_embed_dim, cfg.encoder_ffn_embed_dim, heads, cfg.depthwise_conv_kernel_size, cfg.mixer


def frame_counts(num_samples: int) -> tuple[int, int, int]:
    """Filterbank windows, frames after the first convolution (stride 2), and latent frames of a clip."""
    windows = (num_samples - 400) // 160 + 1
    return windows, (windows - 3) // 2 + 1, (windows - 3) // 2 - 1


def parameter_count(cfg: Any) -> int:
    """Parameters of the whole pre-training model."""
    D, F, H, K, mixer = layer_sizes(cfg)
    C, V, entries = cfg.frontend_channels, cfg.final_dim, cfg.latent_groups * cfg.latent_vars
    ffn = 2 * D + (D * F + F) + (F * D + D)
    convolution = 2 * D + (2 * D * D + 2 * D) + (D * K + D) + 2 * D + (D * D + D)
    mixing = 4 * (D * D + D) if mixer == "mhsa" else 4 * (D * D // H + D) + 2 * 2 * D + (2 * D * D + D)
    encoder = cfg.encoder_layers * (2 * ffn + 2 * D + mixing + convolution + 2 * D) + 2 * D
    front_end = 3 * C * (cfg.num_mel_bins + C) + 3 * 2 * C + (C * D + D) + D  # the last D: the mask vector
    quantizer = cfg.latent_vars * V + (C * entries + entries)
    return encoder + front_end + quantizer + (V * V + V) + (D * V + V)


def encoder_layer_flops(
    dim: int, ffn_dim: int, num_heads: int, kernel_size: int, mixer: str, num_frames: float
) -> dict[str, float]:
    """FLOPs of one layer's products in the forward pass over one clip of ``num_frames``, by component."""
    if mixer == "mhsa":  # q, k, v and output projections; scores and the weighted sum of the values
        mixing = 8 * dim**2 * num_frames + 4 * dim * num_frames**2
    else:  # four block-diagonal layers, the half of the combiner for f; once a clip its half for s
        mixing = (8 * dim**2 / num_heads + 2 * dim**2) * num_frames + 2 * dim**2
    convolution = (6 * dim**2 + 2 * kernel_size * dim) * num_frames
    return dict(zip(LAYER, (8 * dim * ffn_dim * num_frames, mixing, convolution)))


def clip_flops(cfg: Any, num_samples: int, num_masked: float | None = None) -> dict[str, tuple[float, float]]:
    """FLOPs of the forward and the backward pass over one clip, by component; None: as many masked as expected."""
    windows, hidden, frames = frame_counts(num_samples)
    if num_masked is None:  # spans overlap
        num_masked = frames * (1 - (1 - cfg.mask_prob / cfg.mask_length) ** cfg.mask_length)
    D, C, V = cfg.encoder_embed_dim, cfg.frontend_channels, cfg.final_dim
    mel, first = 2 * 201 * cfg.num_mel_bins * windows, 6 * cfg.num_mel_bins * C * hidden
    others = (6 * C * C + 2 * C * D) * frames  # second convolution, projection to D
    forward = {
        **{name: cfg.encoder_layers * v for name, v in encoder_layer_flops(*layer_sizes(cfg), frames).items()},
        "quantizer": 2 * C * cfg.latent_groups * cfg.latent_vars * num_masked,
        # every entry times its weight, all but one of them zero
        "codebook sum": 2 * cfg.latent_vars * V * num_masked,
        "objective": 2 * (D * V + V * V) * num_masked + 2 * V * num_masked**2,
    }
    return {
        "Fourier transform": (2.5 * 400 * math.log2(400) * windows, 0.0),
        # no gradient of the filterbank, and none of the first convolution's input
        "front end": (mel + first + others, first + 2 * others),
        **{name: (flops, 2 * flops) for name, flops in forward.items()},
    }


def update_flops(
    cfg: Any, clips: int = CLIPS, num_samples: int = SAMPLES, batches: int = BATCHES, gpus: int = GPUS
) -> dict[str, float]:
    """FLOPs of one update, by component: each GPU accumulates ``batches`` of ``clips`` and takes the same step."""
    flops = {name: clips * batches * gpus * sum(both) for name, both in clip_flops(cfg, num_samples).items()}
    return {**flops, "optimizer": OPTIMIZER_FLOPS * parameter_count(cfg) * gpus}


def kept_bytes(D: int, F: int, H: int, K: int, mixer: str, amp: bool = False, again: bool = False) -> int:
    """Bytes a frame that a layer of ``layer_sizes`` keeps for its backward pass; ``again``: cheap things recomputed."""
    # inputs of six norms, fp32 also under amp; feed-forward twice, convolution
    wide, narrow, norms = 6 * D, 2 * F + 2 * D, 2
    masks, other = 2 * (F + D) + D, 0
    if not again:  # outputs of four norms, GLU and Swish; Swish of the feed-forward twice
        wide, narrow, norms = wide + D, narrow + 2 * F + 5 * D, 6
    if mixer == "mhsa":  # fused: input, q, k, v, output, and each head's log-sum-exp
        narrow, other = narrow + 5 * D, 4 * H
    else:  # LN_f; the cell's input, which under amp each branch casts, three a branch, the combiner's in and out
        wide, narrow, masks, norms = wide + D, narrow + (9 + amp) * D, masks + D, norms + 1
    return 4 * wide + (2 if amp else 4) * narrow + masks + 8 * norms + other


def update_bytes(cfg: Any, num_frames: int, batches: int, amp: bool, again: bool = False) -> dict[str, float]:
    """Bytes one GPU holds for an update of ``batches`` with ``num_frames`` each, and the least that it moves."""
    parameters = parameter_count(cfg)
    activations = cfg.encoder_layers * kept_bytes(*layer_sizes(cfg), amp, again) * num_frames
    # a batch reads the weights twice, under amp after a cast (6 bytes), and adds its gradients; the first only writes
    a_batch = (18 if amp else 16) * parameters + 2 * activations
    moved = batches * a_batch + (OPTIMIZER_BYTES - 4) * parameters
    kinds = ("parameters", "gradients", "AdamW's moments", "half-precision weights", "activations of a batch", "moved")
    return dict(zip(kinds, (4 * parameters, 4 * parameters, 8 * parameters, 2 * parameters * amp, activations, moved)))


def crossing_frames(cfg: Any) -> tuple[float, float]:
    """Frames from which attention's quadratic part, and the whole of attention, cost more than all else in a layer."""
    D, F, _, K, _ = layer_sizes(cfg)
    return 3.5 * D + 2 * F + K / 2, 2 * F - D / 2 + K / 2


def run_flops(cfg: Any) -> float:
    """FLOPs of all updates of a recipe, less the layers that LayerDrop is expected to skip."""
    flops = update_flops(cfg)
    return UPDATES * (sum(flops.values()) - cfg.encoder_layerdrop * sum(flops[part] for part in LAYER))


def group_of(scopes: Sequence[tuple[str, Sequence[Sequence[int]]]]) -> str:
    """Group of a profiled operation, from the names and input shapes of itself (first) and of all that called it."""
    if any(name in OPTIMIZER_SCOPES for name, _ in scopes):
        return "optimizer"
    for name, shapes in scopes:
        # a depthwise filter is (D, 1, K), (D, 1, 1, K) or (D, 1, K, 1)
        depthwise = any(len(shape) > 2 and shape[0] > 1 and shape[1] == 1 for shape in shapes)
        if "Depthwise" in name or ("convolution" in name and depthwise):
            return GROUPS[1]
    if PRODUCT.fullmatch(scopes[0][0]):
        return GROUPS[0]
    return GROUPS[2] if ARITHMETIC.match(scopes[0][0]) else "rest"


def profile_update(update: Callable[[], None], on_gpu: bool) -> dict[str, Any]:
    """Milliseconds of self time of one update by group, and its eight dearest operations: name, ms, calls."""
    from torch.autograd import DeviceType
    from torch.profiler import ProfilerActivity, profile

    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * on_gpu
    with profile(activities=activities, record_shapes=True) as profiler:
        update()
    groups, operations = dict.fromkeys(GROUPS, 0.0), {}
    # the time of a GPU's kernel is also that of the operation on the CPU that launched it
    for event in (event for event in profiler.events() if event.device_type == DeviceType.CPU):
        scopes, scope = [], event
        while scope is not None:
            scopes.append((scope.name, scope.input_shapes or ()))
            scope = scope.cpu_parent
        milliseconds = (event.self_device_time_total if on_gpu else event.self_cpu_time_total) / 1000
        operations.setdefault(event.name, []).append(milliseconds)
        groups[group_of(scopes)] += milliseconds
    top = sorted(((name, sum(ms), len(ms)) for name, ms in operations.items()), key=lambda row: -row[1])[:8]
    return {"groups": groups, "top": top}


def measure(recipes: Sequence[str | Path], clips: int, seconds: float, repeats: int) -> dict[str, Any]:
    """Time updates in turn with a feed-forward's products and a triad: fp32 on a CPU, amp on a GPU if there is one."""
    import torch

    from summarymixing_fairseq.benchmarks import recipe
    from summarymixing_fairseq.system import machine
    from summarymixing_fairseq.system.cpu_memory import keep_freed_memory

    on_gpu = torch.cuda.is_available()
    keep_freed_memory()  # as training does
    device, precision = torch.device("cuda" if on_gpu else "cpu"), "amp" if on_gpu else "fp32"
    num_samples, models = round(seconds * SAMPLE_RATE_HZ), {Path(name).name: read_model(name) for name in recipes}
    frames, (D, F) = clips * frame_counts(num_samples)[2], layer_sizes(read_model(recipes[0]))[:2]
    new = partial(torch.randn, device=device, dtype=torch.float16 if on_gpu else torch.float32)
    x, inner, outer, y, z = new(frames, D), new(D, F), new(F, D), new(frames, F), new(frames, D)
    a, b, c = (torch.ones(2**26, device=device) for _ in range(3))
    steps: dict[str, Callable[[], Any]] = {"products": lambda: torch.mm(torch.mm(x, inner, out=y), outer, out=z)}
    steps["triads"] = partial(torch.add, a, b, alpha=2.0, out=c)
    overrides = [*recipe.precision_overrides(precision, device), "model.encoder_layerdrop=0", "task.data=."]
    batch = recipe.noise_batch(clips, num_samples)
    for name in recipes:
        cfg = recipe.read_recipe(HERE.parent / "pretraining" / f"{name}.yaml", overrides)
        steps[Path(name).name] = partial(recipe.train_step, recipe.build_trainer(cfg), batch)
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for repeat in range(repeats + 1):
        for name, step in steps.items():
            start = time.perf_counter()
            for _ in range(1 if name in models else CALLS):
                step()
            if on_gpu:
                torch.cuda.synchronize()
            taken[name].append(time.perf_counter() - start)
            print(f"round {repeat}/{repeats}: {name} {taken[name][-1]:.3f} s", file=sys.stderr, flush=True)
    updates = {}
    for name, cfg in models.items():
        print(f"profiling {name}", file=sys.stderr, flush=True)
        flops, held = update_flops(cfg, clips, num_samples, 1, 1), update_bytes(cfg, frames, 1, on_gpu, not on_gpu)
        updates[name] = {"seconds": taken[name][1:], "flops": sum(flops.values()), "moved": held["moved"]}
        updates[name].update(profile_update(steps[name], on_gpu))
    described = machine.describe(device.type, torch.get_num_threads())
    return {
        "date": datetime.date.today().isoformat(),
        "machine": f"{described['hardware']}, torch {described['torch']}",
        "batch": f"{clips} clips of {seconds:g} s, {precision}",
        "flops_per_second": [CALLS * 4 * frames * D * F / t for t in taken["products"][1:]],
        "bytes_per_second": [CALLS * 3 * 4 * c.numel() / t for t in taken["triads"][1:]],
        "updates": updates,
    }


def table(head: str, rows: Iterable[Sequence[str | float]]) -> str:
    """Markdown table, numbers to three digits."""
    cells = [head.split("; "), ["---"] * len(head.split("; "))]
    cells += [[v if isinstance(v, str) else f"{v:,.0f}" if v >= 100 else f"{v:.3g}" for v in row] for row in rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)


def counted_sections(models: dict[str, Any]) -> str:
    """Sections 1 and 2: operations and bytes, counted."""
    flops, frames = {name: update_flops(cfg) for name, cfg in models.items()}, frame_counts(SAMPLES)[2]
    parts = [[part, *(flops[name][part] / AUDIO_SECONDS / 1e9 for name in NAMES)] for part in flops["base"]]
    totals, held, stored = [], [], {}
    for name, cfg in models.items():
        forward, both = (sum(sum(v[:n]) for v in clip_flops(cfg, SAMPLES).values()) for n in (1, 2))
        row = [forward / CLIP_SECONDS / 1e9, both / CLIP_SECONDS / 1e9, both * CLIPS / 1e12]
        totals.append([name, f"{parameter_count(cfg):,}", *row, sum(flops[name].values()) / 1e12])
        for amp, precision in enumerate(("fp32", "amp")):
            row = update_bytes(cfg, CLIPS * frames, BATCHES, bool(amp))
            intensity = sum(flops[name].values()) / GPUS / row["moved"]
            held.append([name, precision, *(v / 1e9 for v in row.values()), intensity])
            stored[f"{cfg.mixer} {precision}"] = kept_bytes(*layer_sizes(cfg), bool(amp)) / 1e3
    stored["mhsa fp32, not fused"] = stored["mhsa fp32"] + 9 * cfg.encoder_attention_heads * frames / 1e3
    return f"""## 1. Operations

Matrix products and convolutions, a multiply-add being 2 FLOPs, held by the tests to torch's `FlopCounterMode` within
1 %. Backward is twice forward, but nothing for the filterbank and only the weights for the first convolution. Also:
Fourier transform (5/2 N log2 N), the quantizer's sum over all its entries, optimizer ({OPTIMIZER_FLOPS} a parameter).
One update: {GPUS} GPUs x {BATCHES} batches x {CLIPS} clips of {CLIP_SECONDS} s ({frames} frames).

GFLOP per second of audio, forward and backward:

{table("component; " + "; ".join(NAMES), parts)}

{table("recipe; parameters; forward, GFLOP per s; and backward; TFLOP per batch; TFLOP per update", totals)}

## 2. Bytes

One layer keeps for its backward pass, in kB a frame:

{table("; ".join(stored), [list(stored.values())])}

Inputs of products, norms and activations, and a byte an element of dropout masks. The tests hold fp32 to what autograd
keeps within 1 %; amp, where norms stay in fp32, is counted only. Attention that is not fused, as torch's on a CPU with
dropout, also keeps its weights before and after dropout and the mask: at least 9 H T bytes more, H heads, T = {frames}
frames. On a CPU norms, GLU and Swish of feed-forward and convolution are computed again: 8 F + 24 D + 32 bytes less.

GB of one GPU, without front end, quantizer and objective. Moved in an update, at least: kept activations written and
read once, weights read twice a batch, gradients added up, one optimizer step; all else stays in cache.

{table("recipe; precision; " + "; ".join(row) + "; FLOP per byte moved", held)}"""


def measured_section(measured: dict[str, Any]) -> str:
    """Section 3: what ``measure`` returned."""
    product, triad = median(measured["flops_per_second"]), median(measured["bytes_per_second"])
    timed, grouped, dearest = [], [], []
    for name, update in measured["updates"].items():
        taken, total = median(update["seconds"]), sum(update["groups"].values())
        rate, moved = update["flops"] / taken, update["moved"] / taken
        row = [f"{taken:.3g} ({min(update['seconds']):.3g} to {max(update['seconds']):.3g})", update["flops"] / 1e12]
        timed.append([name, *row, rate / 1e9, f"{rate / product:.1%}", moved / 1e9, f"{moved / triad:.1%}"])
        grouped.append([name, total / 1e3, *(f"{ms / total:.1%}" for ms in update["groups"].values())])
        dearest += [[name, f"`{op}`", ms, f"{ms / total:.1%}", f"{calls}"] for op, ms, calls in update["top"]]
    return f"""## 3. Measured

{measured["batch"]}; one batch an update, no LayerDrop. This machine multiplies the feed-forward's matrices (`torch.mm`)
at {product / 1e9:,.0f} GFLOP/s and runs a triad (c = a + 2 b, 256 MiB each) at {triad / 1e9:.3g} GB/s. Median (least to
most) of {len(measured["flops_per_second"])} rounds in which products, triad and models take turns.

{table("model; s per update; TFLOP counted; GFLOP/s; of `torch.mm`; GB/s, at least; of the triad", timed)}

Self time of one profiled update, by group and by its dearest operations:

{table("model; s; " + "; ".join(GROUPS), grouped)}

{table("model; operation; ms; share; calls", dearest)}"""


def derived_sections(models: dict[str, Any]) -> str:
    """Sections 4 and 5: what follows from the counts."""
    (a100, a100_bytes), (h100, h100_bytes) = DATASHEETS.values()
    run = {name: run_flops(cfg) for name, cfg in models.items()}
    share = run["base"] / (PAPER_SECONDS * GPUS * a100)
    rates = share * a100, share * h100, share * a100 * h100_bytes / a100_bytes
    hours = {name: [flops / (GPUS * rate) / 3600 for rate in rates] for name, flops in run.items()}
    seen, corpora = UPDATES * AUDIO_SECONDS / 3600, []
    for name, length in CORPORA_HOURS.items():
        more = length / CORPORA_HOURS["Libri-Light medium"]
        corpora.append([name, f"{length:,}", seen / length, more * UPDATES / 1e6, *(more * h for h in hours["base"])])
    dim, _, heads, *_ = layer_sizes(models["base"])
    ratios = ((r, max(0.0, dim * (r * (2 / heads + 0.5) - 2))) for r in (2, 3, 5, 10))
    crossings = [[f"attention > {r} x SummaryMixing", frames] for r, frames in ratios]
    for size in NAMES[::2]:
        quadratic, whole = crossing_frames(models[size])
        crossings += [[f"{size}: quadratic part > all else", quadratic], [f"{size}: attention > all else", whole]]
    lengths = []
    for label, seconds in (("10 s", 10), ("30 s", 30), ("1 min", 60), ("5 min", 300), ("1 h", 3600)):
        clips = [clip_flops(models[name], seconds * SAMPLE_RATE_HZ) for name in ("base", "base_mhsa")]
        whole = [sum(map(sum, clip.values())) for clip in clips]
        mixing = [f"{sum(clip['mixer']) / total:.1%}" for clip, total in zip(clips, whole)]
        lengths.append([label, *mixing, f"{sum(clips[0]['objective']) / whole[0]:.1%}", whole[1] / whole[0]])
    return f"""## 4. Prediction

Predicted from section 1, not measured. The paper reports a week on {GPUS} A100 for {UPDATES:,} updates: for `base`,
LayerDrop deducted, that is {share:.1%} of the datasheet's {a100 / 1e12:g} TFLOP/s (fp16, dense). Hours on {GPUS} GPUs
at that share (H100: {h100 / 1e12:g} TFLOP/s, bf16, dense); in the last column time falls only as memory bandwidth rises
({a100_bytes / 1e12:.3g} to {h100_bytes / 1e12:.3g} TB/s). At {CLIP_SECONDS} s a clip `base` has
{1 - run["base"] / run["base_mhsa"]:.1%} fewer operations than its twin; the paper reports 18 % less time.

{table("recipe; A100; H100, same share; H100, by bandwidth", ([name, *row] for name, row in hours.items()))}

A run hears {seen:,.0f} h. Hours of `base` for as many passes over a corpus as a run makes over the first:

{table("corpus; hours; passes in a run; million updates; A100; H100, same share; H100, by bandwidth", corpora)}

## 5. Clip length

Forward FLOPs of a layer of width D, feed-forward F, kernel K, H heads, over T frames (backward: twice): attention
8 D² T + 4 D T²; SummaryMixing (8/H + 2) D² T + 2 D²; feed-forward and convolution (8 D F + 6 D² + 2 K D) T. Attention's
quadratic part exceeds all else in the layer from T = 7/2 D + 2 F + K/2 (6/7 of it where a fused backward pass computes
the scores again), all of attention from T = 2 F - D/2 + K/2, r times SummaryMixing from T = D (r (2/H + 1/2) - 2).

{table("from where (0: always); frames; s", ([name, frames, frames / FRAMES_PER_SECOND] for name, frames in crossings))}

Share of a clip's FLOPs. The objective compares all pairs of masked frames: it is quadratic with either mixer.

{table("clip; mixer, `base`; mixer, `base_mhsa`; objective, `base`; `base_mhsa` / `base`", lengths)}"""


def main() -> int:
    """Measure, or read what was measured, and write the page."""
    parser = argparse.ArgumentParser(description="Write SCALING.md: what an update costs as work grows.")
    parser.add_argument("--output", type=Path, default=HERE / "SCALING.md", help="page; results/scaling.json beside it")
    parser.add_argument("--from-json", action="store_true", help="measure nothing: render that JSON anew")
    parser.add_argument("--clips", type=int, default=4, help="clips in a measured batch (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=15.0, help="length of each (default: %(default)s)")
    parser.add_argument(
        "--repeats", type=int, default=5, help="timed rounds, after one to warm up (default: %(default)s)"
    )
    args = parser.parse_args()
    if min(args.clips, args.seconds, args.repeats) < 1:
        parser.error("--clips, --seconds and --repeats must be at least 1")
    return command.run_script(lambda: _run(args), args.output.parent)


def _run(args: argparse.Namespace) -> str:
    results = args.output.parent / "results" / "scaling.json"
    if not args.from_json:
        measured = measure(("base", "base_mhsa"), args.clips, args.seconds, args.repeats)
        measured["command"] = " ".join(["python examples/benchmarks/scaling.py", *sys.argv[1:]])
        with files.atomic_write(results) as file:
            file.write(json.dumps(measured, indent=2) + "\n")
    elif not results.exists():
        raise InputError(f"{results}: no such file; measure first, without --from-json")
    measured, models = json.loads(results.read_text(encoding="utf-8")), {name: read_model(name) for name in NAMES}
    head = f"""# Cost as work grows

Sections 1, 2 and 5 are counted by hand, 3 is measured, 4 is predicted. Measured on {measured["date"]} by
`{measured["command"]}` on {measured["machine"]}."""
    sections = head, counted_sections(models), measured_section(measured), derived_sections(models)
    with files.atomic_write(args.output) as file:
        file.write("\n\n".join(sections) + "\n")
    return str(args.output)


if __name__ == "__main__":
    command.as_script(main)
