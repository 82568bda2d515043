"""The simulator's files: formats, determinism, resuming, bad parameters."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import cv2
import h5py
import hdf5plugin  # noqa: F401  (registers the Blosc filter)
import numpy as np
import pytest
from PIL import Image

from armseg_core.data import open_dataset
from armseg_core.errors import OutputError, UsageError
from armseg_core.sensors.modalities import MODALITIES, SENSORS
from armseg_core.simulate import RAW_SENSORS, classes, simulate
from armseg_core.simulate import sensors as render

H, W = 48, 64
SCENES = 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("simulated") / "set"
    simulate(out, SCENES, seed=11, size=(H, W), progress=False, light_field_views=3)
    return out


def _files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def _scenes(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.name.startswith("scene_"))


def test_a_scene_depends_only_on_the_seed_and_its_number(folder: Path, tmp_path: Path) -> None:
    simulate(tmp_path, 3, seed=11, size=(H, W), progress=False, light_field_views=3, workers=2)
    for scene in _scenes(tmp_path):
        assert _files(scene) == _files(folder / scene.name)


def test_another_seed_gives_another_scene(folder: Path, tmp_path: Path) -> None:
    simulate(tmp_path, 1, seed=12, size=(H, W), progress=False, sensors=())
    assert (tmp_path / "scene_00000/rgb.png").read_bytes() != (folder / "scene_00000/rgb.png").read_bytes()


def test_leaving_out_sensors_does_not_change_the_others(folder: Path, tmp_path: Path) -> None:
    simulate(tmp_path, 1, seed=11, size=(H, W), progress=False, sensors=["thermal", "lidar"])
    scene = tmp_path / "scene_00000"
    names = {p.name for p in scene.iterdir()}
    assert names == {
        "rgb.png",
        "label.png",
        "caption.txt",
        "calib.json",
        "scene.json",
        "thermal.tiff",
        "lidar.bin",
    }
    for name in names - {"scene.json"}:
        assert (scene / name).read_bytes() == (folder / "scene_00000" / name).read_bytes()


@pytest.mark.parametrize(
    ("name", "dtype", "channels"),
    [
        ("rgb.png", np.uint8, 3),
        ("thermal.tiff", np.uint16, 1),
        ("depth.png", np.uint16, 1),
        ("polarization.png", np.uint16, 1),
        ("light_field/1_1.png", np.uint8, 3),
        ("light_field/3_2.png", np.uint8, 3),
    ],
)
def test_pictures_have_the_documented_bit_depth(folder: Path, name: str, dtype: type, channels: int) -> None:
    for scene in _scenes(folder):
        image = cv2.imread(str(scene / name), cv2.IMREAD_UNCHANGED)
        assert image.dtype == dtype
        assert image.shape == ((H, W, 3) if channels == 3 else (H, W))


def test_values_stay_in_their_ranges(folder: Path) -> None:
    for scene in _scenes(folder):
        mosaic = cv2.imread(str(scene / "polarization.png"), cv2.IMREAD_UNCHANGED)
        assert 1000 < mosaic.max() <= 4095
        celsius = cv2.imread(str(scene / "thermal.tiff"), cv2.IMREAD_UNCHANGED) * 0.01 - 273.15
        assert -25 < celsius.min() < celsius.max() < 45
        depth = cv2.imread(str(scene / "depth.png"), cv2.IMREAD_UNCHANGED)
        assert depth.max() <= 1000 * render.DEPTH_LIMIT * 1.05
        assert (depth == 0).any()


def test_labels_are_indexed_and_inside_the_class_list(folder: Path) -> None:
    for scene in _scenes(folder):
        image = Image.open(scene / "label.png")
        assert image.mode == "P"
        label = np.array(image)
        assert label.shape == (H, W)
        assert label.max() < len(classes.CLASSES)
        palette = np.array(image.getpalette()).reshape(-1, 3)
        assert palette[: len(classes.CLASSES)].tolist() == [list(c.color) for c in classes.CLASSES]


def test_captions_name_what_the_label_map_holds(folder: Path) -> None:
    for scene in _scenes(folder):
        words = (scene / "caption.txt").read_text()
        shares = np.bincount(np.array(Image.open(scene / "label.png")).ravel(), minlength=13) / (H * W)
        assert words.count("\n") == 1
        for number, kind in enumerate(classes.CLASSES[classes.PERSON : classes.DARK_PATCH], classes.PERSON):
            assert (kind.phrase in words) == (shares[number] >= 0.004), (kind.name, words)
        assert ("at night" in words) == json.loads((scene / "scene.json").read_text())["night"]


def test_events_follow_the_dsec_layout(folder: Path) -> None:
    for scene in _scenes(folder):
        with h5py.File(scene / "events.h5") as file:
            x, y, t, p = (file[f"events/{name}"][:] for name in "xytp")
            index, offset = file["ms_to_idx"][:], int(file["t_offset"][()])
            assert [file[f"events/{n}"].dtype.str for n in "xytp"] == ["<u2", "<u2", "<u4", "|u1"]
            assert "32001" in {str(k) for k in file["events/t"]._filters}  # Blosc
        assert len(x) == len(y) == len(t) == len(p) > 100
        assert x.max() < W
        assert y.max() < H
        assert set(np.unique(p)) == {0, 1}
        assert (np.diff(t.astype(np.int64)) >= 0).all()
        assert t.max() < 100_000
        assert json.loads((scene / "scene.json").read_text())["label_time_us"] == offset + 100_000
        assert len(index) == t.max() // 1000 + 1
        for ms, i in enumerate(index):  # the definition, by brute force
            assert t[i] >= ms * 1000
            assert i == 0 or t[i - 1] < ms * 1000


def test_lidar_points_land_on_pixels_of_the_same_depth(folder: Path) -> None:
    agree = []
    for scene in _scenes(folder):
        calibration = json.loads((scene / "calib.json").read_text())
        k, pose = np.array(calibration["intrinsics"]), np.array(calibration["lidar_to_camera"])
        points = np.frombuffer((scene / "lidar.bin").read_bytes(), "<f4").reshape(-1, 4)
        assert len(points) > 1000
        assert points[:, 0].min() > 0  # x points forward
        assert 0 <= points[:, 3].min() <= points[:, 3].max() <= 1
        camera = points[:, :3] @ pose[:3, :3].T + pose[:3, 3]
        pixel = camera @ k.T
        column, row = np.rint(pixel[:, :2].T / pixel[:, 2]).astype(int)
        inside = (column >= 0) & (column < W) & (row >= 0) & (row < H)
        assert inside.mean() > 0.5
        depth = cv2.imread(str(scene / "depth.png"), cv2.IMREAD_UNCHANGED)[row[inside], column[inside]] / 1000
        near = (depth > 0) & (camera[inside, 2] < 15)
        agree.append(np.mean(np.abs(depth - camera[inside, 2])[near] < 0.05 * depth[near] + 0.1))
    assert np.mean(agree) > 0.85  # the rest are edges, which the two sensors see from different places


def test_every_sensor_loads_through_the_converter(folder: Path) -> None:
    data = open_dataset(folder, "train", SENSORS)
    assert [c.name for c in data.classes] == list(classes.NAMES)
    sample = data.load(0)
    assert sample.rgb.shape == (3, H, W)
    assert set(sample.sensors) == set(SENSORS)
    for name, tensor in sample.sensors.items():
        assert tensor.shape == (MODALITIES[name].num_channels, H, W)
        assert np.isfinite(tensor).all()
        assert tensor.std() > 0


def test_splits_cover_every_scene_once(folder: Path) -> None:
    parts = [(folder / "splits" / f"{name}.txt").read_text().split() for name in ("train", "val", "test")]
    assert all(parts)
    assert sorted(name for part in parts for name in part) == [scene.name for scene in _scenes(folder)]


def test_one_scene_goes_to_the_training_split(tmp_path: Path) -> None:
    simulate(tmp_path, 1, size=(H, W), progress=False, sensors=())
    assert (tmp_path / "splits/train.txt").read_text() == "scene_00000\n"


def test_an_interrupted_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(**changes) -> None:
        simulate(tmp_path, 2, size=(H, W), progress=False, sensors=("thermal",), **changes)

    def killed(*_args) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(render, "thermal", killed)
        with pytest.raises(KeyboardInterrupt):
            run()
    assert list(tmp_path.iterdir()) == []  # nothing that looks finished
    run()
    first = _files(tmp_path)
    os.utime(tmp_path / "scene_00000/rgb.png", (1, 1))  # marks the scene that is kept
    shutil.rmtree(tmp_path / "scene_00001")
    run()
    assert _files(tmp_path) == first
    assert (tmp_path / "scene_00000/rgb.png").stat().st_mtime == 1
    run(seed=1)
    assert (tmp_path / "scene_00000/rgb.png").stat().st_mtime != 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"scenes": 0}, "at least 1"),
        ({"size": (48, 63)}, "even"),
        ({"size": (16, 64)}, "at least 32"),
        ({"workers": 0}, "workers"),
        ({"light_field_views": 4}, "3, 5, 7 or 9"),
        ({"seed": -1}, "seed"),
        ({"splits": (0.5, 0.1, 0.1)}, "add up"),
        ({"sensors": ["sonar"]}, "sonar"),
    ],
)
def test_impossible_parameters_are_refused(tmp_path: Path, changes: dict, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        simulate(tmp_path / "out", **{"scenes": 1, "size": (H, W), "progress": False, **changes})
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_a_file_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file"):
        simulate(tmp_path / "file" / "out", 1, size=(H, W), progress=False)


def test_the_command_says_what_it_made(armseg, tmp_path: Path) -> None:
    result = armseg(
        "simulate", tmp_path / "out", "--scenes", "1", "--size", "64x48", "--modalities", "depth", "--quiet"
    )
    assert result.exit_code == 0, result.output
    assert "1 scene in" in result.stdout
    assert (tmp_path / "out/scene_00000/depth.png").is_file()
    assert not (tmp_path / "out/scene_00000/events.h5").exists()


def test_raw_sensors_are_known_modalities() -> None:
    assert set(RAW_SENSORS) == set(SENSORS)
