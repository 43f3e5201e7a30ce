"""``task.sample_rate`` is checked wherever a model hears audio: pre-training, fine-tuning, probes, checkpoints."""

from __future__ import annotations

import pytest
from encoder_checkpoints import OURS, configuration, fine_tune, letters, save
from fairseq.models.wav2vec.wav2vec2_asr import Wav2Vec2CtcConfig
from omegaconf import OmegaConf
from probes import probe_config, save_encoder
from small_tasks import task_on, write_split

from summarymixing_fairseq.checkpoints.encoders import load_encoder
from summarymixing_fairseq.checkpoints.fine_tuned import load_fine_tuned
from summarymixing_fairseq.system.errors import InputError

REFUSED = r"task\.sample_rate=8000: the encoder takes audio at 16000 Hz"


@pytest.fixture
def folder(tmp_path):
    write_split(tmp_path, "train", [16_000], ["A B |"])
    return tmp_path


def model_config(road, folder, tiny_model, tiny_config):
    """Configuration of a road's model."""
    if road == "speech_pretraining":
        return OmegaConf.merge(OmegaConf.structured(tiny_config()), {"_name": OURS})
    model = tiny_model()
    if road == "probe_recognition":
        return probe_config(save_encoder(folder / "encoder.pt", model, data=str(folder)), "linear_ctc")
    fields = {"_name": "wav2vec_ctc", "w2v_path": "", "normalize": False, "data": str(folder)}
    fields.update(w2v_args=configuration(model, OURS, data=str(folder)), ddp_backend="legacy_ddp")
    return OmegaConf.merge(OmegaConf.structured(Wav2Vec2CtcConfig()), fields)


@pytest.mark.parametrize("road", ["speech_pretraining", "speech_finetuning", "probe_recognition"])
def test_every_training(road, folder, tiny_model, tiny_config):
    labels = {} if road == "speech_pretraining" else {"labels": "ltr"}
    cfg = model_config(road, folder, tiny_model, tiny_config)
    task_on(folder, road, sample_rate=16_000, **labels).build_model(cfg)
    with pytest.raises(InputError, match=REFUSED):
        task_on(folder, road, sample_rate=8_000, **labels).build_model(cfg)


def test_fine_tuned_checkpoints(folder, tiny_model):
    dictionary, path = letters("AB|"), folder / "fine_tuned.pt"
    config, ctc = fine_tune(tiny_model(), OURS, folder, dictionary)
    config["task"]["sample_rate"] = 8_000
    save(path, config, ctc.state_dict(), task_state={"target_dictionary": dictionary})
    with pytest.raises(InputError, match=r"fine_tuned\.pt: its encoder takes audio at 8000 Hz"):
        load_fine_tuned(path)
    with pytest.raises(InputError, match=r"fine_tuned\.pt: its encoder takes audio at 8000 Hz"):
        load_encoder(path)
