"""Which samples make the next training batch, over several data sets and sensors."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from armseg_core.errors import UsageError


@dataclass(frozen=True)
class Draw:
    """One batch: `indices` of data set number `dataset`, all with the `sensors` (none: RGB only)."""

    dataset: int
    sensors: tuple[str, ...]
    indices: tuple[int, ...]


class JointSampler(Iterator[Draw]):
    """An endless stream of homogeneous batches: one data set, some of its sensors and one class list each.

    The data set is drawn with probability proportional to size ** (1 / temperature), size being the
    number of its samples in any pool; then one of its pools (samples that have the same sensors), by size.
    A share of the steps (`all_sensors`) uses every sensor of the pool; the others use some of them: how many
    is drawn evenly from one to one less than all, then which, so that the model works with any subset. Within
    a pool samples come in random order without replacement, epoch after epoch; a batch may reach from one
    epoch into the next.

    The draws depend on the arguments alone: a training that goes on at step n makes the sampler again, skips
    n draws and sees what an undisturbed one would have seen.

    Args:
        pools: for each data set, sensors -> numbers of the samples that have them.
        batch_size: samples per batch.
        temperature: 1 = by size, larger = more even, infinity = every data set alike.
        all_sensors: share of steps, in [0, 1], with every sensor of the pool.
        seed: of all draws.

    Raises:
        UsageError: a pool is empty or a setting is out of range.
    """

    def __init__(
        self,
        pools: Sequence[Mapping[tuple[str, ...], Sequence[int]]],
        batch_size: int,
        temperature: float = 2.0,
        all_sensors: float = 0.5,
        seed: int = 0,
    ) -> None:
        if not pools or not all(pool and all(len(indices) for indices in pool.values()) for pool in pools):
            raise UsageError("a data set has no sample to train on", expected="at least one in every pool")
        if batch_size < 1 or not temperature > 0 or not 0 <= all_sensors <= 1:
            raise UsageError(
                f"batch size {batch_size}, temperature {temperature}, all_sensors {all_sensors}",
                expected="positive numbers, and a share from 0 to 1",
            )
        self.batch_size, self.seed, self.all_sensors = batch_size, seed, all_sensors
        self._pools = {
            (number, sensors): np.asarray(indices, np.int64)
            for number, pool in enumerate(pools)
            for sensors, indices in pool.items()
        }
        sizes = [len({i for indices in pool.values() for i in indices}) for pool in pools]
        weights = np.array(sizes, np.float64) ** (1 / temperature)
        self.probabilities: np.ndarray = weights / weights.sum()
        self._choices = [(tuple(pool), _shares([len(i) for i in pool.values()])) for pool in pools]
        self._step = 0
        self._used = dict.fromkeys(self._pools, 0)  # samples drawn so far, over all epochs
        self._orders: dict[tuple[int, tuple[str, ...]], tuple[int, np.ndarray]] = {}

    def __next__(self) -> Draw:
        rng = np.random.default_rng([self.seed, self._step])
        number = int(rng.choice(len(self.probabilities), p=self.probabilities))
        pools, shares = self._choices[number]
        pool = pools[int(rng.choice(len(pools), p=shares))]
        self._step += 1
        return Draw(number, self._some(pool, rng), self._take((number, pool)))

    def _some(self, sensors: tuple[str, ...], rng: np.random.Generator) -> tuple[str, ...]:
        """All of the sensors or some of them, in their order."""
        if len(sensors) < 2 or rng.random() < self.all_sensors:
            return sensors
        chosen = rng.permutation(len(sensors))[: int(rng.integers(1, len(sensors)))]
        return tuple(sensors[i] for i in sorted(chosen))

    def _take(self, key: tuple[int, tuple[str, ...]]) -> tuple[int, ...]:
        pool, start = self._pools[key], self._used[key]
        self._used[key] = start + self.batch_size
        return tuple(
            int(pool[self._order(key, n // len(pool))[n % len(pool)]])
            for n in range(start, start + self.batch_size)
        )

    def _order(self, key: tuple[int, tuple[str, ...]], epoch: int) -> np.ndarray:
        """The order of a pool in an epoch; a function of the seed, the pool and the epoch."""
        kept = self._orders.get(key)
        if kept is None or kept[0] != epoch:
            number, sensors = key
            name = zlib.crc32(",".join(sensors).encode())
            order = np.random.default_rng([self.seed, number, name, epoch]).permutation(len(self._pools[key]))
            kept = self._orders[key] = (epoch, order)
        return kept[1]


def _shares(sizes: list[int]) -> np.ndarray:
    return np.array(sizes, np.float64) / sum(sizes)
