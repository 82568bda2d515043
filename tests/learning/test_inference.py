"""The one way a model meets an image: the input size is remembered, and all who use it agree."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from small_models import inputs, shake, small_config, small_model
from toy_scenes import write_scenes

from armseg_core.config.training import TrainConfig
from armseg_core.data.sample import ClassInfo
from armseg_core.errors import CheckpointError, UsageError
from armseg_core.learning.evaluation import evaluate
from armseg_core.learning.inference import Inference
from armseg_core.learning.inputs import RGB_ONLY, Inputs
from armseg_core.learning.metrics import ConfusionMatrix
from armseg_core.learning.model import KnownDataSet, Model
from armseg_core.learning.model_folder import load, save
from armseg_core.learning.prediction import Predictor
from armseg_core.learning.training import train
from armseg_core.resizing import resize_image, resize_model_tensor
from armseg_core.sensors.modalities import get_modality

SCENES = KnownDataSet("scenes", (ClassInfo("near", (200, 80, 40)), ClassInfo("far", (40, 80, 200))))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scenes of 80x60 pixels."""
    return write_scenes(tmp_path_factory.mktemp("data"), {"train": 4, "val": 3, "test": 2}, size=(60, 80))


@pytest.fixture(scope="module")
def run(small_clip, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training at 64x48, of a step size that leaves both classes in the masks."""
    config = TrainConfig(
        data=(data,),
        modalities=("depth",),
        model=small_config(small_clip),
        out=tmp_path_factory.mktemp("runs"),
        steps=6,
        batch_size=2,
        lr=0.02,
        warmup=1,
        size=(48, 64),
        crop=(32, 32),
    )
    return train(config, progress=False)


def validation(run: Path) -> dict[str, float]:
    """The last validation of a run: mIoU by inputs."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return next(row["val"]["scenes"] for row in reversed(rows) if "val" in row)


def test_eval_gives_the_numbers_of_the_trainings_own_validation(armseg, run: Path) -> None:
    done = armseg("eval", "--model", run / "last", "--split", "val", "--json")
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert {row["inputs"]: row["miou"] for row in report["rows"]} == validation(run)
    assert report["input"] == report["input_of_training"] == {"rule": "resize", "size": [48, 64]}
    assert 0 < min(validation(run).values()) <= max(validation(run).values()) < 1


def test_the_masks_that_predict_writes_score_what_eval_says(
    armseg, run: Path, data: Path, tmp_path: Path
) -> None:
    matrix = ConfusionMatrix(2)
    for i in range(3):
        image, depth, label = (data / kind / f"val{i}.png" for kind in ("rgb", "depth", "label"))
        done = armseg("predict", image, depth, "--model", run / "last", "-o", tmp_path, "--json")
        assert done.exit_code == 0, done.output
        mask = np.asarray(Image.open(json.loads(done.stdout)["files"]["mask"]))
        matrix.update(mask, np.asarray(Image.open(label)))
    row = evaluate(run / "last", [data], "val", progress=False).row("rgb+depth")
    assert matrix.miou == row.matrix.miou == validation(run)["rgb+depth"]
    assert np.array_equal(matrix.matrix, row.matrix.matrix)


def test_another_size_can_be_asked_for_and_is_said(armseg, run: Path) -> None:
    done = armseg("eval", "--model", run / "last", "--split", "val", "--size", "80x60")
    assert "input size: 80x60 (--size; trained at 64x48)" in done.stdout
    saved = json.loads((run / "metrics" / "eval_val.json").read_text())
    assert saved["input"] == {"rule": "resize", "size": [60, 80]}
    assert {row["inputs"]: row["miou"] for row in saved["rows"]} != validation(run)
    assert "input size: 64x48\n" in armseg("eval", "--model", run / "last", "--split", "val").stdout


# -- the model folder


def test_the_model_folder_records_the_input_size(small_clip, tmp_path: Path) -> None:
    for size, rule in ((None, {"rule": "native"}), ((48, 64), {"rule": "resize", "size": [48, 64]})):
        model = small_model(small_clip, ("depth",))
        model.input_size = size
        folder = tmp_path / str(size)
        save(model, folder)
        assert json.loads((folder / "armseg.json").read_text())["input"] == rule
        assert load(folder).input_size == size
        assert ("resized to 64x48" in (folder / "README.md").read_text()) == (size is not None)


@pytest.mark.parametrize(
    "entry",
    [
        {"rule": "tiles", "size": [48, 64]},
        {"rule": "resize"},
        {"rule": "resize", "size": [0, 64]},
        {},
        "native",
    ],
)
def test_an_input_rule_that_is_not_known_is_refused(small_clip, tmp_path: Path, entry: object) -> None:
    save(small_model(small_clip, ("depth",)), tmp_path / "model")
    file = tmp_path / "model" / "armseg.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"input": entry}))
    with pytest.raises(CheckpointError, match=r"armseg\.json.*damaged"):
        load(tmp_path / "model")


# -- the value itself


@pytest.fixture(scope="module")
def model(small_clip) -> Model:
    model = small_model(small_clip, ("depth", "thermal"), datasets=(SCENES,))
    shake(model.segmenter, scale=0.3)
    return model


def test_inputs_are_resized_and_logits_come_at_the_sizes_asked_for(model: Model) -> None:
    rgb, depth = (x.numpy() for x in inputs("depth", batch=2, size=(40, 48)))
    small = Inference(model, (24, 32))
    assert small.input_size((40, 48)) == (24, 32)
    assert Inference(model).input_size((40, 48)) == (40, 48)
    first, second = small.logits(list(rgb), {"depth": list(depth)}, 0, [(40, 48), (7, 9)])
    assert (first.shape, second.shape) == ((2, 40, 48), (2, 7, 9))
    image = torch.from_numpy(resize_image(rgb[0], (24, 32)))[None]
    frame = torch.from_numpy(resize_model_tensor(depth[0], get_modality("depth"), (24, 32)))[None]
    with torch.no_grad():
        raw = model.segmenter(image, {"depth": frame}).logits
    expected = torch.nn.functional.interpolate(raw, (40, 48), mode="bilinear", align_corners=False)[0]
    assert torch.allclose(first, expected, atol=1e-5)


@pytest.mark.parametrize("size", [(40, 48), (33, 47), (5, 6)])  # multiples of the stride, not, and below it
@pytest.mark.parametrize("input_size", [None, (27, 35)])
def test_the_embedding_of_the_guess_is_the_networks_own(model: Model, monkeypatch, size, input_size) -> None:
    _, frame = inputs("thermal", size=size)
    seen = []
    real = model.segmenter.forward
    monkeypatch.setattr(model.segmenter, "forward", lambda *a: seen.append(real(*a)) or seen[-1])
    inference = Inference(model, input_size)
    list(inference.logits(None, {"thermal": [frame[0].numpy()]}, 0, [size]))
    assert torch.equal(inference.embedding(frame[0].numpy(), "thermal"), seen[0].embeddings["thermal"][0])


@pytest.mark.filterwarnings("ignore::armseg_core.errors.ArmsegWarning")
def test_a_guess_embeds_the_tensor_that_is_then_predicted(
    model: Model, data: Path, tmp_path: Path, monkeypatch
) -> None:
    scan = tmp_path / "scan.png"
    scan.write_bytes((data / "depth" / "val0.png").read_bytes())
    compared, used = {}, []
    embedding, arrays = Inference.embedding, Predictor.predict_arrays
    monkeypatch.setattr(
        Inference,
        "embedding",
        lambda self, frame, m: (compared.update({m: frame}), embedding(self, frame, m))[1],
    )
    monkeypatch.setattr(
        Predictor,
        "predict_arrays",
        lambda self, rgb, frames, *a: (used.append(frames), arrays(self, rgb, frames, *a))[1],
    )
    monkeypatch.setattr(model, "input_size", (24, 32))
    result = Predictor(model).predict(data / "rgb" / "val0.png", scan)
    ((name, how),) = result.sensors.items()
    assert how.startswith("MA-CLIP")
    assert compared.keys() == {"depth", "thermal"}
    assert used[0][name].shape[1:] == (24, 32)
    assert np.array_equal(compared[name], used[0][name])
    assert result.mask.shape == (60, 80)


def test_the_model_runs_in_evaluation_mode_and_without_gradients(model: Model) -> None:
    rgb = list(inputs()[0].numpy())
    model.segmenter.train()
    (logits,) = Inference(model).logits(rgb, {}, 0, [(40, 48)])
    assert model.segmenter.training
    model.segmenter.eval()
    (again,) = Inference(model).logits(rgb, {}, 0, [(40, 48)])
    assert torch.equal(logits, again)
    assert not logits.requires_grad


# -- Inputs


@pytest.mark.parametrize(
    ("value", "title"),
    [
        (RGB_ONLY, "rgb"),
        (Inputs(sensors=("thermal",)), "rgb+thermal"),
        (Inputs(rgb=False, sensors=("thermal",)), "thermal"),
        (Inputs(sensors=("thermal", "event")), "rgb+thermal+event"),
        (Inputs(among=("thermal",)), "rgb (samples with thermal)"),
        (Inputs(among=("thermal", "event")), "rgb (samples with thermal, event)"),
        (Inputs(sensors=("thermal",), control="other scene"), "rgb+thermal (other scene)"),
    ],
)
def test_inputs_have_titles(value: Inputs, title: str) -> None:
    assert value.title == title


def test_inputs_that_make_no_sense() -> None:
    for make, words in (
        (lambda: Inputs(rgb=False), "no inputs"),
        (lambda: Inputs(control="other scene"), "without a sensor"),
    ):
        with pytest.raises(UsageError, match=words):
            make()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("rgb", RGB_ONLY),
        ("thermal", Inputs(rgb=False, sensors=("thermal",))),
        ("rgb+thermal+depth", Inputs(sensors=("thermal", "depth"))),
        (" depth + RGB + depth ", Inputs(sensors=("depth",))),
        ("infrared", Inputs(rgb=False, sensors=("thermal",))),
    ],
)
def test_inputs_are_read_from_words(text: str, value: Inputs) -> None:
    assert Inputs.parse(text) == value
    if text == value.title:
        assert Inputs.parse(value.title) == value


@pytest.mark.parametrize(
    ("text", "words"), [("", "no inputs"), ("+", "no inputs"), ("rgb+sonar", "unknown mod")]
)
def test_words_that_are_no_inputs(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Inputs.parse(text)


def test_all_sensors_of_a_batch_reach_the_network(model: Model) -> None:
    rgb, depth, thermal = (x.numpy() for x in inputs("depth", "thermal", batch=2))
    given = {"depth": list(depth), "thermal": list(thermal)}
    found = list(Inference(model).logits(list(rgb), given, 0, [(40, 48)] * 2))
    with torch.no_grad():
        expected = model.segmenter(
            torch.from_numpy(rgb), {m: torch.from_numpy(np.stack(x)) for m, x in given.items()}
        ).logits
    assert torch.equal(torch.stack(found), expected)
