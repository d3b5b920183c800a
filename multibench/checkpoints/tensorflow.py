"""Checkpoints of Google's BERT code, read and written without TensorFlow: the public door to ``formats.tensorflow``.

Of use on its own, for looking into a checkpoint: ``read_index(path)`` gives dtype and shape of every tensor.
"""

from multibench.checkpoints.formats.tensorflow import (
    TensorEntry,
    read_index,
    read_tensorflow,
    write_tensorflow,
)

__all__ = ["TensorEntry", "read_index", "read_tensorflow", "write_tensorflow"]
