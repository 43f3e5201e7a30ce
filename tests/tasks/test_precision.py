"""What the filterbank hears when fairseq's trainer converts a batch to the training precision."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import soundfile
import torch
from fairseq.tasks import setup_task
from fairseq.trainer import Trainer
from omegaconf import OmegaConf


@pytest.fixture
def batch_of(tmp_path, speech):
    """A function: task name and what ``common`` says -> the batch that its dataset hands to the trainer."""
    rows = []
    for number, wave in enumerate(speech):
        soundfile.write(tmp_path / f"{number}.wav", wave, 16_000)
        rows.append(f"{number}.wav\t{len(wave)}\n")
    (tmp_path / "valid.tsv").write_text(f"{tmp_path}\n{''.join(rows)}")

    def load(task_name: str, **common) -> dict:
        from fairseq.tasks import TASK_DATACLASS_REGISTRY

        config = OmegaConf.structured(TASK_DATACLASS_REGISTRY[task_name])
        config.update({"_name": task_name, "data": str(tmp_path), "enable_padding": True, "seed": 1})
        common = {"tpu": False, **common}
        task = setup_task(OmegaConf.create({"common": common, "task": config}).task)
        task.load_dataset("valid")
        dataset = task.dataset("valid")
        return dataset.collater([dataset[i] for i in range(len(dataset))])

    return load


def heard(model: torch.nn.Module, batch: dict, fp16: bool, bf16: bool) -> torch.Tensor:
    """Energies of the batch's valid frames, after what ``Trainer._prepare_sample`` does to it."""
    common = SimpleNamespace(fp16=fp16, bf16=bf16, memory_efficient_fp16=False, amp=False)
    converted = Trainer._fp_convert_sample(SimpleNamespace(cfg=SimpleNamespace(common=common)), batch)["net_input"]
    filterbank = model.feature_extractor.filterbank
    energies = filterbank(converted["source"])
    lengths = filterbank.output_lengths((~converted["padding_mask"]).sum(1)).tolist()
    return torch.cat([clip[:length] for clip, length in zip(energies, lengths)])


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_speech_pretraining_keeps_what_audio_pretraining_rounds(batch_of, tiny_model, precision):
    model = tiny_model()
    expected = heard(model, batch_of("audio_pretraining"), False, False)
    model = model.half() if precision == "fp16" else model.bfloat16()
    flags = {"fp16": precision == "fp16", "bf16": precision == "bf16"}
    ours = heard(model, batch_of("speech_pretraining", **flags), **flags)
    torch.testing.assert_close(ours, expected, atol=1e-3, rtol=0)
    stock = heard(model, batch_of("audio_pretraining"), **flags)
    assert (stock - expected).abs().max() > 0.01, "if fairseq no longer rounds, float64 is no longer needed"


def test_a_waveform_that_is_not_rounded_is_not_converted(batch_of):
    batch = batch_of("speech_pretraining", fp16=False, bf16=False)
    assert batch["net_input"]["source"].dtype == torch.float32


def test_unknown_precision_counts_as_half(batch_of):
    assert batch_of("speech_pretraining")["net_input"]["source"].dtype == torch.float64
