"""Folders for transformers: the same bits, loaded without this package, used by its tools, and read back."""

from __future__ import annotations

import ast
import json
import os
import sys
import tempfile
from pathlib import Path

import editdistance
import pytest
import torch
from encoder_checkpoints import OURS, configuration, fine_tune, letters, save
from toned import sentence, spoken

from summarymixing_fairseq.checkpoints.encoders import load_model
from summarymixing_fairseq.checkpoints.fine_tuned import load_fine_tuned
from summarymixing_fairseq.checkpoints.recogniser import load_recogniser
from summarymixing_fairseq.commands.main import main
from summarymixing_fairseq.export import check
from summarymixing_fairseq.export.formats.hf import hide_broken_torchaudio

# read once, as transformers is imported: where it keeps the code that it loads
os.environ["HF_MODULES_CACHE"] = tempfile.mkdtemp()
os.environ["HF_HUB_OFFLINE"] = "1"
hide_broken_torchaudio()
transformers = pytest.importorskip("transformers")
from transformers import AutoModel, AutoModelForCTC, AutoProcessor  # noqa: E402

SENTINEL = "sentinel-folder"
# what each mixer needs to fit the tiny model
MIXERS = ("summarymixing", "mhsa", "performer", "linformer", "windowed_summarymixing", "bigbird")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """The check of ten minutes takes seconds a test."""
    monkeypatch.setattr(check, "LONG", 12.0)


def export(path: Path, destination: Path) -> Path:
    assert main(["export", str(path), str(destination), "--to", "hf"]) == 0
    return destination


def load(auto, folder: Path):
    return auto.from_pretrained(str(folder), trust_remote_code=True).eval()


@pytest.mark.parametrize("mixer", MIXERS)
def test_an_encoder_gives_the_same_bits(mixer, tmp_path, tiny_model, capsys):
    model = tiny_model(mixer=mixer)
    config = configuration(model, OURS, data=SENTINEL, normalize=True)
    path = save(tmp_path / "checkpoint.pt", config, model.state_dict())
    folder = export(path, tmp_path / f"hf_{mixer}")
    assert ("equal to the bit" in capsys.readouterr().out) or mixer == "linformer"
    clip = check.check_clip(1.5)
    with torch.no_grad():  # with gradients a CPU convolves in another order
        found = load(AutoModel, folder)(torch.from_numpy(clip)[None], output_hidden_states=True)
    ours = load_model(path)
    assert (torch.cat(found.hidden_states) - ours.extract(clip, "all")).abs().max() <= (mixer == "linformer") * 1e-6
    # and back
    assert load_model(folder).spec == ours.spec
    assert torch.equal(load_model(folder).extract(clip), ours.extract(clip))
    assert not any(SENTINEL.encode() in file.read_bytes() for file in folder.rglob("*") if file.is_file())


def test_a_streaming_model_hears_whole_clips_there_and_learns_by_chunks(tmp_path, tiny_model):
    model = tiny_model(streaming=True)
    path = save(tmp_path / "checkpoint.pt", configuration(model, OURS), model.state_dict())
    loaded = load(AutoModel, export(path, tmp_path / "hf_streaming"))
    assert loaded.encoder.streaming.full_context == 0.5 and loaded.feature_extractor.running
    clip = check.check_clip(1.5)
    with torch.no_grad():
        found = loaded(torch.from_numpy(clip)[None]).last_hidden_state
    assert torch.equal(found[0], load_model(path).extract(clip, "output"))


@pytest.fixture(scope="module")
def recogniser(toned, tmp_path_factory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(check, "LONG", 12.0)
        return export(toned, tmp_path_factory.mktemp("hf") / "toned")


def test_the_code_of_other_mixers_stays_behind(recogniser):
    """Only what the model needs goes beside it."""
    names = {path.name for path in recogniser.glob("*.py")}
    assert "summarymixing_modules_mixing_summarymixing.py" in names
    assert not any("mhsa" in name or "attention" in name for name in names)


def test_its_code_asks_for_torch_and_transformers_alone(recogniser):
    for path in recogniser.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module] if isinstance(node, ast.ImportFrom) and not node.level else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                top = name.split(".")[0]
                assert top in ("torch", "numpy", "transformers") or top in sys.stdlib_module_names, (path, name)


def test_a_pipeline_gives_text_and_times_of_long_files(toned, recogniser):
    recognise = transformers.pipeline(
        "automatic-speech-recognition", model=str(recogniser), trust_remote_code=True, device="cpu"
    )
    text = sentence(60, 3)
    said = spoken(text, 3)
    ours = load_recogniser(toned).transcribe(said.waveform)
    whole = recognise(said.waveform.copy(), return_timestamps="word")
    assert whole["text"] == ours.text
    assert [chunk["text"] for chunk in whole["chunks"]] == [word.label for word in ours.words]
    for chunk, word in zip(whole["chunks"], ours.words):
        assert abs(chunk["timestamp"][0] - word.start) < 0.1 and abs(chunk["timestamp"][1] - word.end) < 0.1
    by_windows = recognise(said.waveform.copy(), chunk_length_s=10)["text"]
    assert editdistance.eval(by_windows.split(), ours.text.split()) <= 6  # of 60 words


def test_trainer_fine_tunes_and_what_it_saves_is_read(recogniser, tmp_path):
    processor = AutoProcessor.from_pretrained(str(recogniser), trust_remote_code=True)
    model = load(AutoModelForCTC, recogniser)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    clips = [spoken("AB BA", seed) for seed in range(4)]
    data = []
    for clip in clips:
        row = processor(clip.waveform, sampling_rate=16_000)
        data.append({"input_values": row["input_values"][0], "labels": processor.tokenizer("AB|BA|").input_ids})

    def collate(rows):
        batch = processor.feature_extractor.pad(
            [{"input_values": row["input_values"]} for row in rows], return_tensors="pt", return_attention_mask=True
        )
        return {**batch, "labels": torch.tensor([row["labels"] for row in rows])}

    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path / "runs"), max_steps=3, learning_rate=1e-3, per_device_train_batch_size=2,
        report_to=[], use_cpu=True, save_strategy="no", disable_tqdm=True, remove_unused_columns=False,
    )  # fmt: skip
    trainer = transformers.Trainer(model, arguments, train_dataset=data, data_collator=collate)
    assert trainer.train().training_loss > 0
    assert not torch.equal(model.state_dict()["lm_head.weight"], before["lm_head.weight"])
    model.eval().save_pretrained(tmp_path / "saved")
    processor.save_pretrained(tmp_path / "saved")
    again = load(AutoModelForCTC, tmp_path / "saved")
    waveform = torch.from_numpy(clips[0].waveform)[None]
    assert torch.equal(again(waveform).logits, model(waveform).logits)
    # and back: every command takes the folder
    ours = load_fine_tuned(tmp_path / "saved")
    scores = ours(waveform)
    assert torch.equal(scores.transpose(0, 1), again(waveform).logits)


def test_another_order_of_symbols_is_read(tmp_path, tiny_model):
    """As of a tokenizer that was made for the data: the blank comes last, and there is no <s>."""
    model = tiny_model()
    path = save(tmp_path / "c.pt", configuration(model, OURS), model.state_dict())
    folder = export(path, tmp_path / "hf")
    symbols = {"|": 0, "A": 1, "B": 2, "[UNK]": 3, "[PAD]": 4}
    ctc = AutoModelForCTC.from_pretrained(str(folder), trust_remote_code=True, vocab_size=5, pad_token_id=4).eval()
    ctc.save_pretrained(folder)
    (folder / "vocab.json").write_text(json.dumps(symbols))
    ours = load_fine_tuned(folder)
    assert ours.dictionary.symbols == ["<s>", "<pad>", "</s>", "<unk>", "|", "A", "B"]
    waveform = torch.from_numpy(check.check_clip(1.0))[None]
    with torch.no_grad():
        scores = ours(waveform)[:, 0]
        assert torch.allclose(scores[:, [0, 3, 4, 5, 6]], ctc(waveform).logits[0][:, [4, 3, 0, 1, 2]], atol=1e-5)
    assert (scores[:, [1, 2]] < -1e3).all()


def test_what_does_not_go(tmp_path, tiny_model, capsys):
    config, ctc = fine_tune(tiny_model(), OURS, tmp_path, letters(["▁the", "m"]))
    config["criterion"] = {"post_process": "sentencepiece"}
    dictionary = {"task_state": {"target_dictionary": letters(["▁the", "m"])}}
    path = save(tmp_path / "pieces.pt", config, ctc.state_dict(), **dictionary)
    assert main(["export", str(path), str(tmp_path / "hf"), "--to", "hf"]) == 1
    assert "joins letters to words alone" in capsys.readouterr().err and not (tmp_path / "hf").exists()
