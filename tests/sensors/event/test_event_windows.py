"""Cutting recordings into windows, and frames of windows that are never in memory as a whole."""

from __future__ import annotations

import resource
from dataclasses import replace
from functools import partial
from pathlib import Path

import event_files as truth
import numpy as np
import pytest
from event_files import as_list, random_events, voxel_loop, write_dsec
from hdf5_events import columns_of, write

from armseg_core.arrays import Events, EventSource, OutOfOrder
from armseg_core.errors import ArmsegWarning, FormatError, InputError
from armseg_core.sensors.event.options import EventOptions
from armseg_core.sensors.event.readers.hdf5 import read_hdf5
from armseg_core.sensors.event.representations import EVENT_REPRESENTATIONS
from armseg_core.sensors.event.windows import (
    EventWindow,
    count_windows,
    iterate_windows,
    read_end_times,
    window_ending_at,
)
from armseg_core.sensors.representations import get_representation

OFFSET = 49_599_000_000


def recording(tmp_path: Path, events, **options):
    path = write_dsec(tmp_path / "events.h5", events, offset=OFFSET, index=events[-1][2] < 10**6)
    return read_hdf5(path, EventOptions(**options), block_events=128)


def absolute(events):
    return [(x, y, t + OFFSET, p) for x, y, t, p in events]


def cut(source, **options):
    return [(as_list(w.load()), t0, t1) for w, t0, t1 in iterate_windows(source, EventOptions(**options))]


def voxel_grids(source, options):
    """The voxel grid of every window in order, with the end of the window in microseconds."""
    make = get_representation("event").make
    for window, t0_us, t1_us in iterate_windows(source, options):
        yield make(window, options, t0_us, t1_us).values, t1_us


def test_windows_of_a_fixed_time_hold_every_event_once(tmp_path):
    events = absolute(random_events(2000))
    with recording(tmp_path, random_events(2000)) as source:
        windows = cut(source, window="7ms")
        assert len(windows) == count_windows(source, EventOptions(window="7ms"))
        assert [e for window, _, _ in windows for e in window] == events
        start = events[0][2]
        for k, (window, t0, t1) in enumerate(windows):
            assert (t0, t1) == (start + k * 7000, start + (k + 1) * 7000)
            assert window == [e for e in events if t0 <= e[2] < t1]


def test_a_window_longer_than_the_recording_and_windows_without_events(tmp_path):
    events = [(1, 1, 0, 1), (2, 2, 10, 0), (3, 3, 51_000, 1)]
    with recording(tmp_path, events) as source:
        assert cut(source, window="1s") == [(absolute(events), OFFSET, OFFSET + 10**6)]
        assert [len(window) for window, _, _ in cut(source, window="10ms")] == [2, 0, 0, 0, 0, 1]
        frames = [frame for frame, _ in voxel_grids(source, EventOptions(window=10_000))]
        assert [bool(frame.any()) for frame in frames] == [
            True,
            False,
            False,
            False,
            False,
            False,
        ]  # one: mean off


def test_windows_of_a_fixed_count(tmp_path):
    events = absolute(random_events(1050))
    with recording(tmp_path, random_events(1050)) as source:
        windows = cut(source, count=100)
        assert len(windows) == count_windows(source, EventOptions(count=100)) == 10
        for k, (window, t0, t1) in enumerate(windows):
            assert window == events[100 * k : 100 * k + 100]
            assert (t0, t1) == (window[0][2], window[-1][2] + 1)
        assert cut(source, count=5000) == [(events, events[0][2], events[-1][2] + 1)]


def test_one_window_ends_at_each_label(tmp_path):
    events = absolute(random_events(2000))
    times = [OFFSET + 30_000, events[700][2], OFFSET + 20_000]  # in any order, also exactly at an event
    (tmp_path / "labels.txt").write_text("# exported\n" + "".join(f"{t}\n\n" for t in times))
    options = {"window": "15ms", "end_times": tmp_path / "labels.txt"}
    with recording(tmp_path, random_events(2000)) as source:
        windows = cut(source, **options)
        assert count_windows(source, EventOptions(**options)) == 3
        for (window, t0, t1), time in zip(windows, times, strict=True):
            assert (t0, t1) == (time - 15_000, time)
            assert window == [e for e in events if t0 <= e[2] < t1]
        counted = cut(source, count=50, end_times=tmp_path / "labels.txt")
        for (window, t0, t1), time in zip(counted, times, strict=True):
            assert window == [e for e in events if e[2] < time][-50:]
            assert (t0, t1) == (window[0][2], time)


def test_labels_outside_the_recording(tmp_path):
    file = tmp_path / "labels.txt"
    with recording(tmp_path, random_events(500)) as source:
        file.write_text(f"{OFFSET - 1}\n{OFFSET + 50_000}\n{OFFSET + 10**9}\n")
        with pytest.warns(ArmsegWarning, match="2 of 3 windows are outside"):
            windows = cut(source, end_times=file)
        assert [bool(window) for window, _, _ in windows] == [
            False,
            True,
            False,
        ]  # one frame per label all the same
        file.write_text("30000\n50000\n")  # relative to t_offset
        with pytest.raises(InputError, match=r"run from 30000 to 50000 us.*DSEC: with t_offset"):
            cut(source, end_times=file)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "holds no times"),
        ("# nothing\n", "holds no times"),
        ("12\n0.5\n", "line 2 is '0.5'"),
        ("12\n\n13 14\n", "line 3"),
        ("99999999999999999999\n", "line 1"),
        ("1²\n", "line 1"),
    ],
)
def test_bad_label_files(tmp_path, content, message):
    (tmp_path / "a.txt").write_text(content, encoding="utf-8")
    with pytest.raises(FormatError, match=message):
        read_end_times(tmp_path / "a.txt")


def test_label_files_that_cannot_be_read(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_end_times(tmp_path / "a.txt")
    (tmp_path / "b.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FormatError, match="is UTF-16 text"):
        read_end_times(tmp_path / "b.txt")


def test_times_in_the_wrong_unit_do_not_make_a_million_windows(tmp_path):
    events = [(1, 1, 40_000_000 * k, k % 2) for k in range(30)]
    with recording(tmp_path, events) as source:
        with pytest.raises(InputError, match=r"would give 1,160,000 windows.*--time-unit"):
            count_windows(source, EventOptions(window=1000))
        assert count_windows(source, EventOptions(window="1s")) == 1160


@pytest.mark.parametrize("place", ["first", "middle", "last"])
@pytest.mark.parametrize("trusting", [True, False])
def test_one_damaged_time_stamp_does_not_make_empty_windows_without_end(tmp_path, place, trusting):
    """It lies 4,200 s from the others, which are cut as if it were not there."""
    events, far = random_events(2000), (1, 1, 4_200_000_000, 1)
    if place == "first":
        events, far = [(x, y, t + far[2], p) for x, y, t, p in events], (1, 1, 0, 1)
    events.insert({"first": 0, "middle": 1000, "last": 2000}[place], far)
    options = EventOptions(window="20ms")
    path = write_dsec(tmp_path / "events.h5", events, index=False)
    with (  # noqa: PT031
        read_hdf5(path, options, block_events=128) as source,
        pytest.warns(ArmsegWarning) as said,
    ):
        if place == "middle":
            source.check_order()
        windows = list(iterate_windows(source, options, trusting=trusting))
        assert count_windows(source, options, trusting=trusting) == len(windows) == 6
        got = [e for w, _, _ in windows for e in as_list(w.load())]
        for window, t0, t1 in windows:
            assert all(t0 <= e[2] < t1 for e in as_list(window.load()))
            assert (t0 - source.t_first_us) % 20_000 == 0
    assert got == sorted(events, key=lambda e: e[2])
    texts = [str(warning.message) for warning in said if "no event from" in str(warning.message)]
    assert len(texts) == 1
    assert "empty windows are left out" in texts[0]


def test_the_latest_time_there_is(tmp_path):
    events = [(1, 1, 5, 1), (2, 2, 6, 0), (3, 3, 2**63 - 1, 1)]
    path = write(tmp_path / "events.h5", columns_of(events), height=48, width=64)
    with (
        read_hdf5(path, EventOptions(time_unit="us")) as source,
        pytest.warns(ArmsegWarning, match="no event from"),
    ):
        windows = list(iterate_windows(source, EventOptions()))
    assert [len(window) for window, _, _ in windows] == [2, 1]


def test_the_window_before_a_time(tmp_path):
    events = absolute(random_events(500))
    with recording(tmp_path, random_events(500)) as source:
        window, t0, t1 = window_ending_at(source, EventOptions(window="20ms"), OFFSET + 60_000)
        assert (t0, t1) == (OFFSET + 40_000, OFFSET + 60_000)
        assert as_list(window) == [e for e in events if t0 <= e[2] < t1]  # short: read at once
        window, t0, t1 = window_ending_at(source, EventOptions(count=10), OFFSET - 5)
        assert (len(window), t0, t1, window.span()) == (0, OFFSET - 5, OFFSET - 5, None)
        window, t0, t1 = window_ending_at(source, EventOptions(count=10), OFFSET + 70_000)
        assert as_list(window.load()) == [e for e in events if e[2] < t1][-10:]


@pytest.mark.parametrize("row", EVENT_REPRESENTATIONS, ids=lambda row: row.name)
def test_a_window_gives_the_same_frame_unread_and_in_memory(tmp_path, row):
    with recording(tmp_path, random_events(1500)) as source:
        whole = source.read_index(0, 1500)
        options = EventOptions(norm="none", hot_pixels=5.0)
        t0, t1 = source.t_first_us, source.t_last_us + 1
        expected = row.make(whole, options, t0, t1).values
        got = row.make(EventWindow(source, t0, t1, 0, 1500), options, t0, t1).values
        np.testing.assert_allclose(got, expected, atol=2e-5)


@pytest.mark.parametrize("limit", [10**6, 700])
def test_frames_of_an_unsorted_recording(tmp_path, limit):
    rng = np.random.default_rng(0)
    events = [e for _, e in sorted((e[2] + rng.uniform(0, 3000), e) for e in random_events(1500))]
    path = write_dsec(tmp_path / "events.h5", events, index=False)
    options = EventOptions(norm="none", window=20_000)
    small = {"block_events": 128, "keep_events": limit}
    with read_hdf5(path, options, **small) as source, pytest.warns(ArmsegWarning, match="not in time order"):
        frames = list(voxel_grids(source, options))
    start = min(e[2] for e in events)
    for frame, t1 in frames:
        window = sorted((e for e in events if t1 - 20_000 <= e[2] < t1), key=lambda e: e[2])
        np.testing.assert_allclose(frame, voxel_loop(window, 5, (48, 64)), atol=1e-5)
    assert [t1 for _, t1 in frames] == [start + 20_000 * k for k in range(1, len(frames) + 1)]
    if limit == 700:
        with (
            read_hdf5(path, options, **small) as source,
            pytest.warns(ArmsegWarning),
            pytest.raises(InputError, match="--window instead of --count"),
        ):
            list(iterate_windows(source, EventOptions(count=100)))


@pytest.mark.parametrize("place", [0.1, 0.5, 0.99, 1.0])
@pytest.mark.parametrize("window", [{"window": 5_000}, {"window": 10**6}, {"count": 100}])
def test_trust_in_the_order_is_given_up_where_disorder_shows(tmp_path, place, window):
    """Cut without a scan of all times, as `convert` does: one late event must not be lost or misplaced."""
    events = random_events(1500)
    late = events.pop(700)
    events.insert(round(place * len(events)), late)
    path = write_dsec(tmp_path / "events.h5", events, index=False)
    options = EventOptions(**window)
    with read_hdf5(path, options, block_events=128) as source:
        with pytest.raises(OutOfOrder):
            [w.load() for w, _, _ in iterate_windows(source, options, trusting=True) if list(w.pieces())]
        with pytest.warns(ArmsegWarning, match="not in time order"):
            assert not source.check_order()
        got = [e for w, _, _ in iterate_windows(source, options, trusting=True) for e in as_list(w.load())]
    assert got == sorted(events, key=lambda e: e[2])


def test_convert_starts_again_where_disorder_shows(tmp_path):
    from armseg_core.conversion.convert import _convert
    from armseg_core.conversion.plan import plan_conversion
    from armseg_core.files.tensor_file import TensorFile

    events = random_events(1500)
    mixed = [*events[:1400], *events[1450:], *events[1400:1450]]
    path = write_dsec(tmp_path / "events.h5", mixed, index=False)
    options = {"norm": "none", "window": 10_000}
    plan = plan_conversion(path, options=options, dtype="float32")
    small_blocks = partial(read_hdf5, block_events=128)  # frames are made before the disorder shows
    reading = replace(plan.reading, reader=replace(plan.reading.reader, read=small_blocks))
    with pytest.warns(ArmsegWarning, match="not in time order"):
        made = _convert(replace(plan, reading=reading), progress=False)
    assert any("not in time order" in note for note in made.notes)
    with TensorFile(plan.output) as file:
        for frame, t1 in zip(file.frames, file.t_us, strict=True):
            window = [e for e in events if t1 - 10_000 <= e[2] < t1]
            np.testing.assert_allclose(frame, voxel_loop(window, 5, (48, 64)), atol=1e-5)


def test_events_dropped_at_the_ends_of_a_window_do_not_stretch_its_time(tmp_path):
    inside = random_events(300, start=10_000, end=90_000)
    events = [(63, 47, 0, 1), *inside, (5, 60, 99_000, 1)]  # the last one lies outside the sensor
    path = write_dsec(tmp_path / "events.h5", events)
    options = EventOptions(norm="none", window=10**6)
    with read_hdf5(path, options, block_events=128) as source, pytest.warns(ArmsegWarning, match="outside"):
        frame = next(voxel_grids(source, options))[0]
    np.testing.assert_allclose(frame, voxel_loop(events[:-1], 5, (48, 64)), atol=1e-5)


class Endless(EventSource):
    """A source of 40 million events that are made when they are asked for; only what EventSource asks for."""

    def __init__(self) -> None:
        super().__init__(Path("endless"), (480, 640), 40_000_000)

    def read_index(self, i0: int, i1: int) -> Events:
        assert i1 - i0 <= 1 << 20, "too many events at once"
        t = np.arange(i0, i1, dtype=np.int64)
        return Events(
            (t % 640).astype(np.uint16), (t % 480).astype(np.uint16), t, (t & 1).astype(np.uint8), self.size
        )


def test_a_window_of_many_events_is_never_in_memory_as_a_whole():
    source = Endless()
    options = EventOptions(norm="none", window="60s")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    frames = [frame for frame, _ in voxel_grids(source, options)]
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert len(frames) == 1
    assert abs(frames[0].sum()) < 1  # as many positive as negative events
    assert np.abs(frames[0]).sum() > 1e6
    assert grown < 150_000  # KiB; the events alone are 520 MB
    assert truth.as_list(source.read_index(3, 4)) == [(3, 3, 3, 1)]


@pytest.mark.parametrize(("rest", "windows"), [(0, 2), (1, 2), (350, 2), (351, 3)])
def test_a_rest_of_a_twentieth_of_a_window_is_in_the_last_one(tmp_path, rest, windows):
    events = [(1, 1, t, 1) for t in range(0, 14_000 + rest, 7)]
    events[-1] = (1, 1, 13_999 + rest, 1)
    with recording(tmp_path, events) as source:
        found = cut(source, window="7ms")
        assert len(found) == count_windows(source, EventOptions(window="7ms")) == windows
        assert [event for window, _, _ in found for event in window] == absolute(events)
        longer = rest if windows == 2 else 0
        assert [t1 - t0 for _, t0, t1 in found] == [7000] * (windows - 1) + [7000 + longer]
        assert any(f"the last window is {rest} us longer" in note for note in source.notes) == bool(longer)


def test_a_recording_shorter_than_a_window_is_one_window(tmp_path):
    with recording(tmp_path, [(1, 1, 5, 1), (1, 1, 7, 1)]) as source:
        assert [t1 - t0 for _, t0, t1 in cut(source, window="7ms")] == [7000]
