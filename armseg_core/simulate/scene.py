"""Draws a street: camera, light, objects and which class of its pair every object is.

The object is drawn first and a coin decides its class afterwards, so that place, pose, size, colour and texture say
nothing about the class. What differs between the members of a pair is only what one of the sensors measures.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from armseg_core.simulate import classes as C
from armseg_core.simulate.objects import (
    CarLook,
    PersonLook,
    add_building,
    add_car,
    add_person,
    add_tree,
    draw_car,
    draw_person,
)
from armseg_core.simulate.raycast import Blob, Camera, Panel, rotation
from armseg_core.simulate.world import LOOK, Surface, World

FIELD_OF_VIEW = np.radians(60.0)


@dataclass(frozen=True)
class Light:
    """night; ambient, sun, lamp: linear RGB of the light; to_sun: unit vector; lamp_at: (3,); sky: luminance seen in
    reflections."""

    night: bool
    ambient: np.ndarray
    sun: np.ndarray
    to_sun: np.ndarray
    lamp: np.ndarray
    lamp_at: np.ndarray
    sky_low: np.ndarray
    sky_high: np.ndarray
    cloud: float
    sky: float


@dataclass
class Mover:
    """A car or a human figure. label: its class. ghost: it is only painted on a cut-out standing at `panel` times its
    distance, turned by `turn`. velocity: m/s along its heading (0 = still)."""

    look: CarLook | PersonLook
    position: np.ndarray
    heading: float
    label: int
    number: int
    velocity: float
    celsius: dict[str, float]
    panel: float = 1.0
    turn: float = 0.0

    @property
    def is_car(self) -> bool:
        return isinstance(self.look, CarLook)

    @property
    def moves(self) -> bool:
        return self.velocity > 0

    @property
    def still(self) -> bool:
        """A solid body that does not move."""
        return self.velocity == 0 and self.label != C.BILLBOARD

    def radius(self) -> float:
        return self.look.length / 2 if isinstance(self.look, CarLook) else 0.45

    def place(self, world: World, tau: float) -> None:
        """Add it as a solid body at time tau seconds (0 = label time)."""
        step = np.array([np.cos(self.heading), 0, np.sin(self.heading)]) * self.velocity * tau
        if isinstance(self.look, CarLook):
            add_car(world, self.look, self.position + step, self.heading, self.label, self.number, self.celsius)
        else:
            phase = self.look.phase + 2 * np.pi * self.velocity / 1.5 * tau  # 1.5 m per cycle of two steps
            add_person(world, self.look, self.position + step, self.heading, phase, self.label, self.number,
                       self.celsius)


@dataclass
class Scene:
    """Everything that the sensors of one scene share."""

    index: int
    seed: int
    camera: Camera
    velocity: np.ndarray  # m/s of the camera, world axes
    spin: np.ndarray  # rad/s: yaw, pitch
    yaw_pitch: tuple[float, float]
    light: Light
    ambient: float  # degrees Celsius
    sky_celsius: float
    static: World
    movers: list[Mover]
    windows: list[dict] = field(default_factory=list)
    patches: list[dict] = field(default_factory=list)

    def camera_at(self, tau: float) -> Camera:
        yaw, pitch = self.yaw_pitch
        to_world = rotation(yaw + self.spin[0] * tau, pitch + self.spin[1] * tau)
        return Camera(self.camera.size, self.camera.focal, self.camera.position + self.velocity * tau, to_world)


def draw_scene(seed: int, index: int, size: tuple[int, int]) -> Scene:
    """The scene number `index` of `seed`; depends on nothing else (the image size only sets the focal length)."""
    rng = np.random.default_rng([seed, index])
    night = bool(rng.random() < 0.35)
    ambient = float(rng.uniform(-2, 21))
    light = _draw_light(rng, night)
    yaw_pitch = (float(rng.uniform(-0.1, 0.1)), float(rng.uniform(0.05, 0.13)))
    focal = 0.5 * size[1] / np.tan(FIELD_OF_VIEW / 2) * rng.uniform(0.95, 1.1)
    camera = Camera(size, focal, (0.0, -rng.uniform(1.4, 1.65), 0.0), rotation(*yaw_pitch))
    course = rng.uniform(-0.6, 0.6) + (np.pi / 2 if rng.random() < 0.6 else 0.0)
    speed = rng.uniform(0.2, 0.5)
    scene = Scene(index, seed, camera, speed * np.array([np.cos(course), 0, np.sin(course)]),
                  np.radians(rng.uniform(-1.5, 1.5, 2)), yaw_pitch, light, ambient,
                  ambient - float(rng.uniform(6, 14)), World(), [])
    side = 1 if rng.random() < 0.5 else -1
    warm_day = 0.0 if night else float(rng.uniform(0, 3))
    road = _add_ground(scene, rng, warm_day)
    wall = _add_facade(scene, rng, side, warm_day)
    _add_background(scene, rng, side, warm_day)
    _add_movers(scene, rng, side, wall, warm_day)
    _add_patches(scene, rng, road, wall)
    return scene


def _draw_light(rng: np.random.Generator, night: bool) -> Light:
    azimuth, elevation = rng.uniform(0, 2 * np.pi), np.radians(rng.uniform(25, 65))
    to_sun = np.array([np.cos(elevation) * np.cos(azimuth), -np.sin(elevation), np.cos(elevation) * np.sin(azimuth)])
    level = rng.uniform(0.85, 1.15)
    overcast = rng.random() < 0.3
    cloud = rng.uniform(0.2, 0.8)
    lamp_at = np.array([rng.uniform(-4, 4), -rng.uniform(4.5, 6), rng.uniform(3, 9)])
    if night:
        ambient = level * 0.03 * np.array([0.75, 0.85, 1.1])
        lamp = rng.uniform(2.5, 5) * np.array([1.0, 0.75, 0.45])
        return Light(True, ambient, np.zeros(3), to_sun, lamp, lamp_at, level * np.array([0.03, 0.025, 0.03]),
                     level * np.array([0.006, 0.008, 0.016]), cloud, 0.06 * level)
    ambient = level * (0.65 if overcast else 0.42) * np.array([0.92, 1.0, 1.12])
    sun = level * (0.12 if overcast else rng.uniform(0.7, 1.1)) * np.array([1.05, 0.98, 0.85])
    high = np.array([0.75, 0.8, 0.85]) if overcast else np.array([0.25, 0.42, 0.8])
    return Light(False, ambient, sun, to_sun, np.zeros(3), lamp_at, level * np.array([0.85, 0.9, 0.95]), level * high,
                 cloud, 0.9 * level)


def _gray(rng: np.random.Generator, low: float, high: float, tint: float = 0.1) -> tuple[float, float, float]:
    return tuple(float(v) for v in rng.uniform(low, high) * (1 + tint * rng.uniform(-1, 1, 3)))


def _add_ground(scene: Scene, rng: np.random.Generator, warm: float) -> Surface:
    base = _gray(rng, 0.14, 0.3)
    road = Surface(C.GROUND, base, tuple(v * 1.9 for v in base), str(rng.choice(["asphalt", "plates", "noise"])),
                   float(rng.uniform(60, 110)), float(rng.uniform(0.4, 0.8)), scene.ambient + warm, 0.4, 0.95)
    turn = rng.uniform(0, np.pi)
    scene.static.add(road, rng.uniform(0, 9, 3), [[np.cos(turn), 0, np.sin(turn)], [-np.sin(turn), 0, np.cos(turn)]])
    return road


@dataclass(frozen=True)
class Wall:
    """The facade: starts at `start` (3,), runs along `along`, `normal` points to the street."""

    start: np.ndarray
    along: np.ndarray
    normal: np.ndarray

    def clearance(self, position: np.ndarray) -> float:
        """Distance of a ground point from the facade, positive on the street side."""
        return float((position - self.start) @ self.normal)


def _add_facade(scene: Scene, rng: np.random.Generator, side: int, warm: float) -> Wall:
    near, turn = rng.uniform(5.0, 7.0), np.radians(rng.uniform(14, 32))
    slope = side * np.tan(FIELD_OF_VIEW / 2) * 0.98 + np.tan(scene.yaw_pitch[0])
    start = np.array([slope * near, 0.0, near])
    along = np.array([-side * np.sin(turn), 0.0, np.cos(turn)])
    inward = np.array([side * np.cos(turn), 0.0, np.sin(turn)])
    base = _gray(rng, 0.2, 0.5, 0.35)
    celsius = scene.ambient + warm * rng.uniform(-0.3, 0.8)
    front = Surface(C.BUILDING, base, tuple(0.45 * v for v in base), str(rng.choice(["brick", "plates", "noise"])),
                    float(rng.uniform(70, 110)), float(rng.uniform(0.35, 0.8)), celsius, 0.3, 0.94)
    world = scene.static
    add_building(world, front, start - 5 * along, along, inward, rng.uniform(17, 24), 8.0, rng.uniform(5.5, 8.5))
    slots = [(a, b) for a in (0.35, 3.15, 6.1) for b in (0.45, 2.95)]
    weights = np.array([1.0, 0.7, 1.0, 0.7, 0.8, 0.5])
    count = int(rng.integers(3, 6))
    for k in sorted(rng.choice(6, count, replace=False, p=weights / weights.sum())):
        along_m, up_m = slots[k]
        width, height = rng.uniform(1.9, 2.5), rng.uniform(1.5, 2.0)
        up_m, along_m = up_m + rng.uniform(-0.15, 0.25), along_m + rng.uniform(0, 0.3)
        centre = start + along * (along_m + width / 2) - np.array([0, up_m + height / 2, 0]) - inward * 0.03
        _add_window(scene, rng, centre, along * width / 2, np.array([0, height / 2, 0]), front, inward)
    return Wall(start, along, -inward)


def _add_window(scene: Scene, rng: np.random.Generator, centre, half_u, half_v, wall: Surface, inward) -> None:
    tone = rng.uniform(0.03, 0.11)
    base = tuple(float(v) for v in tone * (1 + 0.35 * rng.uniform(-1, 1, 3)))
    look = Surface(C.GLASS, base, tuple(3.2 * v for v in base), str(rng.choice(["dirt", "plates", "noise"])),
                   float(rng.uniform(700, 1300)), float(rng.uniform(0.5, 0.9)), kind=LOOK, spread=0.1)
    anchor, frame = rng.uniform(0, 3, 3), _turned(rng)
    behind, interior = rng.uniform(2.0, 5.0), rng.uniform(6, 12)
    closed = bool(rng.random() < 0.5)
    if closed:
        surface = Surface(**{**look.__dict__, "index": 1.52, "celsius": wall.celsius + rng.uniform(-0.7, 0.7),
                             "emissivity": 0.92, "mirror": rng.uniform(0.8, 1.2)})
    else:
        surface = Surface(**{**look.__dict__, "label": C.OPENING, "celsius": scene.ambient + interior, "behind": behind})
    world = scene.static
    frame_tone = _gray(rng, 0.1, 0.7)
    border = world.add(Surface(C.BUILDING, frame_tone, frame_tone, "noise", 60.0, 0.2, wall.celsius, 0.2),
                       centre, [half_u / np.linalg.norm(half_u), (0, 1, 0)])
    world.shapes.append(Panel((border,), centre, half_u * 1.07, half_v * 1.08))
    row = world.add(surface, anchor, frame)
    world.shapes.append(Panel((row,), centre - 0.02 * inward, half_u, half_v))
    scene.windows.append({"class": C.NAMES[surface.label], "behind_m": 0.0 if closed else round(float(behind), 3),
                          "celsius": round(float(surface.celsius), 2)})


def _turned(rng: np.random.Generator) -> np.ndarray:
    """Texture axes for LOOK surfaces: rows act on (x / z, y / z, 1) of the reference view."""
    a = rng.uniform(0, 2 * np.pi)
    return np.array([[np.cos(a), np.sin(a), 0], [-np.sin(a), np.cos(a), 0]])


def _add_background(scene: Scene, rng: np.random.Generator, side: int, warm: float) -> None:
    world = scene.static
    for _ in range(int(rng.integers(1, 3))):
        base = _gray(rng, 0.2, 0.5, 0.35)
        surface = Surface(C.BUILDING, base, tuple(0.4 * v for v in base), str(rng.choice(["brick", "plates", "plaid"])),
                          float(rng.uniform(30, 60)), float(rng.uniform(0.4, 0.8)),
                          scene.ambient + warm * rng.uniform(-0.3, 0.8), 0.3, 0.94)
        turn = rng.uniform(-0.4, 0.4)
        along = np.array([np.cos(turn), 0, np.sin(turn)])
        corner = np.array([-side * rng.uniform(-4, 9), 0, rng.uniform(20, 30)])
        add_building(world, surface, corner, along, np.array([-along[2], 0, along[0]]), rng.uniform(6, 14), 6.0,
                     rng.uniform(3.5, 8))
    for _ in range(int(rng.integers(2, 5))):
        tone = rng.uniform(0.06, 0.16)
        base = (tone * rng.uniform(0.5, 0.9), tone * 1.3, tone * rng.uniform(0.2, 0.5))
        celsius = scene.ambient - rng.uniform(-0.3, 1.2)
        leaf = Surface(C.VEGETATION, base, tuple(2.6 * v for v in base), "foliage", 90.0, 0.9, celsius, 0.3, 0.97)
        bark = Surface(C.VEGETATION, (0.1, 0.07, 0.05), (0.2, 0.16, 0.12), "noise", 90.0, 0.5, celsius, 0.3)
        z = rng.uniform(11, 17)
        add_tree(world, rng, np.array([-side * rng.uniform(-0.12, 0.6) * z, 0.0, z]), leaf, bark)


def _celsius_car(rng: np.random.Generator, ambient: float, warm: float, driving: bool) -> dict[str, float]:
    still = {k: ambient + warm * rng.uniform(0, 0.9) for k in ("paint", "hood", "front", "side", "glass", "wheel")}
    rise = {"paint": rng.uniform(2, 4), "hood": rng.uniform(9, 15), "front": rng.uniform(7, 12),
            "side": rng.uniform(3, 6), "glass": rng.uniform(3, 6), "wheel": rng.uniform(10, 16)}
    return {k: v + (rise[k] if driving else 0.0) for k, v in still.items()}


def _celsius_person(rng: np.random.Generator, ambient: float, warm: float, alive: bool) -> dict[str, float]:
    still = {k: ambient + warm * rng.uniform(0, 0.6) for k in ("skin", "cloth", "hair")}
    live = {"skin": rng.uniform(33, 35), "cloth": rng.uniform(30, 32.5), "hair": rng.uniform(30, 31.5)}
    return live if alive else still


def _add_movers(scene: Scene, rng: np.random.Generator, side: int, wall: Wall, warm: float) -> None:
    yaw = scene.yaw_pitch[0]
    plan = ["car"] * (2 if rng.random() < 0.85 else 1) + ["person"] * int(rng.integers(2, 5))
    taken: list[tuple[float, float]] = []  # image slopes of the figures
    for kind in plan:
        look: CarLook | PersonLook = draw_car(rng) if kind == "car" else draw_person(rng)
        fast = rng.uniform(2.5, 6.0) if kind == "car" else rng.uniform(1.5, 2.2)
        turn = np.radians(rng.uniform(-35, 35)) + (np.pi if rng.random() < 0.5 else 0)
        position = _find_place(scene, rng, kind, side, wall, yaw, look, taken)
        coin, panel, swing = rng.random(), rng.uniform(0.55, 0.8), np.radians(rng.uniform(-25, 25))
        if kind == "car":
            label = C.MOVING_CAR if coin < 0.34 else C.PARKED_CAR if coin < 0.68 else C.BILLBOARD
            celsius = _celsius_car(rng, scene.ambient, warm, label == C.MOVING_CAR)
        else:
            label = C.PERSON if coin < 0.42 else C.MANNEQUIN if coin < 0.84 else C.BILLBOARD
            celsius = _celsius_person(rng, scene.ambient, warm, label == C.PERSON)
        if position is None:
            continue
        number = len(scene.movers)
        scene.movers.append(Mover(look, position, float(turn), label, number,
                                  float(fast) if label in (C.PERSON, C.MOVING_CAR) else 0.0, celsius, float(panel),
                                  float(swing)))
    _keep_panels_behind_nearer_objects(scene)


def _find_place(scene, rng, kind, side, wall, yaw, look, taken):
    """A free place on the ground for a car or a figure, or None after 30 tries."""
    radius = look.length / 2 if kind == "car" else 0.4
    found = None
    for _ in range(30):
        if kind == "car":
            z, slope = rng.uniform(6.5, 11.5), -side * rng.uniform(-0.15, 0.42)
        else:
            z, slope = rng.uniform(3.7, 7.5), rng.uniform(-0.5, 0.5)
        x = (slope + np.tan(yaw)) * z
        position = np.array([x, 0.0, z])
        if found is not None or wall.clearance(position) < radius + 0.25:
            continue
        if any(np.hypot(*(m.position - position)[[0, 2]]) < m.radius() + radius + 0.2 for m in scene.movers):
            continue
        width = 0.5 * look.width if kind == "car" else 0.35
        apart = 0.16 if kind == "car" else 0.1
        if any(abs(slope - s) < apart + (0.1 if kind == "car" else 0) for s, k in taken if k == kind) or width <= 0:
            continue
        taken.append((slope, kind))
        found = position
    return found


def _keep_panels_behind_nearer_objects(scene: Scene) -> None:
    """Move a cut-out back where it would hide an object that the painted thing could not hide."""
    for m in scene.movers:
        if m.label != C.BILLBOARD:
            continue
        m.panel = max([m.panel] + [
            min(0.97, (other.position[2] + other.radius() + 0.1) / (m.position[2] - m.radius()))
            for other in scene.movers
            if other is not m and other.position[2] < m.position[2]
            and abs(other.position[0] / other.position[2] - m.position[0] / m.position[2])
            < (other.radius() + 0.3) / other.position[2] + (m.radius() + 0.3) / m.position[2]])


def _add_patches(scene: Scene, rng: np.random.Generator, road: Surface, wall: Wall) -> None:
    yaw, placed = scene.yaw_pitch[0], []
    for _ in range(int(rng.integers(3, 5))):
        half = np.array([rng.uniform(0.9, 1.7), rng.uniform(0.7, 1.4)])
        turn, waves = rng.uniform(-0.4, 0.4), np.stack([rng.uniform(0, 0.13, 4), rng.uniform(0, 6.28, 4)], 1)
        tone = rng.uniform(0.035, 0.075)
        base = tuple(float(v) for v in tone * (1 + 0.15 * rng.uniform(-1, 1, 3)))
        anchor, frame = rng.uniform(0, 3, 3), _turned(rng)
        look = Surface(C.DARK_PATCH, base, tuple(2.6 * v for v in base), str(rng.choice(["noise", "dirt"])),
                       float(rng.uniform(600, 1100)), float(rng.uniform(0.4, 0.8)),
                       road.celsius + rng.uniform(-0.3, 1.5), 0.3, 0.95, kind=LOOK)
        behind, cold, mirror = rng.uniform(4, 10), rng.uniform(3, 6), rng.uniform(0.7, 1.1)
        wet = bool(rng.random() < 0.5)
        position = None
        for _ in range(20):
            z = rng.uniform(3.2, 7.0)
            p = np.array([(rng.uniform(-0.5, 0.5) + np.tan(yaw)) * z, 0.0, z])
            if wall.clearance(p) > half[0] and all(np.hypot(*(p - q)[[0, 2]]) > 2.2 for q in placed):
                position = p
                break
        if position is None:
            continue
        placed.append(position)
        surface = look
        if wet:
            surface = Surface(**{**look.__dict__, "label": C.WATER, "celsius": road.celsius - cold, "spread": 0.1,
                                 "index": 1.33, "mirror": mirror, "behind": behind, "emissivity": 0.97})
        row = scene.static.add(surface, anchor, frame)
        u = np.array([np.cos(turn), 0, np.sin(turn)])
        v = np.array([-np.sin(turn), 0, np.cos(turn)])
        scene.static.shapes.append(Blob((row,), position, u * half[0], v * half[1], lift=1e-4, waves=waves))
        scene.patches.append({"class": C.NAMES[surface.label], "celsius": round(float(surface.celsius), 2)})
