"""Quality while a model trains: measured without a trace, logged, kept in checkpoints, and warned of."""

from __future__ import annotations

import logging
import math
import shutil
import sys

import numpy as np
import pytest
import torch
from pipeline import records
from training.conftest import NOISY, differences, load

from summarymixing_fairseq.analysis import phones
from summarymixing_fairseq.analysis.phone_speech import phone_speech
from summarymixing_fairseq.training.watch.quality import QualityWatch, first_minute

NAMES = [f"{measure}_{layer}" for measure in ("rank", "phones") for layer in ("latents", "input", "layer1", "layer2")]


@pytest.fixture
def few_clips(monkeypatch) -> None:
    train, test = phone_speech()
    monkeypatch.setattr(phones, "phone_speech", lambda: (train[::8], test[::8]))


def test_spoiled_latents_are_warned_of(tiny_model, speech, few_clips, caplog):
    model = tiny_model().train()
    watch = QualityWatch(speech, normalize=False, patience=1, state=None)
    states = torch.get_rng_state(), np.random.get_state()[1].tolist()
    watch.begin(model, "valid")
    assert torch.equal(torch.get_rng_state(), states[0]) and np.random.get_state()[1].tolist() == states[1]
    assert model.training and all(parameter.grad is None for parameter in model.parameters())
    with caplog.at_level(logging.WARNING):
        assert not watch.check(watch.measure(model), 1)
        # all channels of the last convolution are one: the latents differ by its level alone
        convolution = model.feature_extractor.blocks[-1].conv.weight.data
        convolution[:] = convolution[:1].clone()
        found = watch.measure(model)
        warnings = watch.check(found, 2)
    assert list(found) == [*NAMES, "quality_seconds"] and len(warnings) == 2
    for warning, name in zip(warnings, ("phones_latents", "rank_latents")):
        assert warning.startswith("update 2: ") and name in warning and "model.targets=detached" in warning
        assert warning in caplog.text


def test_a_warning_once_it_has_lasted_and_again_when_it_comes_back():
    state = {"start": {"phones_latents": 0.5, "rank_latents": 30.0}}
    well, ill = {"phones_latents": 0.496, "rank_latents": 10.1}, {"phones_latents": 0.494, "rank_latents": math.nan}
    watch, due = QualityWatch([], False, 200, state), {}
    for update, values in enumerate([well, ill, ill, ill, ill, well, ill, ill, ill], start=1):
        due[100 * update] = len(watch.check(values, 100 * update))
        watch = QualityWatch([], False, 200, watch.state())  # as after a resume
    assert {update for update, number in due.items() if number == 2} == {400, 900} and sum(due.values()) == 4
    assert not QualityWatch([], False, 1, {}).check(ill, 1000)  # what an older run began with is not known


def test_without_the_synthesiser_the_rank_alone_is_measured(tiny_model, speech, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    phone_speech.cache_clear()
    watch = QualityWatch(speech, False, 1, None)
    for _ in range(2):
        assert list(watch.measure(tiny_model())) == [*NAMES[:4], "quality_seconds"]
    assert caplog.text.count("phone accuracy is not measured: the wheel espeakng-loader is missing: pip install") == 1


def test_the_first_minute():
    clips = [{"source": torch.full((seconds * 16_000,), float(seconds))} for seconds in (25, 20, 30, 1)]
    assert [len(wave) / 16_000 for wave in first_minute(clips, None)] == [25, 20]
    assert [len(wave) / 16_000 for wave in first_minute(clips, 160_000)] == [10, 10, 10, 1]
    assert [len(wave) / 16_000 for wave in first_minute([{"source": torch.zeros(1_600_000)}], 0)] == [60]


def test_a_run_logs_it_and_keeps_it_and_resumes_exactly(zygote, arguments, tmp_path):
    """The resumed run has measured neither at the start nor after the first update: what does so leaves no trace."""
    options = [*NOISY, "model.encoder_layers=2", "dataset.disable_validation=false", "task.quality=true"]

    def run(name: str) -> tuple[dict, str]:
        zygote.run(arguments(tmp_path / name, 2, *options), tmp_path / f"{name}.log")
        return load(tmp_path / name / "checkpoint_last.pt"), (tmp_path / f"{name}.log").read_text()

    whole, log = run("whole")
    start, *validations = records(log, "valid")
    assert start["valid_num_updates"] == "0" and len(validations) == 2
    for record in validations:
        assert all(math.isfinite(float(record[f"valid_{name}"])) for name in NAMES)
        assert 0 < float(record["valid_codebook_use"]) <= 1 and float(record["valid_quality_seconds"]) > 0
    kept = whole["extra_state"]["SpeechPretrainingTask"]["quality"]
    assert list(kept["start"]) == [*NAMES, "quality_seconds"]
    assert {name: float(start[f"valid_{name}"]) for name in NAMES} == {name: kept["start"][name] for name in NAMES}
    assert kept["start"]["rank_latents"] == pytest.approx(float(validations[0]["valid_rank_latents"]), rel=0.05)

    (tmp_path / "resumed").mkdir()
    shutil.copy(tmp_path / "whole" / "checkpoint_1_1.pt", tmp_path / "resumed" / "checkpoint_last.pt")
    resumed, log = run("resumed")
    assert '"valid_num_updates": "0"' not in log and resumed["extra_state"]["SpeechPretrainingTask"]["quality"] == kept
    for part in ("model", "last_optimizer_state"):
        assert differences(whole[part], resumed[part]) == []
