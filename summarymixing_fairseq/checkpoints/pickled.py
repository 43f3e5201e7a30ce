"""What a pickle would make, found out without making it: a list of what is allowed, and of how much."""

from __future__ import annotations

import io
import math
import mmap
import pickletools
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import torch

from ..data.dictionary import check_fields
from ..system.errors import InputError
from .archive import is_archive

# bytes of a number of each storage
STORAGES = {
    **{f"torch.{name}Storage": 1 for name in ("Bool", "Byte", "Char")},
    **{f"torch.{name}Storage": 2 for name in ("Half", "BFloat16", "Short")},
    **{f"torch.{name}Storage": 4 for name in ("Float", "Int")},
    **{f"torch.{name}Storage": 8 for name in ("Double", "Long")},
}
DICTIONARY = "fairseq.data.dictionary.Dictionary"
# What configurations consisted of besides plain containers (see untrusted_file), and the symbols of a fine-tuned model.
CLASSES = {
    *("argparse.Namespace", DICTIONARY),
    *("omegaconf.dictconfig.DictConfig", "omegaconf.listconfig.ListConfig", "omegaconf.nodes.AnyNode"),
    *("omegaconf.base.ContainerMetadata", "omegaconf.base.Metadata"),
}
# Named in the metadata of OmegaConf's trees, and never called; int and str by their names in Python 2 too, as the
# protocol writes them.
PLAIN = ("dict", "list", "tuple", "str", "unicode", "int", "long", "float", "bool")
TYPES = {"typing.Any", *(f"{module}.{name}" for module in ("builtins", "__builtin__") for name in PLAIN)}
MAPPINGS = {"collections.OrderedDict": 0, "collections.defaultdict": 1}
TENSOR = "torch._utils._rebuild_tensor_v2"
TENSORS = {TENSOR: 6, "torch._utils._rebuild_parameter": 3}
ALLOWED = {*STORAGES, *CLASSES, *TYPES, *MAPPINGS, *TENSORS}

LITERALS = {"BINFLOAT", "BININT", "BININT1", "BININT2", "LONG1", "BINUNICODE", "SHORT_BINSTRING"}
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
SMALL_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}

MAX_DEPTH = 200
MAX_DIMENSIONS = 64
# Items and characters that a file may have beyond one for each of its bytes: what repeats costs two bytes there.
SPARE_SIZE = 2**20


class NotAllowed(Exception):
    """What a pickle would make and may not."""


class _Global(str):
    """A name out of the pickle."""

    __slots__ = ()


class _Object:
    """Stands for a tensor, or an object of one of ``CLASSES``."""

    def __init__(self) -> None:
        self.state: dict[str, Any] = {}


class _Scan:
    """Follows the instructions of a pickle, as torch's reader does, with names and stand-ins for all that it calls."""

    def __init__(self) -> None:
        self.storages: dict[str, tuple[str, int]] = {}  # kind and number of items by key
        self.dictionaries: list[_Object] = []

    def run(self, file: IO[bytes] | mmap.mmap) -> Any:
        """What the next pickle in a file makes.

        Raises:
            NotAllowed: for anything but what is allowed.
            Exception: of any other type where the pickle is broken.
        """
        stack: list[Any] = []
        marks: list[int] = []
        memo: dict[int, Any] = {}

        def popped() -> list[Any]:
            at = marks.pop()
            items = stack[at:]
            del stack[at:]
            return items

        argument: Any
        for opcode, argument, _ in pickletools.genops(file):  # type: ignore[arg-type]  # mmap reads like a file
            name = opcode.name
            if name in LITERALS:
                stack.append(argument)
            elif name in CONSTANTS:
                stack.append(CONSTANTS[name])
            elif name in SMALL_TUPLES:
                at = len(stack) - SMALL_TUPLES[name]
                stack[at:] = [tuple(stack[at:])]
            elif name in ("BINPUT", "LONG_BINPUT"):
                memo[argument] = stack[-1]
            elif name in ("BINGET", "LONG_BINGET"):
                stack.append(memo[argument])
            elif name == "MARK":
                marks.append(len(stack))
            elif name == "TUPLE":
                stack.append(tuple(popped()))
            elif name == "EMPTY_LIST":
                stack.append([])
            elif name == "EMPTY_DICT":
                stack.append({})
            elif name in ("APPEND", "APPENDS"):
                items = [stack.pop()] if name == "APPEND" else popped()
                _only(stack[-1], list).extend(items)
            elif name in ("SETITEM", "SETITEMS"):
                items = [stack.pop(), stack.pop()][::-1] if name == "SETITEM" else popped()
                # no key but these: the hash of nested tuples takes for ever
                keys = [_only(key, str, int) for key in items[::2]]
                _only(stack[-1], dict).update(zip(keys, items[1::2]))
            elif name == "GLOBAL":
                stack.append(_allowed(argument.replace(" ", ".")))
            elif name in ("REDUCE", "NEWOBJ"):
                arguments, called = _only(stack.pop(), tuple), _only(stack.pop(), _Global)
                stack.append(_made(called, arguments, name == "NEWOBJ"))
                if called == DICTIONARY:
                    self.dictionaries.append(stack[-1])
            elif name == "BUILD":
                state, built = _only(stack.pop(), dict), _only(stack[-1], _Object, dict)
                if isinstance(built, _Object):
                    built.state.update(state)
            elif name == "BINPERSID":
                stack.append(self._storage(*_only(stack.pop(), tuple)))
            elif name == "STOP":
                return stack.pop()
            elif name != "PROTO":
                raise NotAllowed(f"the instruction {name}")
        raise ValueError("no end")

    def _storage(self, kind: Any, storage: Any, key: Any, _location: Any, num_items: Any, *_: Any) -> _Object:
        if kind != "storage" or storage not in STORAGES:
            raise NotAllowed("no storage")
        declared = str(storage), _only(num_items, int)
        if num_items < 0 or self.storages.setdefault(_only(key, str), declared) != declared:
            raise NotAllowed(f"a storage of {num_items} numbers")
        made = _Object()
        made.state["num_items"] = num_items
        return made


def _only(value: Any, *types: type) -> Any:
    if type(value) not in types:
        raise NotAllowed(f"a {type(value).__name__} out of place")
    return value


def _allowed(name: str) -> _Global:
    if name not in ALLOWED:
        raise NotAllowed(name)
    return _Global(name)


def _made(called: _Global, arguments: tuple[Any, ...], as_object: bool) -> Any:
    if as_object and called in CLASSES and not arguments:
        return _Object()
    if not as_object and called in MAPPINGS and len(arguments) == MAPPINGS[called]:
        if not all(_only(argument, _Global) in TYPES for argument in arguments):
            raise NotAllowed(f"a call of {called}")
        return {}
    if not as_object and called in TENSORS and len(arguments) == TENSORS[called]:
        base = _only(arguments[0], _Object)
        if called == TENSOR:
            _check_sizes(_only(arguments[2], tuple), base)
        return _Object()
    raise NotAllowed(f"a call of {called}")


def _check_sizes(sizes: tuple[Any, ...], storage: _Object) -> None:
    """Raises NotAllowed for a tensor of more numbers than its storage has, as ``expand`` makes it."""
    if len(sizes) > MAX_DIMENSIONS:
        raise NotAllowed(f"a tensor of {len(sizes)} dimensions")
    num_items, num_held = math.prod(_only(size, int) for size in sizes), storage.state.get("num_items", 0)
    if num_items > num_held:
        raise NotAllowed(f"a tensor of {num_items} numbers where {num_held} are held")


def _size(value: Any, sizes: dict[int, int | None], depth: int = 0) -> int:
    """Items and characters of a value, each counted as often as it is met. Raises NotAllowed for one without end."""
    if isinstance(value, str):
        return 1 + len(value)
    if not isinstance(value, (list, tuple, dict, _Object)):
        return 1
    known = sizes.get(id(value), 0)
    if known is None or depth > MAX_DEPTH:
        raise NotAllowed("containers that hold themselves, or too many in one another")
    if not known:
        sizes[id(value)] = None
        known = 1 + sum(_size(item, sizes, depth + 1) for item in _items(value))
        sizes[id(value)] = known
    return known


def _items(value: Any) -> Iterator[Any]:
    if isinstance(value, _Object):
        # a node of OmegaConf's points back to its tree
        value = {key: item for key, item in value.state.items() if key != "_parent"}
    if isinstance(value, dict):
        yield from value.keys()
        yield from value.values()
    else:
        yield from value


def check_pickle(path: Path) -> None:
    """Follow the pickle of a checkpoint, of today's format or of that before torch 1.6, before it is read.

    Raises:
        InputError: for a file that makes anything but tensors, plain containers and old configurations, containers
            that hold themselves, a dictionary of symbols that is none, or more than it has.
        Exception: of any type for a file that is broken.
    """
    scan, most = _Scan(), path.stat().st_size
    try:
        if is_archive(path):
            made = scan.run(io.BytesIO(torch._C.PyTorchFileReader(str(path)).get_record("data.pkl")))
        else:
            with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                for _ in range(3):  # a magic number, the format's version, and the machine's sizes
                    scan.run(content)
                made = scan.run(content)
                scan.run(content)  # names of storages
        size = _size(made, {})
    except NotAllowed as error:
        raise InputError(
            f"{path} is not a checkpoint that can be loaded safely (tensors and plain containers, no code): it has "
            f"{str(error)[:80]!r}"
        ) from None
    for dictionary in scan.dictionaries:
        try:
            check_fields(dictionary.state)
        except ValueError as error:
            raise InputError(f"{path} holds a dictionary of symbols that is none: {error}") from None
    promised = sum(STORAGES[kind] * num_items for kind, num_items in scan.storages.values())
    if promised > most:
        raise InputError(f"{path} declares tensors of {promised} bytes, more than it has (cut short?): refused")
    if size > most + SPARE_SIZE:
        raise InputError(f"{path} repeats its containers until they have {float(size):.1e} items: refused")
