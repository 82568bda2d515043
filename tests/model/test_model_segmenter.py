"""The whole network: exact without a sensor, identity at step 0, any size, any choice of inputs."""

from __future__ import annotations

import pytest
import torch
from small_models import TOY, inputs, shake, small_model
from torch import Tensor

from armseg_core.config.training import ModelConfig
from armseg_core.learning.model_folder import KnownDataSet, Model
from armseg_core.model.aligned_embedding import AlignedEmbedding
from armseg_core.model.clip_tower import ClipTower
from armseg_core.model.decoder import TextClassifier
from armseg_core.model.dsrm import DSRM
from armseg_core.model.fusion import GatedFusion
from armseg_core.model.ma_clip import modality_prompt, pseudo_rgb_layer, scene_prompt
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
    assert not torch.equal(logits(model, rgb, depth, "depth"), logits(model, rgb))
    assert not torch.equal(logits(model, rgb, depth, "depth"), logits(model, rgb, depth, "lidar"))
    assert not torch.equal(logits(model, rgb, depth, "depth"), logits(model, None, depth, "depth"))
    assert not torch.equal(logits(model, rgb, depth, "depth"), logits(model, 1 - rgb, depth, "depth"))


@pytest.mark.parametrize(
    "off",
    [
        {"aligned": False},
        {"dsrm": False},
        {"lora_rank": 0},
        {"aligned": False, "dsrm": False, "lora_rank": 0, "guidance": False},
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
    assert torch.equal(logits(full, rgb, depth, "depth"), logits(plain, rgb, depth, "depth"))
    assert torch.equal(logits(full, None, depth, "depth"), logits(plain, None, depth, "depth"))


@pytest.mark.parametrize("size", SIZES)
def test_any_size_and_any_choice_of_inputs(small_clip, size) -> None:
    model = small_model(small_clip, ("thermal",))
    shake(model.segmenter)
    rgb, thermal = inputs("thermal", batch=2, size=size)
    for args in ((rgb,), (rgb, thermal, "thermal"), (None, thermal, "thermal")):
        out = model.segmenter(*args)
        assert out.logits.shape == (2, 3, *size)
        assert torch.isfinite(out.logits).all()
        assert set(out.embeddings) == ({"rgb"} if args[0] is not None else set()) | set(args[2:])
        assert (out.aligned is None) == (len(args) == 1 or args[0] is None)


def test_a_size_that_needs_padding_is_padded_by_its_own_edge(small_clip) -> None:
    model = small_model(small_clip)
    shake(model.segmenter)
    rgb, depth = inputs("depth", size=(33, 47))
    padded = [torch.nn.functional.pad(x, (0, 1, 0, 7), mode="replicate") for x in (rgb, depth)]
    assert model.segmenter.stride == 8
    assert torch.equal(logits(model, rgb, depth, "depth"), logits(model, *padded, "depth")[..., :33, :47])


def test_a_batch_is_its_samples(small_clip) -> None:
    model = small_model(small_clip)
    shake(model.segmenter)
    rgb, depth = inputs("depth", batch=3, size=(33, 47))
    together = logits(model, rgb, depth, "depth")
    alone = torch.cat([logits(model, rgb[i : i + 1], depth[i : i + 1], "depth") for i in range(3)])
    assert (together - alone).abs().max() < 1e-5 * max(1.0, alone.abs().max().item())


@pytest.mark.parametrize("args", [(None, None, None), ("rgb", "depth", None), ("rgb", None, "depth")])
def test_inputs_that_make_no_sense_are_refused(small_clip, args) -> None:
    given = dict(zip(("rgb", "depth"), inputs("depth"), strict=True))
    with pytest.raises(ValueError, match="give rgb, or sensor with its modality"):
        small_model(small_clip).segmenter(*(given.get(a) if i < 2 else a for i, a in enumerate(args)))


def test_inputs_of_different_size_are_refused(small_clip) -> None:
    rgb, depth = inputs("depth")
    with pytest.raises(ValueError, match="sizes differ"):
        small_model(small_clip).segmenter(rgb, depth[..., :-8], "depth")


def test_every_sensor_of_the_table_runs(small_clip) -> None:
    model = small_model(small_clip, SENSORS)
    for modality in SENSORS:
        rgb, sensor = inputs(modality)
        assert torch.isfinite(logits(model, rgb, sensor, modality)).all()


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
        assert (name in names) == (not name.startswith("ma_clip.tower.") or "lora_" in name), name
    assert not any(n.startswith("ma_clip.tower.") for n in segmenter.own_state())
    assert not any(n.endswith(".text") for n in segmenter.own_state())


def test_the_stem_sees_the_sensor_with_the_statistics_of_the_training_data(small_clip) -> None:
    model = small_model(small_clip, ("depth",))
    rgb, depth = inputs("depth")
    seen: list[Tensor] = []
    model.segmenter.stem_sensor["depth"].register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    before = logits(model, rgb, depth, "depth")
    model.segmenter.standardize["depth"].set(torch.tensor([0.5, 0.2, 0.9]), torch.tensor([0.25, 0.5, 0.01]))
    after = logits(model, rgb, depth, "depth")
    assert torch.equal(seen[0], depth)
    assert torch.allclose(seen[1][:, 0], (depth[:, 0] - 0.5) * 4, atol=1e-6)
    assert torch.allclose(seen[1][:, 1], (depth[:, 1] - 0.2) * 2, atol=1e-6)
    assert torch.allclose(seen[1][:, 2], ((depth[:, 2] - 0.9) * 100).clamp(-5, 5), atol=1e-4)
    assert not torch.equal(before, after)


def test_half_precision_autocast_stays_close(small_clip) -> None:
    model = small_model(small_clip)
    rgb, depth = inputs("depth")
    exact = logits(model, rgb, depth, "depth")
    with torch.autocast("cpu", torch.bfloat16):
        rough = logits(model, rgb, depth, "depth")
    assert rough.dtype == torch.float32
    assert (rough - exact).abs().mean() < 0.05 * exact.abs().mean()


def test_a_forward_in_inference_mode_does_not_spoil_training(small_clip) -> None:
    """Positions are kept between calls; kept under inference mode they must still serve a backward pass."""
    model = small_model(small_clip)
    rgb, depth = inputs("depth", size=(56, 64))
    with torch.inference_mode():
        model.segmenter(rgb, depth, "depth")
    model.segmenter(rgb, depth, "depth").logits.sum().backward()


# -- the parts


def test_fusion_by_hand() -> None:
    fusion = GatedFusion(2)
    rgb, sensor = torch.randn(1, 2, 3, 3), torch.randn(1, 2, 3, 3)
    assert torch.allclose(fusion(rgb, sensor), rgb + 0.7310586 * sensor)
    assert fusion(rgb, None) is rgb
    assert fusion(None, sensor) is sensor
    with torch.no_grad():
        fusion.gate.weight[0, 3] = 2.0  # the gate of channel 0 looks at channel 1 of the sensor
    expected = rgb[:, 0] + torch.sigmoid(1 + 2 * sensor[:, 1]) * sensor[:, 0]
    assert torch.allclose(fusion(rgb, sensor)[:, 0], expected)


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


def test_guidance_reaches_aligned_embeddings_and_dsrm_only_when_it_is_on() -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 8, 3, 4)
    a, b = torch.nn.functional.normalize(torch.randn(2, 1, 6), dim=-1)
    for guidance in (True, False):
        part = AlignedEmbedding(8, 6, ("depth", "thermal"), 3, guidance)
        torch.nn.init.normal_(part.out.weight)
        assert torch.equal(part(x, a, "depth"), part(x, b, "depth")) == (not guidance)
        assert not torch.equal(part(x, a, "depth"), part(x, a, "thermal"))
        refine = DSRM(8, 6, 2, 3, 4, guidance)
        torch.nn.init.normal_(refine.up.weight)
        torch.nn.init.normal_(refine.attention.weight)
        assert torch.equal(refine(x, a, 0), refine(x, b, 0)) == (not guidance)
        assert not torch.equal(refine(x, a, 0), refine(x, a, 1))
        assert refine(x, a, 0).shape == x.shape


def test_without_guidance_the_embedding_does_not_reach_the_logits(small_clip) -> None:
    for guidance in (True, False):
        model = small_model(small_clip, guidance=guidance)
        shake(model.segmenter)
        rgb, depth = inputs("depth")
        before = logits(model, rgb, depth, "depth")
        with torch.no_grad():
            model.segmenter.ma_clip.tower.visual.proj.mul_(-1)
        assert torch.equal(logits(model, rgb, depth, "depth"), before) == (not guidance)


def test_dsrm_is_guided_by_the_mean_of_the_streams_that_ran(small_clip) -> None:
    model = small_model(small_clip)
    shake(model.segmenter)
    seen = []
    model.segmenter.dsrm.register_forward_pre_hook(lambda module, args: seen.append(args[1]))
    rgb, depth = inputs("depth")
    for args in ((rgb,), (rgb, depth, "depth"), (None, depth, "depth")):
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


def test_with_vit_b16_and_one_sensor_less_than_ten_million_parameters_are_trained() -> None:
    from open_clip.model import _build_vision_tower

    class Vit(ClipTower):
        def _probe(self) -> None:  # no image runs through a model that has shapes only
            self.channels, self.embed_dim, self.stride = [768] * 4, 512, 16

    with torch.device("meta"):
        visual = _build_vision_tower(
            512, {"image_size": 224, "layers": 12, "width": 768, "patch_size": 16}, True
        )
        segmenter = Segmenter(Vit(visual), ModelConfig(), ("thermal",), [torch.empty(19, 512)])
    trained = sum(p.numel() for p in segmenter.trainable().values())
    assert sum(p.numel() for p in segmenter.parameters()) - trained > 85_000_000
    assert trained < 10_000_000
