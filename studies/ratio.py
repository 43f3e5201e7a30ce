"""Letters wrong of a recorded encoder as a share of others', with the 95 % interval over seeds and clips.

Encoders may be of several studies with the same test clips, in another folder too (by its path); those after the
first count as one.

    python studies/ratio.py objectives/filterbank-mhsa objectives/random-mhsa
    python studies/ratio.py objectives/filterbank objectives/random few_labels/random positions/random
    python studies/ratio.py --paired few_labels/quickstart-reset1 few_labels/quickstart
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from summarymixing_fairseq.probing.metrics.trainings import interval_over_seeds
from summarymixing_fairseq.studies.rows import scored
from summarymixing_fairseq.system import command
from summarymixing_fairseq.system.errors import InputError

STUDIES = Path(__file__).resolve().parent


def read_cells(names: Sequence[str]) -> list[dict[str, Any]]:
    """Results of encoders with the same test clips. Raises InputError where there are none."""
    found = [path for one in map(STUDIES.joinpath, names) for path in sorted(one.parent.glob(f"{one.name}-seed*.json"))]
    cells = [json.loads(path.read_text(encoding="utf-8")) for path in found]
    tests = [scored(cell) for cell in cells]
    if not found or None in tests or any(one["totals"] != tests[0]["totals"] for one in tests):
        raise InputError(f"{' '.join(names)}: no recorded recogniser, or of several kinds of test clips")
    return cells


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("encoder", metavar="STUDY/ENCODER")
    parser.add_argument("rivals", nargs="+", metavar="STUDY/ENCODER")
    parser.add_argument("--paired", action="store_true", help="seed by seed both began with the same pre-training")
    args = parser.parse_args()
    return command.run_script(lambda: _ratio(args))


def _ratio(args: argparse.Namespace) -> str:
    sides = read_cells([args.encoder]), read_cells(args.rivals)
    begun = [[(cell["seed"], cell["settings"]["pretraining"]) for cell in side] for side in sides]
    if args.paired and begun[0] != begun[1]:
        raise InputError("--paired: these did not begin with the same pre-trainings")
    totals, others = (scored(side[0])["totals"] for side in sides)
    if totals != others:
        raise InputError("the encoders were tested on other clips")
    # (seeds, clips), letters wrong
    errors, of_rivals = ([scored(cell)["errors"] for cell in side] for side in sides)
    rates = [sum(map(sum, side)) / len(side) for side in (errors, of_rivals)]
    low, high = interval_over_seeds(errors, totals, of_rivals, args.paired)
    return f"{rates[0] / rates[1]:.2f} ({low:.2f} to {high:.2f})"


if __name__ == "__main__":
    command.as_script(main)
