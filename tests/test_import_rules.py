"""What is imported when: ``--help`` and ``import multibench`` cost next to nothing; names that are public exist."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import multibench
from tests.support.command import environment

PACKAGE = Path(multibench.__file__).parent
MODULES = sorted(
    ".".join(("multibench", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")
    for path in PACKAGE.rglob("*.py")
    if path.name != "__main__.py"
)
HEAVY = {"torch", "transformers", "datasets", "evaluate"}
# What may import torch (lazily or not): all else must work without it being loaded.
WITHOUT_TORCH = [
    "multibench",
    "multibench.cli",
    "multibench.checkpoints",
    "multibench.checkpoints.folder",
    "multibench.exchange",
    "multibench.metrics",
    "multibench.planning",
    "multibench.recipes",
    "multibench.reference",
    "multibench.reports",
    "multibench.results",
    "multibench.stats",
    "multibench.suite",
    "multibench.tasks",
]

PROBE = """
import sys
{statement}
loaded = sorted({{name.partition(".")[0] for name in sys.modules}} & {heavy!r})
assert not loaded, loaded
"""


def _probe(statement: str) -> None:
    code = PROBE.format(statement=statement, heavy=HEAVY)
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, env=environment(), capture_output=True, text=True, timeout=250, check=False
    )
    assert done.returncode == 0, done.stderr


def test_importing_the_package_loads_nothing_heavy() -> None:
    _probe("\n".join(f"import {name}" for name in WITHOUT_TORCH))


def test_help_and_list_load_nothing_heavy() -> None:
    _probe(
        """
import contextlib, io
from multibench.cli import main
for words in (["--help"], ["run", "--help"], ["list", "tasks", "--json"], ["list", "checkpoints"]):
    sys.argv = ["multibench", *words]
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.suppress(SystemExit):
        main()
    assert len(out.getvalue()) > 200, words
"""
    )


def test_the_root_has_no_attribute_that_it_does_not_name() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        multibench.nothing  # noqa: B018
    with pytest.raises(ImportError):
        importlib.import_module("multibench.nothing")


def _names(module: str) -> list[str] | None:
    """``__all__`` as it is written, without importing."""
    path = PACKAGE.joinpath(*module.split(".")[1:])
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.Assign) and any(getattr(t, "id", "") == "__all__" for t in node.targets):
            return [str(ast.literal_eval(e)) for e in node.value.elts]  # type: ignore[attr-defined]
    return None


def _as_ruff_sorts(name: str) -> tuple[int, str]:
    """Constants, then classes, then functions."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2), name


@pytest.mark.parametrize("module", MODULES)
def test_public_names_are_listed_and_exist(module: str) -> None:
    names = _names(module)
    path = PACKAGE.joinpath(*module.split(".")[1:])
    source = (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text("utf-8")
    tree = ast.parse(source)
    assert ast.get_docstring(tree), f"{module} does not say what it is"
    definitions = (ast.FunctionDef, ast.ClassDef)
    public = {
        node.name for node in tree.body if isinstance(node, definitions) and not node.name.startswith("_")
    }
    if names is None:
        assert not public, f"{module} defines {sorted(public)} but has no __all__"
        return
    assert names == sorted(names, key=_as_ruff_sorts)
    assert len(set(names)) == len(names)
    loaded = importlib.import_module(module)
    for name in names:
        assert hasattr(loaded, name), f"{module}.__all__ names {name}, which is not there"


def test_every_error_is_in_the_one_tree() -> None:
    from multibench import errors

    for name in errors.__all__:
        assert issubclass(getattr(errors, name), errors.MultibenchError)
        assert name in (errors.__doc__ or ""), f"{name} is missing in the drawing of the tree"
