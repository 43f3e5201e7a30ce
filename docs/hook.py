"""What mkdocs takes as pages: those of docs/, and those that stand beside what they describe.

Each is at its path in the repository. So a link between two pages is the same in the repository and on the site, and
mkdocs checks it.
"""

from __future__ import annotations

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
# pages, and what they show or link to
PATTERNS = (
    *("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "LICENSE", "docs/*.md", "docs/*.ipynb"),
    *(
        "manifests/README.md",
        "examples/*/README.md",
        "examples/benchmarks/*.md",
        "examples/analysis/results/*.md",
        "examples/**/*.png",
    ),
    *("studies/**/*.md", "studies/**/*.png", "studies/*.yaml"),
)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """The theme's files and ours, in place of what mkdocs found in docs/."""
    found = sorted({path for pattern in PATTERNS for path in ROOT.glob(pattern)})
    for file in [file for file in files if file.src_dir == config.docs_dir]:
        files.remove(file)
    for path in found:
        name = path.relative_to(ROOT).as_posix()
        if not name.endswith((".template.md", "NOTES.md")):  # which become parts of other pages
            files.append(File(name, str(ROOT), config.site_dir, config.use_directory_urls))
    return files
