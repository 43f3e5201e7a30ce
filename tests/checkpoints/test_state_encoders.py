"""Encoders of hidden states: equal to each model's own forward, whatever the batch, and to themselves when saved."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from encoder_checkpoints import OURS, configuration, fine_tune, flat, own_states, save, stock_model
from omegaconf import OmegaConf
from reference import assert_near, padding_of
from torch import nn

from summarymixing_fairseq.checkpoints.encoders import EncoderSpec, load_encoder, random_encoder, stock
from summarymixing_fairseq.modules.normalise import normalise_waveform
from summarymixing_fairseq.system.errors import InputError

LAYER_NORM = {"extractor_mode": "layer_norm", "layer_norm_first": True, "conv_bias": True}
STOCK = [
    ("wav2vec2", {}),
    ("wav2vec2", LAYER_NORM),
    ("wav2vec2", {"extractor_mode": "layer_norm", "pos_conv_depth": 3, "conv_pos": 15}),
    ("hubert", {"layer_norm_first": True, "encoder_embed_dim": 12}),
    ("hubert", {"extractor_mode": "layer_norm", "required_seq_len_multiple": 4}),
    ("hubert", {"conv_pos_batch_norm": True}),
]
STOCK_IDS = ["-".join([kind, *changes]) for kind, changes in STOCK]
MIXERS = ["summarymixing", "mhsa"]
NUM_SAMPLES = [5_200, 9_043, 1_400]


def read_encoder(path):
    """Specification and weights of a checkpoint's encoder."""
    encoder = load_encoder(path)
    return encoder.spec, encoder.state_dict()


@pytest.fixture
def any_encoder(tmp_path, tiny_model):
    """``any_encoder(kind, **changes)``: an encoder loaded from the checkpoint of a small model, and the model."""

    def load(kind, task=None, dropout=0.0, **changes):
        model = tiny_model(**changes) if kind == OURS else stock_model(kind, **changes)
        path = save(tmp_path / "checkpoint.pt", configuration(model, kind, **(task or {})), model.state_dict())
        return load_encoder(path, dropout), model

    return load


ENCODERS = [*STOCK, *((OURS, {"mixer": mixer}) for mixer in MIXERS)]
FEW = [ENCODERS[0], *ENCODERS[5:]]
few_encoders = pytest.mark.parametrize("kind, changes", FEW, ids=[STOCK_IDS[0], STOCK_IDS[5], *MIXERS])
each_encoder = pytest.mark.parametrize("kind, changes", ENCODERS, ids=[*STOCK_IDS, *MIXERS])


def clips(*num_samples):
    return [torch.randn(length) * 0.1 + 0.02 for length in num_samples]


def batch_of(waveforms, extra=0):
    """Clips in one batch with garbage in the padding, and its mask."""
    num_samples = [len(waveform) for waveform in waveforms]
    padding_mask = F.pad(padding_of(num_samples), (0, extra), value=True)
    source = torch.full(padding_mask.shape, float("nan"))
    source[:, ::2] = 1e4
    for row, waveform in zip(source, waveforms):
        row[: len(waveform)] = waveform
    return source, padding_mask


@pytest.mark.parametrize("num_samples", [8_000, 8_320])  # 24 and 25 frames: one is padded by fairseq
@pytest.mark.parametrize("kind, changes", STOCK, ids=STOCK_IDS)
def test_equal_to_the_models_own_forward(any_encoder, kind, changes, num_samples):
    encoder, model = any_encoder(kind, **changes)
    source = clips(num_samples)[0][None]
    expected, output = own_states(model, source)
    with torch.no_grad():
        states, frame_padding = encoder(source)
    assert frame_padding is None
    assert len(states) == len(expected) == encoder.num_states == 3
    for state, own in zip(states, expected):
        assert state.size(2) == encoder.state_dim
        assert_near(state, own, 1e-6)
    last = model.encoder.layer_norm(states[-1]) if changes.get("layer_norm_first") else states[-1]
    assert_near(last.detach(), output, 1e-6)


@pytest.mark.parametrize("mixer", MIXERS)
def test_ours_equal_to_its_own_forward(any_encoder, mixer):
    encoder, model = any_encoder(OURS, mixer=mixer)
    source, padding_mask = batch_of(clips(*NUM_SAMPLES))
    expected = model.extract_features(source, padding_mask)
    states, frame_padding = encoder(source, padding_mask)
    assert torch.equal(frame_padding, expected["padding_mask"])
    assert (encoder.num_states, encoder.state_dim, encoder.frame_rate_hz) == (3, 32, 50.0)
    for state, own in zip(states, expected["hidden_states"]):
        valid = ~frame_padding
        assert_near(state[valid], own[valid], 1e-6)


@each_encoder
def test_batch_equals_each_clip_alone(any_encoder, kind, changes):
    encoder, _ = any_encoder(kind, task={"normalize": True}, **changes)
    waveforms = clips(*NUM_SAMPLES)
    lengths = encoder.output_lengths(torch.tensor(NUM_SAMPLES)).tolist()
    with torch.no_grad():
        states, frame_padding = encoder(*batch_of(waveforms, extra=700))
        assert torch.equal(frame_padding, padding_of(lengths))
        for row, waveform in enumerate(waveforms):
            alone, alone_padding = encoder(waveform[None])
            assert alone_padding is None
            for state, expected in zip(states, alone):
                assert torch.isfinite(state).all()
                assert_near(state[row, : lengths[row]], expected[0], 1e-5)


@few_encoders
def test_batch_of_one_length(any_encoder, kind, changes):
    """Whatever padding all clips share is cut off."""
    encoder, _ = any_encoder(kind, **changes)
    waveforms = clips(3_000, 3_000)
    with torch.no_grad():
        expected, _ = encoder(torch.stack(waveforms))
        states, frame_padding = encoder(*batch_of(waveforms, extra=999))
    assert frame_padding is None
    for state, own in zip(states, expected):
        assert_near(state, own, 1e-6)


@pytest.mark.parametrize("kind, changes", [("wav2vec2", LAYER_NORM), (OURS, {})], ids=["wav2vec2", OURS])
def test_waveform_normalised_over_its_valid_samples(any_encoder, kind, changes):
    plain, _ = any_encoder(kind, **changes)
    normalised = random_encoder(EncoderSpec(**{**plain.spec.to_dict(), "normalize": True})).eval()
    normalised.load_state_dict(plain.state_dict())
    waveforms = clips(*NUM_SAMPLES)
    source, padding_mask = batch_of(waveforms)
    by_fairseq = batch_of([F.layer_norm(waveform, waveform.shape) for waveform in waveforms])
    with torch.no_grad():
        states, frame_padding = normalised(source, padding_mask)
        expected, _ = plain(*by_fairseq)
        raw, _ = plain(source.masked_fill(padding_mask, 0.0), padding_mask)
    valid = ~frame_padding
    for state, own in zip(states, expected):
        assert_near(state[valid], own[valid], 1e-5)
    if kind != OURS:  # whose filterbank is normalised in any case
        assert (states[0] - raw[0])[valid].abs().max() > 1e-3
    source = source.masked_fill(padding_mask, 0.0)
    assert_near(normalise_waveform(source, padding_mask), by_fairseq[0].masked_fill(padding_mask, 0.0), 1e-6)


@few_encoders
def test_lengths_and_the_shortest_clip(any_encoder, kind, changes):
    encoder, _ = any_encoder(kind, **changes)
    assert (encoder.frame_rate_hz, encoder.sample_rate_hz) == (50.0, 16_000)
    shortest = encoder.min_samples()
    with torch.no_grad():
        for num_samples in [*range(shortest, shortest + 3), *range(encoder.min_samples(4) - 2, shortest + 1_300, 157)]:
            states, _ = encoder(torch.zeros(1, num_samples))
            assert encoder.output_lengths(torch.tensor([num_samples])).tolist() == [states[0].size(1)]
        assert states[0].size(1) > 3
        for num_frames in (1, 2, 5):
            around = torch.tensor([encoder.min_samples(num_frames) - 1, encoder.min_samples(num_frames)])
            assert encoder.output_lengths(around).tolist() == [num_frames - 1, num_frames]
        with pytest.raises(
            InputError, match=rf"a clip of {shortest - 1} samples gives no frame: {kind} needs {shortest}"
        ):
            encoder(*batch_of(clips(2_000, shortest - 1)))


@pytest.mark.parametrize("kind, changes", ENCODERS[:5] + ENCODERS[6:])  # all but the one with BatchNorm
def test_nothing_of_training_without_dropout(any_encoder, kind, changes):
    """No mask, no LayerDrop, no dropout of the checkpoint's: train mode equals eval mode; and dropout where asked."""
    encoder, _ = any_encoder(kind, **changes)
    batch = batch_of(clips(*NUM_SAMPLES))
    with torch.no_grad():
        expected, frame_padding = encoder(*batch)
        states, _ = encoder.train()(*batch)
        dropping = random_encoder(encoder.spec, dropout=0.3)
        dropping.load_state_dict(encoder.state_dict())
        dropped, _ = dropping.train()(*batch)
        kept, _ = dropping.eval()(*batch)
    valid = ~frame_padding
    for state, other, kept_state, own in zip(states, dropped, kept, expected):
        assert_near(state[valid], own[valid], 1e-6)
        assert_near(kept_state[valid], own[valid], 1e-6)
        assert (other - own)[valid].abs().max() > 0.01


@each_encoder
def test_every_parameter_learns(any_encoder, kind, changes):
    encoder, _ = any_encoder(kind, **changes)
    states, frame_padding = encoder.train()(*batch_of(clips(3_000, 2_000)))
    states[-1][~frame_padding].square().sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
        if parameter.dim() > 1:
            assert parameter.grad.abs().max() > 0, name


@few_encoders
def test_frozen_use_changes_nothing(any_encoder, kind, changes):
    encoder, _ = any_encoder(kind, dropout=0.1, **changes)
    encoder.requires_grad_(False).eval()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    states, _ = encoder(*batch_of(clips(*NUM_SAMPLES)))
    assert not any(state.requires_grad for state in states)
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())


def test_batch_norm_learns_from_valid_frames_alone(any_encoder):
    encoder, _ = any_encoder("hubert", conv_pos_batch_norm=True)
    seen = []
    encoder.encoder.pos_conv[0].register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    encoder.train()(*batch_of(clips(*NUM_SAMPLES)))
    assert seen[0].shape == (encoder.output_lengths(torch.tensor(NUM_SAMPLES)).sum(), 16)


@few_encoders
def test_specification_survives(any_encoder, tmp_path, kind, changes):
    encoder, _ = any_encoder(kind, **changes)
    config = OmegaConf.create({"model": {"w2v_args": encoder.spec.to_dict()}})
    assert EncoderSpec.from_dict(config.model.w2v_args) == encoder.spec
    spec, weights = read_encoder(tmp_path / "checkpoint.pt")
    torch.save({"spec": spec.to_dict(), "model": weights}, tmp_path / "probe.pt")
    saved = torch.load(tmp_path / "probe.pt", weights_only=True)
    rebuilt = random_encoder(EncoderSpec.from_dict(saved["spec"])).eval()
    rebuilt.load_state_dict(saved["model"])
    source = clips(2_000)[0][None]
    with torch.no_grad():
        for state, expected in zip(rebuilt(source)[0], encoder(source)[0]):
            assert torch.equal(state, expected)


@pytest.mark.parametrize("form", ["args", "omegaconf"])
@pytest.mark.parametrize("kind, normalize", [("wav2vec2", True), ("hubert", False), (OURS, True)])
def test_older_forms_of_checkpoints(any_encoder, tmp_path, kind, normalize, form):
    encoder, model = any_encoder(kind, task={"normalize": normalize})
    path = save(tmp_path / "old.pt", configuration(model, kind, normalize=normalize), model.state_dict(), form)
    spec, weights = read_encoder(path)
    assert spec == encoder.spec and spec.normalize == normalize
    assert weights.keys() == encoder.state_dict().keys()
    assert all(torch.equal(value, weights[name]) for name, value in encoder.state_dict().items())


def test_fields_that_are_younger_than_a_checkpoint(any_encoder, tmp_path):
    encoder, model = any_encoder("wav2vec2")
    config = configuration(model, "wav2vec2")
    for name in ("layer_type", "pos_conv_depth", "crop_seq_to_multiple", "conv_bias", "required_seq_len_multiple"):
        del config["model"][name]
    assert read_encoder(save(tmp_path / "old.pt", config, model.state_dict()))[0] == encoder.spec


FINE_TUNED = [("wav2vec2", LAYER_NORM), ("hubert", {}), *((OURS, {"mixer": mixer}) for mixer in MIXERS)]
FINE_TUNED.append((OURS, {"mixers": ["mhsa", "summarymixing"]}))


@pytest.mark.parametrize("kind, changes", FINE_TUNED, ids=["wav2vec2", "hubert", *MIXERS, "hybrid"])
def test_fine_tuned(tmp_path, tiny_model, kind, changes):
    model = tiny_model(**changes) if kind == OURS else stock_model(kind, **changes)
    config, ctc = fine_tune(model, kind, tmp_path)
    inside = ctc.w2v_encoder.w2v_model
    source = clips(4_000)[0][None]
    expected = inside.extract_features(source, None)["hidden_states"] if kind == OURS else own_states(inside, source)[0]
    weights = ctc.state_dict()
    config["model"]["w2v_args"]["task"]["normalize"] = True
    pretrained = configuration(model, kind, normalize=True)
    for form in ("cfg", "args"):
        encoder = load_encoder(save(tmp_path / f"{form}.pt", config, weights, form))
        assert encoder.spec.fine_tuned and encoder.spec.normalize and encoder.describe().endswith(", fine-tuned")
        encoder.spec = EncoderSpec(**{**encoder.spec.to_dict(), "normalize": False})
        for state, own in zip(encoder(source)[0], expected):
            assert_near(state.detach(), own.detach(), 1e-6)
    # a sequence-to-sequence model keeps the same encoder under another name; w2v_args may be a Namespace of its own
    config["model"].update(_name=config["model"]["_name"].replace("ctc", "seq2seq"), w2v_args=flat(pretrained))
    renamed = {name.replace("w2v_encoder.", "encoder."): value for name, value in weights.items()}
    path = save(tmp_path / "s2s.pt", config, {**renamed, "decoder.embed_tokens.weight": torch.zeros(3)})
    spec, seq2seq_weights = read_encoder(path)
    assert spec.fine_tuned and spec.normalize
    assert all(torch.equal(value, seq2seq_weights[name]) for name, value in encoder.state_dict().items())


def test_descriptions(any_encoder):
    assert any_encoder(OURS, mixer="mhsa")[0].describe() == f"{OURS} (mhsa), 2 layers of 32, pre-trained"
    hybrid = any_encoder(OURS, mixers=["summarymixing*2", "mhsa"], encoder_layers=3)[0]
    assert hybrid.describe() == f"{OURS} (summarymixing*2, mhsa), 3 layers of 32, pre-trained"
    assert any_encoder("hubert")[0].describe() == "hubert, 2 layers of 16, pre-trained"


@pytest.mark.parametrize(
    "model_changes, task_changes, message",
    [
        (
            {"_name": "data2vec_audio"},
            {},
            r"a checkpoint of 'data2vec_audio': wav2vec2_summarymixing, wav2vec2 and hubert",
        ),
        ({"_name": "wav2vec_ctc"}, {}, r"a wav2vec_ctc model without its encoder's configuration \(w2v_args\)"),
        ({}, {"sample_rate": 8_000}, r"takes audio at 8000 Hz, which cannot be mixed with the 16000 Hz"),
        ({"layer_type": "conformer"}, {}, r"layer_type='conformer': only 'transformer' is read \(fairseq's conformer"),
        ({"layer_type": "trf_adp"}, {}, r"layer_type='trf_adp': only 'transformer'"),
        ({"quantize_input": True}, {}, r"quantize_input=True: only False"),
        ({"crop_seq_to_multiple": 2}, {}, r"crop_seq_to_multiple=2: only 1"),
        ({"encoder_layers": "2"}, {}, r"encoder_layers='2': 12 is an example"),
        ({"encoder_layers": 0}, {}, r"encoder_layers=0: 12 is an example"),
        ({"extractor_mode": "other"}, {}, r"extractor_mode='other': choose default or layer_norm"),
        ({"activation_fn": "other"}, {}, r"configuration does not build a model: .*other"),
        ({"encoder_attention_heads": 3}, {}, r"configuration does not build a model: .*num_heads"),
        ({"encoder_layers": 3}, {}, r"weights do not fit its configuration: Missing key.*layers\.2"),
        ({"encoder_layers": 1}, {}, r"weights do not fit its configuration: Unexpected key.*layers\.1"),
        ({"encoder_ffn_embed_dim": 32}, {}, r"weights do not fit its configuration: size mismatch for encoder"),
        ({"conv_feature_layers": "open('ran', 'w')"}, {}, r"conv_feature_layers=.*(nothing else|run as code)"),
    ],
)
def test_refusals(tmp_path, monkeypatch, model_changes, task_changes, message):
    monkeypatch.chdir(tmp_path)
    model = stock_model("wav2vec2")
    config = configuration(model, "wav2vec2", **task_changes)
    config["model"].update(model_changes)
    path = save(tmp_path / "checkpoint.pt", config, model.state_dict(), "args")
    with pytest.raises(InputError, match=rf"checkpoint\.pt.*{message}") as error:
        read_encoder(path)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "ran").exists()


def test_ours_refused(any_encoder, tmp_path):
    _, model = any_encoder(OURS)
    config = configuration(model, OURS)
    for changes, message in [
        ({"mixer": "mamba"}, r"mixer='mamba': choose"),
        ({"encoder_layers": "many"}, r"encoder_layers"),
        ({"encoder_layers": 3}, r'weights do not fit its configuration: Missing key.*"model.encoder.layers.2'),
        ({"encoder_layers": 1}, r'weights do not fit its configuration: Unexpected key.*"model.encoder.layers.1'),
        ({"encoder_ffn_embed_dim": 32}, r"weights do not fit its configuration: size mismatch for model.encoder"),
    ]:
        path = save(tmp_path / "ours.pt", {**config, "model": {**config["model"], **changes}}, model.state_dict())
        with pytest.raises(InputError, match=rf"^{path}: .*{message}"):
            load_encoder(path)


def test_unknown_fields_of_a_specification_reach_no_module(any_encoder, monkeypatch):
    """As of a probe's checkpoint: fairseq's modules would follow them."""
    encoder, _ = any_encoder("wav2vec2")
    values = encoder.spec.to_dict()
    values["config"].update(layer_type="transformer", encoder_layerdrop=0.5, max_positions=7, evil="x")
    seen = []
    monkeypatch.setattr(stock, "TransformerEncoder", lambda cfg: seen.append(cfg) or nn.Identity())
    random_encoder(EncoderSpec.from_dict(values))
    assert not hasattr(seen[0], "evil") and seen[0].max_positions != 7 and seen[0].encoder_layerdrop == 0.0


def test_specifications_refused(any_encoder):
    encoder, _ = any_encoder("wav2vec2")
    values = encoder.spec.to_dict()
    for changed, message in [
        ({**values, "more": 1}, r"needs kind, config, .*nothing else"),
        ({"kind": "wav2vec2"}, r"needs kind, config"),
        (None, r"needs kind, config"),
        ({**values, "normalize": "no"}, r"normalize='no' is not of bool"),
        ({**values, "kind": "data2vec"}, r"encoder 'data2vec' at 16000 Hz: choose one of"),
        ({**values, "sample_rate_hz": 8_000}, r"encoder 'wav2vec2' at 8000 Hz"),
        ({**values, "config": {**values["config"], "conv_bias": "x"}}, r"conv_bias='x'"),
        ({**values, "config": {}}, r"wav2vec2: its configuration does not build a model"),
        ({**values, "config": {**values["config"], "conv_feature_layers": "[(8, 10, 0)]"}}, r"conv_feature_layers"),
    ]:
        with pytest.raises(InputError, match=message):
            random_encoder(EncoderSpec.from_dict(changed))
    with pytest.raises(InputError, match=r"dropout=1\.5: must be a probability"):
        random_encoder(encoder.spec, dropout=1.5)
