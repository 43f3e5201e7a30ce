"""States of a batch by name, held to those of each clip alone."""

from __future__ import annotations

from dataclasses import asdict

import pytest
import torch
from encoder_checkpoints import SMALL, randomise

from summarymixing_fairseq.analysis.states import (
    evaluating,
    places_of,
    states_in_batches,
    states_of_batch,
    states_of_wave,
)
from summarymixing_fairseq.checkpoints.encoders import EncoderSpec, random_encoder, stock
from summarymixing_fairseq.data.reading import pad_batch
from summarymixing_fairseq.modules.normalise import normalise_waveform

NAMES = ["latents", "input", "1", "2"]


@pytest.fixture(params=["ours", "wav2vec2", "hubert"])
def encoder(request, tiny_config):
    if request.param == "ours":
        spec = EncoderSpec("wav2vec2_summarymixing", asdict(tiny_config()), True, 16_000, False)
    else:
        spec = EncoderSpec(request.param, stock.read_config(SMALL), True, 16_000, False)
    return randomise(random_encoder(spec))


def test_a_batch_of_clips_of_any_length(encoder, speech):
    with evaluating(encoder):
        found = states_of_batch(encoder, *pad_batch(speech, torch.device("cpu")))
        alone = [states_of_wave(encoder, wave, NAMES) for wave in speech]
    assert list(found) == NAMES
    for name in NAMES:
        torch.testing.assert_close(found[name], torch.cat([one[name] for one in alone]), atol=1e-4, rtol=1e-4)
    hidden = torch.cat([encoder.extract(wave, "all") for wave in speech], 1)  # (states, frames of all clips, D)
    torch.testing.assert_close(torch.stack([found[name] for name in NAMES[1:]]), hidden, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("normalize", [False, True])
def test_of_a_model_that_trains(tiny_model, speech, normalize):
    model = tiny_model(dropout=0.5, mask_prob=0.65).train()
    heard: list[torch.Tensor] = []
    model.feature_extractor.register_forward_pre_hook(lambda _module, inputs: heard.append(inputs[0]))
    wave = torch.from_numpy(speech[0])[None]
    with evaluating(model):
        ((_, found),) = states_in_batches(model, speech[:1], normalize)
        latents = model.feature_extractor(heard[0], torch.tensor([wave.size(1)]))[0]
    assert list(found) == NAMES
    torch.testing.assert_close(heard[0], normalise_waveform(wave, None) if normalize else wave, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found["latents"], latents[0])


def test_branches_of_our_layers(tiny_config, speech):
    """What the branches give makes up the layer's output, and f and s the mixer's."""
    spec = EncoderSpec("wav2vec2_summarymixing", asdict(tiny_config()), True, 16_000, False)
    encoder = randomise(random_encoder(spec))
    source, padding_mask = pad_batch(speech, torch.device("cpu"))
    with evaluating(encoder):
        found = states_of_batch(encoder, source, padding_mask, places_of(encoder))
        x = found["1"]
        layer = encoder.model.encoder.layers[1]
        f, s = found["2.f"], found["2.s"]
        mixed = torch.nn.functional.gelu(layer.mixer.combiner(torch.cat([f, s], 1)))
        torch.testing.assert_close(found["2.mixer"], mixed, atol=1e-4, rtol=1e-4)
        x = x + found["2.ffn1"] / 2 + found["2.mixer"] + found["2.conv"] + found["2.ffn2"] / 2
        torch.testing.assert_close(found["2"], layer.norm(x), atol=1e-4, rtol=1e-4)
    lengths = encoder.output_lengths(torch.tensor([len(wave) for wave in speech])).tolist()
    for clip in s.split(lengths):
        assert (clip == clip[0]).all()


@pytest.mark.parametrize("kind", stock.KINDS)
def test_branches_of_stock_layers(kind, speech):
    """Frame by frame in the order of the clips, though fairseq's layers take time first."""
    encoder = randomise(random_encoder(EncoderSpec(kind, stock.read_config(SMALL), True, 16_000, False)))
    source, padding_mask = pad_batch(speech, torch.device("cpu"))
    with evaluating(encoder):
        found = states_of_batch(encoder, source, padding_mask, ["1", "2", "2.ffn", "2.mixer"])
        layer = encoder.encoder.layers[1]
        x = layer.self_attn_layer_norm(found["1"] + found["2.mixer"])
        torch.testing.assert_close(found["2"], layer.final_layer_norm(x + found["2.ffn"]), atol=1e-4, rtol=1e-4)
    assert list(found) == ["1", "2", "2.ffn", "2.mixer"]
