"""The graph of a model, for formats that hold one: waveforms to states or CTC scores, any batch and any length."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.fx.experimental import _config as fx_config

from ..data.reading import pad_batch
from ..models.stream import StreamStep
from ..system.errors import InputError, reason_of
from .check import check_clip
from .hf_code.waveform_encoder import encode
from .source import Source

INPUTS = ("waveform", "num_samples")


class Graph(nn.Module):
    """What is written: (B, num_samples) waveforms and (B,) valid samples -> one output for each of ``names``.

    Args:
        model: ours, its last LayerNorm in its encoder; head: of a recogniser; normalize: see ``normalise_waveform``.

    Attributes:
        names: logits with a head, else output and state_0, state_1, ...; then num_frames.
    """

    def __init__(self, model: Any, head: nn.Module | None, normalize: bool, num_states: int):
        super().__init__()
        self.model, self.head, self.normalize = model, head, normalize
        outputs = ["output", *(f"state_{n}" for n in range(num_states))] if head is None else ["logits"]
        self.names = [*outputs, "num_frames"]

    def forward(self, waveform: Tensor, num_samples: Tensor) -> tuple[Tensor, ...]:
        """Scores (B, T, symbols) with a head, else the output and all states (B, T, D); then (B,) valid frames."""
        x, states = encode(self.model, waveform, num_samples, self.normalize, self.head is None, any_lengths=True)
        outputs = [x, *states] if self.head is None else [self.head(x)]
        return (*outputs, self.model.feature_extractor.output_lengths(num_samples))


def graph_of(source: Source) -> Graph:
    """The graph of a checkpoint, of a model of its own, which may be changed."""
    encoder: Any = copy.deepcopy(source.our_encoder())
    model = encoder.model
    model.encoder.layer_norm = encoder.final_norm
    model.feature_extractor.filterbank.constants(torch.device("cpu"))  # made now, the graph holds them
    head = None if source.fine_tuned is None else source.fine_tuned.head
    return Graph(model, head, encoder.spec.normalize, encoder.num_states).eval().requires_grad_(False)


@torch.no_grad()
def traced(graph: nn.Module, source: Source, alone: bool = False) -> ExportedProgram:
    """The graph as torch writes it down, batch and length left open.

    Args:
        alone: it takes one waveform at a time (1, num_samples), and nothing else.

    Raises:
        InputError: where torch cannot, with its reason.
    """
    waveform, padding = pad_batch([check_clip(1.0), check_clip(0.7)], torch.device("cpu"))
    # with a smallest and a largest size (Dim) torch fixes the length, and gives no warning
    inputs: tuple[Tensor, ...] = (waveform, (~padding).sum(1))
    shapes: tuple[dict[int, Any], ...] = ({0: Dim.DYNAMIC, 1: Dim.DYNAMIC}, {0: Dim.DYNAMIC})
    if alone:
        inputs, shapes = (waveform[:1],), ({1: Dim.DYNAMIC},)
    return _program(graph, inputs, shapes, source)


@torch.no_grad()
def traced_step(step: StreamStep, source: Source) -> ExportedProgram:
    """A step of one stream, the length of its chunk left open. Raises InputError as ``traced``."""
    num_samples = step.feature_extractor.min_samples(8)
    waveform, state = torch.from_numpy(check_clip(1.0))[None, :num_samples], step.first_state()
    shapes = {"waveform": {1: Dim.DYNAMIC}, "heard": None, "state": (None,) * len(state)}
    return _program(step, (waveform, torch.tensor(8), *state), shapes, source)


def _program(module: nn.Module, inputs: tuple[Tensor, ...], shapes: Any, source: Source) -> ExportedProgram:
    try:
        # else a batch of one and a clip of one frame are left out
        with fx_config.patch(backed_size_oblivious=True):  # type: ignore[attr-defined]
            program = torch.export.export(module, inputs, dynamic_shapes=shapes)
    except Exception as error:  # a dozen kinds, and all mean one thing
        raise no_graph(source, error) from None
    # torch's guards on sizes only choose layouts in memory. A batch of one breaks them, though its results are right:
    # ``compare`` runs one.
    program._guards_code = []
    for part in program.graph_module.modules():
        if isinstance(part, torch.fx.GraphModule):
            for node in part.graph.nodes:
                node.meta.pop("stack_trace", None)  # it names this machine's folders
    return program


def no_graph(source: Source, error: Exception) -> InputError:
    """What is said where a model cannot be written as a graph."""
    return InputError(
        f"{source.path}: torch cannot make a graph of it: {reason_of(error)} (--to hf takes every mixer of this "
        "package, --to safetensors any model)"
    )
