"""A second run in a folder: it does not overwrite the first one's files, and is refused while the first one runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pipeline import Trained
from processes import Started, script, summarymixing

from summarymixing_fairseq.commands.main import main
from summarymixing_fairseq.probing.results import EncoderSource, EvaluationData, Results, as_json
from summarymixing_fairseq.system.files import exclusive


@pytest.mark.parametrize(
    "command, output",
    [
        ("decode {any}", "--results {out}"),
        ("features {any}", "--dest {out}"),
        ("evaluate {any}", "--results {out}"),
        ("units fit {any}", "--layer 1 --clusters 2 --dest {out}/u.safetensors"),
        ("units apply {any} u.safetensors", "--dest {out}"),
    ],
)
def test_kept_out_while_another_is_at_work(labelled_speech: Path, tmp_path: Path, capsys, command: str, output: str):
    out, data = tmp_path / "out", ["--data", str(labelled_speech), "--split", "valid"]
    with exclusive(out):
        assert main([*command.format(any=__file__).split(), *data, *output.format(out=out).split()]) == 1
    errors = capsys.readouterr().err
    name, *_ = command.split()
    assert errors.startswith(f"summarymixing {name}: another run is writing to {out}: ") and errors.count("\n") == 1
    assert not out.exists()


def test_two_at_a_time_do_not_mix_their_files(trained: Trained, tmp_path: Path):
    """Each decodes another split: the references show whose files they are."""
    runs = [
        Started(
            summarymixing(
                *("decode", trained.fine_tuned, "--data", trained.data, "--split", split),
                *("--results", tmp_path, "--device", "cpu", "--force"),
            ),
            forked=True,
        )
        for split in ("train", "valid")
    ]
    ended = [run.end() for run in runs]
    assert sorted(one.status for one in ended) in ([0, 1], [0, 0])
    for one in ended:
        if one.status:
            assert [line for line in one.lines() if "another run is writing to" in line] == one.lines()
    files = {path.name: path.read_text().splitlines() for path in tmp_path.iterdir()}
    assert set(files) == {"hypo.wrd", "ref.wrd", "scores.json"}
    references = {split: (trained.data / f"{split}.wrd").read_text().splitlines() for split in ("train", "valid")}
    assert files["ref.wrd"] in references.values()
    num_utterances = json.loads("\n".join(files["scores.json"]))["utterances"]
    assert len(files["hypo.wrd"]) == len(files["ref.wrd"]) == num_utterances


REPORT = ("check-manifest", "{folder}", "--report", "{folder}/out.png")
PLOT = ("layers", "{folder}", "--plot", "{folder}/out.png")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What commands read, and the files that they would overwrite."""
    (tmp_path / "train.tsv").write_text(f"{tmp_path}\ngone.flac\t5\n")
    source = EncoderSource("a", "2 layers of 16", "", "sha")
    results = Results("task", "head", source, "runs/c.pt", {}, EvaluationData("", "test", {}), 1, {}, [0.5, 0.5], {})
    (tmp_path / "results.json").write_text(as_json(results))
    for name in ("out.png", "hypo.wrd", "hypo.npy"):
        (tmp_path / name).write_text("precious")
    (tmp_path / "hypo.wav").touch()
    return tmp_path


@pytest.mark.parametrize(
    "arguments",
    [
        ("benchmark", "cell", "--json", "{folder}/out.png"),
        ("benchmark", "cell", "--plot", "{folder}/out.png"),
        ("decode", "{folder}/out.png", "{folder}/hypo.wav", "--results", "{folder}"),
        ("features", "{folder}/out.png", "{folder}/hypo.wav", "--dest", "{folder}"),
        ("lm", "train", "{folder}/train.tsv", "--dest", "{folder}/out.png"),
        REPORT,
        PLOT,
    ],
)
def test_what_is_there_is_not_overwritten(folder: Path, capsys, arguments: tuple[str, ...]):
    assert main([argument.format(folder=folder) for argument in arguments]) == 1
    assert " is there already: choose another place, or overwrite it by --force" in capsys.readouterr().err
    assert [(folder / name).read_text() for name in ("out.png", "hypo.wrd", "hypo.npy")] == ["precious"] * 3


@pytest.mark.parametrize("arguments, status, content", [(REPORT, 1, b"gone.flac"), (PLOT, 0, b"\x89PNG")])
def test_it_is_where_that_is_forced(folder: Path, arguments: tuple[str, ...], status: int, content: bytes):
    assert main([*(argument.format(folder=folder) for argument in arguments), "--force"]) == status
    assert content in (folder / "out.png").read_bytes()


@pytest.mark.parametrize(
    "command",
    [
        ("examples/quickstart/run.py", "--dest", "FOLDER"),
        ("examples/mp3s/mini.py", "--dest", "FOLDER"),
        ("examples/benchmarks/scaling.py", "--from-json", "--output", "FOLDER/page.md"),
    ],
)
def test_examples_are_kept_out_too(tmp_path: Path, command: tuple[str, ...]):
    with exclusive(tmp_path):
        ended = Started(script(*(one.replace("FOLDER", str(tmp_path)) for one in command))).end()
        assert [path.name for path in tmp_path.iterdir()] == [".lock"]
    (line,) = ended.lines()
    assert ended.status == 1 and line.startswith(f"error: another run is writing to {tmp_path}: ")
