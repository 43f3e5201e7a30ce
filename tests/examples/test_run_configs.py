"""The run configurations of pre-training: composed, launched by submitit's local executor, and launched by Slurm.

`fake_slurm/` stands for Slurm. Its commands, which submitit and fairseq call, start the job on this machine, and its
`sitecustomize.py` lets torch count one GPU a node. So fairseq starts as it does on a cluster (ranks, ports, one process
a GPU), but with gloo instead of NCCL.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import soundfile
import torch
from fairseq.distributed.utils import infer_init_method
from omegaconf import DictConfig, OmegaConf
from pipeline import ROOT, TEXTS, TINY_MODEL
from zygote import Forked, shared_zygote

# hydra's, of the way that fairseq calls it
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

FAKE_SLURM = Path(__file__).parent / "fake_slurm"
PRETRAINING = ROOT / "examples" / "pretraining"
NAMES = ("small", "small_mhsa", "base", "base_mhsa", "large", "large_mhsa")
UPDATE_SAMPLES = 16 * 360 * 16_000  # the paper's batch: 1.6 h of audio at 16 kHz
TINY_RUN = (
    *(override if "frontend" not in override else f"+{override}" for override in TINY_MODEL),
    "common.cpu=true",
    "common.log_interval=1",
    "common.log_format=json",
    "dataset.max_tokens=60000",
    "dataset.num_workers=0",
    "dataset.disable_validation=true",
    "optimization.update_freq=[1]",
)


@pytest.mark.parametrize(
    ("name", "run"), [("base", "local"), ("base", "slurm_multinode"), *((name, "slurm_4gpu") for name in NAMES)]
)
def test_an_update_is_the_papers_batch(composed: Callable[..., DictConfig], name: str, run: str) -> None:
    # local takes all GPUs of the machine, and is the recipe with four
    cfg = composed(
        name, f"+run_config={run}", *(["distributed_training.distributed_world_size=4"] if run == "local" else [])
    )
    launcher, world_size = cfg.hydra.launcher, cfg.distributed_training.distributed_world_size
    (update_freq,) = cfg.optimization.update_freq
    assert world_size * cfg.dataset.max_tokens * update_freq == UPDATE_SAMPLES
    assert launcher.nodes * launcher.gpus_per_node == world_size
    assert launcher.tasks_per_node == 1
    assert launcher.submitit_folder == f"checkpoints/{name}/submitit/%j"
    assert launcher.name in (name, "app")  # hydra's name of a configuration that is composed, not run


@pytest.mark.parametrize(
    ("folder", "name", "weights"),
    [("finetuning", "ctc_100h", "w2v_path"), ("mp3s", "librispeech_probe1", "encoder_path")],
)
@pytest.mark.parametrize("run", ("local", "slurm_4gpu", "slurm_multinode"))
def test_other_recipes_take_the_same_files(
    composed: Callable[..., DictConfig], folder: str, name: str, weights: str, run: str
) -> None:
    overrides = [f"hydra.searchpath=[file://{PRETRAINING}]", f"model.{weights}=a.pt", "optimization.update_freq=[3]"]
    cfg = composed(name, f"+run_config={run}", *overrides, folder=ROOT / "examples" / folder)
    assert cfg.hydra.runtime.choices["hydra/launcher"] == f"submitit_{run.split('_')[0]}"
    assert cfg.hydra.launcher.submitit_folder == f"{cfg.checkpoint.save_dir}/submitit/%j"
    assert f"{name.split('_')[0]}" in cfg.checkpoint.save_dir and list(cfg.optimization.update_freq) == [3]


def started(cfg: DictConfig, monkeypatch: pytest.MonkeyPatch, job: int, node: int) -> DictConfig:
    """What fairseq makes of `distributed_training` on one node of a Slurm job, after the setup lines of the job."""
    nodes, gpus = cfg.hydra.launcher.nodes, cfg.hydra.launcher.gpus_per_node
    names = ",".join(["localhost", *(f"node{k}" for k in range(1, nodes))])
    values = {"JOB_ID": job, "NODEID": node, "NNODES": nodes, "NTASKS_PER_NODE": 1, "JOB_NODELIST": names}
    for key, value in values.items():
        monkeypatch.setenv(f"SLURM_{key}", str(value))
    lines = [line for line in cfg.hydra.launcher.setup if line.startswith("export")]
    exported = subprocess.run(["bash", "-c", "\n".join([*lines, "env"])], capture_output=True, text=True, check=True)
    for line in exported.stdout.splitlines():
        if line.startswith(("TRAIN_PORT", "OMP_NUM_THREADS", "TORCH_NCCL", "SLURM_")):
            monkeypatch.setenv(*line.split("=", 1))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    resolved = OmegaConf.create(OmegaConf.to_container(cfg.distributed_training, resolve=True, enum_to_str=True))
    infer_init_method(resolved)
    return resolved


@pytest.fixture
def slurm_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_SLURM", str(tmp_path))
    monkeypatch.setenv("PATH", f"{FAKE_SLURM}:{os.environ['PATH']}")


def test_fairseq_takes_ranks_and_address_of_several_nodes_from_slurm(
    composed: Callable[..., DictConfig], slurm_commands: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = composed("base", "+run_config=slurm_multinode")
    for node in (0, 1):
        of_node = started(cfg, monkeypatch, job=123_456, node=node)
        assert of_node.distributed_init_method == "tcp://localhost:23456"
        assert (of_node.distributed_rank, of_node.distributed_world_size) == (8 * node, 16)
        assert (of_node.distributed_num_procs, of_node.distributed_no_spawn) == (8, False)
    assert os.environ["SLURM_KILL_BAD_EXIT"] == "1" and 0 < int(os.environ["SLURM_WAIT"]) <= 30
    assert os.environ["TORCH_NCCL_ASYNC_ERROR_HANDLING"] == "1"


def test_two_jobs_of_four_gpus_may_share_a_node(
    composed: Callable[..., DictConfig], slurm_commands: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = composed("base", "+run_config=slurm_4gpu")
    jobs = [started(cfg, monkeypatch, job, 0) for job in (1, 2)]
    assert [(job.distributed_rank, job.distributed_world_size, job.distributed_num_procs) for job in jobs] == [
        (0, 4, 4)
    ] * 2
    first, second = (re.fullmatch(r"tcp://localhost:(\d+)", job.distributed_init_method)[1] for job in jobs)
    assert first != second


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Manifests over four spoken clips."""
    from summarymixing_fairseq.data.synthesiser import speak

    folder = tmp_path_factory.mktemp("speech")
    rows = [str(folder)]
    for number, text in enumerate(TEXTS[:4]):
        wave = speak(text, "en-us")
        soundfile.write(folder / f"{number}.flac", wave, 16_000)
        rows.append(f"{number}.flac\t{len(wave)}")
    for split in ("train", "valid"):
        (folder / f"{split}.tsv").write_text("\n".join(rows) + "\n")
    return folder


def launch(
    run: str, data: Path, save_dir: Path, *overrides: str, flags: tuple[str, ...] = ("-m",), **environment: str
) -> Forked:
    """The command of docs/gpus.md from the repository's root, with relative paths."""
    command = [
        *("fairseq-hydra-train", *flags, "--config-dir", "examples/pretraining", "--config-name", "base"),
        *(f"+run_config={run}", f"task.data={os.path.relpath(data, ROOT)}"),
        *(f"checkpoint.save_dir={os.path.relpath(save_dir, ROOT)}", *TINY_RUN, *overrides),
    ]
    return Forked(shared_zygote(), command, environment)


def finished(launched: Forked) -> None:
    """Wait for the command, which must succeed."""
    output, errors = launched.communicate(timeout=300)
    assert launched.returncode == 0, output[-3000:] + errors[-3000:]


def updates(log: str) -> list[int]:
    lines = [line for line in log.splitlines() if "[train_inner]" in line]
    return [int(json.loads(line[line.index("{") :])["num_updates"]) for line in lines]


def num_updates(checkpoint: Path) -> int:
    return torch.load(checkpoint, weights_only=True)["optimizer_history"][-1]["num_updates"]


class Cluster:
    """The one-machine Slurm, with its state below `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            "FAKE_SLURM": str(folder),
            "PATH": f"{FAKE_SLURM}:{os.environ['PATH']}",
            "PYTHONPATH": os.pathsep.join([str(FAKE_SLURM), *filter(None, [os.environ.get("PYTHONPATH")])]),
        }

    def calls(self) -> list[str]:
        return (self.folder / "calls").read_text().splitlines()

    def submitted(self) -> tuple[dict[str, str], str]:
        """Directives and the rest of the batch script."""
        script = (self.folder / "7.sh").read_text()
        directives = re.findall(r"^#SBATCH --([\w-]+)(?:=(.*))?$", script, re.MULTILINE)
        return dict(directives), script.split("# setup")[1]

    def signal(self, name: str) -> None:
        command = [str(FAKE_SLURM / "scancel"), "7", "--signal", name]
        subprocess.run(command, env={**os.environ, **self.environment}, capture_output=True)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    folder = tmp_path / "slurm"
    folder.mkdir()
    lent = Cluster(folder)
    yield lent
    if (folder / "7.tasks").exists():  # a test failed on the way
        lent.signal("KILL")


FOUR_GPUS = {"nodes": "1", "ntasks-per-node": "1", "gpus-per-node": "4", "cpus-per-task": "32", "partition": "gpu"}
FOUR_GPUS |= {"time": "1440", "signal": "USR2@120", "requeue": "", "open-mode": "append"}


def files_of_root() -> set[str]:
    """What lies in the repository's root, without the caches of other tests."""
    caches, of_trainings = {".hypothesis", ".pytest_cache"}, {"hydra_train.log", "multirun.yaml"}
    return {path.name for path in ROOT.iterdir()} - caches - of_trainings


def test_local_trains_to_the_end_and_four_gpus_are_asked_of_slurm(data: Path, tmp_path: Path, cluster: Cluster) -> None:
    """The cluster holds its job: the long tests run it."""
    local_dir, held_dir, before = tmp_path / "local", tmp_path / "held", files_of_root()
    one_process = ["distributed_training.distributed_world_size=1", "optimization.max_update=2"]
    held_environment = cluster.environment | {"FAKE_SLURM_HOLD": "1"}
    local = launch("local", data, local_dir, *one_process, flags=())  # -m may be left out
    held = launch("slurm_4gpu", data, held_dir, "hydra.launcher.partition=gpu", **held_environment)
    try:
        while not (cluster.folder / "7.submitted").exists():
            assert held.poll() is None, held.communicate()[1][-3000:]
            time.sleep(0.02)
        directives, script = cluster.submitted()
        assert FOUR_GPUS.items() <= directives.items()
        assert script.index("SRUN_CPUS_PER_TASK") < script.index("\nsrun ")
        finished(local)
        assert held.poll() is None and not (held_dir / "checkpoint_last.pt").exists()
    finally:
        local.kill()
        held.kill()
    assert num_updates(local_dir / "checkpoint_last.pt") == 2
    (log,) = local_dir.glob("submitit/*/*_0_log.out")
    assert updates(log.read_text()) == [1, 2]
    assert files_of_root() == before  # logs and hydra's files lie beside the checkpoint
    assert (local_dir / "submitit" / "multirun.yaml").exists()


@pytest.mark.long
def test_pre_empted_slurm_job_is_queued_again_and_resumes(data: Path, tmp_path: Path, cluster: Cluster) -> None:
    """As from Slurm, the signal reaches submitit's process, the training process and its data workers."""
    overrides = ["hydra.launcher.partition=gpu", "distributed_training.distributed_backend=gloo"]
    overrides += ["optimization.max_update=100", "checkpoint.save_interval_updates=2", "dataset.num_workers=1"]
    launched = launch("slurm_4gpu", data, tmp_path / "run", *overrides, **cluster.environment)
    checkpoint, log = tmp_path / "run" / "checkpoint_last.pt", tmp_path / "run" / "submitit" / "7" / "7_0_log.out"
    while not checkpoint.exists():
        assert launched.poll() is None, launched.communicate()[1][-3000:]
        time.sleep(0.02)
    cluster.signal("USR2")
    finished(launched)

    assert FOUR_GPUS.items() <= cluster.submitted()[0].items()
    assert [call for call in cluster.calls() if "show" not in call] == ["scancel 7 --signal USR2", "scontrol requeue 7"]

    first, second = log.read_text().split("Requeued job 7 (60 remaining timeouts)", 1)
    assert "this job is preempted" in first and "fairseq.distributed.utils][INFO] - Rank 0" in first
    (loaded,) = re.findall(r"Loaded checkpoint .*checkpoint_last.pt \(epoch \d+ @ (\d+) updates\)", second)
    assert updates(first)[-1] >= int(loaded) >= 2
    assert updates(second) == list(range(int(loaded) + 1, 101))
    assert num_updates(checkpoint) == 100


@pytest.mark.long
def test_slurm_nodes_meet_and_train(data: Path, tmp_path: Path, cluster: Cluster) -> None:
    """Two nodes with one process each train to the end."""
    overrides = ["hydra.launcher.partition=gpu", "distributed_training.distributed_backend=gloo"]
    overrides += ["optimization.max_update=2"]
    finished(launch("slurm_multinode", data, tmp_path / "run", *overrides, **cluster.environment))

    directives, _ = cluster.submitted()
    wanted = {"nodes": "2", "ntasks-per-node": "1", "gpus-per-node": "8", "cpus-per-task": "64", "partition": "gpu"}
    wanted |= {"time": "1440", "signal": "USR2@120", "requeue": "", "exclusive": ""}
    assert wanted.items() <= directives.items()
    logs = [(tmp_path / "run" / "submitit" / "7" / f"7_{node}_log.out").read_text() for node in (0, 1)]
    for node, log in enumerate(logs):
        assert f"fairseq.distributed.utils][INFO] - Rank {node}" in log
    assert "training on 2 devices" in logs[0] and updates(logs[0]) == [1, 2]
    assert num_updates(tmp_path / "run" / "checkpoint_last.pt") == 2
