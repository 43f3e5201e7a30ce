"""Log-mel energies, compared with kaldi-native-fbank and librosa."""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from typing import Any

from ...system.errors import InputError
from ...system.units import SAMPLE_RATE_HZ
from ..benchmark import Benchmark, Step, add_sizes

REFERENCE = "ours"
RIVALS = {"kaldi-native-fbank": "kaldi_native_fbank", "librosa": "librosa"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the sizes; the defaults are those of the target."""
    add_sizes(parser, "--seconds", float, [60.0], "length of a clip")
    parser.add_argument("--batch", type=int, default=4, help="clips")
    parser.add_argument("--bins", type=int, default=80, help="mel bins")


def contenders() -> list[str]:
    """Ours and two libraries.

    Raises:
        InputError: if they are not installed.
    """
    for name, module in RIVALS.items():
        if find_spec(module) is None:
            raise InputError(f"{name} is not installed: pip install 'summarymixing-fairseq[benchmark]'")
    return [REFERENCE, *RIVALS]


def build(contender: str, size: float, settings: dict[str, Any], device: str) -> Step:
    """From waveforms in memory to energies of every clip. The libraries take one clip at a time, on the CPU."""
    import numpy as np
    import torch

    waveforms = 0.1 * np.random.default_rng(0).standard_normal((settings["batch"], round(size * SAMPLE_RATE_HZ)))
    waveforms = waveforms.astype(np.float32)
    if contender == REFERENCE:
        from ...modules.filterbank import LogMelFilterbank

        filterbank, batch = LogMelFilterbank(settings["bins"]), torch.from_numpy(waveforms)
        return Step(lambda: filterbank(batch.to(device)))
    if contender == "librosa":
        import librosa

        def mel() -> None:
            for waveform in waveforms:
                power = librosa.feature.melspectrogram(
                    y=waveform,
                    sr=SAMPLE_RATE_HZ,
                    n_fft=400,
                    hop_length=160,
                    window="hamming",
                    center=False,
                    n_mels=settings["bins"],
                    htk=True,
                    norm=None,
                )
                np.log(np.maximum(power, 1e-10))

        return Step(mel)
    import kaldi_native_fbank

    options = kaldi_native_fbank.FbankOptions()
    options.frame_opts.samp_freq = SAMPLE_RATE_HZ
    options.frame_opts.dither = 0.0
    options.frame_opts.window_type = "hamming"
    options.mel_opts.num_bins = settings["bins"]

    def fbank() -> None:
        for waveform in waveforms:
            extractor = kaldi_native_fbank.OnlineFbank(options)
            extractor.accept_waveform(SAMPLE_RATE_HZ, waveform.tolist())
            extractor.input_finished()
            np.stack([extractor.get_frame(i) for i in range(extractor.num_frames_ready)])

    return Step(fbank)


BENCHMARK = Benchmark("log-mel filterbank energies", REFERENCE, "s a clip", add_arguments, contenders, build)
