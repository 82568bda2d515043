"""Evaluation: the rows of a report, the control with another scene, and matrices against a plain loop."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from small_models import shake, small_model
from toy_scenes import write_scenes

from armseg_core.data import open_dataset
from armseg_core.data.sample import ClassInfo
from armseg_core.errors import ArmsegError, CheckpointError, DataSetError, UsageError
from armseg_core.learning.evaluation import confusion, evaluate, other_scenes, samples_of, save_report
from armseg_core.learning.inference import Inference, autocast, pick_device
from armseg_core.learning.inputs import RGB_ONLY, Inputs
from armseg_core.learning.model import KnownDataSet, Model
from armseg_core.learning.model_folder import save

DEPTH = Inputs(sensors=("depth",))
SCENES = KnownDataSet("scenes", (ClassInfo("near", (200, 80, 40)), ClassInfo("far", (40, 80, 200))))


@pytest.fixture(scope="module")
def model(small_clip) -> Model:
    model = small_model(small_clip, ("depth",), datasets=(SCENES,))
    shake(model.segmenter, scale=0.3)
    return model


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five test scenes, one of another size and one without depth."""
    root = write_scenes(tmp_path_factory.mktemp("data"), {"train": 1, "test": 5}, without_depth=("test3",))
    for kind, read in (("rgb", cv2.IMREAD_COLOR), ("depth", cv2.IMREAD_UNCHANGED)):
        path = str(root / kind / "test2.png")
        cv2.imwrite(path, cv2.imread(path, read)[:33, :41])
    label = np.asarray(Image.open(root / "label" / "test2.png"))[:33, :41].copy()
    label[:4] = 255
    Image.fromarray(label).save(root / "label" / "test2.png")
    return root


def naive(
    model: Model, dataset, indices: list[int], modality: str | None = None, partner=None, use_rgb=True
) -> list[list[int]]:
    """The confusion matrix, pixel by pixel."""
    matrix = [[0, 0], [0, 0]]
    for i in indices:
        sample = dataset.load(i)
        frame = None
        if modality:
            frame = dataset.load(partner[i] if partner else i).sensors[modality]
            h, w = sample.size
            frame = np.pad(frame, ((0, 0), (0, 99), (0, 99)), mode="edge")[:, :h, :w]
            frame = torch.from_numpy(np.ascontiguousarray(frame))[None]
        rgb = torch.from_numpy(sample.rgb)[None] if use_rgb else None
        with torch.no_grad():
            guess = model.segmenter(rgb, {modality: frame} if modality else {}).logits[0].argmax(0)
        for y in range(sample.size[0]):
            for x in range(sample.size[1]):
                if sample.label[y, x] != 255:
                    matrix[sample.label[y, x]][guess[y, x]] += 1
    return matrix


def test_the_matrices_are_those_of_a_plain_loop(model: Model, data: Path) -> None:
    dataset = open_dataset(data, "test")
    with_depth = [0, 1, 2, 4]
    found = {batch: confusion(Inference(model), dataset, DEPTH, batch_size=batch).matrix for batch in (1, 3)}
    expected = np.array(naive(model, dataset, with_depth, "depth"))
    assert expected.min() > 0  # the model mixes the classes up: every cell is tested
    for matrix in found.values():
        assert np.array_equal(matrix, expected)
    assert confusion(Inference(model), dataset, RGB_ONLY).matrix.tolist() == naive(
        model, dataset, [0, 1, 2, 3, 4]
    )
    alone = Inputs(rgb=False, sensors=("depth",))
    assert confusion(Inference(model), dataset, alone).matrix.tolist() == naive(
        model, dataset, with_depth, "depth", use_rgb=False
    )
    among = Inputs(among=("depth",))
    assert samples_of(dataset, among) == with_depth
    assert confusion(Inference(model), dataset, among).matrix.tolist() == naive(model, dataset, with_depth)
    partner = {0: 2, 1: 4, 2: 0, 4: 1}
    assert other_scenes(with_depth) == partner
    control = Inputs(sensors=("depth",), control="other scene")
    other = confusion(Inference(model), dataset, control).matrix.tolist()
    assert other == naive(model, dataset, with_depth, "depth", partner)
    assert other != expected.tolist()


@pytest.mark.parametrize("count", range(2, 12))
def test_another_scene_is_never_the_scene_itself_and_each_is_used_once(count: int) -> None:
    indices = [3 * i + 1 for i in range(count)]
    partner = other_scenes(indices)
    assert sorted(partner) == sorted(partner.values()) == indices
    assert all(a != b for a, b in partner.items())


def test_the_rgb_only_row_is_always_there(model: Model, data: Path) -> None:
    report = evaluate(model, [data], "test", progress=False)
    assert [(r.inputs.title, r.samples) for r in report.rows] == [
        ("rgb", 5),
        ("rgb (samples with depth)", 4),
        ("rgb+depth", 4),
    ]
    controls = evaluate(model, [data], "test", controls=True, progress=False)
    assert [r.inputs.title for r in controls.rows] == [
        "rgb",
        "rgb (samples with depth)",
        "rgb+depth",
        "depth",
        "rgb+depth (other scene)",
    ]
    rgb = evaluate(model, [data], "test", modalities=(), progress=False)
    assert [r.inputs for r in rgb.rows] == [RGB_ONLY]
    whole = evaluate(model, [data], "train", progress=False)
    assert [r.inputs.title for r in whole.rows] == ["rgb", "rgb+depth"]
    dataset = open_dataset(data, "test")
    assert report.row("rgb (samples with depth)").matrix.matrix.tolist() == naive(
        model, dataset, [0, 1, 2, 4]
    )


def test_a_report_finds_its_rows_and_is_plain_json(model: Model, data: Path, tmp_path: Path) -> None:
    other = write_scenes(tmp_path / "other", {"test": 2}, name="other")
    report = evaluate(model, [data, other], "test", progress=False)
    assert report.row("rgb+depth", "other").samples == 2
    assert report.row("rgb").dataset == "scenes"
    with pytest.raises(KeyError):
        report.row("rgb+thermal")
    save_report(report, tmp_path / "new" / "report.json")
    read = json.loads((tmp_path / "new" / "report.json").read_text())
    assert read.pop("seal").startswith("armseg-sha256:")
    assert read == json.loads(json.dumps(report.to_dict()))
    assert read["split"] == "test"
    assert read["rows"][0]["inputs"] == "rgb"
    assert read["rows"][0]["iou"].keys() == {"near", "far"}
    assert sum(map(sum, read["rows"][0]["matrix"])) == 4 * 40 * 48 + 29 * 41


def test_labels_keep_their_size_when_the_images_are_resized(model: Model, data: Path) -> None:
    dataset = open_dataset(data, "test", size=(24, 32))
    matrix = confusion(Inference(model), dataset, RGB_ONLY).matrix
    assert matrix.sum() == 4 * 40 * 48 + 29 * 41
    sample = dataset.load(0)
    with torch.no_grad():
        scores = model.segmenter(torch.from_numpy(sample.rgb)[None]).logits
    scores = torch.nn.functional.interpolate(scores, (40, 48), mode="bilinear", align_corners=False)
    label = np.asarray(Image.open(data / "label" / "test0.png"))
    dataset.ids = dataset.ids[:1]
    first = confusion(Inference(model), dataset, RGB_ONLY)
    assert first.pixel_accuracy == pytest.approx((scores[0].argmax(0).numpy() == label).mean())


def test_a_saved_model_gives_the_same_report(model: Model, data: Path, tmp_path: Path) -> None:
    save(model, tmp_path / "model")
    saved, live = (evaluate(m, [data], "test", progress=False) for m in (tmp_path / "model", model))
    assert saved.model == str(tmp_path / "model")
    assert [r.matrix.matrix.tolist() for r in saved.rows] == [r.matrix.matrix.tolist() for r in live.rows]


def test_the_class_list_decides_which_data_set_of_the_model_is_meant(small_clip, data: Path) -> None:
    twin = KnownDataSet("twin", SCENES.classes)
    model = small_model(small_clip, ("depth",), datasets=(twin, SCENES))
    shake(model.segmenter, scale=0.3)
    dataset = open_dataset(data, "test")
    named = evaluate(model, [data], "test", progress=False).row("rgb").matrix.matrix.tolist()
    assert named == confusion(Inference(model), dataset, RGB_ONLY, dataset_index=1).matrix.tolist()
    assert named != confusion(Inference(model), dataset, RGB_ONLY, dataset_index=0).matrix.tolist()
    only_twin = small_model(small_clip, ("depth",), datasets=(twin,))
    assert evaluate(only_twin, [data], "test", progress=False).row("rgb").samples == 5


def test_evaluation_leaves_the_model_as_it_was(model: Model, data: Path, monkeypatch) -> None:
    dataset = open_dataset(data, "test")
    seen = []
    monkeypatch.setattr(
        model.segmenter,
        "forward",
        lambda *a, f=model.segmenter.forward: (seen.append(model.segmenter.training), f(*a))[1],
    )
    model.segmenter.train()
    confusion(Inference(model), dataset, RGB_ONLY)
    assert model.segmenter.training
    monkeypatch.setattr(model.segmenter, "forward", lambda *a: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        confusion(Inference(model), dataset, RGB_ONLY)
    assert model.segmenter.training
    model.segmenter.eval()
    assert not any(seen)


# -- what cannot be evaluated


def refuse(kind: type[ArmsegError], match: str, call) -> None:
    with pytest.raises(kind, match=match) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_choices_that_cannot_be_evaluated(model: Model, data: Path, small_clip, tmp_path: Path) -> None:
    refuse(
        UsageError,
        "not trained with thermal.*depth",
        lambda: evaluate(model, [data], "test", modalities=("thermal",)),
    )
    two = small_model(small_clip, ("depth", "thermal"), datasets=(SCENES,))
    refuse(
        UsageError, "'scenes' has no thermal", lambda: evaluate(two, [data], "test", modalities=("thermal",))
    )
    refuse(UsageError, "no split 'val'", lambda: evaluate(model, [data], "val"))
    refuse(CheckpointError, "no model here", lambda: evaluate(tmp_path, [data], "test"))
    foreign = small_model(small_clip, ("depth",))
    refuse(
        DataSetError,
        "classes of 'scenes' are not.*toy: ground, car, person",
        lambda: evaluate(foreign, [data]),
    )
    refuse(
        DataSetError,
        "1 samples with depth.*two or more",
        lambda: confusion(
            Inference(model),
            open_dataset(data, "train"),
            Inputs(sensors=("depth",), control="other scene"),
        ),
    )


def test_a_sample_without_a_label_is_named(model: Model, tmp_path: Path) -> None:
    root = write_scenes(tmp_path, {"test": 2})
    (root / "label" / "test1.png").unlink()
    refuse(DataSetError, "test1: sample has no label", lambda: evaluate(model, [root], "test"))


def test_devices(monkeypatch) -> None:
    for name in ("gpu", "cpu:0", "auto:1", "cuda:x", "CUDA"):
        refuse(UsageError, "unknown device", lambda name=name: pick_device(name))
    assert pick_device("cpu") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device("auto") == torch.device("cpu")
    refuse(UsageError, "no CUDA device here.*armseg doctor", lambda: pick_device("cuda"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert pick_device("auto") == torch.device("cuda")
    assert pick_device("cuda:1") == torch.device("cuda:1")
    refuse(UsageError, "no CUDA device 2", lambda: pick_device("cuda:2"))


@pytest.mark.parametrize(("precision", "expected"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_the_precision_of_an_evaluation_is_that_of_its_activations(
    model: Model, data: Path, precision: str, expected: torch.dtype
) -> None:
    seen: set[torch.dtype] = set()
    layer = model.segmenter.fuse[0].gate
    handle = layer.register_forward_hook(lambda *given: seen.add(given[2].dtype))
    try:
        evaluate(model, [data], "test", precision=precision, progress=False)
    finally:
        handle.remove()
    assert seen == {expected}


def test_precisions() -> None:
    cpu = torch.device("cpu")
    refuse(UsageError, "unknown precision 'fp16'.*auto, fp32, bf16", lambda: autocast(cpu, "fp16"))
    x = torch.randn(2, 2)
    for name, expected in (("auto", torch.float32), ("fp32", torch.float32), ("bf16", torch.bfloat16)):
        with autocast(cpu, name):
            assert (x @ x).dtype == expected
