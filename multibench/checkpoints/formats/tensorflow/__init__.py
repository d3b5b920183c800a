"""Checkpoints of Google's BERT code, read and written without TensorFlow.

``table`` knows LevelDB's sorted tables, ``bundle`` TensorFlow's index and data files, ``names`` the variables of
BERT, and ``convert`` brings them together. Nothing is ever unpacked to disk, and every byte of a weight is held
to its checksum.
"""

from multibench.checkpoints.formats.tensorflow.bundle import (
    TensorEntry,
    find_tensorflow,
    is_prefix,
    open_bundle,
    read_index,
)
from multibench.checkpoints.formats.tensorflow.convert import (
    describe_tensorflow,
    import_tensorflow,
    read_parameters,
    read_tensorflow,
    write_tensorflow,
)

__all__ = [
    "TensorEntry",
    "describe_tensorflow",
    "find_tensorflow",
    "import_tensorflow",
    "is_prefix",
    "open_bundle",
    "read_index",
    "read_parameters",
    "read_tensorflow",
    "write_tensorflow",
]
