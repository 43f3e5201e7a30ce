"""Debian's packages of Asterisk voice prompts: download, unpack, find the recordings and transcripts.

Each language XX has two packages. `asterisk-core-sounds-XX-g722` has the recordings, below
usr/share/asterisk/sounds/<voice>. `asterisk-core-sounds-XX` has the transcripts, in
usr/share/doc/asterisk-core-sounds-XX/core-sounds-XX.txt.gz.
"""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from summarymixing_fairseq.system import processes
from summarymixing_fairseq.system.errors import InputError
from summarymixing_fairseq.system.files import temporary_folder

_SOUNDS = Path("usr/share/asterisk/sounds")
_DOCUMENTS = Path("usr/share/doc")


@dataclass(frozen=True)
class Voice:
    """Who recorded a language, and in which folder the recordings are; from the packages' copyright files."""

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
    """The packages cannot be downloaded or unpacked on this machine: espeak-ng may speak instead."""


def licence_text(languages: Sequence[str]) -> str:
    """The text of LICENSES.txt: who recorded what, and under which licence."""
    voices = [f"audio/{language}: {VOICES[language].credit}; {VOICES[language].licence}\n" for language in languages]
    return (
        "Asterisk core sounds, from http://downloads.asterisk.org/pub/telephony/asterisk/\n"
        "Converted from G.722 to FLAC at 16 kHz; the recordings are otherwise unchanged.\n"
        f"{''.join(voices)}Recordings financed in part by Digium, Inc. (http://www.digium.com).\n"
    )


def package_roots(languages: Sequence[str], cache_dir: Path, packages: Path | None) -> list[Path]:
    """Folders with the unpacked packages of all `languages`.

    Args:
        cache_dir: folder to download and unpack to. What is there is not downloaded again.
        packages: folder of .deb files, or of unpacked ones. None: download by apt-get, which needs no root.

    Raises:
        PackagesUnavailable: if apt-get or dpkg is missing, or the download fails.
        InputError: if `packages` lacks a package, or one is broken.
    """
    names = [f"asterisk-core-sounds-{code}{suffix}" for code in languages for suffix in ("-g722", "")]
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
        missing = [name for name in names if not _package_file(folder, name)]
        if missing:
            _download(missing, cache_dir)
    roots = []
    for name in names:
        package = _package_file(folder, name)
        if package is None:
            raise InputError(f"{folder} holds no {name}_*.deb: put it there, or leave out its --languages")
        roots.append(_unpack(package, cache_dir))
    return roots


def _package_file(folder: Path, name: str) -> Path | None:
    return max(folder.glob(f"{name}_*.deb"), default=None)


def _download(names: Sequence[str], cache_dir: Path) -> None:
    options = ["-o", "Acquire::Retries=1", "-o", "Acquire::http::Timeout=20"]
    with temporary_folder(".partial-", cache_dir) as folder:
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
    with temporary_folder(".partial-", target.parent) as folder:
        result = _run(["dpkg", "-x", str(package.resolve()), "whole"], folder)
        if result.returncode != 0:
            raise InputError(f"{package} cannot be unpacked: delete it, and get it again")
        os.replace(folder / "whole", target)
    return target


def _run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return processes.run(command, cwd=folder, env={**os.environ, "LC_ALL": "C"}, **streams)


def find_recordings(roots: Sequence[Path], language: str) -> dict[str, Path]:
    """The recordings of a language: name without ending (`digits/1`) -> file, sorted by name."""
    voice = VOICES[language].folder
    found = {}
    for folder in (root / _SOUNDS / voice for root in roots):
        for path in folder.rglob("*.g722"):
            found[path.relative_to(folder).with_suffix("").as_posix()] = path
    if not found:
        raise InputError(f"no .g722 files of voice {voice} in the packages of '{language}'")
    return dict(sorted(found.items()))


def read_transcripts(roots: Sequence[Path], language: str) -> dict[str, str]:
    """The transcripts of a language, name -> text; empty if the packages have none."""
    for root in roots:
        path = root / _DOCUMENTS / f"asterisk-core-sounds-{language}" / f"core-sounds-{language}.txt.gz"
        if path.is_file():
            return parse_transcripts(gzip.decompress(path.read_bytes()))
        if path.with_suffix("").is_file():  # Debian does not compress documents below 4 KiB
            return parse_transcripts(path.with_suffix("").read_bytes())
    return {}


def parse_transcripts(content: bytes) -> dict[str, str]:
    """Lines of `name: text`, as a dictionary. Lines that begin with `;` are comments. Names without text are left out.

    Of a name that is given twice the first text counts: the second `digits/0` in Spanish is meant for `digits/10`. The
    Italian file begins with a byte order mark.
    """
    transcripts: dict[str, str] = {}
    for line in content.decode("utf-8-sig", errors="replace").splitlines():
        name, colon, text = line.partition(":")
        if not line.lstrip().startswith(";") and colon and name.strip() and text.strip():
            transcripts.setdefault(name.strip(), text.strip())
    return transcripts
