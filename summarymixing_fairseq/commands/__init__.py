"""Sub-commands of `summarymixing`: one a file, each with ``add_parser`` and ``run``. torch is imported in ``run`` only."""
