"""``python -m multibench``."""

from multibench.cli import main

main()
