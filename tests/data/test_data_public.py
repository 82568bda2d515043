"""Public data sets: tiny folders in each layout, classes, label coding and what is asked of the converter.

The real data sets are not at hand; their layouts are those of the published loaders.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from armseg_core.data import open_dataset
from armseg_core.data.registry import DATASETS
from armseg_core.errors import ArmsegWarning, DataSetError, InputError, UsageError
from armseg_core.files.tensor_file import SensorTensor, TensorInfo
from armseg_core.sensors.modalities import MODALITIES

H, W = 12, 16


class Converter:
    """Stands in for `conversion.to_tensor`: gives zeros and notes what it was asked."""

    def __init__(self) -> None:
        self.calls: list[tuple] = []

    def __call__(self, path, *, modality, size, at_us, options) -> SensorTensor:
        assert Path(path).exists()
        self.calls.append((Path(path), modality, size, at_us, options))
        row = MODALITIES[modality]
        units = ("1",) * row.num_channels
        info = TensorInfo(modality, row.representation, row.channels, units, row.value_range)
        return SensorTensor(np.zeros((1, row.num_channels, *size), np.float32), np.zeros(1, np.int64), info)


def image(path: Path, size: tuple[int, int] = (H, W), channels: int = 3, dtype: type = np.uint8) -> None:
    """Writes a picture of random values."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = size if channels == 1 else (*size, channels)
    pixels = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape).astype(dtype)
    order = {1: slice(None), 3: [2, 1, 0], 4: [2, 1, 0, 3]}[channels]
    cv2.imwrite(str(path), pixels if channels == 1 else pixels[..., order])


def gray(path: Path, values: list[int], size: tuple[int, int] = (H, W)) -> None:
    """A gray PNG whose rows cycle through `values`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = np.resize(np.array(values, np.uint8), size[0])
    Image.fromarray(np.repeat(rows[:, None], size[1], 1)).save(path)


def text(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def names(dataset) -> list[str]:
    return [info.name for info in dataset.classes]


def column(dataset, index: int = 0) -> list[int]:
    """The first column of a label, up to the number of rows that the tests write."""
    return dataset.load(index).label[:, 0].tolist()


def test_mfnet_original_release(tmp_path: Path) -> None:
    for name in ("00001D", "00002N"):
        image(tmp_path / f"images/{name}.png", channels=4)
        gray(tmp_path / f"labels/{name}.png", list(range(9)))
    text(tmp_path / "train.txt", "00001D")
    text(tmp_path / "val.txt", "00002N")
    text(tmp_path / "test.txt", "00002N")
    converter = Converter()
    dataset = open_dataset(tmp_path, "test", to_tensor=converter)
    assert (dataset.name, dataset.splits) == ("MFNet", ("train", "val", "test"))
    assert dataset.modalities == ("thermal",)
    assert dataset.ids == ("00002N",)
    assert len(dataset.classes) == 9
    assert names(dataset)[:3] == ["unlabeled", "car", "person"]
    assert dataset.palette[1].tolist() == [64, 0, 128]
    assert column(dataset) == [0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 1, 2]  # unlabeled counts
    assert converter.calls == [(tmp_path / "images/00002N.png", "thermal", (H, W), None, {})]


def test_mfnet_peer_layout(tmp_path: Path) -> None:
    image(tmp_path / "rgb/1.jpg")
    image(tmp_path / "ther/1.jpg", channels=1)
    gray(tmp_path / "labels/1.png", [8])
    text(tmp_path / "test.txt", "1 rest of the line")
    converter = Converter()
    dataset = open_dataset(tmp_path, "test", to_tensor=converter)
    assert (dataset.name, dataset.splits, dataset.ids) == ("MFNet", ("test",), ("1",))
    assert set(dataset.load(0).label.ravel()) == {8}
    assert converter.calls[0][0] == tmp_path / "ther/1.jpg"


@pytest.mark.parametrize(
    ("name", "folders", "classes"),
    [("PST900", ("rgb", "thermal", "labels"), 5), ("FMB", ("Visible", "Infrared", "Label"), 15)],
)
def test_pst900_and_fmb(tmp_path: Path, name: str, folders: tuple[str, str, str], classes: int) -> None:
    for split, stem in (("train", "b"), ("train", "a"), ("test", "a")):
        image(tmp_path / split / folders[0] / f"{stem}.png")
        image(tmp_path / split / folders[1] / f"{stem}.png", channels=1)
        gray(tmp_path / split / folders[2] / f"{stem}.png", [0, classes - 1])
    converter = Converter()
    dataset = open_dataset(tmp_path, "train", to_tensor=converter)
    assert (dataset.name, dataset.ids, len(dataset.classes)) == (name, ("train/a", "train/b"), classes)
    assert set(column(dataset)) == {0, classes - 1}  # background counts
    assert converter.calls[0][0] == tmp_path / "train" / folders[1] / "a.png"


def test_nyu_depth_v2(tmp_path: Path) -> None:
    for name in ("1", "2"):
        image(tmp_path / f"RGB/{name}.jpg")
        gray(tmp_path / f"Label/{name}.png", [0, 1, 40, 255])
    image(tmp_path / "Depth/1.png", channels=1, dtype=np.uint16)
    hha = np.full((H, W, 3), (124, 60, 90), np.uint8)  # 31000 / 124 = 250 cm
    (tmp_path / "HHA").mkdir()
    Image.fromarray(hha).save(tmp_path / "HHA/2.jpg", quality=100)
    text(tmp_path / "train.txt", "1", "2")
    text(tmp_path / "test.txt", "2")
    converter = Converter()
    dataset = open_dataset(tmp_path, "train", to_tensor=converter)
    assert (dataset.name, dataset.splits) == ("NYU Depth V2", ("train", "test"))
    assert len(dataset.classes) == 40
    assert (names(dataset)[0], names(dataset)[4], names(dataset)[39]) == ("wall", "chair", "other prop")
    assert column(dataset)[:4] == [255, 0, 39, 255]
    assert converter.calls == [(tmp_path / "Depth/1.png", "depth", (H, W), None, {"depth_unit": "mm"})]
    with pytest.warns(ArmsegWarning, match="first channel of HHA"):
        depth, valid, inverse = open_dataset(tmp_path, "train").load(1).sensors["depth"]
    np.testing.assert_allclose(depth, 2.5, atol=0.05)
    np.testing.assert_allclose(inverse, 0.4, atol=0.01)
    assert (valid == 1).all()


def mcubes(root: Path, angle: np.ndarray, doubled: bool) -> None:
    factor = 2 if doubled else 1
    size = angle.shape
    image(root / "polL_color/s_1.png", size, dtype=np.uint16)
    gray(root / "GT/s_1.png", [0, 19, 255], size)
    for folder, array in (
        ("polL_dolp", np.full(size, 0.4) - 0.5 * (angle == 0)),
        ("polL_aolp_sin", np.sin(factor * angle)),
        ("polL_aolp_cos", np.cos(factor * angle)),
    ):
        (root / folder).mkdir(parents=True)
        np.save(root / folder / "s_1.npy", array.astype(np.float32))
    text(root / "list_folder/train.txt", "s_1")


@pytest.mark.filterwarnings("ignore:polL_aolp_sin")
@pytest.mark.parametrize("doubled", [False, True])
def test_mcubes_cuts_192_columns_and_encodes_twice_the_angle(tmp_path: Path, doubled: bool) -> None:
    angle = np.random.default_rng(0).uniform(0.01, np.pi, (H, 192 + W))
    angle[0, 192] = 0
    mcubes(tmp_path, angle, doubled)
    dataset = open_dataset(tmp_path, "train")
    assert (dataset.name, len(dataset.classes), dataset.ignore_index) == ("MCubeS", 20, 255)
    assert (names(dataset)[0], names(dataset)[19]) == ("asphalt", "sky")
    sample = dataset.load(0)
    pixels = cv2.imread(str(tmp_path / "polL_color/s_1.png"), cv2.IMREAD_UNCHANGED)[:, 192:, ::-1]
    np.testing.assert_allclose(sample.rgb, pixels.transpose(2, 0, 1) / 65535, atol=1e-6)  # 16 bits kept
    assert column(dataset)[:3] == [0, 19, 255]
    s0, dolp, sine, cosine = sample.sensors["polarization"]
    cut = angle[:, 192:]
    polarized = dolp > 0  # elsewhere there is no angle
    np.testing.assert_allclose(sine, np.sin(2 * cut) * polarized, atol=1e-5)
    np.testing.assert_allclose(cosine, np.cos(2 * cut) * polarized, atol=1e-5)
    np.testing.assert_allclose(s0, pixels @ np.array([0.299, 0.587, 0.114]) / 65535, atol=1e-5)
    assert dolp[0, 0] == 0  # small negative measurements are cut at 0
    np.testing.assert_allclose(dolp[1:], 0.4, atol=1e-6)


def urbanlf(root: Path, scene: str) -> None:
    for u in range(1, 10):
        for v in range(1, 10):
            image(root / scene / f"{u}_{v}.png", channels=4 if u == 5 else 3)


def test_urbanlf_synthetic_labels_are_numbers(tmp_path: Path) -> None:
    urbanlf(tmp_path / "Syn", "train/Image7")
    label = np.zeros((H, W), np.int64)
    label[1:5, 0] = [1, 14, 255, 4]
    np.save(tmp_path / "Syn/train/Image7/5_5_label.npy", label)
    converter = Converter()
    dataset = open_dataset(tmp_path / "Syn", "train", to_tensor=converter)
    assert (dataset.name, dataset.splits, dataset.ids) == ("UrbanLF", ("train",), ("train/Image7",))
    assert len(dataset.classes) == 14
    assert (names(dataset)[0], names(dataset)[3], names(dataset)[13]) == ("bike", "others", "sky")
    assert column(dataset)[:5] == [255, 0, 13, 255, 3]
    assert converter.calls[0][:2] == (tmp_path / "Syn/train/Image7", "light_field")


def test_urbanlf_real_labels_are_colors_and_unknown_colors_are_ignored(tmp_path: Path) -> None:
    urbanlf(tmp_path, "val/Image1")
    urbanlf(tmp_path, "test/Image2")
    painted = np.zeros((H, W, 3), np.uint8)  # black is "others"
    painted[0], painted[1], painted[2] = (168, 198, 168), (158, 179, 202), (1, 2, 3)
    Image.fromarray(painted).save(tmp_path / "val/Image1/label.png")
    dataset = open_dataset(tmp_path, "val", ())
    assert dataset.splits == ("val", "test")
    assert column(dataset)[:4] == [0, 13, 255, 3]
    assert open_dataset(tmp_path, "test", ()).load(0).label is None  # withheld


def test_ddd17_places_events_by_their_statistics(tmp_path: Path) -> None:
    image(tmp_path / "images/train/rec1_export_3.png", channels=1)
    gray(tmp_path / "labels/train/rec1_export_3.png", [0, 5, 255])
    array = np.zeros((H, W, 6), np.float32)
    array[2, 3] = [4, 0, 0.5, 0.25, 0, 0]  # four positive events at 0.25 and 0.75 of the window: bins 1 and 3
    array[5, 6] = [0, 2, 0, 0, 1.0, 0]  # two negative events at its end: bin 4
    (tmp_path / "events/train").mkdir(parents=True)
    np.save(tmp_path / "events/train/rec1_export_3.npy", array)
    dataset = open_dataset(tmp_path, "train")
    assert (dataset.name, dataset.ids, len(dataset.classes)) == ("DDD17", ("train/rec1_export_3",), 6)
    sample = dataset.load(0)
    assert sample.label[:3, 0].tolist() == [0, 5, 255]
    grid = sample.sensors["event"]
    values = np.array([2.0, 2.0, -2.0])  # the non-zero cells before normalization
    scaled = (values - values.mean()) / values.std(ddof=1)
    np.testing.assert_allclose(grid[:, 2, 3], [0, scaled[0], 0, scaled[1], 0], atol=1e-6)
    np.testing.assert_allclose(grid[:, 5, 6], [0, 0, 0, 0, scaled[2]], atol=1e-6)
    assert np.count_nonzero(grid) == 3


def dsec(root: Path, sequence: str, labels: str, times: str, pictures: str, count: int = 12) -> None:
    folder = root / sequence
    (folder / "events/left").mkdir(parents=True)
    (folder / "events/left/events.h5").touch()
    for number in range(count):
        image(folder / pictures / f"{number:06d}.png", (480, 640))
        gray(folder / labels / f"{number:06d}.png", [0, 10, 255], (440, 640))
    text(folder / times, *(str(10**10 + 50_000 * number) for number in range(count)))


@pytest.mark.parametrize(
    ("labels", "times", "pictures"),
    [
        ("semantic/11classes/data", "semantic/timestamps.txt", "images/left/ev_inf"),
        ("11classes", "zurich_01_semantic_timestamps.txt", "images_aligned/left"),
    ],
)
def test_dsec_semantic(tmp_path: Path, labels: str, times: str, pictures: str) -> None:
    dsec(tmp_path, "train/zurich_01", labels, times, pictures)
    converter = Converter()
    dataset = open_dataset(tmp_path, "train", size=(44, 64), to_tensor=converter)
    assert (dataset.name, dataset.splits, len(dataset.classes)) == ("DSEC-Semantic", ("train",), 11)
    assert dataset.ids == tuple(f"train/zurich_01/{n:06d}" for n in (6, 8, 10))  # six dropped, every second
    assert dataset.load_label(0).shape == (440, 640)
    sample = dataset.load(1)
    assert sample.size == (44, 64)
    path, modality, size, at_us, options = converter.calls[0]
    assert (path, modality) == (tmp_path / "train/zurich_01/events/left/events.h5", "event")
    assert (size, at_us, options) == ((44, 64), 10**10 + 50_000 * 8, {"crop_bottom": 40})


def test_dsec_with_19_classes_only(tmp_path: Path) -> None:
    dsec(tmp_path, "test/a", "semantic/19classes/data", "semantic/timestamps.txt", "images/left/ev_inf", 7)
    dataset = open_dataset(tmp_path, "test", ())
    assert (len(dataset), len(dataset.classes), names(dataset)[0]) == (1, 19, "road")


def test_dsec_needs_one_time_per_label(tmp_path: Path) -> None:
    dsec(tmp_path, "train/a", "11classes", "semantic/timestamps.txt", "images/left/ev_inf", 8)
    text(tmp_path / "train/a/semantic/timestamps.txt", "1", "2")
    with pytest.raises(DataSetError, match="2 times for 8 labels"):
        open_dataset(tmp_path, "train", ())


def test_deliver(tmp_path: Path) -> None:
    place = "cloud/train/MAP_1_point2/000010"
    image(tmp_path / f"img/{place}_rgb_front.png", channels=4)
    image(tmp_path / f"depth/{place}_depth_front.png")
    red = np.zeros((H, W, 3), np.uint8)
    red[0, 0] = [255, 0, 0]
    red[0, 1] = [0, 0, 255]
    (tmp_path / "event/cloud/train/MAP_1_point2").mkdir(parents=True)
    Image.fromarray(red).save(tmp_path / f"event/{place}_event_front.png")
    label = np.zeros((H, W, 4), np.uint8)
    label[:4, :, 0] = np.array([0, 1, 25, 255])[:, None]
    label[..., 3] = 255
    (tmp_path / "semantic/cloud/train/MAP_1_point2").mkdir(parents=True)
    Image.fromarray(label).save(tmp_path / f"semantic/{place}_semantic_front.png")
    converter = Converter()
    dataset = open_dataset(tmp_path, "train", to_tensor=converter)
    assert (dataset.name, dataset.ids, dataset.modalities) == ("DELIVER", (place,), ("depth", "event"))
    assert len(dataset.classes) == 25
    assert (names(dataset)[0], names(dataset)[24]) == ("building", "truck")
    sample = dataset.load(0)
    assert sample.label[:4, 0].tolist() == [255, 0, 24, 255]
    assert converter.calls[0][4] == {"depth_unit": "carla"}
    event = open_dataset(tmp_path, "train", ("event",)).load(0).sensors["event"]
    assert (event == event[0]).all()
    assert event[0, 0, 0] == -event[0, 0, 1] > 0
    assert np.count_nonzero(event[0]) == 2


@pytest.mark.parametrize(
    "kind", [kind for kind in DATASETS if kind.title != "folder data set"], ids=lambda kind: kind.title
)
def test_classes_of_public_data_sets_have_names_and_colors_of_their_own(kind) -> None:
    if not hasattr(kind, "classes"):
        pytest.skip("its classes depend on the folder")
    assert len({info.name for info in kind.classes}) == len(kind.classes)
    assert len({info.color for info in kind.classes}) == len(kind.classes)


def test_a_folder_of_another_kind_lists_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(DataSetError) as error:
        open_dataset(tmp_path, "train")
    for kind in DATASETS:
        assert kind.title in str(error.value)
    with pytest.raises(InputError, match="no such folder"):
        open_dataset(tmp_path / "absent", "train")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="not a folder"):
        open_dataset(tmp_path / "file", "train")


def test_unknown_split_and_sensor_name_the_known_ones(tmp_path: Path) -> None:
    image(tmp_path / "rgb/1.jpg")
    (tmp_path / "ther").mkdir()
    gray(tmp_path / "labels/1.png", [8])
    text(tmp_path / "test.txt", "1")
    with pytest.raises(UsageError, match=r"no split 'train'.*one of test"):
        open_dataset(tmp_path, "train")
    with pytest.raises(UsageError, match=r"no depth.*one of thermal"):
        open_dataset(tmp_path, "test", ("depth",))
