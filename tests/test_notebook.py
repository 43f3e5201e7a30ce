"""The notebook of docs/: its code runs from the first cell to the last, in an empty folder."""

from __future__ import annotations

import json

from pipeline import ROOT, run

NOTEBOOK = json.loads((ROOT / "docs" / "first_steps.ipynb").read_text(encoding="utf-8"))


def test_it_runs(tmp_path):
    cells = ["".join(cell["source"]) for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]
    script = tmp_path / "notebook.py"
    script.write_text("\n\n".join([f"import os\nos.chdir({str(tmp_path)!r})", *cells]), encoding="utf-8")
    printed = run("python", script).stdout
    assert "found 20 clips" in printed and "update 2 of 2" in printed and "(146, 144) frames" in printed


def test_it_was_saved_without_output():
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in NOTEBOOK["cells"])
