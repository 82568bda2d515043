"""The joint sampler: homogeneous batches, fair shares, epochs without replacement, the same for a seed."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest

from armseg_core.errors import UsageError
from armseg_core.learning.sampler import Draw, JointSampler

POOLS = [
    {("event",): list(range(50)), ("event", "depth"): list(range(50, 100))},
    {("thermal",): [3, 5, 8, 13]},
    {(): [0, 1, 2]},
]
THREE = ("depth", "event", "thermal")


def take(sampler: JointSampler, count: int) -> list[Draw]:
    return list(itertools.islice(sampler, count))


def test_batches_are_homogeneous_and_from_their_pool() -> None:
    for draw in take(JointSampler(POOLS, 6, seed=1), 300):
        assert len(draw.indices) == 6
        pools = [n for n, pool in POOLS[draw.dataset].items() if set(draw.indices) <= set(pool)]
        assert len(pools) == 1
        assert set(draw.sensors) <= set(pools[0])
        assert draw.sensors or not pools[0]  # a sensor is dropped by the training, not here


def test_an_epoch_of_a_pool_shows_every_sample_once() -> None:
    pool = list(range(10, 47))
    drawn = [
        i for draw in take(JointSampler([{("depth",): pool}], 5), 37) for i in draw.indices
    ]  # five epochs
    for epoch in range(5):
        assert sorted(drawn[epoch * 37 : (epoch + 1) * 37]) == pool
    assert drawn[:37] != drawn[37:74]


@pytest.mark.parametrize(("temperature", "first"), [(1.0, 0.8), (2.0, 2 / 3), (1e9, 0.5)])
def test_data_sets_are_drawn_by_size_and_temperature(temperature: float, first: float) -> None:
    sampler = JointSampler(
        [{("event",): range(80)}, {("event",): range(20)}], 1, temperature=temperature, seed=3
    )
    assert sampler.probabilities == pytest.approx((first, 1 - first), abs=1e-6)
    share = Counter(draw.dataset for draw in take(sampler, 4000))[0] / 4000
    assert share == pytest.approx(first, abs=0.03)


def test_the_size_of_a_data_set_counts_a_sample_once_however_many_sensors_it_has() -> None:
    sampler = JointSampler(
        [{("event",): range(10), ("depth",): range(10)}, {("event",): range(10)}], 1, temperature=1
    )
    assert sampler.probabilities == pytest.approx((0.5, 0.5))


def test_pools_of_a_data_set_are_drawn_by_their_size() -> None:
    sampler = JointSampler([{("event",): range(90), ("depth",): range(90, 100)}], 2)
    counts = Counter(draw.sensors for draw in take(sampler, 4000))
    assert counts["event",] / 4000 == pytest.approx(0.9, abs=0.03)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_a_share_of_the_steps_uses_every_sensor_and_the_others_any_subset(share: float) -> None:
    sampler = JointSampler([{THREE: range(50)}], 2, all_sensors=share, seed=5)
    counts = Counter(draw.sensors for draw in take(sampler, 6000))
    assert counts[THREE] / 6000 == pytest.approx(share, abs=0.03)
    for size in (1, 2):
        for some in itertools.combinations(THREE, size):  # in the order of the pool
            assert counts[some] / 6000 == pytest.approx((1 - share) / 6, abs=0.02)
    assert sum(counts.values()) == sum(counts[c] for n in (1, 2, 3) for c in itertools.combinations(THREE, n))


def test_a_single_sensor_is_always_used() -> None:
    sampler = JointSampler([{("depth",): range(9)}], 2, all_sensors=0.0)
    assert {draw.sensors for draw in take(sampler, 50)} == {("depth",)}


def test_which_sensors_are_used_does_not_change_which_samples_are_drawn() -> None:
    some, every = (JointSampler([{THREE: range(50)}], 4, all_sensors=share) for share in (0.2, 1.0))
    assert [d.indices for d in take(some, 60)] == [d.indices for d in take(every, 60)]


def test_draws_that_were_made_before_do_not_matter() -> None:
    pools = [{THREE: range(30), ("depth",): range(30, 40)}, {(): range(7)}]
    late = JointSampler(pools, 4, seed=7)
    take(late, 40)
    assert take(late, 40) == take(JointSampler(pools, 4, seed=7), 80)[40:]


def test_seed_decides() -> None:
    assert take(JointSampler(POOLS, 4, seed=7), 50) == take(JointSampler(POOLS, 4, seed=7), 50)
    assert take(JointSampler(POOLS, 4, seed=7), 50) != take(JointSampler(POOLS, 4, seed=8), 50)


@pytest.mark.parametrize(
    ("pools", "batch_size", "temperature"),
    [([], 1, 1.0), ([{}], 1, 1.0), ([{("event",): []}], 1, 1.0), (POOLS, 0, 1.0), (POOLS, 1, 0.0)],
)
def test_impossible_settings_are_refused(pools: list, batch_size: int, temperature: float) -> None:
    with pytest.raises(UsageError):
        JointSampler(pools, batch_size, temperature)


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_a_share_of_all_sensors_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(UsageError, match="all_sensors"):
        JointSampler(POOLS, 1, all_sensors=share)
