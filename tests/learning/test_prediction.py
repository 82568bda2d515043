"""Prediction on files: which sensor a file is taken for, that formats do not change the mask, what is
written."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from dataset_writer import write_tensor
from PIL import Image
from small_models import inputs, shake, small_model
from toy_scenes import write_scenes

from armseg_core.conversion import convert, reading
from armseg_core.conversion.convert import convert_file, to_tensor
from armseg_core.data import open_dataset
from armseg_core.data.sample import ClassInfo
from armseg_core.errors import (
    ArmsegError,
    ArmsegWarning,
    CheckpointError,
    InputError,
    OutputError,
    UsageError,
)
from armseg_core.files.tensor_file import SensorTensor, TensorInfo
from armseg_core.learning.model import KnownDataSet, Model
from armseg_core.learning.model_folder import save
from armseg_core.learning.prediction import Prediction, Predictor
from armseg_core.learning.prediction_files import save_prediction
from armseg_core.sensors.modalities import get_modality
from armseg_core.sensors.recognition import sniff

SCENES = KnownDataSet("scenes", (ClassInfo("near", (200, 80, 40)), ClassInfo("far", (40, 80, 200))))
OTHER = KnownDataSet("other", tuple(ClassInfo(name, (i, 0, 0)) for i, name in enumerate("abc")))


@pytest.fixture(scope="module")
def model(small_clip) -> Model:
    model = small_model(small_clip, ("depth", "thermal", "event"), datasets=(SCENES, OTHER))
    shake(model.segmenter, scale=0.3)
    return model


@pytest.fixture(scope="module")
def predictor(model: Model) -> Predictor:
    return Predictor(model)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """rgb.png, depth.png (16 bit, mm), the same as scan.png, and a data set they come from."""
    folder = tmp_path_factory.mktemp("scene")
    write_scenes(folder / "data", {"test": 1})
    shutil.copy(folder / "data" / "rgb" / "test0.png", folder / "rgb.png")
    for name in ("depth", "scan"):
        shutil.copy(folder / "data" / "depth" / "test0.png", folder / f"{name}.png")
    return folder


def test_rgb_alone_is_the_argmax_of_the_network(predictor: Predictor, model: Model, scene: Path) -> None:
    result = predictor.predict(scene / "rgb.png")
    rgb = cv2.imread(str(scene / "rgb.png"))[:, :, ::-1]
    assert np.array_equal(result.rgb, rgb)
    x = torch.from_numpy(rgb.astype(np.float32).transpose(2, 0, 1) / np.float32(255))[None]
    with torch.no_grad():
        probability = model.segmenter(x).logits[0].softmax(0)
    assert np.array_equal(result.mask, probability.argmax(0).numpy())
    assert result.mask.dtype == np.uint8
    assert np.allclose(result.confidence, probability.amax(0).numpy())
    assert result.sensors == {}


def test_the_same_scene_as_a_sample_of_a_data_set_gives_the_same_mask(predictor, scene: Path) -> None:
    sample = open_dataset(scene / "data", "test").load(0)
    expected, confidence = predictor.predict_arrays(sample.rgb, sample.sensors)
    result = predictor.predict(scene / "rgb.png", scene / "depth.png", options={"depth_unit": "mm"})
    assert np.array_equal(result.mask, expected)
    assert np.array_equal(result.confidence, confidence)
    assert not np.array_equal(result.mask, predictor.predict(scene / "rgb.png").mask)


def test_a_sensor_alone(predictor, scene: Path) -> None:
    frame = to_tensor(scene / "depth.png", modality="depth", options={"depth_unit": "mm"}).frames[0]
    mask, _ = predictor.predict_arrays(None, {"depth": frame})
    assert mask.shape == (40, 48)


@pytest.mark.filterwarnings("ignore::armseg_core.errors.ArmsegWarning")  # the assumed unit of depth
@pytest.mark.parametrize(("precision", "expected"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_the_precision_of_a_prediction_is_that_of_its_activations(
    model: Model, scene: Path, tmp_path: Path, precision: str, expected: torch.dtype
) -> None:
    save(model, tmp_path / "model")
    predictor = Predictor.load(tmp_path / "model", "cpu", precision=precision)
    seen: set[torch.dtype] = set()
    layer = predictor.model.segmenter.fuse[0].gate
    layer.register_forward_hook(lambda *given: seen.add(given[2].dtype))
    predictor.predict(scene / "rgb.png", scene / "depth.png", modalities=["depth"])
    assert seen == {expected}


@pytest.mark.filterwarnings("ignore::armseg_core.errors.ArmsegWarning")  # the assumed unit of depth
def test_raw_and_converted_files_give_the_same_mask(predictor, scene: Path, tmp_path: Path) -> None:
    raw = predictor.predict(scene / "rgb.png", scene / "depth.png")
    made = convert_file(scene / "depth.png", tmp_path / "converted.h5", progress=False)
    converted = predictor.predict(scene / "rgb.png", made.output)
    assert np.array_equal(raw.mask, converted.mask)
    assert np.array_equal(raw.confidence, converted.confidence)
    assert converted.sensors == {"depth": "file"}


def test_shares_are_of_all_pixels_largest_first() -> None:
    mask = np.array([[1, 1, 1, 0], [1, 1, 1, 0]], np.uint8)
    shares = Prediction(np.zeros((2, 4, 3), np.uint8), mask, np.ones((2, 4), np.float32), OTHER, {}).shares
    assert list(shares.items()) == [("b", 0.75), ("a", 0.25)]
    assert sum(shares.values()) == pytest.approx(1)


def test_the_class_list_of_a_data_set_is_chosen_by_name(predictor, scene: Path) -> None:
    assert predictor.predict(scene / "rgb.png").dataset is SCENES
    assert predictor.predict(scene / "rgb.png", dataset="other").dataset is OTHER
    with pytest.raises(CheckpointError, match="no data set 'town'"):
        predictor.predict(scene / "rgb.png", dataset="town")


def test_a_saved_model_predicts_the_same(model, predictor, scene: Path, tmp_path: Path) -> None:
    save(model, tmp_path / "model")
    loaded = Predictor.load(tmp_path / "model", "cpu")
    files = (scene / "rgb.png", scene / "depth.png")
    given = {"modalities": ["depth"], "options": {"depth_unit": "mm"}}
    assert np.array_equal(
        loaded.predict(*files, **given).confidence, predictor.predict(*files, **given).confidence
    )


# -- which sensor


def guessing(name: str, share: float):
    """A `Predictor._guess` that has made up its mind."""
    return lambda self, opened, path, options, dataset, size: (
        opened.enter_context(self._read_as(name, path, options, dataset)),
        share,
    )


@pytest.mark.filterwarnings("ignore::armseg_core.errors.ArmsegWarning")
def test_the_option_counts_more_than_the_file_and_the_file_more_than_a_guess(
    predictor, scene: Path, monkeypatch
) -> None:
    def no_guess(*args):
        raise AssertionError("MA-CLIP was asked")

    monkeypatch.setattr(Predictor, "_guess", no_guess)
    by_file = predictor.predict(scene / "rgb.png", scene / "depth.png")
    assert by_file.sensors == {"depth": "file"}
    by_option = predictor.predict(scene / "rgb.png", scene / "depth.png", modalities=["infrared"])
    assert by_option.sensors == {"thermal": "option"}
    assert not np.array_equal(by_file.mask, by_option.mask)
    monkeypatch.undo()
    monkeypatch.setattr(Predictor, "_guess", guessing("thermal", 0.93))
    guessed = predictor.predict(scene / "rgb.png", scene / "scan.png")
    assert guessed.sensors == {"thermal": "MA-CLIP, 93% sure"}
    assert np.array_equal(guessed.mask, by_option.mask)


@pytest.mark.filterwarnings("ignore::armseg_core.errors.ArmsegWarning")
def test_a_recording_is_recognized_once(predictor, scene: Path, monkeypatch) -> None:
    recognized = []

    def counting(path, modality=None):
        recognized.append(path)
        return sniff(path, modality)

    for module in (convert, reading):
        monkeypatch.setattr(module, "sniff", counting)
    assert predictor.predict(scene / "rgb.png", scene / "depth.png").sensors == {"depth": "file"}
    assert recognized == [scene / "depth.png"]


def embedding_of(model: Model, path: Path, modality: str) -> torch.Tensor:
    frame = torch.from_numpy(to_tensor(path, modality=modality).frames)
    with torch.no_grad():
        return model.segmenter.guide(frame, modality).embedding[0]


@pytest.mark.filterwarnings("ignore::armseg_core.errors.ArmsegWarning")
@pytest.mark.parametrize("truth", ["depth", "thermal"])
def test_the_reading_that_looks_like_its_prompt_is_taken(small_clip, scene: Path, truth: str) -> None:
    model = small_model(small_clip, ("depth", "thermal", "event"), datasets=(SCENES,))
    shake(model.segmenter)
    path = scene / "scan.png"
    other = "thermal" if truth == "depth" else "depth"
    model.prompts[truth] = embedding_of(model, path, truth)
    model.prompts[other] = -embedding_of(model, path, other)
    prompts = torch.stack([model.prompts[m] for m in ("rgb", "depth", "thermal", "event")])
    score = {}
    for k, m in ((1, "depth"), (2, "thermal")):
        score[m] = (embedding_of(model, path, m) @ prompts.T / 0.07).softmax(0)[k].item()
    name, share = Predictor(model).guess(path)
    assert name == truth
    assert share == pytest.approx(score[truth] / sum(score.values()), rel=1e-4)
    assert share > 0.9


def test_an_unsure_guess_is_said(predictor, scene: Path, monkeypatch) -> None:
    monkeypatch.setattr(Predictor, "_guess", guessing("depth", 0.51))
    with pytest.warns(ArmsegWarning, match=r"taken for depth with 51% confidence only; say --modality"):
        predictor.predict(scene / "rgb.png", scene / "scan.png", options={"depth_unit": "mm"})


def test_a_guess_uses_only_sensors_that_can_read_the_file_with_the_options(predictor, scene: Path) -> None:
    name, share = predictor.guess(scene / "scan.png", {"depth_unit": "mm"})  # no option of the others
    assert name == "depth"
    assert 0 < share <= 1


# -- frames of another size, time or kind


def write_depth(path: Path, size: tuple[int, int]) -> Path:
    cv2.imwrite(str(path), np.full(size, 3000, np.uint16))
    return path


@pytest.mark.filterwarnings("ignore::armseg_core.errors.ArmsegWarning")
def test_a_frame_of_the_same_shape_is_resized_and_another_shape_is_refused(
    predictor, scene: Path, tmp_path: Path
) -> None:
    rgb = scene / "rgb.png"  # 48 x 40
    half = predictor.predict(rgb, write_depth(tmp_path / "depth.png", (20, 24)), modalities=["depth"])
    assert half.mask.shape == (40, 48)
    close = write_depth(tmp_path / "close_depth.png", (40, 50))  # 4 % off
    assert predictor.predict(rgb, close, modalities=["depth"]).mask.shape == (40, 48)
    square = write_depth(tmp_path / "square_depth.png", (40, 40))
    with pytest.raises(InputError, match=r"frame is 40x40 and the image 48x40.*rgb\.png.*--stretch"):
        predictor.predict(rgb, square, modalities=["depth"])
    assert predictor.predict(rgb, square, modalities=["depth"], stretch=True).mask.shape == (40, 48)


def test_the_frame_nearest_to_a_time_is_taken(predictor, scene: Path, tmp_path: Path) -> None:
    row = get_modality("event")
    frames = np.stack([np.full((5, 40, 48), k, np.float32) for k in (-1, 0, 2)])
    info = TensorInfo("event", row.representation, row.channels, ("1",) * 5, row.value_range)
    SensorTensor(frames, np.array([1000, 2000, 3000], np.int64), info).save(tmp_path / "frames.h5")
    masks = {}
    for at_us, k in ((900, 0), (2100, 1), (None, 2)):
        result = predictor.predict(scene / "rgb.png", tmp_path / "frames.h5", at_us=at_us)
        rgb = result.rgb.transpose(2, 0, 1).astype(np.float32) / np.float32(255)
        expected, confidence = predictor.predict_arrays(rgb, {"event": frames[k]})
        assert np.array_equal(result.confidence, confidence)
        masks[k] = expected
    assert result.sensors == {"event": "file"}


# -- what is written


def test_pictures_of_a_prediction(predictor, scene: Path, tmp_path: Path) -> None:
    result = predictor.predict(scene / "rgb.png")
    paths = save_prediction(result, tmp_path / "new" / "folder", "rgb")
    assert {k: p.name for k, p in paths.items()} == {
        "mask": "rgb.mask.png",
        "color": "rgb.color.png",
        "overlay": "rgb.overlay.png",
    }
    assert sorted(p.name for p in (tmp_path / "new" / "folder").iterdir()) == sorted(
        p.name for p in paths.values()
    )
    with Image.open(paths["mask"]) as mask:
        assert mask.mode == "P"
        assert np.array_equal(np.asarray(mask), result.mask)
        assert mask.getpalette()[:6] == [200, 80, 40, 40, 80, 200]
    palette = np.array(SCENES.palette, np.uint8)
    assert np.array_equal(np.asarray(Image.open(paths["color"])), palette[result.mask])
    h, w, _ = cv2.imread(str(paths["overlay"])).shape
    assert w > h * 48 / 40  # the legend stands beside the picture


def test_pictures_that_cannot_be_written(predictor, scene: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="cannot write"):
        save_prediction(predictor.predict(scene / "rgb.png"), tmp_path / "file" / "out", "rgb")


# -- files that cannot be used


def refuse(kind: type[ArmsegError], match: str, call) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ArmsegWarning)
        with pytest.raises(kind, match=match) as caught:
            call()
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be_used(predictor, scene: Path, tmp_path: Path) -> None:
    rgb = scene / "rgb.png"

    def predict(image: Path, sensor: Path | None = None, modalities: tuple[str, ...] = ()) -> Prediction:
        return predictor.predict(image, *([] if sensor is None else [sensor]), modalities=modalities)

    (tmp_path / "text.png").write_text("not a picture")
    cut = tmp_path / "depth.png"
    cut.write_bytes((scene / "depth.png").read_bytes()[:300])
    (tmp_path / "scan.bin").write_bytes(b"\x01" * 7)
    write_tensor(tmp_path / "lidar.h5", "lidar", np.zeros((3, 40, 48), np.float32))
    write_tensor(tmp_path / "depth.h5", "depth", np.zeros((3, 40, 48), np.float32))
    for match, args in (
        ("no such file", (tmp_path / "nothing.png",)),
        ("text.png: not a readable image", (tmp_path / "text.png",)),
        ("nothing.h5: no such file", (rgb, tmp_path / "nothing.h5")),
        ("depth.png.*truncated", (rgb, cut)),
        ("depth.png.*truncated", (rgb, cut, ["depth"])),
        ("scan.bin: no sensor of the model can read this file", (rgb, tmp_path / "scan.bin")),
    ):
        refuse(InputError, match, lambda args=args: predict(*args))
    for match, args in (
        ("unknown modality 'dpeth'", (rgb, scene / "depth.png", ["dpeth"])),
        ("not trained with lidar.*one of depth, thermal, event.*armseg train", (rgb, tmp_path / "lidar.h5")),
        ("not trained with polarization", (rgb, scene / "scan.png", ["polarization"])),
        ("holds frames of the sensor 'depth'.*thermal", (rgb, tmp_path / "depth.h5", ["thermal"])),
        ("--modality depth without a sensor file", (rgb, None, ["depth"])),
    ):
        refuse(UsageError, match, lambda args=args: predict(*args))
    refuse(
        UsageError,
        "depth_unit",
        lambda: predictor.predict(rgb, scene / "depth.png", options={"depth_unit": "feet"}),
    )


# -- several sensors


@pytest.fixture(scope="module")
def recordings(scene: Path) -> dict[str, Path]:
    """A file of each of the sensors depth, thermal and event, which say themselves what they are."""
    rng = np.random.default_rng(5)
    for name in ("thermal", "event"):
        frame = rng.random((get_modality(name).num_channels, 40, 48)).astype(np.float32)
        write_tensor(scene / f"{name}.h5", name, frame)
    return {"depth": scene / "depth.png", "thermal": scene / "thermal.h5", "event": scene / "event.h5"}


@pytest.mark.filterwarnings("ignore::armseg_core.errors.ArmsegWarning")  # the assumed unit of depth
def test_any_number_of_recordings_is_used_at_once(predictor, model, scene: Path, recordings) -> None:
    masks = {}
    for names in (("depth",), ("thermal", "depth"), ("depth", "thermal"), ("event", "thermal", "depth")):
        result = predictor.predict(scene / "rgb.png", *(recordings[m] for m in names))
        assert result.sensors == dict.fromkeys(names, "file")
        assert list(result.sensors) == list(names)
        frames = {m: to_tensor(recordings[m], modality=m).frames[0] for m in names}
        rgb = result.rgb.transpose(2, 0, 1).astype(np.float32) / np.float32(255)
        mask, confidence = predictor.predict_arrays(rgb, frames)
        assert np.array_equal(result.mask, mask)
        assert np.array_equal(result.confidence, confidence)
        masks[names] = confidence
    assert not np.array_equal(masks["depth",], masks["depth", "thermal"])
    assert not np.array_equal(masks["depth", "thermal"], masks["event", "thermal", "depth"])
    assert np.allclose(masks["depth", "thermal"], masks["thermal", "depth"], atol=1e-4)


@pytest.mark.filterwarnings("ignore::armseg_core.errors.ArmsegWarning")
def test_the_names_of_the_sensors_follow_the_files(predictor, scene: Path, recordings) -> None:
    files = (scene / "scan.png", recordings["event"], recordings["depth"])
    result = predictor.predict(scene / "rgb.png", *files, modalities=["infrared", "event", "depth"])
    assert result.sensors == {"thermal": "option", "event": "option", "depth": "option"}


@pytest.mark.filterwarnings("ignore::armseg_core.errors.ArmsegWarning")
def test_several_recordings_that_cannot_be_used_together(predictor, scene: Path, recordings) -> None:
    rgb, depth, thermal = scene / "rgb.png", recordings["depth"], recordings["thermal"]
    refuse(UsageError, "two files of depth", lambda: predictor.predict(rgb, depth, depth))
    refuse(
        UsageError,
        "scan.png: two files of depth.*one file of each sensor",
        lambda: predictor.predict(rgb, depth, scene / "scan.png", modalities=["depth", "depth"]),
    )
    for names in (["depth"], ["depth", "thermal", "event"]):
        refuse(
            UsageError,
            f"{len(names)} .*and 2 sensor files.*one for each",
            lambda names=names: predictor.predict(rgb, depth, thermal, modalities=names),
        )
    refuse(InputError, "gone.h5: no such file", lambda: predictor.predict(rgb, depth, scene / "gone.h5"))


def test_an_option_belongs_to_the_sensors_that_have_it(predictor, scene: Path, recordings) -> None:
    files = (scene / "rgb.png", recordings["depth"], recordings["thermal"])
    meters = predictor.predict(*files, options={"depth_unit": "mm"})
    tens = predictor.predict(*files, options={"depth_unit": "cm"})
    assert not np.array_equal(meters.confidence, tens.confidence)
    refuse(
        UsageError,
        "unknown option 'windw_ms'",
        lambda: predictor.predict(*files, options={"windw_ms": 5}),
    )
    # the event camera has it, and there is no recording of one
    refuse(
        UsageError, "unknown option 'window_ms'", lambda: predictor.predict(*files, options={"window_ms": 5})
    )


def test_a_time_is_for_the_recordings_that_have_one(
    predictor, scene: Path, recordings, tmp_path: Path
) -> None:
    row = get_modality("event")
    frames = np.stack([np.full((5, 40, 48), k, np.float32) for k in (-1, 0, 2)])
    info = TensorInfo("event", row.representation, row.channels, ("1",) * 5, row.value_range)
    SensorTensor(frames, np.array([1000, 2000, 3000], np.int64), info).save(tmp_path / "frames.h5")
    files = (scene / "rgb.png", recordings["depth"], tmp_path / "frames.h5")
    given = {"depth_unit": "mm"}
    early, late = (predictor.predict(*files, at_us=t, options=given) for t in (1000, 3000))
    assert not np.array_equal(early.confidence, late.confidence)
    refuse(
        UsageError,
        "a still picture has no time 1000",
        lambda: predictor.predict(*files[:2], recordings["thermal"], at_us=1000, options=given),
    )


def test_a_model_without_a_guide_cannot_guess_and_says_so(small_clip, scene: Path) -> None:
    """Two sensors can read the file, and nothing tells which one it is."""
    model = small_model(
        small_clip, ("depth", "thermal"), datasets=(SCENES,), guide="none", guide_weights=None
    )
    blind = Predictor(model)
    options = {"depth_unit": "mm"}
    refuse(
        UsageError,
        "scan.png: .*without a guide.*--modality",
        lambda: blind.predict(scene / "rgb.png", scene / "scan.png"),
    )
    refuse(UsageError, "without a guide", lambda: blind.guess(scene / "scan.png"))
    assert blind.predict(scene / "rgb.png", scene / "depth.png", options=options).sensors == {"depth": "file"}
    named = blind.predict(scene / "rgb.png", scene / "scan.png", modalities=["depth"], options=options)
    assert named.sensors == {"depth": "option"}


def test_scores_that_are_not_finite_are_refused(small_clip, scene: Path) -> None:
    model = small_model(small_clip, ("depth",), datasets=(SCENES,))
    with torch.no_grad():
        model.segmenter.decoder.embed[0].weight[0, 0] = float("nan")
    refuse(
        CheckpointError,
        "scores are not finite.*train again",
        lambda: Predictor(model).predict(scene / "rgb.png"),
    )


def test_an_rgb_model_takes_no_sensor(small_clip, scene: Path) -> None:
    plain = Predictor(small_model(small_clip, (), datasets=(SCENES,)))
    assert plain.predict(scene / "rgb.png").mask.shape == (40, 48)
    for name in ("depth.png", "scan.png"):
        refuse(UsageError, "knows RGB only", lambda name=name: plain.predict(scene / "rgb.png", scene / name))


def test_any_image_size(predictor, tmp_path: Path) -> None:
    for size in ((33, 47), (70, 50)):
        image = (inputs(size=size)[0][0].numpy().transpose(1, 2, 0) * 255).astype(np.uint8)
        cv2.imwrite(str(tmp_path / "image.png"), image)
        assert predictor.predict(tmp_path / "image.png").mask.shape == size
