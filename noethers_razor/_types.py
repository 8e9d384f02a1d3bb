"""Array aliases and the names of shapes, used all over the package.

M = 2 n is the dimension of phase space, K the number of conserved quantities, S the number of
orbit samples, B a batch of states, N the number of transitions.
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
"""A smooth function on phase space: state (M,) -> scalar."""
VectorField = Callable[[Array], Array]
"""States (..., M) -> velocities (..., M)."""
