"""A progress bar over the stages of a fit, on standard error."""

from __future__ import annotations

import sys
from typing import Any

from tqdm import tqdm

from noethers_razor.history import Row


class Progress:
    """A tqdm bar over the steps of each stage: nll, KL, rank; the first line says that it compiles."""

    def __init__(self, quiet: bool) -> None:
        self._quiet, self._stage = quiet, ""
        self._bar: Any = None

    def __enter__(self) -> Progress:
        if not self._quiet:
            print("compiling the training step ...", file=sys.stderr, flush=True)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __call__(self, row: Row, total: int) -> None:
        if self._quiet:
            return
        if row.stage != self._stage:
            self.close()
            self._bar, self._stage = (
                tqdm(total=total, desc=row.stage, unit="step", file=sys.stderr),
                row.stage,
            )
        self._bar.update(row.step - self._bar.n)
        self._bar.set_postfix_str(f"nll {row.nll:.3f} KL {row.kl:.3f} rank {row.rank}")

    def close(self) -> None:
        """End the bar of the stage."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
