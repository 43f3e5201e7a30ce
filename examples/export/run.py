"""One checkpoint in every format: exported, read back, and heard on the same clips.

    python examples/export/run.py            # from the repository's root; `make export-demo` does this

By default the checkpoint is the first that the quickstart has fine-tuned, and the clips are its 60 held-out prompts.
Each export is a command that you could type yourself. It is printed first. A format whose packages are missing is
left out, which is said.
"""

from __future__ import annotations

import argparse
import logging
import platform
import time
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from summarymixing_fairseq.system import command, files
from summarymixing_fairseq.system.errors import InputError
from summarymixing_fairseq.system.tables import markdown_table

if TYPE_CHECKING:
    from summarymixing_fairseq.data.manifest import Manifest
    from summarymixing_fairseq.export.measures import Heard, Labelled
    from summarymixing_fairseq.export.source import Source

ROOT = Path(__file__).resolve().parents[2]
QUICKSTART = ROOT / "quickstart"


def difference(heard: Heard, wanted: Heard) -> str:
    """Largest difference of the scores; for a format that gives text, how many clips have another text."""
    import torch

    if all(isinstance(one, torch.Tensor) for one in heard.outputs):
        pairs = zip(heard.outputs, wanted.outputs)
        return f"{max(float((a - b).abs().max()) for a, b in pairs if b.numel()):.1e}"
    other = sum(a != b for a, b in zip(heard.texts, wanted.texts))
    return f"- ({other} of {len(heard.texts)} texts are others)"


def rows_of(
    name: str, source: Source, dest: Path, clips: Manifest, labelled: Labelled, wanted: Heard
) -> list[list[str]]:
    """Export to a format, read it back, and measure each file that holds the model.

    Raises:
        InputError: where it cannot be exported.
    """
    from summarymixing_fairseq.export.formats import FORMATS
    from summarymixing_fairseq.export.measures import listen
    from summarymixing_fairseq.export.run import export

    kind = FORMATS[name]
    place = dest / (f"{name}.safetensors" if name == "safetensors" else name)
    int8 = clips if kind.takes_int8 else None
    options = f" --int8 {clips.path}" if int8 else ""
    print(f"\nsummarymixing export {source.path} {place} --to {name}{options} --force", flush=True)
    print("\n".join(export(source.path, place, name, "unknown", True, int8)), flush=True)
    written = kind(source, place, int8)
    forms, rows = written.forms(), []
    if not forms:
        size = sum(file.stat().st_size for file in written.files())
        return [[name, f"{size / 1e6:.1f}", "the encoder alone", "", ""]]
    for path, outputs in forms.items():
        heard = listen(outputs, labelled, source)
        several = len(forms) > 1
        size = sum(file.stat().st_size for file in ([path] if several else written.files()))
        title = f"{name}, {path.name}" if several else name
        rows.append(row(title, size, difference(heard, wanted), heard, labelled))
    return rows


def row(title: str, size: int, difference: str, heard: Heard, labelled: Labelled) -> list[str]:
    """Cells of the table."""
    rate = f"{100 * labelled.error_rate(heard.texts)[1]:.2f} %"
    return [title, f"{size / 1e6:.1f}", difference, f"{heard.real_time_factor:.4f}", rate]


def main() -> int:
    """Export, measure, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--checkpoint",
        type=Path,
        default=QUICKSTART / "finetune_5min_1" / "checkpoint_best.pt",
        help="fine-tuned with CTC (default: the quickstart's)",
    )
    parser.add_argument(
        "--clips",
        type=Path,
        default=QUICKSTART / "corpus" / "finetune" / "test.tsv",
        help="manifest with labels beside it (default: the quickstart's held-out prompts)",
    )
    parser.add_argument("--dest", type=Path, default=ROOT / "export-demo", help="folder (default: export-demo)")
    args = parser.parse_args()
    return command.run_script(lambda: _run(args, args.dest.resolve()), args.dest)


def _run(args: argparse.Namespace, dest: Path) -> str:
    if not args.checkpoint.exists():
        raise InputError(f"{args.checkpoint} is not there: make quickstart makes it, or name another by --checkpoint")
    import torch

    from summarymixing_fairseq import register
    from summarymixing_fairseq.data.manifest import Manifest
    from summarymixing_fairseq.export.formats import FORMATS
    from summarymixing_fairseq.export.measures import listen, read_labelled
    from summarymixing_fairseq.export.source import load_source

    logging.disable(logging.INFO)  # what libraries say of each node
    register()
    began, clips, source = time.monotonic(), Manifest(args.clips), load_source(args.checkpoint)
    if source.fine_tuned is None:
        raise InputError(f"{args.checkpoint} is no recogniser: name one that was fine-tuned with CTC")
    labelled = read_labelled(clips, source.fine_tuned)
    wanted = listen(source.outputs, labelled, source)
    rows = [row("the checkpoint", args.checkpoint.stat().st_size, "", wanted, labelled)]
    for name in sorted(FORMATS):
        missing = [package for package in FORMATS[name].packages if find_spec(package) is None]
        if missing:
            print(f"\n{name}: left out, as {', '.join(missing)} is missing", flush=True)
            continue
        try:
            rows += rows_of(name, source, dest, clips, labelled, wanted)
        except InputError as error:
            print(f"{name}: {error}", flush=True)
    versions = ", ".join(
        f"{name} {metadata.version(name)}"
        for name in ("torch", "onnxruntime", "transformers", "sherpa-onnx", "s3prl")
        if find_spec(name.replace("-", "_"))
    )
    rate = labelled.error_rate(wanted.texts)[0]
    table = markdown_table(("format", "size in MB", "largest difference of scores", "real-time factor", rate), rows)
    text = (
        f"{table}\n\n{len(labelled.waveforms)} clips, {labelled.seconds:.0f} s, one at a time on "
        f"{torch.get_num_threads()} threads; {platform.system()} {platform.machine()}, {versions}.\n"
    )
    with files.atomic_write(dest / "export.md") as file:
        file.write(text)
    return f"\n{text}\n{(time.monotonic() - began) / 60:.1f} minutes; table: {dest / 'export.md'}"


if __name__ == "__main__":
    command.as_script(main)
