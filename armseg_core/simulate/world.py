"""What the rays can meet: shapes plus a table of surfaces (class, color, texture, temperature, optics)."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from armseg_core.simulate import textures
from armseg_core.simulate.raycast import Shape

Color = tuple[float, float, float]  # linear RGB albedo
PLAIN, LOOK, PRINT = range(3)  # how a surface gets its radiance, see shading.py
GROUND_SURFACE = 0  # row of the ground in the world of every scene


def times(color: Color, factor: float) -> Color:
    """A lighter or darker color of the same hue."""
    return color[0] * factor, color[1] * factor, color[2] * factor


@dataclass(frozen=True)
class Surface:
    """One row of the surface table.

    base, second: linear RGB albedo; the texture mixes them. texture: name in textures.NAMES. texels: texels
    per meter (per unit of image slope for LOOK surfaces). contrast: 0..1 of the mix. celsius: temperature;
    spread: its deviation across the texture. index: refractive index of a smooth coat, 0 = none. mirror:
    share of the sky's light that the surface can see by reflection. kind: PLAIN lambert, LOOK a dim surface
    whose pattern is fixed in the reference view, PRINT a printed panel. behind: meters from the surface to
    the plane that carries a LOOK pattern (0 = on the surface). drift: speed of a LOOK pattern, image slope
    per second (wind on water).
    """

    label: int
    base: Color
    second: Color = (0.0, 0.0, 0.0)
    texture: str = "noise"
    texels: float = 60.0
    contrast: float = 0.5
    celsius: float = 15.0
    spread: float = 0.2
    emissivity: float = 0.95
    index: float = 0.0
    mirror: float = 1.0
    kind: int = PLAIN
    behind: float = 0.0
    drift: float = 0.0


@dataclass
class World:
    """Shapes and surfaces at one moment; `anchors` and `frames` fix each texture to its (moving) object."""

    shapes: list[Shape] = field(default_factory=list)
    surfaces: list[Surface] = field(default_factory=list)
    anchors: list[np.ndarray] = field(default_factory=list)  # (3,) origin of the texture
    frames: list[np.ndarray] = field(default_factory=list)  # (2, 3) texture axes in the world
    casters: list[np.ndarray] = field(default_factory=list)  # (K, 3) hulls that throw a shadow on the ground
    static_casters: int = 0  # so many of them never move

    def add(self, surface: Surface, anchor: npt.ArrayLike, frame: npt.ArrayLike) -> int:
        """Append a surface; returns its row."""
        self.surfaces.append(surface)
        self.anchors.append(np.asarray(anchor, np.float32))
        self.frames.append(np.asarray(frame, np.float32) * np.float32(surface.texels))
        return len(self.surfaces) - 1

    def copy(self) -> World:
        """A world to which more can be added; what is in it is shared."""
        return World(
            list(self.shapes),
            list(self.surfaces),
            list(self.anchors),
            list(self.frames),
            list(self.casters),
            self.static_casters,
        )


class Table:
    """The surface table as arrays, one row per surface."""

    def __init__(self, world: World) -> None:
        s = world.surfaces
        self.label = np.array([x.label for x in s], np.uint8)
        self.base = np.array([x.base for x in s], np.float32)
        self.mix = np.array([x.second for x in s], np.float32) - self.base
        self.layer = np.array([textures.LAYER[x.texture] for x in s], np.int32)
        frames, anchors = np.stack(world.frames), np.stack(world.anchors)
        # texel coordinates = matrix @ (x, y, z) + shift
        self.matrix = frames
        self.shift = -np.einsum("sij,sj->si", frames, anchors)
