"""A small file takes little memory and time, whatever it promises."""

from __future__ import annotations

import io
import os
import pickle
import resource
import time
import zipfile
from argparse import Namespace
from pathlib import Path

import pytest
import torch
from encoder_checkpoints import OURS, configuration, letters, save, stock_model
from fairseq import checkpoint_utils

from summarymixing_fairseq.checkpoints.encoders import load_model
from summarymixing_fairseq.checkpoints.untrusted_file import load_safely
from summarymixing_fairseq.probing.results import EncoderSource, EvaluationData, Results, as_json, read_results
from summarymixing_fairseq.system.errors import InputError


def archive(instructions: bytes, path: Path) -> Path:
    """A checkpoint whose pickle is of these instructions."""
    plain = io.BytesIO()
    torch.save({"w": torch.zeros(1)}, plain)
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(path, "w") as target:
        for member in source.infolist():
            is_pickle = member.filename.endswith("data.pkl")
            target.writestr(member, instructions if is_pickle else source.read(member))
    return path


def old_format(instructions: bytes, path: Path) -> Path:
    """The same as torch wrote it before 1.6."""
    plain = io.BytesIO()
    torch.save({}, plain, _use_new_zipfile_serialization=False)
    begin = io.BytesIO(plain.getvalue())
    for _ in range(3):
        pickle.load(begin)
    head = plain.getvalue()[: begin.tell()]
    path.write_bytes(head + instructions + pickle.dumps([], protocol=2))
    return path


BYTEARRAY = b"\x80\x02cbuiltins\nbytearray\nJ\x00\x00\x00\x60\x85R."
TEXT_OF_NESTED = b"\x80\x02cbuiltins\nstr\n]\x85R."
HUGE_INSTRUCTION = b"\x80\x05\x96" + (6 * 2**30).to_bytes(8, "little") + b"."


def doubling(wrap: str, times: int = 40) -> bytes:
    value: object = ["x"]
    for _ in range(times):
        value = [value, value] if wrap == "lists" else (value, value) if wrap == "tuples" else {"a": value, "b": value}
    return pickle.dumps({"cfg": value}, protocol=2)


def nested_keys(times: int = 40) -> bytes:
    key: tuple = ("x",)
    for _ in range(times):
        key = (key, key)
    body = pickle.dumps(key, protocol=2)[:-1]
    return b"\x80\x02}" + body[2:] + b"K\x01s."


def holds_itself() -> bytes:
    value: list = []
    value.append(value)
    return pickle.dumps({"cfg": value}, protocol=2)


def deep() -> bytes:
    return b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b"."


@pytest.mark.parametrize("form", [archive, old_format])
@pytest.mark.parametrize(
    "instructions",
    [
        BYTEARRAY,
        TEXT_OF_NESTED,
        HUGE_INSTRUCTION,
        doubling("lists"),
        doubling("tuples"),
        doubling("dicts"),
        nested_keys(),
        holds_itself(),
        deep(),
    ],
    ids=["bytearray", "text", "instruction", "lists", "tuples", "dicts", "keys", "itself", "deep"],
)
def test_small_checkpoints(form, instructions, tmp_path):
    path = form(instructions, tmp_path / "small.pt")
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    with pytest.raises(
        InputError, match=r"small\.pt (is not a checkpoint that can be|is no checkpoint|repeats its)"
    ) as error:
        load_safely(path)
    assert "\n" not in str(error.value) and len(str(error.value)) < 400
    assert time.process_time() - start < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024  # KiB


def expanded() -> torch.Tensor:
    """One number that counts as 5.2 GB of them."""
    return torch.zeros(1).expand(1_300_000_000)


def symbols_of_a_tensor() -> object:
    dictionary = letters()
    dictionary.symbols = expanded()
    return dictionary


@pytest.mark.parametrize("name", ["model", "task_state", "extra_state"])
@pytest.mark.parametrize(
    "value", [expanded, symbols_of_a_tensor, lambda: Namespace(a=expanded())], ids=["tensor", "dictionary", "namespace"]
)
def test_tensors_of_more_numbers_than_they_hold(name, value, tmp_path):
    torch.save({"cfg": {}, name: {"a": value()}}, tmp_path / "e.pt")
    with pytest.raises(InputError, match=r"e\.pt .* 'a tensor of 1300000000 numbers where 1 are held'"):
        load_safely(tmp_path / "e.pt")


def test_storages_that_take_from_the_sum(tmp_path):
    """Of -100 GB and of 100 GB: what they declare together is nothing."""
    plain = io.BytesIO()
    torch.save({"a": torch.zeros(17), "b": torch.zeros(16)}, plain, _use_new_zipfile_serialization=False)
    huge, less = (b"\x8a\x08" + (sign * 25 * 10**9).to_bytes(8, "little", signed=True) for sign in (1, -1))
    content = plain.getvalue().replace(b"K\x10", huge).replace(b"K\x11", less)
    (tmp_path / "n.pt").write_bytes(content)
    with pytest.raises(InputError, match=r"n\.pt .* 'a storage of -25000000000 numbers'"):
        load_safely(tmp_path / "n.pt")


@pytest.mark.parametrize("kind", ["wav2vec2", OURS])
def test_sizes_by_reference(kind, tmp_path, tiny_model):
    """What is checked is what is built: a size that refers to another field counts as not given."""
    model = tiny_model() if kind == OURS else stock_model(kind)
    config = configuration(model, kind, mask_length=2**24)
    config["model"].update(encoder_ffn_embed_dim="${task.mask_length}", mask_length=1_000)
    history = [{"criterion_name": "", "optimizer_name": "", "lr_scheduler_state": {}, "num_updates": 3}]
    path = save(tmp_path / "r.pt", config, model.state_dict(), optimizer_history=history)
    with pytest.raises(InputError, match=r"r\.pt: (weights do not fit|its configuration builds a model)"):
        load_model(path)
    built = checkpoint_utils.load_checkpoint_to_cpu(str(path), {})["cfg"]["model"]
    assert built["encoder_ffn_embed_dim"] == type(model.cfg)().encoder_ffn_embed_dim


@pytest.mark.parametrize("name", ["c.pt", "c.safetensors"])
def test_files_without_an_end(name, tmp_path):
    """A pipe that nobody writes to, and a device that never ends."""
    path = tmp_path / name
    for make in (os.mkfifo, lambda path: path.symlink_to("/dev/zero")):
        make(path)
        with pytest.raises(InputError, match=rf"{name} is a pipe or a device: name a file"):
            load_safely(path)
        path.unlink()


def test_what_an_honest_file_repeats_is_read(tmp_path):
    shared = {"betas": [0.9, 0.98], "name": "x" * 100}
    torch.save({"groups": [shared] * 1_000, "w": torch.zeros(3)}, tmp_path / "shared.pt")
    assert len(load_safely(tmp_path / "shared.pt")["groups"]) == 1_000


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layer_weights": [1.0] * 100_000}, "layer_weights: 100,000 entries"),
        ({"head": "x" * 2**20}, "head: 1,048,576 characters"),
        ({"config": {"a": "x" * 2**25}}, "has more than 16,777,216 bytes"),
        ({"versions": {"x" * 10_000: "1"}}, "versions: 10,000 characters"),
    ],
)
def test_sizes_of_a_results_file(change, message, tmp_path):
    results = {
        **{"task": "probe_classification", "head": "linear", "checkpoint": "/c.pt", "config": {}, "seed": 1},
        **{"encoder": EncoderSource("a", "b", "c", "d"), "data": EvaluationData("/d", "test", {}), "metrics": {}},
        **{"layer_weights": [0.5, 0.5], "versions": {}, **change},
    }
    path = tmp_path / "results.json"
    path.write_text(as_json(Results(**results)))
    with pytest.raises(InputError, match=message):
        read_results(path)
