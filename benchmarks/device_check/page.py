"""The section on GPUs in docs/performance.md, made of the files that checks wrote.

    python -m benchmarks.device_check.page                    print it, from benchmarks/device_check/measured/*.json
    python -m benchmarks.device_check.page FILE...            from other files
    python -m benchmarks.device_check.page --write            put it between its marks in docs/performance.md

A check that is to be kept is copied to ``measured``, called after its card and commit.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .check import FORMAT
from .options import REPOSITORY
from .tables import part

__all__ = ["BEGIN", "END", "MEASURED", "PAGE", "main", "read", "section", "with_section"]

BEGIN, END = "<!-- device check: begin -->", "<!-- device check: end -->"
MEASURED = Path(__file__).parent / "measured"
PAGE = REPOSITORY / "docs" / "performance.md"

_NONE = "**Not yet measured.** No card has run this check. Its dry run on a processor shows that it works, and no more."


def read(path: Path) -> dict[str, Any]:
    """What a check wrote. Raises ``ValueError`` for other files, and for dry runs, which measure nothing."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{path} cannot be read as JSON ({error}). Give a file device_check.json."
        ) from error
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise ValueError(
            f"{path} is no device_check.json of format {FORMAT}. Give one that this version wrote."
        )
    if found["small"] or found["device"] != "cuda":
        raise ValueError(
            f"{path} is of a dry run, whose times say nothing. Give a check that a card ran in full."
        )
    return found


def section(checks: Sequence[dict[str, Any]]) -> str:
    """The text between the marks, the latest check first."""
    if not checks:
        return _NONE
    latest = sorted(checks, key=lambda found: str(found["begun"]), reverse=True)
    return "\n\n".join("\n".join(part(found)) for found in latest)


def with_section(page: str, text: str) -> str:
    """``page`` with ``text`` between its marks. Raises ``ValueError`` for a page without them."""
    if page.count(BEGIN) != 1 or page.count(END) != 1:
        raise ValueError(f"The page must have the lines {BEGIN} and {END} once each.")
    before, after = page.split(BEGIN)[0], page.split(END)[1]
    return f"{before}{BEGIN}\n{text}\n{END}{after}"


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.device_check.page", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE")
    parser.add_argument("--write", action="store_true", help=f"write it into {PAGE.relative_to(REPOSITORY)}")
    given = parser.parse_args(words)
    try:
        text = section([read(path) for path in given.files or sorted(MEASURED.glob("*.json"))])
        if given.write:
            PAGE.write_text(with_section(PAGE.read_text("utf-8"), text), "utf-8")
        else:
            print(text)
    except ValueError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
