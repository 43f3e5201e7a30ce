"""BEST-RQ: targets and loss against loops, targets that stay what they were, and unequal masks."""

from __future__ import annotations

import copy
import math

import pytest
import torch
import torch.distributed as dist
from encoder_checkpoints import OURS, configuration, save
from reference import assert_near, batch_of, nearest_entry, stacked_energies

from summarymixing_fairseq.checkpoints.untrusted_file import load_safely
from summarymixing_fairseq.commands.main import main
from summarymixing_fairseq.modules.filterbank import LogMelFilterbank

SMALL = {"num_codebooks": 2, "codebook_size": 6, "codebook_dim": 3}


@pytest.fixture
def batch(speech) -> dict:
    return batch_of(speech[:2], garbage=9.0)


@pytest.fixture
def build(tiny_model):
    """``build(seed=..., **overrides of the model)``: a tiny model that learns by BEST-RQ."""

    def made(seed: int = 0, projection: str = "random", **overrides):
        options = {**SMALL, "seed": seed, "projection": projection}
        return tiny_model(objective="bestrq", objective_options=options, **overrides)

    return made


def test_targets_and_loss_equal_loops(build, batch, speech):
    """Clips of unequal length with unequal numbers of masked frames."""
    model = build(num_mel_bins=5)
    objective = model.objective
    features = model.extract_features(**batch)
    mask = torch.zeros(features["x"].shape[:2], dtype=torch.bool)
    mask[0, [0, 1, 7, 40, 41]] = mask[1, [2, 30]] = True
    x = model.post_extract_proj(features["features"]).clone()
    x[mask] = model.mask_emb
    encoded = model.encoder(x, features["padding_mask"])[0].detach()
    total, correct = 0.0, 0.0
    objective.requires_grad_(False)
    for b, wave in enumerate(speech[:2]):
        energies = LogMelFilterbank(num_mel_bins=5)(torch.from_numpy(wave)[None])[0]
        energies = (energies - energies.mean(0)) / (energies.std(0, correction=0) + 1e-5)
        num_frames = int(model.feature_extractor.output_lengths(torch.tensor(len(wave))))
        stacked = stacked_energies(energies, [3, 3], [2, 1], num_frames)
        for t in mask[b].nonzero()[:, 0].tolist():
            for n in range(2):
                target = nearest_entry(stacked[t], objective.projection[n], objective.codebooks[n])
                head = objective.heads[n]
                logits = [(head.weight[v] @ encoded[b, t] + head.bias[v]) for v in range(6)]
                total += (math.log(sum(math.exp(logit) for logit in logits)) - logits[target]) / 2
                correct += float(max(logits) == logits[target]) / 2
    found = model(**batch, mask_indices=mask)
    assert found["sample_size"] == 7 and set(found["logged"]) == {"correct"}
    assert_near(found["loss"], total, 1e-5)
    assert found["logged"]["correct"].item() == pytest.approx(correct)


def test_the_log_counts_the_entries_of_the_last_batches(build, batch):
    model = build().train()
    history = []
    for update in range(3):
        torch.manual_seed(update)
        targets = []
        original = model.objective.targets
        model.objective.targets = lambda stacked, original=original, targets=targets: (
            targets.append(original(stacked)) or targets[-1]
        )
        found = model(**batch)
        model.objective.targets = original
        history.append(targets[0])
    counts = torch.zeros(2, 6)
    for age, targets in enumerate(reversed(history)):
        for n in range(2):
            for code in targets[n].tolist():
                counts[n, code] += 0.99**age
    assert_near(model.objective.usage, counts, 1e-5)
    shares = counts / counts.sum(1, keepdim=True)
    perplexity = sum(math.exp(-sum(p * math.log(p) for p in row if p)) for row in shares.tolist())
    logged = {name: value.item() / found["sample_size"] for name, value in found["logged"].items()}
    assert logged["code_perplexity"] == pytest.approx(perplexity, rel=1e-4)
    assert logged["code_use"] == pytest.approx((counts > 0).float().mean().item())
    assert model.objective.num_codes == 12


def test_targets_are_fixed_by_the_seed_and_kept_by_the_checkpoint(build, batch, tmp_path):
    """In float32 whatever the model's dtype, and through an export."""
    model, same, other = build(seed=1), build(seed=1), build(seed=2)
    stacked = torch.randn(200, 320)
    targets = model.objective.targets(stacked)
    assert torch.equal(targets, same.objective.targets(stacked))
    assert not torch.equal(targets, other.objective.targets(stacked))
    assert not any("projection" in name or "codebooks" in name for name, _ in model.objective.named_parameters())
    path = save(tmp_path / "checkpoint.pt", configuration(model, OURS), model.state_dict())
    assert main(["export", str(path), str(tmp_path / "shared.safetensors")]) == 0
    other.load_state_dict(load_safely(tmp_path / "shared.safetensors")["model"])
    half = copy.deepcopy(other).half()
    for loaded in (other, half, half.float()):
        assert torch.equal(targets, loaded.objective.targets(stacked))
        assert torch.equal(model.objective.projection, loaded.objective.projection)


def test_principal_components_of_the_first_batch(build, batch, speech):
    """Against torch's own PCA; the second batch and a checkpoint that is read change nothing."""
    model = build(projection="pca").train()
    frames = []
    for wave in speech[:2]:
        energies = LogMelFilterbank()(torch.from_numpy(wave)[None])[0].double()
        energies = (energies - energies.mean(0)) / (energies.std(0, correction=0) + 1e-5)
        num_frames = int(model.feature_extractor.output_lengths(torch.tensor(len(wave))))
        frames.append(stacked_energies(energies, [3, 3], [2, 1], num_frames))
    frames = torch.cat(frames)
    model(**batch)
    estimated = model.objective.projection.clone()
    assert torch.equal(estimated[0], estimated[1])
    projected = frames @ estimated[0].double()
    assert_near(projected.t() @ projected, torch.eye(3, dtype=torch.float64), 1e-3)  # whitened
    directions = torch.linalg.svd(frames, full_matrices=False).Vh[:3]
    cosines = torch.nn.functional.cosine_similarity(directions, estimated[0].double().t())
    assert_near(cosines.abs(), torch.ones(3), 1e-3)
    resumed = build(seed=5, projection="pca").train()
    resumed.load_state_dict(model.state_dict())
    for each in (model, resumed):
        each(**batch_of(speech[2:]))
        assert torch.equal(each.objective.projection, estimated)


def test_processes_share_their_components(build, speech, monkeypatch):
    """Each of two has a batch of its own; the first gives its result to the second."""
    batches = [batch_of(speech[:2]), batch_of(speech[2:])]
    grams, shared = [], []
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "broadcast", lambda x, source: shared.append(x.clone()) or x.copy_(shared[0]))
    monkeypatch.setattr(dist, "all_reduce", lambda gram: grams.append(gram.clone()))
    for batch in batches:  # what each finds by itself
        build(projection="pca")(**batch)
    assert not torch.allclose(shared[0], shared[1])
    monkeypatch.setattr(dist, "all_reduce", lambda gram: gram.copy_(sum(grams[:2])))
    shared.clear()
    for batch in batches:
        model = build(projection="pca")
        model(**batch)
        assert torch.equal(model.objective.projection, shared[0])
    assert torch.allclose(shared[0], shared[1])


def test_each_clip_keeps_its_own_share_of_masks(build, speech):
    found = {}
    for same in (True, False):
        model = build(require_same_masks=same)
        torch.manual_seed(0)
        found[same] = model(**batch_of(speech))
    assert found[False]["sample_size"] > 1.5 * found[True]["sample_size"] and torch.isfinite(found[False]["loss"])
    assert torch.isfinite(model(**batch_of(speech[:1]))["loss"])  # one clip a batch


def test_refusals(build, batch, speech):
    model = build()
    with pytest.raises(ValueError, match="no frame of the batch is masked: there is nothing to predict"):
        model(**batch, mask_indices=torch.zeros(2, model(**batch, features_only=True)["x"].size(1), dtype=torch.bool))
    with pytest.raises(ValueError, match="cannot be masked in spans of 10"):
        model(torch.from_numpy(speech[0])[None, :3_000])
