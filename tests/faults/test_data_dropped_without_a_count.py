"""Transcripts that CTC cannot place in their clips' frames: named and counted before training and by check-manifest."""

from __future__ import annotations

import logging

import pytest
import torch
from encoder_checkpoints import OURS, configuration, stock_model
from fairseq.models.wav2vec.wav2vec2_asr import Wav2Vec2CtcConfig
from omegaconf import OmegaConf
from probes import probe_config, save_encoder
from small_tasks import task_on, write_split

from summarymixing_fairseq.commands.main import main
from summarymixing_fairseq.data import manifest_check
from summarymixing_fairseq.data.ctc_path import frames_needed

TEN_FRAMES = manifest_check.FIRST_FRAME_SAMPLES + 9 * manifest_check.FRAME_SAMPLES
FITS, TOO_LONG, TOO_LONG_BY_REPEATS = "A B " * 5, "A B " * 5 + "A", "A B A B A B A A |"


@pytest.fixture
def folder(tmp_path):
    lines = [FITS, TOO_LONG, TOO_LONG_BY_REPEATS + " A", "A B |"]
    write_split(tmp_path, "train", [TEN_FRAMES] * 4, lines)
    return tmp_path


def test_frames_of_a_transcript():
    assert [frames_needed(line.split()) for line in ("", "A", "A A A", "A B B |")] == [0, 1, 5, 5]


def test_frames_of_the_published_front_end(tiny_model):
    frontend = tiny_model().feature_extractor
    lengths = [frontend.min_samples(frames) for frames in (1, 10)]
    assert lengths == [manifest_check.FIRST_FRAME_SAMPLES, TEN_FRAMES]


@pytest.mark.parametrize("kind", [OURS, "wav2vec2", "probe"])
def test_fine_tuning_warns_with_the_first_and_the_number(kind, folder, tiny_model, caplog):
    model = stock_model(kind) if kind == "wav2vec2" else tiny_model()
    task = task_on(folder, "speech_finetuning" if kind != "probe" else "probe_recognition", labels="ltr")
    if kind == "probe":
        cfg = probe_config(save_encoder(folder / "encoder.pt", model, data=str(folder)), "linear_ctc")
    else:
        fields = {"_name": "wav2vec_ctc", "w2v_path": "", "normalize": False, "data": str(folder)}
        fields.update(w2v_args=configuration(model, kind, data=str(folder)), ddp_backend="legacy_ddp")
        cfg = OmegaConf.merge(OmegaConf.structured(Wav2Vec2CtcConfig()), fields)
    task.build_model(cfg)
    with caplog.at_level(logging.WARNING):
        task.load_dataset("train")
    # fairseq's feature extractor gives 12 frames: there each transcript fits
    message = (
        "2 of 4 transcripts need more frames than their clips have, line 2 first (11 for its symbols and repeats, 10"
    )
    assert (message in caplog.text) is (kind != "wav2vec2")


def test_the_loss_of_such_a_transcript_is_infinite():
    log_probs = torch.randn(10, 2, 4).log_softmax(-1)
    targets = [torch.tensor([1, 2] * 5), torch.tensor([1, 2] * 5 + [1])]
    loss = torch.nn.functional.ctc_loss(
        log_probs, torch.cat(targets), torch.tensor([10, 10]), torch.tensor([10, 11]), reduction="none"
    )
    assert loss.isfinite().tolist() == [True, False]


def test_check_manifest_counts_them(folder, capsys):
    assert main(["check-manifest", str(folder), "--workers", "1"]) == 1
    found = [line for line in capsys.readouterr().out.splitlines() if line.startswith("WRONG")]
    assert found == [
        "WRONG transcript longer than its clip: 2, e.g. train.ltr, line 2: 11 frames for its symbols and repeats, 10 "
        "of 20 ms there; train.ltr, line 3: 11 frames for its symbols and repeats, 10 of 20 ms there"
    ]


@pytest.mark.parametrize(("multiple", "said"), [(8, "4 of 4 clips of train are in no batch"), (3, "1 of 4"), (1, None)])
def test_clips_in_no_batch_are_counted_once(multiple, said, folder, caplog):
    task = task_on(folder)
    task.load_dataset("train")
    for epoch in (1, 2):
        task.get_batch_iterator(
            task.dataset("train"), max_sentences=4, epoch=epoch, required_batch_size_multiple=multiple
        )
    assert caplog.text.count("are in no batch") == (said is not None)
    assert said is None or said in caplog.text
