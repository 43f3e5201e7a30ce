"""The probing tasks in process: features kept or not, what is logged, and what is refused before it costs an epoch."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
from fairseq.criterions import build_criterion
from fairseq.logging import metrics
from fairseq.tasks import TASK_DATACLASS_REGISTRY, setup_task
from fairseq.trainer import Trainer
from omegaconf import OmegaConf
from probes import OURS, probe_config, save_encoder
from reference import assert_near
from safetensors.numpy import load_file

from summarymixing_fairseq.benchmarks.recipe import read_recipe
from summarymixing_fairseq.probing.kept_features import CachedStatesDataset
from summarymixing_fairseq.system.errors import InputError
from summarymixing_fairseq.tasks import watched_task

RECOGNITION, CLASSIFICATION, VERIFICATION = "probe_recognition", "probe_classification", "probe_verification"
EXTENSIONS = {RECOGNITION: "ltr", CLASSIFICATION: "emotion", VERIFICATION: "speaker"}
LENGTHS = (9_000, 12_345, 7_000, 16_000, 8_000, 6_500)  # of the clips that labels are given to, in samples


@pytest.fixture(scope="session")
def encoder_paths(tiny_model, tmp_path_factory) -> list[Path]:
    """Two encoders of one architecture."""
    folder = tmp_path_factory.mktemp("probed")
    torch.manual_seed(11)
    return [save_encoder(folder / f"{name}.pt", tiny_model(), OURS) for name in "ab"]


@pytest.fixture
def corpus(tmp_path, speech):
    """``corpus(split, labels, extension, lengths)``: manifest and labels of as many clips; returns the folder."""
    voices = np.concatenate(speech)

    def write(split: str, labels: list[str], extension: str, lengths=LENGTHS) -> Path:
        rows = []
        for number, length in enumerate(lengths[: len(labels)]):
            start = (7_001 * number + len(split)) % (len(voices) - length)
            soundfile.write(tmp_path / f"{split}{number}.wav", voices[start : start + length], 16_000, subtype="FLOAT")
            rows.append(f"{split}{number}.wav\t{length}\n")
        (tmp_path / f"{split}.tsv").write_text(f"{tmp_path}\n{''.join(rows)}")
        (tmp_path / f"{split}.{extension}").write_text("".join(f"{label}\n" for label in labels))
        known = sorted(set(" ".join(labels).split()))
        if split == "train":
            (tmp_path / f"dict.{extension}.txt").write_text("".join(f"{symbol} 1\n" for symbol in known))
        return tmp_path

    return write


def set_up(name: str, data: Path, common: dict | None = None, **options):
    """The task as fairseq's command line sets it up."""
    config = OmegaConf.structured(TASK_DATACLASS_REGISTRY[name])
    config.update({"_name": name, "data": str(data), "labels": EXTENSIONS[name], "seed": 1} | options)
    common = {"tpu": False, "fp16": False, "bf16": False, "amp": False, **(common or {})}
    return setup_task(OmegaConf.create({"common": common, "task": config}).task)


def with_model(task, encoder_path: Path, head: str, **options):
    return task, task.build_model(probe_config(encoder_path, head, **options))


def loaded(task, encoder_path: Path, head: str, split: str = "train", **options):
    task, model = with_model(task, encoder_path, head, **options)
    task.load_dataset(split)
    return task, model


def batches_of(task, split: str = "train", size: int = 2) -> list[dict]:
    """In order of length, as in validation."""
    iterator = task.get_batch_iterator(
        task.dataset(split), max_sentences=size, required_batch_size_multiple=1, num_workers=0, epoch=1
    )
    return list(iterator.next_epoch_itr(shuffle=False))


def is_cached(task, split: str = "train") -> bool:
    dataset = task.dataset(split)
    while dataset is not None and not isinstance(dataset, CachedStatesDataset):
        dataset = getattr(dataset, "dataset", None)
    return dataset is not None


def criterion_of(task, name: str = "classification"):
    options = {"zero_infinity": True, "post_process": "letter", "sentence_avg": False} if name == "ctc" else {}
    return build_criterion(OmegaConf.create({"_name": name, **options}), task)


def validate(task, model, criterion, split: str = "valid") -> tuple[dict, list[dict]]:
    """As fairseq_cli.train does it; the stats, and the samples."""
    samples, stats = batches_of(task, split), {}
    task.begin_valid_epoch(1, model)
    model.eval(), criterion.eval()
    with torch.no_grad():
        for sample in samples:
            task.valid_step(sample, model, criterion)
    task.post_validate(model, stats, None)
    return stats, samples


class Gradients:
    """As much of fairseq's optimizer as ``train_step`` asks for."""

    def backward(self, loss: torch.Tensor) -> None:
        loss.backward()


HEADS = {RECOGNITION: "linear_ctc", CLASSIFICATION: "bilstm_mean", VERIFICATION: "ecapa"}
TRANSCRIPTS = ["A B |", "B |", "A |", "B A |", "A A |", "B |"]
CLASSES = ["anger", "joy", "anger", "joy", "joy", "anger"]


@pytest.fixture
def emotions(corpus) -> Path:
    """A folder of six clips to train on."""
    return corpus("train", CLASSES, "emotion")


@pytest.mark.parametrize("layer_norm", [False, True], ids=["plain", "layer_norm"])
@pytest.mark.parametrize(
    ("name", "head"), [(RECOGNITION, "linear_ctc"), (CLASSIFICATION, "bilstm_mean"), (CLASSIFICATION, "mean_linear")]
)
def test_batches_are_the_same_with_and_without_cache(corpus, encoder_paths, name, head, layer_norm):
    data = corpus("train", TRANSCRIPTS if name == RECOGNITION else CLASSES, EXTENSIONS[name])
    outputs = []
    for cache in (True, False):
        task, model = loaded(set_up(name, data, cache=cache), encoder_paths[0], head, layer_norm=layer_norm)
        assert is_cached(task) is cache
        batches = batches_of(task)
        assert [("states" in batch["net_input"]) for batch in batches] == [cache] * 3
        model.load_state_dict(outputs[0][0] if outputs else model.state_dict())
        model.eval()
        with torch.no_grad():
            scores = [model(**batch["net_input"])["scores"] for batch in batches]
        outputs.append((model.state_dict(), batches, scores))
    (_, cached, cached_scores), (_, plain, plain_scores) = outputs
    for one, other, score, expected in zip(cached, plain, cached_scores, plain_scores):
        assert torch.equal(one["id"], other["id"]) and torch.equal(one["target"], other["target"])
        assert_near(score, expected, 1e-5)


def test_pooled_features_are_a_frame_a_clip(emotions, encoder_paths):
    # no clip is cropped: the longest has as many samples
    task, _ = loaded(set_up(CLASSIFICATION, emotions, max_sample_size=max(LENGTHS)), encoder_paths[0], "mean_linear")
    assert [tuple(batch["net_input"]["states"].shape) for batch in batches_of(task)] == [(2, 3, 1, 32)] * 3
    kept = [states for path in emotions.glob("state_cache/*/*.safetensors") for states in load_file(path).values()]
    assert [states.shape for states in kept] == [(3, 1, 32)] * 6


@pytest.mark.parametrize(
    ("name", "options", "model_options"),
    [
        (CLASSIFICATION, {}, {"freeze": False}),
        (CLASSIFICATION, {"max_sample_size": 12_000}, {}),
        (CLASSIFICATION, {"cache": False}, {}),
        (CLASSIFICATION, {"cache_max_gib": 1e-6}, {}),
        (VERIFICATION, {"chunk_seconds": 0.5}, {}),
    ],
    ids=["trained along", "cropped", "not asked for", "too large", "chunks"],
)
def test_nothing_is_kept(corpus, encoder_paths, name, options, model_options):
    data = corpus("train", CLASSES, EXTENSIONS[name])
    task, _ = loaded(set_up(name, data, **options), encoder_paths[0], "ecapa", **model_options)
    assert not is_cached(task)
    batches = batches_of(task)
    assert all("source" in batch["net_input"] for batch in batches)
    assert not (data / "state_cache").exists()
    limit = options.get("max_sample_size") or (8_000 if name == VERIFICATION else max(LENGTHS))
    assert max(batch["net_input"]["source"].size(1) for batch in batches) == limit
    longest = []
    for epoch in (1, 2):
        task.dataset("train").set_epoch(epoch)
        longest.append(task.dataset("train")[3]["source"])
    assert torch.equal(*longest) is (name != VERIFICATION), "chunks alone differ between epochs"


def test_each_encoder_and_form_has_its_own_cache(corpus, encoder_paths, monkeypatch):
    data = corpus("train", CLASSES, "emotion")
    seen = set()

    def kept(encoder_path=encoder_paths[0], head="bilstm_mean", task_options=None, **options) -> tuple[int, int]:
        """Clips that were encoded for it, and caches there are by then."""
        task, model = loaded(set_up(CLASSIFICATION, data, **(task_options or {})), encoder_path, head, **options)
        encoded, encode = [], model.encode
        monkeypatch.setattr(model, "encode", lambda source, mask: (encoded.extend(source), encode(source, mask))[1])
        batches_of(task)
        seen.update(path.name for path in (data / "state_cache").iterdir())
        return len(encoded), len(seen)

    assert kept() == (6, 1)
    assert kept() == (0, 1), "the second run finds what the first left"
    assert kept(head="ecapa") == (0, 1), "heads share features"
    assert kept(encoder_paths[1]) == (6, 2)
    assert kept(layer_norm=True) == (6, 3)
    assert kept(head="mean_linear") == (6, 4)
    with refused("leave task.normalize off"):
        kept(task_options={"normalize": True})
    assert kept(random_encoder=True) == (6, 5)
    assert kept(final_norm=True) == (6, 6)
    corpus("train", CLASSES[:5], "emotion")
    assert kept() == (5, 7), "another split under the same name"


@pytest.mark.parametrize("name", [RECOGNITION, CLASSIFICATION, VERIFICATION])
def test_clips_by_rising_length(corpus, encoder_paths, name):
    """Kept features and random chunks too; clips of one length in the manifest's order."""
    data = corpus("train", TRANSCRIPTS if name == RECOGNITION else CLASSES, EXTENSIONS[name])
    options, lengths = {}, list(LENGTHS)
    if name == VERIFICATION:
        options, lengths = {"chunk_seconds": 0.5}, [min(length, 8_000) for length in LENGTHS]
    task, _ = loaded(set_up(name, data, ascending=True, **options), encoder_paths[0], HEADS[name])
    order = [clip for batch in batches_of(task) for clip in batch["id"].tolist()]
    assert order == sorted(range(6), key=lambda clip: (lengths[clip], clip)) != list(range(6))


def test_features_are_those_of_the_weights_that_a_resumed_run_loads(emotions, encoder_paths):
    """fairseq loads the validation set, then the checkpoint, whose encoder may have learnt since it was built."""
    task, model = loaded(set_up(CLASSIFICATION, emotions), encoder_paths[0], "bilstm_mean")
    _, other = with_model(set_up(CLASSIFICATION, emotions), encoder_paths[1], "bilstm_mean")
    model.load_state_dict({**other.state_dict(), "trained_on": model.trained_on})
    (batch, *_) = batches_of(task, size=1)
    audio = task.dataset("train").dataset.dataset.dataset
    states, _ = other.encode(audio[int(batch["id"])]["source"][None], None)
    assert_near(batch["net_input"]["states"][0], torch.stack(states, 1)[0], 1e-5)
    # and what the first encoder gives is not found under its name
    task, model = loaded(set_up(CLASSIFICATION, emotions), encoder_paths[0], "bilstm_mean")
    (batch, *_) = batches_of(task, size=1)
    states, _ = model.encode(audio[int(batch["id"])]["source"][None], None)
    assert_near(batch["net_input"]["states"][0], torch.stack(states, 1)[0], 1e-5)


def test_two_splits_of_the_same_rows_share_a_cache(emotions, encoder_paths):
    for name in ("valid.tsv", "valid.emotion"):
        (emotions / name).write_text((emotions / name.replace("valid", "train")).read_text())
    task, _ = with_model(set_up(CLASSIFICATION, emotions), encoder_paths[0], "bilstm_mean")
    for split in ("train", "valid"):
        task.load_dataset(split)
    train, valid = batches_of(task, "train"), batches_of(task, "valid")
    assert len(list((emotions / "state_cache").iterdir())) == 1
    assert all(torch.equal(one["net_input"]["states"], two["net_input"]["states"]) for one, two in zip(train, valid))


def test_filling_leaves_the_model_in_its_mode(emotions, encoder_paths):
    task, model = loaded(set_up(CLASSIFICATION, emotions), encoder_paths[0], "ecapa")
    model.train()
    batches_of(task)
    assert model.training and model.head.training and not model.encoder.training


@pytest.mark.parametrize("split", [["joy", "surprise", "anger", "joy", "anger", "surprise"], ["joy"] * 4])
def test_macro_f1_where_train_or_valid_lacks_a_class(corpus, encoder_paths, caplog, split):
    from sklearn.metrics import f1_score

    corpus("train", [*CLASSES[:5], "fear"], "emotion")
    data = corpus("valid", split, "emotion")
    task, model = with_model(set_up(CLASSIFICATION, data), encoder_paths[0], "mean_linear")
    with caplog.at_level(logging.WARNING):
        task.load_dataset("valid")
    warning = "1 symbols are not in dict.emotion.txt and always count as errors, first 'surprise' in line 2"
    assert (warning in caplog.text) is ("surprise" in split)
    stats, samples = validate(task, model, criterion_of(task))
    with torch.no_grad():
        found = {i: p for s in samples for i, p in zip(s["id"].tolist(), model(**s["net_input"])["scores"].argmax(1))}
    predictions = [task.target_dictionary[found[i]] for i in range(len(split))]
    expected = f1_score(split, predictions, average="macro", zero_division=0)
    assert stats == {"macro_f1": pytest.approx(100 * expected, abs=0.01)}


def eer_by_roc(embeddings: np.ndarray, speakers: list[str]) -> float:
    """In percent: where the two error rates cross on scikit-learn's ROC."""
    from sklearn.metrics import roc_curve

    units = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    pairs = [(i, j) for i in range(len(speakers)) for j in range(i)]
    labels = [speakers[i] == speakers[j] for i, j in pairs]
    false_alarms, hits, _ = roc_curve(labels, [units[i] @ units[j] for i, j in pairs], drop_intermediate=False)
    misses = 1 - hits
    after = int(np.argmax(misses <= false_alarms))
    (x0, x1), (y0, y1) = false_alarms[after - 1 : after + 1], misses[after - 1 : after + 1]
    share = (y0 - x0) / ((x1 - x0) - (y1 - y0))
    return 100 * (x0 + share * (x1 - x0))


@pytest.mark.parametrize("speakers", [["a", "b", "a", "b", "c", "a"], ["a", "b", "a", "b", "new", "other"]])
def test_eer_of_pairs_of_validation_clips(corpus, encoder_paths, speakers):
    """Speakers that training lacks are no pair of one speaker: they are left out."""
    corpus("train", ["a", "b", "c", "a", "b", "c"], "speaker")
    data = corpus("valid", speakers, "speaker")
    task, model = loaded(
        set_up(VERIFICATION, data, chunk_seconds=0.5), encoder_paths[0], "xvector", cosine=True, split="valid"
    )
    assert is_cached(task, "valid"), "validation hears whole clips"
    stats, samples = validate(task, model, criterion_of(task, "aam_softmax"))
    assert set(stats) == {"eer"}
    with torch.no_grad():
        found = {i: e for s in samples for i, e in zip(s["id"].tolist(), model(**s["net_input"])["embeddings"].numpy())}
    known = [i for i in range(6) if speakers[i] in "abc"]
    expected = eer_by_roc(np.stack([found[i] for i in known]), [speakers[i] for i in known])
    assert stats["eer"] == pytest.approx(expected, abs=0.002)


@pytest.mark.parametrize(
    ("speakers", "warning"), [(["a", "b", "c"], "no speaker has two clips"), (["x", "y", "y"], "never mind")]
)
def test_validation_without_pairs_has_no_eer(corpus, encoder_paths, caplog, speakers, warning):
    """One clip a class, or no speaker of training: the run goes on."""
    corpus("train", ["a", "b", "c"], "speaker")
    data = corpus("valid", speakers, "speaker")
    task, model = loaded(set_up(VERIFICATION, data, chunk_seconds=0.5), encoder_paths[0], "ecapa", split="valid")
    with caplog.at_level(logging.WARNING):
        stats, _ = validate(task, model, criterion_of(task))
    assert set(stats) == {"eer"} and np.isnan(stats["eer"])
    assert warning in caplog.text or warning == "never mind"


@pytest.mark.parametrize("name, head", [(VERIFICATION, "ecapa"), (VERIFICATION, "xvector"), (CLASSIFICATION, "ecapa")])
def test_a_last_batch_of_one_clip_trains(corpus, encoder_paths, name, head):
    data = corpus("train", ["a", "b", "a"], EXTENSIONS[name], lengths=(6_500, 6_500, 6_500))
    options = {"chunk_seconds": 0.4} if name == VERIFICATION else {}
    task, model = loaded(set_up(name, data, **options), encoder_paths[0], head)
    criterion = criterion_of(task)
    batches = batches_of(task)
    assert [len(batch["id"]) for batch in batches] == [2, 1]
    for update, batch in enumerate(batches):
        loss, sample_size, _ = task.train_step(batch, model, criterion, Gradients(), update)
        assert torch.isfinite(loss) and sample_size == len(batch["id"])
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.requires_grad)
    assert all(torch.isfinite(buffer).all() for buffer in model.buffers())


def test_ctc_criterion_takes_the_probe(corpus, encoder_paths):
    """Cached and not: loss, and the error rates of validation, an empty transcript among them."""
    corpus("train", TRANSCRIPTS, "ltr")
    data = corpus("valid", ["A |", "", "B A |"], "ltr")
    task, model = with_model(set_up(RECOGNITION, data), encoder_paths[0], "bilstm_ctc")
    for split in ("train", "valid"):
        task.load_dataset(split)
    criterion = criterion_of(task, "ctc")
    loss, _, log = task.train_step(batches_of(task)[0], model.train(), criterion, Gradients(), 0)
    assert torch.isfinite(loss) and loss > 0
    model.eval(), criterion.eval()
    logs = [task.valid_step(sample, model, criterion)[2] for sample in batches_of(task, "valid")]
    assert sum(log["w_total"] for log in logs) == 2


RECIPE = """
common: {cpu: true}
distributed_training: {distributed_world_size: 1}
optimization: {lr: [0.001]}
optimizer: {_name: adam}
lr_scheduler: {_name: fixed}
"""


@pytest.mark.parametrize("cache", [True, False], ids=["kept", "encoded"])
@pytest.mark.parametrize("name", HEADS)
def test_training_logs_audio_hours_and_watches_health(corpus, encoder_paths, tmp_path, monkeypatch, name, cache):
    data = corpus("train", TRANSCRIPTS if name == RECOGNITION else CLASSES, EXTENSIONS[name])
    task, model = loaded(set_up(name, data, cache=cache), encoder_paths[0], HEADS[name])
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    criterion = criterion_of(task, "ctc" if name == RECOGNITION else "classification")
    trainer = Trainer(read_recipe(tmp_path / "recipe.yaml"), task, model, criterion)
    readings = []
    monkeypatch.setattr(watched_task, "signs_of_ill_health", lambda found, *_: readings.append(found) or {})
    metrics.reset()  # another test's criterion may have logged a meter of another type by the same name
    with metrics.aggregate(new_root=True) as log:
        for batch in batches_of(task):
            trainer.train_step([batch])
    assert log.get_smoothed_value("audio_hours") > 0 and task.audio_seconds == pytest.approx(sum(LENGTHS) / 16_000)
    in_order = sorted(LENGTHS, reverse=True)
    padded = sum(2 * longest for longest in in_order[::2])
    assert log.get_smoothed_value("padding") == pytest.approx(1 - sum(LENGTHS) / padded, abs=1e-3)
    assert len(readings) == 3 and all(reading["loss_bits"] > 0 for reading in readings)


def refused(message: str):
    return pytest.raises(InputError, match=message)


def test_rows_and_labels_of_unequal_number(corpus, encoder_paths):
    for name, labels in ((CLASSIFICATION, CLASSES), (RECOGNITION, TRANSCRIPTS)):
        data = corpus("train", labels, EXTENSIONS[name])
        labels_path = data / f"train.{EXTENSIONS[name]}"
        labels_path.write_text(labels_path.read_text() + labels[0] + "\n")
        task, _ = with_model(set_up(name, data), encoder_paths[0], HEADS[name])
        with refused(rf"train\.{EXTENSIONS[name]} has 7 lines, its manifest 6 rows"):
            task.load_dataset("train")


@pytest.mark.parametrize(
    ("name", "labels", "message"),
    [
        (CLASSIFICATION, [*CLASSES[:2], ""], r"train\.emotion, line 3: '' is not one class"),
        (CLASSIFICATION, [*CLASSES[:2], "great joy"], r"line 3: 'great joy' is not one class"),
        (CLASSIFICATION, [*CLASSES[:2], "hope"], r"line 3: 'hope' is not in dict\.emotion\.txt; add it there"),
        (RECOGNITION, ["A |", "", "B |"], r"train\.ltr, line 2: the transcript is empty \(1 are\)"),
        (RECOGNITION, ["A |", "C |", "B |"], r"train\.ltr, line 2: 'C' is not in dict\.ltr\.txt"),
    ],
)
def test_bad_labels_of_training(corpus, encoder_paths, name, labels, message):
    data = corpus("train", CLASSES if name == CLASSIFICATION else TRANSCRIPTS, EXTENSIONS[name])
    dictionary = (data / f"dict.{EXTENSIONS[name]}.txt").read_text()
    corpus("train", labels, EXTENSIONS[name])
    (data / f"dict.{EXTENSIONS[name]}.txt").write_text(dictionary)
    task, _ = with_model(set_up(name, data), encoder_paths[0], HEADS[name])
    with refused(message):
        task.load_dataset("train")


def test_short_rows_are_left_out_with_their_labels(emotions, encoder_paths):
    task, _ = loaded(set_up(CLASSIFICATION, emotions, min_sample_size=8_000), encoder_paths[0], "mean_linear")
    targets = {i: t for s in batches_of(task) for i, t in zip(s["id"].tolist(), s["target"][:, 0].tolist())}
    classes = [task.target_dictionary[targets[i]] for i in sorted(targets)]
    assert classes == [c for c, length in zip(CLASSES, LENGTHS) if length >= 8_000]


def test_clips_shorter_than_the_heads_receptive_field(corpus, encoder_paths):
    data = corpus("train", CLASSES, "emotion", lengths=(9_000, 5_000, 9_000, 4_000, 9_000, 9_000))
    task, model = with_model(set_up(CLASSIFICATION, data), encoder_paths[0], "xvector")
    needed = model.encoder.min_samples(15)
    message = (
        rf"2 of 6 clips of .*train\.tsv are shorter than the {math.ceil(needed / 160) / 100:g} s that the probe's head "
        rf"\(model.head\) takes, train1\.wav first: .*task\.min_sample_size={needed}"
    )
    with refused(message):
        task.load_dataset("train")
    task, _ = loaded(set_up(CLASSIFICATION, data, min_sample_size=needed), encoder_paths[0], "xvector")
    assert len(task.dataset("train")) == 4
    task, model = with_model(set_up(CLASSIFICATION, data, min_sample_size=needed), encoder_paths[0], "mean_linear")
    assert model.head.min_frames == 1


@pytest.mark.parametrize(
    ("name", "head", "options", "message"),
    [
        (CLASSIFICATION, "linear_ctc", {}, r"head=linear_ctc is not for task probe_classification: .*mean_linear"),
        (RECOGNITION, "mean_linear", {}, r"head=mean_linear is not for task probe_recognition: choose .*linear_ctc"),
        (VERIFICATION, "mean_linear", {}, r"head=mean_linear has no speaker embeddings: choose ecapa or xvector"),
        (VERIFICATION, "xvector", {"chunk_seconds": 0.2}, r"task\.chunk_seconds=0\.2: xvector needs 0\.3\d"),
        (VERIFICATION, "xvector", {"chunk_seconds": float("nan")}, r"task\.chunk_seconds=nan"),
        *(
            (CLASSIFICATION, "mean_linear", {"common": {precision: True}}, r"leave common\.fp16, common\.bf16 and")
            for precision in ("fp16", "bf16", "amp")
        ),
    ],
)
def test_head_and_task_must_fit(corpus, encoder_paths, name, head, options, message):
    data = corpus("train", TRANSCRIPTS if name == RECOGNITION else CLASSES, EXTENSIONS[name])
    with refused(message):
        with_model(set_up(name, data, **options), encoder_paths[0], head)


def test_another_model_is_refused(corpus):
    task = set_up(CLASSIFICATION, corpus("train", CLASSES, "emotion"))
    with refused(r"task probe_classification is for model\._name=ssl_probe, not wav2vec_ctc"):
        task.build_model(SimpleNamespace(_name="wav2vec_ctc", head="mean_linear"))


def test_labels_and_classes_must_be_there(emotions):
    with refused(r"task\.labels is not set"):
        set_up(CLASSIFICATION, emotions, labels=None)
    with refused(r"dict\.intent\.txt is missing: it lists the classes of training"):
        _ = set_up(CLASSIFICATION, emotions, labels="intent").target_dictionary
    (emotions / "dict.empty.txt").write_text("")
    with refused(r"dict\.empty\.txt lists no class"):
        _ = set_up(CLASSIFICATION, emotions, labels="empty").target_dictionary


def test_features_that_are_not_finite_end_the_run_before_training(emotions, encoder_paths):
    task, model = loaded(set_up(CLASSIFICATION, emotions), encoder_paths[0], "bilstm_mean")
    with torch.no_grad():
        next(iter(model.encoder.model.encoder.layers[1].parameters())).fill_(float("nan"))
    with refused(r"train\d\.wav: its hidden states are not finite numbers"):
        batches_of(task)


def test_a_checkpoint_of_another_encoder_or_other_data_is_not_taken_up(emotions, encoder_paths):
    saved = with_model(set_up(CLASSIFICATION, emotions), encoder_paths[0], "mean_linear")[1].state_dict()

    def take_up(encoder_path: Path = encoder_paths[0], **options) -> None:
        """As fairseq's trainer does."""
        task, model = loaded(set_up(CLASSIFICATION, emotions), encoder_path, "mean_linear", **options)
        model.load_state_dict(saved)
        batches_of(task)

    take_up()
    with refused(r"another encoder, which this run would go on with: choose another checkpoint\.save_dir"):
        take_up(random_encoder=True)
    # the corpus has moved: its root is another, its rows are the same
    root, rows = (emotions / "train.tsv").read_text().split("\n", 1)
    (emotions / "train.tsv").write_text(f"{root}/.\n{rows}")
    take_up()
    (emotions / "train.emotion").write_text("\n".join(reversed(CLASSES)) + "\n")
    with refused(r"another training data"):
        take_up()
    with refused(r"another encoder and training data"):
        take_up(random_encoder=True)
