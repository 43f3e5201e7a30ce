"""Python commands that start at once: a process that has imported torch and fairseq forks one for each.

Run as a program, with the folder of the package as its argument, it reads a request as JSON from each line of its
standard input: a command, and where it runs. It answers with the number of the process. ``{"wait": pid}`` is answered
by the exit status, negative for a signal; ``{"poll": pid}`` too, or by null while the process runs.

What a fork starts by ``subprocess`` is a fork again, where it is a command of the same Python. So a stage of the
quickstart, a process of torchrun or a worker of a benchmark imports nothing anew either.
"""

from __future__ import annotations

import atexit
import copy
import gc
import importlib
import inspect
import json
import os
import resource
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace

ROOT = Path(__file__).resolve().parents[1]
# variable of a command's environment: how many bytes each of its files may have, as by `ulimit -f`
FILE_SIZE_LIMIT = "SUMMARYMIXING_TEST_FILE_SIZE_LIMIT"
# variable of a command's environment: a name that all its processes bear (15 letters), forks as well
NAME = "SUMMARYMIXING_TEST_NAME"
# module and function of each console script
COMMANDS = {
    "fairseq-hydra-train": ("fairseq_cli.hydra_train", "cli_main"),
    "fairseq-train": ("fairseq_cli.train", "cli_main"),
    "summarymixing": ("summarymixing_fairseq.commands.main", "console_main"),
    "torchrun": ("torch.distributed.run", "main"),
}
# overrides of every form that tests give
_OVERRIDES = ("task.data=/tmp/a_b-1.c", "+a.b=[0.9,1e-3]", "a.b=true", "model={x:1}", "~a", "a='b c'", "a=-1", "a=null")
PYTHONS = ("python", "python3", Path(sys.executable).name)


class Zygote:
    """Starts commands, in a process group of its own each.

    Args:
        package: folder that the package is imported from.
        folder: where the commands run.
    """

    def __init__(self, package: Path = ROOT, folder: Path = ROOT) -> None:
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(package)],
            **{"cwd": folder, "stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True},
        )

    def close(self) -> None:
        """End, and wait for the end."""
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()

    def start(self, arguments: list[str], log: Path, environment: Mapping[str, str] | None = None) -> int:
        """Process number of a ``fairseq-hydra-train``, its output at the end of a log."""
        return self.fork(["fairseq-hydra-train", *arguments], log, log, environment)

    def wait(self, pid: int) -> int:
        """Its exit status; negative for a signal."""
        return self._ask({"wait": pid})

    def poll(self, pid: int) -> int | None:
        """The same, or None while it runs."""
        return self._ask({"poll": pid})

    def run(self, arguments: list[str], log: Path) -> None:
        """Start a training, wait, and fail if it did."""
        status = self.wait(self.start(arguments, log))
        assert status == 0, f"{status}\n{log.read_text()[-3000:]}"

    def complete(
        self, command: Sequence[object], environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Like ``subprocess.run`` of a Python command, its output captured. Threads take turns."""
        command = list(map(str, command))
        with self._lock, tempfile.TemporaryDirectory() as folder:
            output, errors = Path(folder, "output"), Path(folder, "errors")
            status = self.wait(self.fork(command, output, errors, environment))
            return subprocess.CompletedProcess(command, status, output.read_text(), errors.read_text())

    def fork(
        self, command: Sequence[str], output: Path, errors: Path, environment: Mapping[str, str] | None = None
    ) -> int:
        """Process number of a Python command, its streams at the ends of two files."""
        assert _is_python(command), command
        return self._ask([list(command), str(output), str(errors), dict(environment or {})])

    def _ask(self, question: object) -> int | None:
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


class Forked:
    """What tests use of ``subprocess.Popen``, for a command that a zygote has forked.

    Args:
        log: file of its output and errors, which ``communicate`` gives twice; None: two files of its own.
    """

    def __init__(
        self, zygote: Zygote, command: Sequence[object], environment: Mapping[str, str], log: Path | None = None
    ) -> None:
        self._zygote, self._folder = zygote, tempfile.TemporaryDirectory()
        self.files = [log or Path(self._folder.name, name) for name in ("output", "errors")]
        self.returncode: int | None = None
        self.pid = zygote.fork(list(map(str, command)), *self.files, environment)

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = self._zygote.poll(self.pid)
        return self.returncode

    def kill(self) -> None:
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)

    def wait(self, timeout: float = 60.0) -> int:
        until = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > until:
                raise subprocess.TimeoutExpired(str(self.pid), timeout)
            time.sleep(0.005)
        return self.returncode

    def communicate(self, timeout: float = 60.0) -> tuple[str, str]:
        self.wait(timeout)
        output, errors = (path.read_text() for path in self.files)
        return output, errors

    def wait_for(self, line: str) -> None:
        """Until it has printed a line."""
        until = time.monotonic() + 60
        while not self.files[0].exists() or line not in self.files[0].read_text().splitlines():
            assert self.poll() is None and time.monotonic() < until, self.files[1].read_text()
            time.sleep(0.005)


@lru_cache(maxsize=1)
def shared_zygote() -> Zygote:
    """The one of this process; it ends with it."""
    zygote = Zygote()
    atexit.register(zygote.close)
    return zygote


def quicken_hydra() -> None:
    """Spare each composition a copy of all sources of configurations, which takes longer than to read one.

    hydra gives the copy a list of sources of its own; a copy that is not deep is enough for it.
    """
    from hydra._internal import config_repository

    config_repository.copy = SimpleNamespace(deepcopy=copy.copy)


def _is_python(command: Sequence[str]) -> bool:
    return Path(command[0]).name in (*COMMANDS, *PYTHONS)


def _call(command: list[str]) -> None:
    """Do what Python would do with a command line."""
    if Path(command[0]).name in COMMANDS:
        sys.argv = command
        module, function = COMMANDS[Path(command[0]).name]
        getattr(importlib.import_module(module), function)()
        return
    rest = command[1:]
    while rest[0] in ("-u", "-W"):
        rest = rest[1 if rest[0] == "-u" else 2 :]
    if rest[0] == "-m":
        sys.argv = rest[1:]
        runpy.run_module(rest[1], run_name="__main__", alter_sys=True)
    elif rest[0] == "-c":
        sys.argv = ["-c", *rest[2:]]
        exec(rest[1], {"__name__": "__main__"})  # noqa: S102
    elif Path(rest[0]).name in COMMANDS:  # a console script, by its path
        _call(rest)
    else:
        sys.argv = rest
        sys.path.insert(0, str(Path(rest[0]).resolve().parent))
        runpy.run_path(rest[0], run_name="__main__")


def _become(command: list[str]) -> None:
    """In a fork: run a command as if by a new Python. Never returns."""
    status = 1
    try:
        os.closerange(3, 2**16)
        sys.stdin = open(0, closefd=False)  # noqa: SIM115
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        if "summarymixing_fairseq.system.interrupts" in sys.modules:
            importlib.reload(sys.modules["summarymixing_fairseq.system.interrupts"])  # it knows of the parent
        if FILE_SIZE_LIMIT in os.environ:
            # Python would keep compiled modules that are cut off at the limit, and fail by them from then on
            sys.dont_write_bytecode, os.environ["PYTHONDONTWRITEBYTECODE"] = True, "1"
            resource.setrlimit(resource.RLIMIT_FSIZE, (int(os.environ[FILE_SIZE_LIMIT]),) * 2)
        if NAME in os.environ:
            Path("/proc/self/comm").write_text(os.environ[NAME])
        tempfile.tempdir = None
        _call(command)
        status = 0
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr)
    except KeyboardInterrupt:
        threading._shutdown()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    except BaseException:
        traceback.print_exc()
    finally:
        try:
            threading._shutdown()  # Python waits for threads
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(status)


_execute_child = subprocess.Popen._execute_child
_PARAMETERS = list(inspect.signature(_execute_child).parameters)[1:]
_PIPES = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")


def _fork_child(popen: subprocess.Popen, *arguments: object) -> None:
    """In the place of ``subprocess.Popen._execute_child``: a Python command becomes a fork of this process."""
    given = dict(zip(_PARAMETERS, arguments))
    command = given["args"]
    if isinstance(command, (str, bytes)) or given["shell"] or given["preexec_fn"]:
        return _execute_child(popen, *arguments)
    command = list(map(os.fsdecode, command))
    if not _is_python(command) or command[1:2] in (["-I"], ["-S"]):
        return _execute_child(popen, *arguments)
    sys.stdout.flush()
    sys.stderr.flush()
    popen.pid = os.fork()
    if popen.pid == 0:
        try:
            for stream, pipe in enumerate(("p2cread", "c2pwrite", "errwrite")):
                if given[pipe] != -1:
                    os.dup2(given[pipe], stream)
            if given["start_new_session"]:
                os.setsid()
            if given["cwd"]:
                os.chdir(given["cwd"])
            if given["env"] is not None:
                name = os.environ.get(NAME)
                os.environ.clear()
                os.environ.update({**given["env"], **({NAME: name} if name else {})})
            _become(command)
        finally:
            os._exit(1)
    popen._child_created = True
    popen._close_pipe_fds(*(given[pipe] for pipe in _PIPES))
    return None


def _run(command: list[str], output: str, errors: str, environment: dict[str, str]) -> None:
    """In the fork: never returns."""
    try:
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for stream, path in ((1, output), (2, errors)):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644), stream)
        os.environ.update(environment)
        subprocess.Popen._execute_child = _fork_child
        signal.signal(signal.SIGINT, signal.default_int_handler)
        _become(command)
    finally:
        os._exit(1)


def _serve() -> None:
    import soundfile  # noqa: F401
    import torch
    import torch._dynamo  # the first step of an optimizer does, with 700 modules more
    from fairseq_cli import hydra_train  # noqa: F401
    from hydra._internal.hydra import Hydra
    from hydra.core.override_parser.overrides_parser import OverridesParser

    import summarymixing_fairseq

    summarymixing_fairseq.register()

    torch.set_num_threads(1)
    get_mode = getattr(Hydra, "get_mode", None)  # 1.0 has none

    def mode(hydra: object, config_name: str, overrides: list[str]) -> object:
        """hydra composes the configuration twice, the first time to read hydra.mode: only run_config/ sets it."""
        return get_mode(hydra, config_name, overrides) if any("run_config" in one for one in overrides) else None

    Hydra.get_mode = mode
    quicken_hydra()
    OverridesParser.create().parse_overrides(_OVERRIDES)  # the parser is slow until it has seen the like
    gc.collect()
    gc.freeze()  # a collection in a fork would go through, and so copy, all that is imported
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        question = json.loads(line)
        if isinstance(question, dict):
            ((asked, pid),) = question.items()
            ended, status = os.waitpid(pid, os.WNOHANG if asked == "poll" else 0)
            answer = os.waitstatus_to_exitcode(status) if ended else None
        else:
            answer = os.fork()
            if answer == 0:
                _run(*question)
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    sys.path[0] = sys.argv[1]
    _serve()
