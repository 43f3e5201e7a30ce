"""Commands that start at once: a process that has imported torch and fairseq forks one for each.

Run as a program it reads a request as JSON from each line of its standard input: the command with its arguments, the
files of its output and errors, and variables of its environment. It answers with the number of the process;
``{"wait": pid}`` is answered by the exit status, negative for a signal.
"""

from __future__ import annotations

import atexit
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from functools import lru_cache
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# variable of a command's environment: how many bytes each of its files may have, as by `ulimit -f`
FILE_SIZE_LIMIT = "SUMMARYMIXING_TEST_FILE_SIZE_LIMIT"
# module and function of each console script
COMMANDS = {
    "fairseq-hydra-train": ("fairseq_cli.hydra_train", "cli_main"),
    "fairseq-train": ("fairseq_cli.train", "cli_main"),
    "summarymixing": ("summarymixing_fairseq.commands.main", "console_main"),
}


class Zygote:
    """Starts commands."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, __file__], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def close(self) -> None:
        """End, and wait for the end."""
        self._process.stdin.close()
        self._process.wait(30)

    def start(self, arguments: list[str], log: Path, environment: Mapping[str, str] | None = None) -> int:
        """Process number of a ``fairseq-hydra-train`` in a process group of its own, its output at the end of a log."""
        return self._start(["fairseq-hydra-train", *arguments], log, log, environment=environment)

    def wait(self, pid: int) -> int:
        """Its exit status; negative for a signal."""
        return self._ask({"wait": pid})

    def run(self, arguments: list[str], log: Path) -> None:
        """Start a training, wait, and fail if it did."""
        status = self.wait(self.start(arguments, log))
        assert status == 0, f"{status}\n{log.read_text()[-3000:]}"

    def complete(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        """Like ``subprocess.run`` of one of ``COMMANDS``, its output captured. Threads take turns."""
        with self._lock, tempfile.TemporaryDirectory() as folder:
            output, errors = Path(folder, "output"), Path(folder, "errors")
            status = self.wait(self._start(command, output, errors))
            return subprocess.CompletedProcess(command, status, output.read_text(), errors.read_text())

    def _start(self, command: list[str], *files: Path, environment: Mapping[str, str] | None = None) -> int:
        return self._ask([command, *map(str, files), dict(environment or {})])

    def _ask(self, question: object) -> int:
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


@lru_cache(maxsize=1)
def shared_zygote() -> Zygote:
    """The one of this process; it ends with it."""
    zygote = Zygote()
    atexit.register(zygote.close)
    return zygote


def _run(command: list[str], output: str, errors: str, environment: dict[str, str]) -> None:
    """In the fork: never returns."""
    status = 1
    try:
        os.setsid()
        for stream, path in ((1, output), (2, errors)):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644), stream)
        os.environ.update(environment)
        if FILE_SIZE_LIMIT in environment:
            # Python would keep compiled modules that are cut off at the limit, and fail by them from then on
            sys.dont_write_bytecode, os.environ["PYTHONDONTWRITEBYTECODE"] = True, "1"
            resource.setrlimit(resource.RLIMIT_FSIZE, (int(environment[FILE_SIZE_LIMIT]),) * 2)
        sys.argv = command
        module, function = COMMANDS[command[0]]
        getattr(import_module(module), function)()
        status = 0
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _serve() -> None:
    import torch
    from fairseq_cli import hydra_train  # noqa: F401

    import summarymixing_fairseq

    summarymixing_fairseq.register()

    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        question = json.loads(line)
        if isinstance(question, dict):
            answer = os.waitstatus_to_exitcode(os.waitpid(question["wait"], 0)[1])
        else:
            answer = os.fork()
            if answer == 0:
                signal.signal(signal.SIGINT, signal.default_int_handler)
                _run(*question)
        print(answer, file=answers, flush=True)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    _serve()
