"""Old names of arguments. They work until version 0.3, with a warning."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

Class = TypeVar("Class", bound=type)


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
                text = f"{cls.__name__}: {old} is deprecated; use {names[old]}"
                warnings.warn(text, DeprecationWarning, stacklevel=2)
                values[names[old]] = values.pop(old)
            made(self, *args, **values)

        cls.__init__ = init  # type: ignore[misc]  # as above
        return cls

    return decorate
