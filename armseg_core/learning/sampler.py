"""Which samples make the next training batch, over several data sets and sensors."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from armseg_core.errors import UsageError


@dataclass(frozen=True)
class Draw:
    """One batch: `indices` of data set number `dataset`, all with sensor `modality` (None: RGB only)."""

    dataset: int
    modality: str | None
    indices: tuple[int, ...]


class JointSampler(Iterator[Draw]):
    """An endless stream of homogeneous batches: one data set, one sensor and one class list each.

    The data set is drawn with probability proportional to size ** (1 / temperature), size being the
    number of its samples in any pool; then the sensor uniformly. Within a (data set, sensor) pool
    samples come in random order without replacement, epoch after epoch; a batch may reach from one
    epoch into the next.

    The draws depend on the arguments alone: a training that goes on at step n makes the sampler again, skips
    n draws and sees what an undisturbed one would have seen.

    Args:
        pools: for each data set, sensor (or None) -> numbers of the samples that have it.
        batch_size: samples per batch.
        temperature: 1 = by size, larger = more even, infinity = every data set alike.
        seed: of all draws.

    Raises:
        UsageError: a pool is empty or a setting is out of range.
    """

    def __init__(
        self,
        pools: Sequence[Mapping[str | None, Sequence[int]]],
        batch_size: int,
        temperature: float = 2.0,
        seed: int = 0,
    ) -> None:
        if not pools or not all(pool and all(len(indices) for indices in pool.values()) for pool in pools):
            raise UsageError("a data set has no sample to train on", expected="at least one in every pool")
        if batch_size < 1 or not temperature > 0:
            raise UsageError(
                f"batch size {batch_size}, temperature {temperature}", expected="positive numbers"
            )
        self.batch_size, self.seed = batch_size, seed
        self._pools = {
            (number, modality): np.asarray(indices, np.int64)
            for number, pool in enumerate(pools)
            for modality, indices in pool.items()
        }
        self._modalities = [tuple(pool) for pool in pools]
        sizes = [len({i for indices in pool.values() for i in indices}) for pool in pools]
        weights = np.array(sizes, np.float64) ** (1 / temperature)
        self.probabilities: np.ndarray = weights / weights.sum()
        self._step = 0
        self._used = dict.fromkeys(self._pools, 0)  # samples drawn so far, over all epochs
        self._orders: dict[tuple[int, str | None], tuple[int, np.ndarray]] = {}

    def __next__(self) -> Draw:
        rng = np.random.default_rng([self.seed, self._step])
        number = int(rng.choice(len(self.probabilities), p=self.probabilities))
        names = self._modalities[number]
        modality = names[int(rng.integers(len(names)))]
        self._step += 1
        return Draw(number, modality, self._take((number, modality)))

    def _take(self, key: tuple[int, str | None]) -> tuple[int, ...]:
        pool, start = self._pools[key], self._used[key]
        self._used[key] = start + self.batch_size
        return tuple(
            int(pool[self._order(key, n // len(pool))[n % len(pool)]])
            for n in range(start, start + self.batch_size)
        )

    def _order(self, key: tuple[int, str | None], epoch: int) -> np.ndarray:
        """The order of a pool in an epoch; a function of the seed, the pool and the epoch."""
        kept = self._orders.get(key)
        if kept is None or kept[0] != epoch:
            number, modality = key
            name = zlib.crc32((modality or "").encode())
            order = np.random.default_rng([self.seed, number, name, epoch]).permutation(len(self._pools[key]))
            kept = self._orders[key] = (epoch, order)
        return kept[1]
