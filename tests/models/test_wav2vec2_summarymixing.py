"""The whole model: sizes, loss, masks, padding, and what fairseq asks of it."""

from __future__ import annotations

import copy
import logging
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from fairseq.criterions.wav2vec_criterion import Wav2vecCriterion
from reference import assert_near, batch_of

import summarymixing_fairseq
from summarymixing_fairseq.benchmarks.recipe import read_recipe
from summarymixing_fairseq.models.encoder import build_encoder
from summarymixing_fairseq.models.wav2vec2_summarymixing import Wav2Vec2SummaryMixingModel
from summarymixing_fairseq.modules.contrastive import sample_negatives
from summarymixing_fairseq.modules.mixing import MIXERS

RECIPES = Path(summarymixing_fairseq.__file__).parents[1] / "examples" / "pretraining"
MODES = [{"mixer": "mhsa"}, *({"summary_mode": mode} for mode in ("full", "lite", "expdecay"))]
in_all_modes = pytest.mark.parametrize("mode", MODES, ids=lambda mode: next(iter(mode.values())))
with_both_mixers = pytest.mark.parametrize("mixer", ["summarymixing", "mhsa"])


def loss_of(model, batch, seed: int = 1) -> torch.Tensor:
    torch.manual_seed(seed)
    logits = model.get_logits(model(**batch))
    return F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long), reduction="sum")


@pytest.mark.parametrize(
    "name, expected",
    [
        ("small", 78_372_992),
        ("small_mhsa", 83_658_368),
        ("base", 154_764_416),
        ("base_mhsa", 165_335_168),
        ("large", 307_547_264),
        ("large_mhsa", 328_688_768),
        ("base_bestrq", 179_290_112),
    ],
)
def test_parameter_counts(name, expected):
    cfg = read_recipe(RECIPES / f"{name}.yaml", ["task.data=."]).model
    with torch.device("meta"):
        model = Wav2Vec2SummaryMixingModel.build_model(cfg)
    count = sum(p.numel() for p in model.parameters())
    print(f"{name}: {count:,} parameters")
    assert count == expected


@with_both_mixers
def test_loss_equals_a_plain_recomputation(tiny_model, speech, mixer):
    """From latents and encoder output to InfoNCE, frame by frame and negative by negative."""
    model = tiny_model(mixer=mixer)
    batch = batch_of(speech[:2])
    features = model.extract_features(**batch)
    torch.manual_seed(2)
    mask = model._draw_mask([f.size(0) for f in features["x"]], features["x"].size(1), True)
    mask[:, 80:] = False  # valid frames of both clips
    mask = mask & (mask.cumsum(1) <= mask.sum(1).min())
    torch.manual_seed(3)
    loss = F.cross_entropy(
        (logits := model.get_logits(model(**batch, mask_indices=mask))),
        torch.zeros(len(logits), dtype=torch.long),
        reduction="sum",
    )

    x = model.post_extract_proj(features["features"]).clone()
    x[mask] = model.mask_emb
    context = model.encoder(x, features["padding_mask"])[0]
    M = int(mask[0].sum())
    torch.manual_seed(3)
    negatives = sample_negatives(2, M, model.cfg.num_negatives)
    groups, entries = model.cfg.latent_groups, model.cfg.latent_vars
    total = 0.0
    for b in range(2):
        frames = mask[b].nonzero()[:, 0]
        c = [model.objective.final_proj(context[b, t]) for t in frames]
        codes, q = [], []
        for t in frames:
            scores = model.objective.quantizer.weight_proj(features["features"][b, t]).view(groups, entries)
            code = tuple(scores.argmax(1).tolist())
            chosen = [model.objective.quantizer.vars[0, g * entries + code[g]] for g in range(groups)]
            codes.append(code)
            q.append(model.objective.project_q(torch.cat(chosen)))
        for m in range(M):
            others = [q[n] for n in negatives[b, m].tolist() if codes[n] != codes[m]]
            scores = [(c[m] @ v) / (c[m].norm() * v.norm()) / 0.1 for v in [q[m], *others]]
            total = total + torch.logsumexp(torch.stack(scores), 0) - scores[0]
    assert_near(loss, total, 1e-5)


@with_both_mixers
def test_fairseqs_criterion(tiny_model, speech, mixer):
    """InfoNCE sum + 0.1 * masked frames * (1 - perplexity / entries), and a gradient for every parameter but none."""
    model = tiny_model(mixer=mixer).train()
    sample = {"net_input": batch_of(speech), "id": torch.arange(4)}
    criterion = Wav2vecCriterion(None, infonce=True, loss_weights=[0.1], log_keys=["prob_perplexity", "temp"])
    torch.manual_seed(4)
    loss, sample_size, log = criterion(model, sample)
    torch.manual_seed(4)
    net_output = model(**sample["net_input"])
    logits = net_output["x"]
    positive, all_of_them = logits[..., 0], torch.logsumexp(logits, -1)
    masked = logits.size(0) * logits.size(1)
    diversity = 1 - net_output["prob_perplexity"] / (model.cfg.latent_groups * model.cfg.latent_vars)
    assert sample_size == masked
    assert_near(loss, (all_of_them - positive).sum() + 0.1 * masked * diversity, 1e-5)
    assert 0 < diversity < 1
    assert log["temp"] == 2
    loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("mixer", sorted(set(MIXERS) - {"none"}))
def test_every_mixer_learns_in_the_model(tiny_model, mixer):
    """With padding: no gradient of a mixer's is infinite or NaN, and each layer's mixer gets one."""
    model = tiny_model(mixer=mixer).train()
    loss_of(model, batch_of([np.random.randn(n).astype(np.float32) for n in (16_000, 12_000)])).backward()
    for layer in model.encoder.layers:
        gradients = [parameter.grad for parameter in layer.mixer.parameters() if parameter.grad is not None]
        assert all(gradient.isfinite().all() for gradient in gradients) and any(map(torch.any, gradients))


def test_temperature_decays_with_updates(tiny_model):
    model = tiny_model(latent_temp=(2.0, 0.25, 0.9))
    model.set_num_updates(3)
    assert model.objective.quantizer.curr_temp == pytest.approx(2 * 0.9**3)
    model.set_num_updates(1_000)
    assert model.objective.quantizer.curr_temp == 0.25


@in_all_modes
@pytest.mark.parametrize("garbage", [float("nan"), float("inf"), 1e30])
def test_padding_never_reaches_a_valid_frame(tiny_model, speech, mode, garbage):
    model = tiny_model(**mode)
    together = model.extract_features(**batch_of(speech, garbage))
    assert all(torch.isfinite(state).all() for state in together["hidden_states"])
    for b, wave in enumerate(speech):
        alone = model.extract_features(torch.from_numpy(wave)[None], None)
        length = alone["x"].size(1)
        assert alone["padding_mask"] is None
        expected = torch.zeros(together["x"].size(1), dtype=torch.bool)
        expected[length:] = True
        assert torch.equal(together["padding_mask"][b], expected)
        assert_near(together["x"][b, :length], alone["x"][0], 1e-5)
        assert_near(together["features"][b, :length], alone["features"][0], 1e-5)
        for actual, state in zip(together["hidden_states"], alone["hidden_states"]):
            assert_near(actual[b, :length], state[0], 1e-5)


@in_all_modes
def test_gradients_with_nan_in_the_padding(tiny_model, speech, mode):
    """Loss and gradients are those of a batch whose padding is silence."""
    model = tiny_model(**mode)
    gradients = []
    for garbage in (0.0, float("nan")):
        model.zero_grad()
        loss_of(model, batch_of(speech, garbage)).backward()
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, expected in gradients[0].items():
        assert torch.equal(gradients[1][name], expected), name


@in_all_modes
@pytest.mark.parametrize("num_samples", [0, 1, 400, 1_359])
def test_a_clip_without_a_frame_in_a_batch(tiny_model, speech, mode, num_samples):
    model = tiny_model(**mode)
    batch = batch_of([speech[3], speech[0][:num_samples]], float("nan"))
    together = model.extract_features(**batch)
    assert torch.isfinite(together["x"]).all()
    assert together["padding_mask"][1].all()
    assert_near(together["x"][0], model.extract_features(torch.from_numpy(speech[3])[None], None)["x"][0], 1e-5)


@in_all_modes
def test_a_clip_of_one_frame(tiny_model, speech, mode):
    model = tiny_model(**mode)
    source = torch.from_numpy(speech[0][4_000 : 4_000 + model.feature_extractor.min_samples()])[None]
    assert model.extract_features(source, None)["x"].shape == (1, 1, 32)
    assert torch.isfinite(model.extract_features(source, None)["x"]).all()
    with pytest.raises(ValueError, match=r"clip of 1359 samples gives no frame: 1360 samples are the least"):
        model.extract_features(source[:, :-1], None)


@in_all_modes
def test_digital_silence_and_full_scale_noise(tiny_model, mode):
    model = tiny_model(**mode).train()
    for source in (torch.zeros(2, 16_000), torch.ones(2, 16_000), torch.sign(torch.randn(2, 16_000)) * 3e4):
        loss = loss_of(model, {"source": source, "padding_mask": None})
        model.zero_grad()
        loss.backward()
        assert torch.isfinite(loss)
        assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_a_clip_too_short_to_be_masked(tiny_model, speech):
    model = tiny_model()
    shortest = model.feature_extractor.min_samples(model.min_maskable_frames)
    assert model.min_maskable_frames == 13  # three starts for two spans of 10
    wave = speech[0][4_000:]
    batch = batch_of([wave, wave[: shortest - 1]])
    with pytest.raises(ValueError, match=rf"12 frames cannot be masked in spans of 10: .*min_sample_size={shortest} "):
        model(**batch)
    assert math.isfinite(loss_of(model, batch_of([wave, wave[:shortest]])))
    augmented = model.extract_features(**batch, mask=True)
    clean = model.extract_features(**batch, mask=False)
    assert torch.equal(augmented["hidden_states"][0][1], clean["hidden_states"][0][1]), "the short clip goes unmasked"
    assert not torch.equal(augmented["hidden_states"][0][0], clean["hidden_states"][0][0])


def test_unequal_numbers_of_masked_frames_are_refused(tiny_model, speech):
    """``require_same_masks=False`` gives such masks: 8 + 12 frames are read as 10 + 10."""
    model = tiny_model()
    mask = torch.zeros(2, model.extract_features(**batch_of(speech[:2]))["x"].size(1), dtype=torch.bool)
    mask[0, :8] = True
    mask[1, :12] = True
    with pytest.raises(ValueError, match="same"):
        model(**batch_of(speech[:2]), mask_indices=mask)


def test_pretraining_needs_masks(tiny_model, speech):
    model = tiny_model(mask_prob=0.0)
    with pytest.raises(ValueError, match=r"model\.mask_prob=0\.0: pre-training needs masked frames"):
        model(**batch_of(speech))
    assert torch.isfinite(model.extract_features(**batch_of(speech), mask=True)["x"]).all()


def test_masks_are_filled_up_in_pretraining_alone(tiny_model):
    """In fine-tuning, which takes over the field, masks only augment: they stay wav2vec 2.0's."""
    filled, spans = (
        tiny_model(mask_fill=True)._draw_mask([400] * 8, 400, pretraining) for pretraining in (True, False)
    )
    assert (filled.sum(1) == 260).all() and spans.sum(1).max() < 230


@pytest.mark.parametrize("init", ["xavier", "torch"])
def test_the_gate_of_cgmlp_starts_open(tiny_config, init):
    gate = Wav2Vec2SummaryMixingModel(tiny_config(mixer="cgmlp", init=init)).encoder.layers[0].mixer.depthwise
    assert (gate.bias == 1).all() and 0 < gate.weight.abs().max() < 1e-5


def test_what_hypermixing_makes_of_a_frame_depends_on_it_at_torchs_start(tiny_config):
    """As much as it depends on the biases, which are the same for all frames."""
    cfg = tiny_config(mixer="hypermixing", init="torch", encoder_embed_dim=96, encoder_attention_heads=4)
    made = Wav2Vec2SummaryMixingModel(cfg).encoder.layers[0].mixer.first(torch.randn(4, 500, 24))
    assert made.std(1).mean() > 0.3 * made.mean(1).std()  # (heads, frames, hidden / heads)


def bound_at_the_start(init: str, name: str, weight: torch.Tensor) -> float:
    """Of a parameter of an encoder layer: torch's formulas, Xavier's, or 0."""
    is_bias, is_block = name.endswith("bias"), name.split(".")[-3:-2] in (["local"], ["summary"])
    if "depthwise." in name:
        return 7**-0.5  # one channel of 7 frames, in either case
    if init == "xavier":
        return 0.0 if is_bias else (6 / sum(weight.shape[-2:])) ** 0.5
    num_inputs = weight.size(-2 if is_block else -1)
    return (num_inputs * weight.size(-1)) ** -0.5 if is_block and not is_bias else num_inputs**-0.5


@pytest.mark.parametrize("init", ["xavier", "torch"])
@with_both_mixers
def test_how_the_encoder_starts(tiny_config, mixer, init):
    """Every linear layer, head block and convolution uniform within its bound; norms as ever."""
    widths = {"encoder_embed_dim": 96, "encoder_ffn_embed_dim": 192, "local_hidden_dim": 64}
    encoder = Wav2Vec2SummaryMixingModel(tiny_config(mixer=mixer, init=init, **widths)).encoder
    parameters = dict(encoder.layers.named_parameters())
    kinds = set()
    for name, parameter in parameters.items():
        if "norm" in name:
            assert (parameter == float(name.endswith("weight"))).all(), name
            continue
        weight = parameters[f"{name.rpartition('.')[0]}.weight"]
        bound = bound_at_the_start(init, name, weight)
        assert parameter.abs().max() <= bound * (1 + 1e-6), name
        if bound:
            assert parameter.abs().max() > 0.9 * bound, name
            assert parameter.std().item() == pytest.approx(
                bound / 3**0.5, rel=0.25 if parameter.dim() == 1 else 0.06
            ), name
        kinds.add(name.partition(".")[2])
    assert len(kinds) == 2 * (4 + 3 + (2 if mixer == "mhsa" else 5))  # FFN twice, convolution, mixer


@pytest.mark.parametrize(("init", "variation"), [("xavier", 0.43), ("torch", 0.006)])
def test_the_cell_of_base_at_the_start(tiny_config, init, variation):
    """The authors' head blocks are within 1/96, biases within 0.10; frames differ by little then."""
    sizes = {"encoder_embed_dim": 768, "summary_heads": 8, "encoder_layers": 1}
    cell = build_encoder(tiny_config(init=init, summary_activation="swish", **sizes)).layers[0].mixer.eval()
    if init == "torch":
        assert 0.999 / 96 < cell.local.inner.weight.abs().max() <= 1 / 96
        assert 0.10 < cell.local.inner.bias.abs().max() <= 96**-0.5
    assert cell(torch.randn(1, 200, 768)).std(1).mean().item() == pytest.approx(variation, rel=0.1)


def test_epsilon_of_the_last_norm(tiny_model, speech):
    model = tiny_model(final_norm_eps=0.5)
    result, norm = model.extract_features(**batch_of(speech[:1])), model.encoder.layer_norm
    assert_near(result["x"], F.layer_norm(result["hidden_states"][-1], (32,), norm.weight, norm.bias, 0.5), 1e-6)
    assert {m.eps for m in model.encoder.layers.modules() if isinstance(m, torch.nn.LayerNorm)} == {1e-5}


@pytest.mark.parametrize("before", [False, True])
def test_channel_masks(tiny_model, speech, before):
    model = tiny_model(mask_channel_prob=0.3, mask_channel_length=4, mask_channel_before=before)
    x = torch.rand(2, 60, 32) + 1
    masked, frame_mask = model.apply_mask(x, [60, 60], True)
    silent = (masked[~frame_mask].view(2, -1, 32) == 0).all(1)  # (B, D), as many unmasked frames in both
    assert silent.any(1).all() and not silent.all(1).any()
    kept = masked[~frame_mask].view(2, -1, 32)[0][:, ~silent[0]]
    assert torch.equal(kept, x[0][~frame_mask[0]][:, ~silent[0]])
    # applied before the frames' mask, the mask vector is left whole
    assert bool((masked[0][frame_mask[0]][:, silent[0]] == 0).all()) is not before


@with_both_mixers
def test_hidden_states_and_layers(tiny_model, speech, mixer):
    model = tiny_model(mixer=mixer, encoder_layers=3)
    batch = batch_of(speech[:2])
    result = model.extract_features(**batch)
    assert len(result["hidden_states"]) == 4 and len(result["layer_results"]) == 3
    for layer in range(3):
        stopped = model.extract_features(**batch, layer=layer)
        assert torch.equal(stopped["x"], result["hidden_states"][layer + 1])
        state, *empty = result["layer_results"][layer]
        assert torch.equal(state.transpose(0, 1), result["hidden_states"][layer + 1])  # (T, B, D) -> (B, T, D)
        assert empty == [None, None]
    assert torch.equal(result["x"], model.encoder.layer_norm(result["hidden_states"][-1]))


@pytest.mark.parametrize("layer", [5, -1])
def test_a_layer_that_is_not_there(tiny_model, speech, layer):
    model, batch = tiny_model(), batch_of(speech[:1])
    with pytest.raises(ValueError, match=rf"layer={layer}: the encoder has layers 0 to 1"):
        model.extract_features(**batch, layer=layer)


@with_both_mixers
@pytest.mark.parametrize("field", [{"checkpoint_activations": True}, {"recompute": "cheap"}])
def test_recomputed_activations(tiny_model, speech, mixer, field):
    model = tiny_model(mixer=mixer, encoder_layerdrop=0.2, dropout=0.1, **field).train()
    twin = tiny_model(mixer=mixer, encoder_layerdrop=0.2, dropout=0.1).train()
    twin.load_state_dict(model.state_dict())
    assert {layer.recompute for layer in model.encoder.layers} == {field.get("recompute", "layer")}
    losses = [loss_of(m, batch_of(speech)) for m in (model, twin)]
    assert losses[0].item() == losses[1].item()
    for loss in losses:
        loss.backward()
    for (name, p), q in zip(model.named_parameters(), twin.parameters()):
        assert (p.grad is None) == (q.grad is None)
        if p.grad is not None:
            assert_near(p.grad, q.grad, 1e-5, name)


def test_feature_grad_mult(tiny_model, speech):
    """Scales the front end's gradient and no other; 0 freezes it."""
    gradients = {}
    clean = tiny_model(dropout_input=0.0)
    for scale in (1.0, 0.1, 0.0):
        model = copy.deepcopy(clean)
        model.cfg.feature_grad_mult = scale
        loss_of(model, batch_of(speech)).backward()
        gradients[scale] = {name: p.grad for name, p in model.named_parameters()}
    for name, full in gradients[1.0].items():
        if name.startswith("feature_extractor."):
            assert full.abs().max() > 0, name
            assert_near(gradients[0.1][name], 0.1 * full, 1e-5, name)
            assert gradients[0.0][name] is None, name
        elif full is not None:
            assert_near(gradients[0.0][name], full, 1e-6, name)


def test_remove_last_layers(tiny_model, speech):
    model = tiny_model(encoder_layers=3)
    expected = model.extract_features(**batch_of(speech[:1]))["hidden_states"][:3]
    model.remove_pretraining_modules(last_layer=1)
    actual = model.extract_features(**batch_of(speech[:1]))["hidden_states"]
    assert len(actual) == 3 and all(torch.equal(a, e) for a, e in zip(actual, expected))


def test_what_fairseqs_classification_reads(tiny_model):
    assert tiny_model().encoder.layers[-1].embedding_dim == 32


@in_all_modes
def test_warns_once_of_a_half_precision_waveform(tiny_model, speech, mode, caplog):
    model = tiny_model(**mode).bfloat16()
    batch = batch_of(speech[:1])
    with caplog.at_level(logging.WARNING):
        model.extract_features(batch["source"].double(), None)
        assert not caplog.records
        for _ in range(2):
            model.extract_features(batch["source"].bfloat16(), None)
    assert len(caplog.records) == 1
    assert "speech_pretraining" in caplog.text and "bfloat16" in caplog.text


@with_both_mixers
def test_updates_lower_the_loss(tiny_config, speech, mixer):
    """On one batch, the model learns to tell its frames apart."""
    cfg = tiny_config(mixer=mixer, dropout=0.0, attention_dropout=0.0, encoder_ffn_embed_dim=32)
    model = Wav2Vec2SummaryMixingModel(cfg).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    criterion = Wav2vecCriterion(None, infonce=True, loss_weights=[0.1])
    sample = {"net_input": batch_of(speech), "id": torch.arange(4)}
    losses = []
    for _ in range(40):
        loss, sample_size, _ = criterion(model, sample)
        optimizer.zero_grad()
        (loss / sample_size).backward()
        optimizer.step()
        losses.append(loss.item() / sample_size)
    print(losses)
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])
