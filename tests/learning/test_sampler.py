"""The joint sampler: homogeneous batches, fair shares, epochs without replacement, the same for a seed."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest

from armseg_core.errors import UsageError
from armseg_core.learning.sampler import Draw, JointSampler

POOLS = [
    {"event": list(range(100)), "depth": list(range(50, 100))},
    {"thermal": [3, 5, 8, 13]},
    {None: [0, 1, 2]},
]


def take(sampler: JointSampler, count: int) -> list[Draw]:
    return list(itertools.islice(sampler, count))


def test_batches_are_homogeneous_and_from_their_pool() -> None:
    for draw in take(JointSampler(POOLS, 6, seed=1), 300):
        assert draw.modality in POOLS[draw.dataset]
        assert len(draw.indices) == 6
        assert set(draw.indices) <= set(POOLS[draw.dataset][draw.modality])


def test_an_epoch_of_a_pool_shows_every_sample_once() -> None:
    pool = list(range(10, 47))
    drawn = [i for draw in take(JointSampler([{"depth": pool}], 5), 37) for i in draw.indices]  # five epochs
    for epoch in range(5):
        assert sorted(drawn[epoch * 37 : (epoch + 1) * 37]) == pool
    assert drawn[:37] != drawn[37:74]


@pytest.mark.parametrize(("temperature", "first"), [(1.0, 0.8), (2.0, 2 / 3), (1e9, 0.5)])
def test_data_sets_are_drawn_by_size_and_temperature(temperature: float, first: float) -> None:
    sampler = JointSampler([{"event": range(80)}, {"event": range(20)}], 1, temperature=temperature, seed=3)
    assert sampler.probabilities == pytest.approx((first, 1 - first), abs=1e-6)
    share = Counter(draw.dataset for draw in take(sampler, 4000))[0] / 4000
    assert share == pytest.approx(first, abs=0.03)


def test_the_size_of_a_data_set_counts_a_sample_once_however_many_sensors_it_has() -> None:
    sampler = JointSampler([{"event": range(10), "depth": range(10)}, {"event": range(10)}], 1, temperature=1)
    assert sampler.probabilities == pytest.approx((0.5, 0.5))


def test_sensors_of_a_data_set_are_drawn_alike_whatever_their_number_of_samples() -> None:
    sampler = JointSampler([{"event": range(90), "depth": range(9)}], 2)
    counts = Counter(draw.modality for draw in take(sampler, 4000))
    assert counts["event"] / 4000 == pytest.approx(0.5, abs=0.03)


def test_seed_decides() -> None:
    assert take(JointSampler(POOLS, 4, seed=7), 50) == take(JointSampler(POOLS, 4, seed=7), 50)
    assert take(JointSampler(POOLS, 4, seed=7), 50) != take(JointSampler(POOLS, 4, seed=8), 50)


@pytest.mark.parametrize(
    ("pools", "batch_size", "temperature"),
    [([], 1, 1.0), ([{}], 1, 1.0), ([{"event": []}], 1, 1.0), (POOLS, 0, 1.0), (POOLS, 1, 0.0)],
)
def test_impossible_settings_are_refused(pools: list, batch_size: int, temperature: float) -> None:
    with pytest.raises(UsageError):
        JointSampler(pools, batch_size, temperature)
