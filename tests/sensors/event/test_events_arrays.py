"""Event recordings in NumPy files, memory maps, N-MNIST bytes and text."""

from __future__ import annotations

import struct
from pathlib import Path

import event_files as truth
import numpy as np
import pytest
from event_files import as_list, random_events
from hypothesis import given, settings
from hypothesis import strategies as st

from armseg_core.errors import ArmsegError, ArmsegWarning, FormatError, UsageError
from armseg_core.sensors.event.options import EventOptions
from armseg_core.sensors.event.readers import arrays as events_arrays
from armseg_core.sensors.event.readers import text as events_text
from armseg_core.sensors.recognition import sniff

SIZE = EventOptions(sensor_size=(48, 64))


def read(path: Path, options: EventOptions = SIZE, **small):
    return sniff(path, "event").read(path, options, **small)


def structured(events, names="xytp", kinds=("u2", "u2", "i8", "u1")) -> np.ndarray:
    return np.array([tuple(e) for e in events], list(zip(names, kinds, strict=True)))


# --- npy and npz ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("names", ["xytp", ["x", "y", "timestamp", "polarity"], ["xs", "ys", "ts", "ps"]])
def test_npz_of_four_arrays(tmp_path, names):
    events = random_events(300)
    columns = dict(zip(names, truth.arrays(events), strict=True))
    np.savez_compressed(tmp_path / "a.npz", height=48, width=64, **columns)
    assert sniff(tmp_path / "a.npz").name == "npz"
    with read(tmp_path / "a.npz", EventOptions()) as source:  # the resolution is stored
        assert as_list(source.read_index(0, 300)) == events


def test_npz_of_one_table(tmp_path):
    events = random_events(300, end=10**6)
    np.savez(tmp_path / "a.npz", event_data=structured(events))
    assert as_list(read(tmp_path / "a.npz").read_index(0, 300)) == events
    x, y, t, p = truth.arrays(events)
    np.savez(tmp_path / "b.npz", events=np.stack([t, x, y, p], 1))
    assert as_list(read(tmp_path / "b.npz").read_index(0, 300)) == events


def test_npy_structured_or_matrix(tmp_path):
    events = random_events(300, end=10**6)
    np.save(tmp_path / "a.npy", structured(events))
    assert sniff(tmp_path / "a.npy").name == "npy"
    x, y, t, p = truth.arrays(events)
    np.save(tmp_path / "b.npy", np.stack([x, y, t / 1e6, p * 2 - 1], 1))
    for name in "ab":
        with read(tmp_path / f"{name}.npy", block_events=64) as source:
            assert as_list(source.read_index(0, 300)) == events
            assert as_list(source.read_time(10**5, 5 * 10**5)) == [
                e for e in events if 10**5 <= e[2] < 5 * 10**5
            ]


def test_a_matrix_whose_columns_are_not_clear_asks_for_their_order(tmp_path):
    rng = np.random.default_rng(0)
    np.save(tmp_path / "a.npy", np.stack([rng.integers(0, 48, 50) for _ in range(3)] + [np.ones(50, int)], 1))
    with pytest.raises(UsageError, match="--columns txyp or --columns xytp"):
        read(tmp_path / "a.npy")
    with pytest.raises(UsageError, match=r"names 3 columns.*expected 4"):
        read(tmp_path / "a.npy", EventOptions(columns="txy", sensor_size=(48, 64), polarity_missing=True))


def test_swapped_coordinates_show_up_as_events_outside(tmp_path):
    events = random_events(2000, size=(48, 640))
    x, y, t, p = truth.arrays(events)
    np.savez(tmp_path / "a.npz", x=y, y=x, t=t, p=p)
    options = EventOptions(sensor_size=(48, 640))
    with (
        pytest.warns(ArmsegWarning),
        pytest.raises(FormatError, match=r"outside the sensor of 640x48"),
        read(tmp_path / "a.npz", options) as source,
    ):
        source.read_index(0, 2000)


def test_pickled_arrays_are_refused_and_never_loaded(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (pytest.fail, ("a pickle was loaded",))

    bad = np.array([Bomb()], object)
    np.save(tmp_path / "a.npy", bad, allow_pickle=True)
    np.savez(tmp_path / "b.npz", allow_pickle=True, x=bad, y=bad, t=bad, p=bad)
    for name in ("a.npy", "b.npz"):
        with pytest.raises(FormatError, match=r"plain arrays"):
            sniff(tmp_path / name)
    with pytest.raises(FormatError, match="pickled Python objects"):
        events_arrays.read_npy(tmp_path / "a.npy", SIZE)
    with pytest.raises(FormatError, match="pickled Python objects"):
        events_arrays.read_npz(tmp_path / "b.npz", SIZE)


def test_damaged_numpy_files(tmp_path):
    np.save(tmp_path / "a.npy", structured(random_events(300)))
    np.savez_compressed(
        tmp_path / "b.npz", **dict(zip("xytp", truth.arrays(random_events(300)), strict=True))
    )
    for name, function in (("a.npy", events_arrays.read_npy), ("b.npz", events_arrays.read_npz)):
        path = tmp_path / name
        whole = path.read_bytes()
        for length in (3, 70, len(whole) // 2, len(whole) - 9):
            path.write_bytes(whole[:length])
            with pytest.raises(FormatError):
                function(path, SIZE)
    np.savez(tmp_path / "c.npz", image=np.zeros((3, 5)))
    with pytest.raises(FormatError, match="holds image"):
        events_arrays.read_npz(tmp_path / "c.npz", SIZE)
    np.savez(tmp_path / "d.npz", x=np.zeros(3), y=np.zeros(3), t=np.zeros(4), p=np.zeros(3))
    with pytest.raises(FormatError, match=r"different length"):
        read(tmp_path / "d.npz")


@given(st.integers(0, 10**6), st.integers(1, 40))
@settings(max_examples=60, deadline=None)
@pytest.mark.filterwarnings("ignore")
def test_npz_with_flipped_bytes(tmp_path_factory, seed, number):
    path = tmp_path_factory.mktemp("npz") / "a.npz"
    np.savez_compressed(path, **dict(zip("xytp", truth.arrays(random_events(60)), strict=True)))
    data, rng = bytearray(path.read_bytes()), np.random.default_rng(seed)
    for place in rng.integers(0, len(data), number):
        data[place] = rng.integers(256)
    path.write_bytes(bytes(data))
    try:
        with events_arrays.read_npz(path, SIZE) as source:
            source.read_index(0, source.count)
    except ArmsegError:
        pass


# --- memory maps ------------------------------------------------------------------------------------------


def test_ddd17_memory_map_of_ess(tmp_path):
    events = random_events(400, size=(260, 346))
    x, y, t, p = truth.arrays(events)
    (t * 1000 + 999).astype("<i8").tofile(tmp_path / "events.dat.t")  # nanoseconds
    np.stack([x, y, p], 1).astype("<i2").tofile(tmp_path / "events.dat.xyp")
    for path in (tmp_path, tmp_path / "events.dat.t", tmp_path / "events.dat.xyp"):
        assert sniff(path, "event").name == "ess-ddd17"
        with read(path, EventOptions()) as source:
            assert (source.size, as_list(source.read_index(0, 400))) == ((260, 346), events)
    (tmp_path / "events.dat.xyp").write_bytes(bytes(399 * 6))
    with pytest.raises(FormatError, match="8 bytes of time and 6 of address"):
        read(tmp_path, EventOptions())


def test_evimo2_folder(tmp_path):
    events = random_events(200)
    x, y, t, p = truth.arrays(events)
    np.save(tmp_path / "dataset_events_t.npy", t / 1e6)
    np.save(tmp_path / "dataset_events_xy.npy", np.stack([x, y], 1).astype("u2"))
    np.save(tmp_path / "dataset_events_p.npy", p.astype("u1"))
    assert sniff(tmp_path, "event").name == "evimo2"
    assert as_list(read(tmp_path).read_index(0, 200)) == events


# --- N-MNIST ----------------------------------------------------------------------------------------------


def nmnist(events) -> bytes:
    return b"".join(struct.pack(">BBBH", x, y, p << 7 | t >> 16, t & 0xFFFF) for x, y, t, p in events)


def test_nmnist(tmp_path):
    events = random_events(300, size=(34, 34), end=300_000)
    (tmp_path / "00001.bin").write_bytes(nmnist(events))
    assert sniff(tmp_path / "00001.bin", "event").name == "nmnist"
    with read(tmp_path / "00001.bin", EventOptions()) as source:
        assert (source.size, as_list(source.read_index(0, 300))) == ((34, 34), events)


def test_ncaltech_marks_of_a_passed_clock_are_no_events(tmp_path):
    (tmp_path / "a.bin").write_bytes(
        nmnist([(200, 100, 10, 1), (0, 240, 20, 0), (5, 6, 30, 0), (1, 2, 40, 1)])
    )
    with read(tmp_path / "a.bin", EventOptions()) as source:
        assert as_list(source.read_index(0, 3)) == [
            (200, 100, 10, 1),
            (5, 6, 30 + 8192, 0),
            (1, 2, 40 + 8192, 1),
        ]
        assert source.size == (180, 240)


def test_lidar_floats_are_not_taken_for_nmnist(tmp_path):
    np.random.default_rng(0).normal(0, 20, (500, 4)).astype("<f4").tofile(tmp_path / "000000.bin")
    assert not events_arrays._is_nmnist(tmp_path / "000000.bin")
    (tmp_path / "a.bin").write_bytes(b"1234567")
    with pytest.raises(FormatError, match="5 bytes per event"):
        events_arrays.read_nmnist(tmp_path / "a.bin", SIZE)


# --- text -------------------------------------------------------------------------------------------------


def lines(events, form: str, first: str = "") -> str:
    return first + "".join(
        form.format(x=x, y=y, t=t, s=f"{t / 1e6:.6f}", p=p, q=p * 2 - 1) + "\n" for x, y, t, p in events
    )


FORMS = {
    "ECD": ("{s} {x} {y} {p}", ""),
    "E2VID, with the size": ("{s} {x} {y} {p}", "64 48\n"),
    "commas": ("{t},{x},{y},{q}", ""),
    "commas and blanks": ("{t}, {x}, {y}, {p}", ""),
    "x first": ("{x} {y} {t} {p}", ""),
    "semicolons": ("{x};{y};{t};{p}", ""),
    "named columns": ("{p},{y},{x},{t}", "polarity,y,x,timestamp\n"),
    "a comment": ("{t}\t{x}\t{y}\t{p}", "# recorded today\n# t x y p\n"),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_text(tmp_path, form, newline):
    events = random_events(400, start=70_000, end=900_000)
    path = tmp_path / "events.txt"
    path.write_bytes(lines(events, *FORMS[form]).replace("\n", newline).encode())
    assert sniff(path, "event").name == "text"
    options = EventOptions() if "size" in form else SIZE
    with read(path, options, block_bytes=1500, keep_events=10) as source:  # parsed again when it is read
        assert as_list(source.read_index(0, 400)) == events
        assert as_list(source.read_index(377, 399)) == events[377:399]
        assert as_list(source.read_time(10**5, 2 * 10**5)) == [e for e in events if 10**5 <= e[2] < 2 * 10**5]


def test_text_without_polarity(tmp_path):
    events = random_events(50, start=70_000)
    (tmp_path / "a.txt").write_text(lines(events, "{t} {x} {y}"))
    options = EventOptions(columns="txy", sensor_size=(48, 64))
    with pytest.raises(UsageError, match="--polarity-missing"):
        events_text.read_text(tmp_path / "a.txt", options)
    options = EventOptions(columns="txy", sensor_size=(48, 64), polarity_missing=True)
    with events_text.read_text(tmp_path / "a.txt", options) as source:
        assert as_list(source.read_index(0, 50)) == [(x, y, t, 1) for x, y, t, _ in events]


@pytest.mark.parametrize(
    ("spoiled", "message"),
    [
        ("0.5 3 4", "line 203"),
        ("0.5 3 4 x", "line 203"),
        ("0.5 3 4 1 7", "line 203"),
        ("\x00\x01", "line 203"),
    ],
)
def test_a_bad_line_is_named(tmp_path, spoiled, message):
    events = random_events(400, end=900_000)
    text = lines(events, "{s} {x} {y} {p}", "# header\n").split("\n")
    text.insert(150, "")  # blank lines do not confuse the count
    text.insert(202, spoiled)
    (tmp_path / "a.txt").write_text("\n".join(text))
    with pytest.raises(FormatError, match=message):
        read(tmp_path / "a.txt")


def test_half_a_last_line_is_left_out(tmp_path):
    events = random_events(300, end=900_000)
    (tmp_path / "a.txt").write_text(lines(events, "{s} {x} {y} {p}") + "0.9000")
    with pytest.warns(ArmsegWarning, match="last line is not whole"):
        source = read(tmp_path / "a.txt")
    assert as_list(source.read_index(0, source.count)) == events


def test_text_without_a_size_asks_for_it(tmp_path):
    (tmp_path / "a.txt").write_text(lines(random_events(50), "{s} {x} {y} {p}"))
    with pytest.raises(UsageError, match="--sensor-size"):
        read(tmp_path / "a.txt", EventOptions())


def test_other_text_is_not_taken_for_events(tmp_path):
    for content in ("", "hello world\n", "1 2 3 4\n5 6 7 8\n", "12\n13\n", "1 0 0 0\n0 1 0 0\n0 0 1 0\n" * 3):
        (tmp_path / "a.txt").write_text(content)
        if events_text._is_events(tmp_path / "a.txt"):
            assert "1 0 0 0" in content  # numbers that could be events are asked about, not read
            with pytest.raises(ArmsegError):
                read(tmp_path / "a.txt")


@given(st.binary(max_size=300))
@settings(max_examples=200, deadline=None)
@pytest.mark.filterwarnings("ignore::armseg_core.errors.ArmsegWarning")
def test_any_bytes_as_text_or_nmnist(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("text") / "a.txt"
    path.write_bytes(data)
    for function in (events_text.read_text, events_arrays.read_nmnist, events_arrays.read_npy):
        try:
            with function(path, SIZE) as source:
                source.read_index(0, source.count)
        except ArmsegError:
            pass
