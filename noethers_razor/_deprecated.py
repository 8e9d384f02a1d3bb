"""Old names and their warnings. Old names work until version 0.3."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

Class = TypeVar("Class", bound=type)


def warn_of_old_name(old: str, new: str) -> None:
    """Warn the caller of the function that calls this one: an old name is used."""
    warnings.warn(f"{old} is deprecated; use {new}", DeprecationWarning, stacklevel=3)


def old_names(**names: str) -> Callable[[Class], Class]:
    """Return a decorator of classes whose constructor accepts old names of arguments.

    Args:
        names: old name -> new name.
    """

    def decorate(cls: Class) -> Class:
        made = cls.__init__  # type: ignore[misc]  # the class itself is decorated, not a subclass

        @functools.wraps(made)
        def init(self: Any, *args: Any, **values: Any) -> None:
            for old in [name for name in values if name in names]:
                warn_of_old_name(f"{cls.__name__}: {old}", names[old])
                values[names[old]] = values.pop(old)
            made(self, *args, **values)

        cls.__init__ = init  # type: ignore[misc]  # as above
        return cls

    return decorate
