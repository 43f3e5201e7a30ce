"""Recognisers for sherpa-onnx: the same text and times, whether the model normalises or not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from encoder_checkpoints import OURS, configuration, save, save_recogniser
from toned import save_toned, sentence, spoken

from summarymixing_fairseq.checkpoints.recogniser import load_recogniser
from summarymixing_fairseq.commands.main import main
from summarymixing_fairseq.data.references import Symbols
from summarymixing_fairseq.export import check
from summarymixing_fairseq.export.formats.sherpa import NormalisedGraph, Sherpa, on_blank
from summarymixing_fairseq.export.source import load_source
from summarymixing_fairseq.modules.normalise import normalise_waveform


class Echo(torch.nn.Module):
    """Gives back what it hears."""

    def forward(self, waveform, num_samples):
        return waveform[..., None].repeat(1, 1, 3), torch.div(num_samples, 100, rounding_mode="floor")


def test_the_scale_is_put_back():
    """Of any loudness; the mean is lost."""
    for loudness in (1e-4, 1e-2, 0.3):
        clip = loudness * torch.randn(1, 48_000) + 0.1
        given = normalise_waveform(clip, None)
        heard = NormalisedGraph(Echo(), False, [0], 100).eval()(given)[..., 1]
        assert torch.allclose(heard, clip - clip.mean(), rtol=5e-3, atol=1e-6)
        assert torch.equal(NormalisedGraph(Echo(), True, [0], 100).eval()(given)[..., 1], given)
    silence = torch.zeros(1, 16_000)
    assert torch.equal(NormalisedGraph(Echo(), False, [0], 100).eval()(silence)[..., 1], silence)


def test_a_clip_without_a_frame_is_blank():
    heard = NormalisedGraph(Echo(), True, [0], 100).eval()(torch.ones(1, 60))
    assert heard.shape == (1, 100, 3) and (heard.argmax(-1) == 0).all()
    assert (NormalisedGraph(Echo(), True, [0], 100).eval()(torch.ones(1, 100))[0, 0] == 1).all()


def test_what_is_not_written_is_blank():
    scores = torch.tensor([[0.0, 5.0, 1.0, 2.0], [0.0, -1.0, -2.0, 3.0]])
    folded = on_blank(scores, [0, 1, 2])
    assert folded.argmax(-1).tolist() == [0, 3] and folded[0, 0] == 5 and folded[0, 3] == 2


@pytest.fixture
def tokens_of(tmp_path, tiny_model, monkeypatch):
    """tokens.txt of a model's symbols, neither onnx nor sherpa-onnx is needed."""
    monkeypatch.setattr(Sherpa, "packages", ())

    def tokens(symbols, labels, post_process):
        task, criterion = {"labels": labels}, {"post_process": post_process}
        path = save_recogniser(tmp_path / "c.pt", tiny_model(), symbols, symbols[0], task, criterion)
        return Sherpa(load_source(path), tmp_path / "out")._tokens()[3:]

    return tokens


def test_spaces_of_letters_pieces_and_phones(tokens_of):
    assert tokens_of(["A", "|"], "ltr", "letter") == ["<unk>", "A", "\u2581"]
    assert tokens_of(["\u2581the", "m"], "bpe", "sentencepiece") == ["<unk>", "\u2581the", "m"]
    assert tokens_of(["HH", "AH"], "phn", "letter") == ["\u2581<unk>", "\u2581HH", "\u2581AH"]
    with pytest.raises(ValueError, match="adds '.* ' to the text"):
        tokens_of(["th@@", "e"], "bpe", "subword_nmt")
    assert Symbols("ltr", "letter", "word").written("|") == " "


def test_only_recognisers_go(tmp_path, tiny_model, monkeypatch, capsys):
    monkeypatch.setattr(Sherpa, "packages", ())
    model = tiny_model()
    path = save(tmp_path / "c.pt", configuration(model, OURS), model.state_dict())
    assert main(["export", str(path), str(tmp_path / "out"), "--to", "sherpa"]) == 1
    message = capsys.readouterr().err
    assert "is no recogniser: fine-tune it with CTC first" in message and message.count("\n") == 1


@pytest.fixture
def sherpa(monkeypatch):
    for name in Sherpa.packages:
        pytest.importorskip(name)
    monkeypatch.setattr(check, "LONG", 12.0)
    return pytest.importorskip("sherpa_onnx")


@pytest.mark.long
@pytest.mark.parametrize("normalize", [False, True])
def test_text_and_times(normalize, tmp_path, tiny_config, sherpa, capsys):
    from summarymixing_fairseq.models.wav2vec2_summarymixing import Wav2Vec2SummaryMixingModel

    config = tiny_config(encoder_layers=1, encoder_embed_dim=256, encoder_ffn_embed_dim=128, frontend_channels=96)
    path = save_toned(tmp_path / "c.pt", Wav2Vec2SummaryMixingModel(config).eval(), normalize=normalize)
    out = tmp_path / "out"
    assert main(["export", str(path), str(out), "--to", "sherpa"]) == 0, capsys.readouterr().err
    said = capsys.readouterr().out
    assert "sherpa-onnx writes the same text" in said and ("mean of each away" in said) != normalize
    recogniser = sherpa.OfflineRecognizer.from_omnilingual_asr_ctc(str(out / "model.onnx"), str(out / "tokens.txt"))
    ours = load_recogniser(path)
    for seed in range(4):
        clip = spoken(sentence(6, seed), seed).waveform
        clip -= clip.mean()
        stream = recogniser.create_stream()
        stream.accept_waveform(16_000, clip)
        recogniser.decode_stream(stream)
        wanted = ours.transcribe(clip)
        assert stream.result.text.split() == wanted.text.split() and wanted.words
        pairs = zip(stream.result.tokens, stream.result.timestamps)
        letters = [(token, time) for token, time in pairs if token.strip()]
        assert len(letters) == len(wanted.text.replace(" ", ""))
        # a token's time is its first frame's, counted from 0; ours is where that frame begins around its middle
        assert letters[0][1] + 0.0325 == pytest.approx(wanted.words[0].start, abs=1e-3)
    short = recogniser.create_stream()
    short.accept_waveform(16_000, np.ones(500, np.float32))
    recogniser.decode_stream(short)
    assert short.result.text == ""


@pytest.mark.long
def test_a_symbol_that_sherpa_writes_otherwise(tmp_path, tiny_model, sherpa):
    path = save_recogniser(tmp_path / "c.pt", tiny_model(), ["A", "SIL", "|"], "A", {}, {})
    made = Sherpa(load_source(path), tmp_path / "out")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "tokens.txt").write_text("".join(f"{token} {n}\n" for n, token in enumerate(made._tokens())))
    with pytest.raises(ValueError, match="does not write its symbol 'SIL' as 'SIL'"):
        made._check_symbols()
