"""What the sensors of one scene share: camera and its motion, light, temperatures, bodies."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from armseg_core.simulate import classes as C
from armseg_core.simulate.camera import Camera, rotation
from armseg_core.simulate.objects import CarLook, PersonLook, add_car, add_person
from armseg_core.simulate.world import World

METERS_PER_CYCLE = 1.5  # of walking, two steps


@dataclass(frozen=True)
class Light:
    """The light of a scene, linear RGB (3,) where not said otherwise.

    night: street lamp instead of sun. to_sun: unit vector. lamp_at: (3,) meters. sky_low, sky_high: the sky
    at the horizon and above. cloud: 0..1. sky: luminance that coated surfaces mirror.
    """

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
    """A car or a human figure.

    position: (3,) at the label time. label: its class. velocity: m/s along its heading, 0 = still. celsius:
    temperature of its parts. A billboard is only painted on a cut-out that stands at `panel` times its
    distance, turned by `turn`.
    """

    look: CarLook | PersonLook
    position: np.ndarray
    heading: float
    label: int
    velocity: float
    celsius: dict[str, float]
    panel: float
    turn: float

    @property
    def is_car(self) -> bool:
        """A car; otherwise a human figure."""
        return isinstance(self.look, CarLook)

    @property
    def moves(self) -> bool:
        """Whether it has a velocity."""
        return self.velocity > 0

    @property
    def is_painted(self) -> bool:
        """Whether it is only a picture on a billboard."""
        return self.label == C.BILLBOARD

    @property
    def radius(self) -> float:
        """Meters around its position that it needs."""
        return self.look.length / 2 if isinstance(self.look, CarLook) else 0.45

    @property
    def half_extents(self) -> tuple[float, float]:
        """Meters from its position to its outline along world x and z."""
        if not isinstance(self.look, CarLook):
            return self.radius, self.radius
        c, s = abs(np.cos(self.heading)), abs(np.sin(self.heading))
        half, side = self.look.length / 2, self.look.width / 2
        return float(half * c + side * s), float(half * s + side * c)

    def place(self, world: World, tau: float) -> None:
        """Add it as a solid body at time tau seconds (0 = label time)."""
        step = np.array([np.cos(self.heading), 0, np.sin(self.heading)]) * self.velocity * tau
        at = self.position + step
        if isinstance(self.look, CarLook):
            add_car(world, self.look, at, self.heading, self.label, self.celsius)
        else:
            phase = self.look.phase + 2 * np.pi * self.velocity * tau / METERS_PER_CYCLE
            add_person(world, self.look, at, self.heading, phase, self.label, self.celsius)


@dataclass
class Scene:
    """Everything that decides what the sensors see.

    camera: at the label time. velocity: (3,) m/s of the camera. spin: yaw and pitch, rad/s. ambient,
    sky_celsius: degrees Celsius of the air and, as seen in the thermal infrared, of the sky. static: ground,
    buildings, plants.
    """

    index: int
    seed: int
    camera: Camera
    yaw_pitch: tuple[float, float]
    velocity: np.ndarray
    spin: np.ndarray
    light: Light
    ambient: float
    sky_celsius: float
    static: World = field(default_factory=World)
    movers: list[Mover] = field(default_factory=list)
    windows: list[dict[str, Any]] = field(default_factory=list)
    patches: list[dict[str, Any]] = field(default_factory=list)

    def camera_at(self, tau: float) -> Camera:
        """The camera at time tau seconds (0 = label time)."""
        yaw, pitch = self.yaw_pitch
        to_world = rotation(yaw + self.spin[0] * tau, pitch + self.spin[1] * tau)
        return Camera(
            self.camera.size, self.camera.focal, self.camera.position + self.velocity * tau, to_world
        )
