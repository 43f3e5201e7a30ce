"""`summarymixing study` with stand-ins for training and decoding: what it computes, keeps, refuses and writes."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from summarymixing_fairseq.commands.main import main
from summarymixing_fairseq.probing.metrics.trainings import interval_over_seeds
from summarymixing_fairseq.probing.mp3s.tasks import task_named
from summarymixing_fairseq.probing.results import EncoderSource, EvaluationData, Results, as_json
from summarymixing_fairseq.studies import study as study_module
from summarymixing_fairseq.studies.plan import fields_of
from summarymixing_fairseq.studies.plots import pareto_front
from summarymixing_fairseq.system import jobs
from summarymixing_fairseq.system.tools import Tools

# Errors of a clip: the letters that a hypothesis lacks. `fake.errors` of pre-training stands in the checkpoint; each
# seed adds one, and a fine-tuning of 20 updates takes away two.
TRAIN = """
import json, pathlib, sys
options = dict(argument.lstrip("+").split("=", 1) for argument in sys.argv[5:])
folder = pathlib.Path(options["checkpoint.save_dir"].strip("'"))
folder.mkdir(parents=True, exist_ok=True)
with open(folder.parent / "trace", "a") as file:
    print(folder.name, file=file)
if options.get("fake.fail") == str(options["common.seed"]):
    sys.exit("no room in the boat")
if "model.w2v_path" in options:
    errors = int(pathlib.Path(options["model.w2v_path"].strip("'")).read_text())
    errors -= 2 * (options["optimization.max_update"] == "20") + int(options.get("fake.fewer", 0))
    valid = {"valid_num_updates": "5", "valid_uer": str(10 * errors)}
    print('[2026-11-26 12:00:00][valid][INFO] - ' + json.dumps(valid))
    pathlib.Path(folder, "checkpoint_best.pt").write_text(str(errors))
    sys.exit()
errors = int(options["fake.errors"]) + int(options["common.seed"])
print('[2026-11-26 12:00:00][fairseq_cli.train][INFO] - num. shared model params: 1,234,567 (num. trained: 1,234,000)')
start = {"valid_num_updates": "0", "valid_phones_latents": "0.25"}
print('[2026-11-26 12:00:00][valid][INFO] - ' + json.dumps(start))
print('[2026-11-26 12:00:00][train_inner][INFO] - ' + json.dumps({"num_updates": "8", "ups": "2.5"}))
valid = {"valid_num_updates": "8", "valid_phones_latents": str(errors / 100), "valid_phones_layer1": "0.5"}
print('[2026-11-26 12:00:00][valid][INFO] - ' + json.dumps(valid))
pathlib.Path(folder, "checkpoint_last.pt").write_text(str(errors))
"""
DECODE = """
import json, pathlib, sys
command, checkpoint = sys.argv[1:3]
if command == "mp3s":
    options = dict(zip(sys.argv[2::2], sys.argv[3::2]))
    name, path = options["--encoder"].split("=", 1)
    value = int(pathlib.Path(path).read_text()) - sum(one == "model.freeze=false" for one in sys.argv)
    value -= sum(int(one[11:]) for one in sys.argv if one.startswith("fake.fewer="))
    task = options["--tasks"].removesuffix("_probe1")
    metric = {"slurp": "accuracy", "prompts_en": "wer"}[task]
    row = {"task": task, "probe": 1, "split": "test", "metric": metric, "higher_is_better": metric == "accuracy"}
    cell = {"value": 10.0 * value, "low": 1.0, "high": 99.0, "unit": "%", "summary_shares": [0.25]}
    cell["results"] = [f"{name}/{task}_probe1/test/results.json"]
    folder = pathlib.Path(options["--results"])
    test = folder / cell["results"][0]
    test.parent.mkdir(parents=True)
    best = {"best_checkpoint_metric": "accuracy", "maximize_best_checkpoint_metric": metric == "accuracy"}
    test.write_text(pathlib.Path(__file__).with_name("results.json").read_text().replace('"BEST"', json.dumps(best)))
    (test.parent / "ref.wrd").write_text("ABCDEFGHIJ\\n" * 4)
    (test.parent / "hypo.wrd").write_text(("ABCDEFGHIJ"[value:] + "\\n") * 4)
    values = [value / 10 - 0.1, value / 10 - 0.1 + (-0.5 if metric == "accuracy" else 0.5), "nan"]  # the first is best
    logged = [{"valid_num_updates": str(5 * n), "valid_accuracy": str(one)} for n, one in enumerate(values)]
    lines = ["[2026-11-26 12:00:00][valid][INFO] - " + json.dumps(one) for one in logged]
    test.parents[1].joinpath("run.log").write_text("\\n".join(lines) + "\\n")
    assert options["--seed"] in "12", options
    (folder / "mp3s.json").write_text(json.dumps({"rows": [{**row, "cells": {name: cell}}]}))
    sys.exit()
assert command == "decode"
folder = pathlib.Path(sys.argv[sys.argv.index("--results") + 1])
folder.mkdir(parents=True, exist_ok=True)
errors = int(pathlib.Path(checkpoint).read_text())
(folder / "ref.wrd").write_text("ABCDEFGHIJ\\n" * 4)
(folder / "hypo.wrd").write_text("ABCDEFGHIJ"[errors:] + "\\n" + ("ABCDEFGHIJ"[errors:] + "\\n") * 3)
(folder / "scores.json").write_text("{}")
"""
STUDY = """
title: Two of them
data: data
data_from: hand
pretraining: {config: pre.yaml, overrides: [optimization.lr=0.5]}
finetuning: {config: fine.yaml, updates: [10, 20]}
seeds: [1, 2]
baseline: plain
encoders:
  plain: {overrides: [+fake.errors=6]}
  better: {overrides: [+fake.errors=3]}
"""


class Lab:
    """A folder with a study, its data and configurations; calling it runs the command."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture):
        self.folder, self.capsys = folder, capsys
        self.write(STUDY)
        (folder / "pre.yaml").write_text("optimization: {lr: 1, clip: 2}\n")
        (folder / "fine.yaml").write_text("optimization: {lr: 3}\n")
        (folder / "data").mkdir()
        for name in ("train.tsv", "valid.tsv", "test.tsv"):
            (folder / "data" / name).write_text("/here\na.flac\t16000\n")
        for name in ("train.ltr", "valid.ltr", "test.ltr", "dict.ltr.txt"):
            (folder / "data" / name).write_text("A B |\n")
        source = EncoderSource("plain", "4 layers", "last.pt", "0" * 64)
        data = EvaluationData("data", "test", {"clips": 4})
        config = {"checkpoint": "BEST"}
        (folder / "results.json").write_text(
            as_json(Results("slurp", "mean_linear", source, "best.pt", config, data, 1, {}, [1.0], {}))
        )

    def write(self, study: str) -> None:
        (self.folder / "two.yaml").write_text(study)

    def __call__(self, what: str = "run", *options: str) -> int:
        place = ["--work", "work", "--device", "cpu"] if what == "run" else []
        status = main(["study", what, "two.yaml", *place, *options])
        captured = self.capsys.readouterr()
        self.out, self.err = captured.out, captured.err
        return status

    def computed(self, cell: str) -> list[str]:
        """Trainings that were begun, in the order of the folders' names; pre-training has a folder of its own."""
        return [line for path in sorted(self.folder.glob(f"work/{cell}-*/trace")) for line in path.read_text().split()]

    def result(self, cell: str) -> dict[str, Any]:
        return json.loads((self.folder / "two" / f"{cell}.json").read_text())


@pytest.fixture
def lab(tmp_path, capsys, monkeypatch) -> Lab:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").write_text(TRAIN)
    (tmp_path / "decode.py").write_text(DECODE)
    python = (sys.executable, "-I", "-S")
    tools = Tools((*python, str(tmp_path / "train.py")), (*python, str(tmp_path / "decode.py")))
    monkeypatch.setattr(study_module, "find_tools", lambda: tools)
    monkeypatch.setattr(jobs, "POLL_SECONDS", 0.01)
    return Lab(tmp_path, capsys)


def test_a_study_from_its_file_to_its_table(lab):
    assert lab("run", "--jobs", "2") == 0, lab.err
    result = lab.result("better-seed2")
    assert result["pretraining"]["valid"] == {"phones_latents": 0.05, "phones_layer1": 0.5}
    assert result["pretraining"]["start"] == {"phones_latents": 0.25}
    assert result["pretraining"]["updates_per_second"] == 2.5
    assert result["pretraining"]["parameters"] == 1_234_567 and 0 < result["pretraining"]["peak_mib"] < 1000
    # the longer fine-tuning is the better one on the validation clips, and the test clips are decoded by it alone
    tried = [{"updates": 10, "valid_cer": 0.5}, {"updates": 20, "valid_cer": 0.3}]
    assert result["finetuning"] == {"tried": tried, "chosen": 20, "test": {"errors": [3] * 4, "totals": [10] * 4}}
    assert result["settings"]["pretraining"] == {"optimization.lr": 0.5, "optimization.clip": 2, "fake.errors": 3}
    lines = [line.strip("| \n").split(" | ") for line in lab.out.splitlines() if line.startswith("|")]
    header = ["encoder", "seeds", "phones % latents", "phones % layer1", "change of latents (points)"]
    header += ["best: range of seeds", "best less the baseline's (points)", "collapsed (95 %)"]
    header += ["CER valid", "CER test", "CER test: 95 %", "to baseline", "to baseline: 95 %", "updates chosen"]
    assert lines[0] == [*header, "updates/s", "M parameters", "peak MiB"]
    totals, errors = [10] * 4, [[[5] * 4, [6] * 4], [[2] * 4, [3] * 4]]
    plain = [
        "plain",
        "2",
        "7.5",
        "50.0",
        "-17.5 (-18.0 to -17.0)",
        "50.0 to 50.0",
        "",
        "2 of 2 (0.34 to 1.00)",
        "0.550",
        "0.550",
        "{:.3f} to {:.3f}".format(*interval_over_seeds(errors[0], totals)),
        "",
        "",
        "20 20",
        "2.50",
        "1.23",
    ]
    assert lines[2][:-1] == plain and int(lines[2][-1]) > 0
    assert lines[3][:13] == [
        "better",
        "2",
        "4.5",
        "50.0",
        "-20.5 (-21.0 to -20.0)",
        "50.0 to 50.0",
        "0.0 (0.0 to 0.0)",
        "2 of 2 (0.34 to 1.00)",
        "0.250",
        "0.250",
        "{:.3f} to {:.3f}".format(*interval_over_seeds(errors[1], totals)),
        "0.45",
        "{:.2f} to {:.2f}".format(*interval_over_seeds(errors[1], totals, errors[0])),
    ]
    assert (lab.folder / "two" / "two.md").read_text() == lab.out
    assert "By `summarymixing study run two.yaml` on: " in lab.out
    assert (lab.folder / "two" / "two.csv").read_text().splitlines()[0] == ",".join(lines[0])
    assert (lab.folder / "two" / "two.png").read_bytes().startswith(b"\x89PNG")
    # results of earlier versions have no size and no memory
    for file in (lab.folder / "two").glob("*.json"):
        result = json.loads(file.read_text())
        del result["pretraining"]["parameters"], result["pretraining"]["peak_mib"]
        result["pretraining"]["updates_per_second"] = 0.001  # 8 updates, of two encoders and two seeds
        file.write_text(json.dumps(result))
    assert lab("table") == 0, lab.err
    assert lab.out.endswith("The pre-trainings took 8.9 h in all.\n")
    assert "| updates/s |" in lab.out and "M parameters" not in lab.out and "peak" not in lab.out


def test_the_front_is_what_none_is_as_cheap_and_better_than():
    points = [(3, 0.2), (1, 0.5), (2, 0.6), (3, 0.1), (4, 0.1)]
    assert pareto_front(points, errors=True) == [(1, 0.5), (3, 0.1)]
    assert pareto_front(points, errors=False) == [(1, 0.5), (2, 0.6)]


def test_what_is_there_is_not_computed_again(lab):
    assert lab() == 0, lab.err
    (lab.folder / "two" / "plain-seed2.json").unlink()
    # elsewhere the data have another root
    (lab.folder / "data" / "train.tsv").write_text("/elsewhere\na.flac\t16000\n")
    lab.write(STUDY + "  third: {overrides: [+fake.errors=4]}\n")
    assert lab() == 0, lab.err
    assert sorted(lab.computed("better-seed1")) == ["finetune10", "finetune20", "pretrain"]
    assert len(lab.computed("plain-seed2")) == 6 and len(lab.computed("third-seed2")) == 3
    assert "3 of 6 cells to compute" in lab.err


def test_an_encoder_has_a_fine_tuning_of_its_own(lab):
    lab.write(STUDY + "  tuned: {overrides: [+fake.errors=6], finetuning: [+fake.fewer=1, optimization.lr=2]}\n")
    assert lab() == 0, lab.err
    plain, tuned = lab.result("plain-seed1"), lab.result("tuned-seed1")
    assert tuned["finetuning"]["test"]["errors"] == [error - 1 for error in plain["finetuning"]["test"]["errors"]]
    rates = [result["settings"]["finetuning"]["optimization.lr"] for result in (plain, tuned)]
    assert rates == [3, 2] and plain["settings"]["pretraining"] == tuned["settings"]["pretraining"]
    lab.write((lab.folder / "two.yaml").read_text().replace("finetuning: {config: fine.yaml, updates: [10, 20]}", ""))
    assert lab() == 1 and "encoders.tuned.finetuning: the study has no fine-tuning" in lab.err


def test_probes_of_encoders_that_are_pretrained_once(lab):
    """Two that differ in their probes alone share a pre-training; values of the seeds stand in one column."""
    probing = "probing: {data: mp3s, tasks: [slurp_probe1], overrides: [slurp:a=b]}\nseeds"
    encoders = "  tuned: {overrides: [+fake.errors=6], probing: [model.freeze=false]}\n"
    lab.write(STUDY.replace("seeds", probing, 1) + encoders)
    assert lab() == 1 and "data/mp3s/slurp is not there: make it by summarymixing manifest slurp" in lab.err
    lab.write(STUDY + encoders)
    assert lab() == 1 and "encoders.tuned: the study has no probes" in lab.err
    lab.write(STUDY.replace("seeds", probing.replace("[slurp_probe1]", "slurp"), 1))
    assert lab() == 1 and "probing.tasks: must be a list of tasks, such as slurp_probe1" in lab.err
    lab.write(STUDY.replace("seeds", probing, 1) + encoders)
    (lab.folder / "data" / "elsewhere").mkdir()
    (lab.folder / "data" / "mp3s").mkdir()
    (lab.folder / "data" / "mp3s" / "slurp").symlink_to("../elsewhere")
    for name in task_named("slurp").needed_files():
        (lab.folder / "data" / "elsewhere" / name).write_text("/here\na.flac\t16000\n")
    assert lab() == 0
    assert lab.computed("plain-seed1").count("pretrain") == 2 and "pretrain" not in lab.computed("tuned-seed1")
    (one,) = lab.result("tuned-seed2")["probing"]
    assert (one["value"], one["low"], one["task"], one["valid"]) == (70.0, 1.0, "slurp", 0.6)
    assert "slurp 1, valid: accuracy" in lab.out
    probed = lab.result("tuned-seed2")["settings"]["probing"]
    assert probed["overrides"] == ["slurp:a=b", "model.freeze=false"]
    assert probed["slurp_probe1"]["model.head"] == "mean_linear"  # and all else of its configuration
    assert "slurp 1, test: accuracy %" in lab.out
    assert "| share of s | probe | layer 1 |" in lab.out and "| tuned | slurp 1 | 0.25 (0.25 to 0.25) |" in lab.out
    assert "| 75.00 (70.00 to 80.00) |" in lab.out and "| 65.00 (60.00 to 70.00) |" in lab.out
    (lab.folder / "data" / "elsewhere" / "test.scenario").write_text("calendar\n")
    assert lab() == 1 and "probing_data" in lab.err
    # one seed is one number, however many test splits its task has
    (lab.folder / "two" / "tuned-seed1.json").unlink()
    path = lab.folder / "two" / "tuned-seed2.json"
    result = lab.result("tuned-seed2")
    result["probing"].append({**result["probing"][0], "split": "other"})
    path.write_text(json.dumps(result))
    assert lab("table") == 0 and "slurp 1, other: accuracy %" in lab.out
    assert "| 0.60 |" in next(line for line in lab.out.splitlines() if line.startswith("| tuned"))


def test_the_setting_of_a_probe_that_is_best_on_the_validation_clips_counts(lab):
    """For each seed. The test clips' letters make intervals and ratios as those of a fine-tuning do."""
    probing = "probing: {data: mp3s, tasks: [prompts_en_probe1], overrides: [dataset.train_subset=train_5min]}\nseeds"
    tried = "  tuned: {overrides: [+fake.errors=6], tried: {slow: [fake.fewer=1], fast: [fake.fewer=4]}}\n"
    study = STUDY.replace("seeds", probing, 1).replace("finetuning: {config: fine.yaml, updates: [10, 20]}\n", "")
    lab.write(study + tried.replace("slow", "3"))
    assert lab() == 1 and "encoders.tuned.tried.3: a name has at most 61" in lab.err
    lab.write(study + tried)
    folder = lab.folder / "data" / "mp3s" / "prompts_en"
    folder.mkdir(parents=True)
    for name in task_named("prompts_en").needed_files():
        (folder / name).write_text("/here\na.flac\t16000\n")
    # what the probes are trained on is missed before anything is trained, and is part of the settings
    assert lab() == 1 and "prompts_en/train_5min.tsv is not there: make the data by hand" in lab.err
    assert not lab.computed("plain-seed1")
    for name in ("train_5min.tsv", "train_5min.ltr"):
        (folder / name).write_text("/here\na.flac\t16000\n")
    assert lab() == 0, lab.err
    (one,) = lab.result("tuned-seed2")["probing"]
    assert one["tried"] == pytest.approx({"slow": 0.6, "fast": 0.3}) and (one["chosen"], one["value"]) == ("fast", 40.0)
    assert one["test"] == {"errors": [4] * 4, "totals": [10] * 4}
    header, _, plain, _, tuned = [line.strip("| ").split(" | ") for line in lab.out.splitlines()[2:7]]
    assert tuned[header.index("prompts_en 1: chosen")] == "fast fast" and "CER valid" not in header
    assert tuned[header.index("prompts_en 1, valid: accuracy")] == "0.25 (0.20 to 0.30)"
    totals, errors = [10] * 4, [[[3] * 4, [4] * 4], [[7] * 4, [8] * 4]]
    assert tuned[header.index("CER test")] == "0.350" and plain[header.index("CER test")] == "0.750"
    assert tuned[header.index("to baseline: 95 %")] == "{:.2f} to {:.2f}".format(
        *interval_over_seeds(errors[0], totals, errors[1], True)
    )
    (folder / "train_5min.ltr").write_text("other\n")
    assert lab() == 1 and "probing_data" in lab.err


def test_half_a_training_of_other_settings_is_not_gone_on_with(lab):
    """fairseq would take up the last checkpoint in the folder."""
    assert lab() == 0, lab.err
    for file in (lab.folder / "two").glob("*.json"):
        file.unlink()
    (lab.folder / "data" / "train.tsv").write_text("/here\nb.flac\t16000\n")
    assert lab() == 0, lab.err
    assert len(list(lab.folder.glob("work/plain-seed1-pretrain-*"))) == 2
    assert len(list(lab.folder.glob("work/plain-seed1-*"))) == 4


def test_a_cell_that_fails_stops_no_other_and_the_table_says_so(lab):
    lab.write(STUDY.replace("errors=3", "errors=3, +fake.fail=1"))
    assert lab() == 1
    assert "better-seed1: pre-training FAILED: exit status 1" in lab.err and "no room in the boat" in lab.err
    assert lab.err.splitlines()[-1].endswith("1 cells failed: better-seed1: see their logs, and run this again")
    assert "Not there: better-seed1." in lab.out
    better = next(line for line in lab.out.splitlines() if line.startswith("| better"))
    assert better.count(" to ") == 1  # of the share that collapsed
    assert "An encoder with one seed has no interval." in lab.out


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (("lr=0.5", "lr=0.25"), "optimization.lr"),
        (("[10, 20]", "[10, 30]"), "finetuning.updates"),
        (("errors=6", "errors=7"), "fake.errors"),
    ],
)
def test_results_of_other_settings_are_refused_by_the_field(lab, change, named):
    assert lab() == 0, lab.err
    before = lab.computed("plain-seed1")
    lab.write(STUDY.replace(*change))
    assert lab() == 1
    assert named in lab.err and "delete it to compute it again" in lab.err and lab.computed("plain-seed1") == before


def test_other_data_are_refused(lab):
    assert lab() == 0, lab.err
    (lab.folder / "data" / "train.tsv").write_text("/here\nb.flac\t16000\n")
    assert lab() == 1 and "pretraining_data" in lab.err
    # one that was computed on them cannot stand beside the others
    path = lab.folder / "two" / "better-seed1.json"
    result = json.loads(path.read_text())
    result["settings"]["finetuning_data"] = "other"
    path.write_text(json.dumps(result))
    assert lab("table") == 1 and "differ in finetuning_data" in lab.err


def test_seeds_of_another_pretraining_are_refused(lab):
    assert lab() == 0, lab.err
    path = lab.folder / "two" / "better-seed2.json"
    result = json.loads(path.read_text())
    result["settings"]["pretraining"]["optimization.lr"] = 9
    path.write_text(json.dumps(result))
    assert lab("table") == 1 and "better-seed1 and better-seed2 differ in pretraining:" in lab.err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("title", "titel"), "titel is unknown"),
        (("updates: [10, 20]", "updates: [10, 20], train: labelled"), "dataset.train_subset=labelled: name the"),
        (("seeds: [1, 2]", "seeds: []"), "seeds: must be a list of whole numbers from 0"),
        (("seeds: [1, 2]", "seeds: [1, 1]"), "seeds: a number stands there twice"),
        (("baseline: plain", "baseline: plane"), "'plane' is none of the encoders"),
        (("baseline: plain", "baseline: [plain]"), "baseline: must be a text"),
        (("  better:", "  plain:"), "found duplicate key plain"),
        (("+fake.errors=3", "common.log_format=simple"), "the study sets common.log_format itself"),
        (("seeds", "probing: {tasks: [slurp_probe1], overrides: ['slurpp:a=b']}\nseeds"), "there is no task 'slurpp'"),
        (
            ("seeds", "probing: {tasks: [slurp_probe1], overrides: [model.encoder_path=x]}\nseeds"),
            "is set by an option",
        ),
        (("seeds", "probing: {tasks: [slurpp]}\nseeds"), "slurpp"),
        (("pre.yaml", "gone.yaml"), "gone.yaml is not there"),
        (("pre.yaml", "nothing_of_that_name"), "nothing_of_that_name.yaml is not there"),
        (("  better:", "  ../better:"), "a name has at most 61 letters"),
        (("+fake.errors=3", "fake.errors"), "must be KEY=VALUE"),
        (("+fake.errors=3", "task.data=x"), "the study sets task.data itself"),
        (("=3]}", "=3], finetuning: [model.w2v_path=x]}"), "the study sets model.w2v_path itself"),
        (("=3]}", "=3], finetuning: [optimization.max_update=1]}"), "the study sets optimization.max_update itself"),
        (("  better:", "  155:"), "a name has at most 61 letters"),
        (("data: data", "data: nowhere"), "nowhere/train.tsv is not there: make the data by hand"),
        ((STUDY, "- a\n"), "must be keys with values"),
        ((STUDY, "a: [\n"), "is no YAML"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_line(lab, change, message):
    lab.write(STUDY.replace(*change))
    assert lab() == 1
    assert message in lab.err and len(lab.err.splitlines()) == 1, lab.err
    assert not (lab.folder / "work").exists() or not list((lab.folder / "work").glob("*/trace"))


def test_the_fields_of_a_configuration(tmp_path):
    """Its own come last where `defaults` does not say. A value that is no YAML is left to hydra."""
    (tmp_path / "first.yaml").write_text("optimization: {lr: 1, clip: 2}\n")
    (tmp_path / "own.yaml").write_text("defaults: [first]\noptimization: {lr: 7}\n")
    fields = fields_of(tmp_path / "own.yaml", ["+model.freeze_regex=*foo", "optimization.clip=[3]"])
    assert fields == {"optimization.lr": 7, "optimization.clip": [3], "model.freeze_regex": "*foo"}


def test_a_result_without_its_numbers(lab):
    """A measure that is no number stands as null; a baseline may have no wrong letter."""
    assert lab() == 0, lab.err
    for seed, reached in ((1, None), (2, 0.05)):
        result = lab.result(f"better-seed{seed}")
        result["pretraining"]["start"]["phones_latents"] = 0.01
        result["pretraining"]["valid"]["phones_latents"] = reached
        (lab.folder / "two" / f"better-seed{seed}.json").write_text(json.dumps(result))
    assert lab("table") == 0 and "nan" in lab.out and "1 of 2" in lab.out  # the phones are lost: collapsed
    for seed in (1, 2):
        result = lab.result(f"plain-seed{seed}")
        result["finetuning"]["test"]["errors"] = [0] * 4
        (lab.folder / "two" / f"plain-seed{seed}.json").write_text(json.dumps(result))
    assert lab("table") == 0 and "to baseline" not in lab.out.splitlines()[2]


def test_nothing_to_put_into_a_table(lab):
    assert lab("table") == 1 and "holds no result of two" in lab.err
    lab.write(STUDY.replace("errors=6", "errors=6, +fake.fail=1").replace("errors=3", "errors=3, +fake.fail=1"))
    (lab.folder / "two").mkdir()
    (lab.folder / "two" / "other-seed1.json").write_text("{}")
    assert lab("run", "--jobs", "1") == 1
    assert "cells failed" in lab.err.splitlines()[-1]


def test_a_file_in_the_place_of_its_results(lab, capsys):
    (lab.folder / "study").write_text(STUDY)
    assert main(["study", "table", "study"]) == 1
    assert "study: its name must end in .yaml, or give --results a folder" in capsys.readouterr().err


def test_as_many_gpus_as_there_are_belong_to_a_training_that_does_not_say():
    settings = {"pretraining": {}, "finetuning": {"distributed_training.distributed_world_size": 1}, "seed": 1}
    study_module._fill_in_world_size(settings, 4)
    assert [settings[name] for name in ("pretraining", "finetuning")] == [
        {"distributed_training.distributed_world_size": number} for number in (4, 1)
    ]
