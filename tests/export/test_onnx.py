"""ONNX graphs beside the checkpoint: any length and batch, states and scores."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from encoder_checkpoints import OURS, configuration, save

from summarymixing_fairseq.checkpoints.encoders import load_model
from summarymixing_fairseq.commands.main import main
from summarymixing_fairseq.export import check
from summarymixing_fairseq.export.formats.onnx import MatrixFilterbank
from summarymixing_fairseq.modules.filterbank import LogMelFilterbank


def test_the_matrix_is_the_fourier_transform():
    waveform = torch.from_numpy(check.check_clip(3.0))[None]
    plain = LogMelFilterbank()
    assert torch.allclose(MatrixFilterbank(plain)(waveform), plain(waveform), atol=2e-4)
    assert MatrixFilterbank(plain).output_lengths(torch.tensor([399, 400, 560])).tolist() == [0, 1, 2]


def export(path, folder, capsys) -> str:
    assert main(["export", str(path), str(folder), "--to", "onnx"]) == 0, capsys.readouterr().err
    return capsys.readouterr().out


@pytest.fixture
def runtime(monkeypatch):
    for name in ("onnx", "onnxscript"):
        pytest.importorskip(name)
    monkeypatch.setattr(check, "LONG", 100.0)  # beyond the frames that the feed-forward takes at a time
    return pytest.importorskip("onnxruntime")


@pytest.mark.long
@pytest.mark.parametrize("mixer", ["summarymixing"])
def test_states_of_all_layers(mixer, tmp_path, tiny_model, runtime, capsys):
    model = tiny_model(mixer=mixer)
    config = configuration(model, OURS, data="sentinel-folder", normalize=True)
    path = save(tmp_path / "c.pt", config, model.state_dict())
    said = export(path, tmp_path / "onnx", capsys)
    assert "0.2 s, 10 s, 100 s" in said and "real-time factor" in said
    written = (tmp_path / "onnx" / "model.onnx").read_bytes()
    assert b"sentinel-folder" not in written and b'File "' not in written  # torch notes where each node comes from
    session = runtime.InferenceSession(str(tmp_path / "onnx" / "model.onnx"))
    clips = [check.check_clip(2.0), check.check_clip(0.9), check.check_clip(1.3)]
    waveform = np.full((3, 32_000), np.nan, np.float32)  # padding may hold anything
    for row, clip in zip(waveform, clips):
        row[: len(clip)] = clip
    inputs = {"waveform": waveform, "num_samples": np.array([len(clip) for clip in clips])}
    states = session.run(["state_0", "state_1", "state_2"], inputs)
    for row, clip in enumerate(load_model(path).extract_batch(clips, "all")):
        for found, wanted in zip(states, clip):
            assert np.abs(found[row, : len(wanted)] - wanted.numpy()).max() < 1e-4


@pytest.mark.long
def test_scores_of_a_recogniser(toned, tmp_path, runtime, capsys):
    assert "largest difference" in export(toned, tmp_path / "onnx", capsys)
    assert (tmp_path / "onnx" / "tokens.txt").read_text().splitlines()[-1] == "| 6"
