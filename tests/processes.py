"""Commands as processes that are interrupted, whose output nobody reads, or whose disk is full."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from pipeline import BIN, ROOT
from zygote import NAME, Forked, shared_zygote

MARK = "SUMMARYMIXING_TEST_PROCESS"
TIMEOUT_SECONDS = 100
# the bit of SIGTERM in a process's mask of signals with handlers (/proc/PID/status)
_SIGTERM_BIT = 1 << (signal.SIGTERM - 1)


def environment(**variables: str) -> dict[str, str]:
    """One thread, output buffered as for a user (a test's machine may say otherwise)."""
    return {
        **{name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
        "OMP_NUM_THREADS": "1",
        **variables,
    }


def summarymixing(*arguments: object) -> list[str]:
    """The console script's command line."""
    return [str(BIN / "summarymixing"), *map(str, arguments)]


def script(path: str, *arguments: object) -> list[str]:
    """The command line of a script of the repository."""
    return [sys.executable, path, *map(str, arguments)]


@dataclass
class Started:
    """A command in a session of its own. A variable of the environment marks all processes that it starts."""

    command: list[str]
    file_size_limit: int | None = None
    temporary: Path | None = None  # the folder for temporary files
    forked: bool = False  # by the zygote, which spares it its imports
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)

    def __post_init__(self) -> None:
        settings = {MARK: self.mark, **self._settings()}
        if self.forked:
            self.process = Forked(shared_zygote(), self.command, {**settings, NAME: self.mark[:15]})
            return
        self.process = subprocess.Popen(
            self.command,
            cwd=ROOT,
            env=environment(**settings),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=self._prepare,
        )

    def _settings(self) -> dict[str, str]:
        settings = {} if self.temporary is None else {"TMPDIR": str(self.temporary)}
        if self.file_size_limit is not None:
            # Python would keep compiled modules that are cut off at the limit, and fail by them from then on
            settings["PYTHONDONTWRITEBYTECODE"] = "1"
        return settings

    def _prepare(self) -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # ignored where the tests run in a shell's background
        if self.file_size_limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.file_size_limit, self.file_size_limit))

    def wait_for(self, condition: Callable[[], object]) -> None:
        """Until something has happened, or the command has ended."""
        until = time.monotonic() + TIMEOUT_SECONDS
        while not condition() and self.process.poll() is None and time.monotonic() < until:
            time.sleep(0.005)

    def is_armed(self) -> bool:
        """Whether it handles signals itself by now."""
        try:
            status = Path(f"/proc/{self.process.pid}/status").read_text()
        except OSError:
            return False
        caught = next((line for line in status.splitlines() if line.startswith("SigCgt")), "SigCgt: 0")
        return bool(int(caught.split()[1], 16) & _SIGTERM_BIT)

    def children(self) -> list[int]:
        """Processes that it has started and that still run."""
        return [number for number in self._marked() if number != self.process.pid]

    def _marked(self) -> list[int]:
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                marks = (folder / "environ").read_bytes() + (folder / "comm").read_bytes()
                if self.mark.encode() in marks or marks.endswith(f"{self.mark[:15]}\n".encode()):
                    found.append(int(folder.name))
            except OSError:
                continue
        return found

    def interrupt(self, number: int, group: bool) -> Ended:
        """Send a signal, to it alone or as a terminal does to its group, and wait for its end."""
        (os.killpg if group else os.kill)(self.process.pid, number)
        return self.end()

    def end(self) -> Ended:
        """Wait for its end."""
        try:
            output, errors = self.process.communicate(timeout=TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
            raise
        until = time.monotonic() + 2  # a process that was killed takes a moment to go
        while self.children() and time.monotonic() < until:
            time.sleep(0.02)
        left = self.children()
        for number in left:
            os.kill(number, signal.SIGKILL)
        return Ended(self.process.returncode, output, errors, len(left))


@dataclass(frozen=True)
class Ended:
    """Result of a command."""

    status: int
    output: str
    errors: str
    num_left: int

    def lines(self) -> list[str]:
        """Lines on stderr, without progress bars and warnings of libraries."""
        lines = [line for line in self.errors.replace("\r", "\n").splitlines() if line.strip()]
        return [line for line in lines if "%|" not in line and "Warning" not in line and not line.startswith("  ")]


def assert_interrupted(ended: Ended, number: int, line: str = "interrupted") -> None:
    """Check that the signal has ended it, with one line, and that no process is left."""
    expected = line if number == signal.SIGINT else f"{line} ({signal.Signals(number).name})"
    assert ended.status == 128 + number, ended
    assert ended.lines() == [expected], ended.errors
    assert ended.errors.endswith(f"{expected}\n"), ended.errors
    assert ended.num_left == 0


def hidden_files(folder: Path) -> list[str]:
    """Temporary files and locks that were left behind. A journal of headers stays on purpose."""
    return sorted(path.name for path in folder.rglob(".*") if path.name != ".headers.journal")
