"""The command line. Each verb is a few lines around a public function; what is slow is imported inside it."""

from multibench.cli.app import main

__all__ = ["main"]
