"""What every row of every sensor promises, whatever the sensor: formats, representations, model tensors."""

from __future__ import annotations

import tomllib
from contextlib import suppress
from pathlib import Path
from typing import Any

import event_files
import numpy as np
import pytest
import raw_files
from places import REPOSITORY
from smallest import SIZE, SPAN_US, valid_data

from armseg_core.arrays import EventSource, Frame, RelativeDepth
from armseg_core.errors import ArmsegError
from armseg_core.learning.augment import flip_tensor
from armseg_core.resizing import resize_model_tensor
from armseg_core.sensors.drawing import render_model_tensor
from armseg_core.sensors.event.windows import EventWindow
from armseg_core.sensors.modalities import MODALITIES, SENSORS, get_modality
from armseg_core.sensors.recognition import readers_for
from armseg_core.sensors.representations import get_representation, model_tensor

READERS = readers_for()
REPRESENTATIONS = [row for sensor in SENSORS.values() for row in sensor.representations]
EXTRAS = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]

every_reader = pytest.mark.parametrize("row", READERS, ids=lambda row: row.name)
every_representation = pytest.mark.parametrize(
    "row", REPRESENTATIONS, ids=lambda row: f"{row.modality}-{row.name}"
)
every_sensor = pytest.mark.parametrize("name", MODALITIES)


# --- formats ----------------------------------------------------------------------------------------------


@every_reader
def test_a_format_tells_what_it_reads(row) -> None:
    assert row.modality in SENSORS
    assert row.title
    assert row.patterns
    assert all(row.patterns)
    assert callable(row.matches)
    assert callable(row.read)
    assert callable(row.beside)
    assert not row.extra or row.extra in EXTRAS
    assert "\n" not in row.title + row.notes + row.refuse  # a cell of a table


def test_no_two_formats_of_a_sensor_have_one_name() -> None:
    for name in SENSORS:
        names = [row.name for row in readers_for(name)]
        assert sorted(set(names)) == sorted(names)


@pytest.fixture(scope="module")
def whole_files(tmp_path_factory) -> list[bytes]:
    """The bytes of recordings of many formats."""
    folder = tmp_path_factory.mktemp("whole")
    raw_files.scene(folder)
    events = event_files.random_events(200)
    event_files.raw_file(folder / "evt2.raw", event_files.encode_evt2(events), "EVT2")
    event_files.raw_file(folder / "evt3.raw", event_files.encode_evt3(events), "EVT3")
    event_files.dat_file(folder / "td.dat", event_files.encode_dat(events))
    np.savez(folder / "events.npz", **dict(zip("xytp", event_files.arrays(events), strict=True)))
    np.save(folder / "events.npy", np.stack(event_files.arrays(events), 1))
    (folder / "events.txt").write_text("".join(f"{t} {x} {y} {p}\n" for x, y, t, p in events))
    (folder / "a.bag").write_bytes(b"#ROSBAG V2.0\n" + bytes(300))
    (folder / "a.aedat4").write_bytes(b"#!AER-DAT4.0\r\n" + bytes(300))
    (folder / "a.pcd").write_text("# .PCD v0.7\nVERSION 0.7\nFIELDS x y z\nDATA ascii\n1 2 3\n")
    return [file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()]


def damaged_files(row, folder: Path, whole: list[bytes]) -> list[Path]:
    """Files of the usual names of a format that hold something else, or half of something."""
    rng = np.random.default_rng(0)
    contents = [rng.bytes(n) for n in (1, 80, 5000)]
    contents += [data[:end] for data in whole for end in (4, 16, 200, len(data) // 2, len(data) - 1)]
    files = []
    for number, data in enumerate(contents):
        for pattern in row.patterns:
            path = folder / str(number) / pattern.replace("*", "000001")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            files.append(path)
    return files


@every_reader
def test_a_content_test_says_no_to_nothing(row, tmp_path: Path) -> None:
    for number, pattern in enumerate(row.patterns):
        name = Path(str(number), pattern.replace("*", "000001"))
        missing, empty, folder, link = (
            tmp_path / kind / name for kind in ("missing", "empty", "folder", "link")
        )
        for path in (missing, empty, folder, link):
            path.parent.mkdir(parents=True)
        empty.write_bytes(b"")
        folder.mkdir()
        link.symlink_to(tmp_path / "nowhere")
        assert row.matches(missing) is False
        assert row.matches(link) is False
        if not row.refuse:  # a closed format is known by its name alone
            assert row.matches(folder) is False
            assert row.matches(empty) is False


@every_reader
@pytest.mark.filterwarnings("ignore::armseg_core.errors.ArmsegWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_damaged_files_are_data_or_an_error_of_ours(row, tmp_path: Path, whole_files) -> None:
    """The content test answers and never raises; what it takes is read, or refused in our words."""
    options = SENSORS[row.modality].options()
    for path in damaged_files(row, tmp_path, whole_files):
        answer = row.matches(path)
        assert isinstance(answer, bool)
        if not answer or row.refuse:
            continue
        with suppress(ArmsegError):
            data = row.read(path, options)
            if isinstance(data, EventSource):
                with data as source:
                    source.read_index(0, source.count)


# --- representations --------------------------------------------------------------------------------------


def make(row, data: Any, **options: Any) -> Frame | None:
    """The frame, whose class has checked it; None for data of another kind, said in our words (Celsius of raw
    counts, single events of a picture)."""
    window = (0, SPAN_US) if row.modality == "event" else ()
    try:
        frame = row.make(data, SENSORS[row.modality].options(**options), *window)
    except ArmsegError:
        return None
    assert isinstance(frame, Frame)
    assert len(set(frame.channels)) == len(frame.channels)
    return frame


@every_representation
@pytest.mark.filterwarnings("ignore::armseg_core.errors.ArmsegWarning")
def test_a_frame_has_the_channels_it_names_at_any_size(row) -> None:
    given = 0
    for data, again in zip(valid_data()[row.modality], valid_data()[row.modality], strict=True):
        frame, sized = make(row, data), make(row, data, size=(33, 47))
        assert_same(data, again)
        if frame is None or sized is None:
            assert frame is sized
            continue
        given += 1
        assert sized.channels == frame.channels
        if row.name != "macropixel":  # its views lie side by side
            assert sized.values.shape[1:] == (33, 47)
        if row.name == get_modality(row.modality).representation:
            assert frame.values.shape[1:] == SIZE
    assert given


def assert_same(data: Any, again: Any) -> None:
    """Inputs are never written to."""
    if not isinstance(data, EventWindow):
        for name, value in vars(data).items():
            if isinstance(value, np.ndarray):
                np.testing.assert_array_equal(value, getattr(again, name))


# --- model tensors ----------------------------------------------------------------------------------------


def tensors(name: str) -> list[np.ndarray]:
    """Model tensors of a sensor, made of each of the smallest data by its default representation."""
    if name not in SENSORS:
        return [np.random.default_rng(0).random((3, *SIZE), np.float32)]
    found = []
    for data in valid_data()[name]:
        said = {"depth_unit": "relative"} if isinstance(data, RelativeDepth) else {}
        frame = make(get_representation(name, options=SENSORS[name].options(**said)), data)
        assert frame is not None
        tensor = model_tensor(name, frame.values, frame.channels)
        assert tensor is not None
        found.append(tensor)
    return found


@every_sensor
@pytest.mark.filterwarnings("ignore::armseg_core.errors.ArmsegWarning")
def test_a_model_tensor_has_the_channels_of_its_sensor(name) -> None:
    for tensor in tensors(name):
        assert (tensor.dtype, tensor.shape) == (np.float32, (get_modality(name).num_channels, *SIZE))


@every_sensor
@pytest.mark.filterwarnings("ignore::armseg_core.errors.ArmsegWarning")
def test_flipping_twice_is_no_flip_and_once_mirrors(name) -> None:
    row = get_modality(name)
    sign = np.array([-1 if c in row.flip_negates else 1 for c in row.channels])[:, None, None]
    for tensor in tensors(name):
        once = flip_tensor(tensor, name)
        np.testing.assert_array_equal(once, sign * tensor[:, :, ::-1])
        np.testing.assert_array_equal(flip_tensor(once, name), tensor)


@every_sensor
@pytest.mark.parametrize("size", [(1, 1), (5, 7), SIZE, (33, 47), (12, 5)])
@pytest.mark.filterwarnings("ignore::armseg_core.errors.ArmsegWarning")
def test_a_model_tensor_takes_any_size(name, size) -> None:
    row = get_modality(name)
    for tensor in tensors(name):
        before = tensor.copy()
        resized = resize_model_tensor(tensor, row, size)
        assert (resized.dtype, resized.shape) == (np.float32, (len(tensor), *size))
        assert np.isfinite(resized).all()
        np.testing.assert_array_equal(tensor, before)
        for channel, old, new in zip(row.channels, tensor, resized, strict=True):
            if channel in row.nearest:
                assert set(np.unique(new)) <= set(np.unique(old)), channel
            else:
                assert (
                    old.min() - 1e-3 <= new.min() <= new.max() <= old.max() + 1e-3 or name == "polarization"
                )


@every_sensor
@pytest.mark.filterwarnings("ignore::armseg_core.errors.ArmsegWarning")
def test_a_model_tensor_is_drawn(name) -> None:
    for tensor in tensors(name):
        before = tensor.copy()
        picture = render_model_tensor(tensor, name)
        assert (picture.dtype, picture.shape) == (np.uint8, (*SIZE, 3))
        np.testing.assert_array_equal(tensor, before)
