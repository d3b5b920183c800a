"""``python -m multibench``."""

import sys
from pathlib import Path

# ``python -m`` looks in the current folder first: whatever lies there would be imported in the place of a library. The
# package itself is found by now.
if not sys.flags.safe_path and sys.path and sys.path[0] in ("", str(Path.cwd())):
    del sys.path[0]

from multibench.cli import main

main()
