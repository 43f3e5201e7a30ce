"""Probes of examples/mp3s: trained by fairseq's command line, resumed, and evaluated by `summarymixing evaluate`."""

from __future__ import annotations

import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from pipeline import Trained, records, run
from safetensors.numpy import load_file

from summarymixing_fairseq.commands.main import main
from summarymixing_fairseq.probing.results import read_results
from summarymixing_fairseq.system.files import sha256_of

NUM_EPOCHS = 3
COMMON = (
    f"optimization.max_epoch={NUM_EPOCHS}",
    "checkpoint.no_epoch_checkpoints=false",
    "dataset.num_workers=0",
    "dataset.batch_size=5",  # of 16 clips: the last batch has one
    "common.cpu=true",
    "common.log_interval=1",
)
# only an error that is halved counts as progress: learning rates fall
NO_PROGRESS = tuple(f"optimizer.groups.{group}.lr_scheduler.lr_threshold=0.5" for group in ("head", "layer_weights"))
BY_EER = ("checkpoint.best_checkpoint_metric=eer", "checkpoint.maximize_best_checkpoint_metric=false")
# by task: configuration, and sizes that are small enough for a test
PROBES = {
    "recognition": ("librispeech_probe1", ("model.hidden_dim=6", *NO_PROGRESS)),
    "classification": ("iemocap_probe1", ("optimizer.groups.head.optimizer.lr=[0.05]",)),
    "verification": (
        "voxceleb1_probe2",
        ("model.channels=16", "model.embedding_dim=8", "task.chunk_seconds=0.6", *BY_EER),
    ),
}


def train(name: str, encoder: Path, data: Path, save_dir: Path, *overrides: str, check: bool = True) -> str:
    """`fairseq-hydra-train` with a configuration of examples/mp3s; returns its log."""
    done = run(
        "fairseq-hydra-train",
        *("--config-dir", "examples/mp3s", "--config-name", name),
        *(f"model.encoder_path={encoder}", f"task.data={data}", f"checkpoint.save_dir={save_dir}"),
        *COMMON,
        *overrides,
        check=check,
    )
    return done.stdout + done.stderr


@pytest.fixture(scope="session")
def probe_data(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All clips of the corpus as train, valid and test; the voice is emotion and speaker; trials are all pairs."""
    folder = tmp_path_factory.mktemp("probe_data")
    rows: dict[str, dict[str, str]] = {}
    root = None
    for split in ("train", "valid"):
        root, *lines = (trained.data / f"{split}.tsv").read_text().splitlines()
        for extension in ("wrd", "ltr"):
            labels = (trained.data / f"{split}.{extension}").read_text().splitlines()
            for line, label in zip(lines, labels):
                rows.setdefault(line, {})[extension] = label
    names = [line.split("\t")[0] for line in rows]
    voices = [name.rsplit("_", 1)[0] for name in names]
    for split in ("train", "valid", "test"):
        (folder / f"{split}.tsv").write_text("\n".join([root, *rows]) + "\n")
        for extension in ("wrd", "ltr"):
            (folder / f"{split}.{extension}").write_text("".join(f"{row[extension]}\n" for row in rows.values()))
        for extension in ("emotion", "speaker"):
            (folder / f"{split}.{extension}").write_text("".join(f"{voice}\n" for voice in voices))
    for extension in ("emotion", "speaker"):
        (folder / f"dict.{extension}.txt").write_text("".join(f"{voice} 1\n" for voice in sorted(set(voices))))
    shutil.copy(trained.data / "dict.ltr.txt", folder)
    clips = list(zip(names, voices))
    trials = [f"{int(v == w)}\t{a}\t{b}\n" for i, (a, v) in enumerate(clips) for b, w in clips[:i]]
    (folder / "test.trials").write_text("".join(trials))
    return folder


@pytest.fixture(scope="session")
def probes(trained: Trained, probe_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, str]]:
    """Folder of checkpoints, and log, by task. The encoder's file is gone by then."""
    folder = tmp_path_factory.mktemp("probes")
    encoder = folder / "encoder.pt"
    encoder.write_bytes(trained.pretrained.read_bytes())

    def one(task: str) -> tuple[Path, str]:
        name, sizes = PROBES[task]
        return folder / task, train(name, encoder, probe_data, folder / task, *sizes)

    with ThreadPoolExecutor(2) as pool:
        made = dict(zip(PROBES, pool.map(one, PROBES)))
    encoder.unlink()
    return made


def last_of(probes, task: str) -> Path:
    return probes[task][0] / "checkpoint_last.pt"


def evaluate(checkpoint: Path, data: Path, results: Path, *options: object) -> int:
    arguments = [checkpoint, "--data", data, "--results", results, "--device", "cpu", "--bootstrap", 50, *options]
    return main(["evaluate", *map(str, arguments)])


def test_training_logs_each_tasks_metrics(probes):
    for task, expected in (
        ("recognition", {"valid_wer", "valid_uer", "valid_loss"}),
        ("classification", {"valid_accuracy", "valid_macro_f1", "valid_loss", "valid_best_accuracy"}),
        ("verification", {"valid_accuracy", "valid_eer", "valid_loss", "valid_best_eer"}),
    ):
        valid = records(probes[task][1], "valid")
        assert len(valid) == NUM_EPOCHS and expected <= set(valid[-1]), task
        updates = [record["num_updates"] for record in records(probes[task][1], "train_inner")]
        assert updates == [str(n) for n in range(1, 4 * NUM_EPOCHS + 1)], task


def test_best_checkpoint_may_be_that_of_the_lowest_eer(probes):
    rates = [float(record["valid_eer"]) for record in records(probes["verification"][1], "valid")]
    assert [float(r.get("valid_best_eer", "nan")) for r in records(probes["verification"][1], "valid")][-1] == min(
        rates
    )
    best = torch.load(probes["verification"][0] / "checkpoint_best.pt", weights_only=True)
    assert best["extra_state"]["val_loss"] == min(rates)


def test_features_of_frozen_encoders_are_kept_once(probes, probe_data):
    """Train and valid have the same rows. Recognition and verification share frames, classification keeps means."""
    files = [load_file(path) for folder in probe_data.glob("state_cache/*") for path in folder.glob("*.safetensors")]
    assert sorted(len(file) for file in files) == [16, 16]
    assert min(sum(states.size for states in file.values()) for file in files) == 16 * 3 * 32


def test_the_encoder_in_the_checkpoint_is_the_pre_trained_one(probes, trained: Trained):
    pretrained = torch.load(trained.pretrained, weights_only=True)["model"]
    for task in probes:
        weights = torch.load(last_of(probes, task), weights_only=True)["model"]
        inside = {name: value for name, value in weights.items() if name.startswith("encoder.model.")}
        assert len(inside) > 30
        for name, value in inside.items():
            assert torch.equal(value, pretrained[name.removeprefix("encoder.model.")]), name


def test_rates_of_both_groups_fall(probes):
    state = torch.load(last_of(probes, "recognition"), weights_only=True)
    rates = {name: group["param_groups"][0]["lr"] for name, group in state["last_optimizer_state"].items()}
    # two falls: the first epoch has nothing to compare with
    assert rates == pytest.approx({"head": 2e-4 * 0.8**2, "layer_weights": 1e-2 * 0.9**2})


def test_interrupted_run_goes_on_as_if_it_had_not_been(probes, probe_data, trained, tmp_path):
    """Resumed after the first epoch: weights, learning rates and schedules are bit-identical at the end."""
    name, sizes = PROBES["recognition"]
    shutil.copy(probes["recognition"][0] / "checkpoint1.pt", tmp_path / "checkpoint_last.pt")
    log = train(name, trained.pretrained, probe_data, tmp_path, *sizes)
    assert [record["num_updates"] for record in records(log, "train_inner")] == [str(n) for n in range(5, 13)]
    resumed, whole = (
        torch.load(folder / "checkpoint_last.pt", weights_only=True) for folder in (tmp_path, probes["recognition"][0])
    )
    for key, value in whole["model"].items():
        assert torch.equal(resumed["model"][key], value), key
    groups = [state["last_optimizer_state"] for state in (resumed, whole)]
    assert [group["param_groups"] for group in groups[0].values()] == [g["param_groups"] for g in groups[1].values()]
    histories = [state["optimizer_history"][-1]["lr_scheduler_state"] for state in (resumed, whole)]
    assert histories[0] == histories[1] and histories[0]["layer_weights"]["previous"] is not None


def test_recognition_results(trained, probes, probe_data, tmp_path, capsys):
    assert evaluate(last_of(probes, "recognition"), probe_data, tmp_path) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"results.json", "hypo.wrd", "ref.wrd"}
    assert (tmp_path / "ref.wrd").read_text() == (probe_data / "test.wrd").read_text()
    assert len((tmp_path / "hypo.wrd").read_text().splitlines()) == 16
    results = read_results(tmp_path / "results.json")
    assert set(results.metrics) == {"wer", "cer"}
    for metric in results.metrics.values():
        assert metric.low <= metric.value <= metric.high and metric.unit == "%"
    assert results.data.counts["clips"] == 16
    assert results.data.counts["words"] == len((probe_data / "test.wrd").read_text().split())
    assert len(results.layer_weights) == 3 and sum(results.layer_weights) == pytest.approx(1)
    assert (results.task, results.head) == ("probe_recognition", "bilstm_ctc")
    # of the file that was trained on, which has been removed
    assert (results.encoder.name, results.encoder.sha256) == ("encoder", sha256_of(trained.pretrained))
    assert "job_logging_cfg" not in results.config and results.config["optimization"]["max_epoch"] == NUM_EPOCHS
    assert re.search(r"^wer [\d.]+ % \(95 % interval [\d.]+ to [\d.]+\)$", capsys.readouterr().out, re.M)


def test_word_error_rate_against_fairseqs(probes, probe_data, tmp_path):
    """The last validation of the training decodes the same clips."""
    assert evaluate(last_of(probes, "recognition"), probe_data, tmp_path) == 0
    expected = float(records(probes["recognition"][1], "valid")[-1]["valid_wer"])
    assert read_results(tmp_path / "results.json").metrics["wer"].value == pytest.approx(expected, abs=0.01)


def test_classification_results(probes, probe_data, tmp_path):
    from sklearn.metrics import accuracy_score, confusion_matrix, f1_score

    assert evaluate(last_of(probes, "classification"), probe_data, tmp_path, "--encoder-name", "ours") == 0
    expected = {"results.json", "predictions.tsv", "confusion.tsv", "confusion.png"}
    assert {path.name for path in tmp_path.iterdir()} == expected
    rows = [line.split("\t") for line in (tmp_path / "predictions.tsv").read_text().splitlines()]
    names, references, predictions = zip(*rows)
    assert list(references) == (probe_data / "test.emotion").read_text().split()
    assert [f"{name}" for name in names] == [
        line.split("\t")[0] for line in (probe_data / "test.tsv").read_text().splitlines()[1:]
    ]
    results = read_results(tmp_path / "results.json")
    assert results.encoder.name == "ours"
    assert results.metrics["accuracy"].value == pytest.approx(100 * accuracy_score(references, predictions))
    assert results.metrics["macro_f1"].value == pytest.approx(100 * f1_score(references, predictions, average="macro"))
    header, *confusion = [line.split("\t") for line in (tmp_path / "confusion.tsv").read_text().splitlines()]
    counts = [[int(number) for number in row[1:]] for row in confusion]
    assert counts == confusion_matrix(references, predictions, labels=header[1:]).tolist()
    last = records(probes["classification"][1], "valid")[-1]
    assert results.metrics["accuracy"].value == pytest.approx(float(last["valid_accuracy"]), abs=0.01)
    assert results.metrics["macro_f1"].value == pytest.approx(float(last["valid_macro_f1"]), abs=0.01)


def test_verification_results(probes, probe_data, tmp_path):
    from sklearn.metrics import roc_curve

    assert evaluate(last_of(probes, "verification"), probe_data, tmp_path) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"results.json", "scores.tsv"}
    rows = [line.split("\t") for line in (tmp_path / "scores.tsv").read_text().splitlines()]
    trials = [line.split("\t") for line in (probe_data / "test.trials").read_text().splitlines()]
    assert [row[:3] for row in rows] == trials
    results = read_results(tmp_path / "results.json")
    assert set(results.metrics) == {"eer", "min_dcf", "eer_mean_subtracted", "min_dcf_mean_subtracted"}
    assert results.metrics["min_dcf"].unit == ""
    assert results.data.counts["trials"] == 120 and results.data.counts["speakers"] == 2
    for name, column in (("eer", 3), ("eer_mean_subtracted", 4)):
        false_alarms, hits, _ = roc_curve([int(row[0]) for row in rows], [float(row[column]) for row in rows])
        crossing = np.abs(1 - hits - false_alarms).argmin()
        step = 100 * max(np.diff(false_alarms).max(), np.diff(hits).max())
        middle = 50 * (1 - hits[crossing] + false_alarms[crossing])
        assert results.metrics[name].value == pytest.approx(middle, abs=step)
    scores = np.array([[float(number) for number in row[3:]] for row in rows])
    assert np.abs(scores[:, 0] - scores[:, 1]).max() > 0.1
    # the pairs of training's last validation are the same
    last = float(records(probes["verification"][1], "valid")[-1]["valid_eer"])
    assert results.metrics["eer"].value == pytest.approx(last, abs=0.01)


@pytest.mark.parametrize("task", PROBES)
def test_results_are_the_same_again_and_for_any_batch(probes, probe_data, tmp_path, task):
    for name, seconds in (("first", 60), ("second", 60), ("one by one", 0.1)):
        assert evaluate(last_of(probes, task), probe_data, tmp_path / name, "--batch-seconds", seconds) == 0
    for path in (tmp_path / "first").iterdir():
        assert path.read_bytes() == (tmp_path / "second" / path.name).read_bytes(), path.name
    results = [read_results(tmp_path / name / "results.json") for name in ("first", "one by one")]
    for name, metric in results[0].metrics.items():
        assert results[1].metrics[name].value == pytest.approx(metric.value, abs=1e-3)


def test_classes_that_training_lacks_count_as_errors(probes, probe_data, tmp_path):
    data = shutil.copytree(probe_data, tmp_path / "data", ignore=shutil.ignore_patterns("state_cache"))
    labels = (data / "test.emotion").read_text().splitlines()
    (data / "test.emotion").write_text("\n".join(["surprise", *labels[1:]]) + "\n")
    for name, folder in (("known", probe_data), ("unknown", data)):
        assert evaluate(last_of(probes, "classification"), folder, tmp_path / name) == 0
    results = read_results(tmp_path / "unknown" / "results.json")
    assert results.data.counts["clips of classes unknown to training"] == 1 and results.data.counts["classes"] == 3
    first = (tmp_path / "known" / "predictions.tsv").read_text().splitlines()[0].split("\t")
    known = read_results(tmp_path / "known" / "results.json").metrics["accuracy"].value
    assert results.metrics["accuracy"].value == pytest.approx(known - (first[1] == first[2]) * 100 / 16)
    assert (
        results.metrics["macro_f1"].value < read_results(tmp_path / "known" / "results.json").metrics["macro_f1"].value
    )


def test_parts_of_a_file_have_names_of_their_own(probes, probe_data, tmp_path):
    """A file that one row names keeps its own, as trials have it."""
    data = shutil.copytree(probe_data, tmp_path / "data", ignore=shutil.ignore_patterns("state_cache"))
    root, first, second = (data / "test.tsv").read_text().splitlines()[:3]
    (name, length), other = first.split("\t"), second.split("\t")[0]
    half = int(length) // 2
    (data / "test.tsv").write_text(f"{root}\n{name}\t{half}\t0\n{name}\t{half}\t{half}\n{second}\t0\n")
    labels = (data / "test.emotion").read_text().splitlines()
    (data / "test.emotion").write_text(f"{labels[0]}\n{labels[0]}\n{labels[1]}\n")
    assert evaluate(last_of(probes, "classification"), data, tmp_path / "out") == 0
    names = [line.split("\t")[0] for line in (tmp_path / "out" / "predictions.tsv").read_text().splitlines()]
    stem, ending = name.rsplit(".", 1)
    assert names == [f"{stem}_{0:010}.{ending}", f"{stem}_{half:010}.{ending}", other]


def test_words_of_the_labels_where_there_are_no_others(probes, probe_data, tmp_path):
    data = shutil.copytree(probe_data, tmp_path / "data", ignore=shutil.ignore_patterns("state_cache", "*.wrd"))
    for name, folder in (("words", probe_data), ("letters", data)):
        assert evaluate(last_of(probes, "recognition"), folder, tmp_path / name) == 0
    texts = [(tmp_path / name / "ref.wrd").read_text() for name in ("words", "letters")]
    assert texts[0] == texts[1]


def test_existing_results_are_kept_unless_forced(probes, probe_data, tmp_path, capsys):
    (tmp_path / "hypo.wrd").write_text("precious\n")
    assert evaluate(last_of(probes, "classification"), probe_data, tmp_path) == 1
    assert "hypo.wrd is there already: choose another place, or overwrite it by --force" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["hypo.wrd"]
    assert evaluate(last_of(probes, "classification"), probe_data, tmp_path, "--force") == 0
    assert not (tmp_path / "hypo.wrd").exists(), "of another run than the results beside it"
    assert evaluate(last_of(probes, "classification"), probe_data, tmp_path) == 1
    assert "results.json is there already" in capsys.readouterr().err


@pytest.fixture
def bad(trained: Trained, probes, probe_data: Path, tmp_path: Path) -> dict[str, Path]:
    """Broken files, in a copy of the data."""
    data = shutil.copytree(probe_data, tmp_path / "data", ignore=shutil.ignore_patterns("state_cache"))
    for split in ("notrials", "unknown", "short", "fewer", "empty", "twolabels"):
        for path in probe_data.glob("test.*"):
            if path.suffix != ".trials":
                shutil.copy(path, data / f"{split}{path.suffix}")
    (data / "unknown.trials").write_text("1\tnobody.flac\tnoone.flac\n")
    (data / "none.trials").write_text("")
    (data / "fewer.emotion").write_text("one\n")
    (data / "fewer.ltr").write_text("A |\n")
    (data / "fewer.wrd").unlink()
    (data / "empty.wrd").write_text("\n" * 16)
    (data / "twolabels.emotion").write_text("great joy\n" * 16)
    root = (data / "test.tsv").read_text().splitlines()[0]
    soundfile.write(tmp_path / "short.wav", np.zeros(300, np.float32), 16_000)
    (data / "short.tsv").write_text(f"{tmp_path}\nshort.wav\t300\n")
    (data / "gone.tsv").write_text(f"{root}\ngone.wav\t9000\n")
    (data / "gone.ltr").write_text("A |\n")
    (data / "short.emotion").write_text("joy\n")
    broken = torch.load(last_of(probes, "recognition"), weights_only=True)
    broken["model"] = {name: value for name, value in broken["model"].items() if not name.startswith("head.")}
    torch.save(broken, tmp_path / "broken.pt")
    nan = torch.load(last_of(probes, "classification"), weights_only=True)
    nan["model"]["head.output.bias"].fill_(float("nan"))
    torch.save(nan, tmp_path / "nan.pt")
    (tmp_path / "text.pt").write_text("no checkpoint")
    return {
        "folder": tmp_path,
        "data": data,
        "recognition": last_of(probes, "recognition"),
        "classification": last_of(probes, "classification"),
        "verification": last_of(probes, "verification"),
        "pretrained": trained.pretrained,
        "fine_tuned": trained.fine_tuned,
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("{folder}/none.pt", r"none\.pt cannot be read: No such file"),
        ("{folder}/text.pt", r"text\.pt is no checkpoint"),
        ("{folder}/broken.pt", r"broken\.pt: weights do not fit its configuration"),
        ("{folder}/nan.pt", r"nan\.pt: weight .* is not finite: did its training diverge\?"),
        ("{pretrained}", r"checkpoint of 'wav2vec2_summarymixing', not of a probe \('ssl_probe'\): see examples/mp3s"),
        ("{fine_tuned}", r"checkpoint of 'wav2vec_ctc', not of a probe"),
        ("{recognition} --split none", r"none\.tsv cannot be read"),
        ("{recognition} --split gone", r"gone\.wav cannot be read"),
        ("{recognition} --split fewer", r"fewer\.ltr has 1 lines, its manifest 16 rows"),
        ("{recognition} --split empty", r"empty\.wrd: all transcripts are empty"),
        ("{classification} --split fewer", r"fewer\.emotion has 1 lines, its manifest 16 rows"),
        ("{classification} --split twolabels", r"twolabels\.emotion, line 1: 'great joy' is not one class"),
        ("{classification} --split short", r"short\.wav: 300 samples, \d+ are needed"),
        ("{verification} --split notrials", r"notrials\.trials cannot be read"),
        ("{verification} --split unknown", r"unknown\.trials, line 1: 'nobody\.flac' is in no row"),
        ("{verification} --trials {data}/none.trials", r"none\.trials holds no trial"),
        ("{classification} --trials {data}/test.trials", r"--trials: .* was trained by probe_classification"),
        ("{recognition} --bootstrap 0", r"--bootstrap 0: must be at least 1"),
        ("{recognition} --seed -1", r"--seed -1: must be 0 to 4294967295"),
        ("{recognition} --batch-seconds nan", r"--batch-seconds nan: must be a positive number"),
        ("{recognition} --batch-seconds inf", r"--batch-seconds inf: must be a positive number"),
        ("{recognition} --device cuda:7", r"--device cuda:7"),
        ("{recognition} --results {folder}/text.pt/below", r"text\.pt/below cannot be written: Not a directory"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(arguments: str, message: str, bad: dict[str, Path], capsys) -> None:
    results = bad["folder"] / "results"
    options = [part.format(**bad) for part in arguments.split()]
    assert main(["evaluate", "--data", str(bad["data"]), "--results", str(results), *options]) == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("summarymixing evaluate: ")]
    assert len(lines) == 1 and re.search(message, lines[0]), lines
    assert not results.exists() or not list(results.iterdir())
