"""`fairseq-hydra-train` with fairscale's sharded weights and no GPU: CUDA streams do nothing, all else is real."""

from __future__ import annotations

import contextlib
import sys
from typing import Any


class _Stream:
    def wait_stream(self, other: Any) -> None:
        pass

    def synchronize(self) -> None:
        pass


_STREAM = _Stream()


class _Streams(dict):
    """Any stream, and no sign that one was asked for, by which fairscale knows that it has set all up."""

    def __missing__(self, name: str) -> _Stream:
        return _STREAM


def install() -> None:
    """Put the streams in place."""
    import torch
    import torch.distributed as dist
    from fairscale.nn.data_parallel import fully_sharded_data_parallel as sharded

    torch.cuda.current_stream = lambda *_: _STREAM
    torch.cuda.stream = lambda _: contextlib.nullcontext()
    torch.cuda.synchronize = lambda *_: None
    torch.Tensor.record_stream = lambda *_: None
    torch.Tensor.cuda = lambda tensor, *_, **__: tensor
    streams = _Streams()
    sharded._get_default_cuda_device = lambda _: torch.device("cpu")
    sharded.FullyShardedDataParallel._streams = property(lambda _: streams, lambda *_: None)
    scatter = dist.reduce_scatter_tensor  # gloo's takes one dimension
    dist._reduce_scatter_base = lambda output, given, group=None: scatter(output.view(-1), given.view(-1), group=group)


if __name__ == "__main__":
    install()
    from fairseq_cli.hydra_train import cli_main

    sys.exit(cli_main())
