"""A recogniser of two sounds at times that are known: a random encoder with an output that is fitted to them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from encoder_checkpoints import OURS, fine_tune, letters, save
from torch import nn

from summarymixing_fairseq.data.alignments import Interval

RATE = 16_000


class Spoken(NamedTuple):
    """A waveform, and when each word and letter is."""

    waveform: np.ndarray
    words: list[Interval]
    letters: list[Interval]


def spoken(text: str, seed: int = 0) -> Spoken:
    """A is a low tone, B are four high ones, of 0.12 to 0.2 s; faint noise, and 0.15 to 0.3 s of it between words."""
    random = np.random.default_rng(seed)
    parts: list[np.ndarray] = [np.zeros(0)]
    words, heard = [], []
    for word in text.split():
        parts.append(np.zeros(round(random.uniform(0.15, 0.3) * RATE)))
        for letter in word:
            num_samples = round(random.uniform(0.12, 0.2) * RATE)
            pitches = (400,) if letter == "A" else (2000, 3500, 5000, 6500)
            tones = [np.sin(2 * np.pi * hertz * np.arange(num_samples) / RATE) for hertz in pitches]
            start = sum(map(len, parts)) / RATE
            parts.append(0.1 * np.sum(tones, 0))
            heard.append(Interval(letter, start, start + num_samples / RATE))
        words.append(Interval(word, heard[-len(word)].start, heard[-1].end))
    waveform = np.concatenate([*parts, np.zeros(round(0.3 * RATE))])
    return Spoken((waveform + random.normal(0, 1e-3, len(waveform))).astype(np.float32), words, heard)


def sentence(num_words: int, seed: int = 0) -> str:
    """Random words of A and B in turn."""
    return " ".join(np.random.default_rng(seed).choice(["A", "B", "AB", "BA", "ABA", "BAB"], num_words))


def save_toned(path: Path, model: nn.Module, **task: Any) -> Path:
    """A fine-tuned checkpoint around our ``model`` that spells these sounds."""
    dictionary = letters("AB|")
    config, ctc = fine_tune(model, OURS, path.parent, dictionary)
    config.update(task={**config["task"], "labels": "ltr", **task}, criterion={})
    config["model"]["w2v_args"]["task"]["normalize"] = config["task"]["normalize"]  # as fairseq asks
    ctc.w2v_encoder.load_state_dict({f"w2v_model.{name}": value for name, value in model.state_dict().items()}, False)
    proj = ctc.w2v_encoder.proj
    # what is heard counts, and not when: positions are added to this layer's output
    ctc.w2v_encoder.w2v_model.post_extract_proj.weight.data *= 20
    seen: list[torch.Tensor] = []
    hook = proj.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0][:, 0]))
    targets = []
    for seed in range(8):
        said = spoken(sentence(60, seed), seed)
        source = torch.from_numpy(said.waveform)[None]
        with torch.no_grad():
            ctc(source=source, padding_mask=torch.zeros_like(source, dtype=torch.bool))
        targets.append(torch.from_numpy(_targets(said, len(seen[-1]), dictionary)))
    hook.remove()
    states, wanted = torch.cat(seen), torch.cat(targets)
    mean, deviation = states.mean(0), states.std(0)
    weight = torch.zeros(len(dictionary), states.size(1), requires_grad=True)
    bias = torch.zeros(len(dictionary), requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=60, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        scores = (states - mean) / deviation @ weight.T + bias
        value = nn.functional.cross_entropy(scores, wanted) + 3e-3 * weight.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    proj.weight.data = (weight / deviation).detach()
    proj.bias.data = (bias - (weight / deviation) @ mean).detach()
    return save(path, config, ctc.state_dict(), task_state={"target_dictionary": dictionary})


def _targets(said: Spoken, num_frames: int, dictionary: Any) -> np.ndarray:
    """Symbols of frames, by the middle of what each hears: "|" between words."""
    centres = (np.arange(num_frames) * 320 + 680) / RATE
    targets = np.full(num_frames, dictionary.index("|"))
    targets[centres < said.words[0].start] = 0
    for one in said.letters:
        targets[(centres >= one.start) & (centres < one.end)] = dictionary.index(one.label)
    return targets
