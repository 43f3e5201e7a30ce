"""``python -m summarymixing_fairseq``: the same as the ``summarymixing`` command."""

from .commands.main import console_main

console_main()
