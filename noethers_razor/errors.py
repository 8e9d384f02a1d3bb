"""Errors of the package. Each class has the exit code of the command line."""

from __future__ import annotations

from collections.abc import Sequence


class NoetherError(ValueError):
    """Base class of all errors that this package raises for its users.

    The message is one line: what was found, what was expected, what to do.
    """

    exit_code = 2


class UsageError(NoetherError):
    """A setting, name or path that cannot be used (exit code 2)."""


class DataError(NoetherError):
    """Data that cannot be used, with a code such as ``NR104`` (exit code 3).

    Args:
        code: code of the first problem.
        message: message of the first problem. It names place, value, reason and remedy.
        further: pairs (code, message) of other problems of the same data.
    """

    exit_code = 3

    def __init__(self, code: str, message: str, further: Sequence[tuple[str, str]] = ()) -> None:
        self.code = code
        self.problems = [(code, message), *further]
        super().__init__("; ".join(f"{name} {text}" for name, text in self.problems))


class TrainingDiverged(NoetherError):
    """A loss or gradient that is not finite (exit code 4)."""

    exit_code = 4


class RunFolderError(NoetherError):
    """A run folder that is incomplete or was changed (exit code 5)."""

    exit_code = 5


class Interrupted(NoetherError):
    """A fit that was stopped by Ctrl-C or a signal (exit code 130). The message says what was saved."""

    exit_code = 130
