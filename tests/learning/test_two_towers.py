"""Guide and backbone from training to prediction: what learns, what is saved, what is looked for again."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from dataset_writer import write_folder_dataset
from small_backbone import NAME, write_backbone
from small_models import changed, few_steps, inputs, shake, small_model
from toy_scenes import write_scenes

from armseg_core.config.model import ModelConfig
from armseg_core.config.training import TrainConfig
from armseg_core.errors import CheckpointError, UsageError
from armseg_core.learning import training
from armseg_core.learning.evaluation import evaluate
from armseg_core.learning.inputs import Inputs
from armseg_core.learning.model import Model
from armseg_core.learning.model_folder import load, save
from armseg_core.learning.prediction import Predictor
from armseg_core.learning.training import dry_run, train

TUNES = ("frozen", "lora", "full")
NO_GUIDE = {"guide": "none", "guide_weights": None}


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return write_backbone(tmp_path_factory.mktemp("backbone"))


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set whose samples have depth and thermal."""
    root = tmp_path_factory.mktemp("two")
    return write_folder_dataset(root, modalities=("depth", "thermal"), size=(40, 48))


@pytest.fixture
def config(tiny_clip, two: Path, tmp_path: Path):
    """A function that makes a TrainConfig of a few fast steps with two sensors; options override it."""

    def make(model: dict[str, Any] | None = None, **options: Any) -> TrainConfig:
        values = {"data": (two,), "modalities": ("depth", "thermal"), "steps": 4, "warmup": 1}
        return few_steps(tiny_clip, tmp_path, model, **(values | options))

    return make


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    files = sorted(folder.rglob("*.safetensors"))
    return {
        f"{p.relative_to(folder)}:{n}": t for p in files for n, t in safetensors.torch.load_file(p).items()
    }


def encoder(model: Model) -> dict[str, torch.Tensor]:
    """The weights of the backbone's encoder by timm's names, without LoRA."""
    state = model.segmenter.backbone.encoder.state_dict()
    return {n.replace(".base_layer", ""): t for n, t in state.items() if "lora_" not in n}


@torch.no_grad()
def logits(model: Model, *sensors: str) -> torch.Tensor:
    rgb, *frames = inputs(*sensors, size=(33, 47))
    return model.segmenter(rgb, dict(zip(sensors, frames, strict=True))).logits


# -- several sensors in a training


def test_two_sensors_are_trained_validated_and_evaluated_together(config, two: Path) -> None:
    run = train(config(), progress=False)
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    names = {"rgb", "rgb+depth", "rgb+thermal", "rgb+depth+thermal"}
    assert rows[-1]["val"]["toy"].keys() == names
    assert rows[-1]["miou"] == rows[-1]["val"]["toy"]["rgb+depth+thermal"]  # what decides which is the best
    report = evaluate(run, [two], "val", progress=False)
    assert [row.inputs.title for row in report.rows] == [
        "rgb",
        "rgb+depth",
        "rgb+thermal",
        "rgb+depth+thermal",
    ]
    assert {
        r.inputs.title: r.matrix.miou for r in evaluate(run / "last", [two], "val", progress=False).rows
    } == (rows[-1]["val"]["toy"])
    wanted = [Inputs.parse(text) for text in ("thermal+depth", "rgb+thermal")]
    chosen = evaluate(run, [two], "val", inputs=wanted, progress=False)
    assert [row.inputs for row in chosen.rows] == wanted
    assert (
        chosen.row("rgb+thermal").matrix.matrix.tolist() == report.row("rgb+thermal").matrix.matrix.tolist()
    )


@pytest.mark.parametrize("model", [{}, {"streams": "each"}, NO_GUIDE, {"guidance": False}], ids=str)
def test_a_run_of_two_sensors_that_was_interrupted_ends_with_the_same_bits(
    config, monkeypatch, model
) -> None:
    settings = config(model, steps=7, name="cut", save_every=2)
    whole = train(config(model, steps=7, name="whole", save_every=2), progress=False)
    real = training.training_step

    def step_with_interruption(config, model, optimizer, batch, number):
        if number == 4:
            signal.raise_signal(signal.SIGINT)
        return real(config, model, optimizer, batch, number)

    with monkeypatch.context() as patch:
        patch.setattr(training, "training_step", step_with_interruption)
        with pytest.raises(KeyboardInterrupt):
            train(settings, progress=False)
    run = train(resume=settings.out / "cut-001", progress=False)
    for name in ("last", "best"):
        expected = tensors(whole / name)
        assert expected
        assert not changed(expected, tensors(run / name))


def test_a_step_of_the_run_uses_all_sensors_or_some(config, monkeypatch) -> None:
    seen, real = set(), training.training_step

    def watch(config, model, optimizer, batch, number):
        seen.add(tuple(batch.sensors))
        return real(config, model, optimizer, batch, number)

    monkeypatch.setattr(training, "training_step", watch)
    train(config(steps=12), progress=False)
    assert seen == {("depth",), ("thermal",), ("depth", "thermal")}
    seen.clear()
    train(config(steps=6, all_sensors=1.0), progress=False)
    assert seen == {("depth", "thermal")}


# -- without a guide


def test_a_model_without_a_guide_is_trained_saved_loaded_and_used(config, two: Path, tmp_path: Path) -> None:
    run = train(config(NO_GUIDE), progress=False)
    model = load(run)
    assert model.identity is None
    assert model.segmenter.guide is None
    assert model.prompts == {}
    assert json.loads((run / "best" / "armseg.json").read_text())["guide"] is None
    assert "no guide" in (run / "best" / "README.md").read_text()
    assert not (run / "best" / "adapters").exists()
    assert evaluate(run, [two], "val", progress=False).row("rgb+depth+thermal").samples > 0
    save(model, tmp_path / "again")
    assert torch.equal(logits(load(tmp_path / "again"), "depth"), logits(model, "depth"))


def test_without_a_guide_no_clip_is_needed(config, monkeypatch) -> None:
    from armseg_core.learning import clip_loading, model_folder

    def fail(*args: object) -> None:
        raise AssertionError("CLIP was loaded")

    for module in (clip_loading, model_folder):
        monkeypatch.setattr(module, "load_clip", fail)
    assert load(train(config(NO_GUIDE, steps=1), progress=False)).identity is None


def test_a_model_whose_guidance_is_off_is_the_one_that_was_saved(tiny_clip, tmp_path: Path) -> None:
    model = small_model(tiny_clip, guidance=False)
    shake(model.segmenter)
    save(model, tmp_path / "model")
    for sensors in ((), ("depth",), ("depth", "thermal")):
        assert torch.equal(logits(load(tmp_path / "model"), *sensors), logits(model, *sensors))


# -- how the backbone learns


@pytest.mark.parametrize("tune", TUNES)
def test_what_a_training_changes_in_the_backbone_and_what_is_saved_of_it(config, backbone, tune: str) -> None:
    run = train(config(backbone | {"tune": tune}), progress=False)
    begun = safetensors.torch.load_file(backbone["backbone_weights"])
    model = load(run / "last")
    now = encoder(model)
    moved = {n for n, t in now.items() if not torch.equal(t, begun[n])}
    assert bool(moved) == (tune == "full")
    stored = [
        n for n in safetensors.torch.load_file(run / "last" / "segmenter.safetensors") if "encoder." in n
    ]
    assert bool(stored) == (tune != "frozen")
    assert all("lora_" in n for n in stored) == (tune != "full")
    ups = {n: t for n, t in model.segmenter.backbone.state_dict().items() if "lora_B" in n}
    assert bool(ups) == (tune == "lora")
    assert all(t.abs().max() > 0 for t in ups.values())
    meta = json.loads((run / "last" / "armseg.json").read_text())
    assert meta["backbone"]["name"] == NAME
    assert meta["backbone"]["weights"] == backbone["backbone_weights"]
    assert f"backbone {NAME}" in (run / "last" / "README.md").read_text()


@pytest.mark.parametrize("tune", TUNES)
def test_a_saved_model_is_the_one_that_was_saved(tiny_clip, backbone, tmp_path: Path, tune: str) -> None:
    model = small_model(tiny_clip, tune=tune, **backbone)
    shake(model.segmenter)
    save(model, tmp_path / "model")
    again = load(tmp_path / "model")
    for sensors in ((), ("depth", "thermal")):
        assert torch.equal(logits(again, *sensors), logits(model, *sensors))
    assert (again.config, again.backbone) == (model.config, model.backbone)
    save(again, tmp_path / "again")
    assert not changed(tensors(tmp_path / "model"), tensors(tmp_path / "again"))


@pytest.mark.parametrize("tune", TUNES)
def test_weights_of_the_backbone_are_looked_for_again_unless_all_of_it_was_tuned(
    tiny_clip, tmp_path: Path, tune: str
) -> None:
    given = write_backbone(tmp_path / "weights")
    model = small_model(tiny_clip, tune=tune, **given)
    shake(model.segmenter)
    save(model, tmp_path / "model")
    moved = shutil.move(given["backbone_weights"], tmp_path / "moved.safetensors")
    expected = logits(model, "depth")
    if tune == "full":
        assert torch.equal(logits(load(tmp_path / "model"), "depth"), expected)
        return
    with pytest.raises(CheckpointError, match=r"no such file of backbone weights.*--backbone-weights FILE"):
        load(tmp_path / "model")
    assert torch.equal(logits(load(tmp_path / "model", backbone_weights=Path(moved)), "depth"), expected)
    other = write_backbone(tmp_path / "other", seed=5)["backbone_weights"]
    with pytest.raises(
        CheckpointError, match=r"weights of the backbone are not those.*--backbone-weights FILE"
    ):
        load(tmp_path / "model", backbone_weights=Path(other))


@pytest.mark.parametrize("tune", TUNES)
def test_a_run_on_a_tuned_backbone_goes_on_with_the_same_bits(
    config, backbone, monkeypatch, tune: str
) -> None:
    model = backbone | {"tune": tune}
    whole = train(config(model, steps=5, name="whole"), progress=False)
    real = training.training_step

    def dying(config, model, optimizer, batch, number):
        if number == 3:
            raise RuntimeError("killed")
        return real(config, model, optimizer, batch, number)

    with monkeypatch.context() as patch:
        patch.setattr(training, "training_step", dying)
        with pytest.raises(RuntimeError, match="killed"):
            train(config(model, steps=5, name="cut", save_every=2), progress=False)
    run = train(resume=config().out / "cut-001", progress=False)
    assert not changed(tensors(whole / "last"), tensors(run / "last"))


def test_a_run_does_not_go_on_with_other_weights_of_a_frozen_backbone(config, tmp_path: Path) -> None:
    given = write_backbone(tmp_path / "weights")
    run = train(config(given | {"tune": "frozen"}, steps=2), progress=False)
    write_backbone(tmp_path / "weights", seed=3)
    with pytest.raises(CheckpointError, match=r"guide or the backbone are not those.*--backbone-weights"):
        train(resume=run, progress=False)


def test_merged_lora_of_the_backbone_gives_the_same_scores(tiny_clip, backbone) -> None:
    model = small_model(tiny_clip, tune="lora", **backbone)
    shake(model.segmenter)
    before, bits = logits(model, "depth"), encoder(model)
    bits = {n: t.clone() for n, t in bits.items()}
    model.segmenter.backbone.merge()
    assert changed(bits, encoder(model))
    merged = logits(model, "depth")
    model.segmenter.backbone.unmerge()
    assert (merged - before).abs().max() < 1e-4 * before.abs().max()
    assert not changed(bits, encoder(model))
    assert torch.equal(logits(model, "depth"), before)


def test_rates_of_a_tuned_backbone(tiny_clip, backbone) -> None:
    config = TrainConfig(lr=1e-2, backbone_lr=1e-4, lora_lr=1e-3)
    for tune in TUNES:
        parameters = small_model(tiny_clip, tune=tune, **backbone).segmenter.trainable()
        optimizer = training.make_optimizer(config, parameters)
        rate = {id(p): g["peak"] for g in optimizer.param_groups for p in g["params"]}
        found = {rate[id(p)] for n, p in parameters.items() if n.startswith("backbone.")}
        assert found == {"frozen": set(), "lora": {1e-3}, "full": {1e-4}}[tune]


def test_the_guide_may_be_the_backbone_too(config, two: Path) -> None:
    run = train(config({"backbone": "clip", "tune": "lora"}, steps=2), progress=False)
    model = load(run / "last")
    assert model.backbone.name == "clip"
    stored = safetensors.torch.load_file(run / "last" / "segmenter.safetensors")
    assert not [n for n in stored if "visual" in n]
    assert evaluate(model, [two], "val", progress=False).row("rgb+depth+thermal").samples > 0


# -- what cannot be


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"tune": "lora"}, "weights of the backbone"),
        ({"tune": "frozen", "backbone": "convnext_tiny"}, "weights of the backbone"),
        ({"backbone": "clip", "guide": "none"}, "a guide, which is also the backbone"),
        ({"tune": "some"}, "'frozen', 'lora'"),
        ({"streams": "two"}, "'shared' or 'each'"),
    ],
)
def test_options_that_contradict(values: dict[str, str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ModelConfig(**values)


def test_backbones_that_cannot_be_had(config, tmp_path: Path) -> None:
    for model, kind, match in (
        (
            {"backbone": "convnext_tinny"},
            UsageError,
            "unknown backbone 'convnext_tinny'.*--backbone convnext_tiny",
        ),
        ({"backbone_weights": str(tmp_path / "no.pt")}, CheckpointError, "no such file of backbone weights"),
        ({"backbone_weights": "default"}, CheckpointError, "'small' has no published weights"),
    ):
        with pytest.raises(kind, match=match):
            dry_run(config(model))
    other = write_backbone(tmp_path)["backbone_weights"]
    with pytest.raises(CheckpointError, match=r"backbone\.safetensors: weights are of another architecture"):
        dry_run(config({"backbone_weights": other}))
    assert not (tmp_path / "runs").exists()


def test_paths_of_weights_hold_from_any_folder(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert ModelConfig(backbone_weights="b.pt").backbone_weights == str(tmp_path / "b.pt")
    assert ModelConfig(backbone_weights="default").backbone_weights == "default"
    assert ModelConfig(backbone_weights="none").backbone_weights is None
    assert ModelConfig(guide="clip.json").guide == str(tmp_path / "clip.json")


def test_a_predictor_finds_moved_weights_of_both_towers(tiny_clip, tmp_path: Path) -> None:
    given = write_backbone(tmp_path / "weights")
    clip = {
        k: shutil.copy(v, tmp_path / "weights") if k == "guide_weights" else v for k, v in tiny_clip.items()
    }
    model = small_model(clip, ("depth",), tune="frozen", **given)
    save(model, tmp_path / "model")
    places = [Path(shutil.move(p, tmp_path)) for p in (clip["guide_weights"], given["backbone_weights"])]
    predictor = Predictor.load(tmp_path / "model", "cpu", *places)
    assert torch.equal(logits(predictor.model, "depth"), logits(model, "depth"))
    with pytest.raises(CheckpointError, match="no such file of CLIP weights"):
        Predictor.load(tmp_path / "model", "cpu", backbone_weights=places[1])


def test_scenes_with_one_sensor_decide_by_it_alone(config, tmp_path: Path) -> None:
    """A data set without several sensors has no row of all of them."""
    data = write_scenes(tmp_path / "data")
    run = train(config(data=(data,), modalities=("depth",), steps=2), progress=False)
    last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["val"]["scenes"].keys() == {"rgb", "rgb+depth"}
    assert last["miou"] == last["val"]["scenes"]["rgb+depth"]
