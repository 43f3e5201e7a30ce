"""Corpora as manifests: one corpus a file, with what they share in writing, audio and text.

A corpus is a module with ``DESCRIPTION`` (one line), ``add_arguments(parser)`` and ``prepare_from(args)``, which writes
the manifests and returns the summary to print; `summarymixing manifest NAME` runs it.
"""

from . import commonvoice, folder, iemocap, librilight, librispeech, slurp, voxceleb

CORPORA = {
    "folder": folder,
    "librilight": librilight,
    "librispeech": librispeech,
    "commonvoice": commonvoice,
    "slurp": slurp,
    "iemocap": iemocap,
    "voxceleb": voxceleb,
}
