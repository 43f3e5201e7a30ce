"""Checkpoints from anyone: nothing in them runs, and none takes more memory than it holds."""

from __future__ import annotations

import io
import pickle
import resource
import struct
import zipfile
from argparse import Namespace
from pathlib import Path

import pytest
import torch
from fairseq import checkpoint_utils
from pipeline import run

from summarymixing_fairseq.checkpoints.encoders import load_encoder, load_model
from summarymixing_fairseq.checkpoints.fine_tuned import load_fine_tuned
from summarymixing_fairseq.checkpoints.untrusted_file import load_safely
from summarymixing_fairseq.system.errors import InputError

HUGE = 25 * 10**9  # numbers: 100 GB


class TouchesFile:
    """Code that a hostile pickle runs where it is let."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


@pytest.fixture
def save(pretrained):
    """``save(model=..., config=...)``: path of a checkpoint with entries changed."""
    return pretrained[1]


def one_line(error: pytest.ExceptionInfo) -> str:
    assert "\n" not in str(error.value) and len(str(error.value)) < 500
    return str(error.value)


def rewritten(numel: int, num_bytes: int, compression: int = zipfile.ZIP_STORED) -> bytes:
    """A checkpoint of one tensor of 16 numbers that says it has ``numel``, with so many zeros as its storage."""
    plain, changed = io.BytesIO(), io.BytesIO()
    torch.save({"cfg": {}, "model": {"w": torch.zeros(16)}}, plain)
    declared = b"\x8a\x08" + struct.pack("<q", numel)  # LONG1 in place of BININT1 16
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(changed, "w", compression) as target:
        for member in source.infolist():
            content, times = source.read(member), 1
            if member.filename.endswith("data.pkl"):
                assert content.count(b"K\x10") == 2
                content = content.replace(b"K\x10", declared)
            elif "/data/" in member.filename:
                # in pieces: the test measures the peak of this process's memory
                content = bytes(min(num_bytes, 2**20))
                times = num_bytes // len(content)
            entry = zipfile.ZipInfo(member.filename)
            entry.compress_type = compression
            with target.open(entry, "w") as file:
                for _ in range(times):
                    file.write(content)
    return changed.getvalue()


def in_old_format(numel: int) -> bytes:
    """The same as torch wrote it before 1.6, where the tensor's storage is allocated as its length says."""
    old = io.BytesIO()
    torch.save({"cfg": {}, "model": {"w": torch.zeros(16)}}, old, _use_new_zipfile_serialization=False)
    declared = b"\x8a\x08" + struct.pack("<q", numel)
    assert old.getvalue().count(b"K\x10") == 2
    return old.getvalue().replace(b"K\x10", declared)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: rewritten(HUGE, 64), "declares tensors of 100000000000 bytes, more than it has"),
        (lambda: rewritten(2**25, 2**27, zipfile.ZIP_DEFLATED), r"unpacks to 1\d+ bytes, more than it has"),
        (lambda: in_old_format(HUGE), r"declares tensors of 100000000000 bytes, more than it has"),
        (lambda: in_old_format(2_000_000), r"declares tensors of 8000000 bytes, more than it has"),
    ],
    ids=["declared", "packed", "old-format", "old-format-small"],
)
def test_a_file_that_promises_more_than_it_has(make, message, tmp_path):
    path, content = tmp_path / "small.pt", make()
    path.write_bytes(content)
    assert len(content) < 300_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match=message) as error:
        load_safely(path)
    one_line(error)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024  # KiB


each_reader = pytest.mark.parametrize("load", [load_encoder, load_model, load_fine_tuned])


@each_reader
def test_files_that_are_no_checkpoints(load, save, tmp_path):
    for name, message in (("none.pt", "No such file or directory"), ("", "Is a directory")):
        with pytest.raises(InputError, match=rf"^checkpoint {tmp_path / name} cannot be read: {message}$"):
            load(tmp_path / name)
    path, ran = tmp_path / "file.pt", tmp_path / "ran"
    runs_code = save(extra_state=TouchesFile(ran)).read_bytes()
    in_arguments = save(args=Namespace(arch=TouchesFile(ran)), cfg=None).read_bytes()
    plain_pickle = pickle.dumps({"cfg": TouchesFile(ran)})
    for content in (runs_code, in_arguments, plain_pickle):
        path.write_bytes(content)
        with pytest.raises(
            InputError, match=r"file\.pt is not a checkpoint that can be loaded safely \(tensors"
        ) as error:
            load(str(path))
        one_line(error)
    assert not ran.exists()


@each_reader
def test_files_that_fairseq_did_not_write(load, tmp_path):
    tensors = {"a": torch.zeros(1)}
    for state in (
        [1],
        {},
        {"model": {}},
        {"model": [1]},
        {"model": {"a": 1}},
        {"model": tensors, "cfg": {"model": {}}},
    ):
        torch.save(state, tmp_path / "other.pt")
        with pytest.raises(InputError, match=r"other\.pt is not a checkpoint of fairseq's"):
            load(tmp_path / "other.pt")


def test_elsewhere_only_what_torch_allows_is_read(tmp_path):
    torch.save({"args": Namespace(a=1)}, tmp_path / "namespace.pt")
    load_safely(tmp_path / "namespace.pt")
    with pytest.raises(Exception, match="Namespace"):
        torch.load(tmp_path / "namespace.pt", weights_only=True)


def test_an_honest_file_of_the_old_format_is_read(tmp_path):
    state = {"args": Namespace(arch="wav2vec2"), "model": {"w": torch.arange(16.0)}}
    torch.save(state, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    loaded = load_safely(tmp_path / "old.pt")
    assert torch.equal(loaded["model"]["w"], torch.arange(16.0)) and loaded["args"] == {"arch": "wav2vec2"}


def test_weights_that_are_not_finite(pretrained):
    model, save = pretrained
    for value in (float("nan"), float("inf")):
        weights = {name: weight.clone() for name, weight in model.state_dict().items()}
        weights["objective.final_proj.weight"][1, 2] = value
        path = save(model=weights)
        for load in (load_model, lambda path: checkpoint_utils.load_checkpoint_to_cpu(str(path))):
            with pytest.raises(InputError, match=r"weight objective\.final_proj\.weight is not finite") as error:
                load(path)
            one_line(error)


@pytest.mark.parametrize(
    "config",
    [
        {"encoder_layers": 10**9},
        {"encoder_embed_dim": 2**16, "encoder_ffn_embed_dim": 2**18},
        {"encoder_layers": 100, "encoder_ffn_embed_dim": 2**18},
        {"latent_vars": 2**20, "latent_dim": 2**12},
        {"frontend_channels": 2**16},
        {"depthwise_conv_kernel_size": 2**20 + 1},
        # what a configuration does not say is as by default: 12 layers of 768
        {"encoder_layers": None, "encoder_embed_dim": None, "encoder_ffn_embed_dim": None},
    ],
)
def test_a_configuration_of_another_size_than_its_weights(save, config):
    path = save(config)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError) as error:
        load_model(path)
    assert "refused" in one_line(error) or "must be" in str(error.value) or "parameters" in str(error.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 1024


def test_every_command_refuses_a_pickle_that_runs_code(save, tmp_path, speech):
    """Decode, features, export, evaluate and mp3s, as typed; and fine-tuning from it by fairseq's own trainer."""
    import soundfile

    soundfile.write(tmp_path / "a.flac", speech[0], 16_000)
    ran = tmp_path / "ran"
    hostile = save(extra_state=TouchesFile(ran), name="hostile.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps({"cfg": TouchesFile(ran)}))
    data, results = tmp_path / "data", tmp_path / "results"
    data.mkdir()
    (data / "train.tsv").write_text(f"{tmp_path}\na.flac\t{len(speech[0])}\n")
    (data / "valid.tsv").write_text(f"{tmp_path}\na.flac\t{len(speech[0])}\n")
    for split in ("train", "valid"):
        (data / f"{split}.ltr").write_text("A |\n")
    (data / "dict.ltr.txt").write_text("A 1\n| 1\n")
    commands = [
        ("decode", hostile, tmp_path / "a.flac"),
        ("features", tmp_path / "plain.pt", tmp_path / "a.flac", "--dest", results),
        ("export", hostile, tmp_path / "out.safetensors"),
        ("evaluate", hostile, "--data", data, "--split", "valid", "--results", results),
    ]
    for command in commands:
        refused = run("summarymixing", *command, check=False)
        assert refused.returncode == 1
        assert "can be loaded safely (tensors and plain containers, no code)" in refused.stderr
    trained = run(
        "fairseq-hydra-train",
        *("--config-dir", "examples/finetuning", "--config-name", "quickstart", f"task.data={data}"),
        *(f"model.w2v_path={hostile}", f"checkpoint.save_dir={results}", "common.cpu=true", "dataset.num_workers=0"),
        check=False,
    )
    assert trained.returncode
    assert "hostile.pt is not a checkpoint that can be loaded safely" in trained.stdout + trained.stderr
    assert not ran.exists()
