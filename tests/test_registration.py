"""The package as fairseq's user-dir: imported in any order and any number of times."""

from __future__ import annotations

import io
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import torch
from fairseq.data import Dictionary
from fairseq.models import MODEL_REGISTRY
from fairseq.tasks import TASK_REGISTRY
from fairseq.utils import import_user_module

import summarymixing_fairseq
from summarymixing_fairseq.checkpoints.untrusted_file import allow_fairseq_dictionary

PACKAGE = Path(summarymixing_fairseq.__file__).parent


def assert_registered() -> None:
    assert MODEL_REGISTRY["wav2vec2_summarymixing"].__name__ == "Wav2Vec2SummaryMixingModel"
    assert TASK_REGISTRY["speech_pretraining"].__name__ == "SpeechPretrainingTask"
    assert TASK_REGISTRY["speech_finetuning"].__name__ == "SpeechFinetuningTask"


def test_registering_twice_is_harmless():
    summarymixing_fairseq.register()
    summarymixing_fairseq.register()
    assert_registered()


def test_user_dir_after_the_import():
    model = MODEL_REGISTRY["wav2vec2_summarymixing"]
    for _ in range(2):
        import_user_module(Namespace(user_dir=str(PACKAGE)))
    assert_registered()
    assert MODEL_REGISTRY["wav2vec2_summarymixing"] is model


def test_in_a_fresh_process(tmp_path, toned):
    """From another folder. A plain import loads neither torch nor fairseq, and changes nothing of fairseq.

    Then, in a fork that has fairseq but not this package, by user-dir and by import after it; in the process itself,
    where it is imported, by reading a recogniser.
    """
    code = f"""
import os
import sys
from argparse import Namespace
PACKAGE = {str(PACKAGE)!r}
sys.path.insert(0, {str(PACKAGE.parent)!r})
import summarymixing_fairseq
heavy = {{"torch", "fairseq", "numpy", "omegaconf", "hydra"}} & set(sys.modules)
assert not heavy, heavy
from fairseq import checkpoint_utils
from fairseq.models import MODEL_REGISTRY
from fairseq.tasks import TASK_REGISTRY
from fairseq.trainer import Trainer
from fairseq.utils import import_user_module
names = {{**vars(checkpoint_utils), **vars(Trainer)}}
ours = {{name for name, value in names.items() if "summarymixing" in str(getattr(value, "__module__", ""))}}
assert not ours, ours
assert "wav2vec2_summarymixing" not in MODEL_REGISTRY
child = os.fork()
if child == 0:
    for name in [name for name in sys.modules if name.startswith("summarymixing_fairseq")]:
        del sys.modules[name]
    import_user_module(Namespace(user_dir=PACKAGE))
    import summarymixing_fairseq
    import_user_module(Namespace(user_dir=PACKAGE))
else:
    assert os.waitpid(child, 0)[1] == 0
    summarymixing_fairseq.load_recogniser({str(toned)!r})
assert "wav2vec2_summarymixing" in MODEL_REGISTRY
assert "speech_pretraining" in TASK_REGISTRY and "speech_finetuning" in TASK_REGISTRY
"""
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_the_log_of_a_users_process_stays_as_it_is(toned):
    """fairseq's import alone sets the root logger to DEBUG."""
    code = f"""
import logging
from summarymixing_fairseq import load_recogniser
load_recogniser({str(toned)!r})
assert logging.getLogger().level == logging.WARNING and not logging.getLogger().handlers
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0 and not result.stderr, result.stderr


def test_a_saved_dictionary_loads_safely():
    allow_fairseq_dictionary()
    letters = Dictionary()
    letters.add_symbol("A")
    file = io.BytesIO()
    torch.save({"target_dictionary": letters}, file)
    file.seek(0)
    assert torch.load(file, weights_only=True)["target_dictionary"].symbols == letters.symbols
