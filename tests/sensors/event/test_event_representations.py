"""Frames of events against loops over single events."""

from __future__ import annotations

import math
from pathlib import Path

import event_files as truth
import numpy as np
import pytest
from event_files import random_events, voxel_loop
from hypothesis import given, settings
from hypothesis import strategies as st

from armseg_core.arrays import Events
from armseg_core.errors import ArmsegWarning, UsageError
from armseg_core.sensors.event.geometry import Geometry
from armseg_core.sensors.event.kernels import Grid, VoxelGrid, land, normalized
from armseg_core.sensors.event.options import EventOptions
from armseg_core.sensors.event.readers.arrays import ArrayStream
from armseg_core.sensors.event.representations import EVENT_REPRESENTATIONS, TORE_MAX_US
from armseg_core.sensors.event.windows import EventWindow, cut
from armseg_core.sensors.modalities import get_modality
from armseg_core.sensors.representations import get_representation

SIZE = (12, 16)
PLAIN = EventOptions(norm="none")


def make_events(events, size=SIZE, dtype=np.uint16) -> Events:
    table = np.array(events, np.float64).reshape(-1, 4)
    x, y = table[:, 0].astype(dtype), table[:, 1].astype(dtype)
    return Events(x, y, np.array([e[2] for e in events], np.int64), table[:, 3].astype(np.uint8), size)


def make(name, events, options=PLAIN, t0=0, t1=100_001, **kwargs):
    row = get_representation("event", name)
    return row.make(events if isinstance(events, Events) else make_events(events, **kwargs), options, t0, t1)


def frame(name, events, options=PLAIN, **kwargs):
    return make(name, events, options, **kwargs).values


def fractional(events, seed=1):
    """Coordinates as a rectify map gives them: off the pixel grid, some beyond the border."""
    rng = np.random.default_rng(seed)
    moved = [(x + rng.normal(0, 1.5), y + rng.normal(0, 1.5), t, p) for x, y, t, p in events]
    return [(float(np.float32(x)), float(np.float32(y)), t, p) for x, y, t, p in moved]


EPOCH = 1_700_000_000_000_000  # microseconds since 1970: float32 or int32 arithmetic would lose everything
INPUTS = {
    "random": random_events(4000, SIZE),
    "single event": [(3, 4, 17, 1)],
    "two events": [(3, 4, 17, 1), (3, 4, 18, 0)],
    "equal times": [(x, y, 500, p) for x, y, _, p in random_events(50, SIZE)],
    "all at the ends": [(1, 1, 0, 1)] * 5 + [(2, 2, 100_000, 0)] * 5,
    "absolute times": random_events(2000, SIZE, start=EPOCH, end=EPOCH + 50_000),
    "around 2^31 us": random_events(2000, SIZE, start=2**31 - 9_000, end=2**31 + 9_000),
    "around 2^32 us": random_events(2000, SIZE, start=2**32 - 9_000, end=2**32 + 9_000),
    "around 0": random_events(2000, SIZE, start=-50_000, end=50_000),
    "longer than 2^32 us": random_events(2000, SIZE, end=2**34),
    "few microseconds": random_events(300, SIZE, end=3),
}


@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("bins", [1, 2, 5, 9])
@pytest.mark.parametrize("name", INPUTS)
def test_voxel_grid_equals_the_loop(name, bins, dense):
    whole, moved = INPUTS[name], fractional(INPUTS[name])
    for events, dtype in ((whole, np.uint16), (moved, np.float32)):
        if dense:  # the way for many events per cell, made to flush often
            got = dense_voxel_grid(make_events(events, dtype=dtype), bins)
        else:
            got = frame("voxel_grid", events, EventOptions(norm="none", bins=bins), dtype=dtype)
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, voxel_loop(events, bins, SIZE), atol=1e-5)


def dense_voxel_grid(events: Events, bins: int) -> np.ndarray:
    grid = Grid.of(SIZE, None, 0)
    ends = int(events.t[0]), int(events.t[-1])
    sums = VoxelGrid(grid, bins, *ends, expected=1 << 40, flush_events=300)
    for piece in cut(events, 250):
        sums.add(land(piece, grid))
    return sums.result()


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_split_voxel_grid_is_the_grid_of_each_polarity(dtype):
    events = INPUTS["random"] if dtype == np.uint16 else fractional(INPUTS["random"])
    both = [(*e[:3], 1) for e in events]
    # from the sum over all events (one window of time for both grids) and the signed grid
    total = voxel_loop(both, 5, SIZE)
    signed = voxel_loop(events, 5, SIZE)
    got = frame("voxel_grid_split", events, dtype=dtype)
    np.testing.assert_allclose(got[:5], (total + signed) / 2, atol=1e-5)
    np.testing.assert_allclose(got[5:], (total - signed) / 2, atol=1e-5)


@given(
    st.lists(
        st.tuples(
            st.floats(-3, 20, width=32), st.floats(-3, 15, width=32), st.integers(0, 60), st.integers(0, 1)
        ),
        min_size=1,
        max_size=30,
    ),
    st.integers(1, 6),
)
@settings(max_examples=200, deadline=None)
def test_voxel_grid_of_any_few_events(events, bins):
    events.sort(key=lambda e: e[2])
    got = frame("voxel_grid", events, EventOptions(norm="none", bins=bins), dtype=np.float32)
    np.testing.assert_allclose(got, voxel_loop(events, bins, SIZE), atol=1e-5)


def test_ten_events_by_hand():
    # t* = 4 (t - 0) / 100: 0, 1, 2.5, 4
    events = [(0, 0, 0, 1), (1, 0, 25, 0), (2, 0, 62, 1), (2, 0, 63, 1), (3, 1, 100, 0)]
    got = frame("voxel_grid", events, size=(2, 4))
    expected = np.zeros((5, 2, 4))
    expected[0, 0, 0] = 1
    expected[1, 0, 1] = -1
    expected[2, 0, 2], expected[3, 0, 2] = 0.52 + 0.48, 0.48 + 0.52
    expected[4, 1, 3] = -1
    np.testing.assert_allclose(got, expected, atol=1e-6)


def test_events_left_of_the_image_do_not_count_double():
    """A coordinate of -0.5 lies between the pixels -1 and 0; truncation instead of floor would give -0.5."""
    got = frame("voxel_grid", [(-0.5, 2.0, 5, 1)], EventOptions(norm="none", bins=1), dtype=np.float32)
    assert got[0, 2, 0] == pytest.approx(0.5)
    assert got.sum() == pytest.approx(0.5)


@pytest.mark.parametrize("row", EVENT_REPRESENTATIONS, ids=lambda row: row.name)
def test_inputs_are_never_written_to(row):
    events = make_events(fractional(INPUTS["random"]), dtype=np.float32)
    whole = make_events(INPUTS["random"])
    for given_events in (events, whole):
        before = [getattr(given_events, name).copy() for name in "xytp"]
        for name in "xytp":
            getattr(given_events, name).setflags(write=False)
        options = EventOptions(size=(6, 9), crop_bottom=2, hot_pixels=2.0)
        row.make(given_events, options, 0, 100_001)
        row.make(given_events, PLAIN, 0, 100_001)
        assert all(np.array_equal(a, getattr(given_events, n)) for a, n in zip(before, "xytp", strict=True))


@pytest.mark.parametrize("row", EVENT_REPRESENTATIONS, ids=lambda row: row.name)
def test_every_row_keeps_the_contract(row):
    for events in ([], [(3, 4, 50_000, 1)], INPUTS["random"], INPUTS["equal times"]):
        for options in (EventOptions(), EventOptions(size=(7, 5)), EventOptions(norm="none", crop_bottom=3)):
            made = row.make(make_events(events), options, 0, 100_001)
            got, channels, units, (low, high) = made.values, made.channels, made.units, made.value_range
            height, width = options.size or (SIZE[0] - options.crop_bottom, SIZE[1])
            assert got.shape == (len(channels), height, width)
            assert got.dtype == np.float32
            assert len(units) == len(channels) == len(set(channels))
            assert np.isfinite(got).all()
            assert low < high
            if not events and row.name != "tore":
                assert not got.any()


def test_the_default_row_is_the_model_tensor():
    sensor = get_modality("event")
    row = get_representation("event")
    assert row.name == sensor.representation
    assert row.make(make_events(INPUTS["random"]), EventOptions(), 0, 1).channels == sensor.channels


@pytest.mark.parametrize("row", EVENT_REPRESENTATIONS, ids=lambda row: row.name)
def test_pieces_do_not_show(row):
    events = make_events(INPUTS["random"])
    expected = frame(row.name, events)
    columns = {"x": events.x, "y": events.y, "t": events.t, "p": events.p}
    for size in (7, 1000):
        source = ArrayStream(Path("a.npy"), Geometry(SIZE), columns, "us", block_events=size)
        window = EventWindow(source, 0, 100_001, 0, len(events))
        assert max(map(len, window.pieces())) == size
        np.testing.assert_allclose(row.make(window, PLAIN, 0, 100_001).values, expected, atol=2e-5)


@pytest.mark.parametrize("row", EVENT_REPRESENTATIONS, ids=lambda row: row.name)
def test_unsorted_events_are_sorted_with_a_warning(row):
    events = INPUTS["random"]
    mixed = [events[i] for i in np.random.default_rng(0).permutation(len(events))]
    mixed = sorted(mixed, key=lambda e: e[2] // 10_000)  # out of order within 10 ms
    with pytest.warns(ArmsegWarning, match="not in time order"):
        got = frame(row.name, mixed)
    np.testing.assert_allclose(got, frame(row.name, sorted(mixed, key=lambda e: e[2])), atol=1e-5)


def test_dsec_normalization():
    events = INPUTS["random"]
    got = frame("voxel_grid", events, EventOptions())
    raw = frame("voxel_grid", events)
    values = [float(v) for v in raw.ravel() if v != 0]
    mean = sum(values) / len(values)
    deviation = math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1))
    expected = np.array([(v - mean) / deviation if v != 0 else 0 for v in raw.ravel()]).reshape(raw.shape)
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_normalizing_what_has_no_deviation():
    assert not normalized(np.zeros((2, 3), np.float32)).any()
    one = np.zeros((2, 3), np.float32)
    one[1, 1] = 7
    assert not normalized(one).any()  # only the mean is taken off, and it is the value itself
    equal = np.full((2, 3), 5, np.float32)
    assert not normalized(equal).any()


def test_histogram_counts_each_polarity():
    events = INPUTS["random"]
    expected = np.zeros((2, *SIZE))
    for x, y, _, p in events:
        expected[p, y, x] += 1
    assert np.array_equal(frame("histogram", events), expected)
    assert make("histogram", events).channels == ("neg", "pos")
    # bilinear weights keep the mass of what stays inside
    inside = [(x / 2 + 3.25, y / 2 + 2.5, t, p) for x, y, t, p in events]
    assert frame("histogram", inside, dtype=np.float32).sum() == pytest.approx(len(events), rel=1e-5)


def test_stacked_histogram_slices_time_and_clips():
    events = INPUTS["random"]
    first, last = events[0][2], events[-1][2]
    expected = np.zeros((2, 4, *SIZE))
    for x, y, t, p in events:
        expected[p, min(3, 4 * (t - first) // (last - first)), y, x] += 1
    got = frame("stacked_histogram", events, EventOptions(stack=4, clip=3))
    assert np.array_equal(got, np.minimum(expected, 3).reshape(8, *SIZE))
    assert frame("stacked_histogram", events, EventOptions(stack=256)).sum() == len(events)


def test_event_frame_is_the_clipped_sum():
    expected = np.zeros((1, *SIZE))
    for x, y, _, p in INPUTS["random"]:
        expected[0, y, x] += 1 if p else -1
    assert np.array_equal(frame("event_frame", INPUTS["random"]), np.clip(expected, -1, 1))


def test_time_surface_decays_from_the_last_event():
    events = random_events(60, SIZE)
    expected = np.zeros((2, *SIZE))
    for x, y, t, p in events:  # later events overwrite
        expected[p, y, x] = math.exp(-(100_001 - t) / 20_000)
    got = frame("time_surface", events, EventOptions(tau=20_000))
    np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_tore_keeps_the_latest_ages_of_each_pixel():
    events = random_events(900, SIZE, end=9_000_000)
    end, depth = 9_000_001, 3
    ages: dict[tuple[int, int, int], list[int]] = {}
    for x, y, t, p in events:
        ages.setdefault((p, y, x), []).insert(0, end - t)
    expected = np.zeros((2, depth, *SIZE))
    for p in (1, 0):
        for y in range(SIZE[0]):
            for x in range(SIZE[1]):
                for k in range(depth):
                    found = ages.get((p, y, x), [])
                    age = min(found[k], TORE_MAX_US) if k < len(found) else TORE_MAX_US
                    expected[1 - p, k, y, x] = max(0.0, math.log(age + 1) - math.log(151))
    got = frame("tore", events, EventOptions(depth=depth), t1=end)
    np.testing.assert_allclose(got, expected.reshape(2 * depth, *SIZE), atol=1e-5)


def test_mdes_halves_the_events_for_each_frame():
    events = INPUTS["random"][:777]
    expected = np.zeros((4, *SIZE))
    rest, number = list(events), len(events)
    for b in range(4):
        for x, y, _, p in rest:
            expected[b, y, x] = 1 if p else -1
        number //= 2
        rest = rest[number:]
    assert np.array_equal(frame("mdes", events, EventOptions(stack=4)), expected)


def test_ergo_channels():
    events = random_events(3000, SIZE)
    first, span = events[0][2], events[-1][2] - events[0][2]
    windows = [events, *(events[i * 1000 : (i + 1) * 1000] for i in range(3))]
    rest, number = list(events), len(events)
    for _ in range(3):
        number //= 2
        rest = rest[number:]
        windows.append(rest)

    def channel(window, value, who, reduce):
        cells: dict[tuple[int, int], list[float]] = {}
        for x, y, t, p in windows[window]:
            if who is None or p == who:
                v = {"p": 1.0 if p else -1.0, "t": (t - first) / span, "n": 1.0}[value]
                cells.setdefault((y, x), []).append(v)
        out = np.zeros(SIZE)
        for cell, v in cells.items():
            mean = sum(v) / len(v)
            out[cell] = {
                "sum": sum(v),
                "mean": mean,
                "max": max(v),
                "var": sum(a * a for a in v) / len(v) - mean * mean,
            }[reduce]
        return out

    rows = [
        (0, "p", None, "var"),
        (3, "t", 0, "var"),
        (2, "n", 0, "mean"),
        (6, "p", None, "sum"),
        (5, "n", 1, "mean"),
        (6, "n", None, "sum"),
        (2, "t", 1, "mean"),
        (5, "n", 0, "mean"),
        (1, "t", 0, "max"),
        (0, "t", 1, "max"),
        (4, "t", None, "max"),
        (1, "n", None, "mean"),
    ]
    expected = np.stack([channel(*row) for row in rows])
    np.testing.assert_allclose(frame("ergo12", events), expected, atol=1e-5)


def test_resizing_scales_coordinates_from_center_to_center():
    events = random_events(300, SIZE)
    scaled = [
        (min(max((x + 0.5) * 0.5 - 0.5, 0), 7), min(max((y + 0.5) * 1.5 - 0.5, 0), 17), t, p)
        for x, y, t, p in events
    ]
    got = frame("voxel_grid", events, EventOptions(norm="none", size=(18, 8)))
    np.testing.assert_allclose(got, voxel_loop(scaled, 5, (18, 8)), atol=1e-5)
    whole = frame("voxel_grid", events)
    assert np.array_equal(frame("voxel_grid", events, EventOptions(norm="none", size=SIZE)), whole)
    assert got.sum() == pytest.approx(whole.sum(), abs=1e-3)  # nothing is lost at the border


def test_cropping_the_bottom_drops_rows():
    events = INPUTS["random"]
    kept = [e for e in events if e[1] < 9]
    got = frame("histogram", events, EventOptions(crop_bottom=3))
    assert got.shape == (2, 9, 16)
    assert np.array_equal(got, frame("histogram", kept)[:, :9])
    with pytest.raises(UsageError, match="--crop-bottom"):
        frame("histogram", events, EventOptions(crop_bottom=12))


def test_hot_pixels_are_left_out():
    events = INPUTS["random"]
    hot = sorted([*events, *[(5, 6, t, 1) for t in range(0, 100_000, 50)]], key=lambda e: e[2])
    got = frame("histogram", hot, EventOptions(hot_pixels=10.0))
    expected = frame("histogram", events)
    expected[:, 6, 5] = 0
    assert np.array_equal(got, expected)


def test_a_bright_pixel_hit_many_times_stays_exact():
    """Half a million events in one cell: partial sums are flushed before float32 would round them away."""
    n = 500_000
    events = Events(
        np.full(n, 2, np.uint16),
        np.full(n, 1, np.uint16),
        np.arange(n, dtype=np.int64),
        np.ones(n, np.uint8),
        (3, 4),
    )
    got = get_representation("event", "voxel_grid").make(events, PLAIN, 0, n).values
    assert got.sum() == pytest.approx(n, rel=1e-6)
    assert truth.as_list(events)[-1] == (2, 1, n - 1, 1)
