"""Coverage-guided fuzzing by atheris (extra `fuzz`): python tests/fuzz/run_atheris.py [--target NAME] [--minutes M]

Starts from the seeds and the cases of tests/fuzz/cases. An input that breaks a target is written to
CRASHES/TARGET-crash-...; put it into tests/fuzz/cases/TARGET once the bug is fixed.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
NAMES = ("manifest", "transcripts", "dictionary", "config", "audio", "table")
# Seconds after which an input counts as a hang.
TIMEOUT_SECONDS = 30


def fuzz(target: str, arguments: list[str]) -> None:
    """Fuzz in this process, until libFuzzer ends it."""
    import atheris

    sys.path.insert(0, str(HERE.parent))
    with atheris.instrument_imports(include=["summarymixing_fairseq"]):
        from fuzz import targets
    import torch

    torch.set_num_threads(1)
    targets.warm_up()
    seeds = Path(arguments[-2])  # the folder that new inputs go to
    for number, data in enumerate(targets.SEEDS[target] + (targets.audio_seeds() if target == "audio" else [])):
        (seeds / f"seed{number:02}").write_bytes(data)
    atheris.Setup([sys.argv[0], *arguments], targets.TARGETS[target])
    atheris.Fuzz()


def run(target: str, minutes: float, crashes: Path) -> bool:
    """Fuzz a target in a process of its own; returns whether all went well."""
    crashes.mkdir(parents=True, exist_ok=True)
    cases = HERE / "cases" / target
    cases.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="atheris-") as corpus:
        options = [f"-max_total_time={round(60 * minutes)}", f"-timeout={TIMEOUT_SECONDS}", "-rss_limit_mb=4096"]
        options += ["-print_final_stats=1", "-max_len=8192", f"-artifact_prefix={crashes}/{target}-"]
        # mpg123 writes a line for every broken frame
        options += ["-close_fd_mask=2"] if target == "audio" else []
        command = [sys.executable, __file__, "--child", target, *options, corpus, str(cases)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, errors="replace")
        lines: list[str] = []
        for line in process.stderr:
            lines.append(line)
            if re.match(r"#\d+\s+(pulse|INITED|DONE)", line):
                print(f"{target}: {line.strip()}", flush=True)
        status = process.wait()
    text = "".join(lines)
    executed = re.findall(r"stat::number_of_executed_units:\s*(\d+)", text)
    print(f"atheris, {target}: {int(executed[-1]) if executed else 0:,} inputs in {minutes:g} minutes, status {status}")
    if status:
        print(text[-6000:], file=sys.stderr)
    return status == 0


def main() -> int:
    """Command line; returns the exit status."""
    if sys.argv[1:2] == ["--child"]:
        fuzz(sys.argv[2], sys.argv[3:])
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", nargs="+", choices=NAMES, default=NAMES, help="default: all")
    parser.add_argument("--minutes", type=float, default=3.0, help="of each target (3)")
    parser.add_argument("--crashes", type=Path, default=Path("fuzz-crashes"), help="folder for inputs that break one")
    args = parser.parse_args()
    results = [run(target, args.minutes, args.crashes.absolute()) for target in args.target]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
