"""A recording is opened and decoded once, and its frames are those of the whole way of a file."""

from __future__ import annotations

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
from armseg_core.errors import ArmsegError, ArmsegWarning, InputError, UsageError
from armseg_core.learning.model_folder import KnownDataSet
from armseg_core.learning.prediction import Predictor

# the assumed unit of depth
pytestmark = pytest.mark.filterwarnings("ignore::armseg_core.errors.ArmsegWarning")


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
    result = predictor.predict(tmp_path / "image.png", root / "depth" / "test0.png", "depth")
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
    assert (result.modality, result.how) == (winner, "MA-CLIP, 95% sure")
    texts = [str(warning.message) for warning in said]
    assert len([t for t in texts if "mm" in t]) == (winner == "depth"), texts  # the unit of depth is assumed
