"""The check of versions passes here, fails where something is broken, and its table is of what is pinned."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from pipeline import ROOT
from zygote import shared_zygote

SCRIPT = ROOT / "examples" / "compatibility" / "check.py"
CONFIGS = ["base", "base_mhsa"]
STAGES = ["import", "compose", "build", "step", "save", "resume", "load"]


def run_check(*options: str, path: Path | None = None) -> subprocess.CompletedProcess:
    environment = {**os.environ, **({"PYTHONPATH": str(path)} if path else {})}
    command = [sys.executable, str(SCRIPT), *options]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600)


@pytest.fixture
def check(load_script) -> ModuleType:
    return load_script("compatibility/check.py")


@pytest.fixture
def forked_trainings(check: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """The script's trainings start by fork, which spares each of them the import of torch."""

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess:
        done = shared_zygote().complete(["fairseq-hydra-train", *command[1:]])
        return subprocess.CompletedProcess(command, done.returncode, done.stdout + done.stderr)

    monkeypatch.setattr(check, "subprocess", SimpleNamespace(run=run, PIPE=None, STDOUT=None))


@pytest.mark.long
def test_both_configurations_pass_all_stages_here(
    check: ModuleType, forked_trainings: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["check.py", "--json"])
    status, done = check.main(), capsys.readouterr()
    assert status == 0, done.err[-3000:]
    report = json.loads(done.out)
    assert report["works"] is True and report["failed"] == {}
    assert report["passed"] == dict.fromkeys(CONFIGS, STAGES)
    assert report["versions"]["python"] == platform.python_version()
    assert report["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert report["versions"]["fairseq"].split()[0] in ("ve-fairseq", "fairseq-fixed", "fairseq")
    assert "none" not in report["versions"].values()


def test_a_package_that_does_not_import_fails(tmp_path: Path) -> None:
    (tmp_path / "summarymixing_fairseq.py").write_text("raise ImportError('broken on purpose')\n")
    done = run_check(path=tmp_path)
    assert done.returncode == 1
    cells = [cell.strip() for cell in done.stdout.splitlines()[-1].strip("|").split(" | ")]
    assert cells[-len(STAGES) :] == ["**no** (base, base_mhsa)", *["-"] * (len(STAGES) - 1)]
    assert "broken on purpose" in done.stderr


def test_help_imports_nothing_heavy(tmp_path: Path) -> None:
    for name in ("torch", "fairseq", "numpy"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('imported')\n")
    done = run_check("--help", path=tmp_path)
    assert done.returncode == 0 and "--json" in done.stdout


COMPOSED = "{'model': {'mixer': 'mhsa'}}"
BUILT = "model: Wav2Vec2SummaryMixingModel"


INNER = '[train_inner] {{"loss": "{}", "num_updates": "1"}}'
STEPPED = f"{COMPOSED}\n{BUILT}\n{INNER.format(4.6)}"


@pytest.mark.parametrize(
    ("logs", "stage"),
    [
        (["Traceback"], "compose"),
        ([COMPOSED], "build"),
        ([f"{COMPOSED}\n{BUILT}"], "step"),
        ([f"{COMPOSED}\n{BUILT}\n{INNER.format('nan')}"], "step"),
        ([STEPPED], "save"),
        ([STEPPED, "no loading"], "resume"),
        ([STEPPED, f"Loaded checkpoint\n{INNER.format(4.6)}"], "resume"),  # it has started anew
    ],
)
def test_the_first_stage_that_fails_is_named(check, tmp_path: Path, monkeypatch, logs: list[str], stage: str) -> None:
    if len(logs) == 2:
        (tmp_path / "checkpoint_last.pt").touch()
    runs = iter(logs)
    monkeypatch.setattr(check, "training_log", lambda *_: (0, next(runs)))
    with pytest.raises(check.Failure) as failure:
        check.check_config("base_mhsa", tmp_path, tmp_path)
    assert failure.value.stage == stage


def test_a_stage_that_one_configuration_fails_is_said_so(check) -> None:
    assert check.passed({"base_mhsa": "step"}) == {"base": STAGES, "base_mhsa": STAGES[:3]}
    row = check.markdown({"python": "3.11.0"}, {"base_mhsa": "step"}).splitlines()[-1]
    assert row == "| 3.11.0 | yes | yes | yes | **no** (base_mhsa) | - | - | - |"


def test_the_table_is_of_the_pinned_versions() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    page = (SCRIPT.parent / "README.md").read_text().splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in page if line.startswith("| 3.")]
    rows = [row for row in rows if len(row) == 6 + len(STAGES)]  # the other table tells of the suite
    expected = [f"ve-fairseq {pins['ve-fairseq']}", *(pins[n] for n in ("torch", "hydra-core", "omegaconf", "numpy"))]
    for python in ("3.11.", "3.12."):
        (row,) = [row for row in rows if row[0].startswith(python)]
        assert [cell.split("+")[0] for cell in row[1:6]] == expected
    assert len(rows) >= 4 and all(row[-len(STAGES) :] == ["yes"] * len(STAGES) for row in rows)
    assert any(row[1].startswith("fairseq 0.12.2") and row[3:5] == ["1.0.7", "2.0.6"] for row in rows)


def test_quantizer_of_a_fairseq_without_its_hard_option() -> None:
    """0.12.2 has none: it always draws one entry."""
    from summarymixing_fairseq.modules.quantizer import ProductQuantizer

    sizes = {"dim": 8, "num_vars": 6, "temp": (2.0, 0.5, 0.9), "groups": 2, "combine_groups": False, "vq_dim": 4}
    quantizer = ProductQuantizer(**sizes, time_first=True)
    x = torch.randn(2, 5, 8)
    torch.manual_seed(3)
    expected = quantizer(x)["x"]
    del quantizer.hard
    torch.manual_seed(3)
    assert torch.equal(quantizer(x)["x"], expected)


def test_a_task_of_a_fairseq_without_newer_fields_loads_a_split(tmp_path: Path) -> None:
    """0.12.2 knows no corpora in one, no share of a split and no masks made beforehand."""
    import numpy as np
    import soundfile
    from omegaconf import OmegaConf

    from summarymixing_fairseq.tasks.speech_pretraining import SpeechPretrainingConfig, SpeechPretrainingTask

    soundfile.write(tmp_path / "a.wav", np.zeros(32_000, np.float32), 16_000)
    (tmp_path / "train.tsv").write_text(f"{tmp_path}\na.wav\t32000\n")
    fields = OmegaConf.to_container(OmegaConf.structured(SpeechPretrainingConfig(data=str(tmp_path))), resolve=False)
    newer = ("multi_corpus_keys", "precompute_mask_config", "subsample", "seed", "rebuild_batches")
    fields = {name: value for name, value in fields.items() if name not in newer and not str(value).startswith("${")}
    cfg = OmegaConf.create({**fields, "fp16": False, "bf16": False, "tpu": False})
    OmegaConf.set_struct(cfg, True)
    task = SpeechPretrainingTask.setup_task(cfg)
    task.load_dataset("train")
    assert len(task.dataset("train")) == 1
