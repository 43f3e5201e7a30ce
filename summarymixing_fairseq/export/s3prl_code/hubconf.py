"""Entry of the upstream: `from s3prl.upstream.NAME.hubconf import *` in s3prl's hub.py, NAME this folder's."""

from pathlib import Path as _Path
from typing import Any as _Any

from .expert import UpstreamExpert as _UpstreamExpert


def summarymixing(ckpt: str = "", **options: _Any) -> _UpstreamExpert:
    """The encoder of this folder, or of another file of weights."""
    return _UpstreamExpert(ckpt or str(_Path(__file__).with_name("weights.pt")), **options)
