"""Hidden states in files come back as they were, however they lay in memory."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
import torch
from safetensors.numpy import load_file

from summarymixing_fairseq.data.feature_files import write_features
from summarymixing_fairseq.data.manifest import Clip


@pytest.mark.parametrize("one_file", [False, True], ids=["npy", "safetensors"])
def test_transposed_states_come_back_equal(tmp_path, one_file):
    soundfile.write(tmp_path / "a.wav", np.zeros(800), 16_000)
    clips, output = [Clip(tmp_path / "a.wav", "a.wav")], tmp_path / "states"
    states = torch.arange(6.0).view(2, 3).T
    write_features(clips, output if one_file else [output], lambda waveforms: [states], 1, 60, {})
    np.testing.assert_array_equal(load_file(output)["a"] if one_file else np.load(output), states)
