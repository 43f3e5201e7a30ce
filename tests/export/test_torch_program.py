"""Programs of torch.export: the checkpoint's outputs, loaded by torch alone, any length and batch."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from encoder_checkpoints import OURS, configuration, save

from summarymixing_fairseq.checkpoints.encoders import load_model
from summarymixing_fairseq.commands.main import main
from summarymixing_fairseq.export import check

LOAD = """
import sys, torch
model = torch.export.load(sys.argv[1]).module()
torch.save(model(*torch.load(sys.argv[2])), sys.argv[3])
assert not {"fairseq", "summarymixing_fairseq"} & set(sys.modules)
"""


@pytest.fixture
def pretrained(tmp_path, tiny_model, monkeypatch):
    monkeypatch.setattr(check, "LONG", 12.0)
    model = tiny_model(encoder_layers=1)
    config = configuration(model, OURS, data="sentinel-folder", normalize=True)
    return save(tmp_path / "c.pt", config, model.state_dict())


def export(path: Path, folder: Path, capsys) -> str:
    assert main(["export", str(path), str(folder), "--to", "torch"]) == 0, capsys.readouterr().err
    return capsys.readouterr().out


@pytest.mark.long
def test_states_without_a_compiler(pretrained, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(shutil, "which", lambda name: None)  # not CXX, which torch reads once for all tests
    said = export(pretrained, tmp_path / "out", capsys)
    assert "model.pt2: checked against the checkpoint" in said and "no C++ compiler (g++, or CXX)" in said
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["README.md", "model.pt2", "use.py"]
    with zipfile.ZipFile(tmp_path / "out" / "model.pt2") as archive:
        for name in archive.namelist():
            content = archive.read(name)
            assert not any(word in content for word in (b"sentinel-folder", b".py", bytes(tmp_path))), name
    clips = [check.check_clip(2.0), check.check_clip(0.085)]  # the shorter one has one frame
    waveform = torch.full((2, 32_000), float("nan"))  # padding may hold anything
    for row, clip in zip(waveform, clips):
        row[: len(clip)] = torch.from_numpy(clip)
    torch.save((waveform, torch.tensor([len(clip) for clip in clips])), tmp_path / "in.pt")
    arguments = [tmp_path / "out" / "model.pt2", tmp_path / "in.pt", tmp_path / "out.pt"]
    subprocess.run([sys.executable, "-c", LOAD, *arguments], check=True, cwd=tmp_path, env={})
    *found, lengths = torch.load(tmp_path / "out.pt")
    assert lengths.tolist() == [96, 1]
    for row, clip in enumerate(load_model(pretrained).extract_batch(clips, "all")):
        for states, wanted in zip(found[1:], clip):
            assert (states[row, : len(wanted)] - wanted).abs().max() < 1e-5


@pytest.mark.long
def test_compiled(pretrained, tmp_path, capsys):
    said = export(pretrained, tmp_path / "out", capsys)
    if "no C++ compiler" in said:
        pytest.skip("no C++ compiler")
    assert "model.aot.pt2: checked against the checkpoint" in said
    assert "model.pt2 0." in said and "model.aot.pt2 0." in said and "checkpoint 0." in said
    with zipfile.ZipFile(tmp_path / "out" / "model.aot.pt2") as archive:
        for name in archive.namelist():
            assert not any(word in archive.read(name) for word in (b"sentinel-folder", bytes(tmp_path))), name
