"""Folder data sets: dataset.toml, loading, sizes, missing files, the cache."""

from __future__ import annotations

import os
import pickle
import time
from pathlib import Path

import numpy as np
import pytest
from conversions import note_conversions
from dataset_writer import (
    CLASSES,
    label_of,
    place,
    write_folder_dataset,
    write_label,
    write_rgb,
    write_tensor,
)

from armseg_core.data import open_dataset
from armseg_core.data.cache import TensorCache, cache_key
from armseg_core.data.folder import FolderDataset, fill, read_ids
from armseg_core.data.sample import ClassInfo, Sample, default_color
from armseg_core.errors import DataSetError, FormatError, InputError, UsageError
from armseg_core.files.tensor_file import SensorTensor, TensorFile
from armseg_core.sensors.modalities import MODALITIES

H, W = 24, 32


@pytest.fixture(params=["scene", "kind"])
def layout(request) -> str:
    return request.param


@pytest.fixture
def folder(tmp_path: Path, layout: str) -> Path:
    return write_folder_dataset(tmp_path / "data", layout=layout)


def edit(folder: Path, old: str, new: str) -> Path:
    path = folder / "dataset.toml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    return folder


def test_a_sample_holds_what_the_files_hold(folder: Path, layout: str) -> None:
    dataset = open_dataset(folder, "val")
    assert isinstance(dataset, FolderDataset)
    assert (dataset.name, dataset.split, dataset.ids) == ("toy", "val", ("0004", "0005"))
    assert (dataset.splits, dataset.modalities) == (("train", "val", "test"), ("depth", "event"))
    assert dataset.classes == tuple(ClassInfo(name, color) for name, color in CLASSES)
    assert dataset.palette.tolist() == [list(color) for _, color in CLASSES]
    sample = dataset.load(1)
    assert (sample.id, sample.size) == ("0005", (H, W))
    np.testing.assert_array_equal(sample.label, label_of(5, (H, W)))
    with TensorFile(folder / place(layout, "event", "0005", "h5")) as file:
        np.testing.assert_array_equal(sample.sensors["event"], file.frame(0))
    assert set(sample.sensors) == {"depth", "event"}
    assert 0 <= sample.rgb.min() < 0.1 < 0.9 < sample.rgb.max() <= 1
    assert dataset.caption(1) == "a street, scene 5"


def test_only_the_asked_sensors_are_converted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = note_conversions(monkeypatch)
    assert set(open_dataset(folder, "train", ("depth",)).load(0).sensors) == {"depth"}
    assert open_dataset(folder, "train", ()).load(0).sensors == {}
    dataset = open_dataset(folder, "train")
    assert set(dataset.load(0, ("event",)).sensors) == {"event"}
    assert [call["modality"] for call in calls] == ["depth", "event"]


def test_aliases_name_sensors(folder: Path) -> None:
    assert open_dataset(folder, "train", ("dvs", "events")).selected == ("event",)


def test_size_resizes_everything_by_its_rule(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = note_conversions(monkeypatch)
    small = open_dataset(folder, "train", size=(12, 16)).load(0)
    whole = open_dataset(folder, "train", ()).load(0)
    assert {call["size"] for call in calls} == {(12, 16)}
    assert small.sensors["event"].shape == (5, 12, 16)
    np.testing.assert_allclose(small.rgb, whole.rgb.reshape(3, 12, 2, 16, 2).mean((2, 4)), atol=1e-6)
    np.testing.assert_array_equal(small.label, whole.label[1::2, 1::2])


def test_sensors_are_asked_at_the_size_of_the_image(folder: Path, layout: str) -> None:
    write_tensor(folder / place(layout, "event", "0000", "h5"), "event", np.ones((5, 7, 9), np.float32))
    sample = open_dataset(folder, "train").load(0)
    assert sample.sensors["event"].shape == (5, H, W)


def test_a_sample_may_lack_a_sensor_a_label_or_a_caption(folder: Path, layout: str) -> None:
    for kind, suffix in (("event", "h5"), ("label", "png"), ("caption", "txt")):
        (folder / place(layout, kind, "0001", suffix)).unlink()
    dataset = open_dataset(folder, "train")
    sample = dataset.load(1)
    assert set(sample.sensors) == {"depth"}
    assert sample.label is None
    assert dataset.caption(1) is None
    assert dataset.indices_with("event") == [0, 2, 3]
    assert dataset.indices_with(None) == [0, 1, 2, 3]
    assert not dataset.has(1, "event")


def test_a_missing_image_is_an_error(folder: Path, layout: str) -> None:
    (folder / place(layout, "rgb", "0001", "png")).unlink()
    with pytest.raises(InputError, match="no such file"):
        open_dataset(folder, "train", ()).load(1)


def test_a_label_of_another_size_is_refused(folder: Path, layout: str) -> None:
    write_label(folder / place(layout, "label", "0000", "png"), np.zeros((H, W + 1), np.uint8))
    with pytest.raises(DataSetError, match="33x24 and the RGB image 32x24"):
        open_dataset(folder, "train", ()).load(0)


def test_label_values_outside_the_class_list_are_named(folder: Path, layout: str) -> None:
    label = label_of(0, (H, W))
    label[3, 3], label[4, 4] = 7, 3
    write_label(folder / place(layout, "label", "0000", "png"), label)
    with pytest.raises(DataSetError, match=r"label values 3, 7 name no class \(expected 0 to 2 or 255"):
        open_dataset(folder, "train", ()).load(0)


def test_label_map_turns_stored_values_into_classes(tmp_path: Path) -> None:
    folder = write_folder_dataset(tmp_path, label_extra="map = { 0 = 2, 2 = 0, 9 = 255 }")
    label = label_of(0, (H, W))
    label[0, 1] = 9
    write_label(folder / "0000/label.png", label)
    loaded = open_dataset(folder, "train", ()).load(0).label
    wanted = np.where(label == 255, 255, 2 - label.astype(int))  # swapped; chained 0 -> 2 -> 0 would be wrong
    wanted[0, 1] = 255
    np.testing.assert_array_equal(loaded, wanted)


def test_labels_painted_in_the_class_colors(tmp_path: Path) -> None:
    folder = write_folder_dataset(tmp_path, label_extra='encoding = "color"')
    palette = np.array([color for _, color in CLASSES], np.uint8)
    stored = label_of(0, (H, W))
    painted = palette[np.where(stored == 255, 0, stored)]
    painted[0, 0] = (9, 9, 9)
    write_rgb(folder / "0000/label.png", painted)
    np.testing.assert_array_equal(open_dataset(folder, "train", ()).load(0).label, stored)


def test_times_and_options_reach_the_conversion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_folder_dataset(tmp_path, modalities=("event",), extra_toml="[times]\npath = 'times.txt'\n")
    edit(
        folder,
        'events.h5"' if "events.h5" in (folder / "dataset.toml").read_text() else 'event.h5"',
        'event.h5"\noptions = { window = "20ms", rectify_map = "{id}/map.h5", bins = 5 }',
    )
    (folder / "times.txt").write_text("# id us\n" + "".join(f"{n:04d} {10**12 + n}\n" for n in range(7)))
    calls = note_conversions(monkeypatch)
    open_dataset(folder, "train").load(3)
    assert calls[0]["at_us"] == 10**12 + 3
    assert calls[0]["options"] == {
        "window": "20ms",
        "rectify_map": folder / "0003/map.h5",
        "bins": 5,
    }
    with pytest.raises(DataSetError, match="no time for sample '0007'"):
        open_dataset(folder, "test").load(1)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("format_version = 1", "format_version = 2", r"'format_version' is 2"),
        ("format_version = 1\n", "", r"'format_version' is missing"),
        ("ignore_index", "ignore_indx", r"unknown name 'ignore_indx', did you mean 'ignore_index'\?"),
        ("color = [128", "colour = [128", r"unknown name 'classes\.0\.colour', did you mean 'color'\?"),
        ("color = [128, 64, 128]", "color = [128, 64]", r"'classes\.0\.color"),
        ("color = [128, 64, 128]", "color = [128, 64, 300]", r"'classes\.0\.color\.2' is 300"),
        ("[modalities.depth]", "[modalities.dept]", r"one of rgb, event.*got 'dept', did you mean 'depth'\?"),
        ("[modalities.depth]", "[modalities.rgb]", r"no rgb here"),
        ('name = "person"', 'name = "Car"', r"given more than once: car"),
        ("[rgb]\n", "[rgb]\npaht = 'x'\n", r"unknown name 'rgb\.paht', did you mean 'path'\?"),
        (
            'path = "{id}/rgb.png"',
            'path = "rgb.png"',
            r"'rgb\.path' is 'rgb\.png' \(expected a path with \{id\}",
        ),
        ('path = "{id}/rgb.png"', 'path = "{name}/rgb.png"', r"no other braces than \{id\}"),
        ('path = "{id}/rgb.png"', 'path = "{id/rgb.png"', r"balanced"),
        (
            "[modalities.event]\n",
            "[modalities.event]\noptions = { rectify_map = '{scene}/map.h5' }\n",
            r"modalities\.event\.options\.rectify_map with no other braces",
        ),
        ('path = "{id}/rgb.png"', 'path = "../{id}.png"', r"inside the data set's folder"),
        ('path = "{id}/rgb.png"', 'path = "/x/{id}.png"', r"inside the data set's folder"),
        ("[label]\n", "[label]\nmap = { 0 = 9 }\n", r"label\.map to class indices 0 to 2 or 255, got \[9\]"),
        ("[label]\n", "[label]\nencoding = 'rgb'\n", r"'label\.encoding' is 'rgb'"),
        (
            "[modalities.depth]\n",
            "[modalities.depth]\noptions = { dept_unit = 'mm' }\n",
            r"modalities\.depth\.options.*unknown option 'dept_unit'.*did you mean 'depth_unit'",
        ),
        ("[splits]", "[splits", r"not valid TOML"),
    ],
)
def test_dataset_toml_is_strict_and_helps(tmp_path: Path, old: str, new: str, message: str) -> None:
    folder = edit(write_folder_dataset(tmp_path), old, new)
    with pytest.raises(DataSetError, match=message) as error:
        open_dataset(folder, "train")
    assert str(folder / "dataset.toml") in str(error.value)


def test_several_problems_are_counted(tmp_path: Path) -> None:
    folder = edit(edit(write_folder_dataset(tmp_path), "ignore_index", "ignore_indx"), "[rgb]", "[rbg]")
    with pytest.raises(DataSetError, match=r"armseg check .* lists all 3 problems"):
        open_dataset(folder, "train")


def test_missing_and_empty_split_files(folder: Path) -> None:
    (folder / "splits/test.txt").unlink()
    with pytest.raises(InputError, match=r"test\.txt: no such file"):
        open_dataset(folder, "test")
    (folder / "splits/val.txt").write_text("\n# nothing\n")
    with pytest.raises(DataSetError, match=r"split 'val'.*is empty"):
        open_dataset(folder, "val")
    with pytest.raises(UsageError, match=r"no split 'valid'.*one of train, val, test"):
        open_dataset(folder, "valid")


def test_ids_that_leave_the_folder_are_refused(tmp_path: Path) -> None:
    for bad in ("../x", "/etc/x", "a/../../x"):
        (tmp_path / "ids.txt").write_text(bad)
        with pytest.raises(DataSetError, match="leaves"):
            read_ids(tmp_path / "ids.txt")


def test_placeholders() -> None:
    assert fill("{parent}/rgb/{stem}.png", "town/3/0001") == "town/3/rgb/0001.png"
    assert fill("rgb/{id}.png", "town/3/0001") == "rgb/town/3/0001.png"


def test_default_colors_are_those_of_pascal_voc() -> None:
    assert [default_color(i) for i in (0, 1, 2, 6, 14)] == [
        (128, 0, 0),
        (0, 128, 0),
        (128, 128, 0),
        (128, 128, 128),
        (192, 128, 128),
    ]
    assert len({default_color(i) for i in range(200)}) == 200


def test_a_data_set_travels_to_a_worker_without_its_cached_frames(folder: Path) -> None:
    dataset = open_dataset(folder, "train", cache_mb=8)
    dataset.load(0)
    assert dataset._cache.used > 0
    copy = pickle.loads(pickle.dumps(dataset))
    assert (copy._cache.used, len(copy._cache._entries)) == (0, 0)
    np.testing.assert_array_equal(copy.load(0).sensors["depth"], dataset.load(0).sensors["depth"])


# -- cache


def test_frames_are_converted_once_with_either_level(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = open_dataset(folder, "train").load(0)
    for settings in ({"cache_mb": 8}, {"cache_dir": tmp_path / "cache"}):
        calls = note_conversions(monkeypatch)
        dataset = open_dataset(folder, "train", **settings)
        first = dataset.load(0)
        first.sensors["depth"][:] = -1  # the caller's own array: writing to it harms nobody
        dataset.load(0).sensors["depth"][:] = -2
        again = dataset.load(0)
        assert len(calls) == 2, settings
        for name, tensor in plain.sensors.items():
            np.testing.assert_array_equal(again.sensors[name], tensor)


def test_the_folder_level_serves_other_processes(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_dataset(folder, "train", cache_dir=tmp_path / "cache").load(0)
    calls = note_conversions(monkeypatch)
    open_dataset(folder, "train", cache_dir=tmp_path / "cache").load(0)
    assert calls == []
    open_dataset(folder, "train", size=(12, 16), cache_dir=tmp_path / "cache").load(0)
    assert len(calls) == 2  # another size is another frame


def test_a_damaged_cache_file_is_made_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    open_dataset(folder, "train", ("depth",), cache_dir=cache).load(0)
    (file,) = cache.iterdir()
    file.write_bytes(file.read_bytes()[:100])
    calls = note_conversions(monkeypatch)
    sample = open_dataset(folder, "train", ("depth",), cache_dir=cache).load(0)
    assert len(calls) == 1
    np.testing.assert_array_equal(
        sample.sensors["depth"], open_dataset(folder, "train").load(0).sensors["depth"]
    )
    with TensorFile(file) as whole:
        assert len(whole) == 1


def test_the_memory_level_is_bounded_and_drops_the_least_recently_used(tmp_path: Path) -> None:
    frame = np.zeros((3, 64, 64), np.float32)
    sources = [tmp_path / f"{n}.h5" for n in range(4)]
    for n, source in enumerate(sources):
        write_tensor(source, "depth", frame + n)
    made: list[int] = []

    def make(n: int) -> SensorTensor:
        made.append(n)
        with TensorFile(sources[n]) as file:
            return file.read()

    cache = TensorCache(memory_mb=2.5 * frame.nbytes / 2**20)  # room for two
    for n in (0, 1, 0, 2, 0, 1):
        got = cache.get(sources[n], {"modality": "depth"}, lambda n=n: make(n))
        assert (got == n).all()
        assert cache.used <= cache.limit
    assert made == [0, 1, 2, 1]


def test_the_key_follows_source_companions_options_and_size(tmp_path: Path) -> None:
    source, calibration = tmp_path / "lidar.bin", tmp_path / "calib.json"
    source.write_bytes(b"12")
    parameters = {"modality": "lidar", "size": (3, 4), "options": {}}
    keys = [cache_key(source, parameters)]
    assert cache_key(source, dict(parameters)) == keys[0]
    calibration.write_text("{}")
    keys.append(cache_key(source, parameters))
    os.utime(source, ns=(time.time_ns(), time.time_ns() + 10**9))
    keys.append(cache_key(source, parameters))
    keys.append(cache_key(source, {**parameters, "size": (3, 5)}))
    keys.append(cache_key(source, {**parameters, "options": {"image_size": "3x4"}}))
    views = tmp_path / "views"
    views.mkdir()
    (views / "1_1.png").touch()
    keys.append(cache_key(views, parameters))
    (views / "1_1.png").write_bytes(b"1")
    keys.append(cache_key(views, parameters))
    assert len(set(keys)) == len(keys)


def test_conversion_errors_reach_the_user(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*, path, **_):
        raise FormatError("truncated", where=path)

    note_conversions(monkeypatch, broken)
    with pytest.raises(FormatError, match=r"event.*truncated|depth.*truncated"):
        open_dataset(folder, "train", cache_mb=4).load(0)


@pytest.mark.parametrize(
    ("rgb", "label", "sensors"),
    [
        (np.zeros((3, 4, 5)), None, {}),  # float64
        (np.zeros((4, 5, 3), np.float32), None, {}),
        (np.zeros((3, 4, 5), np.float32), np.zeros((4, 5), np.uint8), {}),
        (np.zeros((3, 4, 5), np.float32), np.zeros((5, 4), np.int64), {}),
        (np.zeros((3, 4, 5), np.float32), None, {"depth": np.zeros((1, 4, 5), np.float32)}),
        (np.zeros((3, 4, 5), np.float32), None, {"thermal": np.zeros((1, 4, 6), np.float32)}),
    ],
)
def test_a_sample_checks_its_arrays(rgb, label, sensors) -> None:
    with pytest.raises(DataSetError, match="expected"):
        Sample("s", rgb, label, sensors)


def test_sample_tensors_are_those_of_the_sensor_table(folder: Path) -> None:
    sample = open_dataset(folder, "train").load(0)
    for name, tensor in sample.sensors.items():
        assert tensor.shape == (MODALITIES[name].num_channels, *sample.size)
        assert tensor.dtype == np.float32
