"""Signs of ill health: each is provoked, warned of once after so many updates, and logged as a metric."""

from __future__ import annotations

import json
import logging
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from fairseq.logging import metrics
from training.conftest import NOISY

from summarymixing_fairseq.data.synthesiser import speak
from summarymixing_fairseq.tasks import watched_task
from summarymixing_fairseq.tasks.speech_pretraining import SpeechPretrainingTask
from summarymixing_fairseq.training.criterion import PretrainingCriterion
from summarymixing_fairseq.training.watch.health import LastingSigns, signs_of_ill_health

WELL = {
    "loss_bits": 4.0,
    "accuracy": 0.4,
    "code_perplexity": 100.0,
    "num_codes": 640,
    "masked": 0.48,
    "masked_target": 0.478,
    "padding": 0.05,
    "data_wait": 0.01,
}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"code_perplexity": 2.0}, "code perplexity is 2.0 of 640 codes: the codebooks have collapsed"),
        ({"accuracy": 1.0, "loss_bits": 0.01}, "accuracy is 1.000 at a loss of 0.010 bits: the run is degenerate"),
        ({"masked": 0.1}, "10% of the frames are masked, where model.mask_prob aims at 48%"),
        ({"masked": 0.9}, "90% of the frames are masked, where model.mask_prob aims at 48%"),
        ({"padding": 0.6}, "60% of what is computed is padding"),
        ({"data_wait": 0.5}, "50% of the time goes by waiting for data: raise dataset.num_workers"),
    ],
)
def test_a_warning_once_it_has_lasted_and_again_when_it_comes_back(changes, words, caplog):
    ill, lasting = {**WELL, **changes}, LastingSigns(patience=3)
    with caplog.at_level(logging.WARNING):
        readings = [WELL, ill, ill, WELL, ill, ill, ill, ill, ill, WELL, ill, ill, ill]
        due = [
            lasting.check(signs_of_ill_health(reading, 0.02), update)
            for update, reading in enumerate(readings, start=1)
        ]
    assert [update for update, warnings in enumerate(due, start=1) if warnings] == [7, 13]
    assert len(caplog.records) == 2 and words in caplog.text and "update 7: " in caplog.text


def test_what_is_not_known_is_no_sign():
    assert not signs_of_ill_health({}, 0.02)
    # a good run: high accuracy at a loss that is not near 0, or a low loss alone
    assert not signs_of_ill_health({"accuracy": 1.0, "loss_bits": 1.0}, 0.02)
    assert not signs_of_ill_health(WELL, 0.02)


def test_an_update_waits_from_the_end_of_the_one_before(monkeypatch):
    task, seconds = fake_task(), iter([10.0, 11.0, 20.0])
    monkeypatch.setattr(watched_task, "time", SimpleNamespace(perf_counter=seconds.__next__))
    trainer = SimpleNamespace(cfg=SimpleNamespace(common=SimpleNamespace(seed=1)), get_num_updates=lambda: 7)
    trainer.optimizer, task.waits_since = None, 8.0
    task.begin_update(trainer, [])
    assert task._wait_seconds == 2.0
    task.begin_update(trainer, [])  # tried again
    assert task._wait_seconds == 0.0


def fake_task(**model_cfg) -> SpeechPretrainingTask:
    """A task whose trainer has done 7 updates of a model of 2 x 320 codes."""
    from omegaconf import OmegaConf

    task = SpeechPretrainingTask(OmegaConf.create({"data": "x", "health_updates": 1, "sample_rate": 16_000}))
    cfg = SimpleNamespace(**{"mask_prob": 0.65, **model_cfg})
    task._objective = SimpleNamespace(num_codes=640)
    task._model = SimpleNamespace(cfg=cfg)
    task._trainer = SimpleNamespace(get_num_updates=lambda: 7, is_data_parallel_master=True)
    return task


def batch_output(**changes) -> dict:
    output = {"loss": 100.0, "ntokens": 48, "nsentences": 2, "sample_size": 48, "correct": 10, "count": 48}
    sums = {"audio_samples": 16_000.0, "computed_samples": 17_000.0, "masked_frames": 48.0, "valid_frames": 100.0}
    return {**output, "code_perplexity": 300.0, **sums, "wait_seconds": 0.1, "busy_seconds": 0.9, **changes}


def reduced(task: SpeechPretrainingTask, outputs: list[dict]) -> dict:
    from fairseq.criterions.wav2vec_criterion import Wav2vecCriterion

    criterion = Wav2vecCriterion(task, infonce=True, log_keys=["code_perplexity"])
    with metrics.aggregate(new_root=True) as found:
        task.reduce_metrics(outputs, criterion)
    return found.get_smoothed_values()


def test_metrics_of_all_processes_are_put_together():
    task = fake_task()
    logged = reduced(task, [batch_output(), batch_output(audio_samples=8_000.0, wait_seconds=0.0, busy_seconds=0.0)])
    assert logged["audio_hours"] == round(24_000 / 16_000 / 3600, 3)
    assert logged["padding"] == pytest.approx(10_000 / 34_000, abs=1e-4)
    assert logged["masked"] == pytest.approx(0.48) and logged["data_wait"] == pytest.approx(0.1)
    # fairseq's own, which our sums must not have reached
    assert logged["loss"] == pytest.approx(200 / 96 / np.log(2), abs=1e-3) and "wait_seconds" not in logged
    reduced(task, [batch_output()])
    assert task.audio_seconds == pytest.approx(2.5)


@pytest.mark.parametrize(("model_cfg", "expected"), [({}, 0.478), ({"mask_fill": True}, 0.65)])
def test_share_of_frames_that_masks_aim_at(model_cfg, expected):
    assert fake_task(**model_cfg).health_targets()["masked_target"] == pytest.approx(expected, abs=1e-3)


def test_perplexities_of_a_criterion_that_sums_are_weighted_by_their_targets():
    """``pretraining``, whose outputs of several processes arrive as one."""
    outputs = [batch_output(code_perplexity=48 * 300.0), batch_output(code_perplexity=16 * 100.0, sample_size=16)]
    summed = {name: outputs[0][name] + outputs[1][name] for name in outputs[0]}
    for given in (outputs, [summed]):
        learning = SpeechPretrainingTask._learning(given, PretrainingCriterion(SimpleNamespace(), None))
        assert learning["code_perplexity"] == pytest.approx(250.0)


def test_a_checkpoint_keeps_the_hours_heard():
    task = fake_task()
    task.audio_seconds = 7_200.0
    task._trainer.optimizer = SimpleNamespace()
    other = fake_task()
    other.set_checkpoint_dict(task.get_checkpoint_dict()["SpeechPretrainingTask"])
    assert other.audio_seconds == 7_200.0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"code_perplexity": 2.1}, "codebooks have collapsed"),
        ({"loss": 0.5, "correct": 48}, "the run is degenerate"),
        ({"masked_frames": 5.0}, "frames are masked"),
        ({"computed_samples": 40_000.0}, "is padding"),
        ({"wait_seconds": 2.0}, "waiting for data"),
    ],
)
def test_each_sign_reaches_the_log_from_what_batches_give(changes, words, caplog):
    with caplog.at_level(logging.WARNING):
        reduced(fake_task(), [batch_output()])
        assert not caplog.records
        reduced(fake_task(), [batch_output(**changes)])
    assert len(caplog.records) == 1 and words in caplog.text


def test_a_run_of_one_long_and_one_short_clip(zygote, arguments, tmp_path):
    """Through fairseq's trainer: half the batch is padding, and the long clip is masked as little as the short one."""
    wave = np.concatenate([speak("a long sentence, to be followed by a very short one", "en-us")] * 3)[:160_000]
    soundfile.write(tmp_path / "long.flac", wave, 16_000)
    soundfile.write(tmp_path / "short.flac", wave[:8_000], 16_000)
    for split in ("train", "valid"):
        rows = f"long.flac\t{len(wave)}\nshort.flac\t8000\n"
        (tmp_path / f"{split}.tsv").write_text(f"{tmp_path}\n{rows}")
    options = [*NOISY, f"task.data={tmp_path}", "+task.health_updates=2", "task.max_sample_size=240000"]
    options += ["dataset.max_tokens=400000", "checkpoint.save_interval_updates=2"]
    log = tmp_path / "log"
    zygote.run(arguments(tmp_path / "run", 3, *options), log)
    text = log.read_text()
    assert "of what is computed is padding" in text and "of the frames are masked, where model.mask_prob" in text
    last = [json.loads(line[line.index("{") :]) for line in text.splitlines() if "[train_inner]" in line][-1]
    assert float(last["padding"]) > 0.4 and float(last["masked"]) < 0.3
    assert float(last["audio_hours"]) == pytest.approx(3 * (len(wave) + 8_000) / 16_000 / 3600, abs=6e-4)
    assert 0 <= float(last["data_wait"]) < 1 and "code_perplexity" in last
    # the hours go on from where they were
    zygote.run(arguments(tmp_path / "run", 5, *options), log)
    last = [line for line in log.read_text().splitlines() if "[train_inner]" in line][-1]
    hours = float(json.loads(last[last.index("{") :])["audio_hours"])
    assert hours == pytest.approx(5 * (len(wave) + 8_000) / 16_000 / 3600, abs=6e-4)
