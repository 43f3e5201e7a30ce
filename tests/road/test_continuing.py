"""Going on from a model: other audio, more symbols, and the mean of checkpoints."""

from __future__ import annotations

import re
import shlex
from types import SimpleNamespace

import pytest
import torch
from encoder_checkpoints import OURS, configuration, fine_tune, letters, save
from fairseq.dataclass.configs import CheckpointConfig
from fairseq.models.wav2vec.wav2vec2_asr import Wav2Vec2CtcConfig
from omegaconf import OmegaConf
from pipeline import ROOT
from small_tasks import task_on, write_split
from trainers import save as save_run
from trainers import trainer_of
from training.conftest import arguments, load, manifests, zygote  # noqa: F401 (fixtures)

from summarymixing_fairseq.checkpoints.encoders import load_model
from summarymixing_fairseq.checkpoints.fine_tuned import load_fine_tuned
from summarymixing_fairseq.commands.main import main
from summarymixing_fairseq.system.errors import InputError
from summarymixing_fairseq.training.patches.resuming import load_checkpoint

PAGE = (ROOT / "docs/continuing.md").read_text(encoding="utf-8")


def commands(name: str) -> list[list[str]]:
    """The commands of that name on the page, as a shell would part them."""
    blocks = re.findall(r"```\n(.*?)```", PAGE, re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [shlex.split(line)[1:] for line in lines if line.startswith(name)]


# continuing pre-training


def test_pre_training_goes_on_with_other_audio(arguments, zygote, tmp_path):  # noqa: F811
    """As on the page: the weights of the other run, all else anew; and once begun, it is taken up like any run."""
    (page,) = (words for words in commands("fairseq-hydra-train") if any("finetune_from_model" in w for w in words))
    options = [word.partition("=")[0] for word in page if "=" in word]
    assert options == ["task.data", "checkpoint.finetune_from_model", "checkpoint.save_dir"]
    old, new = tmp_path / "old", tmp_path / "new"
    zygote.run(arguments(old, 2), tmp_path / "log")
    named = f"checkpoint.finetune_from_model={old}/checkpoint_last.pt"
    slow = ["optimization.lr=[1e-9]", "common.seed=2"]
    zygote.run(arguments(new, 1, named, *slow), tmp_path / "log")
    before, after = load(old / "checkpoint_last.pt"), load(new / "checkpoint_last.pt")
    assert after["optimizer_history"][-1]["num_updates"] == 1
    # epochs of an update each
    assert [state["extra_state"]["train_iterator"]["epoch"] for state in (before, after)] == [3, 2]
    heard = [state["extra_state"]["SpeechPretrainingTask"]["audio_seconds"] for state in (before, after)]
    assert heard[1] == heard[0] / 2
    for name, weight in before["model"].items():
        torch.testing.assert_close(after["model"][name], weight, rtol=0, atol=1e-6)
    zygote.run(arguments(new, 2, named, *slow), tmp_path / "log")
    assert load(new / "checkpoint_last.pt")["optimizer_history"][-1]["num_updates"] == 2


def test_no_run_goes_on_without_an_optimizer(tmp_path):
    """As from what `average` writes."""
    trainer = trainer_of(tmp_path)
    path = save_run(trainer, tmp_path / "mean.pt")
    state = load(path)
    del state["last_optimizer_state"]
    torch.save(state, path)
    with pytest.raises(InputError, match="mean.pt has no state of the optimizer, .*finetune_from_model=.*mean.pt"):
        trainer.load_checkpoint(str(path))
    trainer.load_checkpoint(str(path), reset_optimizer=True, reset_lr_scheduler=True)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], r"finetune_from_model=.*gone\.pt: no such file"),
        (["reset_optimizer=true"], r"leave checkpoint\.reset_optimizer as it is"),
        (["restore_file=other.pt"], r"leave checkpoint\.restore_file as it is"),
    ],
)
def test_what_contradicts_it(given, message, tmp_path):
    path = tmp_path / ("there.pt" if given else "gone.pt")
    if given:
        path.touch()
    fields = dict([one.split("=") for one in given], finetune_from_model=str(path), save_dir=str(tmp_path))
    cfg = OmegaConf.merge(OmegaConf.structured(CheckpointConfig), fields)
    with pytest.raises(InputError, match=message):
        load_checkpoint(cfg, SimpleNamespace(checkpoint_suffix=""))


# more symbols


@pytest.fixture
def folder(tmp_path, tiny_model):
    """A recogniser of A, B and |, and clips with a C too."""
    config, model = fine_tune(tiny_model(), OURS, tmp_path, letters("AB|"))
    save(tmp_path / "recogniser.pt", config, model.state_dict(), task_state={"target_dictionary": letters("AB|")})
    write_split(tmp_path, "train", [16_000, 16_100], ["A C |", "B |"])
    (tmp_path / "dict.ltr.txt").write_text("C 4\nA 3\n| 2\n")
    return tmp_path


def model_config(folder, **fields):
    given = {"_name": "wav2vec_ctc", "w2v_path": str(folder / "recogniser.pt"), "data": str(folder), "normalize": False}
    return OmegaConf.merge(OmegaConf.structured(Wav2Vec2CtcConfig()), {**given, "ddp_backend": "legacy_ddp", **fields})


def test_a_recogniser_with_more_symbols(folder, caplog):
    """Its encoder, and a row of the output layer for each symbol that it knows, wherever that stands now."""
    caplog.set_level("INFO")
    task = task_on(folder)
    torch.manual_seed(1)
    model = task.build_model(model_config(folder, mask_prob=0.3))
    torch.manual_seed(1)
    fresh = task_on(folder).build_model(model_config(folder, no_pretrained_weights=True))
    old = load(folder / "recogniser.pt")["model"]
    encoder = model.w2v_encoder.w2v_model
    assert encoder.cfg.mask_prob == 0.3
    for name, weight in encoder.state_dict().items():
        assert torch.equal(weight, old[f"w2v_encoder.w2v_model.{name}"])
    symbols, known = task.target_dictionary.symbols, letters("AB|").symbols
    assert symbols[4:] == ["C", "A", "|"]
    for part in ("weight", "bias"):
        rows = getattr(model.w2v_encoder.proj, part)
        for row, symbol in enumerate(symbols):
            if symbol in known:
                assert torch.equal(rows[row], old[f"w2v_encoder.proj.{part}"][known.index(symbol)])
        assert torch.equal(rows[4], getattr(fresh.w2v_encoder.proj, part)[4])
    assert "new symbols: C; left out: B" in caplog.text
    # what is saved needs the recogniser no more
    config = OmegaConf.to_container(model.cfg, enum_to_str=True)
    assert set(config["w2v_args"]) == {"model", "task", "criterion", "lr_scheduler"}
    whole = {"model": {**config, "_name": "wav2vec_ctc"}, "task": {"normalize": False}}
    path = save(folder / "new.pt", whole, model.state_dict(), task_state={"target_dictionary": task.target_dictionary})
    assert load_fine_tuned(path).dictionary.symbols == symbols


def test_a_recogniser_whose_outputs_are_not_known(folder):
    state = load(folder / "recogniser.pt")
    torch.save({**state, "task_state": {}}, folder / "recogniser.pt")
    with pytest.raises(InputError, match=r"recogniser\.pt: its outputs do not fit a dictionary beside them"):
        task_on(folder).build_model(model_config(folder))


# the mean of checkpoints


def test_the_mean_of_checkpoints(tmp_path, tiny_model, capsys):
    paths, models = [], []
    for number in range(3):
        torch.manual_seed(number)
        models.append(tiny_model())
        models[-1].register_buffer("count", torch.tensor(number))
        config = configuration(models[-1], OURS)
        measured = {"extra_state": {"val_loss": 1.0, "best": 1.0}}
        weights = models[-1].state_dict()
        paths.append(save(tmp_path / f"{number}.pt", config, weights, last_optimizer_state={"x": 1}, **measured))
    given = ["average", *map(str, paths), "--dest", str(tmp_path / "mean.pt")]
    assert main(given) == 0
    assert "the mean of 3 checkpoints" in capsys.readouterr().out
    mean = load(tmp_path / "mean.pt")
    assert "last_optimizer_state" not in mean and mean["optimizer_history"][-1]["num_updates"] == 3
    for name, weight in mean["model"].items():
        three = [model.state_dict()[name] for model in models]
        expected = torch.stack([one.double() for one in three]).mean(0).to(weight.dtype)
        assert torch.equal(weight, three[-1] if name == "count" else expected), name
    assert main(given) == 1  # it is there
    assert not {"val_loss", "best"} & set(mean["extra_state"])  # nobody has measured it on the mean
    del mean["model"]["count"]
    torch.save(mean, tmp_path / "mean.pt")
    assert load_model(tmp_path / "mean.pt").num_layers == 2


def test_the_mean_of_a_recogniser_and_of_what_is_not_of_one_run(folder, tiny_model, capsys):
    path, dest = folder / "recogniser.pt", folder / "mean.pt"
    state = load(path)
    torch.save({**state, "model": {name: weight + 1 for name, weight in state["model"].items()}}, folder / "second.pt")
    assert main(["average", str(path), str(folder / "second.pt"), "--dest", str(dest)]) == 0
    assert load_fine_tuned(dest).dictionary.symbols == letters("AB|").symbols
    pretrained = tiny_model()
    save(folder / "pretrained.pt", configuration(pretrained, OURS), pretrained.state_dict())
    torch.save({**state, "task_state": {"target_dictionary": letters("BA|")}}, folder / "other.pt")
    smaller = {name: weight[:1] for name, weight in state["model"].items()}
    torch.save({**state, "model": smaller}, folder / "smaller.pt")
    (folder / "broken.pt").write_bytes(b"x")
    (folder / "same.pt").hardlink_to(path)  # as fairseq's checkpoint_last.pt is of the numbered one
    capsys.readouterr()
    for others, message in (
        (["pretrained.pt"], "pretrained.pt has another kind of model than"),
        (["other.pt"], "other.pt has another dictionary than"),
        (["smaller.pt"], "smaller.pt has another shape of weights than"),
        (["broken.pt"], "broken.pt is no checkpoint"),
        ([], "name two or more checkpoints, each once"),
        (["recogniser.pt"], "name two or more checkpoints, each once"),
        (["same.pt"], "name two or more checkpoints, each once"),
    ):
        given = [str(path), *(str(folder / other) for other in others)]
        assert main(["average", *given, "--dest", str(folder / "x.pt")]) == 1
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1
    assert main(["average", str(path), str(dest), "--dest", str(folder / "x.safetensors")]) == 1
