"""What is given to others names no folder of the machine that it was made on."""

from __future__ import annotations

from dataclasses import fields, is_dataclass

from encoder_checkpoints import OURS, fine_tune, flat, letters, save
from fairseq.dataclass.configs import FairseqConfig
from omegaconf import OmegaConf

from summarymixing_fairseq.checkpoints.fine_tuned import load_fine_tuned
from summarymixing_fairseq.checkpoints.private import without_places
from summarymixing_fairseq.commands.main import main

SENTINEL = "sentinel-folder"


def everywhere() -> dict:
    """Every field of fairseq's own sections that may hold a text, relative and absolute, with the sentinel in it."""
    whole = {}
    for number, section in enumerate(fields(FairseqConfig)):
        if is_dataclass(section.default):
            values = {field.name: [SENTINEL, f"/home/{SENTINEL}/x"][number % 2] for field in fields(section.default)}
            whole[section.name] = {**values, "_name": "x", "seed": 1, "nested": {"deep": [SENTINEL]}}
    return whole


def test_no_folder_is_in_an_export(tmp_path, tiny_model):
    alphabet = letters("AB|")
    config, ctc = fine_tune(tiny_model(), OURS, tmp_path / SENTINEL, alphabet)
    config["model"].update(w2v_path=f"{SENTINEL}.pt", data=SENTINEL)
    config["model"]["w2v_args"]["common"] = {"user_dir": SENTINEL}
    config["task"].update(data=SENTINEL, multi_corpus_keys=SENTINEL, labels="ltr")
    config = {
        **everywhere(),
        **config,
        "criterion": {"_name": "ctc", "post_process": "letter", "wer_lexicon": SENTINEL},
    }
    path = save(tmp_path / "ctc.pt", config, ctc.state_dict(), task_state={"target_dictionary": alphabet})
    output = tmp_path / "out.safetensors"
    assert main(["export", str(path), str(output)]) == 0
    for written in (output, output.with_suffix(".md"), output.with_suffix(".use.py")):
        assert SENTINEL.encode() not in written.read_bytes() and str(tmp_path).encode() not in written.read_bytes()
    assert load_fine_tuned(output).symbols == load_fine_tuned(path).symbols


def test_what_builds_a_model_stays(tiny_config, tmp_path, tiny_model):
    config = fine_tune(tiny_model(), OURS, tmp_path)[0]
    kept = without_places(config)
    encoder = {**config["model"]["w2v_args"]["model"], "latent_temp": [2, 0.5, 0.999995]}
    assert kept["model"]["w2v_args"]["model"] == encoder
    assert kept["model"]["_name"] == "wav2vec_ctc" and kept["task"] == config["task"]
    assert kept["model"]["data"] == "" and config["model"]["data"] == str(tmp_path)


def test_flat_configurations_of_until_2020(tmp_path, tiny_model):
    config = fine_tune(tiny_model(), OURS, tmp_path / SENTINEL)[0]
    config["task"].update(data=SENTINEL, save_dir=SENTINEL, user_dir=f"~{SENTINEL}")
    old = vars(flat(config))
    old["w2v_args"] = vars(old["w2v_args"])
    kept = without_places(old)
    assert SENTINEL not in str(kept) and kept["arch"] == "wav2vec_ctc"
    assert OmegaConf.create(kept).w2v_args.summary_mode == "full"
