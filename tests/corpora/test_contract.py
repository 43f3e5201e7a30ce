"""What every corpus has: a description, help without heavy imports, the shared options, and refusals in one line."""

from __future__ import annotations

import subprocess
import sys

import pytest
from manifest_command import corpus_command

from summarymixing_fairseq.corpora import all_corpora
from summarymixing_fairseq.system.files import exclusive

SHARED = ("--dest", "--min-seconds", "--verify", "--allow-outside-root", "--max-refused", "--workers", "--force")


@pytest.mark.parametrize("name", all_corpora())
def test_help_describes_the_corpus_and_lists_its_options(name, capsys):
    corpus = all_corpora()[name]
    with pytest.raises(SystemExit) as ended:
        corpus_command(name)(["--help"])
    text = capsys.readouterr().out
    assert ended.value.code == 0 and all(option in text for option in SHARED)
    assert corpus.__doc__ in text and f"summarymixing manifest {name} " in corpus.__doc__
    assert corpus.__doc__.partition("\n")[0].endswith(".")


@pytest.mark.parametrize("name", all_corpora())
def test_a_folder_that_is_not_there_is_one_line(name, tmp_path, capsys):
    missing = tmp_path / "nowhere"
    assert corpus_command(name)([str(missing), "--dest", str(tmp_path / "out")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("summarymixing manifest: ") and str(missing) in line
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("corpus_and_options", "message"),
    [
        ("folder --valid-fraction 1", "--valid-fraction 1 must be at least 0 and below 1"),
        ("librilight --valid-fraction nan", "--valid-fraction nan must be"),
        ("voxceleb --valid-fraction -1", "--valid-fraction -1 must be"),
        ("folder --min-seconds -1", "--min-seconds -1 must be 0 or more"),
        ("folder --min-seconds 3 --max-seconds 2", "--min-seconds 3 must not exceed --max-seconds 2"),
        ("folder --max-refused 2", "--max-refused 2 must be between 0 and 1"),
        ("folder --max-clipped -1", "--max-clipped -1 must be between 0 and 1"),
        ("folder --target-seconds 0", "--target-seconds 0 must be positive"),
        ("librilight --target-seconds 5", "--min-segment-seconds 10 must be between 0 and --target-seconds 5"),
        ("librilight --valid dev --valid-fraction 0.1", "--valid and --valid-fraction both"),
    ],
)
def test_options_out_of_range(corpus_and_options, message, tmp_path, capsys):
    name, *options = corpus_and_options.split()
    assert corpus_command(name)([str(tmp_path), "--dest", str(tmp_path / "out"), *options]) == 1
    assert message in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_kept_out_while_another_run_is_at_work(tmp_path, capsys):
    with exclusive(tmp_path / "out"):
        assert corpus_command("folder")([str(tmp_path), "--dest", str(tmp_path / "out")]) == 1
    assert "another run is writing to" in capsys.readouterr().err


def test_help_imports_nothing_heavy():
    code = """
import sys
from summarymixing_fairseq.commands.main import main
from summarymixing_fairseq.corpora import all_corpora
for name in all_corpora():
    try:
        main(["manifest", name, "--help"])
    except SystemExit as ended:
        assert not ended.code
heavy = {"torch", "fairseq", "soundfile", "numpy", "soxr", "sentencepiece", "silero_vad"} & sys.modules.keys()
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
