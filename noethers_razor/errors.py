"""Errors with a place, a value and a remedy; each class carries the exit code of the command line."""

from __future__ import annotations

from collections.abc import Sequence


class NoetherError(ValueError):
    """Base of every error this package raises on purpose: one line, found / expected / remedy."""

    exit_code = 2


class UsageError(NoetherError):
    """A setting, name or path that cannot be used (exit code 2)."""


class DataError(NoetherError):
    """Data that are refused, with a code such as ``NR104`` (exit code 3).

    Args:
        code, message: of the first problem; the message names what, where, value, reason and remedy.
        further: (code, message) of other problems of the same data.
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
    """A run folder that is missing parts or was changed (exit code 5)."""

    exit_code = 5


class Interrupted(NoetherError):
    """Training was stopped from outside, after its state was kept (exit code 130)."""

    exit_code = 130
