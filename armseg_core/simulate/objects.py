"""Cars, people, trees, buildings: parameters -> shapes and surfaces in a World.

Object axes: forward (heading), down, lateral; the object stands at (x, z) on the ground y = 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from armseg_core.simulate.raycast import Capsule, Ellipsoid, Polyhedron, Shape
from armseg_core.simulate.world import Color, Surface, World, times

Plane = tuple[Sequence[float], Sequence[float]]  # outward normal, point on the face; object axes

_DIRECTIONS = np.array([v for v in np.ndindex(3, 3, 3) if v != (1, 1, 1)], np.float64) - 1
_DIRECTIONS /= np.linalg.norm(_DIRECTIONS, axis=1, keepdims=True)  # 26 directions of a cube


def heading_axes(heading: float) -> np.ndarray:
    """Rows: forward, down, lateral in world axes; heading 0 = to the right (+x), pi/2 = away (+z)."""
    c, s = np.cos(heading), np.sin(heading)
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def cast_shadow(world: World, shape: Shape) -> None:
    """Register the hull of a shape as a caster of shadows."""
    if isinstance(shape, Ellipsoid):
        hull = shape.center + _DIRECTIONS * shape.radii @ shape.axes.T
    elif isinstance(shape, Capsule):
        hull = np.concatenate([shape.a + _DIRECTIONS * shape.radius, shape.b + _DIRECTIONS * shape.radius])
    else:
        hull = shape.corners
    world.casters.append(hull)


def add_shape(world: World, shape: Shape) -> None:
    """Add a shape that throws a shadow."""
    world.shapes.append(shape)
    cast_shadow(world, shape)


def polyhedron(
    surfaces: tuple[int, ...], planes: Sequence[Plane], axes: np.ndarray, position: np.ndarray
) -> Polyhedron:
    """A convex body with six faces: +forward, -forward, top, bottom, +lateral, -lateral."""
    normals = np.array([p[0] for p in planes], float)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    offsets = np.einsum("fk,fk->f", normals, np.array([p[1] for p in planes], float))
    trios = [[f, d, s] for f in (0, 1) for d in (2, 3) for s in (4, 5)]
    vertices = np.array([np.linalg.solve(normals[trio], offsets[trio]) for trio in trios])
    turned = normals @ axes
    return Polyhedron(surfaces, turned, offsets + turned @ position, vertices @ axes + position)


@dataclass(frozen=True)
class CarLook:
    """Everything about a car that does not depend on its class."""

    length: float
    width: float
    belt: float  # height of the hood line
    roof: float
    cabin: tuple[float, float, float, float]  # rear base, rear top, front top, front base along the length
    paint: Color
    accent: Color
    texture: str
    contrast: float
    offset: np.ndarray  # texture origin, object axes


def draw_car(rng: np.random.Generator) -> CarLook:
    """A saloon, an estate or a van of random size and paint."""
    length, belt, kind = float(rng.uniform(3.7, 4.7)), float(rng.uniform(0.82, 0.95)), int(rng.integers(3))
    a, b, c, d = ((-0.80, -0.55, 0.02, 0.42), (-0.96, -0.88, 0.05, 0.45), (-0.98, -0.92, 0.45, 0.78))[kind]
    half, hue = length / 2, rng.uniform(0, 1)
    return CarLook(
        length=length,
        width=float(rng.uniform(1.65, 1.85)),
        belt=belt,
        roof=float(rng.uniform(1.4, 1.55)) + (0.25 if kind == 2 else 0.0),
        cabin=(a * half, b * half, c * half, d * half),
        paint=_color(hue, rng.choice([0.1, 0.75]), rng.uniform(0.12, 0.6)),
        accent=_color(hue + rng.uniform(0.2, 0.5), 0.4, rng.uniform(0.2, 0.7)),
        texture=str(rng.choice(["noise", "stripes", "plates", "dirt"])),
        contrast=float(rng.uniform(0.4, 0.8)),
        offset=rng.uniform(0, 9, 3),
    )


def _color(hue: float, saturation: float, value: float) -> Color:
    """HSV in [0, 1] -> linear RGB albedo."""
    k = (np.array([0, 2 / 3, 1 / 3]) + hue) % 1 * 6
    rgb = np.clip(np.abs(k - 3) - 1, 0, 1)
    rgb = value * (1 - saturation + saturation * rgb)
    return float(rgb[0]), float(rgb[1]), float(rgb[2])


def add_car(
    world: World, look: CarLook, position: np.ndarray, heading: float, label: int, celsius: dict[str, float]
) -> None:
    """Body, cabin and wheels.

    position: (3,) on the ground. celsius: temperature of paint, hood, front, side, glass, wheel.
    """
    axes = heading_axes(heading)
    anchor = position + look.offset @ axes
    frame = np.stack([axes[0] + 0.3 * axes[2], axes[1] + 0.55 * axes[2]])

    def paint(part: str, dark: float = 1.0) -> int:
        coat = Surface(
            label,
            times(look.paint, dark),
            times(look.accent, dark),
            look.texture,
            110.0,
            look.contrast,
            celsius[part],
            0.3,
            0.93,
            index=1.5,
        )
        return world.add(coat, anchor, frame)

    half, side, belt, sill = look.length / 2, look.width / 2, look.belt, 0.22
    body = [
        ((1, -0.12, 0), (half, -0.5, 0)),
        ((-1, -0.1, 0), (-half, -0.5, 0)),
        ((0.05, -1, 0), (half, -belt + 0.05, 0)),
        ((0, 1, 0), (0, -sill, 0)),
        ((0, -0.14, 1), (0, -0.4, side)),
        ((0, -0.14, -1), (0, -0.4, -side)),
    ]
    sides = paint("side")
    faces = (paint("front"), paint("paint"), paint("hood"), paint("side", 0.2), sides, sides)
    add_shape(world, polyhedron(faces, body, axes, position))
    rear0, rear1, front1, front0 = look.cabin
    top = look.roof - belt
    cabin = [
        ((top, -(front0 - front1), 0), (front0, -belt + 0.03, 0)),
        ((-top, -(rear1 - rear0), 0), (rear0, -belt + 0.03, 0)),
        ((0, -1, 0), (0, -look.roof, 0)),
        ((0, 1, 0), (0, -belt + 0.12, 0)),
        ((0, -0.35, 1), (0, -belt, side - 0.08)),
        ((0, -0.35, -1), (0, -belt, -side + 0.08)),
    ]
    glass = world.add(
        Surface(
            label,
            (0.03, 0.035, 0.04),
            (0.14, 0.15, 0.16),
            "plates",
            70.0,
            0.6,
            celsius["glass"],
            0.2,
            0.9,
            index=1.5,
        ),
        anchor,
        frame,
    )
    add_shape(world, polyhedron((glass, glass, paint("paint"), glass, glass, glass), cabin, axes, position))
    tyre = world.add(
        Surface(label, (0.02, 0.02, 0.02), (0.12, 0.12, 0.12), "plates", 160.0, 0.7, celsius["wheel"], 0.4),
        anchor,
        frame,
    )
    for f in (-0.62, 0.6):
        for s in (-1, 1):
            center = position + np.array([f * half, -0.32, s * (side - 0.06)]) @ axes
            add_shape(world, Ellipsoid((tyre,), center, np.array([0.33, 0.33, 0.14]), axes.T))


@dataclass(frozen=True)
class PersonLook:
    """Everything about a human figure that does not depend on its class."""

    height: float
    girth: float
    phase: float  # of the walk, radians
    stride: float  # swing of the legs, radians
    skin: Color
    hair: Color
    top: Color
    top2: Color
    legs: Color
    texture: str
    contrast: float
    offset: np.ndarray  # texture origin, object axes


def draw_person(rng: np.random.Generator) -> PersonLook:
    """A human figure of random size, pose of walking and clothes."""
    tone, hue = float(rng.uniform(0.12, 0.55)), rng.uniform(0, 1)
    return PersonLook(
        height=float(rng.uniform(1.58, 1.92)),
        girth=float(rng.uniform(0.9, 1.2)),
        phase=float(rng.uniform(0, 2 * np.pi)),
        stride=float(rng.uniform(0.35, 0.55)),
        skin=(tone, tone * 0.72, tone * 0.55),
        hair=_color(0.08, 0.5, rng.uniform(0.02, 0.3)),
        top=_color(hue, rng.uniform(0.1, 0.8), rng.uniform(0.12, 0.65)),
        top2=_color(hue + rng.uniform(0.2, 0.8), rng.uniform(0.1, 0.7), rng.uniform(0.05, 0.7)),
        legs=_color(rng.uniform(0, 1), rng.uniform(0, 0.5), rng.uniform(0.04, 0.35)),
        texture=str(rng.choice(["stripes", "plaid", "noise", "plates"])),
        contrast=float(rng.uniform(0.4, 0.9)),
        offset=rng.uniform(0, 9, 3),
    )


def add_person(
    world: World,
    look: PersonLook,
    position: np.ndarray,
    heading: float,
    phase: float,
    label: int,
    celsius: dict[str, float],
) -> None:
    """Torso, head, hair, legs and arms.

    position: (3,) on the ground. phase: of the walk cycle. celsius: temperature of skin, cloth, hair.
    """
    axes = heading_axes(heading)
    anchor = position + look.offset @ axes
    frame = np.stack([axes[0] + 0.6 * axes[2], axes[1] + 0.2 * axes[2]])

    def surface(color: Color, second: Color, part: str, texture: str, contrast: float) -> int:
        return world.add(
            Surface(label, color, second, texture, 260.0, contrast, celsius[part], 0.3, 0.98), anchor, frame
        )

    skin = surface(look.skin, times(look.skin, 0.6), "skin", "noise", 0.4)
    hair = surface(look.hair, times(look.hair, 0.3), "hair", "noise", 0.6)
    top = surface(look.top, look.top2, "cloth", look.texture, look.contrast)
    legs = surface(look.legs, times(look.legs, 0.35), "cloth", "noise", 0.5)
    h, g = look.height, look.girth

    def point(forward: float, up: float, lateral: float) -> np.ndarray:
        place: np.ndarray = position + np.array([forward, -up, lateral]) @ axes
        return place

    for row, center, radii in (
        (top, point(0, 0.685 * h, 0), (0.135 * g, 0.2 * h, 0.215 * g)),
        (skin, point(0.02, 0.925 * h, 0), (0.1, 0.075 * h, 0.085)),
        (hair, point(-0.015, 0.942 * h, 0), (0.105, 0.066 * h, 0.092)),
    ):
        add_shape(world, Ellipsoid((row,), center, np.array(radii), axes.T))
    for s in (-1, 1):
        swing = look.stride * np.sin(phase + (np.pi if s > 0 else 0))
        foot = point(0.46 * h * np.sin(swing), 0.5 * h - 0.46 * h * np.cos(swing), s * 0.09)
        add_shape(world, Capsule((legs,), point(0, 0.51 * h, s * 0.085 * g), foot, 0.078 * g))
        arm = -0.8 * swing
        hand = point(0.32 * h * np.sin(arm), 0.79 * h - 0.33 * h * np.cos(arm), s * 0.27 * g)
        add_shape(world, Capsule((top,), point(0, 0.79 * h, s * 0.2 * g), hand, 0.05 * g))


def add_building(
    world: World,
    surface: Surface,
    corner: np.ndarray,
    along: np.ndarray,
    inward: np.ndarray,
    length: float,
    depth: float,
    height: float,
) -> None:
    """A block whose front face starts at `corner`.

    It runs `length` along `along` and extends `depth` to `inward`.
    """
    axes = np.stack([along, np.array([0.0, 1.0, 0.0]), inward])
    frame = np.stack([along + 0.7 * inward, np.array([0.0, 1.0, 0.0])])
    row = world.add(surface, corner, frame)
    planes = [
        ((1, 0, 0), (length, 0, 0)),
        ((-1, 0, 0), (0, 0, 0)),
        ((0, -1, 0), (0, -height, 0)),
        ((0, 1, 0), (0, 0, 0)),
        ((0, 0, 1), (0, 0, depth)),
        ((0, 0, -1), (0, 0, 0)),
    ]
    add_shape(world, polyhedron((row,), planes, axes, corner))


def add_tree(
    world: World, rng: np.random.Generator, position: np.ndarray, leaf: Surface, bark: Surface
) -> None:
    """A tree (trunk and three crowns) or, half of the time, a bush; size and color are drawn from `rng`."""
    axes = heading_axes(rng.uniform(0, 2 * np.pi))
    frame = np.stack([axes[0] + 0.5 * axes[2], axes[1] + 0.5 * axes[2]])
    leaves = world.add(leaf, position + rng.uniform(0, 9, 3), frame)
    if rng.random() < 0.5:
        r = rng.uniform(0.6, 1.3, 3) * (1.3, 0.8, 1.0)
        for aside in (-0.7, 0.6):
            center = position + np.array([aside, -0.6 * r[1], 0.0]) @ axes
            add_shape(world, Ellipsoid((leaves,), center, r * rng.uniform(0.8, 1.1, 3), axes.T))
        return
    trunk = world.add(bark, position, frame)
    top = rng.uniform(2.0, 3.0)
    add_shape(world, Capsule((trunk,), position, position - (0, top, 0), rng.uniform(0.1, 0.2)))
    for _ in range(3):
        shift = np.array([rng.uniform(-0.8, 0.8), -top - rng.uniform(0.1, 1.5), rng.uniform(-0.8, 0.8)])
        add_shape(world, Ellipsoid((leaves,), position + shift, rng.uniform(0.9, 1.6, 3), axes.T))
