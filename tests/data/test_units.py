"""Units: nearest centroids, the file of centroids, and the text files."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from summarymixing_fairseq.data.unit_files import check_dictionary, dictionary_text, runs, unit_texts
from summarymixing_fairseq.data.units import METADATA_KEY, About, Units, read_units, write_units
from summarymixing_fairseq.system.errors import InputError

ABOUT = About(layer=3, encoder="hubert, 6 layers of 4", weights_sha256="ab" * 32, seed=1, num_frames=50)
CENTROIDS = np.random.default_rng(1).normal(size=(5, 4)).astype(np.float32)


def test_nearest_centroids_against_the_formula() -> None:
    frames = np.random.normal(size=(200, 4)).astype(np.float32)
    distances = ((frames[:, None].astype(np.float64) - CENTROIDS) ** 2).sum(-1)
    np.testing.assert_array_equal(Units(CENTROIDS, ABOUT).assign(frames), distances.argmin(1))


@pytest.mark.parametrize("layer", [3, "output"])
def test_what_is_written_is_read_and_the_bytes_are_the_same(tmp_path: Path, layer: int | str) -> None:
    units = Units(CENTROIDS, replace(ABOUT, layer=layer))
    for name in ("a", "b"):
        write_units(units, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    found = read_units(tmp_path / "a")
    assert found.about == units.about and len(found) == 5
    np.testing.assert_array_equal(found.centroids, CENTROIDS)


BROKEN = {
    "no about": (CENTROIDS, None),
    "no JSON": (CENTROIDS, "{"),
    "a list": (CENTROIDS, "[]"),
    "nested": (CENTROIDS, "[" * 100_000),
    "a field missing": (CENTROIDS, json.dumps({"layer": 1})),
    "a field too many": (CENTROIDS, json.dumps({**asdict(ABOUT), "more": 1})),
    **{
        f"{name}={value!r}": (CENTROIDS, json.dumps({**asdict(ABOUT), name: value}))
        for name, value in (("layer", "all"), ("layer", True), ("layer", [1]), ("encoder", 1), ("seed", "1"))
    },
    "one dimension": (CENTROIDS[0], json.dumps(asdict(ABOUT))),
    "none": (CENTROIDS[:0], json.dumps(asdict(ABOUT))),
    "float64": (CENTROIDS.astype(np.float64), json.dumps(asdict(ABOUT))),
    "not finite": (CENTROIDS * np.float32("nan"), json.dumps(asdict(ABOUT))),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_file_of_units_is_one_line(tmp_path: Path, name: str) -> None:
    centroids, about = BROKEN[name]
    path = tmp_path / "units.safetensors"
    save_file({"centroids": centroids}, path, None if about is None else {METADATA_KEY: about})
    with pytest.raises(InputError, match="units.safetensors holds no units: make it by `summarymixing units fit`"):
        read_units(path)


def test_files_of_other_kinds(tmp_path: Path) -> None:
    path = tmp_path / "units.safetensors"
    with pytest.raises(InputError, match="units.safetensors cannot be read: no such file"):
        read_units(path)
    with pytest.raises(InputError, match="cannot be read: it is a folder"):
        read_units(tmp_path)
    path.write_bytes(b"no safetensors")
    with pytest.raises(InputError, match="holds no units"):
        read_units(path)
    save_file({"others": CENTROIDS}, path, {METADATA_KEY: json.dumps(asdict(ABOUT))})
    with pytest.raises(InputError, match="holds no units"):
        read_units(path)


def test_another_encoder_is_refused() -> None:
    units = Units(CENTROIDS, ABOUT)
    units.check_encoder(ABOUT.weights_sha256, 4, Path("u"))
    for digest, width in (("cd" * 32, 4), (ABOUT.weights_sha256, 5)):
        with pytest.raises(InputError, match=r"u holds units of other weights \(hubert, 6 layers of 4, layer 3\)"):
            units.check_encoder(digest, width, Path("u"))


@pytest.mark.parametrize("row", [[3], [1, 1, 1], [0, 1, 1, 0, 0, 0, 2], [0, 0, 5]])
def test_runs_against_a_loop(row: list[int]) -> None:
    expected: list[list[int]] = []
    for unit in row:
        if expected and expected[-1][0] == unit:
            expected[-1][1] += 1
        else:
            expected.append([unit, 1])
    units, num_frames = runs(np.array(row))
    assert [list(pair) for pair in zip(units, num_frames)] == expected


def test_texts() -> None:
    clips = [np.array([4, 4, 0]), np.array([1])]
    assert unit_texts(clips, "dev", collapse=False) == {"dev.km": "4 4 0\n1\n"}
    assert unit_texts(clips, "dev", collapse=True) == {
        "dev.km": "4 4 0\n1\n",
        "dev.runs": "4 0\n1\n",
        "dev.durations": "2 1\n1\n",
    }


def test_the_dictionary_of_a_folder_is_shared(tmp_path: Path) -> None:
    path = tmp_path / "dict.km.txt"
    check_dictionary(path, 3)
    path.write_text(dictionary_text(3))
    assert path.read_text() == "0 1\n1 1\n2 1\n"
    check_dictionary(path, 3)
    with pytest.raises(InputError, match=r"dict\.km\.txt is not of 4 units"):
        check_dictionary(path, 4)
