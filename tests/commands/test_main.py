"""The console script itself."""

from __future__ import annotations

import subprocess
import sys

from pipeline import BIN, ROOT, run

from summarymixing_fairseq.version import __version__


def test_help_does_not_import_torch() -> None:
    script = (
        "import sys; sys.argv = ['summarymixing', '--help']\n"
        "from summarymixing_fairseq.commands.main import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "assert 'torch' not in sys.modules and 'fairseq' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT, capture_output=True)


def test_version_and_module_entry() -> None:
    assert run("summarymixing", "--version").stdout.strip() == __version__
    assert run("python", "-m", "summarymixing_fairseq", "--version").stdout.strip() == __version__


def test_plain_import_registers_with_fairseq() -> None:
    script = (
        "import summarymixing_fairseq\n"
        "from fairseq.models import MODEL_REGISTRY\nfrom fairseq.tasks import TASK_REGISTRY\n"
        "assert 'wav2vec2_summarymixing' in MODEL_REGISTRY and 'speech_pretraining' in TASK_REGISTRY"
    )
    subprocess.run([BIN / "python", "-c", script], check=True, cwd=ROOT, capture_output=True)
