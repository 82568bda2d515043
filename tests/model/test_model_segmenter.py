"""The whole network: exact without a sensor, identity at step 0, any size, any choice of inputs."""

from __future__ import annotations

import itertools

import pytest
import torch
from small_models import TOY, inputs, shake, small_model
from torch import Tensor

from armseg_core.config.model import ModelConfig
from armseg_core.learning.model import KnownDataSet, Model
from armseg_core.model.aligned_embedding import AlignedEmbedding
from armseg_core.model.backbones.small import SmallBackbone
from armseg_core.model.clip_tower import ClipTower
from armseg_core.model.decoder import TextClassifier
from armseg_core.model.dsrm import DSRM
from armseg_core.model.fusion import GatedSum
from armseg_core.model.guidance import FIRST_GATE, TokenGuidance
from armseg_core.model.lora import LoraAdapters
from armseg_core.model.ma_clip import (
    MAClip,
    modality_prompt,
    pseudo_rgb_layer,
    pseudo_rgb_layers,
    scene_prompt,
)
from armseg_core.model.segmenter import Segmenter, Standardize
from armseg_core.sensors.modalities import MODALITIES, SENSORS, get_modality

SIZES = [(33, 47), (40, 48), (41, 33), (64, 36), (50, 129)]


@torch.no_grad()
def logits(model: Model, *args, **kwargs) -> Tensor:
    return model.segmenter(*args, **kwargs).logits


def copy_common(source: Model, target: Model) -> None:
    """Give `target` the weights of `source`; every weight of `target` must be there."""
    state = source.segmenter.state_dict()
    own = target.segmenter.state_dict()
    assert own.keys() <= state.keys(), own.keys() - state.keys()
    target.segmenter.load_state_dict({name: state[name] for name in own})


def test_without_a_sensor_it_is_exactly_the_rgb_only_model(small_clip) -> None:
    joint = small_model(small_clip, ("depth", "thermal"), seed=1)
    shake(joint.segmenter)
    rgb_only = small_model(small_clip, (), seed=2)
    copy_common(joint, rgb_only)
    for size in SIZES:
        rgb = inputs(batch=2, size=size)[0]
        assert torch.equal(logits(joint, rgb), logits(rgb_only, rgb))


def test_the_sensor_and_its_kind_matter(small_clip) -> None:
    model = small_model(small_clip, ("depth", "lidar"))
    shake(model.segmenter)
    rgb, depth = inputs("depth")
    assert not torch.equal(logits(model, rgb, {"depth": depth}), logits(model, rgb))
    assert not torch.equal(logits(model, rgb, {"depth": depth}), logits(model, rgb, {"lidar": depth}))
    assert not torch.equal(logits(model, rgb, {"depth": depth}), logits(model, None, {"depth": depth}))
    assert not torch.equal(logits(model, rgb, {"depth": depth}), logits(model, 1 - rgb, {"depth": depth}))


@pytest.mark.parametrize(
    "off",
    [
        {"aligned": False},
        {"dsrm": False},
        {"lora_rank": 0},
        {"aligned": False, "dsrm": False, "lora_rank": 0},
    ],
)
def test_at_step_0_the_parts_are_the_identity(small_clip, off) -> None:
    full = small_model(small_clip)
    plain = small_model(small_clip, seed=5, **off)
    state, own = full.segmenter.state_dict(), plain.segmenter.state_dict()
    if "lora_rank" in off:  # peft moves the frozen weights to `...base_layer.weight`
        state = {n.replace(".base_layer", ""): t for n, t in state.items()}
    plain.segmenter.load_state_dict({n: state[n] for n in own})
    rgb, depth = inputs("depth")
    assert torch.equal(logits(full, rgb), logits(plain, rgb))
    assert torch.equal(logits(full, rgb, {"depth": depth}), logits(plain, rgb, {"depth": depth}))
    assert torch.equal(logits(full, None, {"depth": depth}), logits(plain, None, {"depth": depth}))


@pytest.mark.parametrize("size", SIZES)
def test_any_size_and_any_choice_of_inputs(small_clip, size) -> None:
    model = small_model(small_clip, ("thermal",))
    shake(model.segmenter)
    rgb, thermal = inputs("thermal", batch=2, size=size)
    for args in ((rgb,), (rgb, {"thermal": thermal}), (None, {"thermal": thermal})):
        out = model.segmenter(*args)
        assert out.logits.shape == (2, 3, *size)
        assert torch.isfinite(out.logits).all()
        sensors = set(args[1]) if len(args) > 1 else set()
        assert set(out.embeddings) == ({"rgb"} if args[0] is not None else set()) | sensors
        assert set(out.aligned) == (sensors if args[0] is not None else set())


def test_any_number_of_sensors_at_once(small_clip) -> None:
    model = small_model(small_clip, ("depth", "thermal", "event"))
    shake(model.segmenter)
    rgb, depth, thermal, event = inputs("depth", "thermal", "event", size=(33, 47))
    sensors = {"depth": depth, "thermal": thermal, "event": event}
    seen = {}
    for count in range(4):
        for names in itertools.combinations(sensors, count):
            chosen = {m: sensors[m] for m in names}
            for image in (rgb, None) if names else (rgb,):
                with torch.no_grad():
                    out = model.segmenter(image, chosen)
                assert out.logits.shape == (1, 3, 33, 47)
                assert torch.isfinite(out.logits).all()
                assert set(out.embeddings) == {*names, *(["rgb"] if image is not None else [])}
                seen[names, image is None] = out.logits
    assert len(seen) == 15
    for (a, x), (b, y) in itertools.combinations(seen.items(), 2):
        assert not torch.equal(x, y), (a, b)  # every input counts in every company


def test_the_order_of_the_sensors_does_not_matter(small_clip) -> None:
    model = small_model(small_clip)
    shake(model.segmenter)
    rgb, depth, thermal = inputs("depth", "thermal")
    one = logits(model, rgb, {"depth": depth, "thermal": thermal})
    other = logits(model, rgb, {"thermal": thermal, "depth": depth})
    assert (one - other).abs().max() < 1e-5 * one.abs().max()


def test_with_two_sensors_a_third_that_is_absent_leaves_no_trace(small_clip) -> None:
    joint = small_model(small_clip, ("depth", "thermal", "event"), seed=1)
    shake(joint.segmenter)
    two = small_model(small_clip, ("depth", "thermal"), seed=2)
    copy_common(joint, two)
    rgb, depth, thermal = inputs("depth", "thermal", batch=2, size=(41, 33))
    sensors = {"depth": depth, "thermal": thermal}
    assert torch.equal(logits(joint, rgb, sensors), logits(two, rgb, sensors))
    assert torch.equal(logits(joint, None, sensors), logits(two, None, sensors))


def test_pairs_of_maps_are_there_for_every_sensor_beside_rgb(small_clip) -> None:
    model = small_model(small_clip)
    rgb, depth, thermal = inputs("depth", "thermal", size=(64, 96))
    aligned = model.segmenter(rgb, {"depth": depth, "thermal": thermal}).aligned
    assert set(aligned) == {"depth", "thermal"}
    for image, sensor in aligned.values():
        assert [x.shape for x in image] == [x.shape for x in sensor]
        assert [x.shape[-1] for x in image] == [48, 24, 12, 6, 3]
    assert all(a is b for a, b in zip(aligned["depth"][0], aligned["thermal"][0], strict=True))


def test_each_sensor_may_have_stages_of_its_own(small_clip) -> None:
    shared = small_model(small_clip, streams="shared").segmenter
    each = small_model(small_clip, streams="each").segmenter
    assert set(shared.stream.stages) == {"all"}
    assert set(each.stream.stages) == {"depth", "thermal"}
    rgb, depth, thermal = inputs("depth", "thermal")
    sensors = {"depth": depth, "thermal": thermal}
    with torch.no_grad():
        for name in ("depth", "thermal"):
            each.stream.stages[name].load_state_dict(shared.stream.stages["all"].state_dict())
        state = {n: t for n, t in shared.state_dict().items() if not n.startswith("stream.stages.")}
        each.load_state_dict(state, strict=False)
        a, b = shared.eval()(rgb, sensors).logits, each.eval()(rgb, sensors).logits
        assert (a - b).abs().max() < 1e-5 * a.abs().max()
        for parameter in each.stream.stages["thermal"].parameters():
            parameter.zero_()
        assert torch.equal(each(rgb, {"depth": depth}).logits, shared(rgb, {"depth": depth}).logits)
        assert not torch.equal(each(rgb, sensors).logits, b)


@pytest.mark.parametrize("off", [{"guide": "none", "guide_weights": None}, {"guidance": False}])
def test_without_a_guide_or_guidance_every_choice_of_inputs_runs(small_clip, off) -> None:
    model = small_model(small_clip, **off)
    shake(model.segmenter)
    rgb, depth, thermal = inputs("depth", "thermal", size=(33, 47))
    sensors = {"depth": depth, "thermal": thermal}
    for args in ((rgb,), (rgb, sensors), (None, sensors), (None, {"depth": depth})):
        out = model.segmenter(*args)
        assert out.logits.shape == (1, 3, 33, 47)
        assert out.embeddings == {}
    assert model.segmenter.tokens is None
    if "guide" in off:
        assert model.prompts == {}
        with pytest.raises(ValueError, match="without a guide has no embeddings"):
            model.segmenter.embed(rgb, "rgb")


def test_a_size_that_needs_padding_is_padded_by_its_own_edge(small_clip) -> None:
    model = small_model(small_clip)
    shake(model.segmenter)
    rgb, depth = inputs("depth", size=(33, 47))
    wide, deep = (torch.nn.functional.pad(x, (0, 17, 0, 31), mode="replicate") for x in (rgb, depth))
    assert model.segmenter.stride == 32
    whole = logits(model, wide, {"depth": deep})
    assert torch.equal(logits(model, rgb, {"depth": depth}), whole[..., :33, :47])


def test_a_batch_is_its_samples(small_clip) -> None:
    model = small_model(small_clip)
    shake(model.segmenter)
    rgb, depth = inputs("depth", batch=3, size=(33, 47))
    together = logits(model, rgb, {"depth": depth})
    alone = torch.cat([logits(model, rgb[i : i + 1], {"depth": depth[i : i + 1]}) for i in range(3)])
    assert (together - alone).abs().max() < 1e-5 * max(1.0, alone.abs().max().item())


@pytest.mark.parametrize("sensors", [None, {}])
def test_without_any_input_there_is_nothing_to_segment(small_clip, sensors) -> None:
    with pytest.raises(ValueError, match="give rgb, a sensor, or both"):
        small_model(small_clip).segmenter(None, sensors)


def test_inputs_of_different_size_are_refused(small_clip) -> None:
    rgb, depth = inputs("depth")
    with pytest.raises(ValueError, match="sizes differ"):
        small_model(small_clip).segmenter(rgb, {"depth": depth[..., :-8]})


def test_every_sensor_of_the_table_runs(small_clip) -> None:
    model = small_model(small_clip, SENSORS)
    for modality in SENSORS:
        rgb, sensor = inputs(modality)
        assert torch.isfinite(logits(model, rgb, {modality: sensor})).all()


def test_each_data_set_has_its_own_classes(small_clip) -> None:
    other = KnownDataSet("other", TOY.classes[:2])
    model = small_model(small_clip, datasets=(TOY, other))
    shake(model.segmenter)
    rgb = inputs()[0]
    assert logits(model, rgb, dataset=0).shape[1] == 3
    assert logits(model, rgb, dataset=1).shape[1] == 2
    # the data set reaches DSRM, too: the same classes give other scores
    twice = small_model(small_clip, datasets=(TOY, TOY))
    shake(twice.segmenter)
    twice.segmenter.classifiers[1].load_state_dict(twice.segmenter.classifiers[0].state_dict())
    assert not torch.equal(logits(twice, rgb, dataset=0), logits(twice, rgb, dataset=1))


def test_trainable_is_everything_but_the_frozen_tower(small_clip) -> None:
    segmenter = small_model(small_clip).segmenter
    names = set(segmenter.trainable())
    for name, _ in segmenter.named_parameters():
        assert (name in names) == (not name.startswith("guide.tower.") or "lora_" in name), name
    assert not any(n.startswith("guide.tower.") for n in segmenter.own_state())
    assert not any(n.endswith(".text") for n in segmenter.own_state())


def test_the_stem_sees_the_sensor_with_the_statistics_of_the_training_data(small_clip) -> None:
    model = small_model(small_clip, ("depth",))
    rgb, depth = inputs("depth", size=(64, 32))
    seen: list[Tensor] = []
    model.segmenter.stream.stems["depth"].register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    before = logits(model, rgb, {"depth": depth})
    model.segmenter.standardize["depth"].set(torch.tensor([0.5, 0.2, 0.9]), torch.tensor([0.25, 0.5, 0.01]))
    after = logits(model, rgb, {"depth": depth})
    assert torch.equal(seen[0], depth)
    assert torch.allclose(seen[1][:, 0], (depth[:, 0] - 0.5) * 4, atol=1e-6)
    assert torch.allclose(seen[1][:, 1], (depth[:, 1] - 0.2) * 2, atol=1e-6)
    assert torch.allclose(seen[1][:, 2], ((depth[:, 2] - 0.9) * 100).clamp(-5, 5), atol=1e-4)
    assert not torch.equal(before, after)


def test_half_precision_autocast_stays_close(small_clip) -> None:
    model = small_model(small_clip)
    rgb, depth = inputs("depth")
    exact = logits(model, rgb, {"depth": depth})
    with torch.autocast("cpu", torch.bfloat16):
        rough = logits(model, rgb, {"depth": depth})
    assert rough.dtype == torch.float32
    assert (rough - exact).abs().mean() < 0.05 * exact.abs().mean()


def test_a_forward_in_inference_mode_does_not_spoil_training(small_clip) -> None:
    """Positions are kept between calls; kept under inference mode they must still serve a backward pass."""
    model = small_model(small_clip)
    rgb, depth = inputs("depth", size=(56, 64))
    with torch.inference_mode():
        model.segmenter(rgb, {"depth": depth})
    model.segmenter(rgb, {"depth": depth}).logits.sum().backward()


# -- the parts


def test_fusion_by_hand() -> None:
    fusion = GatedSum(2, 5)
    rgb, a, b = (torch.randn(1, 2, 3, 3) for _ in range(3))
    assert torch.allclose(fusion(rgb, [a]), rgb + 0.7310586 * a)
    assert torch.allclose(fusion(rgb, [a, b]), rgb + 0.7310586 * (a + b), atol=1e-6)
    assert torch.allclose(fusion(None, [a, b]), 0.7310586 * (a + b), atol=1e-6)
    assert fusion(rgb, []) is rgb
    with torch.no_grad():
        fusion.gate.weight[0, 3] = 2.0  # the gate of channel 0 looks at channel 1 of the sensor
        fusion.gate.weight[0, 0] = 3.0  # and at channel 0 of the RGB map, zeros where that is absent
    gates = [torch.sigmoid(1 + 3 * rgb[:, 0] + 2 * x[:, 1]) for x in (a, b)]
    expected = rgb[:, 0] + gates[0] * a[:, 0] + gates[1] * b[:, 0]
    assert torch.allclose(fusion(rgb, [a, b])[:, 0], expected, atol=1e-6)
    assert torch.allclose(fusion(None, [a])[:, 0], torch.sigmoid(1 + 2 * a[:, 1]) * a[:, 0])
    assert fusion.project(torch.randn(1, 5, 3, 3)).shape == rgb.shape


@torch.no_grad()
def test_tokens_guide_by_the_gate_and_sensors_by_their_mean() -> None:
    torch.manual_seed(0)
    part = TokenGuidance(6, (4, 8), hidden=16).eval()
    maps = [torch.randn(2, 4, 6, 8), torch.randn(2, 8, 3, 4)]
    rgb, a, b = (torch.randn(2, 6, 2, 3) for _ in range(3))
    assert part.gates.tolist() == pytest.approx([FIRST_GATE] * 2)
    both = part(maps, {"rgb": rgb, "depth": a, "thermal": b})
    hidden = part.rgb(rgb) + (part.sensor(a) + part.sensor(b)) / 2
    for x, got, block in zip(maps, both, part.blocks, strict=True):
        grown = torch.nn.functional.interpolate(hidden, x.shape[-2:], mode="bilinear", align_corners=False)
        assert torch.allclose(got, x + FIRST_GATE * block(grown), atol=1e-5)
    for tokens in ({"rgb": rgb}, {"depth": a}):
        assert all(not torch.equal(x, y) for x, y in zip(maps, part(maps, tokens), strict=True))
    part.gates.zero_()
    assert all(torch.equal(x, y) for x, y in zip(maps, part(maps, {"rgb": rgb}), strict=True))


def test_text_classifier_is_a_scaled_cosine() -> None:
    text = torch.nn.functional.normalize(torch.randn(3, 8), dim=-1)
    classifier = TextClassifier(text)
    pixels = 5 * text[1].view(1, 8, 1, 1).expand(1, 8, 2, 2)
    got = classifier(pixels)
    assert torch.allclose(got[0, :, 0, 0], text @ text[1] / 0.07, atol=1e-4)
    with torch.no_grad():
        classifier.residual += text  # the length of text + residual does not count
        classifier.bias += torch.tensor([0.0, 1.0, 0.0])
        classifier.log_scale += 10
    expected = 100 * text @ text[1] + torch.tensor([0.0, 1.0, 0.0])  # the scale ends at 100
    assert torch.allclose(classifier(pixels)[0, :, 1, 1], expected, atol=1e-3)


def test_the_embedding_reaches_aligned_embeddings_and_dsrm_only_where_they_are_conditioned() -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 8, 3, 4)
    a, b = torch.nn.functional.normalize(torch.randn(2, 1, 6), dim=-1)
    for dim in (6, 0):
        part = AlignedEmbedding(8, dim, ("depth", "thermal"), 3)
        torch.nn.init.normal_(part.out.weight)
        assert torch.equal(part(x, a, "depth"), part(x, b, "depth")) == (dim == 0)
        assert not torch.equal(part(x, a, "depth"), part(x, a, "thermal"))
        refine = DSRM(8, dim, 2, 3, 4)
        torch.nn.init.normal_(refine.up.weight)
        torch.nn.init.normal_(refine.attention.weight)
        assert torch.equal(refine(x, a, 0), refine(x, b, 0)) == (dim == 0)
        assert not torch.equal(refine(x, a, 0), refine(x, a, 1))
        assert refine(x, a, 0).shape == x.shape


def test_without_guidance_nothing_of_the_guide_reaches_the_logits(small_clip) -> None:
    for guidance in (True, False):
        model = small_model(small_clip, guidance=guidance)
        shake(model.segmenter)
        rgb, depth = inputs("depth")
        before = logits(model, rgb, {"depth": depth})
        with torch.no_grad():
            for parameter in model.segmenter.guide.parameters():  # tokens and embedding
                parameter.mul_(-1)
        assert torch.equal(logits(model, rgb, {"depth": depth}), before) == (not guidance)


def test_dsrm_is_guided_by_the_mean_of_the_streams_that_ran(small_clip) -> None:
    model = small_model(small_clip)
    shake(model.segmenter)
    seen = []
    model.segmenter.dsrm.register_forward_pre_hook(lambda module, args: seen.append(args[1]))
    rgb, depth = inputs("depth")
    for args in ((rgb,), (rgb, {"depth": depth}), (None, {"depth": depth})):
        with torch.no_grad():
            out = model.segmenter(*args)
        assert torch.equal(seen[-1], torch.stack(list(out.embeddings.values())).mean(0))
    assert torch.allclose(seen[1], (seen[0] + seen[2]) / 2)


def test_standardize_uses_the_given_statistics_and_cuts_outliers() -> None:
    part = Standardize(2)
    part.set(torch.tensor([1.0, 0.0]), torch.tensor([2.0, 0.0]))
    x = torch.tensor([[3.0, 0.0], [101.0, 1e-5]]).T.reshape(1, 2, 1, 2)
    assert part(x)[0, 0, 0].tolist() == [1.0, 5.0]
    assert part(x)[0, 1, 0].tolist() == pytest.approx([0.0, 0.1])


@pytest.mark.parametrize("name", MODALITIES)
def test_pseudo_rgb_starts_as_the_map_of_the_table(name: str) -> None:
    row = get_modality(name)
    x = torch.randn(1, row.num_channels, 2, 2)
    got = pseudo_rgb_layer(row)(x)[0, :, 1, 0]
    for color in range(3):
        expected = row.pseudo_rgb_bias[color] + sum(
            row.pseudo_rgb[c][color] * x[0, c, 1, 0].item() for c in range(row.num_channels)
        )
        assert got[color].item() == pytest.approx(expected, abs=1e-5)


def test_prompts() -> None:
    assert modality_prompt("event") == "an event camera image."
    assert modality_prompt("thermal") == "a thermal infrared image."
    assert scene_prompt("rgb", ["person", "parked_car"]) == "a photo of a scene with person, parked car."
    assert scene_prompt("rgb", []) == modality_prompt("rgb")
    assert len({modality_prompt(m) for m in MODALITIES}) == len(MODALITIES)


def test_with_vit_b16_as_guide_and_one_sensor_less_than_ten_million_parameters_are_trained() -> None:
    from open_clip.model import _build_vision_tower

    class Vit(ClipTower):
        def _probe(self) -> None:  # no image runs through a model that has shapes only
            self.channels, self.embed_dim, self.stride = [768] * 4, 512, 16

    config = ModelConfig()
    with torch.device("meta"):
        visual = _build_vision_tower(
            512, {"image_size": 224, "layers": 12, "width": 768, "patch_size": 16}, True
        )
        names = ("rgb", "thermal")
        adapters = LoraAdapters(visual, names, config.lora_rank, config.lora_alpha, 0.0)
        guide = MAClip(Vit(visual), pseudo_rgb_layers(("thermal",)), adapters)
        segmenter = Segmenter(SmallBackbone(), guide, config, ("thermal",), [torch.empty(19, 512)])
    trained = sum(p.numel() for p in segmenter.trainable().values())
    assert sum(p.numel() for p in segmenter.parameters()) - trained > 85_000_000
    assert trained < 10_000_000
