"""Python imports this when it starts, if this folder is in PYTHONPATH: emulated cards are there before torch looks."""

import os
import sys

if "MULTIBENCH_EMULATED_CARD" in os.environ:
    from tests.support.card.hook import watch

    watch(sys.meta_path)
