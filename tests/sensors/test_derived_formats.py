"""What public data sets ship instead of recordings: through the data set and through every command alike.

Event pictures (DELIVER), statistics of events (DDD17 by Ev-SegNet), HHA pictures (NYU) and MCubeS's arrays.
"""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from small_models import TOY, small_model

from armseg_core.arrays import EventMoments, EventPicture
from armseg_core.conversion.convert import convert_file, guess_format, to_tensor
from armseg_core.conversion.inspection import inspect_file
from armseg_core.data import open_dataset
from armseg_core.errors import ArmsegWarning, FormatError, InputError, UsageError
from armseg_core.files.tensor_file import TensorFile
from armseg_core.learning.batches import recorded_options
from armseg_core.learning.model import KnownDataSet
from armseg_core.learning.model_folder import save
from armseg_core.learning.prediction import Predictor
from armseg_core.sensors import SENSORS
from armseg_core.sensors.recognition import matching, sniff

H, W = 24, 32

pytestmark = pytest.mark.filterwarnings("ignore::armseg_core.errors.ArmsegWarning")


def picture(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def array(path: Path, values: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, values)
    return path


def photo(path: Path, size: tuple[int, int] = (H, W)) -> Path:
    return picture(path, np.random.default_rng(1).integers(0, 256, (*size, 3), np.uint8))


def lines(path: Path, *text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(text) + "\n")


def deliver(root: Path) -> Path:
    place = "sun/train/MAP_1_point1/000010"
    photo(root / f"img/{place}_rgb_front.png")
    picture(root / f"semantic/{place}_semantic_front.png", np.full((H, W), 3, np.uint8))
    pixels = np.zeros((H, W, 3), np.uint8)
    pixels[2, 3], pixels[4, 5], pixels[6, 7] = (255, 0, 0), (0, 0, 255), (0, 0, 51)
    return picture(root / f"event/{place}_event_front.png", pixels)


def ddd17(root: Path) -> Path:
    picture(root / "images/train/rec1_3.png", np.full((H, W), 90, np.uint8))
    picture(root / "labels/train/rec1_3.png", np.full((H, W), 2, np.uint8))
    values = np.zeros((H, W, 6), np.float32)
    values[2, 3] = [4, 0, 0.5, 0.25, 0, 0]  # four positive events at 0.25 and 0.75 of the window
    values[5, 6] = [0, 2, 0, 0, 1, 0]  # two negative events at its end
    return array(root / "events/train/rec1_3.npy", values)


def nyu(root: Path) -> Path:
    photo(root / "RGB/7.png")
    picture(root / "Label/7.png", np.full((H, W), 4, np.uint8))
    lines(root / "train.txt", "7")
    (root / "HHA").mkdir(parents=True)
    Image.fromarray(np.full((H, W, 3), (124, 60, 90), np.uint8)).save(root / "HHA/7.jpg", quality=100)
    return root / "HHA/7.jpg"


FORMATS = {
    "deliver": (deliver, "event", "event-picture"),
    "ddd17": (ddd17, "event", "event-moments"),
    "nyu": (nyu, "depth", "depth-rgb"),
}


@pytest.fixture(scope="module")
def model(small_clip, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    save(small_model(small_clip, ("depth", "event")), folder)
    return folder


@pytest.mark.parametrize("name", FORMATS)
def test_every_command_reads_what_the_data_set_reads(name, armseg, model: Path, tmp_path: Path) -> None:
    write, modality, reader = FORMATS[name]
    path = write(tmp_path / "data")
    assert (sniff(path).name, guess_format(path)[0]) == (reader, modality)
    dataset = open_dataset(tmp_path / "data", "train", (modality,))
    sample = dataset.load(0)
    frame = to_tensor(path).frames[0]
    assert np.ptp(frame) > 0
    np.testing.assert_array_equal(sample.sensors[modality], frame)

    converted = tmp_path / "converted.h5"
    result = armseg("convert", path, "-o", converted)
    assert result.exit_code == 0, result.stderr
    with TensorFile(converted) as file:
        np.testing.assert_array_equal(file.frame(0), frame)
    report = json.loads(armseg("inspect", path, "--json").stdout)
    assert (report["modality"], report["reader"], report["size"]) == (modality, reader, f"{W}x{H}")
    assert "content" not in report  # each class of data is described
    shown = armseg("visualize", path, "-o", tmp_path / "shown.png")
    assert shown.exit_code == 0, shown.stderr
    assert cv2.imread(str(tmp_path / "shown.png")).std() > 1
    rgb = dataset.rgb_path(dataset.ids[0])
    masks = []
    for sensor in (path, converted):
        out = tmp_path / sensor.stem
        predicted = armseg("predict", rgb, sensor, "--model", model, "-o", out, "--json")
        assert predicted.exit_code == 0, predicted.stderr
        assert json.loads(predicted.stdout)["sensors"].keys() == {modality}
        masks.append(np.asarray(Image.open(out / f"{rgb.stem}.mask.png")))
    np.testing.assert_array_equal(*masks)


@pytest.mark.parametrize(
    ("write", "source", "template"),
    [
        (deliver, "event", "event/{id}_event_front.png"),
        (ddd17, "event", "events/{id}.npy"),
        (nyu, "depth", "HHA/{id}.jpg"),
    ],
)
def test_a_folder_data_set_reads_them(write, source: str, template: str, tmp_path: Path) -> None:
    path = write(tmp_path / "public")
    root = tmp_path / "own"
    target = root / template.format(id="a")
    target.parent.mkdir(parents=True)
    target.write_bytes(path.read_bytes())
    photo(root / "rgb/a.png")
    lines(root / "train.txt", "a")
    lines(
        root / "dataset.toml",
        "format_version = 1",
        'name = "own"',
        "[[classes]]",
        'name = "c"',
        "color = [1, 2, 3]",
        "[rgb]",
        'path = "rgb/{id}.png"',
        f"[modalities.{source}]",
        f'path = "{template}"',
        "[splits]",
        'train = "train.txt"',
    )
    frame = open_dataset(root, "train").load(0).sensors[source]
    np.testing.assert_array_equal(frame, to_tensor(path).frames[0])


# --- values


def test_event_picture_in_equal_bins(tmp_path: Path) -> None:
    path = deliver(tmp_path)
    plain = to_tensor(path, options={"norm": "none"}).frames[0]
    assert (plain == plain[0]).all()
    assert np.count_nonzero(plain[0]) == 3
    np.testing.assert_allclose(plain[0][[2, 4, 6], [3, 5, 7]], [1, -1, -0.2], atol=1e-7)
    values = np.array([1, -1, -0.2] * 5)
    scaled = (values - values.mean()) / values.std(ddof=1)
    np.testing.assert_allclose(to_tensor(path).frames[0][1][[2, 4, 6], [3, 5, 7]], scaled[:3], atol=1e-6)
    made = convert_file(path, tmp_path / "c.h5", options={"bins": 2, "crop_bottom": 4, "size": "16x10"})
    assert made.shape == (1, 2, 10, 16)


def test_event_moments_are_placed_by_their_statistics(tmp_path: Path) -> None:
    path = ddd17(tmp_path)
    plain = to_tensor(path, options={"norm": "none"}).frames[0]
    np.testing.assert_allclose(plain[:, 2, 3], [0, 2, 0, 2, 0])  # bins lie at 0, 0.25, 0.5, 0.75, 1
    np.testing.assert_allclose(plain[:, 5, 6], [0, 0, 0, 0, -2])
    assert np.count_nonzero(plain) == 3
    first = array(tmp_path / "other/first.npy", np.moveaxis(np.load(path), 2, 0))  # (6, H, W)
    np.testing.assert_array_equal(to_tensor(first).frames, to_tensor(path).frames)
    made = convert_file(path, tmp_path / "c.h5", options={"bins": 3, "norm": "none"})
    with TensorFile(made.output) as file:
        np.testing.assert_allclose(file.frame(0)[:, 2, 3], [1, 2, 1])  # bins at 0, 0.5, 1: half way each


def test_moments_in_other_units_are_read_and_said(tmp_path: Path) -> None:
    values = np.load(ddd17(tmp_path))
    other = values.copy()
    other[..., :2] += 1
    other[..., 2] = other[..., 2] * 2 - 1
    other[..., 3] *= 2
    path = array(tmp_path / "other.npy", other)
    with pytest.warns(ArmsegWarning) as notes:
        frame = to_tensor(path, options={"norm": "none"}).frames[0]
    assert {str(note.message).split(":")[0] for note in notes} == {
        "the smallest count of a polarity is not 0",
        "mean times below 0",
    }
    np.testing.assert_allclose(frame[:, 2, 3], [0, 2, 0, 2, 0])


def test_inspect_describes_them(tmp_path: Path) -> None:
    assert inspect_file(deliver(tmp_path / "a"))["polarity"] == [-1, 0, 1]
    moments = inspect_file(ddd17(tmp_path / "b"))
    assert (moments["events"], moments["positive_share"]) == (6, pytest.approx(4 / 6, rel=1e-5))
    assert moments["active_pixels"] == pytest.approx(2 / (H * W), rel=1e-5)
    hha = inspect_file(nyu(tmp_path / "c"))
    assert hha["valid_share"] == 1
    assert hha["disparity"][1] == pytest.approx(124, abs=2)


# --- what they are not


def test_ordinary_pictures_and_arrays_are_no_event_files(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("photo.png", "000010_rgb_front.png", "eventful.png", "prevent.png", "event_poster.png"):
        assert "event" not in matching(photo(tmp_path / "album" / name)), name
    photo(tmp_path / "event/a.jpg")  # a JPEG is a photo wherever it lies
    picture(tmp_path / "event/gray.png", np.zeros((H, W), np.uint8))
    for name in ("event/a.jpg", "event/gray.png"):
        assert "event" not in matching(tmp_path / name), name
    for shape in ((H, W, 3), (H, W, 4), (6, W), (H, W, 7), (100, 6, 6), (2, 6, H, W)):
        assert "event" not in matching(array(tmp_path / "x.npy", rng.random(shape))), shape
    assert "event" not in matching(array(tmp_path / "x.npy", np.ones((H, W, 6), np.uint8)))
    with pytest.raises(FormatError, match="RGB or label picture"):
        sniff(photo(tmp_path / "album/photo.jpg"))
    with pytest.raises(FormatError):
        sniff(photo(tmp_path / "event/rgb.png"))  # the name of the file goes before that of the folder


def test_only_the_voxel_grid_can_be_made(armseg, tmp_path: Path) -> None:
    for path in (deliver(tmp_path / "a"), ddd17(tmp_path / "b")):
        for row in SENSORS["event"].representations:
            if row.name != "voxel_grid":
                with pytest.raises(UsageError, match=f"{row.name}: needs single events.*voxel_grid"):
                    convert_file(path, tmp_path / "c.h5", representation=row.name)
    assert not (tmp_path / "c.h5").exists()
    result = armseg("convert", path, "-o", tmp_path / "c.h5", "--window", "20ms")
    assert result.exit_code == 0
    assert "--window without effect" in result.output + result.stderr
    with pytest.raises(UsageError, match="--crop-bottom"):
        to_tensor(path, options={"crop_bottom": H})


def test_damaged_and_impossible_data(tmp_path: Path) -> None:
    values = np.zeros((H, W, 6), np.float32)
    values[0, 0, 0] = np.nan
    with pytest.raises(FormatError, match=r"x\.npy: .*NaN"):
        to_tensor(array(tmp_path / "x.npy", values))
    plane = np.zeros((2, H, W), np.float32)
    for wrong in (
        lambda: EventPicture(np.full((H, W), 1.5, np.float32)),
        lambda: EventPicture(plane),
        lambda: EventMoments(plane, plane, plane[:1]),
        lambda: EventMoments(plane - 1, plane, plane),
        lambda: EventMoments(plane, plane, plane + np.inf),
    ):
        with pytest.raises(FormatError):
            wrong()


# --- MCubeS


def mcubes(root: Path, factor: int, columns: int = 192 + W) -> tuple[Path, np.ndarray]:
    """(a path, the true model tensor without its left 192 columns)."""
    rng = np.random.default_rng(3)
    angle, dolp = rng.uniform(0, np.pi, (H, columns)), rng.uniform(0.1, 0.9, (H, columns))
    pixels = rng.integers(1, 256, (H, columns, 3), np.uint8)
    angle[0, 192], dolp[0, 192], pixels[0, 192] = np.pi / 6, 0.5, (100, 50, 200)
    picture(root / "polL_color/s.png", pixels)
    picture(root / "GT/s.png", np.full((H, columns), 2, np.uint8))
    lines(root / "list_folder/train.txt", "s")
    array(root / "polL_aolp_sin/s.npy", np.sin(factor * angle).astype(np.float32))
    array(root / "polL_aolp_cos/s.npy", np.cos(factor * angle).astype(np.float32))
    path = array(root / "polL_dolp/s.npy", dolp.astype(np.float32))
    luma = pixels @ np.array([0.299, 0.587, 0.114]) / 255
    return path, np.stack([luma, dolp, np.sin(2 * angle), np.cos(2 * angle)])[..., 192:]


@pytest.mark.parametrize("factor", [1, 2])
def test_mcubes_is_the_same_through_every_door(factor: int, tmp_path: Path) -> None:
    path, truth = mcubes(tmp_path / "data", factor)
    dataset = open_dataset(tmp_path / "data", "train")
    sample = dataset.load(0)
    assert sample.rgb.shape[1:] == sample.label.shape == (H, W)
    frame = sample.sensors["polarization"]
    np.testing.assert_allclose(frame, truth, atol=2e-6)
    by_hand = [(29.9 + 29.35 + 22.8) / 255, 0.5, np.sqrt(3) / 2, 0.5]  # 30 degrees, color (100, 50, 200)
    np.testing.assert_allclose(frame[:, 0, 0], by_hand, atol=1e-6)
    options = recorded_options(dataset)["polarization"]
    assert options == {"crop_left": 192}
    np.testing.assert_array_equal(to_tensor(path, options=options).frames[0], frame)
    made = convert_file(path, tmp_path / "c.h5", options=options)
    with TensorFile(made.output) as file:
        np.testing.assert_array_equal(file.frame(0), frame)
    assert any(f"cosine of {'A' if factor == 1 else '2A'} " in note for note in made.notes)
    small = open_dataset(tmp_path / "data", "train", size=(12, 16)).load(0).sensors["polarization"]
    np.testing.assert_array_equal(to_tensor(path, options=options, size=(12, 16)).frames[0], small)


def test_predict_cuts_as_in_training_and_never_silently(small_clip, tmp_path: Path, monkeypatch) -> None:
    path, truth = mcubes(tmp_path / "data", 1)
    options = recorded_options(open_dataset(tmp_path / "data", "train"))
    dataset = KnownDataSet("mcubes", TOY.classes, options)
    predictor = Predictor(small_model(small_clip, ("polarization",), datasets=(dataset,)))
    seen = []
    monkeypatch.setattr(
        predictor,
        "predict_arrays",
        lambda rgb, sensors, *_: (
            seen.append(sensors["polarization"])
            or (np.zeros(rgb.shape[1:], np.uint8), np.ones(rgb.shape[1:], np.float32))
        ),
    )
    whole = tmp_path / "data/polL_color/s.png"
    with pytest.raises(InputError, match=r"32x24 after crop_left=192.*224x24.*--set crop_left=0"):
        predictor.predict(whole, path)
    cut = picture(tmp_path / "cut.png", np.asarray(Image.open(whole))[:, 192:])
    with pytest.warns(ArmsegWarning, match="the frame is cut.*crop_left=192"):
        predictor.predict(cut, path)
    np.testing.assert_allclose(seen[-1], truth, atol=2e-6)
    predictor.predict(whole, path, options={"crop_left": 0})
    np.testing.assert_allclose(seen[-1][..., 192:], truth, atol=2e-6)
    # a cut of 4 % would pass for a whole frame, if the image were only compared by its rough shape
    with pytest.raises(InputError, match="crop_left=9"):
        predictor.predict(whole, path, options={"crop_left": 9})
    stored = convert_file(path, tmp_path / "whole.h5").output
    predictor.predict(whole, stored)  # not cut when it was made: the recorded crop is not meant
    assert seen[-1].shape == (4, H, 192 + W)
    stored = convert_file(path, tmp_path / "cut.h5", options={"crop_left": 192}).output
    with pytest.raises(InputError, match="after crop_left=192"):
        predictor.predict(whole, stored)
