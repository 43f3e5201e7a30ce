"""Upstreams for s3prl: the checkpoint's states, from torch alone, and what s3prl's own tests of an upstream ask for."""

from __future__ import annotations

import ast
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

import pytest
import torch
from encoder_checkpoints import OURS, configuration, save

from summarymixing_fairseq.checkpoints.encoders import load_model
from summarymixing_fairseq.commands.main import main
from summarymixing_fairseq.export import check
from summarymixing_fairseq.export.formats.hf import hide_broken_torchaudio
from summarymixing_fairseq.export.formats.s3prl import load_hubconf


@pytest.fixture
def checkpoint(tmp_path, tiny_model):
    model = tiny_model(dropout=0.1, encoder_layerdrop=0.5)
    config = configuration(model, OURS, data="sentinel-folder", normalize=True)
    return save(tmp_path / "checkpoint.pt", config, model.state_dict())


@pytest.fixture
def folder(checkpoint, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(check, "LONG", 12.0)
    assert main(["export", str(checkpoint), str(tmp_path / "up"), "--to", "s3prl"]) == 0, capsys.readouterr().err
    return tmp_path / "up"


def test_states_of_clips_alone_and_together(checkpoint, folder):
    upstream = load_hubconf(folder).summarymixing().eval()
    assert upstream.get_downsample_rates("hidden_states") == 320
    clips = [torch.from_numpy(check.check_clip(seconds)) for seconds in (4.0, 1.3, 0.05)]
    with torch.no_grad():
        together = upstream(clips)["hidden_states"]
        alone = [upstream([clip])["hidden_states"] for clip in clips]
    padded = torch.nn.functional.pad(clips[2], (0, 560))  # to the samples of one frame
    for row, clip in enumerate((clips[0], clips[1], padded)):
        wanted = load_model(checkpoint).extract(clip.numpy(), "all")
        expected = -(-len(clips[row]) // 320)
        assert len(together) == len(alone[row]) == len(wanted) == 3
        for state, own, ours in zip(together, alone[row], wanted):
            assert own.shape[1] == expected
            frames = torch.arange(expected).clamp(max=len(ours) - 1)  # the last is repeated
            assert torch.allclose(own[0], ours[frames], atol=1e-5)
            assert torch.allclose(state[row, :expected], ours[frames], atol=1e-5)


def test_the_folder_needs_torch_alone(folder):
    for path in folder.glob("*.py"):
        if path.name == "use.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module] if isinstance(node, ast.ImportFrom) and not node.level else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                top = name.split(".")[0]
                assert top in ("torch", "numpy") or top in sys.stdlib_module_names, (path, name)
    assert not any(b"sentinel-folder" in path.read_bytes() for path in folder.glob("*"))


def test_a_recogniser_gives_its_encoder(toned, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(check, "LONG", 12.0)
    assert main(["export", str(toned), str(tmp_path / "up"), "--to", "s3prl"]) == 0, capsys.readouterr().err
    clip = check.check_clip(1.0)
    with torch.no_grad():
        found = load_hubconf(tmp_path / "up").summarymixing().eval()([torch.from_numpy(clip)])["last_hidden_state"]
    assert torch.allclose(found[0, :46], load_model(toned).extract(clip), atol=1e-6)


class Anything(torch.nn.Module):
    """In place of a function or class of torchaudio."""

    def __init__(self, *args, **options):
        super().__init__()


@pytest.fixture
def hub(folder, monkeypatch):
    """s3prl's upstreams with ours among them. torchaudio, which s3prl imports, need not load."""
    pytest.importorskip("s3prl")
    try:
        import torchaudio  # noqa: F401
    except (ImportError, OSError):
        hide_broken_torchaudio()
        from transformers import HubertModel, Wav2Vec2Model  # noqa: F401 # s3prl does; they find it missing

        for name in ("", ".compliance", ".compliance.kaldi", ".functional", ".sox_effects", ".transforms"):
            module = ModuleType(f"torchaudio{name}")
            module.__path__, module.__spec__ = [], ModuleSpec(module.__name__, None)
            module.__getattr__ = lambda name: Anything
            monkeypatch.setitem(sys.modules, module.__name__, module)
    from s3prl import hub

    monkeypatch.setattr(hub, "summarymixing", load_hubconf(folder).summarymixing, raising=False)
    return hub


def test_what_s3prl_asks_of_an_upstream(hub):
    """The checks of its test/test_upstream.py but the comparison with stored states, which is the first test above."""
    from s3prl.nn import Featurizer, S3PRLUpstream
    from s3prl.util.pseudo_data import get_pseudo_wavs

    model = S3PRLUpstream("summarymixing").eval()
    with torch.no_grad():
        first = model(*get_pseudo_wavs(seed=0, padded=True))[0]
        for state, again in zip(first, model(*get_pseudo_wavs(seed=0, padded=True))[0]):
            assert torch.allclose(state, again)  # deterministic in eval mode
    model.train()
    for seed in range(5):
        assert len(model(*get_pseudo_wavs(seed=seed, padded=True))[0]) == len(first)
    for seconds in ({"min_secs": 0.05, "max_secs": 0.05, "n": 1}, {"min_secs": 0.05, "max_secs": 1, "n": 3}):
        with torch.autograd.set_detect_anomaly(True):
            states, _ = S3PRLUpstream("summarymixing")(*get_pseudo_wavs(padded=True, **seconds))
            sum(state.sum() for state in states).backward()
    for chosen in (None, [0, 2]):
        featurizer = Featurizer(model, layer_selections=chosen, normalize=True)
        states, lengths = featurizer(*model(torch.randn(2, 64_000), torch.tensor([16_000, 64_000])))
        assert states.shape == (2, 200, 32) and lengths.tolist() == [50, 200]
    assert (featurizer.output_size, featurizer.downsample_rate) == (32, 320)


def test_a_head_of_superb_trains(hub):
    from s3prl.nn import Featurizer, MeanPoolingLinear, S3PRLUpstream
    from s3prl.nn.upstream import UpstreamDownstreamModel

    upstream = S3PRLUpstream("summarymixing")
    model = UpstreamDownstreamModel(upstream, Featurizer(upstream), MeanPoolingLinear(32, 3))
    optimizer = torch.optim.Adam([*model.featurizer.parameters(), *model.downstream.parameters()], 1e-3)
    waves, lengths, labels = torch.randn(3, 16_000), torch.tensor([16_000, 9_000, 12_000]), torch.tensor([0, 1, 2])
    losses = []
    for _ in range(2):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(waves, lengths), labels)
        loss.backward()
        optimizer.step()
        losses.append(float(loss))
    assert losses[1] < losses[0] and model.featurizer.weights.grad.abs().sum() > 0
