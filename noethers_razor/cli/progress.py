"""A progress bar over the stages of a fit, on standard error."""

from __future__ import annotations

import signal
import sys
import threading
from typing import Any

from tqdm import tqdm

from noethers_razor.inference.history import Row
from noethers_razor.symmetry.answer_sheet import AnswerSheet


class Progress:
    """A progress bar over the steps of each stage, with nll, KL and rank.

    Inside a `with` statement, SIGTERM and SIGINT stop the fit by a `KeyboardInterrupt`. If that exception is
    lost, for example in a destructor, the next chunk of steps raises it again.

    Args:
        quiet: whether to print nothing.
    """

    def __init__(self, quiet: bool) -> None:
        self._quiet, self._stage = quiet, ""
        self._bar: Any = None
        self._stopped = False
        self._handlers: dict[int, Any] = {}

    def _stop(self, *_: Any) -> None:
        self._stopped = True
        raise KeyboardInterrupt

    def __enter__(self) -> Progress:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                # A shell makes background processes ignore Ctrl-C. They must continue to ignore it.
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._handlers[number] = signal.signal(number, self._stop)
        if not self._quiet:
            print("compiling the training step ...", file=sys.stderr, flush=True)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def __call__(self, row: Row, total: int) -> None:
        if self._stopped:
            raise KeyboardInterrupt
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

    def answered(self, sheet: AnswerSheet) -> None:
        """Print what the trajectories alone show, while the network is still to be trained."""
        if not self._quiet:
            self.close()
            print(sheet, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Close the bar of the current stage."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
