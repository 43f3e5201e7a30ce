"""A clip that is another than when its manifest was made is a bad clip like any other: named, counted, replaced."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
from omegaconf import OmegaConf
from small_tasks import task_on, write_split


def rewrite(folder, num_samples):
    soundfile.write(folder / "0_train.wav", np.random.default_rng(2).uniform(-0.1, 0.1, num_samples), 16_000)


@pytest.mark.parametrize(
    ("row", "num_samples", "said"),
    [
        (16_000, 8_000, "holds 8000 samples, where its row promises 16000"),
        (16_000, 40_000, "holds 40000 samples, where its row promises 16000"),
        # 0.1 s of difference are tolerated, but not by the masks of pre-training: spans of 10 frames need 0.325 s
        (5_200, 4_000, "holds 4000 samples, and the model needs 5200"),
    ],
)
def test_another_length(row, num_samples, said, tmp_path, tiny_config, caplog):
    write_split(tmp_path, "train", [row, 16_000, 16_000])
    task = task_on(tmp_path, "speech_pretraining", max_bad_fraction=0.5)
    model = task.build_model(
        OmegaConf.merge(OmegaConf.structured(tiny_config()), {"_name": "wav2vec2_summarymixing"})
    ).train()
    task.load_dataset("train")
    dataset = task.dataset("train")
    assert dataset[0]["id"] == 0
    rewrite(tmp_path, num_samples)
    assert dataset[0]["id"] != 0 and dataset.bad_clips.indices() == [0]
    assert f"clip 0 of train cannot be used, another stands in: {tmp_path}/0_train.wav {said}" in caplog.text
    model(**dataset.collater([dataset[0]])["net_input"])


def test_a_difference_that_harms_nobody_is_tolerated(tmp_path, tiny_config):
    write_split(tmp_path, "train", [16_000, 16_000])
    dataset = task_on(tmp_path, "speech_pretraining")
    dataset.load_dataset("train")
    for num_samples in (14_500, 17_500):
        rewrite(tmp_path, num_samples)
        assert len(dataset.dataset("train")[0]["source"]) == num_samples
