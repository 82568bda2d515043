"""HDF5 event recordings: the layouts, resolution and rectification, damage and codecs."""

from __future__ import annotations

from pathlib import Path

import event_files as truth
import h5py
import numpy as np
import pytest
from event_files import as_list, random_events, write_dsec
from hdf5_events import columns_of, open_events, with_generic, write

from armseg_core.arrays import EventSource
from armseg_core.errors import ArmsegError, ArmsegWarning, FormatError, InputError, UsageError
from armseg_core.files import blosc_chunks
from armseg_core.sensors.event.options import EventOptions
from armseg_core.sensors.event.readers.hdf5 import read_hdf5
from armseg_core.sensors.recognition import sniff

OPTIONS = EventOptions()


# --- DSEC -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("index", [True, False])
@pytest.mark.parametrize("offset", [0, 49_599_000_000])  # more than 32 bits
def test_dsec_reads_back_with_absolute_times(tmp_path, index, offset):
    events = random_events(1500)
    path = write_dsec(tmp_path / "events.h5", events, offset=offset, index=index)
    assert sniff(path).name == "dsec"
    absolute = [(x, y, t + offset, p) for x, y, t, p in events]
    with open_events(path) as source:
        assert isinstance(source, EventSource)
        assert (source.size, source.count) == ((48, 64), 1500)
        assert (source.t_first_us, source.t_last_us) == (absolute[0][2], absolute[-1][2])
        assert as_list(source.read_index(0, 1500)) == absolute
        assert as_list(source.read_index(190, 412)) == absolute[190:412]
        for t0, t1 in ((0, 10_000), (12_345, 67_890), (50_000, 50_000), (99_000, 10**9), (-5, 3)):
            t0, t1 = t0 + offset, t1 + offset
            assert as_list(source.read_time(t0, t1)) == [e for e in absolute if t0 <= e[2] < t1]
            assert source.index_at(t1) == sum(e[2] < t1 for e in absolute)
        assert [e for piece in source.chunks(77) for e in as_list(piece)] == absolute
        assert source.notes == []
        events_read = source.read_index(0, 10)
        assert (events_read.t.dtype, events_read.p.dtype, events_read.x.dtype) == (
            np.int64,
            np.uint8,
            np.uint16,
        )


def test_a_wrong_millisecond_index_costs_time_but_no_events(tmp_path):
    events = random_events(1500)
    path = write_dsec(tmp_path / "events.h5", events)
    with h5py.File(path, "r+") as file:
        file["ms_to_idx"][:] = np.random.default_rng(0).permutation(file["ms_to_idx"][:])
    times = range(0, 100_000, 7_001)
    with open_events(path) as source:
        with pytest.warns(ArmsegWarning, match="index"):
            found = [source.index_at(t) for t in times]
        assert found == [sum(e[2] < t for e in events) for t in times]
        assert any("index" in note for note in source.notes)


def test_a_long_recording_is_searched_without_reading_all_times(tmp_path, monkeypatch):
    path = write_dsec(tmp_path / "events.h5", random_events(20_000), index=False, chunk=200)
    with open_events(path) as source:
        read: list[int] = []
        original = type(source)._load_times
        monkeypatch.setattr(
            type(source), "_load_times", lambda self, k: (read.append(k), original(self, k))[1]
        )
        source.index_at(33_333)
        assert len(read) < 12  # of 100 blocks


def test_the_index_of_m3ed_has_another_name(tmp_path):
    events = random_events(600, size=(720, 1280))
    left = columns_of(events, group="prophesee/left", x="u2", y="u2", p="u1")
    right = columns_of(random_events(50, size=(720, 1280), seed=3), group="prophesee/right")
    table = np.array([sum(e[2] < ms * 1000 for e in events) for ms in range(101)], "u8")
    path = write(tmp_path / "scene_data.h5", {**right, **left, "prophesee/left/ms_map_idx": table})
    assert sniff(path).name == "m3ed"
    with open_events(path) as source:
        assert as_list(source.read_time(20_000, 30_000)) == [e for e in events if 20_000 <= e[2] < 30_000]
        assert any("prophesee/right" in note for note in source.notes)
        assert any("1280x720" in note for note in source.notes)  # the resolution is an assumption
    with h5py.File(path, "r+") as file:
        file["prophesee/right/calib/resolution"] = [1280, 720]
    assert open_events(path, EventOptions(stream="right", time_unit="us")).count == 50
    with pytest.raises(UsageError, match=r"--stream prophesee/left"):
        open_events(path, EventOptions(stream="top"))


def test_mvsec_has_seconds_since_1970_in_a_float_matrix(tmp_path):
    start = 1_504_645_177_000_000
    events = random_events(700, size=(260, 346), start=start, end=start + 200_000)
    x, y, t, p = truth.arrays(events)
    rows = np.stack([x, y, t / 1e6, np.where(p, 1.0, -1.0)], axis=1)
    path = write(
        tmp_path / "outdoor_day2_data.hdf5", {"davis/right/events": rows[:5], "davis/left/events": rows}
    )
    assert sniff(path).name == "mvsec"
    with open_events(path) as source:
        got = as_list(source.read_index(0, 700))
        assert [e[:2] + e[3:] for e in got] == [e[:2] + e[3:] for e in events]
        assert (
            max(abs(a[2] - b[2]) for a, b in zip(got, events, strict=True)) <= 1
        )  # float64 seconds: 0.24 us
        assert source.size == (260, 346)


NAMES = [
    ("x", "y", "t", "p"),
    ("xs", "ys", "ts", "ps"),
    ("x", "y", "timestamp", "polarity"),
    ("X", "Y", "time", "pol"),
]


@pytest.mark.parametrize("names", NAMES)
@pytest.mark.parametrize("group", ["", "events", "a/b/dvs"])
def test_other_layouts_are_found_by_the_names_of_their_columns(tmp_path, names, group):
    events = random_events(300)
    path = write(tmp_path / "a.h5", columns_of(events, names, group), width=64, height=48)
    assert sniff(path).name == "hdf5"
    with open_events(path) as source:
        assert as_list(source.read_index(0, 300)) == events
        assert any("taken as us" in note for note in source.notes)


def test_a_table_of_events(tmp_path):
    events = random_events(300)
    table = np.array([tuple(e) for e in events], [("x", "u2"), ("y", "u2"), ("t", "i8"), ("p", "i2")])
    path = write(tmp_path / "a.hdf5", {"CD/events": table}, width=64, height=48)
    assert sniff(path).name == "prophesee-hdf5"
    assert as_list(open_events(path).read_index(0, 300)) == events


def test_a_matrix_of_unknown_column_order(tmp_path):
    events = random_events(300, end=10**6)
    x, y, t, p = truth.arrays(events)
    path = write(tmp_path / "a.h5", {"events": np.stack([t, x, y, p], 1)}, width=64, height=48)
    with open_events(path) as source:
        assert as_list(source.read_index(0, 300)) == events
        assert any("t, x, y, p" in note for note in source.notes)
    path = write(tmp_path / "b.h5", {"events": np.stack([x, y, t % 50, p], 1)}, width=64, height=48)
    with pytest.raises(UsageError, match="--columns"):
        open_events(path)
    swapped = EventOptions(columns="ytxp", sensor_size=(64, 48))
    path = write(tmp_path / "c.h5", {"events": np.stack([x, t, y, p], 1)})
    assert as_list(open_events(path, swapped).read_index(0, 5)) == [(y, x, t, p) for x, y, t, p in events[:5]]


# --- resolution and rectification -------------------------------------------------------------------------


def test_the_resolution_is_stored_assumed_with_a_note_or_asked_for(tmp_path):
    events = random_events(100)
    with open_events(write_dsec(tmp_path / "events.h5", events, size=None)) as source:
        assert source.size == (480, 640)
        assert any("640x480" in note for note in source.notes)
    assert open_events(tmp_path / "events.h5", EventOptions(sensor_size=(48, 64))).size == (48, 64)
    path = write(tmp_path / "a.h5", columns_of(events))
    with pytest.raises(UsageError, match="--sensor-size"):
        open_events(path)
    with h5py.File(path, "r+") as file:
        file.attrs["sensor_resolution"] = (48, 64)
    assert open_events(path).size == (48, 64)


def write_map(path: Path, table: np.ndarray) -> Path:
    return write(path, {"rectify_map": table})


def test_a_rectify_map_beside_the_recording_is_used(tmp_path):
    events = random_events(500)
    path = write_dsec(tmp_path / "events.h5", events)
    table = np.random.default_rng(0).normal(0, 40, (48, 64, 2)).astype(np.float32)
    write_map(tmp_path / "rectify_map.h5", table)
    with open_events(path) as source:
        got = source.read_index(0, 500)
        assert got.x.dtype == np.float32
        for i in (0, 17, 499):
            x, y, t, p = events[i]
            assert (got.x[i], got.y[i]) == (table[y, x, 0], table[y, x, 1])  # (x, y) of the pixel [y, x]
            assert (got.t[i], got.p[i]) == (t, p)
        assert any("undistorted" in note for note in source.notes)
    assert as_list(open_events(path, EventOptions(rectify=False)).read_index(0, 500)) == events
    other = write_map(tmp_path / "right.h5", table + 1)
    moved = open_events(path, EventOptions(rectify_map=other)).read_index(0, 500)
    np.testing.assert_allclose(moved.x, got.x + 1, rtol=1e-6)


def test_a_rectify_map_of_another_camera_is_an_error(tmp_path):
    path = write_dsec(tmp_path / "events.h5", random_events(100))
    place = write_map(tmp_path / "rectify_map.h5", np.zeros((64, 48, 2), np.float32))
    with pytest.raises(FormatError, match=r"48x64.*expected the sensor's 64x48.*--no-rectify"):
        open_events(path)
    for bad in (np.zeros((48, 64), np.float32), np.zeros((48, 64, 2), np.int32)):
        place.unlink()
        write_map(place, bad)
        with pytest.raises(FormatError, match="rectify_map is"):
            open_events(path)
    with pytest.raises(InputError, match="no such file"):
        open_events(path, EventOptions(rectify_map=tmp_path / "none.h5"))
    place.write_bytes(b"nothing")
    with pytest.raises(FormatError, match="cannot be read"):
        open_events(path)


# --- damage and codecs ------------------------------------------------------------------------------------


def test_columns_of_different_length(tmp_path):
    _, path = with_generic(tmp_path, p=lambda p: p[:-1])
    with pytest.raises(FormatError, match=r"different length: .*x 1,000.*p 999"):
        open_events(path)


def test_no_events(tmp_path):
    path = write(tmp_path / "a.h5", {c: np.zeros(0, np.int64) for c in "xytp"}, width=64, height=48)
    with pytest.raises(FormatError, match="holds no events"):
        open_events(path)
    with pytest.raises(FormatError, match="holds no events"):
        read_hdf5(write(tmp_path / "b.h5", {"image": np.zeros((3, 4))}), OPTIONS)


def test_a_truncated_file_is_one_clear_line(tmp_path):
    path = write_dsec(tmp_path / "events.h5", random_events(3000))
    whole = path.read_bytes()
    for length in (0, 7, 500, len(whole) // 2, len(whole) - 8):
        path.write_bytes(whole[:length])
        with pytest.raises(FormatError, match=r"truncated|not an HDF5 file|empty|cannot be opened"):
            open_events(path)
        with pytest.raises(FormatError):
            read_hdf5(path, OPTIONS)


def test_a_damaged_chunk_is_named_by_its_events(tmp_path):
    path = write_dsec(tmp_path / "events.h5", random_events(3000), chunk=500)
    with h5py.File(path, "r") as file:
        chunk = file["events/t"].id.get_chunk_info(3)
    data = bytearray(path.read_bytes())
    data[chunk.byte_offset : chunk.byte_offset + chunk.size] = b"\xff" * chunk.size
    path.write_bytes(bytes(data))
    with (
        open_events(path) as source,
        pytest.raises(FormatError, match=r"events 1,500 to 2,000 cannot be read"),
    ):
        source.check_order()


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.filterwarnings("ignore::armseg_core.errors.ArmsegWarning")
def test_flipped_bytes_give_events_or_an_error_of_ours(tmp_path, seed):
    path = write_dsec(tmp_path / "events.h5", random_events(300))
    rng = np.random.default_rng(seed)
    data = bytearray(path.read_bytes())
    for place in rng.integers(0, len(data), 20):
        data[place] = rng.integers(256)
    path.write_bytes(bytes(data))
    try:
        with read_hdf5(path, OPTIONS) as source:
            source.check_order()
            events = source.read_index(0, source.count)
            assert (np.diff(events.t) >= 0).all()
    except ArmsegError:
        pass


def with_filter(path: Path, code: int, table: bool) -> Path:
    """A file that says its data went through a filter nobody has."""
    space = h5py.h5s.create_simple((4,))
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_chunk((4,))
    plist.set_filter(code, h5py.h5z.FLAG_OPTIONAL)
    with h5py.File(path, "w") as file:
        if table:
            kind = h5py.h5t.py_create(np.dtype([("x", "u2"), ("y", "u2"), ("p", "i2"), ("t", "i8")]))
            h5py.h5d.create(file.create_group("CD").id, b"events", kind, space, plist)
        else:
            group = file.create_group("events")
            for name in b"x", b"y", b"t", b"p":
                h5py.h5d.create(group.id, name, h5py.h5t.NATIVE_UINT32, space, plist)
        file.attrs.update(height=48, width=64)
    return path


def test_prophesee_ecf_is_refused_with_the_way_out(tmp_path):
    path = with_filter(tmp_path / "rec.hdf5", 0x8ECF, table=True)
    assert sniff(path, "event").name == "prophesee-hdf5"
    with pytest.raises(FormatError, match=r"ECF codec.*HDF5_PLUGIN_PATH.*RAW"):
        open_events(path)


def test_a_missing_codec_is_named(tmp_path):
    path = with_filter(tmp_path / "events.h5", 32_099, table=False)
    with pytest.raises(FormatError, match=r"filter 32099, which is not installed.*hdf5plugin"):
        open_events(path)


def test_the_packets_of_ddd17_are_refused_with_advice(tmp_path):
    path = write(
        tmp_path / "rec1487333001.hdf5", {"dvs/data": np.zeros((3, 5)), "dvs/timestamp": np.zeros(3)}
    )
    with pytest.raises(FormatError, match="ddd20-utils"):
        sniff(path)


def test_blocks_are_decompressed_in_threads_ahead_and_in_any_order(tmp_path, monkeypatch):
    events = random_events(20_000, end=900_000)
    path = write_dsec(tmp_path / "events.h5", events, chunk=1024)
    started, original = [], blosc_chunks.start

    def start(*arguments):
        rows = original(*arguments)
        started.append(rows is not None)
        return rows

    monkeypatch.setattr(blosc_chunks, "start", start)
    with read_hdf5(path, EventOptions(), block_events=2048) as source:
        assert as_list(source.read_index(0, 20_000)) == events
        assert as_list(source.read_index(18_000, 20_000)) == events[18_000:]
        assert as_list(source.read_index(100, 5000)) == events[100:5000]
    assert sum(started) > 30
