"""`summarymixing mp3s` with stand-ins for training and evaluation: what it runs, skips, refuses and reports."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_probes import fake_tools, mp3s_command, write_configs, write_data
from pipeline import ROOT

from summarymixing_fairseq.commands.configs import config_dir
from summarymixing_fairseq.commands.main import main
from summarymixing_fairseq.probing.metrics.bootstrap import interval_of_ratio
from summarymixing_fairseq.probing.mp3s import benchmark
from summarymixing_fairseq.system import jobs
from summarymixing_fairseq.system.errors import InputError
from summarymixing_fairseq.system.tools import Tools


class Bench:
    """A folder with encoders, configurations and data; calling it runs the command."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture):
        self.folder, self.capsys = folder, capsys
        self.root, self.results = folder / "my data", folder / "results"
        for name in ("a", "b"):
            (folder / f"{name}.pt").write_text(f"weights of {name}")
        write_configs(folder / "configs")

    def __call__(self, *options: object, encoders: tuple[str, ...] = ("a.pt",)) -> int:
        arguments = ["mp3s", "--data", self.root, "--results", self.results, "--config-dir", self.folder / "configs"]
        for encoder in encoders:
            name, equals, path = encoder.rpartition("=")
            arguments += ["--encoder", f"{name}{equals}{self.folder / path}"]
        status = main([*map(str, arguments), "--device", "cpu", *map(str, options)])
        captured = self.capsys.readouterr()
        self.out, self.err = captured.out, captured.err
        return status

    def table(self) -> dict:
        return json.loads((self.results / "mp3s.json").read_text())

    def traces(self, run: str) -> list[dict]:
        path = self.results / run / "trace.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture
def bench(tmp_path, capsys, monkeypatch, request) -> Bench:
    tools = fake_tools(tmp_path / "tools")
    monkeypatch.setattr(benchmark, "find_tools", lambda: tools)
    monkeypatch.setattr(jobs, "POLL_SECONDS", 0.01)
    if "random" not in request.node.name and "plots" not in request.node.name:  # they are the slowest part
        monkeypatch.setattr(benchmark, "_plot", lambda *_: None)
    return Bench(tmp_path, capsys)


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def wake(tools: Tools) -> None:
    """Let the fake training sleep no more, whatever its options say."""
    fake = Path(tools.train[-1])
    fake.write_text(fake.read_text().replace('float(options.get("fake.sleep", 0))', "0"))


def cells(row: dict) -> list[float | None]:
    return [cell and cell["value"] for cell in row["cells"].values()]


def test_two_encoders_and_a_random_one(bench):
    write_data(bench.root, "librispeech")
    write_data(bench.root, "commonvoice_cy", 12)
    overrides = ["--override", "commonvoice_cy_probe2:fake.value=20", "--override", "fake.note=x"]
    assert bench("--random", *overrides, encoders=("Ours=a.pt", "b.pt")) == 0, bench.err
    table = bench.table()
    rows = {(row["task"], row["split"], row["probe"]): row for row in table["rows"]}
    assert list(rows) == [
        *[("librispeech", split, probe) for probe in (1, 2) for split in ("test_clean", "test_other")],
        *[("commonvoice_cy", "test", probe) for probe in (1, 2)],
    ]
    assert list(rows["librispeech", "test_other", 1]["cells"]) == ["Ours", "b", "Ours-random"]
    assert cells(rows["librispeech", "test_other", 1]) == [41, 41, 71]
    assert cells(rows["commonvoice_cy", "test", 2]) == [20, 20, 50]
    assert rows["commonvoice_cy", "test", 1]["best"] == ["Ours", "b"]
    assert rows["commonvoice_cy", "test", 1]["cells"]["b"]["clips"] == 12
    # all figures of the paper, and only in the row of their probe
    assert [figure["percent"] for figure in rows["commonvoice_cy", "test", 1]["paper"]] == [48.3, 50.8, 54.5, 45.4]
    assert sum(bool(row["paper"]) for row in table["rows"]) == 1

    markdown = (bench.results / "mp3s.md").read_text()
    assert markdown.strip() in bench.out
    header, _, first = markdown.splitlines()[2:5]
    assert [cell.strip() for cell in header.strip("|").split("|")] == [
        *("task", "probe", "metric", "clips", "Ours", "b", "Ours, random weights"),
        "the paper's (arXiv 2407.13377)",
    ]
    assert "| WER % ↓ |" in first and "| **40.00** [39.00, 41.00] |" in first
    assert "SummaryMixing 48.3, MHSA 50.8, wav2vec 2.0 base 54.5, wav2vec 2.0 large 45.4 (paper)" in markdown
    for line in ("Machine: ", "Versions: python 3.11", "Seed 1; ", "-7.8 % relative WER"):
        assert line in markdown
    assert f"Not found: {bench.root / 'slurp'} is not there: make it by summarymixing manifest slurp" in markdown
    assert "prompts" not in " ".join(table["missing"])
    for plot in ("mp3s.png", "layers.png"):
        assert (bench.results / plot).read_bytes().startswith(b"\x89PNG")
    # options of the training: absolute paths, our package, the CPU, and overrides of the right runs only
    (trace,) = bench.traces("Ours-random/commonvoice_cy_probe2")
    options = trace["options"]
    assert trace["config"] == "commonvoice_cy_probe2" and options["model.encoder_path"] == str(bench.folder / "a.pt")
    assert options["task.data"] == str(bench.root / "commonvoice_cy")
    assert options["common.user_dir"].endswith("summarymixing_fairseq") and options["common.cpu"] == "true"
    assert (options["model.random_encoder"], options["fake.value"], options["fake.note"]) == ("true", "20", "x")
    (trace,) = bench.traces("b/commonvoice_cy_probe1")
    assert "fake.value" not in trace["options"] and "model.random_encoder" not in trace["options"]
    assert re.search(r"b commonvoice_cy_probe1: trained in \d s; epoch 2, valid wer 2, best 7", bench.err)
    assert "b librispeech_probe1: test_other WER 41.00 % (40.00 to 42.00)" in bench.err


def test_the_papers_figures_can_be_left_out(bench):
    write_data(bench.root, "commonvoice_cy")
    assert bench("--tasks", "commonvoice_cy_probe1") == 0 and "SummaryMixing 48.3" in bench.out
    assert bench("--tasks", "commonvoice_cy_probe1", "--no-paper") == 0
    assert "48.3" not in bench.out and "the paper" not in bench.out.lower() and "-7.8" not in bench.out


def test_prompts_are_marked(bench):
    write_data(bench.root, "prompts_en", 3)
    assert bench("--tasks", "prompts_en_probe1") == 0
    assert "English prompts, not of MP3S †" in bench.out and "marked † are not of MP3S" in bench.out
    assert "the paper's" not in bench.out
    assert bench.traces("a/prompts_en_probe1")[0]["config"] == "librispeech_probe1"


def test_done_is_skipped_and_other_options_are_refused(bench):
    data = write_data(bench.root, "slurp")
    arguments = ("--tasks", "slurp", "--override", "slurp_probe1:fake.value=50")
    assert bench(*arguments) == 0
    before = (bench.results / "mp3s.json").read_text()
    assert bench(*arguments) == 0
    assert "a slurp_probe1: done before" in bench.err and len(bench.traces("a/slurp_probe1")) == 1
    assert (bench.results / "mp3s.json").read_text() == before
    assert not (bench.results / "mp3s.png").exists()  # one encoder: nothing to compare

    changed = ("--tasks", "slurp", "--override", "slurp_probe1:fake.value=60")
    assert bench(*changed) == 1
    assert "other overrides, seed or --random: choose another --results, or replace it by --force" in bench.err
    assert bench(*changed, "--force") == 0
    assert [cells(row) for row in bench.table()["rows"]] == [[60], [40]]
    assert len(bench.traces("a/slurp_probe1")) == 1 and not bench.traces("a/slurp_probe1")[0]["resumed"]
    assert "a slurp_probe2: done before" in bench.err  # only runs that differ are replaced

    (data / "train.scenario").write_text("other labels\n")
    assert bench(*changed) == 1 and "other manifests or labels" in bench.err
    (bench.folder / "a.pt").write_text("other weights")
    assert bench(*changed) == 1 and "other the encoder's file, manifests or labels" in bench.err
    assert bench(*changed, "--seed", "2") == 1
    assert len(bench.err.strip().splitlines()) == 1


def test_a_checkpoint_of_someone_else_is_not_resumed(bench):
    write_data(bench.root, "slurp")
    folder = bench.results / "a" / "slurp_probe1"
    folder.mkdir(parents=True)
    (folder / "checkpoint_last.pt").write_text("mine")
    assert bench("--tasks", "slurp") == 1
    assert "checkpoint_last.pt, which it did not make" in bench.err
    assert (folder / "checkpoint_last.pt").read_text() == "mine"


def test_one_failure_leaves_the_others(bench):
    write_data(bench.root, "slurp")
    write_data(bench.root, "voxceleb1")
    fails = ("--override", "slurp_probe1:fake.fail=3")
    assert bench(*fails) == 1
    assert "a slurp_probe1: training FAILED: exit status 3" in bench.err
    assert "  | ValueError: the disk is made of cheese" in bench.err
    assert (
        bench.err.strip().splitlines()[-1].startswith("summarymixing mp3s: 1 of 4 runs failed: a slurp_probe1 (train")
    )
    table = bench.table()
    assert [cells(row) for row in table["rows"]] == [[None], [40], *[[40]] * 4]
    assert table["notes"] == ["a slurp_probe1, training failed: exit status 3"]
    assert [row["metric"] for row in table["rows"][2:]] == ["eer", "eer_mean_subtracted"] * 2
    assert "| mean-subtracted EER % ↓ |" in bench.out and "a slurp_probe1, training failed" in bench.out
    # with other overrides it is another run
    assert bench() == 1 and "--force" in bench.err
    assert bench("--force") == 0
    assert [cells(row) for row in bench.table()["rows"]] == [[40]] * 6


def test_a_training_that_was_refused_is_corrected_without_force(bench):
    write_data(bench.root, "slurp")
    assert bench("--tasks", "slurp_probe1", "--override", "fake.refuse=2") == 1
    assert bench.err.strip().endswith("a slurp_probe1 (training): see their logs; run this again to retry")
    assert bench("--tasks", "slurp_probe1") == 0, bench.err
    assert cells(bench.table()["rows"][0]) == [40]


def test_plots_of_an_earlier_table_go(bench):
    write_data(bench.root, "slurp")
    bench.results.mkdir()
    for name in ("mp3s.png", "layers.png"):
        (bench.results / name).write_text("of more encoders")
    assert bench("--tasks", "slurp_probe1") == 0
    assert not list(bench.results.glob("*.png"))
    (bench.results / "layers.png").write_text("of `summarymixing layers --plot`")
    assert bench("--tasks", "slurp_probe1") == 0 and (bench.results / "layers.png").exists()


def test_a_table_that_cannot_be_written_ends_no_training(bench, monkeypatch):
    write_data(bench.root, "slurp")
    write, calls = benchmark.write, []

    def full(*args):
        calls.append(args)
        if len(calls) == 1:
            raise InputError("mp3s.md cannot be written: No space left on device")
        write(*args)

    monkeypatch.setattr(benchmark, "write", full)
    assert bench() == 0 and "No space left on device" in bench.err
    assert [row["probe"] for row in bench.table()["rows"]] == [1, 2]


def test_an_evaluation_that_fails_is_tried_again_alone(bench):
    data = write_data(bench.root, "voxceleb1")
    value = ("--override", "voxceleb1:fake.value=no", "--tasks", "voxceleb1_probe1")
    assert bench(*value) == 1 and "training FAILED" in bench.err
    results = bench.results / "a" / "voxceleb1_probe1"
    assert bench("--tasks", "voxceleb1_probe1", "--force") == 0
    (results / "test" / "results.json").write_text("{")
    (results / "test" / "scores.tsv").write_text("of a run that was cut off")
    assert bench("--tasks", "voxceleb1_probe1") == 0
    assert len(bench.traces("a/voxceleb1_probe1")) == 1 and cells(bench.table()["rows"][0]) == [40]
    assert not (results / "test" / "scores.tsv").exists()
    assert f"--trials '{data / 'test.trials'}'" in (results / "run.log").read_text()


def test_folds_are_pooled(bench):
    right, clips = (8, 1, 3), (10, 4, 6)
    for number, (hits, total) in enumerate(zip(right, clips), start=9):  # fold10 comes after fold9
        write_data(bench.root, "iemocap", total, f"fold{number}", hits)
    assert bench("--tasks", "iemocap_probe1", encoders=("a.pt", "b.pt")) == 0, bench.err
    (row,) = bench.table()["rows"]
    low, high = interval_of_ratio([1] * 12 + [0] * 8, [1] * 20)
    cell = row["cells"]["a"]
    assert cell["value"] == 60.0 and cell["clips"] == 20
    assert (cell["low"], cell["high"]) == pytest.approx((100 * low, 100 * high))
    assert [Path(name).parts[-3] for name in cell["results"]] == ["fold9", "fold10", "fold11"]
    assert "accuracy is over the clips of all folds together" in bench.out
    assert bench.traces("a/iemocap_probe1/fold10")[0]["options"]["task.data"].endswith("iemocap/fold10")


def test_a_missing_fold_leaves_the_cell_empty(bench):
    for number in (1, 2):
        write_data(bench.root, "iemocap", 4, f"fold{number}", 2)
    bench("--tasks", "iemocap_probe1")
    (bench.root / "iemocap" / "fold2" / "right").write_text("none")  # its evaluation fails
    (bench.results / "a" / "iemocap_probe1" / "fold2" / "test" / "results.json").unlink()
    assert bench("--tasks", "iemocap_probe1") == 1
    assert "1 of 2 runs failed: a iemocap_probe1 fold2 (evaluation on test)" in bench.err
    assert cells(bench.table()["rows"][0]) == [None]


def test_one_folder_in_place_of_folds(bench):
    write_data(bench.root, "iemocap", 4, right=3)
    assert bench("--tasks", "iemocap_probe1") == 0
    assert cells(bench.table()["rows"][0]) == [75] and "all folds together" not in bench.out


def test_two_at_a_time_share_the_threads(bench, monkeypatch):
    write_data(bench.root, "slurp")
    monkeypatch.setenv("OMP_NUM_THREADS", "6")
    assert bench("--jobs", "2", "--override", "fake.sleep=0.5", encoders=("a.pt", "b.pt")) == 0
    names = ("a/slurp_probe1", "b/slurp_probe1", "a/slurp_probe2")
    traces = [bench.traces(name)[0] for name in names]
    assert {trace["threads"] for trace in traces} == {"3"}
    starts = [trace["start"] for trace in traces]
    ends = [(bench.results / name / "checkpoint_best.pt").stat().st_mtime for name in names]
    assert max(starts[:2]) < min(ends[:2]) < starts[2]


def test_rows_out_of_their_root_are_read_by_option_alone(bench):
    write_data(bench.root, "slurp")
    options = ["--tasks", "slurp_probe1"]
    assert bench(*options) == 0
    assert bench(*options, "--allow-outside-root", "--force", encoders=("b.pt",)) == 0
    first, second = (bench.traces(f"{encoder}/slurp_probe1")[0]["options"] for encoder in "ab")
    assert "+task.allow_outside_root" not in first and second["+task.allow_outside_root"] == "true"


def test_interrupt_ends_the_processes_and_the_next_command_resumes(bench):
    write_data(bench.root, "slurp")
    folder = bench.results / "a" / "slurp_probe1"

    def interrupt() -> None:
        while not (folder / "checkpoint_last.pt").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    slow = ("--tasks", "slurp_probe1", "--override", "fake.sleep=20")
    assert bench(*slow) == 130
    thread.join()
    (trace,) = bench.traces("a/slurp_probe1")
    with pytest.raises(ProcessLookupError):
        os.kill(trace["pid"], 0)
    # the same command: its options are those of the run, which ends at once now
    wake(benchmark.find_tools())
    assert bench(*slow) == 0
    assert [trace["resumed"] for trace in bench.traces("a/slurp_probe1")] == [False, True]


@pytest.mark.parametrize(
    "options, encoders, message",
    [
        ((), ("a.pt", "copy/a.pt"), "two encoders are called a, "),
        ((), ("a.pt", "a-random=b.pt"), "two encoders are called a-random"),
        (("--tasks", "slurp,karaoke"), ("a.pt",), "there is no task 'karaoke': choose among librispeech, "),
        (("--tasks", "iemocap"), ("a.pt",), "iemocap is not there: make it by summarymixing manifest iemocap"),
        (("--jobs", "0"), ("a.pt",), "--jobs 0: must be at least 1"),
        (("--seed", "-1"), ("a.pt",), "--seed -1: must be 0 to"),
        (("--override", "task.data=/x"), ("a.pt",), "task.data is set by an option of this command"),
        (("--config-dir", "/nowhere"), ("a.pt",), "slurp_probe1.yaml is not there: --config-dir must hold"),
        (("--device", "tpu"), ("a.pt",), "--device tpu: must be cpu, cuda, cuda:N or auto"),
        (("--device", "cuda:"), ("a.pt",), "--device cuda:: must be cpu, cuda, cuda:N or auto"),
        (("--device", "cuda:99"), ("a.pt",), "--device cuda:99: torch sees"),
        (("--results", "/proc/x"), ("a.pt",), "/proc/x cannot be written"),
    ],
)
def test_refusals(bench, options, encoders, message):
    write_data(bench.root, "slurp")
    (bench.folder / "copy").mkdir()
    (bench.folder / "copy" / "a.pt").write_text("another")
    assert bench("--random", *options, encoders=encoders) == 1
    assert message in bench.err and len(bench.err.strip().splitlines()) == 1
    assert not list(bench.results.glob("*/*"))


def test_no_data_at_all(bench):
    write_data(bench.root, "slurp")
    (bench.root / "slurp" / "valid.scenario").unlink()
    assert bench() == 1 and "holds no task's data: --list says what is missing" in bench.err
    assert main(["mp3s", "--data", str(bench.root)]) == 1
    assert "--encoder is needed" in bench.capsys.readouterr().err


def test_a_second_command_in_the_same_folder_waits_outside(bench):
    from summarymixing_fairseq.system.files import exclusive

    write_data(bench.root, "slurp")
    bench.results.mkdir()
    with exclusive(bench.results):
        assert bench() == 1 and "another command, or a training that" in bench.err
    assert bench("--tasks", "slurp_probe1") == 0


def test_a_training_that_outlives_its_command_keeps_the_folder(bench):
    write_data(bench.root, "slurp")
    folder = bench.results / "a" / "slurp_probe1"
    arguments = ["--data", bench.root, "--results", bench.results, "--config-dir", bench.folder / "configs"]
    arguments += ["--encoder", bench.folder / "a.pt", "--tasks", "slurp_probe1", "--override", "fake.sleep=60"]
    command = subprocess.Popen(mp3s_command(benchmark.find_tools(), *arguments), cwd=ROOT)
    try:
        wait_until((folder / "checkpoint_last.pt").exists)
    finally:
        command.kill()
        command.wait()
    (trace,) = bench.traces("a/slurp_probe1")
    try:
        assert bench("--tasks", "slurp_probe1", "--override", "fake.sleep=60") == 1
        assert "a training that an interrupted one left behind, is writing to" in bench.err
        assert len(bench.err.strip().splitlines()) == 1 and len(bench.traces("a/slurp_probe1")) == 1
    finally:
        os.kill(trace["pid"], signal.SIGKILL)
    wake(benchmark.find_tools())
    wait_until(lambda: bench("--tasks", "slurp_probe1", "--override", "fake.sleep=60") == 0)
    assert [trace["resumed"] for trace in bench.traces("a/slurp_probe1")] == [False, True]


def test_list_shows_what_is_found_without_torch(bench):
    write_data(bench.root, "iemocap", fold="fold1")
    write_data(bench.root, "slurp")
    (bench.root / "slurp" / "test.tsv").unlink()
    code = "import sys; sys.argv[0] = 'summarymixing'; from summarymixing_fairseq.commands.main import main\n"
    code += f"main(['mp3s', '--list', '--data', {str(bench.root)!r}]); print({{'torch', 'fairseq'}} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert result.stdout.strip().endswith("set()"), result.stderr
    listed = result.stdout
    assert "librispeech: English recognition (LibriSpeech); WER ↓ on test_clean, test_other" in listed
    assert f"  probe 2: {config_dir('mp3s') / 'voxceleb1_probe2.yaml'}\n" in listed
    assert f"  data: found in {bench.root / 'iemocap'}, 1 folds" in listed
    assert f"  data: not found: {bench.root / 'slurp' / 'test.tsv'} is not there: make it by" in listed
    assert "(not there)" not in listed  # the project has a configuration for each


def test_one_probe_of_a_task(bench):
    write_data(bench.root, "slurp")
    write_data(bench.root, "iemocap")
    assert bench("--tasks", "slurp_probe2,iemocap_probe1") == 0, bench.err
    assert [(row["task"], row["probe"]) for row in bench.table()["rows"]] == [("slurp", 2), ("iemocap", 1)]
    assert bench("--tasks", "slurp_probe3") == 1
    assert "there is no task 'slurp_probe3'" in bench.err
