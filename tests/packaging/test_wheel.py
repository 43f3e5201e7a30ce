"""The wheel alone, on a machine without a checkout: manifest, pre-training, fine-tuning and a probe."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import soundfile
from pipeline import RECIPES, ROOT, TEXTS, TINY_MODEL, spelled
from zygote import Zygote

GROUPS = ("pretraining", "finetuning", "mp3s")
ONE_RUN = (
    *("common.cpu=true", "common.log_interval=1", "dataset.num_workers=0"),
    *("dataset.validate_interval_updates=1", "checkpoint.save_interval_updates=1"),
)


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The sdist, and the wheel that is made from it."""
    dest = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", dest, ROOT]
    subprocess.run(command, check=True, capture_output=True)
    (sdist,), (wheel,) = dest.glob("*.tar.gz"), dest.glob("*.whl")
    return sdist, wheel


class Machine:
    """A folder with the wheel installed and no checkout in sight; the dependencies are those of the tests."""

    def __init__(self, folder: Path, wheel: Path) -> None:
        self.folder, self.site = folder, folder / "site"
        install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", self.site, wheel]
        subprocess.run(install, check=True, capture_output=True)
        self.zygote = Zygote(package=self.site, folder=folder)

    def run(self, *command: object) -> str:
        """What a command that must succeed has printed."""
        done = self.zygote.complete(command)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout

    def train(self, group: str, name: str, *overrides: str) -> None:
        """The tutorial's command line, from a folder that has nothing to do with the package."""
        config_dir = self.run("python", "-m", "summarymixing_fairseq", "configs", group).strip()
        command = ("fairseq-hydra-train", "--config-dir", config_dir, "--config-name", name)
        self.run(*command, "task.data=data", f"checkpoint.save_dir={group}", *ONE_RUN, *overrides)


@pytest.fixture(scope="module")
def machine(distributions: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    machine = Machine(tmp_path_factory.mktemp("machine"), distributions[1])
    yield machine
    machine.zygote.close()


def yaml_files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for group in GROUPS for path in (folder / group).rglob("*.yaml")}


def test_the_wheel_holds_the_code_and_the_configurations_only(distributions: tuple[Path, Path]) -> None:
    names = {name for name in zipfile.ZipFile(distributions[1]).namelist() if ".dist-info/" not in name}
    configs = "summarymixing_fairseq/configs/"
    assert {name[len(configs) :] for name in names if name.startswith(configs)} == yaml_files(ROOT / "examples")
    code = {str(path.relative_to(ROOT)) for path in (ROOT / "summarymixing_fairseq").rglob("*.py")}
    extra = {"summarymixing_fairseq/py.typed", "hydra_plugins/summarymixing.py"}
    assert {name for name in names if not name.startswith(configs)} == code | extra


def test_the_sdist_holds_every_committed_file(distributions: tuple[Path, Path]) -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("no git checkout")
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()
    with tarfile.open(distributions[0]) as archive:
        archived = {name.split("/", 1)[-1] for name in archive.getnames()}
    needless = {".gitignore", ".ci/run"}
    assert {name for name in listed if (ROOT / name).exists()} - archived <= needless


def test_a_wheel_is_enough(machine: Machine) -> None:
    from summarymixing_fairseq.data.synthesiser import speak

    where = machine.run("python", "-c", "import summarymixing_fairseq as package; print(package.__file__)").strip()
    assert Path(where).is_relative_to(machine.site)

    audio, data = machine.folder / "audio", machine.folder / "data"
    audio.mkdir()
    for number, text in enumerate(TEXTS):
        soundfile.write(audio / f"{number}.flac", speak(text, "en-us"), 16_000)
    manifest = ("manifest", "folder", "audio", "--dest", "data", "--valid-fraction", "0.3", "--workers", "1")
    machine.run("python", "-m", "summarymixing_fairseq", *manifest)
    for split in ("train", "valid"):
        clips = [int(line.split(".")[0]) for line in (data / f"{split}.tsv").read_text().splitlines()[1:]]
        (data / f"{split}.ltr").write_text("".join(f"{spelled(TEXTS[clip])}\n" for clip in clips))
        (data / f"{split}.wrd").write_text("".join(f"{TEXTS[clip]}\n" for clip in clips))
        (data / f"{split}.emotion").write_text("".join(f"{'ab'[clip % 2]}\n" for clip in clips))
    letters = sorted({letter for text in TEXTS for letter in text.replace(" ", "|")})
    (data / "dict.ltr.txt").write_text("".join(f"{letter} 1\n" for letter in letters))
    (data / "dict.emotion.txt").write_text("a 1\nb 1\n")

    machine.train(
        "pretraining", RECIPES["pretraining"], *TINY_MODEL, "+task.quality=false", "optimization.max_update=2"
    )
    pretrained = machine.folder / "pretraining" / "checkpoint_last.pt"
    machine.train("finetuning", "quickstart", f"model.w2v_path={pretrained}", "optimization.max_update=2")
    machine.train("mp3s", "iemocap_probe1", f"model.encoder_path={pretrained}", "optimization.max_epoch=1")
    assert all((machine.folder / group / "checkpoint_last.pt").exists() for group in GROUPS)
