"""A tiny model taken through the command lines a user types: manifest, pre-training, resume, fine-tuning."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import soundfile
from pipeline import TEXTS, TINY_MODEL, VOICES, Trained, run, spelled, train

from summarymixing_fairseq.commands.main import main


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """``command("decode", ..., check=True)``: `summarymixing` in this process, which has imported torch already."""

    def call(*arguments: object, check: bool = True) -> subprocess.CompletedProcess[str]:
        capsys.readouterr()
        try:
            status = main(list(map(str, arguments)))
        except SystemExit as error:
            status = error.code
        captured = capsys.readouterr()
        assert not (check and status), captured.err
        return subprocess.CompletedProcess(arguments, status, captured.out, captured.err)

    return call


@pytest.fixture(scope="session")
def labelled_speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of manifests and labels over synthesised speech, made by `make_manifest.py`."""
    from summarymixing_fairseq.data.synthesiser import speak

    folder = tmp_path_factory.mktemp("speech")
    audio, data = folder / "audio", folder / "data"
    audio.mkdir()
    texts = {}
    for voice in VOICES:
        for number, text in enumerate(TEXTS):
            name = f"{voice.replace('+', '_')}_{number}.flac"
            soundfile.write(audio / name, speak(text, voice), 16_000)
            texts[name] = text.upper()
    run("python", "manifests/make_manifest.py", audio, "--dest", data, "--valid-fraction", "0.2", "--workers", "1")
    letters = set()
    for split in ("train", "valid"):
        names = [line.split("\t")[0] for line in (data / f"{split}.tsv").read_text().splitlines()[1:]]
        words = [texts[name] for name in names]
        letters.update(" ".join(map(spelled, words)).split())
        (data / f"{split}.wrd").write_text("".join(f"{line}\n" for line in words))
        (data / f"{split}.ltr").write_text("".join(f"{spelled(line)}\n" for line in words))
    (data / "dict.ltr.txt").write_text("".join(f"{letter} 1\n" for letter in sorted(letters)))
    return data


@pytest.fixture
def clip(trained: Trained) -> Path:
    """One audio file of the corpus."""
    return next(trained.audio.glob("*.flac"))


@pytest.fixture(scope="session")
def trained(labelled_speech: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Pre-train two updates, resume for a third, fine-tune two."""
    folder = tmp_path_factory.mktemp("runs")
    pretrain_log = train("pretraining", labelled_speech, folder / "pretrain", 2, *TINY_MODEL)
    resume_log = train("pretraining", labelled_speech, folder / "pretrain", 3, *TINY_MODEL)
    # a copy that is deleted: a fine-tuned checkpoint must not need the pre-trained file
    pretrained = folder / "pretrain" / "checkpoint_last.pt"
    lent = folder / "lent.pt"
    lent.write_bytes(pretrained.read_bytes())
    finetune_log = train("finetuning", labelled_speech, folder / "finetune", 2, f"model.w2v_path={lent}")
    lent.unlink()
    return Trained(
        data=labelled_speech,
        audio=labelled_speech.parent / "audio",
        pretrained=pretrained,
        fine_tuned=folder / "finetune" / "checkpoint_last.pt",
        pretrain_log=pretrain_log,
        resume_log=resume_log,
        finetune_log=finetune_log,
    )
