"""Options of fine-tuning under which fairseq ends in an assertion or an AttributeError."""

from __future__ import annotations

import pytest
from encoder_checkpoints import OURS, configuration, save
from fairseq.models.wav2vec.wav2vec2_asr import Wav2Vec2CtcConfig
from omegaconf import OmegaConf
from small_tasks import task_on, write_split

from summarymixing_fairseq.system.errors import InputError
from summarymixing_fairseq.system.files import sha256_of

LABELS = ["A |", "B |", "A A |", "B B |", "A B |", "B A |"]


@pytest.fixture
def folder(tmp_path, tiny_model):
    """Clips of different lengths, each with its own transcript, and a pre-trained model."""
    write_split(tmp_path, "train", [16_000 + 100 * number for number in range(6)], LABELS)
    model = tiny_model()
    save(tmp_path / "pretrained.pt", configuration(model, OURS), model.state_dict())
    return tmp_path


def model_config(folder, **fields):
    given = {"_name": "wav2vec_ctc", "w2v_path": str(folder / "pretrained.pt"), "data": str(folder), "normalize": False}
    return OmegaConf.merge(OmegaConf.structured(Wav2Vec2CtcConfig()), {**given, "ddp_backend": "legacy_ddp", **fields})


@pytest.mark.parametrize("name", ["speech_finetuning", "speech_pretraining"])
def test_a_share_of_the_clips(name, folder):
    """fairseq takes the share before it adds the labels of all."""
    task = task_on(folder, name, subsample=0.5)
    task.load_dataset("train")
    dataset = task.dataset("train")
    assert len(dataset) == 3 and dataset.bad_clips.num_clips == 3
    for index in range(3):
        item = dataset[index]
        assert len(item["source"]) == 16_000 + 100 * item["id"] == dataset.num_tokens(index)
        if "label" in item:
            assert task.target_dictionary.string(item["label"]) == LABELS[item["id"]]


def test_another_normalisation_than_in_pre_training(folder):
    with pytest.raises(InputError, match=r"task\.normalize=true: .*pretrained\.pt was pre-trained with the opposite"):
        task_on(folder, normalize=True).build_model(model_config(folder, normalize=True))


@pytest.mark.parametrize("name", ["wav2vec", "pretraining", "cross_entropy"])
def test_a_criterion_of_other_models(name, folder):
    task = task_on(folder)
    task.build_model(model_config(folder))
    with pytest.raises(InputError, match=rf"criterion\._name={name}: model wav2vec_ctc is trained by ctc"):
        task.build_criterion(OmegaConf.create({"_name": name}))


@pytest.mark.parametrize("random", [False, True])
def test_the_pre_trained_file_is_remembered(random, folder):
    task = task_on(folder)
    task.build_model(model_config(folder, no_pretrained_weights=random))
    kept = task.get_checkpoint_dict()["SpeechFinetuningTask"]["pretrained"]
    assert kept == ("" if random else sha256_of(folder / "pretrained.pt"))
