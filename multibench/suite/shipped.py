"""The suites that come with multibench, found by name."""

from __future__ import annotations

from pathlib import Path

from multibench.errors import UnknownNameError
from multibench.registry import near_matches

__all__ = ["find_suite", "shipped_suites"]


def shipped_suites() -> dict[str, Path]:
    """Name -> file of each suite in ``suites/``: beside the package in a checkout, inside it when installed."""
    package = Path(__file__).resolve().parents[1]
    folder = next((f for f in (package / "suites", package.parent / "suites") if f.is_dir()), None)
    return {} if folder is None else {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def find_suite(name: str) -> Path:
    """A suite file as given, or the shipped suite of that name. Raises ``UnknownNameError`` for neither."""
    given = Path(name)
    if given.suffix in {".yaml", ".yml"} or given.is_file():
        return given
    shipped = shipped_suites()
    if name in shipped:
        return shipped[name]
    near = near_matches(name, list(shipped))
    hint = f" Did you mean {' or '.join(repr(n) for n in near)}?" if near else ""
    raise UnknownNameError(
        f"There is no suite '{name}'.{hint} Give a YAML file, or one of: {', '.join(shipped) or 'none'}."
    )
