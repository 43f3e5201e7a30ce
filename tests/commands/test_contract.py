"""What every command of `summarymixing` does alike: a quick help, and one line for what is wrong."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest
from pipeline import ROOT

from summarymixing_fairseq.commands.main import build_parser, main

COMMANDS = list(build_parser()._subparsers._group_actions[0].choices)  # argparse has no public list
# Arguments that name what is not there; a command that is not among them reads nothing of the user's.
MISSING = {
    "analyse": ["{gone}", "--data", "{gone}", "--results", "{out}"],
    "align": ["{gone}", "{gone}"],
    "average": ["{gone}", "{out}", "--dest", "{out}.pt"],
    "manifest": ["folder", "{gone}", "--dest", "{out}"],
    "check-manifest": ["{gone}"],
    "benchmark": ["cell", "--json", "{file}"],  # a file that is there already
    "curves": ["{gone}"],
    "decode": ["{gone}", "--data", "{gone}"],
    "evaluate": ["{gone}", "--data", "{gone}", "--results", "{out}"],
    "export": ["{gone}", "{out}.safetensors"],
    "features": ["{gone}", "--data", "{gone}", "--dest", "{out}"],
    "layers": ["{gone}"],
    "lm": ["train", "{gone}"],
    "study": ["run", "{gone}"],
    "units": ["fit", "{gone}", "--data", "{gone}", "--layer", "1", "--clusters", "2", "--dest", "{out}.safetensors"],
    "mp3s": ["--data", "{gone}", "--results", "{out}", "--encoder", "{gone}"],
}


def test_every_module_of_the_folder_that_is_a_command_is_found() -> None:
    files = {path.stem for path in (ROOT / "summarymixing_fairseq" / "commands").glob("*.py")}
    files -= {"__init__", "main", "inputs", "benchmark_layer", "benchmark_memory", "decode_stream"}  # parts of others
    assert {name.replace("-", "_") for name in COMMANDS} == files
    assert COMMANDS[0] == "manifest"


def test_help_of_all_commands_is_quick_and_light() -> None:
    """All of them, in one process, take less than the second of processor time that one may take."""
    code = f"""if True:
        import contextlib, io, sys, time
        from summarymixing_fairseq.commands.main import main
        for arguments in [[], *([name] for name in {COMMANDS!r})]:
            with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()) as output:
                main([*arguments, "--help"])
            assert output.getvalue().startswith("usage: summarymixing"), arguments
        seconds = time.process_time()
        with contextlib.redirect_stdout(io.StringIO()):
            assert main(["configs"]) == 0
        heavy = {{"torch", "fairseq", "numpy", "soundfile", "matplotlib"}} & set(sys.modules)
        assert not heavy, heavy
        main(["check-manifest", "tests/commands"])  # there is none
        import summarymixing_fairseq.data.manifest_check
        assert not {{"torch", "fairseq"}} & set(sys.modules)
        print(seconds)
    """
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 1


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_documented(command: str) -> None:
    module = importlib.import_module(f"summarymixing_fairseq.commands.{command.replace('-', '_')}")
    for documented in (module, module.add_parser):
        assert documented.__doc__


@pytest.mark.parametrize("command", COMMANDS)
def test_an_unknown_option_has_status_2(command: str, capsys) -> None:
    arguments = [argument.format(gone="x", out="x", file="x") for argument in MISSING.get(command, [])]
    with pytest.raises(SystemExit) as ended:
        main([command, *arguments, "--no-such-option"])
    assert ended.value.code == 2 and "--no-such-option" in capsys.readouterr().err


@pytest.mark.parametrize("command", sorted(MISSING))
def test_missing_input_is_one_line_and_status_1(command: str, tmp_path, capsys) -> None:
    (tmp_path / "file").touch()
    places = {"gone": tmp_path / "gone", "out": tmp_path / "out", "file": tmp_path / "file"}
    assert main([command, *(argument.format(**places) for argument in MISSING[command])]) == 1
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1 and str(tmp_path) in errors[0], errors
