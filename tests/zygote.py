"""Trainings that start in a second: a process that has imported torch and fairseq once, and forks one for each.

Run as a program it reads ``[argv, log, environment]`` as JSON from lines of its standard input, starts
``fairseq-hydra-train`` with these arguments in a fork, and answers with its process number; ``{"wait": pid}`` is
answered by its exit status, negative for a signal.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


class Zygote:
    """Starts trainings; a context manager."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Zygote:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stdin.close()
        self._process.wait(30)

    def start(self, arguments: list[str], log: Path, environment: Mapping[str, str] | None = None) -> int:
        """Process number of a ``fairseq-hydra-train`` in a process group of its own, its output at the end of a log."""
        return self._ask([arguments, str(log), dict(environment or {})])

    def wait(self, pid: int) -> int:
        """Its exit status; negative for a signal."""
        return self._ask({"wait": pid})

    def run(self, arguments: list[str], log: Path) -> None:
        """Start, wait, and fail if it did."""
        status = self.wait(self.start(arguments, log))
        assert status == 0, f"{status}\n{log.read_text()[-3000:]}"

    def _ask(self, question: object) -> int:
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


def _train(arguments: list[str], log: str, environment: dict[str, str]) -> None:
    """In the fork: never returns."""
    status = 1
    try:
        os.setsid()
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        for stream in (1, 2):
            os.dup2(descriptor, stream)
        os.environ.update(environment)
        sys.argv = ["fairseq-hydra-train", *arguments]
        from fairseq_cli.hydra_train import cli_main

        cli_main()
        status = 0
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1
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
                _train(*question)
        print(answer, file=answers, flush=True)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    _serve()
