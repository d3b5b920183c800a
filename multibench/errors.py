"""Every error that multibench raises on purpose.

::

    MultibenchError            one clear sentence; the command line exits with ``exit_code``, which is 2
    ├── UnknownNameError       a name that no registry entry has (also a KeyError)
    ├── OptionError            an option of the command line that cannot be read
    ├── NameTakenError         a second registration under one name
    ├── SuiteError             a suite file or an override that cannot be used
    ├── CheckpointError        weights, configuration or vocabulary that cannot be used
    ├── DataError              examples that are missing, malformed or not what the task says
    ├── StatisticsError        arrays that a statistic is not defined for (also a ValueError)
    ├── ResultsError           stored results that cannot be read or trusted
    │   └── SchemaError        results that another version of multibench wrote
    ├── StorageError           a disk that is full, read-only or gone
    ├── UnavailableError       something that would have to be fetched, and cannot be
    └── BrokenDeviceError      a GPU that no longer answers; the command line exits with 3

A message says what was given, what was expected and what to do. Interruption by the user is no
error: ``KeyboardInterrupt`` passes through everything here.
"""

from __future__ import annotations

__all__ = [
    "BrokenDeviceError",
    "CheckpointError",
    "DataError",
    "MultibenchError",
    "NameTakenError",
    "OptionError",
    "ResultsError",
    "SchemaError",
    "StatisticsError",
    "StorageError",
    "SuiteError",
    "UnavailableError",
    "UnknownNameError",
]


class MultibenchError(Exception):
    """Base of all errors here. ``str(error)`` is a sentence meant for a person."""

    exit_code = 2
    """What the command line ends with."""


class UnknownNameError(MultibenchError, KeyError):
    """A name that is not registered; the message holds near matches and what exists."""

    # KeyError would print the message quoted and escaped.
    __str__ = Exception.__str__


class OptionError(MultibenchError):
    """An option of the command line whose value is not what it takes, or may mean two things."""


class NameTakenError(MultibenchError):
    """Two things were registered under one name."""


class SuiteError(MultibenchError):
    """A suite file, or a ``--set`` override, that cannot be used."""


class CheckpointError(MultibenchError):
    """A checkpoint whose files are missing, damaged or of another shape than they say."""


class DataError(MultibenchError):
    """Data that is missing, malformed, or of another size than the task's facts say."""


class StatisticsError(MultibenchError, ValueError):
    """Arrays of wrong shape or content for the statistic that was asked for."""


class ResultsError(MultibenchError):
    """Stored results that are damaged, incomplete or fail their checksums."""


class SchemaError(ResultsError):
    """Results whose schema version this multibench does not read: intact, but not ours to use."""


class StorageError(MultibenchError):
    """Nothing could be written: the disk is full, or the folder is read-only."""


class UnavailableError(MultibenchError):
    """Something is not on this machine and could not, or must not, be fetched."""


class BrokenDeviceError(MultibenchError):
    """A GPU does not answer, or no longer: nothing that this process computes on it can be trusted."""

    exit_code = 3
