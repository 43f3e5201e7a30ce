"""Sub-commands of `summarymixing`: one a file, with ``add_parser`` and ``run``. Only ``run`` imports torch."""
