"""Options of fine-tuning under which fairseq ends in an assertion or an AttributeError."""

from __future__ import annotations

import pytest
import torch
from encoder_checkpoints import OURS, configuration, save, stock_model
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


def test_a_clip_without_a_frame(folder):
    """It would end the run at the first batch of such clips, or be learned nothing of."""
    task = task_on(folder)
    task.build_model(model_config(folder))
    write_split(folder, "train", [16_000, 500, *[16_000] * 4], LABELS)
    with pytest.raises(InputError, match=r"1 of 6 clips of .* 1_train\.wav first: .* task\.min_sample_size=1360"):
        task.load_dataset("train")


def test_another_normalisation_than_in_pre_training(folder):
    with pytest.raises(InputError, match=r"task\.normalize=true: .*pretrained\.pt was pre-trained with the opposite"):
        task_on(folder, normalize=True).build_model(model_config(folder, normalize=True))


@pytest.mark.parametrize("name", ["wav2vec", "pretraining", "cross_entropy"])
def test_a_criterion_of_other_models(name, folder):
    task = task_on(folder)
    task.build_model(model_config(folder))
    with pytest.raises(InputError, match=rf"criterion\._name={name}: model wav2vec_ctc is trained by ctc"):
        task.build_criterion(OmegaConf.create({"_name": name}))


def test_last_layers_start_anew(folder):
    """The others, and all that is not a layer, keep their weights; a checkpoint of the run brings its own."""
    task = task_on(folder, reset_last_layers=1)
    pretrained = torch.load(folder / "pretrained.pt", weights_only=True)["model"]

    def reset_layers(**options):
        encoder = task.build_model(model_config(folder), **options).w2v_encoder.w2v_model
        changed = {n.split(".")[2] for n, w in encoder.state_dict().items() if not torch.equal(w, pretrained[n])}
        return changed, len(encoder.encoder.layers)

    assert reset_layers() == ({"1"}, 2)
    assert reset_layers(from_checkpoint=True)[1] == 2


@pytest.mark.parametrize("number", [3, -1])
def test_more_layers_to_reset_than_there_are(number, folder):
    with pytest.raises(InputError, match=rf"task\.reset_last_layers={number}: must be 0 to 2, the number of layers"):
        task_on(folder, reset_last_layers=number).build_model(model_config(folder))


def test_layers_of_another_model_are_not_reset(folder):
    model = stock_model("wav2vec2")
    save(folder / "stock.pt", configuration(model, "wav2vec2", data=str(folder)), model.state_dict())
    with pytest.raises(InputError, match=r"task\.reset_last_layers=1: only of wav2vec2_summarymixing"):
        task_on(folder, reset_last_layers=1).build_model(model_config(folder, w2v_path=str(folder / "stock.pt")))


@pytest.mark.parametrize("random", [False, True])
def test_the_pre_trained_file_is_remembered(random, folder):
    task = task_on(folder)
    task.build_model(model_config(folder, no_pretrained_weights=random))
    kept = task.get_checkpoint_dict()["SpeechFinetuningTask"]["pretrained"]
    assert kept == ("" if random else sha256_of(folder / "pretrained.pt"))
