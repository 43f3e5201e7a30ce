"""Commands, environment, overrides and progress of a run."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_probes import write_configs, write_data

from summarymixing_fairseq.probing.mp3s.benchmark import plan
from summarymixing_fairseq.probing.mp3s.encoders import Encoder
from summarymixing_fairseq.probing.mp3s.runner import progress
from summarymixing_fairseq.probing.mp3s.runs import Run, Settings, needed_files, parse_overrides
from summarymixing_fairseq.probing.mp3s.tasks import TaskData, task_named
from summarymixing_fairseq.system import machine
from summarymixing_fairseq.system.errors import InputError
from summarymixing_fairseq.system.jobs import environment
from summarymixing_fairseq.system.tools import Tools, quoted

TOOLS = Tools(("train",), ("summarymixing",))


@pytest.mark.parametrize(
    "value",
    ["/a/b-c.pt", "/a b/c=d,e.pt", "/it's/[1]", "/{x}/(y)", "7", "/a:b@c%/~d", "a;b#c", '/"a"', "/a'b'"]
    + ["/a\\", "/a\\\\", "/a\\b\\'c", "/a\nb", "/a\\\n", "/$(x)`y`$z"],
)
def test_hydra_reads_quoted_paths_as_they_are(value):
    from hydra.core.override_parser.overrides_parser import OverridesParser

    override = OverridesParser.create().parse_override(f"task.data={quoted(value)}")
    assert not override.is_sweep_override()
    assert str(override.value()) == value


def run_of(tmp_path: Path, task: str = "voxceleb1", **settings) -> Run:
    write_configs(tmp_path / "configs")
    data = write_data(tmp_path / "data", task)
    encoder = Encoder("A", tmp_path / "a.pt", "abc")
    return Run(encoder, task_named(task), 1, data, Settings(tmp_path / "results", tmp_path / "configs", **settings))


@pytest.mark.parametrize("place", ["data", "results", "encoder", "configs"])
def test_paths_that_hold_a_reference(tmp_path, place):
    """Refused before anything runs: hydra would put the value of another field there."""
    folders = {name: tmp_path / name for name in ("data", "results", "encoder", "configs")}
    folders[place] = tmp_path / "${common.seed}"
    write_configs(folders["configs"])
    task = task_named("voxceleb1")
    data = TaskData([("", write_data(folders["data"], task.name))], "")
    settings = Settings(folders["results"], folders["configs"])
    with pytest.raises(InputError, match=r"\$\{common\.seed\}.* holds \$\{, which hydra takes for a reference"):
        plan([Encoder("A", folders["encoder"] / "a.pt", "abc")], {task: [1]}, {task: data}, settings)


def test_device(tmp_path):
    split = task_named("voxceleb1").splits[0]
    for device, in_training, in_evaluation in (
        ("auto", [], []),
        ("cpu", ["common.cpu=true"], ["--device", "cpu"]),
        ("cuda:1", [], ["--device", "cuda"]),
    ):
        run = run_of(tmp_path, device=device)
        assert [part for part in run.train_command(TOOLS) if "cpu" in part] == in_training
        command = run.evaluate_command(TOOLS, split)
        assert command[command.index("--trials") + 2 :] == in_evaluation
        assert all(Path(part).is_absolute() for part in command if "/" in part)


def test_rows_out_of_their_root_are_allowed_to_both_commands_or_none(tmp_path):
    split = task_named("voxceleb1").splits[0]
    for allowed in (False, True):
        run = run_of(tmp_path, allow_outside_root=allowed)
        assert ("+task.allow_outside_root=true" in run.train_command(TOOLS)) is allowed
        assert ("--allow-outside-root" in run.evaluate_command(TOOLS, split)) is allowed


def test_threads_of_a_job_and_their_record(monkeypatch):
    monkeypatch.setattr(machine, "available_threads", lambda: 8)
    for total, jobs, share in (("", 1, 8), ("", 2, 4), ("", 9, 1), ("6", 2, 3)):
        monkeypatch.setenv("OMP_NUM_THREADS", total)
        found = machine.of_device("cpu", jobs)
        assert found["num_threads"] == share and found["hardware"].endswith(f", {share} thread{'s' * (share > 1)}")
        assert environment("cpu", found["num_threads"])["OMP_NUM_THREADS"] == str(share)


def test_a_gpu_of_several(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert environment("cuda:1", 1)["CUDA_VISIBLE_DEVICES"] == "1"
    assert "CUDA_VISIBLE_DEVICES" not in environment("cuda", 1)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    assert environment("cuda:1", 1)["CUDA_VISIBLE_DEVICES"] == "7"


def test_what_makes_another_run(tmp_path):
    run = run_of(tmp_path)
    assert run.difference() is None
    run.begin()
    (run.folder / "checkpoint_last.pt").touch()
    assert run.difference() is None
    # the device decides nothing, nor do places; content does
    assert run_of(tmp_path, device="cpu").difference() is None
    assert run_of(tmp_path, overrides=(("slurp", "a=1"),)).difference() is None
    assert run_of(tmp_path, overrides=(("voxceleb1", "a=1"),)).difference() == "other overrides, seed or --random"
    (run.data / "test.speaker").write_text("a\n")
    assert run.difference() == "other manifests or labels"
    (run.data / "test.speaker").unlink()
    assert run.difference() is None
    (run.data / "test.trials").write_text("1\ta\tb\n")
    assert run.difference() == "other manifests or labels"
    run.config.write_text("other: true\n")
    assert run.difference() == "other the configuration file, manifests or labels"
    run.config.write_text("of: [\n")
    with pytest.raises(InputError, match="voxceleb1_probe1.yaml cannot be read as YAML"):
        run.difference()
    for content in ("{", "[]"):
        (run.folder / "run.json").write_text(content)
        assert run.difference() == "a run.json that cannot be read"


def test_shared_files_belong_to_a_configuration(tmp_path):
    run = run_of(tmp_path)
    run.config.write_text("defaults: [_self_, _base]\n")
    (run.config.parent / "_base.yaml").write_text("a: 1\n")
    record = run.record()
    (run.config.parent / "_other.yaml").write_text("a: 1\n")
    assert run.record() == record
    (run.config.parent / "_base.yaml").write_text("a: 2\n")
    assert run.record() != record


def test_a_run_without_checkpoints_and_results_can_be_made_otherwise(tmp_path):
    run_of(tmp_path).begin()
    other = run_of(tmp_path, seed=2)
    assert other.difference() is None
    results = other.results_path(other.task.splits[0])
    results.parent.mkdir()
    results.touch()  # kept of a run whose checkpoints were removed
    assert other.difference() == "other overrides, seed or --random"
    results.unlink()
    (other.folder / "checkpoint_1_5.pt").touch()
    assert other.difference() == "other overrides, seed or --random"


def test_overrides():
    arguments = ["a.b=1", "slurp:c=x=y:z", "slurp_probe2:+d=[1,2]", "e=a:b"]
    assert parse_overrides(arguments) == [
        ("", "a.b=1"),
        ("slurp", "c=x=y:z"),
        ("slurp_probe2", "+d=[1,2]"),
        ("", "e=a:b"),
    ]
    for wrong in ("a", ":=1", "slurp:", "slurp:=1", "x:a=1", "slurp_probe3:a=1", "slurp:common.seed=2", "+task.data=x"):
        with pytest.raises(InputError, match="--override "):
            parse_overrides([wrong])


def test_the_files_of_other_splits():
    """Their names as hydra reads them: a comma alone would be a sweep."""
    given = parse_overrides(["dataset.train_subset=small", "++dataset.valid_subset='valid,valid2'"])
    splits = ("small", "valid", "valid2", "test")
    expected = {f"{split}.{kind}" for split in splits for kind in ("tsv", "scenario")} | {"dict.scenario.txt"}
    assert set(needed_files(task_named("slurp"), 1, given)) == expected


EPOCH_1 = (
    '[2026-11-23 03:00:00,123][train_inner][INFO] - {"epoch": 1, "update": 0.5, "loss": "9.5", "num_updates": "10"}\n'
    '[2026-11-23 03:00:01,123][valid][INFO] - {"epoch": 1, "valid_loss": "8", "valid_wer": "61.5"}\n'
)
EPOCH_2 = '[2026-11-23 03:00:02][valid][INFO] - {"epoch": 2, "valid_wer": "63.5", "valid_best_wer": "61.5"}\n'


def test_progress(tmp_path: Path):
    path = tmp_path / "run.log"
    assert progress(path, 0, "wer") == "starting"
    path.write_text(EPOCH_2)  # of an earlier run
    start = len(EPOCH_2)
    assert progress(path, start, "wer") == "starting"
    text = EPOCH_2 + '{"not": "of training"}\n{"epoch" broken}\n' + EPOCH_1
    path.write_text(text + EPOCH_2[:60])  # a line that is still being written
    assert progress(path, start, "wer") == "epoch 1, loss 9.5, valid wer 61.5"
    path.write_text(text + EPOCH_2)
    assert progress(path, start, "wer") == "epoch 2, loss 9.5, valid wer 63.5, best 61.5"


def test_accuracy_where_the_metric_is_not_logged(tmp_path: Path):
    path = tmp_path / "run.log"
    path.write_text('x {"epoch": 3, "valid_accuracy": "50"}\n')
    assert progress(path, 0, "eer") == "epoch 3, valid accuracy 50"
