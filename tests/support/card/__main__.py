"""``python -m tests.support.card COMMAND...``: the command finds an emulated card."""

import os
import sys

from tests.support.card import VARIABLE, environment, lacking

if __name__ == "__main__":
    reason = lacking()
    if reason is not None or len(sys.argv) < 2:
        sys.exit(reason or "A command is missing, such as: python -m tests.support.card pytest -m gpu")
    found = environment()
    found[VARIABLE] = os.environ.get(VARIABLE, "")
    os.execvpe(sys.argv[1], sys.argv[1:], found)
