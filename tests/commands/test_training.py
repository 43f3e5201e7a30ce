"""Training through fairseq's own commands, as the pages type them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from pipeline import ROOT, TEXTS, TINY_MODEL, VOICES, Trained, records, run, train

from summarymixing_fairseq.data.synthesiser import speak


def test_pretraining_logs_loss_accuracy_and_perplexity(trained: Trained) -> None:
    (first, second) = records(trained.pretrain_log, "train_inner")
    assert second["num_updates"] == "2"
    assert {"loss", "accuracy", "code_perplexity", "prob_perplexity", "temp", "gnorm"} <= set(first)
    assert 0 < float(first["loss"]) < 20 and 0 < float(first["code_perplexity"]) <= 40


def test_resume_goes_on_from_the_last_update(trained: Trained) -> None:
    assert "Loaded checkpoint" in trained.resume_log
    assert [r["num_updates"] for r in records(trained.resume_log, "train_inner")] == ["3"]


def test_checkpoints_hold_tensors_and_plain_containers_only(trained: Trained) -> None:
    state = torch.load(trained.pretrained, weights_only=True)
    assert state["cfg"]["model"]["_name"] == "wav2vec2_summarymixing"
    assert state["cfg"]["model"]["mixer"] == "summarymixing"


def test_fine_tuning_logs_error_rates(trained: Trained) -> None:
    last = records(trained.finetune_log, "valid")[-1]
    assert {"valid_uer", "valid_wer", "valid_loss"} <= set(last)


def test_fine_tuning_resumes(trained: Trained, tmp_path: Path) -> None:
    """The dictionary that fairseq pickles into the checkpoint must pass torch's safe loading."""
    last = tmp_path / "checkpoint_last.pt"
    last.write_bytes(trained.fine_tuned.read_bytes())
    log = train("finetuning", trained.data, tmp_path, 3, f"model.w2v_path={trained.pretrained}")
    assert [r["num_updates"] for r in records(log, "train_inner")] == ["3"]


def test_mhsa_twin_and_stock_finetuning_train(trained: Trained, tmp_path: Path) -> None:
    twin = ["model.mixer=mhsa", "+model.encoder_attention_heads=4"]
    log = train("pretraining", trained.data, tmp_path / "mhsa", 1, *TINY_MODEL, *twin)
    assert records(log, "train_inner")
    pretrained = tmp_path / "mhsa" / "checkpoint_last.pt"
    overrides = [f"model.w2v_path={pretrained}", "task._name=audio_finetuning"]
    log = train("finetuning", trained.data, tmp_path / "ctc", 2, *overrides)
    assert len(records(log, "train_inner")) == 2


def test_segments_of_long_files_train_and_a_bad_clip_does_not_end_the_run(tmp_path: Path) -> None:
    """Two long recordings and a broken one, at two rates, parted by voice activity; read by data workers."""
    audio = tmp_path / "audio"
    audio.mkdir()
    pause = np.zeros(8_000, np.float32)
    sentences = [np.concatenate([speak(text, voice), pause]) for text in TEXTS[:4] for voice in VOICES]
    recording = np.concatenate(sentences)
    soundfile.write(audio / "long.flac", recording, 16_000)
    soundfile.write(audio / "slow.wav", recording[::2], 8_000)
    soundfile.write(audio / "broken.flac", recording, 16_000)
    options = ["--vad", "--target-seconds", "5", "--min-segment-seconds", "1", "--valid-fraction", "0"]
    run("python", "manifests/make_manifest.py", audio, "--dest", tmp_path, *options)
    rows = [line.split("\t") for line in (tmp_path / "train.tsv").read_text().splitlines()[1:]]
    assert {row[0] for row in rows} == {"long.flac", "slow.wav", "broken.flac"} and all(len(row) == 3 for row in rows)
    (tmp_path / "valid.tsv").write_text((tmp_path / "train.tsv").read_text())
    (audio / "broken.flac").write_bytes((audio / "broken.flac").read_bytes()[:20_000])
    overrides = [*TINY_MODEL, "dataset.num_workers=2", "+task.max_bad_fraction=0.5"]
    log = train("pretraining", tmp_path, tmp_path / "run", 2, *overrides)
    assert len(records(log, "train_inner")) == 2 and records(log, "valid")
    assert "of train cannot be used, another stands in" in log
    strict = train("pretraining", tmp_path, tmp_path / "strict", 2, *TINY_MODEL, check=False)
    assert "clips of train cannot be used, more than task.max_bad_fraction=0.01 allows" in strict


def test_a_published_config_trains_two_updates_on_cpu(labelled_speech: Path, tmp_path: Path) -> None:
    """The recipe as written, but for a batch, a depth and a width that a test can afford.

    `base` and `base_mhsa` do so in tests/examples/test_compatibility.py.
    """
    done = run(
        *("fairseq-hydra-train", "--config-dir", "examples/pretraining", "--config-name", "base_bestrq"),
        *(f"task.data={labelled_speech}", f"checkpoint.save_dir={tmp_path}"),
        *("optimization.max_update=2", "optimization.update_freq=[1]", "dataset.max_tokens=100000"),
        *("common.cpu=true", "dataset.num_workers=0", "common.log_interval=1", "common.log_format=json"),
        *("model.encoder_layers=1", "model.encoder_embed_dim=64", "model.encoder_ffn_embed_dim=64"),
        "+task.quality=false",
    )
    assert [r["num_updates"] for r in records(done.stdout, "train_inner")] == ["1", "2"]
    assert (tmp_path / "checkpoint_last.pt").exists()


def test_fairseq_train_with_user_dir(labelled_speech: Path, tmp_path: Path) -> None:
    """The argument parser of old: every field has a flag, lists of numbers included; stock audio_pretraining too."""
    done = run(
        "fairseq-train",
        labelled_speech,
        *("--user-dir", ROOT / "summarymixing_fairseq", "--task", "audio_pretraining", "--enable-padding"),
        *("--arch", "wav2vec2_summarymixing", "--quantize-targets", "--final-dim", 16, "--latent-vars", 20),
        *("--encoder-layers", 1, "--encoder-embed-dim", 32, "--encoder-ffn-embed-dim", 64, "--summary-heads", 4),
        *("--frontend-channels", 32, "--frontend-kernel-sizes", "3,3", "--summary-mode", "lite"),
        *("--criterion", "wav2vec", "--infonce", "--loss-weights", "[0.1]", "--optimizer", "adam", "--lr", 0.001),
        *("--max-update", 2, "--max-tokens", 200000, "--required-batch-size-multiple", 1, "--num-workers", 0),
        *("--save-dir", tmp_path, "--cpu", "--disable-validation", "--no-epoch-checkpoints"),
    )
    assert "num_updates 2" in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.mixer=mlp", r"model\.mixer='mlp': choose one of .*mhsa.*summarymixing"),
        ("task.data=/nowhere", r"task\.data=/nowhere: no such folder"),
        ("dataset.valid_subset='valid,train'", r"dataset\.valid_subset=valid,train names a training split"),
        ("model.encoder_layers=two", r"model\.encoder_layers: Value 'two' "),
        ("+optimizer.adam_beta=[0.9,0.98]", r"optimizer\.adam_beta: .*did you mean optimizer\.adam_betas"),
        ("+model.require_same_masks=false", r"model\.require_same_masks=false: the contrastive objective needs"),
        ("criterion.infonce=false", r"criterion\.infonce=false: "),
        ("checkpoint.save_dir=/proc/x", r"checkpoint\.save_dir=/proc/x cannot be written: "),
        ("checkpoint.restore_file=/nowhere.pt", r"checkpoint\.restore_file=/nowhere\.pt: no such file"),
    ],
)
def test_bad_configuration_names_the_thing(override: str, message: str, labelled_speech: Path, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=message) as error:  # that of `train` for a command that fails
        train("pretraining", labelled_speech, tmp_path, 2, *TINY_MODEL, override)
    assert "Traceback" not in str(error.value)
    assert not list(tmp_path.glob("*.pt"))
