"""Signals that end a command: Ctrl-C (SIGINT), a request to end (SIGTERM), a lost terminal (SIGHUP).

A signal that is ignored when armseg starts (`nohup`, a background job of a script) stays ignored.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

ENDING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class Interrupted(KeyboardInterrupt):
    """A signal asked to end. number: of the signal."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


def exit_code(error: KeyboardInterrupt) -> int:
    """What a process ends with, as shells count: 128 and the number of the signal (Ctrl-C: 130)."""
    return 128 + getattr(error, "number", signal.SIGINT)


@contextlib.contextmanager
def signals_interrupt() -> Iterator[None]:
    """SIGTERM and SIGHUP raise `Interrupted` in the block, as Ctrl-C raises KeyboardInterrupt.

    After the first one both are ignored until the block ends: what is done then is cleaning up, and a lost
    terminal is often told twice.
    """
    former: dict[int, Any] = {}

    def interrupt(number: int, frame: Any) -> None:
        for other in former:
            signal.signal(other, signal.SIG_IGN)
        raise Interrupted(number)

    if threading.current_thread() is threading.main_thread():
        for number in ENDING:
            if signal.getsignal(number) is signal.SIG_DFL:
                former[number] = signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


class StopOnSignal:
    """Remembers the first signal until the step is over; a (second) Ctrl-C stops at once.

    number: of the signal, None as long as there was none.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._former: dict[int, Any] = {}

    @property
    def asked(self) -> bool:
        """Whether a signal has come."""
        return self.number is not None

    def _handle(self, number: int, frame: Any) -> None:
        if not self.asked:
            self.number = number
            with contextlib.suppress(
                OSError, RuntimeError
            ):  # the terminal is gone, or in the middle of a line
                print("\nstopping after this step (Ctrl-C to stop at once)", file=sys.stderr)
        elif number == signal.SIGINT:
            raise KeyboardInterrupt

    def __enter__(self) -> StopOnSignal:
        if threading.current_thread() is threading.main_thread():
            for number in ENDING:
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self._former[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *exc: object) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)
