"""The exception tree of stdvid and the exit code of each family.

    StdvidError               1   runtime failure
    |-- UsageError            2   the request contradicts itself or names what does not exist
    |   `-- OutputExistsError 2   the output is there and neither -y nor -n was given
    |-- InputError            3   a media file, image or folder that cannot be used
    |   `-- SourceChangedError  3   the input is no longer what it was when the run began
    |-- ModelError            3   a bundle, checkpoint or weight file that cannot be used
    |-- OutputError           1   the result cannot be written
    |-- ClusterError          1   a Ray cluster is not there, or has lost what it worked on
    |-- HubError            1   the hub of models is not reached, or does not answer as it should
    |-- SomeFailedError       4   some items of a batch failed
    `-- Interrupted         130   stopped by the user

Every message is one line: what was found; what is allowed; what to do.
Foreign exceptions are wrapped once, where the foreign library is called, with ``raise ... from exc``.
"""

from __future__ import annotations


class StdvidError(Exception):
    """Base of all errors that stdvid raises on purpose."""

    exit_code = 1


class UsageError(StdvidError):
    """Options that contradict each other, are out of range, or name something unknown."""

    exit_code = 2


class OutputExistsError(UsageError):
    """The output file exists and overwriting it was not allowed."""


class InputError(StdvidError):
    """A media file, image or folder is missing, damaged or of the wrong kind."""

    exit_code = 3


class SourceChangedError(InputError):
    """The input was changed while it was being read."""


class ModelError(StdvidError):
    """A bundle, checkpoint or weight file is missing, damaged or of the wrong kind."""

    exit_code = 3


class OutputError(StdvidError):
    """The result could not be written (permissions, disk full, codec refused)."""


class ClusterError(StdvidError):
    """A Ray cluster cannot be reached, or its workers are lost."""


class HubError(StdvidError):
    """The hub of models is not reached, or does not answer as it should."""


class SomeFailedError(StdvidError):
    """Some items of a batch failed; what they were has been said."""

    exit_code = 4


class Interrupted(StdvidError):
    """The user stopped the run."""

    exit_code = 130
