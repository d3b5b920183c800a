"""The suites that come with multibench, found by name."""

from __future__ import annotations

from pathlib import Path

from multibench.errors import UnknownNameError
from multibench.registry import did_you_mean

__all__ = ["find_suite", "is_suite", "shipped_suites"]


def shipped_suites() -> dict[str, Path]:
    """Name -> file of each suite in ``suites/``: beside the package in a checkout, inside it when installed."""
    package = Path(__file__).resolve().parents[1]
    folder = next((f for f in (package / "suites", package.parent / "suites") if f.is_dir()), None)
    return {} if folder is None else {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def is_suite(name: str) -> bool:
    """Whether ``name`` can only mean a suite: a YAML file, or the name of one that comes with multibench."""
    return _is_file(name) or name in shipped_suites()


def _is_file(name: str) -> bool:
    return Path(name).suffix in {".yaml", ".yml"} or Path(name).is_file()


def find_suite(name: str) -> Path:
    """A suite file as given, or the shipped suite of that name. Raises ``UnknownNameError`` for neither."""
    shipped = shipped_suites()
    if is_suite(name):
        return Path(name) if _is_file(name) else shipped[name]
    raise UnknownNameError(
        f"There is no suite '{name}'.{did_you_mean(name, shipped)} "
        f"Give a YAML file, or one of: {', '.join(shipped) or 'none'}."
    )
