"""A recording is opened and decoded once, and its frames are those of the whole way of a file."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import raw_files
from small_models import small_model
from toy_scenes import write_scenes
from toy_sensor import change_readers

from armseg_core.conversion.convert import convert_file, to_tensor
from armseg_core.conversion.recording import Recording
from armseg_core.data.sample import ClassInfo
from armseg_core.errors import ArmsegError, ArmsegWarning, FormatError, InputError, UsageError
from armseg_core.files.tensor_file import SensorTensor, TensorInfo
from armseg_core.learning.model import KnownDataSet
from armseg_core.learning.prediction import Predictor
from armseg_core.sensors import SENSORS
from armseg_core.sensors.representations import Representation

# the assumed unit of depth
pytestmark = pytest.mark.filterwarnings("ignore::armseg_core.errors.ArmsegWarning")

CAMERA = {"intrinsics": "30,30,16,12"}


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each reader has read a recording, by file name and sensor."""
    counts: Counter[str] = Counter()

    def counting(row):
        def read(path, options):
            counts[f"{Path(path).name} as {row.modality}"] += 1
            return row.read(path, options)

        return replace(row, read=read)

    change_readers(monkeypatch, counting)
    return counts


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return raw_files.scene(tmp_path_factory.mktemp("scene"))


@pytest.mark.parametrize("sensor", raw_files.SENSORS)
@pytest.mark.parametrize("size", [None, (12, 20), (48, 64)])
def test_a_frame_is_what_a_fresh_file_gives(scene, reads, sensor: str, size: tuple[int, int] | None) -> None:
    with Recording.open(scene[sensor]) as recording:
        native = recording.size
        recording.frame((9, 11))  # an earlier frame changes nothing
        found = recording.frame(size)
        again = recording.frame(size)
    assert sum(reads.values()) == 1
    fresh = to_tensor(scene[sensor], size=size)
    assert np.array_equal(found.frames, fresh.frames)
    assert np.array_equal(again.frames, fresh.frames)
    assert not np.shares_memory(found.frames, again.frames)
    assert (found.info, found.t_us.tolist()) == (fresh.info, fresh.t_us.tolist())
    assert found.frames.shape[2:] == (size or native)


def test_what_a_recording_says_about_itself(scene, tmp_path: Path) -> None:
    with Recording.open(scene["event"]) as events:
        assert (events.path, events.sensor, events.size) == (scene["event"], "event", (480, 640))
        assert events.span_us == (1_000_000, 1_199_999)
        assert events.reader is not None
        assert events.reader.name == "dsec"
        assert "taken as 640x480" in " ".join(events.notes)
    with Recording.open(scene["event"], options={"crop_bottom": 40}) as cropped:
        assert cropped.size == (440, 640)
    with Recording.open(scene["depth"]) as depth:
        assert (depth.sensor, depth.size, depth.span_us) == ("depth", raw_files.SIZE, None)
    made = convert_file(scene["event"], tmp_path / "e.h5", options={"window": "50ms"}, progress=False)
    with Recording.open(made.output) as stored:
        assert (stored.sensor, stored.reader, stored.size) == ("event", None, (480, 640))
        first, last = stored.span_us
        fresh = to_tensor(made.output, at_us=first)
        assert np.array_equal(stored.frame(at_us=first).frames, fresh.frames)
        assert stored.frame().t_us == last


def test_a_time_or_sensor_that_is_not_there(scene, tmp_path: Path) -> None:
    with Recording.open(scene["event"]) as events, pytest.raises(InputError, match="outside the recording"):
        events.frame(at_us=5)
    made = convert_file(scene["depth"], tmp_path / "d.h5", progress=False)
    with pytest.raises(UsageError, match="holds frames of the sensor 'depth'"):
        Recording.open(made.output, "thermal")


def test_a_point_cloud_without_calibration_can_be_opened_but_has_no_frame(scene, tmp_path: Path) -> None:
    cloud = tmp_path / "cloud.bin"
    cloud.write_bytes(scene["lidar"].read_bytes())
    with Recording.open(cloud, "lidar") as recording:
        with pytest.raises(ArmsegError, match="no calibration"):
            _ = recording.size
        with pytest.raises(ArmsegError, match="no calibration"):
            recording.frame((24, 32))


# -- all frames


@pytest.mark.parametrize("sensor", raw_files.SENSORS)
def test_the_frames_of_a_recording_are_those_of_its_converted_file(
    scene, tmp_path: Path, sensor: str
) -> None:
    options = {"window": "50ms"} if sensor == "event" else None
    dtype = "float32" if sensor == "event" else None
    made = convert_file(scene[sensor], tmp_path / "x.h5", options=options, dtype=dtype, progress=False)
    with Recording.open(scene[sensor], options=options) as raw, Recording.open(made.output) as stored:
        assert (raw.representation, raw.count()) == (stored.representation, stored.count())
        assert raw.count() == made.windows == (4 if sensor == "event" else 1)
        pairs = list(zip(raw.frames(), stored.frames(), strict=True))
        assert len(pairs) == made.windows
        for one, other in pairs:
            np.testing.assert_array_equal(one.values, other.values)
            assert (one.channels, one.units, one.t_us) == (other.channels, other.units, other.t_us)
            assert one.value_range == other.value_range
        np.testing.assert_array_equal(raw.read(-1).values, pairs[-1][0].values)
        np.testing.assert_array_equal(stored.read(0).values, pairs[0][0].values)
        for recording in (raw, stored):
            with pytest.raises(UsageError, match=rf"no frame {made.windows}.*0 to {made.windows - 1}"):
                recording.read(made.windows)


@pytest.mark.parametrize(
    ("options", "ends"),
    [
        ({"window": "80ms"}, [1_080_000, 1_160_000, 1_240_000]),
        ({"end_times": "1100000\n1130000\n"}, [1_100_000, 1_130_000]),
        ({"count": 1000}, None),
    ],
)
def test_a_frame_by_its_number_whatever_cuts_the_windows(scene, tmp_path: Path, options: dict, ends) -> None:
    if "end_times" in options:
        (tmp_path / "ends.txt").write_text(options["end_times"])
        options = {"end_times": tmp_path / "ends.txt"}
    with Recording.open(scene["event"], options=options) as recording:
        frames = list(recording.frames())
        assert recording.count() == len(frames) > 1
        assert ends is None or [frame.t_us for frame in frames] == ends
        for index, frame in enumerate(frames):
            found = recording.read(index)
            np.testing.assert_array_equal(found.values, frame.values)
            assert found.t_us == frame.t_us
        assert recording.events == 2000
        assert recording.count() == len(list(recording.frames(trusting=True)))


@pytest.mark.parametrize(
    "row",
    [row for sensor in SENSORS.values() for row in sensor.representations],
    ids=lambda row: f"{row.modality}-{row.name}",
)
def test_any_representation_can_be_asked_for(scene, row: Representation) -> None:
    options = {"celsius": {"thermal_unit": "tlinear"}, "normals": CAMERA, "hha": CAMERA}.get(row.name)
    with Recording.open(scene[row.modality], options=options, representation=row.name) as recording:
        frame = recording.read(0)
        assert recording.representation == row.name
        assert recording.info(frame).channels == frame.channels


def test_a_tensor_file_has_only_its_own_representation(scene, tmp_path: Path) -> None:
    made = convert_file(scene["depth"], tmp_path / "d.h5", progress=False)
    with Recording.open(made.output, representation="metric") as stored:
        assert stored.count() == 1
    with pytest.raises(UsageError, match=r"frames of the representation 'metric'.*expected hha"):
        Recording.open(made.output, representation="hha")
    with pytest.raises(UsageError, match="unknown representation 'hah'"):
        Recording.open(scene["depth"], representation="hah")


def test_a_stored_frame_with_nan_is_refused_with_its_file(tmp_path: Path) -> None:
    info = TensorInfo("thermal", "percentile", ("temperature",), ("",), (0, 1))
    frames = np.array([[[[0.5, np.nan]]]], np.float32)
    SensorTensor(frames, np.zeros(1, np.int64), info).save(tmp_path / "old.h5")
    with Recording.open(tmp_path / "old.h5") as stored:
        for use in (lambda: stored.read(0), stored.frame):
            with pytest.raises(FormatError, match=r"old.h5: .*not finite: 1 of temperature.*convert"):
                use()


def test_a_file_beside_the_recording_that_changes_while_it_is_read_is_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = raw_files.lidar(tmp_path / "lidar.bin")
    before = convert_file(raw, progress=False)
    assert not any("changed" in note for note in before.notes)

    def slow(row):
        def read(path, options):
            content = row.read(path, options)
            os.utime(tmp_path / "calib.json", ns=(0, 1))
            return content

        return replace(row, read=read) if row.modality == "lidar" else row

    change_readers(monkeypatch, slow)
    assert any(
        "changed while it was read" in note for note in convert_file(raw, force=True, progress=False).notes
    )


# -- predict


@pytest.fixture(scope="module")
def predictor(small_clip) -> Predictor:
    classes = (ClassInfo("near", (200, 80, 40)), ClassInfo("far", (40, 80, 200)))
    datasets = (KnownDataSet("scenes", classes),)
    return Predictor(small_model(small_clip, ("depth", "thermal", "event"), datasets=datasets))


@pytest.mark.parametrize("input_size", [None, (24, 32)])
@pytest.mark.parametrize("factor", [1, 2])
def test_predict_reads_a_recording_once(predictor, tmp_path: Path, reads, factor: int, input_size) -> None:
    root = write_scenes(tmp_path, {"test": 1})
    image = cv2.imread(str(root / "rgb" / "test0.png"))
    cv2.imwrite(str(tmp_path / "image.png"), np.repeat(np.repeat(image, factor, 0), factor, 1))
    resized = replace(predictor.inference, size=input_size)
    predictor = Predictor(predictor.model)
    predictor.inference = resized
    result = predictor.predict(tmp_path / "image.png", root / "depth" / "test0.png", modalities=["depth"])
    assert result.mask.shape == (40 * factor, 48 * factor)
    assert reads == {"test0.png as depth": 1}


def test_predict_reads_events_once(predictor, tmp_path: Path, reads) -> None:
    events = raw_files.events(tmp_path / "events.h5", size=(48, 64))
    cv2.imwrite(str(tmp_path / "image.png"), np.zeros((24, 32, 3), np.uint8))
    for options in ({}, {"sensor_size": (48, 64)}):
        reads.clear()
        predictor.predict(tmp_path / "image.png", events, options=options, stretch=True)
        assert reads == {"events.h5 as event": 1}


@pytest.mark.parametrize("winner", ["depth", "thermal"])
def test_a_guess_reads_once_as_each_sensor_that_can_and_says_what_the_winner_warned_of(
    predictor, tmp_path: Path, reads, monkeypatch, winner: str
) -> None:
    root = write_scenes(tmp_path, {"test": 1})
    scan = (root / "depth" / "test0.png").rename(tmp_path / "scan.png")
    monkeypatch.setattr(Predictor, "_likeness", lambda self, frame, m: -0.1 if m == winner else -3.0)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", ArmsegWarning)
        result = predictor.predict(root / "rgb" / "test0.png", scan)
    assert reads == {"scan.png as depth": 1, "scan.png as thermal": 1}
    assert result.sensors == {winner: "MA-CLIP, 95% sure"}
    texts = [str(warning.message) for warning in said]
    assert len([t for t in texts if "mm" in t]) == (winner == "depth"), texts  # the unit of depth is assumed


def test_the_fullest_window_of_events_is_shown_and_the_middle_one_of_others(tmp_path: Path) -> None:
    times = [0, 60_000, 110_000, 110_001, 110_002, 199_999]
    rows = "".join(f"{t} {i} 3 1\n" for i, t in enumerate(times))
    (tmp_path / "events.txt").write_text("32 24\n" + rows, encoding="utf-8")
    with Recording.open(tmp_path / "events.txt", options={"norm": "none"}) as recording:
        assert (recording.count(), recording.fullest()) == (4, 2)
    made = convert_file(tmp_path / "events.txt", options={"norm": "none"}).output
    with Recording.open(made) as recording:
        assert (recording.count(), recording.fullest()) == (4, 2)
    rows = "".join(f"{t} 1 3 1\n" for t in (0, 60_000, 110_000, 199_999))
    (tmp_path / "even.txt").write_text("32 24\n" + rows, encoding="utf-8")
    with Recording.open(tmp_path / "even.txt", options={"columns": "txyp"}) as recording:
        assert recording.fullest() == 2
    frames = SensorTensor(
        np.ones((3, 1, 4, 4), np.float32),
        np.arange(3),
        TensorInfo("thermal", "raw", ("value",), ("",), (0, 1)),
    )
    frames.save(tmp_path / "thermal.h5")
    with Recording.open(tmp_path / "thermal.h5") as recording:
        assert recording.fullest() == 1
