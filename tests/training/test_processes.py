"""Two processes on CPUs by torchrun: the same as one, and what happens when one dies."""

from __future__ import annotations

import os
import re
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch
from pipeline import BIN
from training.conftest import NOISY, differences, load
from zygote import Forked, shared_zygote

UPDATES = 6


# `fairseq-hydra-train`; the second process kills itself before the fourth update, once.
KILLS_ITSELF = """
import os, signal
from fairseq.trainer import Trainer
from fairseq_cli.hydra_train import cli_main

train_step = Trainer.train_step

def train_step_or_die(trainer, *args, **kwargs):
    if os.environ["RANK"] == "1" and trainer.get_num_updates() == 3 and not os.path.exists(__file__ + ".killed"):
        open(__file__ + ".killed", "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    return train_step(trainer, *args, **kwargs)

Trainer.train_step = train_step_or_die
cli_main()
"""


def torchrun(arguments: list[str], log: Path, *options: str, program: Path = BIN / "fairseq-hydra-train") -> Forked:
    """`torchrun` with two processes and the documented run configuration; output, errors included, goes to a log."""
    command = ["torchrun", "--standalone", "--nproc_per_node", "2", *options, program, *arguments]
    environment = {"OMP_NUM_THREADS": "1", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
    return Forked(shared_zygote(), [*command, "+run_config=torchrun_cpu"], environment, log)


def ended(process: Forked, log: Path, seconds: float = 240.0) -> str:
    """Wait for it; what it wrote."""
    try:
        process.wait(seconds)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    return log.read_text()


@pytest.fixture(scope="module")
def two_processes(arguments, tmp_path_factory) -> Path:
    """The folder of a run by two processes that nothing happened to."""
    folder = tmp_path_factory.mktemp("two")
    process = torchrun(arguments(folder, UPDATES, *NOISY), folder / "log")
    output = ended(process, folder / "log")
    assert process.returncode == 0, output[-3000:]
    assert "training on 2 devices" in output
    return folder


def assert_same_training(first: Path, second: Path) -> None:
    """Checkpoints of two folders: weights to 1e-5, and as many updates of every parameter."""
    # fairseq saves the last update of an epoch as checkpoint_last.pt only
    names = sorted(path.name for path in second.glob("checkpoint_*.pt"))
    assert len(names) >= 3
    for name in names:
        one, two = load(first / name), load(second / name)
        update = one["optimizer_history"][-1]["num_updates"]
        for name, weight in one["model"].items():
            torch.testing.assert_close(two["model"][name], weight, rtol=0, atol=1e-5, msg=f"{name} after {update}")
        steps = [
            {key: float(value["step"]) for key, value in state["last_optimizer_state"]["state"].items()}
            for state in (one, two)
        ]
        assert steps[0] == steps[1] and set(steps[0].values()) == {float(update)}


def test_two_processes_equal_one_that_takes_two_batches(zygote, arguments, two_processes, tmp_path):
    """LayerDrop of 0.4 included: batch for batch the same masks, noise and dropped layers."""
    zygote.run(arguments(tmp_path, UPDATES, *NOISY, "optimization.update_freq=[2]"), tmp_path / "log")
    assert_same_training(tmp_path, two_processes)


def test_an_all_reduce_during_the_backward_pass_gives_the_same(zygote, arguments, tmp_path):
    """pytorch_ddp. In the third epoch of two batches an update for each process, the first without communication."""
    options = [f"distributed_training.{o}" for o in ("ddp_backend=pytorch_ddp", "find_unused_parameters=true")]
    one, two = tmp_path / "one", tmp_path / "two"
    process = torchrun(
        arguments(two, UPDATES, *NOISY, *options, "optimization.update_freq=[1,1,2]"), tmp_path / "two.log"
    )
    output = ended(process, tmp_path / "two.log")
    assert process.returncode == 0, output[-3000:]
    zygote.run(arguments(one, UPDATES, *NOISY, "optimization.update_freq=[2,2,4]"), tmp_path / "one.log")
    assert_same_training(one, two)


def test_a_process_that_is_killed_is_replaced_and_the_run_resumes_exactly(arguments, two_processes, tmp_path):
    program = tmp_path / "kills_itself.py"
    program.write_text(KILLS_ITSELF)
    log = tmp_path / "log"
    process = torchrun(arguments(tmp_path, UPDATES, *NOISY), log, "--max-restarts", "1", program=program)
    output = ended(process, log)
    assert process.returncode == 0, output[-3000:]
    assert time.time() - Path(f"{program}.killed").stat().st_mtime < 60
    # torchrun names the first to fail: the killed one, or the other, whose connection to it broke, if that came as soon
    assert re.search(r"failed \(exitcode: (-9|1)\)", output), output[-3000:]
    assert len(re.findall(r"Loaded checkpoint .*checkpoint_last\.pt \(epoch \d+ @ \d+ updates\)", output)) >= 1
    first, second = load(two_processes / "checkpoint_last.pt"), load(tmp_path / "checkpoint_last.pt")
    for part in ("model", "last_optimizer_state"):
        assert differences(first[part], second[part]) == []


def test_what_one_process_measures_chooses_the_best_checkpoint_of_all(arguments, manifests, tmp_path):
    """Of two validation sets the first alone is measured, and chooses."""
    data = Path(shutil.copytree(manifests, tmp_path / "data"))
    shutil.copy(data / "valid.tsv", data / "valid2.tsv")
    given = [one for one in arguments(tmp_path, 2) if not one.startswith(("+task.quality", "dataset.disable_valid"))]
    given += [f"task.data={data}", "dataset.valid_subset='valid,valid2'"]
    metric = ["checkpoint.best_checkpoint_metric=phones_latents", "checkpoint.maximize_best_checkpoint_metric=true"]
    log = tmp_path / "log"
    process = torchrun([*given, *metric, "dataset.validate_interval_updates=1"], log)
    output = ended(process, log)
    assert process.returncode == 0, output[-3000:]
    assert (tmp_path / "checkpoint_best.pt").is_file() and "valid2" in output


def test_an_error_of_one_process_ends_the_run_and_is_shown(arguments, manifests, tmp_path):
    """A clip that only the second process reads is broken."""
    data = tmp_path / "data"
    data.mkdir()
    rows = (manifests / "train.tsv").read_text().splitlines()
    clips = sorted((row.split("\t") for row in rows[1:]), key=lambda row: int(row[1]))
    # two batches of one clip: which process gets which is told by the shuffle, so one of two files is broken
    (data / "broken.flac").write_bytes((manifests / clips[-1][0]).read_bytes()[:3_000])
    (data / "whole.flac").write_bytes((manifests / clips[-2][0]).read_bytes())
    for split in ("train", "valid"):
        lines = [f"broken.flac\t{clips[-1][1]}\n", f"whole.flac\t{clips[-2][1]}\n"]
        (data / f"{split}.tsv").write_text(f"{data}\n" + "".join(lines))
    options = [f"task.data={data}", "dataset.batch_size=1", "dataset.num_workers=1"]
    process = torchrun(arguments(tmp_path / "run", UPDATES, *NOISY, *options), tmp_path / "log")
    started = time.monotonic()
    output = ended(process, tmp_path / "log")
    assert process.returncode
    assert time.monotonic() - started < 60  # imports included
    assert "broken.flac breaks off after" in output or "broken.flac cannot be read" in output
    assert "more than task.max_bad_fraction=0.01 allows" in output
