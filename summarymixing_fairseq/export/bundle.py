"""Code that needs nothing of this package: modules copied into one flat folder, their imports led to one another.

transformers loads what lies beside the weights, all in one folder. The text of a module is that of ours but for the
lines that import from this package.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from pathlib import Path

PACKAGE = Path(__file__).parents[1]


def bundle(roots: Iterable[str], replaced: Mapping[str, str], header: str) -> dict[str, str]:
    """Modules and all that they import from this package.

    Args:
        roots: dotted names within the package, whose files keep their own names.
        replaced: another text for a module.
        header: a comment before each.

    Returns:
        Texts by file name.

    Raises:
        ValueError: for an import that names a package and not one of its modules.
    """
    roots = list(roots)
    texts: dict[str, str] = {}
    todo = list(roots)
    while todo:
        module = todo.pop()
        name = f"{_flat(module, roots)}.py"
        if name in texts:
            continue
        text = replaced.get(module)
        if text is None:
            text = _path(module).read_text(encoding="utf-8")
        text, imported = _rewritten(text, module, roots)
        texts[name] = f"# {header}\n{text}"
        todo += imported
    return texts


def _flat(module: str, roots: list[str]) -> str:
    return module.rsplit(".", 1)[-1] if module in roots else f"summarymixing_{module.replace('.', '_')}"


def _path(module: str) -> Path:
    return PACKAGE.joinpath(*module.split(".")).with_suffix(".py")


def _rewritten(text: str, module: str, roots: list[str]) -> tuple[str, list[str]]:
    """A module's text with its imports led elsewhere, and the modules that it imports from this package."""
    lines, imported = text.splitlines(), []
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        target = ".".join([*module.split(".")[: -node.level], *filter(None, [node.module])])
        if not _path(target).is_file():
            raise ValueError(f"{module}, line {node.lineno}: import from a module, not from the package {target}")
        imported.append(target)
        line = lines[node.lineno - 1]
        lines[node.lineno - 1] = line.replace(
            f"from {'.' * node.level}{node.module} ", f"from .{_flat(target, roots)} "
        )
    return "\n".join(lines) + "\n", imported
