"""The probe: a frozen encoder that nothing changes, one that learns, and the same scores whatever the batch."""

from __future__ import annotations

import hashlib
import math

import pytest
import torch
from omegaconf import OmegaConf
from probes import OURS, build_probe, probe_config, save_encoder, states_of_model, stock_model
from reference import assert_near
from torch import nn

from summarymixing_fairseq.probing.heads import HEADS
from summarymixing_fairseq.probing.model import SslProbe, pooled_states
from summarymixing_fairseq.system.errors import InputError

NUM_SAMPLES = [9_043, 7_600, 6_400]  # of ours 25, 20 and 16 frames: the x-vector needs 15
ENCODERS = {
    "summarymixing": (OURS, {"mixer": "summarymixing"}),
    "mhsa": (OURS, {"mixer": "mhsa"}),
    "wav2vec2": ("wav2vec2", {}),
    "hubert": ("hubert", {"extractor_mode": "layer_norm", "layer_norm_first": True}),
}
SOME_HEADS = ("linear_ctc", "mean_linear", "ecapa")  # scores a frame, of the mean, with embeddings
# the encoder's dropouts and masks are on in the checkpoint: a frozen one must leave them off
DROPOUTS = {"dropout": 0.3, "attention_dropout": 0.3, "dropout_input": 0.3, "encoder_layerdrop": 0.3, "mask_prob": 0.65}


@pytest.fixture(scope="module")
def encoders(tiny_model, tmp_path_factory):
    """Checkpoint and model by name."""
    folder = tmp_path_factory.mktemp("encoders")
    torch.manual_seed(3)
    made = {}
    for name, (kind, changes) in ENCODERS.items():
        model = tiny_model(**changes, **DROPOUTS) if kind == OURS else stock_model(kind, **changes, **DROPOUTS)
        made[name] = save_encoder(folder / f"{name}.pt", model, kind), model
    return made


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor, list[torch.Tensor]]:
    """source (B, num_samples) with garbage in the padding, padding_mask, and the clips one by one."""
    clips = [torch.randn(length) * 0.1 for length in NUM_SAMPLES]
    source = torch.full((len(clips), max(NUM_SAMPLES) + 500), float("nan"))
    padding_mask = torch.ones(source.shape, dtype=torch.bool)
    for row, clip in enumerate(clips):
        source[row, : len(clip)] = clip
        padding_mask[row, : len(clip)] = False
    return source, padding_mask, clips


def hashes(module: nn.Module) -> dict[str, str]:
    """Of every parameter and buffer, those that its state leaves out too."""
    tensors = [*module.named_parameters(), *module.named_buffers()]
    return {name: hashlib.sha256(tensor.detach().numpy().tobytes()).hexdigest() for name, tensor in tensors}


def randomised(probe: SslProbe) -> SslProbe:
    """Norms and statistics of the head, and layer weights, away from their start; eval mode."""
    for module in probe.head.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.running_mean.normal_(0.0, 0.3)
            module.running_var.uniform_(0.5, 2.0)
    nn.init.normal_(probe.weighted_sum.logits)
    return probe.eval()


def train(probe: SslProbe, batch, steps: int = 3) -> None:
    source, padding_mask, _ = batch
    optimizer = torch.optim.Adam([p for p in probe.parameters() if p.requires_grad], 0.01)
    probe.train()
    for _ in range(steps):
        optimizer.zero_grad()
        output = probe(source=source, padding_mask=padding_mask)
        scores = output["scores"]
        if output["padding_mask"] is not None and scores.dim() == 3:
            scores = scores[~output["padding_mask"]]
        scores.square().mean().backward()
        optimizer.step()


@pytest.mark.parametrize("name", ENCODERS)
def test_frozen_encoder_never_changes(encoders, batch, name):
    probe = build_probe(encoders[name][0], "ecapa")
    before, head_before = hashes(probe.encoder), hashes(probe.head)
    logits_before = probe.weighted_sum.logits.detach().clone()
    train(probe, batch)
    assert len(before) > 10 and hashes(probe.encoder) == before
    assert all(value != head_before[key] for key, value in hashes(probe.head).items())
    assert not torch.equal(probe.weighted_sum.logits, logits_before)
    assert all(parameter.grad is None for parameter in probe.encoder.parameters())


@pytest.mark.parametrize("name", ENCODERS)
def test_frozen_encoder_is_in_eval_mode_while_the_head_trains(encoders, batch, name):
    probe = build_probe(encoders[name][0], "bilstm_mean").train()
    assert probe.head.training and probe.weighted_sum.training
    assert not any(module.training for module in probe.encoder.modules())
    source, padding_mask, _ = batch
    states, _ = probe.encode(source, padding_mask)
    assert not any(state.requires_grad for state in states)
    again, _ = probe.encode(source, padding_mask)
    assert all(torch.equal(state, other) for state, other in zip(states, again))


@pytest.mark.parametrize("mixer", ["summarymixing", "mhsa"])
@pytest.mark.parametrize("freeze", [True, False])
def test_states_are_the_encoders_own(encoders, batch, mixer, freeze):
    """In training too: nothing is masked or dropped, although the checkpoint's configuration does both."""
    path, model = encoders[mixer]
    probe = build_probe(path, "mean_linear", freeze=freeze).train()
    states, frame_padding = probe.encode(*batch[:2])
    with torch.no_grad():
        longest = max(NUM_SAMPLES)
        expected, expected_padding = states_of_model(model, batch[0][:, :longest], batch[1][:, :longest])
    assert torch.equal(frame_padding, expected_padding)
    assert len(states) == len(expected) == 3
    for state, own in zip(states, expected):
        assert_near(state.detach()[~frame_padding], own[~frame_padding], 1e-5)


def test_encoder_that_is_not_frozen_learns(encoders, batch):
    for name, (path, _) in encoders.items():
        probe = build_probe(path, "mean_linear", freeze=False)
        before = hashes(probe.encoder)
        with torch.no_grad():
            probe.weighted_sum.logits.normal_()
        train(probe, batch, steps=1)
        assert probe.encoder.training
        parameters = dict(probe.encoder.named_parameters())
        same = [key for key, value in hashes(probe.encoder).items() if value == before[key] and key in parameters]
        # fairseq's attention has a bias of its keys, which no softmax feels
        assert [key for key in same if not key.endswith("k_proj.bias")] == [], name
        assert all(parameter.grad is not None for parameter in parameters.values()), name


def test_dropout_of_an_encoder_that_learns(encoders, batch):
    probe = build_probe(encoders["mhsa"][0], "mean_linear", freeze=False, encoder_dropout=0.5).train()
    first, second = (probe.encode(*batch[:2])[0][-1].detach() for _ in range(2))
    assert not torch.equal(first, second)
    frozen = build_probe(encoders["mhsa"][0], "mean_linear", encoder_dropout=0.5).train()
    first, second = (frozen.encode(*batch[:2])[0][-1] for _ in range(2))
    assert torch.equal(first, second)
    with pytest.raises(InputError, match="dropout=1.5: must be a probability"):
        build_probe(encoders["mhsa"][0], "mean_linear", freeze=False, encoder_dropout=1.5)


@pytest.mark.parametrize(
    "name, layer_norm", [*((name, False) for name in ENCODERS), ("summarymixing", True)], ids=[*ENCODERS, "layer_norm"]
)
def test_batch_equals_each_clip_alone(encoders, batch, name, layer_norm):
    source, padding_mask, clips = batch
    for head in HEADS if name == "summarymixing" and not layer_norm else SOME_HEADS:
        probe = randomised(build_probe(encoders[name][0], head, layer_norm=layer_norm))
        with torch.no_grad():
            output = probe(source=source, padding_mask=padding_mask)
            num_valid = (~output["padding_mask"]).sum(1).tolist()
            assert num_valid == probe.encoder.output_lengths(torch.tensor(NUM_SAMPLES)).tolist()
            for row, clip in enumerate(clips):
                alone = probe(source=clip[None])
                scores = output["scores"][row]
                if probe.head.is_frame_level:
                    scores = scores[: num_valid[row]]
                assert_near(scores, alone["scores"][0], 1e-5, head)
                if "embeddings" in output:
                    assert_near(output["embeddings"][row], alone["embeddings"][0], 1e-5, head)


@pytest.mark.parametrize("layer_norm", [False, True], ids=["plain", "layer_norm"])
@pytest.mark.parametrize("head", SOME_HEADS)
def test_states_path_equals_source_path(encoders, batch, head, layer_norm):
    """Whatever the padded frames of the states hold."""
    probe = randomised(build_probe(encoders["mhsa"][0], head, layer_norm=layer_norm))
    with torch.no_grad():
        expected = probe(*batch[:2])["scores"]
        states, frame_padding = probe.encode(*batch[:2])
        stacked = torch.stack(states, 1)
        garbage = stacked.masked_fill(frame_padding[:, None, :, None], float("nan"))
        for given in (stacked, garbage):
            scores = probe(states=given, padding_mask=frame_padding)["scores"]
            if probe.head.is_frame_level:
                scores = scores.masked_fill(frame_padding[..., None], 0.0)
                expected = expected.masked_fill(frame_padding[..., None], 0.0)
            assert_near(scores, expected, 1e-6, head)


@pytest.mark.parametrize("layer_norm", [False, True], ids=["plain", "layer_norm"])
def test_pooled_states_are_all_that_mean_linear_needs(encoders, batch, layer_norm):
    probe = randomised(build_probe(encoders["summarymixing"][0], "mean_linear", layer_norm=layer_norm))
    assert probe.head.takes_mean
    with torch.no_grad():
        expected = probe(*batch[:2])["scores"]
        states, frame_padding = probe.encode(*batch[:2])
        pooled = pooled_states(states, frame_padding)
        assert [state.shape for state in pooled] == [(3, 1, 32)] * 3
        assert_near(pooled[1][2, 0], states[1][2, ~frame_padding[2]].mean(0), 1e-6)
        assert_near(probe(states=torch.stack(pooled, 1))["scores"], expected, 1e-6)
        alone = pooled_states([state[:1] for state in states], None)
        assert_near(alone[0][0, 0], states[0][0].mean(0), 1e-6)


def test_layer_norm_normalises_each_state(encoders, batch):
    path = encoders["summarymixing"][0]
    plain, normed = (build_probe(path, "mean_linear", layer_norm=layer_norm) for layer_norm in (False, True))
    states, frame_padding = plain.encode(*batch[:2])
    normalised, _ = normed.encode(*batch[:2])
    for state, own in zip(states, normalised):
        assert_near(own[~frame_padding], nn.functional.layer_norm(state, (32,))[~frame_padding], 1e-6)
    assert not any("norm" in name for name, _ in normed.weighted_sum.named_parameters())


@pytest.mark.parametrize("name", ["summarymixing", "wav2vec2", "hubert"])
def test_final_norm_is_of_the_last_state_alone(encoders, batch, name):
    """Where the encoder has one: layers of wav2vec2 here end in their own."""
    path, _ = encoders[name]
    states, frame_padding = build_probe(path, "mean_linear").encode(*batch[:2])
    probe = build_probe(path, "mean_linear", final_norm=True)
    norm = probe.encoder.final_norm
    assert (norm is None) is (name == "wav2vec2")
    if norm is not None:
        norm.weight.normal_()
        norm.bias.normal_()
        assert build_probe(path, "mean_linear", final_norm=True, random_encoder=True).encoder.final_norm is not None
    normed, _ = probe.encode(*batch[:2])
    expected = states[-1] if norm is None else norm(states[-1])
    assert all(torch.equal(state, own) for state, own in zip(states[:-1], normed))
    assert torch.equal(expected, normed[-1])


def test_parameter_groups_and_equal_weights_at_the_start(encoders):
    probe = build_probe(encoders["summarymixing"][0], "mean_linear")
    groups = {name: parameter.param_group for name, parameter in probe.named_parameters()}
    assert {
        group: {name.split(".")[0] for name, own in groups.items() if own == group} for group in groups.values()
    } == {"encoder": {"encoder"}, "layer_weights": {"weighted_sum"}, "head": {"head"}}
    assert probe.layer_weights() == pytest.approx([1 / 3] * 3)


def test_gates_of_an_encoder_say_how_much_is_the_summary(tiny_model, tmp_path):
    model = tiny_model(summary_gate=True)
    model.encoder.layers[1].mixer.gate_logit.data.fill_(math.log(3) / 10)
    path = save_encoder(tmp_path / "gated.pt", model)
    assert build_probe(path, "mean_linear").summary_shares() == pytest.approx([0.5, 0.75])


def test_gates_are_those_of_their_layers(tiny_model, tmp_path):
    hybrid = save_encoder(tmp_path / "hybrid.pt", tiny_model(mixers=["none", "summarymixing"], summary_gate=True))
    assert build_probe(hybrid, "mean_linear").summary_shares() == [None, 0.5]
    plain = save_encoder(tmp_path / "plain.pt", tiny_model())
    assert build_probe(plain, "mean_linear").summary_shares() == []


def test_probabilities_have_fairseqs_axes(encoders, batch):
    probe = build_probe(encoders["mhsa"][0], "linear_ctc").eval()
    output = probe(*batch[:2])
    log_probs = probe.get_normalized_probs(output, log_probs=True)
    assert log_probs.shape == (25, 3, 5)
    assert_near(log_probs[4, 1].exp().sum(), torch.tensor(1.0), 1e-6)
    assert torch.equal(log_probs.argmax(-1).transpose(0, 1), output["scores"].argmax(-1))
    assert_near(probe.get_normalized_probs(output, log_probs=False), log_probs.exp(), 1e-6)
    clip_level = build_probe(encoders["mhsa"][0], "mean_linear").eval()
    assert clip_level.get_normalized_probs(clip_level(*batch[:2]), log_probs=True).shape == (3, 5)


def test_features_that_are_not_finite_are_named(encoders, batch):
    probe = build_probe(encoders["mhsa"][0], "linear_ctc")
    with torch.no_grad():
        next(iter(probe.encoder.model.encoder.layers[1].parameters())).fill_(float("nan"))
    with pytest.raises(InputError, match="weighted sum of the encoder's features is not finite"):
        probe(*batch[:2])


def test_built_from_a_checkpoint_without_the_encoders_file(encoders, batch, tmp_path):
    """``w2v_args``, which fairseq's task copies into the checkpoint, stands for the file."""
    for name, (path, _) in encoders.items():
        lent = tmp_path / f"{name}.pt"
        lent.write_bytes(path.read_bytes())
        cfg = probe_config(lent, "bilstm_mean")
        task = type("Task", (), {"target_dictionary": range(5)})
        probe = SslProbe.build_model(cfg, task).eval()
        lent.unlink()
        plain = OmegaConf.to_container(probe.cfg, resolve=True)
        assert type(plain["w2v_args"]) is dict
        again = SslProbe.build_model(OmegaConf.create(plain), task).eval()
        again.load_state_dict(probe.state_dict())
        with torch.no_grad():
            assert torch.equal(again(*batch[:2])["scores"], probe(*batch[:2])["scores"])


def test_random_encoder_has_the_architecture_but_not_the_weights(encoders):
    path, _ = encoders["summarymixing"]
    loaded = build_probe(path, "mean_linear")
    torch.manual_seed(5)
    first = build_probe(path, "mean_linear", random_encoder=True)
    torch.manual_seed(5)
    second = build_probe(path, "mean_linear", random_encoder=True)
    shapes = [{name: value.shape for name, value in probe.encoder.state_dict().items()} for probe in (loaded, first)]
    assert shapes[0] == shapes[1] and first.encoder.spec == loaded.encoder.spec
    assert hashes(first.encoder) == hashes(second.encoder) != hashes(loaded.encoder)
    assert not any(parameter.requires_grad for parameter in first.encoder.parameters())


@pytest.mark.parametrize(
    ("head", "options", "message"),
    [
        ("mlp", {}, r"model\.head='mlp': choose one of contextnet_ctc, ecapa"),
        ("mean_linear", {"dropout": 0.1}, r"head mean_linear has no option 'dropout': it has none"),
    ],
)
def test_bad_heads_are_named(encoders, head, options, message):
    with pytest.raises(ValueError, match=message):
        build_probe(encoders["mhsa"][0], head, **options)


def test_options_without_a_field_of_their_own_reach_the_head(encoders):
    """``model.head_options`` is for heads that this file does not know."""
    probe = build_probe(encoders["mhsa"][0], "bilstm_mean", hidden_dim=None, head_options={"hidden_dim": 7})
    assert probe.head.project.out_features == 7
    with pytest.raises(ValueError, match="head bilstm_mean has no option 'size'"):
        build_probe(encoders["mhsa"][0], "bilstm_mean", head_options={"size": 7})


def test_bad_encoders_are_named(tmp_path):
    with pytest.raises(InputError, match=r"model\.encoder_path is not set: name the checkpoint"):
        build_probe(None, "mean_linear")
    with pytest.raises(InputError, match=r"none\.pt cannot be read: No such file"):
        build_probe(tmp_path / "none.pt", "mean_linear")
