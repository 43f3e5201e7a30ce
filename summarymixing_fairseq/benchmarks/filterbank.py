"""Log-mel energies, against kaldi-native-fbank and librosa."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from ..system.errors import InputError
from .options import SAMPLE_RATE_HZ
from .step import Step

if TYPE_CHECKING:
    import torch

HELP = "log-mel filterbank energies"
REFERENCE = "ours"
SIZE_UNIT = "s a clip"
KEEP_FREED_MEMORY = True
HOLD = True
RIVALS = {"kaldi-native-fbank": "kaldi_native_fbank", "librosa": "librosa"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Sizes; the defaults are those of the target."""
    parser.add_argument("--seconds", type=float, nargs="+", default=[60.0], help="length of a clip")
    parser.add_argument("--batch", type=int, default=4, help="clips")
    parser.add_argument("--bins", type=int, default=80, help="mel bins")


def settings(args: argparse.Namespace) -> dict[str, Any]:
    """What ``build`` needs but the size."""
    return {"batch": args.batch, "bins": args.bins}


def sizes(args: argparse.Namespace) -> list[float]:
    """Seconds."""
    return args.seconds


def contenders(settings: dict[str, Any]) -> list[str]:
    """Ours and two libraries.

    Raises:
        InputError: where they are not installed.
    """
    from importlib.util import find_spec

    for name, module in RIVALS.items():
        if find_spec(module) is None:
            raise InputError(f"{name} is not installed: pip install 'summarymixing-fairseq[benchmark]'")
    return [REFERENCE, *RIVALS]


def build(contender: str, size: float, settings: dict[str, Any], device: torch.device) -> Step:
    """Waveforms in memory to energies of every clip; the libraries take one clip at a time, on the CPU."""
    import numpy as np
    import torch

    waveforms = 0.1 * np.random.default_rng(0).standard_normal((settings["batch"], round(size * SAMPLE_RATE_HZ)))
    waveforms = waveforms.astype(np.float32)
    if contender == REFERENCE:
        from ..modules.filterbank import LogMelFilterbank

        filterbank, batch = LogMelFilterbank(SAMPLE_RATE_HZ, settings["bins"]), torch.from_numpy(waveforms)
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
