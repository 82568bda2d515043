"""One answer to which files a recording consists of, for the cache, the plan and what is kept as current."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import event_files
import h5py
import lidar_clouds
import numpy as np
import pytest
import raw_files
from dataset_writer import write_label, write_rgb, write_toml
from lidar_clouds import P2, RECTIFY, ROTATION, VELODYNE, numbers
from picture_writer import png
from polarized_light import behind, light
from ros_bags import event_array, write_bag

from armseg_core.conversion.convert import convert_recording, to_tensor
from armseg_core.conversion.plan import plan_conversion
from armseg_core.data import open_dataset
from armseg_core.data.cache import cache_key
from armseg_core.sensors import SENSORS
from armseg_core.sensors.reader import nothing_beside
from armseg_core.sensors.recognition import readers_for, recording_files, sniff

Case = tuple[Path, str, dict[str, Any], tuple[str, ...]]  # recording, modality, options, all its files


def rectify_map(path: Path) -> Path:
    xy = np.stack(np.meshgrid(np.arange(640), np.arange(480)), -1).astype(np.float32)
    with h5py.File(path, "w") as file:
        file["rectify_map"] = xy
    return path


def dsec(root: Path) -> Case:
    rectify_map(root / "rectify_map.h5")
    return raw_files.events(root / "events.h5"), "event", {}, ("events.h5", "rectify_map.h5")


def dsec_not_rectified(root: Path) -> Case:
    return dsec(root)[0], "event", {"rectify": False}, ("events.h5",)


def dsec_with_named_files(root: Path) -> Case:
    source = dsec(root)[0]
    (root / "ends.txt").write_text("1100000\n1150000\n")
    options = {"rectify_map": rectify_map(root / "other.h5"), "end_times": root / "ends.txt"}
    return source, "event", options, ("events.h5", "other.h5", "ends.txt")


def events_of_other_layout(root: Path) -> Case:
    x, y, t, p = event_files.arrays(event_files.random_events(300, size=(480, 640)))
    rectify_map(root / "rectify_map.h5")
    np.savez(root / "events.npz", x=x, y=y, t=t, p=p, height=480, width=640)
    return root / "events.npz", "event", {"time_unit": "us"}, ("events.npz",)


def ess(root: Path) -> Case:
    x, y, t, p = event_files.arrays(event_files.random_events(400, size=(260, 346)))
    (t * 1000).astype("<i8").tofile(root / "events.dat.t")
    np.stack([x, y, p], 1).astype("<i2").tofile(root / "events.dat.xyp")
    return root / "events.dat.xyp", "event", {}, ("events.dat.t", "events.dat.xyp")


def evimo2(root: Path) -> Case:
    x, y, t, p = event_files.arrays(event_files.random_events(200))
    folder = root / "evimo"
    folder.mkdir()
    for key, values in (("t", t / 1e6), ("xy", np.stack([x, y], 1).astype("u2")), ("p", p.astype("u1"))):
        np.save(folder / f"dataset_events_{key}.npy", values)
    names = tuple(f"evimo/dataset_events_{key}.npy" for key in ("t", "xy", "p"))
    return folder, "event", {"sensor_size": "64x48"}, names


def rosbag2(root: Path) -> Case:
    message = event_array(event_files.random_events(200), True)
    bag = write_bag(root, {"/dvs": ("dvs_msgs/msg/EventArray", [message])}, True)
    (part,) = bag.glob("*.db3")
    return part, "event", {}, (f"bag2/{part.name}", "bag2/metadata.yaml")


def rosbag2_folder(root: Path) -> Case:
    part, modality, options, names = rosbag2(root)
    return part.parent, modality, options, names


def depth(root: Path) -> Case:
    lidar(root)  # writes calib.json
    return raw_files.depth(root / "depth.png"), "depth", {"depth_unit": "mm"}, ("depth.png", "calib.json")


def depth_with_intrinsics(root: Path) -> Case:
    source = depth(root)[0]
    return source, "depth", {"depth_unit": "mm", "intrinsics": "30,30,16,12"}, ("depth.png",)


def lidar(root: Path) -> Case:
    return raw_files.lidar(root / "lidar.bin"), "lidar", {}, ("lidar.bin", "calib.json")


def kitti_object(root: Path) -> Case:
    cloud = root / "velodyne" / "000007.bin"
    cloud.parent.mkdir()
    cloud.write_bytes(lidar_clouds.points().tobytes())
    (root / "calib").mkdir()
    (root / "calib" / "000007.txt").write_text(
        numbers("P2", P2) + numbers("R0_rect", RECTIFY) + numbers("Tr_velo_to_cam", VELODYNE)
    )
    png(root / "image_2" / "000007.png", np.zeros((30, 44, 3), np.uint8))
    return cloud, "lidar", {}, ("velodyne/000007.bin", "calib/000007.txt", "image_2/000007.png")


def kitti_raw(root: Path) -> Case:
    (root / "clouds").mkdir()
    (root / "clouds" / "a.bin").write_bytes(lidar_clouds.points().tobytes())
    velodyne = root / "calib_velo_to_cam.txt"
    velodyne.write_text(numbers("R", ROTATION) + numbers("T", VELODYNE[:, 3]))
    (root / "calib_cam_to_cam.txt").write_text(
        numbers("R_rect_00", RECTIFY) + numbers("P_rect_02", P2) + numbers("S_rect_02", np.array([44, 30]))
    )
    names = ("clouds/a.bin", velodyne.name, "calib_cam_to_cam.txt")
    return root / "clouds" / "a.bin", "lidar", {"calibration": velodyne}, names


def angle_pictures(root: Path, name: str) -> tuple[str, ...]:
    for angle in (0, 45, 90, 135):
        png(root / name.format(angle), np.rint(behind(light(6, 8), angle) * 65535).astype(np.uint16))
    return tuple(name.format(angle) for angle in (0, 45, 90, 135))


def angles(root: Path) -> Case:
    names = angle_pictures(root, "x_{}.png")
    png(root / "x_1.jpg.png", np.zeros((6, 8), np.uint16))
    return root / "x_0.png", "polarization", {}, names


def angles_in_folders(root: Path) -> Case:
    names = angle_pictures(root, "{}/x.png")
    return root / "0" / "x.png", "polarization", {}, names


def angles_folder(root: Path) -> Case:
    names = angle_pictures(root, "set/x_{}.png")
    return root / "set", "polarization", {}, names


def angles_with_calibration(root: Path) -> Case:
    names = angle_pictures(root, "x_{}.png")
    np.save(root / "matrix.npy", np.eye(4))
    return root / "x_0.png", "polarization", {"calibration": root / "matrix.npy"}, (*names, "matrix.npy")


def aolp_dolp(root: Path) -> Case:
    names = ("scene_aolp.npy", "scene_dolp.npy", "scene_s0.npy")
    for name in names:
        np.save(root / name, np.full((6, 8), 0.5, np.float32))
    return root / "scene_dolp.npy", "polarization", {}, names


def mcubes(root: Path) -> Case:
    names = tuple(f"polL_{kind}/a.npy" for kind in ("aolp_sin", "aolp_cos", "dolp"))
    for name in names:
        (root / name).parent.mkdir()
        np.save(root / name, np.full((6, 8), 0.5, np.float32))
    png(root / "polL_color" / "a.png", np.full((6, 8, 3), 90, np.uint8))
    return root / "polL_dolp" / "a.npy", "polarization", {}, (*names, "polL_color/a.png")


def light_field(root: Path) -> Case:
    folder = raw_files.light_field(root / "lf")
    return folder, "light_field", {}, tuple(f"lf/{file.name}" for file in folder.iterdir())


def thermal(root: Path) -> Case:
    lidar(root)  # a calibration that is none of its
    return raw_files.thermal(root / "thermal.tiff"), "thermal", {}, ("thermal.tiff",)


def mosaic(root: Path) -> Case:
    png(root / "x_0.png", np.full((6, 8), 900, np.uint16))  # alone: no set of angles
    return root / "x_0.png", "polarization", {"bits": 12}, ("x_0.png",)


WRITERS = (
    dsec,
    dsec_not_rectified,
    dsec_with_named_files,
    events_of_other_layout,
    ess,
    evimo2,
    rosbag2,
    rosbag2_folder,
    depth,
    depth_with_intrinsics,
    lidar,
    kitti_object,
    kitti_raw,
    angles,
    angles_in_folders,
    angles_folder,
    angles_with_calibration,
    aolp_dolp,
    mcubes,
    light_field,
    thermal,
    mosaic,
)
each_case = pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__)


def change(path: Path) -> None:
    """Other content that is still readable, at another time."""
    data = path.read_bytes()
    size_matters = path.suffix in (".t", ".xyp", ".bin")
    path.write_bytes(bytes([data[0] ^ 1]) + data[1:] if size_matters else data + b"\n")
    os.utime(path, ns=(path.stat().st_mtime_ns + 10**9,) * 2)


_opened: list[set[str]] = []  # audit hooks stay for good: this one only listens while a set is in the list


def _listen(event: str, arguments: tuple[Any, ...]) -> None:
    if _opened and event == "open" and isinstance(arguments[0], str | bytes | os.PathLike):
        _opened[-1].add(os.fsdecode(arguments[0]))


sys.addaudithook(_listen)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Names of the files opened by HDF5, from here on, and by Python, while the set is in `_opened`."""
    names: set[str] = set()

    class File(h5py.File):
        def __init__(self, name: Any, *args: Any, **more: Any) -> None:
            names.add(os.fsdecode(name))
            super().__init__(name, *args, **more)

    monkeypatch.setattr(h5py, "File", File)
    return names


@pytest.mark.filterwarnings(
    "ignore::armseg_core.errors.ArmsegWarning"
)  # MCubeS: what the angles were taken for
@each_case
def test_a_reader_opens_nothing_it_does_not_name(
    tmp_path: Path, opened: set[str], write: Callable[[Path], Case]
) -> None:
    source, modality, values, expected = write(tmp_path)
    options = SENSORS[modality].options.parse(values)
    reader = sniff(source, modality)
    files = reader.files(source, options)
    assert set(files) == {tmp_path / name for name in expected}
    assert len(files) == len(expected)
    assert set(recording_files(source, modality, options)) == set(files)
    opened.clear()
    _opened.append(opened)
    try:
        recording = reader.read(source, options)
        if modality == "event":
            with recording:
                assert len(recording.read_index(0, recording.count))
    finally:
        _opened.pop()
    inside = {Path(name) for name in opened if Path(name).is_relative_to(tmp_path)}
    # times of windows are not for `read`; the parts of a bag are opened by SQLite, which tells nobody
    unseen = {path for path in files if path in values.values() or path.suffix == ".db3"}
    assert set(files) - unseen <= inside <= set(files)


@each_case
def test_any_changed_file_makes_output_and_cached_frame_stale(
    tmp_path: Path, write: Callable[[Path], Case]
) -> None:
    source, modality, options, expected = write(tmp_path)
    (tmp_path / "notes.txt").write_text("of no recording")

    def convert() -> str:
        output = tmp_path / "out" / "made.h5"
        done = convert_recording(str(source), str(output), modality=modality, options=options)
        assert done["error"] is None
        return done["status"]

    def key() -> str:
        return cache_key(source, {"modality": modality, "size": (6, 8), "at_us": None, "options": options})

    keys = [key()]
    assert [convert(), convert()] == ["converted", "skipped"]
    change(tmp_path / "notes.txt")
    assert (convert(), key()) == ("skipped", keys[0])
    for name in expected:
        change(tmp_path / name)
        keys.append(key())
        assert [convert(), convert()] == ["converted", "skipped"], name
    assert len(set(keys)) == len(expected) + 1


def test_every_format_with_files_beside_it_is_in_this_contract(tmp_path: Path) -> None:
    tried = set()
    for write in WRITERS:
        folder = tmp_path / write.__name__
        folder.mkdir()
        source, modality, _, _ = write(folder)
        tried.add(sniff(source, modality).beside)
    assert {row.beside for row in readers_for()} - {nothing_beside} <= tried


def test_a_file_that_appears_changes_the_answer(tmp_path: Path) -> None:
    source = mosaic(tmp_path)[0]
    options = SENSORS["polarization"].options()
    assert recording_files(source, "polarization", options) == (source,)
    angle_pictures(tmp_path, "x_{}.png")
    assert len(recording_files(source, "polarization", options)) == 4


@pytest.mark.parametrize("name", ["event", "depth"])
def test_a_sensor_tensor_file_consists_of_itself(tmp_path: Path, name: str) -> None:
    source, _, values, _ = (dsec if name == "event" else depth)(tmp_path)
    tensor = tmp_path / "made.h5"
    to_tensor(source, modality=name, options=values).save(tensor)
    assert recording_files(tensor, name, SENSORS[name].options.parse(values)) == (tensor,)


def test_what_is_no_recording_is_stamped_with_all_that_could_be_read(tmp_path: Path) -> None:
    rectify_map(tmp_path / "rectify_map.h5")
    picture = png(tmp_path / "picture.png", np.zeros((6, 8, 3), np.uint8))
    files = recording_files(picture, "event", SENSORS["event"].options())
    assert set(files) == {picture, tmp_path / "rectify_map.h5"}


def test_files_of_one_name_are_told_apart_in_what_the_output_says(tmp_path: Path) -> None:
    source = angles_in_folders(tmp_path)[0]
    files = plan_conversion(source, modality="polarization").parameters["files"]
    assert set(files) == {"../45/x.png", "../90/x.png", "../135/x.png"}


@pytest.mark.parametrize("level", ["cache_mb", "cache_dir"])
@pytest.mark.parametrize("write", [angles, kitti_object])
def test_a_data_set_gives_the_new_tensor_when_a_companion_changes(
    tmp_path: Path, write: Callable[[Path], Case], level: str
) -> None:
    root = tmp_path / "set"
    root.mkdir()
    source, modality, _, _ = write(root)
    sample = source.stem.removeprefix("x_")
    write_rgb(root / "rgb" / f"{sample}.png", np.zeros((30, 44, 3), np.uint8))
    write_label(root / "label" / f"{sample}.png", np.zeros((30, 44), np.uint8))
    (root / "splits").mkdir()
    (root / "splits" / "train.txt").write_text(f"{sample}\n")
    write_toml(root, "kind", (), ("train",), False, "", "")
    with (root / "dataset.toml").open("a") as file:
        path = source.relative_to(root).as_posix().replace(sample, "{id}")
        file.write(f'[modalities.{modality}]\npath = "{path}"\n')
    settings: dict[str, Any] = {level: 8 if level == "cache_mb" else tmp_path / "cache"}
    dataset = open_dataset(root, "train", **settings)
    before = dataset.load(0).sensors[modality]
    if write is angles:
        png(root / "x_90.png", np.zeros((6, 8), np.uint16))
    else:
        moved = VELODYNE.copy()
        moved[0, 3] += 1
        (root / "calib" / "000007.txt").write_text(
            numbers("P2", P2) + numbers("R0_rect", RECTIFY) + numbers("Tr_velo_to_cam", moved)
        )
    after = dataset.load(0).sensors[modality]
    assert not np.array_equal(after, before)
    np.testing.assert_array_equal(after, open_dataset(root, "train").load(0).sensors[modality])
