"""Training: what a step changes and what it never touches, exact resume, and that it learns to use the
sensor."""

from __future__ import annotations

import csv
import itertools
import json
import math
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from dataset_writer import write_folder_dataset
from small_models import TOY, shake, small_config, small_model, write_clip
from toy_scenes import write_scenes

from armseg_core.config.training import LossConfig, TrainConfig
from armseg_core.errors import CheckpointError, TrainingError, UsageError
from armseg_core.learning import losses, training
from armseg_core.learning.batches import Batch
from armseg_core.learning.evaluation import evaluate
from armseg_core.learning.model_folder import Model, load
from armseg_core.learning.run_folder import RunFolder
from armseg_core.learning.training import (
    dry_run,
    inputs_of_step,
    make_optimizer,
    rate_factor,
    train,
    training_step,
)
from armseg_core.model.fusion import GatedFusion
from armseg_core.model.ma_clip import modality_prompt, scene_prompt
from armseg_core.sensors.modalities import SENSORS, get_modality

CPU = torch.device("cpu")


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return write_clip(tmp_path_factory.mktemp("tiny_clip"), layers=2)


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scenes(tmp_path_factory.mktemp("scenes"))


@pytest.fixture
def config(tiny_clip, scenes: Path, tmp_path: Path):
    """A function that makes a TrainConfig of a few fast steps; options override it."""

    def make(model: dict[str, Any] | None = None, **options: Any) -> TrainConfig:
        return few_steps(tiny_clip, tmp_path, model, **({"data": (scenes,)} | options))

    return make


def few_steps(
    clip: dict[str, str], folder: Path, model: dict[str, Any] | None = None, **options: Any
) -> TrainConfig:
    values = {
        "modalities": ("depth",),
        "model": small_config(clip, **(model or {})),
        "out": folder / "runs",
        "steps": 8,
        "batch_size": 2,
        "crop": (32, 32),
        "warmup": 2,
    }
    return TrainConfig(**(values | options))


def batch_for(modality: str | None, seed: int, classes: int = 3, dataset: int = 0, size: int = 32) -> Batch:
    rng = torch.Generator().manual_seed(seed)
    sensor = (
        None
        if modality is None
        else torch.rand(2, get_modality(modality).num_channels, size, size, generator=rng)
    )
    label = torch.randint(0, classes, (2, size, size), generator=rng)
    label[:, 0] = losses.IGNORE
    return Batch(dataset, modality, torch.rand(2, 3, size, size, generator=rng), label, sensor)


def changed(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    assert before.keys() == after.keys()
    return {name for name in before if not torch.equal(before[name], after[name])}


def everything(model: Model) -> dict[str, torch.Tensor]:
    """Every parameter and buffer of the network and of the text tower, as bits."""
    assert model.clip is not None
    state = {f"net.{n}": t for n, t in model.segmenter.named_parameters()}
    state |= {f"net.{n}": t for n, t in model.segmenter.named_buffers()}
    state |= {f"clip.{n}": t for n, t in model.clip.model.named_parameters()}
    state |= {f"clip.{n}": t for n, t in model.clip.model.named_buffers()}
    return {n: t.detach().clone() for n, t in state.items()}


# -- one step


class TestWhatAStepChanges:
    @pytest.fixture
    def model(self, tiny_clip) -> Model:
        model = small_model(tiny_clip, SENSORS, datasets=(TOY, TOY))
        model.segmenter.train()
        return model

    def settings(self, **options: Any) -> TrainConfig:
        return TrainConfig(
            weight_decay=0.0, warmup=0, sensor_dropout=0.0, rgb_dropout=0.0, steps=100, **options
        )

    def test_a_cycle_over_all_sensors_changes_all_that_is_trainable_and_no_frozen_bit(self, model) -> None:
        config = self.settings(loss=LossConfig(lovasz=0.5, ohem=0.1))
        trainable = {f"net.{n}" for n in model.segmenter.trainable()}
        optimizer = make_optimizer(config, model.segmenter.trainable())
        before = everything(model)
        for cycle in range(2):  # what lies behind a zero-initialized layer moves in the second cycle
            for k, modality in enumerate(SENSORS):
                batch = batch_for(modality, seed=10 * cycle + k, dataset=k % 2)
                training_step(config, model, optimizer, batch, cycle)
        moved = changed(before, everything(model))
        assert moved >= trainable, sorted(trainable - moved)
        extra = {
            n
            for n in moved - trainable
            if n.removeprefix("clip.visual.")
            not in {t.removeprefix("net.ma_clip.tower.visual.") for t in trainable}
        }
        assert not extra, sorted(extra)  # "clip.visual" is the same tower by its other name

    @pytest.mark.parametrize("modality", ["thermal", None])
    def test_a_step_leaves_the_other_sensors_alone(self, model, modality) -> None:
        config = self.settings()
        shake(model.segmenter)
        optimizer = make_optimizer(config, model.segmenter.trainable())
        # one step of another sensor first, so that momentum could move what has no gradient now
        training_step(config, model, optimizer, batch_for("depth", 0), 0)
        before = {n: p.detach().clone() for n, p in model.segmenter.named_parameters()}
        training_step(config, model, optimizer, batch_for(modality, 1), 1)
        moved = changed(before, dict(model.segmenter.named_parameters()))
        named = {n: {m for m in (*SENSORS, "rgb") if m in n.split(".")} for n in before}
        wanted = {"rgb", modality}
        assert not {n for n in moved if named[n] - wanted}
        for m in wanted - {None}:
            mine = {n for n in before if named[n] == {m} and "lora_" in n}
            assert mine
            assert mine <= moved

    def test_a_step_without_rgb_does_not_touch_the_rgb_stream(self, model) -> None:
        config = TrainConfig(weight_decay=0.0, warmup=0, sensor_dropout=0.0, rgb_dropout=0.999, steps=100)
        assert inputs_of_step(config, 0, True) == (False, True)
        shake(model.segmenter)
        optimizer = make_optimizer(config, model.segmenter.trainable())
        before = {n: p.detach().clone() for n, p in model.segmenter.named_parameters()}
        training_step(config, model, optimizer, batch_for("depth", 0), 0)
        moved = changed(before, dict(model.segmenter.named_parameters()))
        assert not {n for n in moved if ".rgb." in n or "_rgb" in n}
        assert {n for n in moved if ".depth." in n}

    def test_gradients_are_clipped_and_the_rate_follows_the_schedule(self, model) -> None:
        config = self.settings(clip_norm=1e-3)
        optimizer = make_optimizer(config, model.segmenter.trainable())
        training_step(config, model, optimizer, batch_for("depth", 0), 50)
        norm = math.sqrt(
            sum(p.grad.square().sum().item() for p in model.segmenter.parameters() if p.grad is not None)
        )
        assert norm == pytest.approx(1e-3, rel=1e-3)
        rates = {g["lr"] for g in optimizer.param_groups}
        assert rates == {r * rate_factor(50, 100, 0) for r in (config.lr, config.lora_lr)}

    def test_a_loss_that_is_not_finite_stops_before_it_spoils_the_weights(self, model) -> None:
        config = self.settings()
        optimizer = make_optimizer(config, model.segmenter.trainable())
        batch = batch_for("depth", 0)
        batch.rgb[0, 0, 0, 0] = math.nan
        before = everything(model)
        with pytest.raises(TrainingError, match=r"not finite at step 3.*--lr") as caught:
            training_step(config, model, optimizer, batch, 3)
        assert caught.value.exit_code == 1
        assert not changed(before, everything(model))

    def test_it_overfits_one_batch(self, model) -> None:
        config = TrainConfig(
            lr=1e-2,
            warmup=0,
            sensor_dropout=0.0,
            rgb_dropout=0.0,
            steps=60,
            loss=LossConfig(contrastive=0, align=0),
        )
        optimizer = make_optimizer(config, model.segmenter.trainable())
        batch = batch_for("depth", 0, size=16)
        batch.label[:, 1:] = (batch.rgb[:, 0, 1:] > 0.5).long()
        seen = [training_step(config, model, optimizer, batch, step)[0] for step in range(60)]
        assert seen[-1] < 0.5 * seen[0], (seen[0], seen[-1])


def test_the_learning_rate_warms_up_and_falls_to_one_percent() -> None:
    factors = [rate_factor(step, 110, 10) for step in range(110)]
    assert factors[:10] == pytest.approx([(k + 1) / 10 for k in range(10)])
    assert factors[10] == 1.0
    assert factors[60] == pytest.approx(0.505)
    assert factors[-1] == pytest.approx(0.01, abs=1e-3)
    assert all(a > b for a, b in itertools.pairwise(factors[10:]))


def test_optimizer_groups(tiny_clip) -> None:
    config = TrainConfig(lr=1e-2, lora_lr=1e-3, weight_decay=0.1)
    parameters = small_model(tiny_clip).segmenter.trainable()
    optimizer = make_optimizer(config, parameters)
    groups = {(g["peak"], g["weight_decay"]): {id(p) for p in g["params"]} for g in optimizer.param_groups}
    assert groups.keys() == {(1e-3, 0.1), (1e-2, 0.1), (1e-2, 0.0)}
    for name, parameter in parameters.items():
        lora, matrix = "lora_" in name, parameter.ndim > 1
        assert id(parameter) in groups[1e-3 if lora else 1e-2, 0.1 if matrix else 0.0]


def test_inputs_of_a_step_follow_the_shares_and_depend_on_seed_and_step_alone() -> None:
    config = TrainConfig(sensor_dropout=0.3, rgb_dropout=0.2, seed=4)
    drawn = [inputs_of_step(config, step, True) for step in range(4000)]
    assert drawn == [inputs_of_step(config, step, True) for step in range(4000)]
    share = {key: count / 4000 for key, count in Counter(drawn).items()}
    assert share[True, False] == pytest.approx(0.3, abs=0.03)
    assert share[False, True] == pytest.approx(0.2, abs=0.03)
    assert share[True, True] == pytest.approx(0.5, abs=0.03)
    assert {inputs_of_step(config, step, False) for step in range(50)} == {(True, False)}
    assert drawn != [
        inputs_of_step(config.model_copy(update={"seed": 5}), step, True) for step in range(4000)
    ]


# -- the loss


def test_terms_that_are_off_are_not_there(tiny_clip) -> None:
    model = small_model(tiny_clip)
    batch = batch_for("depth", 0)
    out = model.segmenter(batch.rgb, batch.sensor, "depth")
    rgb_only = model.segmenter(batch.rgb)

    def terms(output, **weights: float) -> set[str]:
        config = TrainConfig(loss=LossConfig(**weights))
        return set(training.loss_terms(config, model, output, batch.label, 0))

    assert terms(out) == {"cross_entropy", "dice", "contrastive", "align"}
    assert terms(out, lovasz=1, dice=0, align=0, contrastive=0) == {"cross_entropy", "lovasz"}
    assert terms(rgb_only) == {"cross_entropy", "dice", "contrastive"}
    frozen = TrainConfig(model=small_config(tiny_clip, lora_rank=0))
    assert "contrastive" not in training.loss_terms(frozen, model, out, batch.label, 0)
    with pytest.raises(ValueError, match="one of cross_entropy, dice and lovasz"):
        LossConfig(cross_entropy=0, dice=0)


def test_terms_are_weighted(tiny_clip) -> None:
    model = small_model(tiny_clip)
    batch = batch_for("depth", 0)
    out = model.segmenter(batch.rgb, batch.sensor, "depth")
    one = training.loss_terms(
        TrainConfig(loss=LossConfig(cross_entropy=1, dice=1, lovasz=1, contrastive=1, align=1)),
        model,
        out,
        batch.label,
        0,
    )
    other = training.loss_terms(
        TrainConfig(loss=LossConfig(cross_entropy=2, dice=3, lovasz=4, contrastive=5, align=6)),
        model,
        out,
        batch.label,
        0,
    )
    assert [
        round((other[n] / one[n]).item(), 4)
        for n in ("cross_entropy", "dice", "lovasz", "contrastive", "align")
    ] == [2, 3, 4, 5, 6]


def test_contents_are_the_large_classes_largest_first() -> None:
    label = torch.full((10, 20), losses.IGNORE)
    label[0], label[1], label[2, :10] = 2, 2, 0
    label[3, :1] = 1  # 1 of 51 labeled pixels
    names = ("road", "car", "tree", "sky")
    assert training.content_of(label, names) == ["tree", "road", "car"]
    assert training.content_of(label, names, share=0.05) == ["tree", "road"]
    assert training.content_of(label, names, most=1) == ["tree"]
    assert training.content_of(torch.full((2, 2), losses.IGNORE), names) == []


def test_contrastive_term_names_the_sensor_and_the_content(tiny_clip) -> None:
    model = small_model(tiny_clip, ("depth", "thermal"))
    label = torch.zeros(3, 4, 4, dtype=torch.long)
    label[1], label[2] = 1, 1
    embeddings = {
        "rgb": torch.nn.functional.normalize(torch.randn(3, 24), dim=-1),
        "depth": torch.nn.functional.normalize(torch.randn(3, 24), dim=-1),
    }
    expected = 0.0
    for m, embedding in embeddings.items():
        captions = model.clip.encode_text([scene_prompt(m, [c]) for c in ("ground", "car", "car")])
        scores = embedding @ captions.T / 0.07
        for i, right in enumerate(([0], [1, 2], [1, 2])):
            expected += (scores[i].logsumexp(0) - scores[i, right].mean()) / 3
        prompts = model.clip.encode_text([modality_prompt(k) for k in ("rgb", "depth", "thermal")])
        scores = embedding @ prompts.T / 0.07
        expected += (scores.logsumexp(1) - scores[:, 0 if m == "rgb" else 1]).mean()
    got = training.contrastive_term(model, embeddings, label, 0)
    assert got.item() == pytest.approx(expected.item() / 2, rel=1e-4)


# -- whole runs


def rows_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    files = sorted(folder.rglob("*.safetensors"))
    return {
        f"{p.relative_to(folder)}:{n}": t for p in files for n, t in safetensors.torch.load_file(p).items()
    }


def interrupt_at(monkeypatch: pytest.MonkeyPatch, step: int, how: Any = None) -> None:
    """Ctrl-C (or `how()`) arrives during a step."""
    real = training.training_step

    def step_with_interruption(config, model, optimizer, batch, number):
        if number == step:
            (how or (lambda: signal.raise_signal(signal.SIGINT)))()
        return real(config, model, optimizer, batch, number)

    monkeypatch.setattr(training, "training_step", step_with_interruption)


def without_speed(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k != "images_per_s"} for row in rows]


@pytest.fixture(scope="module")
def undisturbed(tiny_clip, scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 23 steps, with dropout, so that the random state matters."""
    folder = tmp_path_factory.mktemp("whole")
    settings = few_steps(tiny_clip, folder, {"lora_dropout": 0.2}, data=(scenes,), steps=23, eval_every=7)
    return train(settings, progress=False)


def test_a_run_folder_holds_what_is_documented(config) -> None:
    settings = config(steps=12, eval_every=5)
    run = train(settings, progress=False)
    assert run == settings.out / "train-001"
    assert {p.name for p in run.iterdir()} == {
        "config.json",
        "metrics.jsonl",
        "metrics.csv",
        "log.txt",
        "best",
        "last",
        "resume",
        "plots",
        "metrics",
    }
    assert TrainConfig.parse(json.loads((run / "config.json").read_text())) == settings
    rows = rows_of(run)
    assert [r["step"] for r in rows if "loss" in r] == [10, 12]
    assert [r["step"] for r in rows if "val" in r] == [5, 10, 12]
    assert rows[-1]["val"].keys() == {"scenes"}
    assert rows[-1]["val"]["scenes"].keys() == {"rgb", "rgb+depth"}
    assert rows[-1]["miou"] == rows[-1]["val"]["scenes"]["rgb+depth"]
    assert rows[-1]["miou_rgb_only"] == rows[-1]["val"]["scenes"]["rgb"]
    losses_logged = next(r for r in rows if "loss" in r)
    assert losses_logged["epoch"] == pytest.approx(10 * 2 / 12, abs=1e-3)
    assert losses_logged["images_per_s"] > 0
    with open(run / "metrics.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert [int(r["step"]) for r in table] == [r["step"] for r in rows]
    assert {p.name for p in (run / "plots").iterdir()} == {"curves.png", "confusion.png"}
    assert json.loads((run / "metrics" / "confusion.json").read_text())["class_names"] == ["near", "far"]
    assert "done" in (run / "log.txt").read_text()
    best = max((r for r in rows if "val" in r), key=lambda r: r["miou"])
    assert load(run / "best").metrics["step"] == best["step"]
    assert load(run / "last").metrics["step"] == 12
    assert not list(run.rglob("*.tmp"))
    assert train(config(steps=1), progress=False).name == "train-002"


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(config) -> None:
    a, b, c = (weights_of(train(config(steps=3, seed=s), progress=False) / "last") for s in (0, 0, 1))
    assert not changed(a, b)
    assert changed(a, c)


@pytest.mark.parametrize("step", [0, 9, 14])
def test_a_run_that_was_interrupted_ends_with_the_same_bits(
    config, undisturbed: Path, monkeypatch, step: int
) -> None:
    settings = config(steps=23, model={"lora_dropout": 0.2}, eval_every=7)
    handler = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        interrupt_at(patch, step)
        with pytest.raises(KeyboardInterrupt) as caught:
            train(settings, progress=False)
    run = settings.out / "train-001"
    assert caught.value.__notes__ == [
        f"stopped after step {step + 1}; go on with: armseg train --resume {run}"
    ]
    assert signal.getsignal(signal.SIGINT) is handler
    assert train(resume=run, progress=False) == run
    for folder in ("last", "best"):
        expected = weights_of(undisturbed / folder)
        assert expected
        assert not changed(expected, weights_of(run / folder))
    assert [(r["step"], "val" in r) for r in rows_of(run)] == [
        (r["step"], "val" in r) for r in rows_of(undisturbed)
    ]
    validated = [r for r in without_speed(rows_of(run)) if "val" in r]
    assert validated == [r for r in without_speed(rows_of(undisturbed)) if "val" in r]


def test_a_run_that_was_killed_goes_on_from_its_last_state(config, undisturbed: Path, monkeypatch) -> None:
    settings = config(steps=23, model={"lora_dropout": 0.2}, eval_every=7, save_every=6)

    def die() -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        interrupt_at(patch, 16, die)
        with pytest.raises(RuntimeError, match="killed"):
            train(settings, progress=False)
    run = settings.out / "train-001"
    assert json.loads(RunFolder(run).state_file.read_text())["step"] == 12
    assert [r["step"] for r in rows_of(run)] == [7, 10, 14]
    with open(run / "metrics.jsonl", "a") as file:
        file.write('{"step": 15, "lo')  # a line torn by the crash
    train(resume=run, progress=False)
    assert not changed(weights_of(undisturbed / "last"), weights_of(run / "last"))
    assert [r["step"] for r in rows_of(run)] == [7, 10, 14, 20, 21, 23, 23]
    with open(run / "metrics.csv", newline="") as file:
        assert [int(r["step"]) for r in csv.DictReader(file)] == [7, 10, 14, 20, 21, 23, 23]
    assert len(list((run / "resume").glob("*.safetensors"))) == 1


def test_a_finished_run_that_is_resumed_stays_as_it_is(config) -> None:
    run = train(config(steps=3), progress=False)
    before, rows = weights_of(run / "last"), rows_of(run)
    assert train(resume=run, progress=False) == run
    assert not changed(before, weights_of(run / "last"))
    assert rows_of(run) == rows


def test_runs_that_cannot_go_on(config, tmp_path: Path) -> None:
    run = train(config(steps=2), progress=False)

    def refuse(match: str, folder: Path = run) -> None:
        with pytest.raises(CheckpointError, match=match):
            train(resume=folder, progress=False)

    refuse("no such run folder", tmp_path / "nothing")
    refuse("not a run folder", tmp_path)
    state = run / "resume" / "state.json"
    kept = state.read_text()
    state.write_text('{"step": 2}')
    refuse("resume state is damaged")
    state.write_text(kept)
    tensors = next((run / "resume").glob("*.safetensors"))
    whole = tensors.read_bytes()
    tensors.write_bytes(whole[:1000])
    refuse("resume state is damaged")
    tensors.write_bytes(whole)
    settings = run / "config.json"
    values = json.loads(settings.read_text())
    settings.write_text(json.dumps(values | {"model": values["model"] | {"dsrm": False}}))
    refuse("of another model")
    settings.write_text("{")
    refuse("config.json is damaged")
    state.unlink()
    refuse("stopped before anything was saved")


def test_without_a_validation_split_the_last_model_is_the_best(config, tmp_path: Path) -> None:
    data = write_scenes(tmp_path / "data", {"train": 3})
    run = train(config(data=(data,), steps=2), progress=False)
    assert not changed(weights_of(run / "last"), weights_of(run / "best"))
    assert not any("val" in r for r in rows_of(run))


def test_rgb_only_and_several_data_sets(config, scenes: Path, tmp_path: Path) -> None:
    other = write_folder_dataset(tmp_path / "other", modalities=("thermal",), size=(40, 48))
    run = train(config(data=(scenes, other), modalities=("depth", "thermal"), steps=6), progress=False)
    val = rows_of(run)[-1]["val"]
    assert {name: set(rows) for name, rows in val.items()} == {
        "scenes": {"rgb", "rgb+depth"},
        "toy": {"rgb", "rgb+thermal"},
    }
    model = load(run)
    assert [d.name for d in model.datasets] == ["scenes", "toy"]
    assert model.modalities == ("depth", "thermal")
    plain = train(config(modalities=(), steps=2), progress=False)
    assert rows_of(plain)[-1]["val"]["scenes"].keys() == {"rgb"}


@pytest.mark.parametrize(("precision", "expected"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_the_precision_of_a_run_is_that_of_its_steps_and_validations(
    config, precision: str, expected: torch.dtype
) -> None:
    seen: set[tuple[bool, torch.dtype]] = set()

    def note(module: torch.nn.Module, _: object, out: torch.Tensor) -> None:
        if isinstance(module, GatedFusion):
            seen.add((module.training, out.dtype))

    handle = torch.nn.modules.module.register_module_forward_hook(note)
    try:
        train(config(steps=2, sensor_dropout=0.0, precision=precision), progress=False)
    finally:
        handle.remove()
    assert seen == {(True, expected), (False, expected)}


def test_half_precision_trains_on_the_cpu_too(config) -> None:
    rows = rows_of(train(config(steps=2, precision="bf16"), progress=False))
    assert math.isfinite(rows[-2]["loss"])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_run_on_a_gpu_can_be_resumed_and_read_on_the_cpu(config, monkeypatch) -> None:
    settings = config(steps=6, device="cuda")
    with monkeypatch.context() as patch:
        interrupt_at(patch, 2)
        with pytest.raises(KeyboardInterrupt):
            train(settings, progress=False)
    run = train(resume=settings.out / "train-001", progress=False)
    assert next(load(run).segmenter.parameters()).device == CPU


def test_every_step_runs_in_training_mode_also_after_a_validation(config, monkeypatch) -> None:
    seen, real = [], training.training_step

    def watch(config, model, *rest):
        dropouts = [m for n, m in model.segmenter.named_modules() if "lora_dropout" in n]
        seen.append(model.segmenter.training and all(m.training for m in dropouts))
        return real(config, model, *rest)

    monkeypatch.setattr(training, "training_step", watch)
    train(config(steps=3, eval_every=1, model={"lora_dropout": 0.1}), progress=False)
    assert seen == [True] * 3


def test_a_dry_run_writes_nothing(config, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    facts = dry_run(config(workers=1))
    assert sorted(tmp_path.rglob("*")) == before
    assert facts["training_samples"] == {"scenes": 12}
    assert facts["validation_samples"] == {"scenes": 3}
    assert facts["batch_rgb"] == [2, 3, 32, 32]
    assert facts["batch_sensor"] == ["depth", 2, 3, 32, 32]
    model = small_model(config().model_dump()["model"] | {}, ("depth",), datasets=())
    assert facts["frozen_parameters"] == sum(
        p.numel() for p in model.segmenter.parameters() if not p.requires_grad
    )
    assert facts["lora_parameters"] == sum(
        p.numel() for n, p in model.segmenter.named_parameters() if "lora_" in n
    )
    assert json.loads(json.dumps(facts))["loss"] == pytest.approx(sum(facts["terms"].values()))


def test_a_run_cannot_be_made_below_a_file(config, tmp_path: Path) -> None:
    from armseg_core.errors import OutputError

    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="cannot make a run folder"):
        train(config(out=tmp_path / "file" / "runs", steps=1), progress=False)


def test_no_run_folder_is_left_when_the_options_cannot_work(config, tmp_path: Path) -> None:
    for wrong, match in (
        ({"modalities": ("thermal",)}, "no training sample has thermal"),
        ({"data": ()}, "no data set"),
        ({"device": "gpu"}, "unknown device 'gpu'"),
        ({"precision": "auto", "device": "cuda:77"}, "CUDA"),
    ):
        with pytest.raises(UsageError, match=match):
            train(config(**wrong), progress=False)
    assert not (tmp_path / "runs").exists()


def test_it_learns_to_read_the_sensor_and_another_scenes_frame_destroys_it(config, scenes: Path) -> None:
    """RGB is noise and the class is in the depth map alone."""
    run = train(
        config(steps=60, batch_size=4, lr=5e-3, warmup=5, crop=(32, 48), eval_every=60), progress=False
    )
    report = evaluate(run, [scenes], "test", controls=True, progress=False)
    miou = {row.inputs.title: row.matrix.miou for row in report.rows}
    assert miou["rgb+depth"] > 0.9
    assert miou["depth"] > 0.9
    assert miou["rgb"] < 0.6
    assert miou["rgb+depth (other scene)"] < 0.6
    logged = [r["loss"] for r in rows_of(run) if "loss" in r]
    assert np.isfinite(logged).all()
