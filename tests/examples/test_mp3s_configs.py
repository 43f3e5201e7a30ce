"""The twelve configurations of examples/mp3s: they compose, fit the modules, and have the paper's sizes."""

from __future__ import annotations

import re
from functools import lru_cache
from operator import attrgetter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from fairseq.criterions import CRITERION_DATACLASS_REGISTRY
from fairseq.dataclass.configs import FairseqConfig
from fairseq.models import MODEL_DATACLASS_REGISTRY
from fairseq.optim import OPTIMIZER_DATACLASS_REGISTRY
from fairseq.optim.lr_scheduler import LR_SCHEDULER_DATACLASS_REGISTRY
from fairseq.tasks import TASK_DATACLASS_REGISTRY
from omegaconf import OmegaConf

from summarymixing_fairseq.probing.heads import HEADS, build_head
from summarymixing_fairseq.probing.model import SslProbe, SslProbeConfig, head_options
from summarymixing_fairseq.probing.mp3s.tasks import TASKS

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "mp3s"
NAMES = sorted(path.stem for path in FOLDER.glob("[!_]*.yaml"))
DATA_SETS = ("librispeech", "commonvoice_cy", "commonvoice_eu", "slurp", "iemocap", "voxceleb1")
STATE_DIM = 768
each_config = pytest.mark.parametrize("name", NAMES)


@lru_cache
def read(name: str) -> dict:
    """A configuration with its shared files, without fairseq's defaults."""
    own = OmegaConf.load(FOLDER / f"{name}.yaml")
    shared = [OmegaConf.load(FOLDER / f"{file}.yaml") for file in own.pop("defaults") if file != "_self_"]
    config = OmegaConf.to_container(OmegaConf.merge(own, *shared), resolve=False)
    del config["hydra"]
    return config


def leaves(values: dict, prefix: str = "") -> dict[str, object]:
    """Values by their dotted keys."""
    found = {}
    for key, value in values.items():
        found.update(leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value})
    return found


def model_config(name: str):
    return OmegaConf.merge(OmegaConf.structured(SslProbeConfig()), read(name)["model"])


def test_two_probes_a_data_set():
    assert sorted(f"{data}_probe{n}" for data in DATA_SETS for n in (1, 2)) == NAMES


@pytest.mark.parametrize("name", ["librispeech_probe1", "slurp_probe2", "voxceleb1_probe1"])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_composes_as_fairseq_does(name, composed):
    """Every key keeps its value: fairseq's defaults, which hydra merges with the configuration, replace none."""
    expected = {**leaves(read(name)), "model.encoder_path": "a.pt", "task.data": "b"}
    cfg = composed(name, "model.encoder_path=a.pt", "task.data=b", folder=FOLDER)
    assert (cfg.hydra.run.dir, cfg.hydra.output_subdir) == (".", None)
    found = leaves(OmegaConf.to_container(cfg, resolve=False, enum_to_str=True))
    assert {key: found.get(key) for key in expected} == expected
    assert cfg.checkpoint.save_interval == 1  # a default


@each_config
def test_a_key_stands_in_one_file(name):
    """Else the order of files would matter, and hydra 1.0 has another one than 1.3."""
    config = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
    own, *shared = config.pop("defaults")
    assert own == "_self_"
    files = [leaves(config), *(leaves(yaml.safe_load((FOLDER / f"{file}.yaml").read_text())) for file in shared)]
    assert all("defaults" not in file for file in files), "hydra 1.0 reads the list of the first file alone"
    assert len(set().union(*files)) == sum(map(len, files))


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_tasks_of_the_command_are_those_of_the_configurations(task):
    for probe in (1, 2):
        config = read(task.config_name(probe))
        assert config["task"]["labels"] == task.labels
        chosen_by = {"wer": "wer", "accuracy": "accuracy", "eer": "accuracy"}
        assert config["checkpoint"]["best_checkpoint_metric"] == chosen_by[task.metric.key]


@each_config
def test_every_key_is_a_field(name):
    """A field of fairseq's own sections, or of the class that is registered under ``_name``."""
    config = read(name)
    registered = {
        "task": TASK_DATACLASS_REGISTRY,
        "model": MODEL_DATACLASS_REGISTRY,
        "criterion": CRITERION_DATACLASS_REGISTRY,
        "optimizer": OPTIMIZER_DATACLASS_REGISTRY,
        "lr_scheduler": LR_SCHEDULER_DATACLASS_REGISTRY,
    }

    def check(section: str, values: dict, extra: set[str] = frozenset()) -> None:
        fields = registered[section][values["_name"]].__dataclass_fields__
        assert set(values) - {"_name"} - extra <= set(fields), section

    for section, values in config.items():
        if section in registered:
            check(section, values)
        else:
            section_class = FairseqConfig.__dataclass_fields__[section].type
            assert set(values) <= set(section_class.__dataclass_fields__), section
    for group in config["optimizer"]["groups"].values():
        check("optimizer", group["optimizer"])
        check("lr_scheduler", group["lr_scheduler"])


@each_config
def test_groups_are_those_of_the_models_parameters(name, tiny_model, tmp_path):
    from probes import save_encoder

    path = save_encoder(tmp_path / "tiny.pt", tiny_model())
    cfg = OmegaConf.merge(model_config(name), {"encoder_path": str(path), "freeze": False})
    for field in ("hidden_dim", "channels", "embedding_dim", "width"):
        if cfg[field] is not None:
            cfg[field] = 8
    if cfg.head == "contextnet_ctc":
        cfg.width = 0.03125
    model = SslProbe.build_model(cfg, SimpleNamespace(target_dictionary=range(5)))
    assert set(read(name)["optimizer"]["groups"]) == {parameter.param_group for parameter in model.parameters()}


@each_config
def test_head_task_and_criterion_fit(name):
    config, head = read(name), HEADS[read(name)["model"]["head"]]
    task = {"slurp": "probe_classification", "iemocap": "probe_classification", "voxceleb1": "probe_verification"}
    task = task.get(name.split("_")[0], "probe_recognition")
    assert config["task"]["_name"] == task
    assert head.is_frame_level is (task == "probe_recognition")
    criterion = {"_name": "classification"}
    if task == "probe_recognition":
        labels = "bpe100" if name.startswith("commonvoice") else "ltr"
        assert config["task"]["labels"] == labels
        criterion = {"_name": "ctc", "post_process": {"bpe100": "sentencepiece", "ltr": "letter"}[labels]}
    elif task == "probe_verification":
        criterion = {"_name": "aam_softmax", "margin": 0.2, "scale": 30.0}
    assert config["model"].get("cosine", False) is (task == "probe_verification")
    assert criterion.items() <= config["criterion"].items()
    best = config["checkpoint"]["best_checkpoint_metric"], config["checkpoint"]["maximize_best_checkpoint_metric"]
    assert best == (("wer", False) if task == "probe_recognition" else ("accuracy", True))
    # new_bob follows the metric of the best checkpoint, and takes it for an error, unless it is told otherwise
    for group in config["optimizer"]["groups"].values():
        if group["lr_scheduler"]["_name"] == "new_bob":
            assert group["lr_scheduler"].get("is_accuracy", False) is best[1]
            assert group["lr_scheduler"].get("metric") == ("loss" if task == "probe_recognition" else None)


@each_config
def test_traps_of_fairseq(name):
    config = read(name)
    assert config["checkpoint"]["save_dir"] == f"checkpoints/mp3s/{name}", "one folder for each run"
    assert config["dataset"]["required_batch_size_multiple"] == 1, "else the last batch is dropped"
    assert config["model"]["freeze"] is True and config["model"]["layer_norm"] is False
    assert config["lr_scheduler"] == {"_name": "per_group"}, "new_bob never moves in pass_through"
    assert "max_tokens" not in config["dataset"] and "max_sample_size" not in config["task"]


# As MP3S was run: epochs, batch size, learning rates of head and layer weights, annealing of the head
RECIPES = {
    "librispeech": (20, 4, 2e-4, 1e-2, 0.8),
    "commonvoice_cy": (20, 4, 4e-4, 2e-2, 0.8),
    "commonvoice_eu": (20, 4, 5e-4, 2.5e-2, 0.8),
    "slurp": (20, 2, 2e-4, 1e-2, 0.8),
    "iemocap": (30, 2, 2e-4, 1e-2, 0.9),
    "voxceleb1": (15, 8, 1e-3, 1e-2, None),
}


@each_config
def test_recipe_of_the_paper(name):
    config = read(name)
    epochs, batch_size, head_lr, weights_lr, annealing = RECIPES[name.rpartition("_")[0]]
    assert config["optimization"]["max_epoch"] == epochs
    assert config["dataset"]["batch_size"] == batch_size
    groups = config["optimizer"]["groups"]
    for group in groups.values():  # Adam with L2
        assert (group["optimizer"]["_name"], group["optimizer"]["decoupled"]) == ("fused_adamw", False)
    assert groups["head"]["optimizer"]["lr"][0] == head_lr
    assert groups["layer_weights"]["optimizer"]["lr"] == [weights_lr]
    schedules = {group: values["lr_scheduler"] for group, values in groups.items()}
    assert config["model"]["final_norm"] is True
    if annealing is None:
        assert groups["head"]["optimizer"]["weight_decay"] == 2e-6
        assert schedules["head"] == schedules["layer_weights"] == {"_name": "fixed"}
        assert groups["head"]["optimizer"]["lr"] == pytest.approx(np.linspace(1e-3, 1e-4, 15), rel=1e-5)
        assert config["task"]["chunk_seconds"] == 3.0
    else:
        assert (schedules["head"]["lr_shrink"], schedules["layer_weights"]["lr_shrink"]) == (annealing, 0.9)
        assert schedules["head"]["lr_threshold"] == schedules["layer_weights"]["lr_threshold"] == 0.0025
        # the shortest clips first, in every epoch
        assert config["task"]["ascending"] is True and config["dataset"]["curriculum"] == "${optimization.max_epoch}"


BILSTMS = {"encoder.lstm.num_layers": 2, "encoder.lstm.bidirectional": True}
BILSTM_CTC = ("bilstm_ctc", {**BILSTMS, "encoder.lstm.hidden_size": 1024, "encoder.lstm.dropout": 0.2})
SIGMOIDS_CTC = ("linear_ctc", {"hidden.out_features": 1024, "output.in_features": 1024})
MEAN_LINEAR = ("mean_linear", {"takes_mean": True, "output.in_features": STATE_DIM})
INTENT_SIZES = {
    **BILSTMS,
    "encoder.lstm.hidden_size": 768,
    "encoder.lstm.dropout": 0.0,
    "project.out_features": 768,
    "output.bias": None,
}
ECAPA_SIZES = {"stem.conv.out_channels": 512, "aggregate.out_features": 1536}
EMOTION_SIZES = {**ECAPA_SIZES, "embedding_dim": 96, "pool.score.in_features": 64, "gives_cosines": False}
SPEAKER_SIZES = {**ECAPA_SIZES, "embedding_dim": 512, "pool.score.in_features": 128, "gives_cosines": True}
XVECTOR_SIZES = {"embedding_dim": 512, "segment6.out_features": 512, "gives_cosines": True}
# Of each head its name and its sizes, by their attributes
PAPER_HEADS = {
    "librispeech_probe1": BILSTM_CTC,
    "librispeech_probe2": ("contextnet_ctc", {"output.in_features": 640}),
    "commonvoice_cy_probe1": BILSTM_CTC,
    "commonvoice_cy_probe2": SIGMOIDS_CTC,
    "commonvoice_eu_probe1": BILSTM_CTC,
    "commonvoice_eu_probe2": SIGMOIDS_CTC,
    "slurp_probe1": MEAN_LINEAR,
    "slurp_probe2": ("bilstm_mean", INTENT_SIZES),
    "iemocap_probe1": MEAN_LINEAR,
    "iemocap_probe2": ("ecapa", EMOTION_SIZES),
    "voxceleb1_probe1": ("xvector", {**XVECTOR_SIZES, "classifier.0.negative_slope": 0.01}),
    "voxceleb1_probe2": ("ecapa", SPEAKER_SIZES),
}


@each_config
def test_heads_of_the_paper(name):
    kind, sizes = PAPER_HEADS[name]
    cfg = model_config(name)
    head = build_head(cfg.head, STATE_DIM, 18, **head_options(cfg))
    assert type(head) is HEADS[kind]
    assert {key: attrgetter(key)(head) for key in sizes} == sizes


@each_config
def test_comment_names_its_own_file(name):
    comment = re.search(r"--config-name (\S+)", (FOLDER / f"{name}.yaml").read_text())
    assert comment[1] == name
