"""ONNX graphs beside the checkpoint: any mixer, length and batch, states and scores, and products in 8 bits."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from encoder_checkpoints import OURS, configuration, save

from summarymixing_fairseq.checkpoints.encoders import load_model
from summarymixing_fairseq.commands.main import main
from summarymixing_fairseq.export import check
from summarymixing_fairseq.export.formats.onnx import MatrixFilterbank, Onnx
from summarymixing_fairseq.modules.filterbank import LogMelFilterbank
from summarymixing_fairseq.modules.mixing import MIXERS
from summarymixing_fairseq.modules.mixing.summarymixing import MODES

# the highest that onnxruntime 1.20 reads
IR_VERSION = 10


def test_the_matrix_is_the_fourier_transform():
    waveform = torch.from_numpy(check.check_clip(3.0))[None]
    plain = LogMelFilterbank()
    assert torch.allclose(MatrixFilterbank(plain)(waveform), plain(waveform), atol=2e-4)
    assert MatrixFilterbank(plain).output_lengths(torch.tensor([399, 400, 560])).tolist() == [0, 1, 2]


def export(path, folder, capsys, *options) -> str:
    assert main(["export", str(path), str(folder), "--to", "onnx", *map(str, options)]) == 0, capsys.readouterr().err
    return capsys.readouterr().out


def test_where_8_bits_do_not_go(toned, tmp_path, tiny_model, labelled, monkeypatch, capsys):
    monkeypatch.setattr(Onnx, "packages", ())
    model = tiny_model()
    pretrained = save(tmp_path / "c.pt", configuration(model, OURS), model.state_dict())
    for path, to, manifest, message in (
        (toned, "safetensors", labelled, "--int8 is of use with --to onnx only"),
        (pretrained, "onnx", labelled, "c.pt is no recogniser"),
        (toned, "onnx", tmp_path / "none.tsv", "none.tsv cannot be read"),
    ):
        assert main(["export", str(path), str(tmp_path / "out"), "--to", to, "--int8", str(manifest)]) == 1
        assert message in capsys.readouterr().err
    (tmp_path / "test.wrd").unlink()
    assert main(["export", str(toned), str(tmp_path / "out"), "--to", "onnx", "--int8", str(labelled)]) == 1
    assert "test.tsv has no references" in capsys.readouterr().err and not (tmp_path / "out").exists()


@pytest.fixture
def runtime(monkeypatch):
    for name in ("onnx", "onnxscript"):
        pytest.importorskip(name)
    monkeypatch.setattr(check, "LONG", 100.0)  # beyond what modules take at a time
    return pytest.importorskip("onnxruntime")


@pytest.mark.long
def test_states_of_all_layers(tmp_path, tiny_model, runtime, capsys):
    import onnx

    model = tiny_model()
    config = configuration(model, OURS, data="sentinel-folder", normalize=True)
    path = save(tmp_path / "c.pt", config, model.state_dict())
    said = export(path, tmp_path / "onnx", capsys)
    assert "0.2 s, 10 s, 100 s" in said and "real-time factor" in said
    written = (tmp_path / "onnx" / "model.onnx").read_bytes()
    assert b"sentinel-folder" not in written and b'File "' not in written  # torch notes where each node comes from
    assert onnx.load(tmp_path / "onnx" / "model.onnx").ir_version <= IR_VERSION
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
@pytest.mark.parametrize("mixer", [*sorted(MIXERS), *(f"summarymixing, {mode}" for mode in MODES if mode != "full")])
def test_every_mixer_goes(mixer, tmp_path, tiny_model, runtime, capsys):
    """The command compares clips of 0.2 s, 10 s and 100 s, and a padded batch, to 1e-4."""
    name, _, mode = mixer.partition(", ")
    model = tiny_model(encoder_layers=1, mixer=name, summary_mode=mode or "full")
    path = save(tmp_path / "c.pt", configuration(model, OURS), model.state_dict())
    assert "and in a padded batch: largest difference" in export(path, tmp_path / "onnx", capsys)


@pytest.mark.long
def test_a_recogniser_and_its_8_bits(toned, tmp_path, runtime, labelled, capsys):
    import onnx

    said = export(toned, tmp_path / "onnx", capsys, "--int8", labelled)
    assert "largest difference" in said
    assert (tmp_path / "onnx" / "tokens.txt").read_text().splitlines()[-1] == "| 6"
    rows = re.findall(r"(\S+): ([\d,]+) bytes, CER ([\d.]+) %, real-time factor [\d.]+ \(3 clips of test.tsv", said)
    assert [name for name, *_ in rows] == ["model.onnx", "model.int8.onnx"]
    sizes = [int(size.replace(",", "")) for _, size, _ in rows]
    assert sizes[1] < sizes[0] / 2 and all(float(rate) < 10 for *_, rate in rows)
    graph = onnx.load(tmp_path / "onnx" / "model.int8.onnx")
    assert graph.ir_version <= IR_VERSION and [one.domain for one in graph.opset_import] == [""]
    operations = [node.op_type for node in graph.graph.node]
    # the filterbank and the layer of scores stay as they are, and so do convolutions
    assert operations.count("MatMul") == 2 and "MatMulInteger" in operations and "ConvInteger" not in operations
