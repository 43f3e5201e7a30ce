"""Debian's packages of Asterisk voice prompts: getting, unpacking and finding what is in them.

For each language there are two: `asterisk-core-sounds-XX-g722` with the recordings, below
usr/share/asterisk/sounds/<voice>, and `asterisk-core-sounds-XX` with the transcripts, in
usr/share/doc/asterisk-core-sounds-XX/core-sounds-XX.txt.gz.
"""

from __future__ import annotations

import gzip
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from summarymixing_fairseq.system import interrupts, processes
from summarymixing_fairseq.system.errors import InputError

_SOUNDS = Path("usr/share/asterisk/sounds")
_DOCUMENTS = Path("usr/share/doc")


@dataclass(frozen=True)
class Voice:
    """Who recorded a language, and where it lies; from the packages' copyright files."""

    folder: str
    credit: str
    licence: str


_BY_SA = "CC BY-SA 3.0 (https://creativecommons.org/licenses/by-sa/3.0/)"
VOICES = {
    "en": Voice("en_US_f_Allison", "2003-2010 Allison Smith (http://www.theivrvoice.com)", _BY_SA),
    "es": Voice("es_MX_f_Allison", "2003-2010 Allison Smith (http://www.theivrvoice.com)", _BY_SA),
    "fr": Voice("fr_CA_f_June", "2006-2008 June Wallack (http://www.junewallack.com)", _BY_SA),
    "it": Voice("it_IT_m_Carlo", "2012 Carlo Flora (http://www.carloflora.com)", _BY_SA),
    "ru": Voice(
        "ru_RU_f_IvrvoiceRU",
        "2010 Maxim Topal (http://www.ivrvoice.ru)",
        "CC BY 3.0 (https://creativecommons.org/licenses/by/3.0/)",
    ),
}


class PackagesUnavailable(InputError):
    """The packages cannot be had on this machine."""


def licence_text(languages: Sequence[str]) -> str:
    """The text of LICENSES.txt: who recorded what, and under which licence."""
    lines = ["Asterisk core sounds, from http://downloads.asterisk.org/pub/telephony/asterisk/"]
    lines.append("Converted from G.722 to FLAC at 16 kHz; the recordings are otherwise unchanged.")
    for language in languages:
        voice = VOICES[language]
        lines.append(f"audio/{language}: {voice.credit}; {voice.licence}")
    lines.append("Recordings financed in part by Digium, Inc. (http://www.digium.com).")
    return "\n".join(lines) + "\n"


def package_roots(languages: Sequence[str], cache_dir: Path, packages: Path | None) -> list[Path]:
    """Folders that hold the unpacked packages of all `languages`.

    `packages` is a folder of .deb files, or one where they are unpacked already; without it, what is
    missing in `cache_dir` is downloaded with apt-get, which needs no root.
    """
    names = [name for code in languages for name in (f"{_text_package(code)}-g722", _text_package(code))]
    if packages is not None and not packages.is_dir():
        raise InputError(f"{packages} is no folder: give --packages a folder of .deb files")
    if packages is not None and (packages / _SOUNDS).is_dir():
        return [packages]
    if packages is None and not shutil.which("apt-get"):
        raise PackagesUnavailable("apt-get is missing: give --packages, a folder of .deb files")
    if not shutil.which("dpkg"):
        raise PackagesUnavailable("dpkg is missing: unpack the packages elsewhere and give --packages")
    folder = packages or cache_dir
    if packages is None:
        _download([name for name in names if not _package_file(folder, name)], cache_dir)
    roots = []
    for name in names:
        package = _package_file(folder, name)
        if package is None:
            raise InputError(f"{folder} holds no {name}_*.deb: put it there, or leave out its --languages")
        roots.append(_unpack(package, cache_dir))
    return roots


def _text_package(language: str) -> str:
    return f"asterisk-core-sounds-{language}"


def _package_file(folder: Path, name: str) -> Path | None:
    return max(folder.glob(f"{name}_*.deb"), default=None)


def _download(names: Sequence[str], cache_dir: Path) -> None:
    if not names:
        return
    options = ["-o", "Acquire::Retries=1", "-o", "Acquire::http::Timeout=20"]
    with _temporary_folder(cache_dir) as folder:
        result = _run(["apt-get", *options, "download", *names], folder)
        if result.returncode != 0:
            errors = [line for line in result.stderr.splitlines() if line.startswith("E:")]
            what = errors[0][2:].strip() if errors else f"exit status {result.returncode}"
            raise PackagesUnavailable(
                f"apt-get download failed ({what}): if the package lists are empty, run apt-get update first"
            )
        for package in folder.glob("*.deb"):
            os.replace(package, cache_dir / package.name)


def _unpack(package: Path, cache_dir: Path) -> Path:
    target = cache_dir / "unpacked" / package.stem
    if target.is_dir():
        return target
    with _temporary_folder(target.parent) as folder:
        result = _run(["dpkg", "-x", str(package.resolve()), str(folder.resolve())], folder)
        if result.returncode != 0:
            raise InputError(f"{package} cannot be unpacked: delete it, and get it again")
        os.replace(folder, target)
    return target


def _run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return processes.run(
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "LC_ALL": "C"},
    )


@contextmanager
def _temporary_folder(parent: Path) -> Iterator[Path]:
    parent.mkdir(parents=True, exist_ok=True)
    folder = parent / f".partial-{secrets.token_hex(8)}"
    with interrupts.cleanup(lambda: shutil.rmtree(folder, ignore_errors=True)):
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def find_recordings(roots: Sequence[Path], language: str) -> dict[str, Path]:
    """The language's recordings: name without ending (`digits/1`) → file, sorted by name."""
    found = {}
    for root in roots:
        folder = root / _SOUNDS / VOICES[language].folder
        for path in folder.rglob("*.g722"):
            if path.is_file():
                found[path.relative_to(folder).with_suffix("").as_posix()] = path
    if not found:
        folder_name = VOICES[language].folder
        raise InputError(f"no .g722 files of voice {folder_name} in the packages of '{language}'")
    return dict(sorted(found.items()))


def read_transcripts(roots: Sequence[Path], language: str) -> dict[str, str]:
    """The language's transcripts, name → text; empty where the packages hold none."""
    name = f"core-sounds-{language}.txt"
    for root in roots:
        path = root / _DOCUMENTS / _text_package(language) / name
        packed = path.with_name(name + ".gz")
        if packed.is_file():
            return parse_transcripts(gzip.decompress(packed.read_bytes()))
        if path.is_file():
            return parse_transcripts(path.read_bytes())
    return {}


def parse_transcripts(content: bytes) -> dict[str, str]:
    """`name: text` lines; `;` begins a comment line. A name given twice keeps its first text.

    (In Spanish, `digits/0` is given twice: the second is a slip for `digits/10`.) Italian begins with a
    byte order mark. Names without a text are left out.
    """
    transcripts: dict[str, str] = {}
    for line in content.decode("utf-8-sig", errors="replace").splitlines():
        name, colon, text = line.partition(":")
        if not line.lstrip().startswith(";") and colon and name.strip() and text.strip():
            transcripts.setdefault(name.strip(), text.strip())
    return transcripts
