"""Draws a street: camera, light, objects and which class of its pair every object is.

The object is drawn first and a coin decides its class afterwards, so that place, pose, size, color and
texture say nothing about the class. What differs between the members of a pair is only what one of the
sensors measures.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from armseg_core.simulate import classes as C
from armseg_core.simulate.camera import Camera, rotation
from armseg_core.simulate.objects import (
    CarLook,
    PersonLook,
    add_building,
    add_tree,
    draw_car,
    draw_person,
)
from armseg_core.simulate.raycast import Blob, Panel
from armseg_core.simulate.scene import Light, Mover, Scene
from armseg_core.simulate.world import LOOK, Color, Surface, times

FIELD_OF_VIEW = np.radians(
    60.0
)  # horizontal, before the small variation of the focal length: a usual street camera
NIGHTS = 0.35  # share of scenes: often enough for the sensors to be needed
# moving, parked; the rest are billboards: a class is never to be guessed from how often it occurs
CAR_SHARES = (0.34, 0.34)
PERSON_SHARES = (0.42, 0.42)  # person, mannequin; the rest are billboards
TRIES = 80  # places tried for an object before it is left out: a full street has no place


def draw_scene(seed: int, index: int, size: tuple[int, int]) -> Scene:
    """Scene number `index` of `seed`. Nothing else matters; the image size only sets the focal length."""
    rng = np.random.default_rng([seed, index])
    night = bool(rng.random() < NIGHTS)
    ambient = float(rng.uniform(-2, 21))
    light = _draw_light(rng, night)
    yaw_pitch = (float(rng.uniform(-0.1, 0.1)), float(rng.uniform(0.05, 0.13)))
    focal = 0.5 * size[1] / np.tan(FIELD_OF_VIEW / 2) * rng.uniform(0.95, 1.1)
    camera = Camera(size, focal, (0.0, -rng.uniform(1.4, 1.65), 0.0), rotation(*yaw_pitch))
    course = rng.uniform(-0.6, 0.6) + (np.pi / 2 if rng.random() < 0.6 else 0.0)
    velocity = rng.uniform(0.2, 0.4) * np.array([np.cos(course), 0, np.sin(course)])
    spin = np.radians(rng.uniform(-1.0, 1.0, 2))
    scene = Scene(
        index, seed, camera, yaw_pitch, velocity, spin, light, ambient, ambient - float(rng.uniform(6, 14))
    )
    side = 1 if rng.random() < 0.5 else -1  # of the facade
    warm = 0.0 if night else float(rng.uniform(0, 3))  # kelvin that the sun adds
    road = _add_ground(scene, rng, warm)
    wall = _add_facade(scene, rng, side, warm)
    _add_background(scene, rng, side, warm)
    _add_movers(scene, rng, side, wall, warm)
    _add_patches(scene, rng, road, wall)
    return scene


def _draw_light(rng: np.random.Generator, night: bool) -> Light:
    azimuth, elevation = rng.uniform(0, 2 * np.pi), np.radians(rng.uniform(25, 65))
    flat = np.cos(elevation)
    to_sun = np.array([flat * np.cos(azimuth), -np.sin(elevation), flat * np.sin(azimuth)])
    level = float(rng.uniform(0.85, 1.15))
    overcast = rng.random() < 0.3
    cloud = float(rng.uniform(0.2, 0.8))
    lamp_at = np.array([rng.uniform(-4, 4), -rng.uniform(4.5, 6), rng.uniform(3, 9)])
    if night:
        return Light(
            True,
            ambient=level * 0.03 * np.array([0.75, 0.85, 1.1]),
            sun=np.zeros(3),
            to_sun=to_sun,
            lamp=rng.uniform(2.5, 5) * np.array([1.0, 0.75, 0.45]),
            lamp_at=lamp_at,
            sky_low=level * np.array([0.03, 0.025, 0.03]),
            sky_high=level * np.array([0.006, 0.008, 0.016]),
            cloud=cloud,
            sky=0.06 * level,
        )
    return Light(
        False,
        ambient=level * (0.65 if overcast else 0.42) * np.array([0.92, 1.0, 1.12]),
        sun=level * (0.12 if overcast else rng.uniform(0.7, 1.1)) * np.array([1.05, 0.98, 0.85]),
        to_sun=to_sun,
        lamp=np.zeros(3),
        lamp_at=lamp_at,
        sky_low=level * np.array([0.85, 0.9, 0.95]),
        sky_high=level * np.array([0.75, 0.8, 0.85] if overcast else [0.25, 0.42, 0.8]),
        cloud=cloud,
        sky=0.9 * level,
    )


def _tone(rng: np.random.Generator, low: float, high: float, tint: float = 0.1) -> Color:
    r, g, b = rng.uniform(low, high) * (1 + tint * rng.uniform(-1, 1, 3))
    return float(r), float(g), float(b)


def _one_of(rng: np.random.Generator, *names: str) -> str:
    return str(rng.choice(names))


def _add_ground(scene: Scene, rng: np.random.Generator, warm: float) -> Surface:
    base = _tone(rng, 0.14, 0.3)
    road = Surface(
        C.GROUND,
        base,
        times(base, 1.9),
        _one_of(rng, "asphalt", "plates", "noise"),
        texels=float(rng.uniform(60, 110)),
        contrast=float(rng.uniform(0.4, 0.8)),
        celsius=scene.ambient + warm,
        spread=0.4,
    )
    c, s = np.cos(turn := rng.uniform(0, np.pi)), np.sin(turn)
    scene.static.add(road, rng.uniform(0, 9, 3), [[c, 0, s], [-s, 0, c]])
    return road


@dataclass(frozen=True)
class Wall:
    """The facade with the windows: a point of it and its normal towards the street."""

    start: np.ndarray
    normal: np.ndarray

    def clearance(self, position: np.ndarray) -> float:
        """Meters from a point on the road to the facade, negative inside the house."""
        return float((position - self.start) @ self.normal)


def _house(
    scene: Scene,
    rng: np.random.Generator,
    textures: tuple[str, ...],
    texels: tuple[float, float],
    warm: float,
) -> Surface:
    base = _tone(rng, 0.2, 0.5, 0.35)
    return Surface(
        C.BUILDING,
        base,
        times(base, 0.43),
        _one_of(rng, *textures),
        texels=float(rng.uniform(*texels)),
        contrast=float(rng.uniform(0.35, 0.8)),
        celsius=scene.ambient + warm * float(rng.uniform(-0.3, 0.8)),
        spread=0.3,
        emissivity=0.94,
    )


def _add_facade(scene: Scene, rng: np.random.Generator, side: int, warm: float) -> Wall:
    """The house along one side of the street, seen at 40 to 65 degrees from its normal, with windows."""
    near, turn = rng.uniform(5.0, 7.0), np.radians(rng.uniform(14, 32))
    slope = side * np.tan(FIELD_OF_VIEW / 2) * 0.98 + np.tan(scene.yaw_pitch[0])
    start = np.array([slope * near, 0.0, near])  # where the facade enters the picture
    along = np.array([-side * np.sin(turn), 0.0, np.cos(turn)])
    inward = np.array([side * np.cos(turn), 0.0, np.sin(turn)])
    front = _house(scene, rng, ("brick", "plates", "noise"), (70, 110), warm)
    add_building(
        scene.static,
        front,
        start - 5 * along,
        along,
        inward,
        length=rng.uniform(17, 24),
        depth=8.0,
        height=rng.uniform(5.5, 8.5),
    )
    slots = [(a, b) for a in (0.35, 3.15, 6.1) for b in (0.45, 2.95)]  # meters along and up
    weights = np.array([1.0, 0.7, 1.0, 0.7, 0.8, 0.5])
    for k in sorted(rng.choice(6, int(rng.integers(3, 6)), replace=False, p=weights / weights.sum())):
        half = np.array([rng.uniform(0.95, 1.25), rng.uniform(0.75, 1.0)])
        corner = slots[k] + np.array([rng.uniform(0, 0.3), rng.uniform(-0.15, 0.25)])
        center = start + along * (corner[0] + half[0]) - inward * 0.03
        center[1] = -(corner[1] + half[1])
        _add_window(scene, rng, center, along * half[0], np.array([0, half[1], 0]), front, inward)
    return Wall(start, -inward)


def _add_window(
    scene: Scene,
    rng: np.random.Generator,
    center: np.ndarray,
    half_u: np.ndarray,
    half_v: np.ndarray,
    wall: Surface,
    inward: np.ndarray,
) -> None:
    """A frame that holds either a closed dusty pane or an opening into a dim room; both look the same."""
    base = _tone(rng, 0.03, 0.11, 0.35)
    look = Surface(
        C.GLASS,
        base,
        times(base, 3.2),
        _one_of(rng, "dirt", "plates", "noise"),
        texels=float(rng.uniform(700, 1300)),
        contrast=float(rng.uniform(0.5, 0.9)),
        spread=0.1,
        kind=LOOK,
    )
    anchor, frame = rng.uniform(0, 3, 3), _turned(rng)
    behind, interior, offset = rng.uniform(2.0, 5.0), rng.uniform(6, 12), rng.uniform(-0.7, 0.7)
    mirror = float(rng.uniform(0.8, 1.2))
    if rng.random() < 0.5:
        surface = replace(
            look, celsius=wall.celsius + float(offset), emissivity=0.92, index=1.52, mirror=mirror
        )
    else:
        surface = replace(
            look, label=C.OPENING, celsius=scene.ambient + float(interior), behind=float(behind)
        )
    tone = _tone(rng, 0.1, 0.7)
    border = scene.static.add(
        Surface(C.BUILDING, tone, tone, contrast=0.0, celsius=wall.celsius),
        center,
        [half_u / np.linalg.norm(half_u), (0, 1, 0)],
    )
    scene.static.shapes.append(Panel((border,), center, half_u * 1.07, half_v * 1.08))
    row = scene.static.add(surface, anchor, frame)
    scene.static.shapes.append(Panel((row,), center - 0.02 * inward, half_u, half_v))
    scene.windows.append(
        {
            "class": C.NAMES[surface.label],
            "behind_m": round(surface.behind, 3),
            "celsius": round(surface.celsius, 2),
        }
    )


def _turned(rng: np.random.Generator) -> np.ndarray:
    """Texture axes of a LOOK surface: rows act on (x / z, y / z, 1) of the reference view."""
    a = rng.uniform(0, 2 * np.pi)
    return np.array([[np.cos(a), np.sin(a), 0], [-np.sin(a), np.cos(a), 0]])


def _add_background(scene: Scene, rng: np.random.Generator, side: int, warm: float) -> None:
    """Far houses across the street, trees and bushes on the side without facade."""
    for _ in range(int(rng.integers(1, 3))):
        surface = _house(scene, rng, ("brick", "plates", "plaid"), (30, 60), warm)
        c, s = np.cos(turn := rng.uniform(-0.4, 0.4)), np.sin(turn)
        corner = np.array([-side * rng.uniform(-4, 9), 0, rng.uniform(20, 30)])
        add_building(
            scene.static,
            surface,
            corner,
            np.array([c, 0, s]),
            np.array([-s, 0, c]),
            length=rng.uniform(6, 14),
            depth=6.0,
            height=rng.uniform(3.5, 8),
        )
    for _ in range(int(rng.integers(2, 5))):
        green = rng.uniform(0.06, 0.16) * np.array([rng.uniform(0.5, 0.9), 1.3, rng.uniform(0.2, 0.5)])
        base = (float(green[0]), float(green[1]), float(green[2]))
        celsius = scene.ambient - float(rng.uniform(-0.3, 1.2))
        leaf = Surface(C.VEGETATION, base, times(base, 2.6), "foliage", 90.0, 0.9, celsius, 0.3, 0.97)
        bark = Surface(C.VEGETATION, (0.1, 0.07, 0.05), (0.2, 0.16, 0.12), "noise", 90.0, 0.5, celsius, 0.3)
        z = rng.uniform(11, 17)
        add_tree(scene.static, rng, np.array([-side * rng.uniform(-0.12, 0.6) * z, 0.0, z]), leaf, bark)


def _celsius_car(rng: np.random.Generator, ambient: float, warm: float, driving: bool) -> dict[str, float]:
    """Temperatures of a car's parts: near the air's, plus what a running engine and rolling tyres add."""
    rise = {
        "paint": (2, 4),
        "hood": (9, 15),
        "front": (7, 12),
        "side": (3, 6),
        "glass": (3, 6),
        "wheel": (10, 16),
    }
    still = {part: ambient + warm * float(rng.uniform(0, 0.9)) for part in rise}
    added = {part: float(rng.uniform(*span)) for part, span in rise.items()}
    return {part: still[part] + (added[part] if driving else 0.0) for part in rise}


def _celsius_person(rng: np.random.Generator, ambient: float, warm: float, alive: bool) -> dict[str, float]:
    """Temperatures of skin, clothes and hair: a warm body's, or near the air's."""
    body = {"skin": (33, 35), "cloth": (30, 32.5), "hair": (30, 31.5)}
    still = {part: ambient + warm * float(rng.uniform(0, 0.6)) for part in body}
    live = {part: float(rng.uniform(*span)) for part, span in body.items()}
    return live if alive else still


def _add_movers(scene: Scene, rng: np.random.Generator, side: int, wall: Wall, warm: float) -> None:
    """Up to three cars and two to four figures; then a coin for the class of each."""
    cars = 3 if rng.random() < 0.35 else 2
    slopes: dict[bool, list[float]] = {True: [], False: []}  # where cars and figures stand in the picture
    for is_car in [True] * cars + [False] * int(rng.integers(2, 5)):
        look: CarLook | PersonLook = draw_car(rng) if is_car else draw_person(rng)
        speed = float(rng.uniform(3.0, 6.0) if is_car else rng.uniform(1.5, 2.2))
        heading = float(np.radians(rng.uniform(-35, 35)) + (np.pi if rng.random() < 0.5 else 0))
        position = _find_place(scene, rng, look, side, wall, slopes[is_car])
        coin, panel, turn = (
            rng.random(),
            float(rng.uniform(0.55, 0.8)),
            float(np.radians(rng.uniform(-25, 25))),
        )
        first, second = CAR_SHARES if is_car else PERSON_SHARES
        live = coin < first
        if is_car:
            label = C.MOVING_CAR if live else C.PARKED_CAR if coin < first + second else C.BILLBOARD
        else:
            label = C.PERSON if live else C.MANNEQUIN if coin < first + second else C.BILLBOARD
        celsius = (_celsius_car if is_car else _celsius_person)(rng, scene.ambient, warm, live)
        if position is not None:
            scene.movers.append(
                Mover(look, position, heading, label, speed if live else 0.0, celsius, panel, turn)
            )
    _keep_panels_behind_nearer_objects(scene)


def _find_place(
    scene: Scene,
    rng: np.random.Generator,
    look: CarLook | PersonLook,
    side: int,
    wall: Wall,
    slopes: list[float],
) -> np.ndarray | None:
    """A free place on the ground, or None. Appends its image slope x / z to `slopes`."""
    is_car = isinstance(look, CarLook)
    radius = look.length / 2 if isinstance(look, CarLook) else 0.4
    for _ in range(TRIES):
        if is_car:
            z, slope = rng.uniform(6.5, 13.0), -side * rng.uniform(-0.2, 0.5)
        else:
            z, slope = rng.uniform(3.7, 7.5), rng.uniform(-0.5, 0.5)
        position = np.array([(slope + np.tan(scene.yaw_pitch[0])) * z, 0.0, z])
        if wall.clearance(position) < radius + 0.25:
            continue
        if any(np.linalg.norm(m.position - position) < m.radius + radius + 0.2 for m in scene.movers):
            continue
        if any(abs(slope - other) < (0.2 if is_car else 0.1) for other in slopes):
            continue
        slopes.append(slope)
        return position
    return None


def _keep_panels_behind_nearer_objects(scene: Scene) -> None:
    """Move a cut-out back where it would hide an object that the painted thing could not hide.

    Where there is no room, because the object stands in a corner of the painted thing, the cut-out is left
    out.
    """
    for m in [m for m in scene.movers if m.is_painted]:
        (wide, deep), z = m.half_extents, m.position[2]
        behind = 0.0  # meters that the panel must stay away
        for other in scene.movers:
            near = other.position[2]
            apart = abs(other.position[0] / near - m.position[0] / z)
            if near < z and apart < (other.half_extents[0] + 0.2) / near + (wide + 0.2) / z:
                behind = max(behind, near + other.half_extents[1] + 0.1)
        if behind > z - deep:
            scene.movers.remove(m)
        elif behind > m.panel * (z - deep):
            m.panel, m.turn = behind / (z - deep), 0.0


def _add_patches(scene: Scene, rng: np.random.Generator, road: Surface, wall: Wall) -> None:
    """Three or four dark blobs on the road, each a puddle or an asphalt repair; both look the same."""
    placed: list[np.ndarray] = []
    for _ in range(int(rng.integers(3, 5))):
        half = np.array([rng.uniform(0.9, 1.7), rng.uniform(0.7, 1.4)])
        waves = np.stack([rng.uniform(0, 0.13, 4), rng.uniform(0, 2 * np.pi, 4)], 1)
        base = _tone(rng, 0.03, 0.062, 0.15)
        dry = Surface(
            C.DARK_PATCH,
            base,
            times(base, 3.4),
            _one_of(rng, "noise", "dirt"),
            texels=float(rng.uniform(600, 1100)),
            contrast=float(rng.uniform(0.7, 1.0)),
            celsius=road.celsius + float(rng.uniform(-0.3, 1.5)),
            spread=0.3,
            kind=LOOK,
        )
        wet = replace(
            dry,
            label=C.WATER,
            celsius=road.celsius - float(rng.uniform(3, 6)),
            spread=0.1,
            emissivity=0.97,
            index=1.33,
            mirror=float(rng.uniform(0.7, 1.1)),
            behind=float(rng.uniform(4, 10)),
            drift=float(rng.uniform(0.5, 0.9)),
        )
        anchor, frame = rng.uniform(0, 3, 3), _turned(rng)
        c, s = np.cos(turn := rng.uniform(-0.4, 0.4)), np.sin(turn)
        surface = wet if rng.random() < 0.5 else dry
        position = _find_patch_place(scene, rng, wall, half[0], placed)
        if position is None:
            continue
        placed.append(position)
        row = scene.static.add(surface, anchor, frame)
        scene.static.shapes.append(
            Blob(
                (row,),
                position,
                np.array([c, 0, s]) * half[0],
                np.array([-s, 0, c]) * half[1],
                lift=1e-4,
                waves=waves,
            )
        )
        scene.patches.append({"class": C.NAMES[surface.label], "celsius": round(surface.celsius, 2)})


def _find_patch_place(
    scene: Scene, rng: np.random.Generator, wall: Wall, radius: float, placed: list[np.ndarray]
) -> np.ndarray | None:
    for _ in range(TRIES):
        z = rng.uniform(3.2, 7.0)
        p = np.array([(rng.uniform(-0.5, 0.5) + np.tan(scene.yaw_pitch[0])) * z, 0.0, z])
        if wall.clearance(p) > radius and all(np.linalg.norm(p - q) > 2.2 for q in placed):
            return p
    return None
