"""Time order of an event recording: what a scan of its times finds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from armseg_core.sensors.event.columns import falls


@dataclass
class Order:
    """What a scan of all times found. low, high: smallest and largest time of each of the K blocks."""

    low: np.ndarray
    high: np.ndarray
    backward: int  # number of events earlier than the one before them
    worst_us: int  # the largest step back

    @property
    def sorted(self) -> bool:
        return self.backward == 0


class OrderScan:
    """Collects an `Order` block by block."""

    def __init__(self) -> None:
        self._low: list[int] = []
        self._high: list[int] = []
        self._backward = self._worst = 0
        self._previous: int | None = None

    def add(self, t: np.ndarray) -> None:
        """Times of the next block, at least one."""
        if self._previous is not None and t[0] < self._previous:
            self._backward, self._worst = self._backward + 1, max(self._worst, self._previous - int(t[0]))
        if falls(t):
            step = t[:-1] - t[1:]
            self._backward += int(np.count_nonzero(step > 0))
            self._worst = max(self._worst, int(step.max()))
            self._low.append(int(t.min()))
            self._high.append(int(t.max()))
        else:
            self._low.append(int(t[0]))
            self._high.append(int(t[-1]))
        self._previous = int(t[-1])

    def result(self) -> Order:
        low, high = np.array(self._low, np.int64), np.array(self._high, np.int64)
        return Order(low, high, self._backward, self._worst)
