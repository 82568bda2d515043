"""What every event reader does with unsorted, misplaced and odd events."""

from __future__ import annotations

import numpy as np
import pytest
from event_files import as_list, random_events, write_dsec
from hdf5_events import columns_of, open_events, with_generic, write

from armseg_core.errors import ArmsegWarning, FormatError, UsageError
from armseg_core.sensors.event.options import EventOptions

# --- order ------------------------------------------------------------------------------------------------


def shuffled(events, within_us=3_000, seed=0):
    rng = np.random.default_rng(seed)
    return [e for _, e in sorted((e[2] + rng.uniform(0, within_us), e) for e in events)]


def stable(events):
    return sorted(events, key=lambda e: e[2])


@pytest.mark.parametrize("limit", [10**6, 1000])  # sorted in memory, or put right window by window
def test_unsorted_events_are_sorted_with_a_warning(tmp_path, limit):
    mixed = shuffled(random_events(1500))
    path = write_dsec(tmp_path / "events.h5", mixed, index=False)
    expected = stable(mixed)
    with open_events(path, keep_events=limit) as source:
        with pytest.warns(ArmsegWarning, match="not in time order"):
            assert not source.check_order()
        assert source.in_order == (limit > 1500)
        assert (source.t_first_us, source.t_last_us) == (expected[0][2], expected[-1][2])
        for t0, t1 in ((0, 20_000), (31_000, 32_000), (0, 10**9), (70_000, 70_000)):
            window = [e for e in expected if t0 <= e[2] < t1]
            if limit > 1500:
                assert as_list(source.read_time(t0, t1)) == window
            else:  # the order of equal times follows the blocks
                assert sorted(as_list(source.read_time(t0, t1))) == sorted(window)
                assert (np.diff(source.read_time(t0, t1).t) >= 0).all()
            assert source.index_at(t1) == sum(e[2] < t1 for e in mixed)
        assert (np.diff(source.read_index(100, 900).t) >= 0).all()


def test_disorder_met_while_reading_one_window_is_put_right(tmp_path):
    mixed = shuffled(random_events(1500))
    path = write_dsec(tmp_path / "events.h5", mixed, index=False)
    with open_events(path) as source, pytest.warns(ArmsegWarning, match="not in time order"):
        got = as_list(source.read_time(40_000, 45_000))
    assert got == [e for e in stable(mixed) if 40_000 <= e[2] < 45_000]


def test_a_step_back_between_two_blocks_is_seen(tmp_path):
    events = random_events(400)
    mixed = events[200:] + events[:200]  # each block of 200 is in order
    path = write_dsec(tmp_path / "events.h5", mixed, index=False, chunk=200)
    with open_events(path) as source, pytest.warns(ArmsegWarning):
        assert as_list(source.read_index(0, 400)) == stable(mixed)


# --- values that cannot be right --------------------------------------------------------------------------


def put(rows, value, dtype=None):
    def change(column):
        column = column.astype(dtype or column.dtype)
        column[rows] = value
        return column

    return change


@pytest.mark.parametrize(("column", "value"), [("x", 64), ("x", -1), ("y", 48), ("y", 60_000)])
def test_events_outside_the_sensor_are_dropped_and_counted(tmp_path, column, value):
    rows = [0, 5, 500, 501, 999]
    events, path = with_generic(tmp_path, **{column: put(rows, value)})
    expected = [e for i, e in enumerate(events) if i not in rows]
    with open_events(path) as source:
        with pytest.warns(ArmsegWarning, match="outside the sensor"):
            assert as_list(source.read_index(0, 1000)) == expected
        assert as_list(source.read_index(499, 503)) == [events[499], events[502]]
        assert as_list(source.read_time(0, 10**9)) == expected
        assert [note for note in source.notes if "dropped" in note] == [
            "5 events dropped: outside the sensor of 64x48"  # counted once, however often they are read
        ]


def test_most_events_outside_is_an_error_that_names_the_cause(tmp_path):
    events = random_events(2000, size=(480, 64))
    path = write_dsec(tmp_path / "events.h5", events, size=(48, 64))
    with (
        open_events(path) as source,
        pytest.warns(ArmsegWarning),
        pytest.raises(FormatError, match=r"outside the sensor of 64x48.*--sensor-size"),
    ):
        source.read_index(0, source.count)


@pytest.mark.parametrize(
    "change",
    [
        lambda p: p.astype(bool),
        lambda p: p * 2 - 1,
        lambda p: (p * 2 - 1).astype("i1"),
        lambda p: p.astype("f4"),
        lambda p: p * 2.0 - 1,
    ],
)
def test_every_coding_of_polarity(tmp_path, change):
    events, path = with_generic(tmp_path, p=change)
    assert as_list(open_events(path).read_index(0, 1000)) == events


@pytest.mark.parametrize("change", [lambda p: p + 1, lambda p: p * 255, lambda p: p * 0.5])
def test_other_polarities_are_an_error(tmp_path, change):
    _, path = with_generic(tmp_path, p=change)
    with open_events(path) as source, pytest.raises(FormatError, match="polarity runs from"):
        source.read_index(0, 1000)


def test_missing_polarity_needs_consent(tmp_path):
    events, path = with_generic(tmp_path, p=lambda p: None)
    with pytest.raises(UsageError, match="--polarity-missing"):
        open_events(path)
    with open_events(path, EventOptions(polarity_missing=True)) as source:
        assert as_list(source.read_index(0, 1000)) == [(x, y, t, 1) for x, y, t, _ in events]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_events_without_a_usable_time_or_polarity_are_dropped(tmp_path, bad):
    rows = [0, 3, 400, 999]
    changes = {"t": lambda t: put(rows, bad, "f8")(t / 1e6 + 1e-7)}
    if np.isnan(bad):
        changes["p"] = put([7], np.nan, "f8")
        rows = [*rows, 7]
    events, path = with_generic(tmp_path, **changes)
    expected = [e for i, e in enumerate(events) if i not in rows]
    with open_events(path, EventOptions(time_unit="s")) as source:
        with pytest.warns(ArmsegWarning, match="no usable time"):
            assert as_list(source.read_index(0, 1000)) == expected
        assert as_list(source.read_time(0, 10**9)) == expected


@pytest.mark.parametrize(
    ("unit", "factor", "dtype"),
    [("s", 1e-6, "f8"), ("ms", 1e-3, "f8"), ("us", 1, "u4"), ("ns", 1000, "i8"), ("us", 1, "f8")],
)
def test_time_units(tmp_path, unit, factor, dtype):
    events, path = with_generic(tmp_path, t=lambda t: (t * factor).astype(dtype))
    with open_events(path, EventOptions(time_unit=unit)) as source:
        assert as_list(source.read_index(0, 1000)) == events


def test_units_that_are_guessed_are_told(tmp_path):
    events, path = with_generic(tmp_path, t=lambda t: t / 1e6)
    with open_events(path) as source:
        assert as_list(source.read_index(0, 1000)) == events
        assert any("taken as s because they have fractions" in note for note in source.notes)
    _, path = with_generic(tmp_path, t=lambda t: t * 1000 + 1_600_000_000_000_000_000)
    with open_events(path) as source:
        assert source.t_first_us // 10**9 == 1_600_000
        assert any("taken as ns" in note for note in source.notes)


def test_negative_times(tmp_path):
    events = random_events(300, start=-90_000, end=-10)
    path = write(tmp_path / "a.h5", columns_of(events), width=64, height=48)
    with open_events(path) as source:
        assert as_list(source.read_time(-50_000, 0)) == [e for e in events if e[2] >= -50_000]


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_fractional_coordinates_stay_fractional_and_whole_ones_become_integers(tmp_path, dtype):
    events, path = with_generic(tmp_path, x=lambda x: x.astype(dtype), y=lambda y: y.astype(dtype))
    got = open_events(path).read_index(0, 1000)
    assert got.x.dtype == np.uint16
    assert as_list(got) == events
    _, path = with_generic(tmp_path, x=lambda x: x.astype(dtype) + 0.25, y=put([3], np.nan, dtype))
    with open_events(path) as source, pytest.warns(ArmsegWarning, match="outside"):
        got = source.read_index(0, 1000)
    assert (got.x.dtype, len(got)) == (np.float32, 999)
    assert got.x[0] == events[0][0] + 0.25
