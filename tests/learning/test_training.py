"""Training: what a step changes and what it never touches, its loss and its schedule."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from typing import Any

import pytest
import torch
from small_models import TOY, changed, shake, small_config, small_model

from armseg_core.config.model import ModelConfig
from armseg_core.config.training import LossConfig, TrainConfig
from armseg_core.errors import TrainingError
from armseg_core.learning import losses, objective
from armseg_core.learning.batches import Batch
from armseg_core.learning.model import Model
from armseg_core.learning.training import (
    inputs_of_step,
    make_optimizer,
    rate_factor,
    training_step,
)
from armseg_core.model.ma_clip import modality_prompt, scene_prompt
from armseg_core.sensors.modalities import SENSORS, get_modality


def batch_for(*modalities: str, seed: int = 0, classes: int = 3, dataset: int = 0, size: int = 32) -> Batch:
    rng = torch.Generator().manual_seed(seed)
    sensors = {m: torch.rand(2, get_modality(m).num_channels, size, size, generator=rng) for m in modalities}
    label = torch.randint(0, classes, (2, size, size), generator=rng)
    label[:, 0] = losses.IGNORE
    rgb = torch.rand(2, 3, size, size, generator=rng)
    return Batch(dataset, rgb, label, sensors, ("first", "second"))


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
            not in {t.removeprefix("net.guide.tower.visual.") for t in trainable}
        }
        assert not extra, sorted(extra)  # "clip.visual" is the same tower by its other name

    @pytest.mark.parametrize("modalities", [("thermal",), (), ("thermal", "event")])
    def test_a_step_leaves_the_other_sensors_alone(self, model, modalities) -> None:
        config = self.settings()
        shake(model.segmenter)
        optimizer = make_optimizer(config, model.segmenter.trainable())
        # one step of another sensor first, so that momentum could move what has no gradient now
        training_step(config, model, optimizer, batch_for("depth"), 0)
        before = {n: p.detach().clone() for n, p in model.segmenter.named_parameters()}
        training_step(config, model, optimizer, batch_for(*modalities, seed=1), 1)
        moved = changed(before, dict(model.segmenter.named_parameters()))
        named = {n: {m for m in (*SENSORS, "rgb") if m in n.split(".")} for n in before}
        wanted = {"rgb", *modalities}
        assert not {n for n in moved if named[n] - wanted}
        for m in wanted:
            mine = {n for n in before if named[n] == {m} and "lora_" in n}
            assert mine
            assert mine <= moved

    def test_a_step_without_rgb_does_not_touch_the_rgb_stream(self, model) -> None:
        config = TrainConfig(weight_decay=0.0, warmup=0, sensor_dropout=0.0, rgb_dropout=0.999, steps=100)
        assert inputs_of_step(config, 0, True) == (False, True)
        shake(model.segmenter)
        optimizer = make_optimizer(config, model.segmenter.trainable())
        before = {n: p.detach().clone() for n, p in model.segmenter.named_parameters()}
        training_step(config, model, optimizer, batch_for("depth"), 0)
        moved = changed(before, dict(model.segmenter.named_parameters()))
        assert not {n for n in moved if ".rgb." in n or n.startswith(("backbone.", "fine.", "lateral."))}
        assert {n for n in moved if ".depth." in n}
        assert {n for n in moved if n.startswith("stream.stages.")}

    def test_gradients_are_clipped_and_the_rate_follows_the_schedule(self, model) -> None:
        config = self.settings(clip_norm=1e-3)
        optimizer = make_optimizer(config, model.segmenter.trainable())
        training_step(config, model, optimizer, batch_for("depth"), 50)
        norm = math.sqrt(
            sum(p.grad.square().sum().item() for p in model.segmenter.parameters() if p.grad is not None)
        )
        assert norm == pytest.approx(1e-3, rel=1e-3)
        rates = {g["lr"] for g in optimizer.param_groups}
        assert rates == {r * rate_factor(50, 100, 0) for r in (config.lr, config.lora_lr)}

    def test_a_loss_that_is_not_finite_stops_before_it_spoils_the_weights(self, model) -> None:
        config = self.settings()
        optimizer = make_optimizer(config, model.segmenter.trainable())
        batch = batch_for("depth")
        batch.rgb[0, 0, 0, 0] = math.nan
        before = everything(model)
        with pytest.raises(TrainingError, match=r"rgb of sample 'first'.*not finite \(step 3\)") as caught:
            training_step(config, model, optimizer, batch, 3)
        assert caught.value.exit_code == 1
        batch = batch_for("depth", "thermal")
        batch.sensors["thermal"][1, 0, 3, 4] = math.nan
        with pytest.raises(TrainingError, match=r"thermal of sample 'second'.*armseg check"):
            training_step(config, model, optimizer, batch, 4)
        assert not changed(before, everything(model))

    def test_a_loss_that_is_not_finite_for_finite_inputs_is_the_trainings_own(self, model) -> None:
        config = self.settings()
        optimizer = make_optimizer(config, model.segmenter.trainable())
        with torch.no_grad():
            model.segmenter.decoder.embed[0].weight[0, 0] = math.nan
        with pytest.raises(TrainingError, match=r"not finite at step 3.*batch of first, second.*--lr"):
            training_step(config, model, optimizer, batch_for("depth"), 3)

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
        batch = batch_for("depth", size=16)
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
    config = TrainConfig(lr=1e-2, lora_lr=1e-3, weight_decay=0.1)  # the backbone's rate is lr
    parameters = small_model(tiny_clip).segmenter.trainable()
    optimizer = make_optimizer(config, parameters)
    groups = {(g["peak"], g["weight_decay"]): {id(p) for p in g["params"]} for g in optimizer.param_groups}
    assert groups.keys() == {(1e-3, 0.1), (1e-2, 0.1), (1e-2, 0.0)}
    for name, parameter in parameters.items():
        lora, matrix = "lora_" in name, parameter.ndim > 1
        assert id(parameter) in groups[1e-3 if lora else 1e-2, 0.1 if matrix else 0.0]


def test_the_backbone_may_have_a_rate_of_its_own(tiny_clip) -> None:
    config = TrainConfig(lr=1e-2, backbone_lr=1e-4, lora_lr=1e-3, weight_decay=0.1)
    parameters = small_model(tiny_clip).segmenter.trainable()
    rate = {id(p): g["peak"] for g in make_optimizer(config, parameters).param_groups for p in g["params"]}
    assert len(rate) == len(parameters)
    for name, parameter in parameters.items():
        expected = 1e-3 if "lora_" in name else 1e-4 if name.startswith("backbone.") else 1e-2
        assert rate[id(parameter)] == expected, name
    assert set(rate.values()) == {1e-2, 1e-3, 1e-4}


def test_the_alignment_of_several_sensors_is_their_mean(tiny_clip) -> None:
    model = small_model(tiny_clip)
    batch = batch_for("depth", "thermal")
    out = model.segmenter(batch.rgb, batch.sensors)
    config = TrainConfig(loss=LossConfig(align=1))
    got = objective.loss_terms(config, model, out, batch.label, 0)["align"]
    one, other = (losses.alignment(*out.aligned[m]) for m in ("depth", "thermal"))
    assert got.item() == pytest.approx((one.item() + other.item()) / 2, rel=1e-5)


def test_without_a_guide_a_step_trains_all_but_the_contrastive_term(tiny_clip) -> None:
    model = small_model(tiny_clip, guide="none", guide_weights=None)
    model.segmenter.train()
    config = TrainConfig(model=model.config, steps=10, warmup=0, sensor_dropout=0, rgb_dropout=0)
    optimizer = make_optimizer(config, model.segmenter.trainable())
    before = {n: p.detach().clone() for n, p in model.segmenter.named_parameters()}
    for step in range(2):  # what lies behind a zero-initialized layer moves in the second step
        _, terms = training_step(config, model, optimizer, batch_for("depth", "thermal", seed=step), step)
    assert "cross_entropy" in terms
    assert "contrastive" not in terms
    assert changed(before, dict(model.segmenter.named_parameters())) == set(before)


def test_a_guide_that_does_not_guide_learns_to_tell_sensors_in_some_steps(tiny_clip) -> None:
    model = small_model(tiny_clip, guidance=False)
    model.segmenter.train()
    config = TrainConfig(model=model.config, steps=10, warmup=0, sensor_dropout=0, rgb_dropout=0)
    optimizer = make_optimizer(config, model.segmenter.trainable())
    for step in range(1, 6):
        before = {n: p.detach().clone() for n, p in model.segmenter.named_parameters()}
        optimizer.state.clear()  # momentum could move what has no gradient now
        _, terms = training_step(config, model, optimizer, batch_for("depth", seed=step), step)
        moved = changed(before, dict(model.segmenter.named_parameters()))
        lora = {
            name for n in moved if "lora_" in n for name in ("rgb", "depth", "thermal") if f".{name}." in n
        }
        assert lora == ({"rgb", "depth"} if step == 4 else set())
        assert ("contrastive" in terms) == (step == 4)


def test_which_guides_guide() -> None:
    for guide, guidance, expected in (
        ("armseg-tiny", None, False),
        ("armseg-tiny", True, True),
        ("ViT-B-16-quickgelu", None, True),
        ("ViT-B-16-quickgelu", False, False),
        ("none", None, False),
        ("none", True, False),
    ):
        assert ModelConfig(guide=guide, guidance=guidance).guided == expected


def test_streams_are_embedded_for_recognition_only_where_something_learns_from_it(tiny_clip) -> None:
    batch = batch_for("depth")

    def streams(step: int = 4, model: dict[str, Any] | None = None, **options: Any) -> set[str]:
        config = TrainConfig(
            model=small_config(tiny_clip, **({"guidance": False} | (model or {}))), **options
        )
        return set(objective.streams_to_recognize(config, batch.rgb, batch.sensors, step))

    assert streams() == {"rgb", "depth"}
    assert streams(step=3) == set()
    assert streams(step=3, recognition_every=3) == {"rgb", "depth"}
    assert streams(model={"guidance": True}) == set()
    assert streams(model={"lora_rank": 0}) == set()
    assert streams(model={"guide": "none", "guide_weights": None}) == set()
    assert streams(loss=LossConfig(contrastive=0)) == set()
    config = TrainConfig(model=small_config(tiny_clip, guidance=False))
    assert set(objective.streams_to_recognize(config, None, batch.sensors, 0)) == {"depth"}


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
    batch = batch_for("depth")
    out = model.segmenter(batch.rgb, batch.sensors)
    rgb_only = model.segmenter(batch.rgb)

    def terms(output, **weights: float) -> set[str]:
        config = TrainConfig(loss=LossConfig(**weights))
        return set(objective.loss_terms(config, model, output, batch.label, 0))

    assert terms(out, align=1) == {"cross_entropy", "dice", "contrastive", "align"}
    assert terms(out) == {"cross_entropy", "dice", "contrastive"}
    assert terms(out, lovasz=1, dice=0, align=0, contrastive=0) == {"cross_entropy", "lovasz"}
    assert terms(rgb_only) == {"cross_entropy", "dice", "contrastive"}
    several = batch_for("depth", "thermal")
    assert "align" in terms(model.segmenter(several.rgb, several.sensors), align=1)
    assert "align" not in terms(model.segmenter(None, several.sensors), align=1)
    frozen = TrainConfig(model=small_config(tiny_clip, lora_rank=0))
    assert "contrastive" not in objective.loss_terms(frozen, model, out, batch.label, 0)
    with pytest.raises(ValueError, match="one of cross_entropy, dice and lovasz"):
        LossConfig(cross_entropy=0, dice=0)


def test_terms_are_weighted(tiny_clip) -> None:
    model = small_model(tiny_clip)
    batch = batch_for("depth")
    out = model.segmenter(batch.rgb, batch.sensors)
    one = objective.loss_terms(
        TrainConfig(loss=LossConfig(cross_entropy=1, dice=1, lovasz=1, contrastive=1, align=1)),
        model,
        out,
        batch.label,
        0,
    )
    other = objective.loss_terms(
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
    assert objective.content_of(label, names) == ["tree", "road", "car"]
    assert objective.content_of(label, names, share=0.05) == ["tree", "road"]
    assert objective.content_of(label, names, most=1) == ["tree"]
    assert objective.content_of(torch.full((2, 2), losses.IGNORE), names) == []


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
    got = objective.contrastive_term(model, embeddings, label, 0)
    assert got.item() == pytest.approx(expected.item() / 2, rel=1e-4)
