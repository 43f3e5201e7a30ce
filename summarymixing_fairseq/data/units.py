"""Units: the number of the nearest of K centroids for each frame of a layer; and the file that holds the centroids."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..system.errors import InputError
from ..system.files import atomic_write
from ..system.strict_json import to_json

CENTROIDS, METADATA_KEY = "centroids", "summarymixing_units"


@dataclass(frozen=True)
class About:
    """Where centroids come from.

    Attributes:
        layer: whose frames they are of: a number, or "output"; encoder: what it is, one line.
        weights_sha256: of the encoder's weights (``Encoder.weights_digest``), in hexadecimal.
        seed: of the clustering; num_frames: that were clustered.
    """

    layer: int | str
    encoder: str
    weights_sha256: str
    seed: int
    num_frames: int

    @classmethod
    def from_dict(cls, values: Any) -> About:
        """Out of ``asdict``'s. Raises TypeError for a field that is missing, unknown or of another type."""
        about = cls(**values)
        whole = [about.seed, about.num_frames, *([] if about.layer == "output" else [about.layer])]
        if {*map(type, whole)} != {int} or {type(about.encoder), type(about.weights_sha256)} != {str}:
            raise TypeError("a field of another type")
        return about


@dataclass(frozen=True)
class Units:
    """Centroids, (clusters, width) float32, and where they come from."""

    centroids: np.ndarray
    about: About

    def __len__(self) -> int:
        return len(self.centroids)

    def assign(self, frames: np.ndarray) -> np.ndarray:
        """(T, width) float32, finite -> (T,) numbers of the nearest centroids, by the Euclidean distance."""
        from sklearn.metrics import pairwise_distances_argmin  # takes a second

        return pairwise_distances_argmin(frames, self.centroids)

    def check_encoder(self, weights_sha256: str, state_dim: int, path: Path) -> None:
        """Check that an encoder is the one whose frames were clustered.

        Args:
            weights_sha256: see ``About``; state_dim: width of its states; path: of the file of units, for the message.

        Raises:
            InputError: if it is another one.
        """
        if weights_sha256 != self.about.weights_sha256 or state_dim != self.centroids.shape[1]:
            raise InputError(
                f"{path} holds units of other weights ({self.about.encoder}, layer {self.about.layer}): name the "
                "checkpoint that they were fitted on, or fit them on this one"
            )


def write_units(units: Units, path: Path) -> None:
    """Write centroids as safetensors, with where they come from as its metadata. The same units give the same bytes.

    Raises:
        InputError: if the file cannot be written.
    """
    from safetensors.numpy import save

    with atomic_write(path, "wb") as file:
        # one entry of metadata: safetensors gives several no fixed order
        file.write(
            save({CENTROIDS: np.ascontiguousarray(units.centroids)}, {METADATA_KEY: to_json(asdict(units.about))})
        )


def read_units(path: Path) -> Units:
    """What ``write_units`` wrote.

    Raises:
        InputError: for a file that is missing, damaged, or no units.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="np") as file:
            metadata = file.metadata() or {}
            centroids = file.get_tensor(CENTROIDS) if METADATA_KEY in metadata else None
        about = About.from_dict(json.loads(metadata.get(METADATA_KEY, "null")))
    except OSError as error:
        reason = "it is a folder" if path.is_dir() else "no such file" if not path.exists() else error.strerror or error
        raise InputError(f"{path} cannot be read: {reason}") from None
    except (SafetensorError, TypeError, ValueError, RecursionError):
        centroids = None
    if (
        centroids is None
        or centroids.dtype != np.float32
        or centroids.ndim != 2
        or not centroids.size
        or not np.isfinite(centroids).all()
    ):
        raise InputError(f"{path} holds no units: make it by `summarymixing units fit`")
    return Units(centroids, about)
