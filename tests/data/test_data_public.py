"""Public data sets: what every one of them has, then layouts, label coding and conversion set by set.

The real data sets are not at hand; their layouts are those of the published loaders.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import fields
from pathlib import Path

import cv2
import numpy as np
import public_sets
import pytest
from conversions import note_conversions, zeros_but_one
from PIL import Image
from public_sets import MINIATURES, H, W, gray, image, text

from armseg_core.data import DataSet, describe, open_dataset
from armseg_core.data.public import PUBLIC
from armseg_core.data.registry import BUILT_IN
from armseg_core.errors import ArmsegWarning, DataSetError, InputError, UsageError
from armseg_core.files.pictures import read_rgb, to_unit


def names(dataset: DataSet) -> list[str]:
    return [info.name for info in dataset.classes]


def column(dataset: DataSet, index: int = 0) -> list[int]:
    """The first column of a label, up to the number of rows that the tests write."""
    return dataset.load_label(index)[:, 0].tolist()


# -- every public data set

every_set = pytest.mark.parametrize("kind", PUBLIC, ids=lambda kind: kind.name)


@every_set
def test_it_says_where_it_comes_from(kind) -> None:
    published = kind.published
    assert re.search(r"et al\., .{20,}, .*\d{4}", published.citation)
    splits = {key.rpartition("/")[2] for key in published.counts}
    assert {"train", "test"} <= splits <= {"train", "val", "test"}
    assert min(published.counts.values()) > 0
    assert re.match(r"val|test", published.protocol), "begins with the split of the published figures"


@every_set
def test_its_classes_have_names_and_colors_of_their_own(kind) -> None:
    assert len({info.name for info in kind.classes}) == len(kind.classes) > 1
    assert len({info.color for info in kind.classes}) == len(kind.classes)


@every_set
@pytest.mark.filterwarnings("ignore:polL_aolp_sin")
def test_every_split_of_a_miniature_loads(kind, tmp_path: Path) -> None:
    truth = MINIATURES[kind](tmp_path)
    described = describe(tmp_path)
    assert (described.kind, described.root, described.splits) == (kind, tmp_path, tuple(truth))
    for split, expected in truth.items():
        dataset = open_dataset(described, split)
        assert type(dataset) is kind
        for field in fields(described):
            if hasattr(dataset, field.name):
                assert getattr(dataset, field.name) == getattr(described, field.name), field.name
        assert dataset.description == describe(tmp_path)
        sample = dataset.load(0)
        written = dataset.crop(to_unit(read_rgb(dataset.rgb_path(sample.id))))
        np.testing.assert_array_equal(sample.rgb, written)
        assert set(sample.sensors) == set(described.modalities)
        assert all(np.ptp(tensor) > 0 for tensor in sample.sensors.values())
        if expected is None:
            assert sample.label is None
        else:
            assert tuple(column(dataset)[: len(expected)]) == expected


@every_set
def test_no_other_kind_claims_its_folder(kind, tmp_path: Path) -> None:
    MINIATURES[kind](tmp_path)
    assert [other for other in BUILT_IN if other.matches(tmp_path)] == [kind]


# -- set by set


def test_mfnet_original_release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    public_sets.mfnet(tmp_path)
    calls = note_conversions(monkeypatch)
    dataset = open_dataset(tmp_path, "test")
    assert (dataset.name, dataset.splits) == ("MFNet", ("train", "val", "test"))
    assert dataset.modalities == ("thermal",)
    assert dataset.ids == ("00002N",)
    assert len(dataset.classes) == 9
    assert names(dataset)[:3] == ["unlabeled", "car", "person"]
    assert dataset.palette[1].tolist() == [64, 0, 128]
    dataset.load(0)
    asked = {"path": tmp_path / "images/00002N.png", "modality": "thermal", "size": (H, W)}
    assert calls == [{**asked, "at_us": None, "options": {}}]


def test_mfnet_peer_layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image(tmp_path / "rgb/1.jpg")
    image(tmp_path / "ther/1.jpg", channels=1)
    gray(tmp_path / "labels/1.png", [8])
    text(tmp_path / "test.txt", "1 rest of the line")
    calls = note_conversions(monkeypatch)
    dataset = open_dataset(tmp_path, "test")
    assert (dataset.name, dataset.splits, dataset.ids) == ("MFNet", ("test",), ("1",))
    assert set(dataset.load(0).label.ravel()) == {8}
    assert calls[0]["path"] == tmp_path / "ther/1.jpg"


@pytest.mark.parametrize(
    ("name", "write", "thermal", "classes"),
    [("PST900", public_sets.pst900, "thermal", 5), ("FMB", public_sets.fmb, "Infrared", 15)],
)
def test_pst900_and_fmb(tmp_path: Path, name: str, write, thermal: str, classes: int) -> None:
    write(tmp_path)
    gray(tmp_path / "train" / ("labels" if name == "PST900" else "Label") / "a.png", [0, classes - 1])
    dataset = open_dataset(tmp_path, "train")
    assert (dataset.name, dataset.ids, len(dataset.classes)) == (name, ("train/a", "train/b"), classes)
    assert set(column(dataset)) == {0, classes - 1}  # background counts
    assert dataset.sensor_path("train/a", "thermal") == tmp_path / "train" / thermal / "a.png"


def test_nyu_depth_v2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    public_sets.nyu_depth_v2(tmp_path)
    calls = note_conversions(monkeypatch)
    dataset = open_dataset(tmp_path, "train")
    assert (dataset.name, dataset.splits) == ("NYU Depth V2", ("train", "test"))
    assert len(dataset.classes) == 40
    assert (names(dataset)[0], names(dataset)[4], names(dataset)[39]) == ("wall", "chair", "other prop")
    dataset.load(0)
    assert (calls[0]["path"], calls[0]["options"]) == (tmp_path / "Depth/1.png", {"depth_unit": "mm"})
    with pytest.warns(ArmsegWarning, match="first channel of HHA"):
        depth, valid, inverse = dataset.load(1).sensors["depth"]
    np.testing.assert_allclose(depth, 2.5, atol=0.05)
    np.testing.assert_allclose(inverse, 0.4, atol=0.01)
    assert (valid == 1).all()


def test_mcubes_has_near_infrared_where_it_was_downloaded(tmp_path: Path) -> None:
    public_sets.mcubes(tmp_path)
    nir = open_dataset(tmp_path, "test", ("nir",)).load(0).sensors["nir"]
    assert nir.shape == (2, public_sets.H, public_sets.W)
    np.testing.assert_allclose(nir[0, :3, 0], [0, 0.2, 1], rtol=1e-6)  # 0, 51 and 255 of 8 bits
    np.testing.assert_array_equal(nir[1, :3, 0], [0, 1, 1])  # 0 is where the warp left nothing
    shutil.rmtree(tmp_path / "NIR_warped")
    assert open_dataset(tmp_path, "test").modalities == ("polarization",)


@pytest.mark.filterwarnings("ignore:polL_aolp_sin")
@pytest.mark.parametrize("doubled", [False, True])
def test_mcubes_cuts_192_columns_and_encodes_twice_the_angle(tmp_path: Path, doubled: bool) -> None:
    angle = np.random.default_rng(0).uniform(0.01, np.pi, (H, 192 + W))
    angle[0, 192] = 0
    public_sets.mcubes(tmp_path, angle, doubled)
    dataset = open_dataset(tmp_path, "train")
    assert (dataset.name, len(dataset.classes), dataset.ignore_index) == ("MCubeS", 20, 255)
    assert (names(dataset)[0], names(dataset)[19]) == ("asphalt", "sky")
    sample = dataset.load(0)
    pixels = cv2.imread(str(tmp_path / "polL_color/s_1.png"), cv2.IMREAD_UNCHANGED)[:, 192:, ::-1]
    np.testing.assert_allclose(sample.rgb, pixels.transpose(2, 0, 1) / 65535, atol=1e-6)  # 16 bits kept
    s0, dolp, sine, cosine = sample.sensors["polarization"]
    cut = angle[:, 192:]
    polarized = dolp > 0  # elsewhere there is no angle
    np.testing.assert_allclose(sine, np.sin(2 * cut) * polarized, atol=1e-5)
    np.testing.assert_allclose(cosine, np.cos(2 * cut) * polarized, atol=1e-5)
    np.testing.assert_allclose(s0, pixels @ np.array([0.299, 0.587, 0.114]) / 65535, atol=1e-5)
    assert dolp[0, 0] == 0  # small negative measurements are cut at 0
    np.testing.assert_allclose(dolp[1:], 0.4, atol=1e-6)


def test_urbanlf_opens_one_of_its_two_parts(tmp_path: Path) -> None:
    public_sets.urbanlf(tmp_path / "Syn")
    dataset = open_dataset(tmp_path / "Syn", "train")
    assert (dataset.name, dataset.ids) == ("UrbanLF", ("train/Image7",))
    assert len(dataset.classes) == 14
    assert (names(dataset)[0], names(dataset)[3], names(dataset)[13]) == ("bike", "others", "sky")
    assert dataset.sensor_path("train/Image7", "light_field") == tmp_path / "Syn/train/Image7"
    with pytest.raises(DataSetError, match=r"Syn in it is\. Try: armseg check .*Syn"):
        describe(tmp_path)


def test_urbanlf_real_labels_are_colors_and_unknown_colors_are_ignored(tmp_path: Path) -> None:
    public_sets.light_field(tmp_path, "val/Image1")
    public_sets.light_field(tmp_path, "test/Image2")
    painted = np.zeros((H, W, 3), np.uint8)  # black is "others"
    painted[0], painted[1], painted[2] = (168, 198, 168), (158, 179, 202), (1, 2, 3)
    Image.fromarray(painted).save(tmp_path / "val/Image1/label.png")
    dataset = open_dataset(tmp_path, "val", ())
    assert dataset.splits == ("val", "test")
    assert column(dataset)[:4] == [0, 13, 255, 3]
    assert open_dataset(tmp_path, "test", ()).load(0).label is None  # withheld


def test_ddd17_places_events_by_their_statistics(tmp_path: Path) -> None:
    public_sets.ddd17(tmp_path)
    dataset = open_dataset(tmp_path, "train")
    assert (dataset.name, dataset.ids, len(dataset.classes)) == ("DDD17", ("train/rec1_export_3",), 6)
    grid = dataset.load(0).sensors["event"]
    values = np.array([2.0, 2.0, -2.0])  # the non-zero cells before normalization
    scaled = (values - values.mean()) / values.std(ddof=1)
    np.testing.assert_allclose(grid[:, 2, 3], [0, scaled[0], 0, scaled[1], 0], atol=1e-6)
    np.testing.assert_allclose(grid[:, 5, 6], [0, 0, 0, 0, scaled[2]], atol=1e-6)
    assert np.count_nonzero(grid) == 3


@pytest.mark.parametrize(
    ("labels", "times", "pictures"),
    [
        ("semantic/11classes/data", "semantic/timestamps.txt", "images/left/ev_inf"),
        ("11classes", "zurich_01_semantic_timestamps.txt", "images_aligned/left"),
    ],
)
def test_dsec_semantic(
    tmp_path: Path, labels: str, times: str, pictures: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    public_sets.dsec(tmp_path, "train/zurich_01", labels, times, pictures)
    calls = note_conversions(monkeypatch, zeros_but_one)
    dataset = open_dataset(tmp_path, "train", size=(44, 64))
    assert (dataset.name, dataset.splits, len(dataset.classes)) == ("DSEC-Semantic", ("train",), 11)
    assert dataset.ids == tuple(f"train/zurich_01/{n:06d}" for n in (6, 8, 10))  # six dropped, every second
    assert dataset.load_label(0).shape == (440, 640)
    sample = dataset.load(1)
    assert sample.size == (44, 64)
    asked = {"path": tmp_path / "train/zurich_01/events/left/events.h5", "modality": "event"}
    asked |= {"size": (44, 64), "at_us": 10**10 + 50_000 * 8, "options": {"crop_bottom": 40}}
    assert calls == [asked]


def test_dsec_with_19_classes_only(tmp_path: Path) -> None:
    public_sets.dsec(tmp_path, "test/a", "semantic/19classes/data", count=7)
    dataset = open_dataset(tmp_path, "test", ())
    assert (len(dataset), len(dataset.classes), names(dataset)[0]) == (1, 19, "road")
    assert len(set(names(dataset))) == len({info.color for info in dataset.classes}) == 19


def test_dsec_needs_labels_and_one_time_for_each(tmp_path: Path) -> None:
    public_sets.dsec(tmp_path, "train/a", "11classes", count=8)
    text(tmp_path / "train/a/semantic/timestamps.txt", "1", "2")
    with pytest.raises(DataSetError, match="2 times for 8 labels"):
        open_dataset(tmp_path, "train", ())
    (tmp_path / "train/a/11classes").rename(tmp_path / "train/a/labels")
    with pytest.raises(DataSetError, match="no semantic labels"):
        describe(tmp_path)


def test_deliver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    public_sets.deliver(tmp_path)
    dataset = open_dataset(tmp_path, "train")
    place = "cloud/train/MAP_1_point2/000010"
    assert (dataset.name, dataset.ids, dataset.modalities) == ("DELIVER", (place,), ("depth", "event"))
    assert len(dataset.classes) == 25
    assert (names(dataset)[0], names(dataset)[24]) == ("building", "truck")
    calls = note_conversions(monkeypatch)
    event = dataset.load(0).sensors["event"]
    assert [call["options"] for call in calls] == [{"depth_unit": "carla"}, {}]
    assert (event == event[0]).all()
    assert event[0, 0, 0] == -event[0, 0, 1] > 0
    assert np.count_nonzero(event[0]) == 2


def test_a_folder_of_another_kind_lists_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(DataSetError) as error:
        open_dataset(tmp_path, "train")
    for kind in BUILT_IN:
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
