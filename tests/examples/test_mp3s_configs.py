"""The twelve configurations of examples/mp3s: they compose, fit the modules, and have the paper's sizes."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from fairseq.criterions import CRITERION_DATACLASS_REGISTRY
from fairseq.dataclass.configs import FairseqConfig
from fairseq.dataclass.initialize import hydra_init
from fairseq.models import MODEL_DATACLASS_REGISTRY
from fairseq.optim import OPTIMIZER_DATACLASS_REGISTRY
from fairseq.optim.lr_scheduler import LR_SCHEDULER_DATACLASS_REGISTRY
from fairseq.tasks import TASK_DATACLASS_REGISTRY
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
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
    config = OmegaConf.to_container(OmegaConf.merge(own, *shared))
    del config["hydra"]
    return config


def leaves(values: dict, prefix: str = "") -> dict[str, object]:
    """Values by their dotted keys."""
    found = {}
    for key, value in values.items():
        found.update(leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value})
    return found


@pytest.fixture
def fairseqs_defaults():
    """``fairseqs_defaults(name)`` does what fairseq-hydra-train does before it composes a configuration."""
    store = ConfigStore.instance()
    before = dict(store.repo)
    yield hydra_init
    store.repo = before


def model_config(name: str):
    return OmegaConf.merge(OmegaConf.structured(SslProbeConfig()), read(name)["model"])


def head_of(name: str, num_classes: int = 18):
    cfg = model_config(name)
    return build_head(cfg.head, STATE_DIM, num_classes, **head_options(cfg))


def test_two_probes_a_data_set():
    assert sorted(f"{data}_probe{n}" for data in DATA_SETS for n in (1, 2)) == NAMES


@pytest.mark.parametrize("name", ["librispeech_probe1", "slurp_probe1", "voxceleb1_probe2"])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_composes_as_fairseq_does(name, fairseqs_defaults):
    """Every key keeps its value: fairseq's defaults, which hydra merges with the configuration, replace none."""
    expected = {**leaves(read(name)), "model.encoder_path": "a.pt", "task.data": "b"}
    fairseqs_defaults(name)
    with initialize_config_dir(str(FOLDER), version_base="1.1"):
        cfg = compose(name, overrides=["model.encoder_path=a.pt", "task.data=b"], return_hydra_config=True)
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
    if task == "probe_recognition":
        criterion = "ctc"
    else:
        criterion = "aam_softmax" if config["model"].get("cosine") else "classification"
    assert config["criterion"]["_name"] == criterion
    best = config["checkpoint"]["best_checkpoint_metric"], config["checkpoint"]["maximize_best_checkpoint_metric"]
    assert best == (("wer", False) if task == "probe_recognition" else ("accuracy", True))
    # new_bob takes the metric for an error unless it is told that it is an accuracy
    for group in config["optimizer"]["groups"].values():
        if group["lr_scheduler"]["_name"] == "new_bob":
            assert group["lr_scheduler"].get("is_accuracy", False) is best[1]


@each_config
def test_traps_of_fairseq(name):
    config = read(name)
    assert config["checkpoint"]["save_dir"] == f"checkpoints/mp3s/{name}", "one folder for each run"
    assert config["dataset"]["required_batch_size_multiple"] == 1, "else the last batch is dropped"
    assert config["model"]["freeze"] is True and config["model"]["layer_norm"] is False
    assert config["lr_scheduler"] == {"_name": "per_group"}, "new_bob never moves in pass_through"
    assert "max_tokens" not in config["dataset"] and "max_sample_size" not in config["task"]


# Section 3 and appendix of the paper: epochs, batch size, learning rates of head and layer weights
RECIPES = {
    "librispeech": (20, 4, 2e-4, 1e-2),
    "commonvoice_cy": (20, 4, 4e-4, 2e-2),
    "commonvoice_eu": (20, 4, 4e-4, 2e-2),
    "slurp": (20, 2, 2e-4, 1e-2),
    "iemocap": (20, 4, 2e-4, 1e-2),
    "voxceleb1": (15, 8, 1e-3, 1e-2),
}


@each_config
def test_recipe_of_the_paper(name):
    config = read(name)
    epochs, batch_size, head_lr, weights_lr = RECIPES[name.rpartition("_")[0]]
    assert config["optimization"]["max_epoch"] == epochs
    assert config["dataset"]["batch_size"] == batch_size
    groups = config["optimizer"]["groups"]
    assert {group["optimizer"]["_name"] for group in groups.values()} == {"adam"}
    assert groups["head"]["optimizer"]["lr"][0] == head_lr
    assert groups["layer_weights"]["optimizer"]["lr"] == [weights_lr]
    schedules = {group: values["lr_scheduler"] for group, values in groups.items()}
    assert schedules["layer_weights"]["lr_shrink"] == 0.9 and schedules["layer_weights"]["lr_threshold"] == 0.0025
    if name.startswith("voxceleb1"):
        assert groups["head"]["optimizer"]["weight_decay"] == 2e-6
        assert schedules["head"] == {"_name": "fixed"}
        assert groups["head"]["optimizer"]["lr"] == pytest.approx(np.linspace(1e-3, 1e-4, 15), rel=1e-5)
        assert config["task"]["chunk_seconds"] == 3.0
    else:
        assert schedules["head"]["lr_shrink"] == 0.8 and schedules["head"]["lr_threshold"] == 0.0025


@pytest.mark.parametrize("name", ["librispeech_probe1", "commonvoice_cy_probe1", "commonvoice_eu_probe1"])
def test_recognition_by_two_bilstms_of_1024(name):
    head = head_of(name)
    assert type(head) is HEADS["bilstm_ctc"]
    lstm = head.encoder.lstm
    assert (lstm.num_layers, lstm.hidden_size, lstm.bidirectional, lstm.dropout) == (2, 1024, True, 0.2)


def test_recognition_by_contextnet_of_640_outputs():
    head = head_of("librispeech_probe2")
    assert type(head) is HEADS["contextnet_ctc"]
    assert (head.output.in_features, len(head.blocks)) == (640, 23)


@pytest.mark.parametrize("language", ["cy", "eu"])
def test_low_resource_recognition(language):
    """A linear layer as probe 2, and a hundred pieces for both."""
    head = head_of(f"commonvoice_{language}_probe2", 104)
    assert sum(parameter.numel() for parameter in head.parameters()) == 104 * (STATE_DIM + 1)
    for probe in (1, 2):
        config = read(f"commonvoice_{language}_probe{probe}")
        assert (config["task"]["labels"], config["criterion"]["post_process"]) == ("bpe100", "sentencepiece")
    config = read("librispeech_probe1")
    assert (config["task"]["labels"], config["criterion"]["post_process"]) == ("ltr", "letter")


@pytest.mark.parametrize("name", ["slurp_probe1", "iemocap_probe1"])
def test_classification_by_mean_pool_and_linear(name):
    head = head_of(name)
    assert head.takes_mean
    assert sum(parameter.numel() for parameter in head.parameters()) == 18 * (STATE_DIM + 1)


def test_intent_by_two_bilstms_of_768():
    head = head_of("slurp_probe2")
    lstm = head.encoder.lstm
    assert (lstm.num_layers, lstm.hidden_size, lstm.bidirectional, lstm.dropout) == (2, 768, True, 0.2)
    assert (head.project.out_features, head.output.out_features) == (768, 18)


@pytest.mark.parametrize("name", ["iemocap_probe2", "voxceleb1_probe2"])
def test_ecapa_of_512_channels(name):
    head = head_of(name, 1211)
    assert type(head) is HEADS["ecapa"]
    assert head.stem.conv.out_channels == 512 and len(head.blocks) == 3
    assert head.aggregate.out_features == 1536
    assert head.embedding_dim == 512
    assert head.gives_cosines is (name == "voxceleb1_probe2")


def test_speakers_by_x_vector_and_margin():
    head = head_of("voxceleb1_probe1", 1211)
    assert type(head) is HEADS["xvector"]
    assert head.embedding_dim == head.segment6.out_features == 512
    criterion = read("voxceleb1_probe2")["criterion"]
    assert (criterion["margin"], criterion["scale"]) == (0.2, 30.0)


@each_config
def test_comment_names_its_own_file(name):
    comment = re.search(r"--config-name (\S+)", (FOLDER / f"{name}.yaml").read_text())
    assert comment[1] == name
