"""The model card, and what is done with an export that is not the checkpoint."""

from __future__ import annotations

import pytest
import torch
from encoder_checkpoints import OURS, configuration, fine_tune, save, stock_model

from summarymixing_fairseq.checkpoints.safetensors_file import write_safetensors
from summarymixing_fairseq.commands.main import main
from summarymixing_fairseq.export import check
from summarymixing_fairseq.export.card import UNKNOWN, model_card
from summarymixing_fairseq.export.formats import FORMATS
from summarymixing_fairseq.export.source import load_source


@pytest.fixture
def pretrained(tmp_path, tiny_model):
    model = tiny_model()
    config = configuration(model, OURS)
    config.update(optimization={"lr": [0.002], "max_update": 56}, checkpoint={"best_checkpoint_metric": "loss"})
    extra = {"val_loss": 5.654, "best": float("nan"), "SpeechPretrainingTask": {"audio_seconds": 7_200.0}}
    return save(tmp_path / "checkpoint.pt", config, model.state_dict(), extra_state=extra)


def test_a_card_is_filled_from_the_checkpoint(pretrained):
    card = model_card(load_source(pretrained), "safetensors", "cc-by-4.0", "print()\n")
    assert card.startswith("---\nlicense: cc-by-4.0\npipeline_tag: feature-extraction\n")
    for wanted in (
        "| audio heard in the last run, repetitions included | 2.0 h |",
        "| updates | 3 |",
        "| optimization.lr | [0.002] |",
        "| validation loss | 5.654 |",
        "| model.objective | contrastive |",
        "A clip has at least 85 ms.",
        "2 layers of 32, pre-trained",
        f"| languages | {UNKNOWN} |",
    ):
        assert wanted in card, wanted
    assert "best validation" not in card  # it is no number


def test_a_card_of_another_model(tmp_path):
    model = stock_model("wav2vec2")
    path = save(tmp_path / "w.pt", configuration(model, "wav2vec2"), model.state_dict())
    card = model_card(load_source(path), "safetensors", "mit", "print()\n")
    assert "summarymixing\n" not in card and "with SummaryMixing" not in card and "- speech\n" in card


def test_a_checkpoint_that_says_nothing(tmp_path, tiny_model):
    model = tiny_model(mixer="linformer")
    path = save(tmp_path / "c.pt", {"model": configuration(model, OURS)["model"]}, model.state_dict(), extra_state=None)
    card = model_card(load_source(path), "safetensors", "unknown", "print()\n")
    assert f"repetitions included | {UNKNOWN} |" in card and "the checkpoint holds none" in card
    assert "- linformer" in card and "A clip has at most" in card and "license: unknown" in card


def test_an_export_that_differs_is_not_written(pretrained, tmp_path, monkeypatch, capsys):
    write = FORMATS["safetensors"].write

    def write_another(self):
        write(self)
        self.source.state["model"]["mask_emb"] = self.source.state["model"]["mask_emb"] + 1

    monkeypatch.setattr(FORMATS["safetensors"], "write", write_another)
    output = tmp_path / "out.safetensors"
    assert main(["export", str(pretrained), str(output)]) == 1
    message = capsys.readouterr().err
    assert "does not hold the weights" in message and "out.safetensors" in message and "nothing was written" in message
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint.pt"]
    output.write_bytes(b"an export of before")
    assert main(["export", str(pretrained), str(output), "--force"]) == 1
    assert output.read_bytes() == b"an export of before"


def test_a_destination_that_is_the_folder_above(pretrained, tmp_path, monkeypatch):
    here = tmp_path / "above" / "here"
    here.mkdir(parents=True)
    for name in ("README.md", "use.py"):
        (here / name).write_text("mine")
    monkeypatch.chdir(here)
    assert main(["export", str(pretrained), "..", "--to", "s3prl"]) == 0
    assert {path.name: path.read_text() for path in here.iterdir()} == {"README.md": "mine", "use.py": "mine"}
    assert (tmp_path / "above" / "use.py").exists()


def test_a_recogniser_without_its_symbols_is_exported_as_weights(tmp_path, tiny_model, capsys):
    config, ctc = fine_tune(tiny_model(mixer="linformer"), OURS, tmp_path)
    path = save(tmp_path / "c.pt", config, ctc.state_dict())
    assert main(["export", str(path), str(tmp_path / "out.safetensors")]) == 0, capsys.readouterr().err
    assert "A clip has at most" in (tmp_path / "out.md").read_text()


def test_files_of_an_earlier_export_do_not_stay(pretrained, tmp_path, monkeypatch, capsys):
    """Those that belong to its model and not to this one."""
    made = FORMATS["safetensors"]
    monkeypatch.setattr(made, "optional", ("vocab.json", "out.safetensors"))
    for name in ("vocab.json", "mine.txt"):
        (tmp_path / "out" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "out" / name).write_text("")
    monkeypatch.setattr(made, "files", lambda self: [self.destination / "out.safetensors"])
    monkeypatch.setattr(made, "write", lambda self: write_safetensors(self.source.state, self.files()[0]))
    monkeypatch.setattr(made, "check", lambda self: "checked")
    for name in ("use", "card"):
        monkeypatch.setattr(made, name, lambda self, name=name: self.destination / name)
    ours = ["card", "mine.txt", "out.safetensors", "use"]
    for force, expected in (([], [*ours, "vocab.json"]), (["--force"], ours)):
        assert main(["export", str(pretrained), str(tmp_path / "out"), *force]) == 0, capsys.readouterr().err
        assert sorted(path.name for path in (tmp_path / "out").iterdir()) == expected


def test_a_licence_without_a_name(pretrained, tmp_path, capsys):
    assert main(["export", str(pretrained), str(tmp_path / "a.safetensors"), "--licence", " "]) == 1
    assert "--licence is empty" in capsys.readouterr().err


def test_an_unknown_format(pretrained, tmp_path, capsys):
    assert main(["export", str(pretrained), str(tmp_path / "out"), "--to", "tape"]) == 1
    assert "--to tape: choose one of" in capsys.readouterr().err


def test_outputs_are_compared(pretrained, monkeypatch):
    """Of each clip alone and in a batch; a difference, a shape or a NaN is told."""
    monkeypatch.setattr(check, "LONG", 12.0)
    source = load_source(pretrained)
    assert "0.2 s, 10 s, 12 s, and in a padded batch: equal to the bit" in check.compare(source, source.outputs, 0.0)

    def changed(change):
        return lambda clips: [change(output) if len(clips) > 1 else output for output in source.outputs(clips)]

    assert "1.0e-05" in check.compare(source, changed(lambda y: y + 1e-5), 1e-4).replace("9.5e-06", "1.0e-05")
    for change, message in (
        (lambda y: y + 1e-3, r"a clip of 0\.2 s in a batch differs by 1\.0e-03"),
        (lambda y: y * float("nan"), "differs by nan"),
        (lambda y: torch.cat([y, y]), r"a clip of 0\.2 s in a batch gives \("),
    ):
        with pytest.raises(ValueError, match=message):
            check.compare(source, changed(change), 1e-4)


def test_a_card_is_no_place_for_markdown_of_others(pretrained, tmp_path):
    state = torch.load(pretrained, weights_only=True)
    state["cfg"]["checkpoint"] = {"best_checkpoint_metric": "loss |\n# Safe to use"}
    state["extra_state"]["best"] = 10**400  # a number that no float holds
    torch.save(state, tmp_path / "other.pt")
    card = model_card(load_source(tmp_path / "other.pt"), "safetensors", "mit", "print()\n")
    assert "# Safe" not in card.splitlines() and "best validation" not in card


def test_weights_that_share_memory(tmp_path, tiny_model, capsys):
    model = tiny_model()
    weights = {name: weight.clone() for name, weight in model.state_dict().items()}
    shape = weights["encoder.layer_norm.weight"].shape
    same = [name for name, weight in weights.items() if weight.shape == shape]
    assert len(same) > 1
    for name in same:
        weights[name] = weights[same[0]]
    path = save(tmp_path / "tied.pt", configuration(model, OURS), weights)
    assert main(["export", str(path), str(tmp_path / "out.safetensors")]) == 0, capsys.readouterr().err


def test_a_damaged_checkpoint_is_told_and_not_exported(tmp_path, tiny_model, capsys):
    model = tiny_model()
    weights = {name: weight for name, weight in model.state_dict().items() if not name.startswith("encoder.layers.1")}
    path = save(tmp_path / "damaged.pt", configuration(model, OURS), weights)
    assert main(["export", str(path), str(tmp_path / "out.safetensors")]) == 1
    assert "damaged.pt" in capsys.readouterr().err and not (tmp_path / "out.safetensors").exists()
