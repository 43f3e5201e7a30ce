"""Names of the Hugging Face hub: out of a cache that is made up here, and by a huggingface_hub that is a stub."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from encoder_checkpoints import OURS, configuration, save

from summarymixing_fairseq.checkpoints.encoders import load_model
from summarymixing_fairseq.checkpoints.hf_folder import content_sha256
from summarymixing_fairseq.checkpoints.hub import on_disk
from summarymixing_fairseq.commands.main import main
from summarymixing_fairseq.export.formats.hf import HuggingFace
from summarymixing_fairseq.export.formats.safetensors import Safetensors
from summarymixing_fairseq.export.source import load_source
from summarymixing_fairseq.probing.mp3s.encoders import parse_encoders
from summarymixing_fairseq.system.errors import InputError

COMMIT = "0123456789abcdef" * 2 + "01234567"
NAME = Path("lab/summarymixing-v1.0")


@pytest.fixture
def checkpoint(tmp_path, tiny_model, monkeypatch):
    monkeypatch.setattr(HuggingFace, "packages", ())
    monkeypatch.chdir(tmp_path)
    for name in ("HF_HUB_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    model = tiny_model()
    return save(tmp_path / "checkpoint.pt", configuration(model, OURS), model.state_dict())


def put(files: dict[str, bytes], cache: Path) -> Path:
    """As huggingface_hub lays down a model: its snapshot."""
    folder = cache / "models--lab--summarymixing-v1.0"
    snapshot = folder / "snapshots" / COMMIT
    for place in (folder / "blobs", folder / "refs", snapshot):
        place.mkdir(parents=True)
    (folder / "refs" / "main").write_text(COMMIT)
    for name, content in files.items():
        git = hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
        blob = folder / "blobs" / (hashlib.sha256(content).hexdigest() if name.endswith(".safetensors") else git)
        blob.write_bytes(content)
        (snapshot / name).symlink_to(blob)
    return snapshot


def hf_files(checkpoint: Path) -> dict[str, bytes]:
    made = HuggingFace(load_source(checkpoint), checkpoint.parent / "hf")
    made.write()
    return {path.name: path.read_bytes() for path in made.files()}


def test_a_folder_in_the_cache(checkpoint, tmp_path, monkeypatch):
    put(hf_files(checkpoint), tmp_path / "home" / "hub")
    wave = torch.randn(8_000).numpy()
    assert torch.equal(load_model(str(NAME)).extract(wave), load_model(checkpoint).extract(wave))
    assert content_sha256(NAME) == content_sha256(tmp_path / "hf")
    (encoder,) = parse_encoders([str(NAME)])
    assert encoder.name == "summarymixing-v1" and encoder.path.is_absolute()
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "elsewhere"))
    with pytest.raises(InputError, match="no model in the Hugging Face cache .*elsewhere.*--download"):
        load_model(str(NAME))


def test_a_file_in_the_cache(checkpoint, tmp_path):
    Safetensors(load_source(checkpoint), tmp_path / "base.safetensors").write()
    files = {"base.safetensors": (tmp_path / "base.safetensors").read_bytes(), "README.md": b"# Base\n"}
    snapshot = put(files, tmp_path / "home" / "hub")
    assert load_model(NAME).spec == load_model(checkpoint).spec
    (snapshot / "other.pt").write_bytes(b"")
    with pytest.raises(InputError, match="holds 2 checkpoints, of which none is chosen"):
        load_model(NAME)


def test_paths_come_first(checkpoint, tmp_path):
    put(hf_files(checkpoint), tmp_path / "home" / "hub")
    (tmp_path / NAME).mkdir(parents=True)
    assert on_disk(NAME) == NAME
    for path in ("lab/checkpoint_best.pt", "name", "a/b/c", "../lab", "/lab/name", "lab/.."):
        assert on_disk(Path(path)) == Path(path)


def test_a_reference_that_leads_elsewhere(checkpoint, tmp_path):
    snapshot = put(hf_files(checkpoint), tmp_path / "home" / "hub")
    (snapshot.parents[1] / "refs" / "main").write_text("../../../..")
    with pytest.raises(InputError, match="is no path"):
        load_model(NAME)


@pytest.fixture
def hub(monkeypatch):
    """In place of huggingface_hub: ``hub.snapshot_download`` is to be set."""
    module = ModuleType("huggingface_hub")
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)
    return module


def test_downloading_by_hashes(checkpoint, tmp_path, hub, capsys):
    files = hf_files(checkpoint)
    hub.snapshot_download = lambda name: str(put(files, tmp_path / "home" / "hub"))
    assert main(["export", str(NAME), "a.safetensors", "--download"]) == 0
    assert load_model(tmp_path / "a.safetensors").spec == load_model(checkpoint).spec
    for name in ("model.safetensors", "config.json"):
        file = on_disk(NAME) / name
        content = file.read_bytes()
        file.resolve().write_bytes(content[:-1] + b" ")
        hub.snapshot_download = lambda name: str(on_disk(NAME))
        assert main(["export", str(NAME), "b.safetensors", "--download"]) == 1
        assert f"{name} is not what the hub has: delete {file.resolve()}, " in capsys.readouterr().err
        file.resolve().write_bytes(content)


@pytest.mark.parametrize("links", [0, 2])
def test_caches_of_other_layouts(checkpoint, tmp_path, hub, links):
    """Without links, or with one more, to a store that models share under other names."""
    snapshot = put(hf_files(checkpoint), tmp_path / "home" / "hub")
    for file in list(snapshot.iterdir()):
        if links:
            stored = file.resolve()
            stored.rename(tmp_path / f"{file.name}-{'0' * 64}")
            stored.symlink_to(tmp_path / f"{file.name}-{'0' * 64}")
        else:
            content = file.read_bytes()
            file.unlink()
            file.write_bytes(content)
    hub.snapshot_download = lambda name: str(snapshot)
    assert main(["export", str(NAME), "a.safetensors", "--download"]) == 0
    assert load_model(tmp_path / "a.safetensors").spec == load_model(checkpoint).spec


def test_downloads_that_fail(checkpoint, hub, monkeypatch, capsys):
    def refuse(name):
        raise ConnectionError("no route\nto the host")

    hub.snapshot_download = refuse
    assert main(["export", str(NAME), "a.safetensors", "--download"]) == 1
    assert capsys.readouterr().err.endswith(f"{NAME} cannot be downloaded: no route\n")
    assert main(["export", "checkpoint.pt", "a.safetensors", "--download"]) == 1
    assert "not a name ORG/NAME" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert main(["export", str(NAME), "a.safetensors", "--download"]) == 1
    assert "summarymixing-fairseq[hub]" in capsys.readouterr().err
