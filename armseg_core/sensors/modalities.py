"""One row per sensor: everything that differs between sensors, in one table.

Adding a sensor = one row here + one reader in `sensors/` (+ a representation where needed). Help texts, class
prompts, augmentation rules, model stems and color maps are derived from the row.

Shape letters used everywhere: N frames, B batch, C channels, H rows, W columns.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from armseg_core.errors import UsageError


@dataclass(frozen=True)
class Modality:
    """A sensor, as the model and the commands see it.

    The *model tensor* of a modality is float32 (C, H, W) with the channels named here, in the order named
    here.
    """

    name: str
    title: str  # human name, for tables and legends
    prompt: str  # noun phrase for CLIP prompts: "a {prompt} of a street with a car"
    channels: tuple[str, ...]
    value_range: tuple[float, float]  # the usual range of the model tensor (not a hard bound for events)
    representation: str  # default row of REPRESENTATIONS
    # channels that change sign under a horizontal / vertical flip (AoLP is an angle: sin 2A -> -sin 2A for
    # both)
    flip_negates: tuple[str, ...] = ()
    nearest: tuple[
        str, ...
    ] = ()  # channels that must be resized by nearest neighbor (validity masks, meters)
    # linear map model tensor -> pseudo-RGB in about [0, 1], used to show the sensor to CLIP: one row (r, g,
    # b) of
    # weights per channel, plus a bias. It is also where the learned channel projection starts from.
    pseudo_rgb: tuple[tuple[float, float, float], ...] = ()
    pseudo_rgb_bias: tuple[float, float, float] = (0.0, 0.0, 0.0)
    aliases: tuple[str, ...] = field(default=())

    @property
    def num_channels(self) -> int:
        return len(self.channels)


_GRAY = (1.0, 1.0, 1.0)

MODALITIES: dict[str, Modality] = {
    m.name: m
    for m in (
        Modality(
            name="rgb",
            title="RGB camera",
            prompt="photo",
            channels=("red", "green", "blue"),
            value_range=(0.0, 1.0),
            representation="image",
            pseudo_rgb=((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
            aliases=("image", "color", "colour"),
        ),
        Modality(
            name="event",
            title="event camera",
            prompt="event camera image",
            channels=("bin0", "bin1", "bin2", "bin3", "bin4"),
            value_range=(-3.0, 3.0),
            representation="voxel_grid",
            # early bins red, late bins blue, around mid-gray: direction of motion stays visible
            pseudo_rgb=(
                (0.16, 0.04, 0.0),
                (0.12, 0.08, 0.0),
                (0.04, 0.16, 0.04),
                (0.0, 0.08, 0.12),
                (0.0, 0.04, 0.16),
            ),
            pseudo_rgb_bias=(0.5, 0.5, 0.5),
            aliases=("events", "dvs"),
        ),
        Modality(
            name="thermal",
            title="thermal camera",
            prompt="thermal infrared image",
            channels=("temperature",),
            value_range=(0.0, 1.0),
            representation="percentile",
            pseudo_rgb=(_GRAY,),
            aliases=("infrared", "ir", "lwir"),
        ),
        Modality(
            name="depth",
            title="depth camera",
            prompt="depth map",
            channels=("depth", "valid", "inverse_depth"),
            value_range=(0.0, 80.0),
            representation="metric",
            nearest=("depth", "valid", "inverse_depth"),
            # inverse depth (1/m) is what looks like an image: near is bright
            pseudo_rgb=((0.0, 0.0, 0.01), (0.0, 0.2, 0.0), (2.0, 2.0, 2.0)),
        ),
        Modality(
            name="lidar",
            title="LiDAR",
            prompt="LiDAR range image",
            channels=("depth", "intensity", "valid"),
            value_range=(0.0, 120.0),
            representation="projected",
            nearest=("depth", "intensity", "valid"),
            pseudo_rgb=((0.012, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
            aliases=("pointcloud",),
        ),
        Modality(
            name="polarization",
            title="polarization camera",
            prompt="polarization image",
            channels=("s0", "dolp", "sin2aolp", "cos2aolp"),
            value_range=(-1.0, 1.0),
            representation="stokes",
            flip_negates=("sin2aolp",),
            pseudo_rgb=((0.8, 0.0, 0.0), (0.2, 1.0, 0.0), (0.0, 0.0, 0.25), (0.0, 0.0, 0.25)),
            pseudo_rgb_bias=(0.0, 0.0, 0.5),
            aliases=("polarisation", "polar"),
        ),
        Modality(
            name="light_field",
            title="light-field camera",
            prompt="light field disparity image",
            channels=("disparity", "confidence", "view_std"),
            value_range=(-4.0, 4.0),
            representation="views",
            pseudo_rgb=((0.25, 0.25, 0.25), (0.0, 0.4, 0.0), (0.0, 0.0, 2.0)),
            pseudo_rgb_bias=(0.3, 0.2, 0.2),
            aliases=("lightfield", "lf", "plenoptic"),
        ),
    )
}

SENSORS: tuple[str, ...] = tuple(
    name for name in MODALITIES if name != "rgb"
)  # everything that can go with RGB


def get_modality(name: str) -> Modality:
    """The row of a modality, by name or alias (case and '-' / '_' do not matter).

    Raises:
        UsageError: for an unknown name, listing the known ones.
    """
    key = name.strip().lower().replace("-", "_")
    for modality in MODALITIES.values():
        if key == modality.name or key in modality.aliases:
            return modality
    raise UsageError(
        f"unknown modality '{name}'", expected="one of " + ", ".join(MODALITIES), hint="armseg --help"
    )


def parse_modalities(text: str) -> tuple[str, ...]:
    """'depth,thermal' -> ('depth', 'thermal'); 'rgb' or '' -> () (no extra sensor); 'all' -> every sensor.

    Raises:
        UsageError: for an unknown name.
    """
    if text.strip().lower() == "all":
        return SENSORS
    names = [get_modality(part).name for part in text.split(",") if part.strip()]
    return tuple(dict.fromkeys(name for name in names if name != "rgb"))
