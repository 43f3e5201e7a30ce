"""Write fairseq manifests for any folder of audio: DEST/train.tsv and DEST/valid.tsv.

    python manifests/make_manifest.py AUDIO_DIR --dest DIR

The same as `summarymixing manifest folder`, under the name that fairseq's users know.
"""

import sys

from summarymixing_fairseq.commands.main import console_main

if __name__ == "__main__":
    console_main(["manifest", "folder", *sys.argv[1:]])
