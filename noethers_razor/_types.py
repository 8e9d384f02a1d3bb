"""Type aliases, and the letters for shapes in all docstrings of the package.

M = 2 n is the dimension of phase space for n degrees of freedom. K is the number of conserved quantities, S
the number of orbit samples, B the size of a batch of states, N the number of transitions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

Array = jax.Array
ArrayLike = jax.Array | np.ndarray
Key = jax.Array
Params = dict[str, Any]
Observable = Callable[[Array], Array]
"""Smooth function on phase space: state (M,) -> scalar."""
VectorField = Callable[[Array], Array]
"""Vector field: states (..., M) -> velocities (..., M)."""
