"""Every raw recording of a simulated scene, and every representation made of it, becomes a picture."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

from armseg_core.conversion.convert import convert_file
from armseg_core.data import open_dataset
from armseg_core.errors import ArmsegWarning, UsageError
from armseg_core.figures import make_figure
from armseg_core.files.tensor_file import TensorFile
from armseg_core.sensors import SENSORS
from armseg_core.sensors.drawing import frame_note, render_frame, render_model_tensor
from armseg_core.sensors.representation import Representation
from armseg_core.simulate import simulate

RAW = {
    "event": "events.h5",
    "thermal": "thermal.tiff",
    "depth": "depth.png",
    "lidar": "lidar.bin",
    "polarization": "polarization.png",
    "light_field": "light_field",
}
OPTIONS = {"celsius": {"thermal_unit": "tlinear"}}


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("simulated")
    simulate(folder, scenes=1, seed=3, size=(48, 64), progress=False, light_field_views=3)
    return folder / "scene_00000"


@pytest.fixture(autouse=True)
def _notes_are_fine():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ArmsegWarning)
        yield


@pytest.mark.parametrize("sensor", RAW)
def test_raw_recordings_render(scene: Path, sensor: str) -> None:
    made = make_figure(scene / RAW[sensor])
    assert made.picture.shape[1] >= 480
    assert made.next_command == f"armseg convert {scene / RAW[sensor]}"
    assert make_figure(scene / RAW[sensor], modality=sensor).what == made.what


@pytest.mark.parametrize(
    "row",
    [row for sensor in SENSORS.values() for row in sensor.representations],
    ids=lambda row: f"{row.modality}-{row.name}",
)
def test_every_representation_renders(scene: Path, tmp_path: Path, row: Representation) -> None:
    converted = tmp_path / "x.h5"
    convert_file(
        scene / RAW[row.modality],
        converted,
        modality=row.modality,
        representation=row.name,
        options=OPTIONS.get(row.name),
        progress=False,
    )
    assert make_figure(converted).picture.shape[1] >= 480


def test_window_of_a_recording_is_the_frame_of_the_converted_file(scene: Path, tmp_path: Path) -> None:
    converted = tmp_path / "x.h5"
    convert_file(scene / "events.h5", converted, options={"norm": "none"}, dtype="float32", progress=False)
    with TensorFile(converted) as file:
        assert len(file) >= 2
        for index in range(len(file)):
            note = frame_note(index, len(file))
            page = render_frame(file.frame(index), file.info, int(file.t_us[index]), note)
            assert (make_figure(scene / "events.h5", frame=index).picture == page).all()
        count = len(file)
    with pytest.raises(UsageError, match=f"no frame {count}.*0 to {count - 1}"):
        make_figure(scene / "events.h5", frame=count)


def test_options_and_representation_of_a_raw_recording(scene: Path, tmp_path: Path) -> None:
    plain = make_figure(scene / "events.h5", frame=0)
    assert plain.what.endswith("voxel grid, frame 0 (of 0 to 1)")
    normalized = make_figure(scene / "events.h5", frame=0, options={"norm": "dsec", "bins": None})
    assert not np.array_equal(normalized.picture, plain.picture)
    counted = make_figure(scene / "events.h5", options={"count": 500}, representation="histogram")
    assert "event camera, histogram, frame " in counted.what
    assert "inverse depth" not in make_figure(scene / "depth.png").what
    assert "depth camera, inverse" in make_figure(scene / "depth.png", representation="inverse").what
    with pytest.raises(UsageError, match="--bins: does not apply to a recording of the depth camera"):
        make_figure(scene / "depth.png", options={"bins": 5})
    convert_file(scene / "depth.png", tmp_path / "x.h5", progress=False)
    with pytest.raises(UsageError, match="--representation does not apply to a sensor-tensor file"):
        make_figure(tmp_path / "x.h5", representation="inverse")
    with pytest.raises(UsageError, match="--depth-unit does not apply to a sensor-tensor file"):
        make_figure(tmp_path / "x.h5", options={"depth_unit": "mm"})
    assert make_figure(tmp_path / "x.h5", options={"depth_unit": None}).what


def test_pictures_of_a_scene_are_told_apart_from_recordings(scene: Path) -> None:
    assert make_figure(scene / "rgb.png").what == "RGB picture"
    assert make_figure(scene / "label.png").what.startswith("label map")
    assert "thermal camera" in make_figure(scene / "thermal.tiff").what


def test_sample_shows_every_sensor(scene: Path) -> None:
    picture = make_figure(scene.parent, sample="scene_00000").picture
    sample = open_dataset(scene.parent, "train").load(0)
    assert set(sample.sensors) == set(RAW)
    for name, frame in sample.sensors.items():
        drawn = render_model_tensor(frame, name)
        corner = drawn[-1].repeat(320 // 64, 0)  # the last row, enlarged, stands somewhere in the figure
        rows = np.lib.stride_tricks.sliding_window_view(picture[::5], (len(corner), 3), axis=(1, 2))
        assert (rows[:, :, 0] == corner).all((-1, -2)).any(), name
