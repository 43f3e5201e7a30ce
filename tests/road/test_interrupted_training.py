"""Ctrl-C and SIGTERM in a training: saved, one line with the command that goes on, status 130 or 143."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from pipeline import ROOT, records
from training.conftest import NOISY, arguments, differences, load, manifests, zygote  # noqa: F401 (fixtures)
from training.test_processes import ended, torchrun
from zygote import Zygote

UPDATES = 6
# `fairseq-hydra-train`; the first process sends itself and its data worker a signal before the third update.
PROGRAM = """
import os, sys
from fairseq.trainer import Trainer
from fairseq_cli.hydra_train import cli_main

train_step = Trainer.train_step

def train_step_with_a_signal(trainer, *args, **kwargs):
    if trainer.get_num_updates() == 2 and os.environ.get("RANK", "0") == "0":
        os.killpg(os.getpgrp(), {number})
    return train_step(trainer, *args, **kwargs)

Trainer.train_step = train_step_with_a_signal
sys.argv[0] = "bin/fairseq-hydra-train"
cli_main()
"""


def program(folder: Path, number: int) -> Path:
    path = folder / "interrupted.py"
    path.write_text(PROGRAM.format(number=int(number)))
    return path


def assert_goes_on(save_dir: Path, whole: Path, log: Path, given: list[str], zygote: Zygote) -> None:  # noqa: F811
    """Saved after the third update; with the rest it is the run that nothing happened to."""
    assert load(save_dir / "checkpoint_last.pt")["optimizer_history"][-1]["num_updates"] == 3
    assert [path.name for path in save_dir.glob("*.pt")] == ["checkpoint_last.pt"]
    zygote.run(given, log)
    assert [record["num_updates"] for record in records(log.read_text(), "train_inner")] == ["4", "5", "6"]
    first, second = load(save_dir / "checkpoint_last.pt"), load(whole / "checkpoint_last.pt")
    for part in ("model", "last_optimizer_state"):
        assert differences(first[part], second[part]) == []


@pytest.fixture(scope="module")
def whole(arguments: Callable[..., list[str]], zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: F811
    folder = tmp_path_factory.mktemp("whole")
    zygote.run(arguments(folder, UPDATES, *NOISY), folder / "log")
    return folder


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_one_process(number, arguments, whole, zygote, tmp_path):  # noqa: F811
    given = arguments(tmp_path / "run", UPDATES, *NOISY, "checkpoint.save_interval_updates=0", "dataset.num_workers=1")
    done = zygote.complete(["python", program(tmp_path, number), *given])
    assert done.returncode == 128 + number, done.stderr
    *_, line = done.stderr.splitlines()
    assert "Traceback" not in done.stdout + done.stderr
    assert line.startswith(
        f"interrupted after update 3, saved as {tmp_path}/run/checkpoint_last.pt; go on by: fairseq-hydra-train --conf"
    )
    assert line.endswith("dataset.num_workers=1")
    assert_goes_on(tmp_path / "run", whole, tmp_path / "log", given, zygote)


def test_processes_end_at_the_same_update(arguments, tmp_path):  # noqa: F811
    """One of two hears of the signal. torchrun says itself that they ended."""
    log, run = tmp_path / "log", tmp_path / "run"
    given = arguments(run, UPDATES, *NOISY, "checkpoint.save_interval_updates=0", "dataset.num_workers=1")
    process = torchrun(given, log, program=program(tmp_path, signal.SIGTERM))
    output = ended(process, log)
    assert process.returncode
    line = f"interrupted after update 3, saved as {run}/checkpoint_last.pt; go on by the command that started it"
    assert output.count(line) == 1, output[-3000:]
    assert re.search(r"exitcode *: 143", output), output[-3000:]
    assert load(run / "checkpoint_last.pt")["optimizer_history"][-1]["num_updates"] == 3


# `fairseq-hydra-train` with a process for each of two GPUs, which are CPUs; each child imports this file again.
SPAWNING = """
import os, sys
import torch
from fairseq.trainer import Trainer
from fairseq_cli.hydra_train import cli_main

train_step = Trainer.train_step

def train_step_with_a_signal(trainer, *args, **kwargs):
    if trainer.get_num_updates() == 2 and trainer.data_parallel_rank == 0:
        {send}
    return train_step(trainer, *args, **kwargs)

Trainer.train_step = train_step_with_a_signal
if __name__ == "__main__":
    torch.cuda.device_count = lambda: 2
    sys.argv[0] = "bin/fairseq-hydra-train"
    cli_main()
"""


@pytest.mark.long
@pytest.mark.parametrize(
    ("number", "send"),
    [(signal.SIGINT, "os.killpg(os.getpgrp(), 2)"), (signal.SIGTERM, "os.kill(os.getppid(), 15)")],
    ids=["as a terminal does", "as a scheduler does"],
)
def test_a_process_for_each_gpu(number, send, arguments, tmp_path):  # noqa: F811
    path, run = tmp_path / "spawning.py", tmp_path / "run"
    path.write_text(SPAWNING.format(send=send))
    given = arguments(run, UPDATES, *NOISY, "checkpoint.save_interval_updates=0")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    settings = {"world_size": 2, "backend": "gloo", "init_method": f"tcp://127.0.0.1:{port}", "rank": 0}
    given += [f"distributed_training.distributed_{name}={value}" for name, value in settings.items()]
    done = subprocess.run(
        [sys.executable, path, *given], capture_output=True, text=True, cwd=ROOT, start_new_session=True, timeout=200
    )
    assert done.returncode == 128 + number, done.stderr[-3000:]
    assert "Traceback" not in done.stdout + done.stderr
    line = f"interrupted after update 3, saved as {run}/checkpoint_last.pt; go on by the command that started it"
    assert done.stderr.count(line) == 1 and "lost" not in done.stderr, done.stderr[-3000:]
    assert load(run / "checkpoint_last.pt")["optimizer_history"][-1]["num_updates"] == 3
