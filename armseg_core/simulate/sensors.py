"""Every sensor's own physics on top of the same ray hits.

All functions take the renderer of one scene and a random generator of their own, and return what the sensor
records.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from armseg_core.simulate import classes as C
from armseg_core.simulate.billboards import add_billboards
from armseg_core.simulate.camera import Camera, ScanCamera
from armseg_core.simulate.scene import Scene
from armseg_core.simulate.shading import LUMINANCE, Hits, Shadows, Stage

RECORDING_US = (
    100_000  # length of the event recording, which ends at the label time: twice the default window
)
EVENT_FRAMES = 13  # frames per recording at 160 columns or fewer (8 ms apart); more for wider images,
# where the same motion crosses more pixels
CONTRAST = 0.2  # log-intensity step of one event; cameras have 10 to 50 % (Gallego et al., TPAMI 2022)
DISPARITY_METERS = 6.0  # light field: disparity between neighboring views times depth, pixel meters:
# one pixel where most objects stand
VIEW_PIXELS = 250_000  # pixels of light-field views that are cast together: bounds memory
LIDAR_BEAMS, LIDAR_COLUMNS = 32, 240  # of a common spinning scanner: 0.3 degrees between columns
DEPTH_LIMIT = 40.0  # meters: the objects are nearer, the end of the street is not
KELVIN_PER_COUNT = 0.01  # the fine linear scale of radiometric thermal cameras
POLARIZATION_FULL_SCALE = 4095  # 12 bits, as such cameras give and dataset.toml says
# DoFP mosaic: angles of rows (0,0) (0,1) (1,0) (1,1), as on the common sensors (Sony IMX250MZR)
PATTERN = (90.0, 45.0, 135.0, 0.0)


class Renderer:
    """One scene with its label-time stage and hits, shared by all sensors."""

    def __init__(self, scene: Scene) -> None:
        self.scene, self.camera, self.light = scene, scene.camera, scene.light
        self.static = scene.static.copy()
        add_billboards(scene, self.static)
        for mover in scene.movers:
            if not mover.moves and not mover.is_painted:
                mover.place(self.static, 0.0)
        self.static.static_casters = len(self.static.casters)
        self.shadows = Shadows(self.light, self.static.casters)
        self.stage = self.stage_at(0.0)
        self.hits = Hits(self.stage, self.camera, self.camera.position[None])
        self.fine = Hits(self.stage, self.camera.scaled(2), self.camera.position[None])
        self.fine_radiance = self.fine.radiance()

    def stage_at(self, tau: float) -> Stage:
        """The street at time tau seconds (0 = label time)."""
        world = self.static.copy()
        for mover in self.scene.movers:
            if mover.moves:
                mover.place(world, tau)
        return Stage(world, self.light, self.camera, self.shadows, tau)

    def fine_image(self, values: np.ndarray) -> np.ndarray:
        """(N,) or (C, N) values of the fine hits -> (H, W[, C]): the mean of each pixel's 2 x 2 samples."""
        a = self.fine.unsort(values)[0]
        mean: np.ndarray = 0.25 * (a[::2, ::2] + a[1::2, ::2] + a[::2, 1::2] + a[1::2, 1::2])
        return mean

    def image(self, values: np.ndarray) -> np.ndarray:
        """(N,) or (C, N) values of the hits -> (H, W[, C])."""
        view: np.ndarray = self.hits.unsort(values)[0]
        return view


@dataclass(frozen=True)
class Exposure:
    """How radiance becomes an image.

    gain: radiance -> 0..1 of full scale. read, shot: noise at full scale 1 (deviation, deviation at 1.0).
    """

    gain: float
    read: float
    shot: float


def expose(radiance: np.ndarray, night: bool, rng: np.random.Generator) -> Exposure:
    """Automatic exposure with a limit: night images stay dark and noisy. radiance: (H, W, 3)."""
    bright = float(np.percentile(radiance @ LUMINANCE, 92))
    target = rng.uniform(0.55, 0.8)
    if night:
        return Exposure(min(target * 0.55 / max(bright, 1e-6), 3.0), 0.012, 0.05)
    return Exposure(target / max(bright, 1e-6), 0.003, 0.012)


def encode(linear: np.ndarray) -> np.ndarray:
    """Linear 0..1 -> 8-bit with gamma 1/2.2."""
    table = np.rint(255 * np.linspace(0, 1, 4096) ** (1 / 2.2)).astype(np.uint8)
    return table[np.clip(linear * 4095 + 0.5, 0, 4095).astype(np.int16)]


def rgb(r: Renderer, rng: np.random.Generator) -> tuple[np.ndarray, Exposure]:
    """(H, W, 3) uint8 RGB and the exposure that was chosen."""
    radiance = r.fine_image(r.fine_radiance)
    exposure = expose(radiance, r.light.night, rng)
    x = radiance * np.float32(exposure.gain)
    noise = rng.standard_normal(x.shape, np.float32)
    x += noise * np.sqrt(exposure.read**2 + exposure.shot**2 * x)
    return encode(x), exposure


def thermal(r: Renderer, rng: np.random.Generator) -> np.ndarray:
    """(H, W) uint16, 0.01 K per count: apparent temperature, blurred by the optics, with noise."""
    hits, sky = r.fine, np.float32(r.scene.sky_celsius + 273.15)
    kelvin = np.full(len(hits.z), sky, np.float32)
    for segment in hits.segments:
        surface = segment.surface
        body = np.float32(surface.celsius + 273.15) + np.float32(4 * surface.spread) * (
            hits.pattern(segment) - 0.5
        )
        emitted = np.float32(surface.emissivity) * body**4 + np.float32(1 - surface.emissivity) * sky**4
        kelvin[segment.part] = np.sqrt(np.sqrt(emitted))
    image = r.fine_image(kelvin)
    image = np.asarray(cv2.GaussianBlur(image, (0, 0), 0.6), np.float32)
    image += 0.05 * rng.standard_normal(image.shape, np.float32)
    image += 0.02 * rng.standard_normal((1, image.shape[1]), np.float32)
    return np.clip(np.rint(image / KELVIN_PER_COUNT), 1, 65535).astype(np.uint16)


def depth(r: Renderer, rng: np.random.Generator) -> np.ndarray:
    """(H, W) uint16 millimeters along the optical axis, 0 = no measurement.

    An active depth camera: noise grows with distance; nothing comes back beyond the range limit, from the
    sky, at grazing angles, from most of a water surface, from some of a pane; mixed pixels at edges are
    dropped.
    """
    hits = r.hits
    z, labels, cosine = r.image(hits.depth()), r.image(hits.labels()), r.image(hits.cosine)
    chance = np.full(z.shape, 0.006, np.float32)
    chance += 0.6 * np.clip(1 - cosine / 0.12, 0, 1)
    chance[labels == C.WATER] = 0.75
    chance[labels == C.GLASS] = 0.3
    near = cv2.erode(z, np.ones((3, 3), np.uint8))
    far = cv2.dilate(z, np.ones((3, 3), np.uint8))
    chance += np.where(far - near > 0.12 * near + 0.2, 0.4, 0.0)
    measured = z * (1 + 0.004 * rng.standard_normal(z.shape, np.float32)) + 0.004 * rng.standard_normal(
        z.shape
    )
    lost = (rng.random(z.shape) < chance) | (labels == C.SKY) | (z > DEPTH_LIMIT) | (z <= 0)
    return np.where(lost, 0, np.clip(np.rint(measured * 1000), 0, 65535)).astype(np.uint16)


def fresnel(cosine: np.ndarray, index: float) -> tuple[np.ndarray, np.ndarray]:
    """Reflectances Rs, Rp of a dielectric at incidence cos = `cosine`.

    By the Fresnel equations, with the angle of refraction of Snell's law. index: refractive index.
    """
    transmitted = np.sqrt(np.maximum(1 - (1 - cosine**2) / index**2, 0))
    rs = (cosine - index * transmitted) / (cosine + index * transmitted)
    rp = (index * cosine - transmitted) / (index * cosine + transmitted)
    return rs**2, rp**2


def stokes(r: Renderer, hits: Hits, luminance: np.ndarray) -> np.ndarray:
    """Linear Stokes parameters (3, N) of the light that reaches the camera; S0 = luminance (N,).

    A coated surface adds the mirror image of the sky, polarized perpendicular to the plane of incidence by
    the Fresnel equations; light scattered by the body is weakly polarized in that plane; the clear sky by
    Rayleigh scattering. The angle is counter-clockwise from the image's x axis, as seen.
    """
    light = r.light
    out = np.zeros((3, len(luminance)), np.float32)
    out[0] = luminance
    for segment in hits.segments:
        surface, total, cosine = segment.surface, luminance[segment.part], hits.cosine[segment.part]
        rs, rp = fresnel(cosine, surface.index or 1.4)
        mirror = np.zeros_like(total)
        if surface.index:
            mirror = np.minimum(0.5 * (rs + rp) * np.float32(surface.mirror * light.sky), 0.85 * total)
        degree = (rs - rp) / np.maximum(rs + rp, 1e-6)
        scattered = 0.05 * (1 - cosine**2) * (total - mirror)  # in the plane of incidence: opposite sign
        axis = _cross(segment.normal, hits.ray[:, segment.part])
        out[1:, segment.part] = _axis_to_stokes(axis, mirror * degree - scattered, r.camera)
    if not light.night and hits.sky.stop:
        ray, sun = hits.ray[:, hits.sky], light.to_sun.astype(np.float32)[:, None]
        cos2 = (ray * sun).sum(0) ** 2 / (ray * ray).sum(0)
        degree = (1 - light.cloud) * 0.6 * (1 - cos2) / (1 + cos2)
        out[1:, hits.sky] = _axis_to_stokes(_cross(ray, sun), degree * luminance[hits.sky], r.camera)
    return out


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cross product of (3, n) or (3, 1) vectors."""
    return np.stack([a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]])


def _axis_to_stokes(axis: np.ndarray, polarized: np.ndarray, camera: Camera) -> np.ndarray:
    """Direction of oscillation (3, n) in world axes and polarized intensity (n,) -> S1, S2 (2, n)."""
    right, down = camera.to_world[:, 0].astype(np.float32), camera.to_world[:, 1].astype(np.float32)
    x, y = right @ axis, -(down @ axis)  # y up, for the angle
    r2 = np.maximum(x * x + y * y, 1e-12)
    return np.stack([polarized * (x * x - y * y) / r2, polarized * 2 * x * y / r2])


def polarization(r: Renderer, rng: np.random.Generator) -> np.ndarray:
    """(H, W) uint16, 0..4095: DoFP mosaic with the angles of PATTERN in every 2 x 2 cell."""
    s = r.fine_image(stokes(r, r.fine, LUMINANCE @ r.fine_radiance))
    h, w = s.shape[:2]
    angle = np.radians(np.array(PATTERN, np.float32).reshape(2, 2))
    angle = np.tile(angle, ((h + 1) // 2, (w + 1) // 2))[:h, :w]
    intensity = 0.5 * (s[..., 0] + s[..., 1] * np.cos(2 * angle) + s[..., 2] * np.sin(2 * angle))
    gain = min(0.6 / max(float(np.percentile(intensity, 95)), 1e-6), 0.93 / max(float(intensity.max()), 1e-6))
    if r.light.night:
        gain = min(gain * 0.7, 25.0)
    shot, read = (0.03, 0.004) if r.light.night else (0.008, 0.001)
    x = intensity * gain
    x += rng.standard_normal(x.shape, np.float32) * np.sqrt(read**2 + shot**2 * np.maximum(x, 0))
    counts: np.ndarray = np.clip(np.rint(x * POLARIZATION_FULL_SCALE), 0, POLARIZATION_FULL_SCALE)
    return counts.astype(np.uint16)


def baseline(camera: Camera) -> float:
    """Meters between neighboring views of the light field."""
    return DISPARITY_METERS / camera.focal


def light_field(
    r: Renderer, rng: np.random.Generator, exposure: Exposure, side: int = 9
) -> dict[tuple[int, int], np.ndarray]:
    """Views {(u, v): (H, W, 3) uint8}; u counts down, v right, from 1; the middle is the reference camera.

    side: views per row and column, odd; fewer than 9 are the central part of the 9 x 9 grid.
    """
    step = baseline(r.camera)
    right, down = step * r.camera.to_world[:, 0], step * r.camera.to_world[:, 1]
    middle = side // 2
    at_once = int(np.clip(VIEW_PIXELS // (r.camera.size[0] * r.camera.size[1]), 1, side))
    level = np.float32(0.9 if r.light.night else 0.45)
    noise = level * rng.standard_normal((8, *r.camera.size, 3), np.float32)
    views = {}
    for u, first in ((u, v) for u in range(side) for v in range(0, side, at_once)):
        row = range(first, min(first + at_once, side))
        origins = np.stack([r.camera.position + (u - middle) * down + (v - middle) * right for v in row])
        hits = Hits(r.stage, r.camera, origins)
        levels = hits.radiance()
        levels *= np.float32(exposure.gain)
        np.clip(levels, 0, 1, out=levels)
        np.sqrt(levels, out=levels)
        levels *= 255
        for v, image in zip(row, hits.unsort(levels), strict=True):
            image += noise[rng.integers(len(noise))]
            views[u + 1, v + 1] = np.rint(np.clip(image, 0, 255, out=image), out=image).astype(np.uint8)
    return views


def lidar_pose(camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """LiDAR position in the world and lidar_to_camera (4, 4): axes x forward, y left, z up -> camera axes."""
    offset = np.array([0.05, -0.3, -0.1])  # the LiDAR in camera axes: above and a little behind
    pose = np.eye(4)
    pose[:3, :3] = [[0, -1, 0], [0, 0, -1], [1, 0, 0]]
    pose[:3, 3] = offset
    return camera.position + camera.to_world @ offset, pose


def lidar(r: Renderer, rng: np.random.Generator) -> np.ndarray:
    """(N, 4) float32 x, y, z, intensity in LiDAR axes (x forward, y left, z up)."""
    position, pose = lidar_pose(r.camera)
    scan = ScanCamera(
        np.radians(np.linspace(16, -30, LIDAR_BEAMS)),
        np.radians(np.linspace(-36, 36, LIDAR_COLUMNS)),
        position,
        r.camera.to_world,
    )
    hits = Hits(r.stage, scan, position[None])
    z, labels = hits.depth(), hits.labels()
    albedo = (hits.column("base") + 0.5 * hits.column("mix")) @ LUMINANCE
    ray = r.camera.to_world.T.astype(np.float32) @ hits.ray
    length = np.sqrt((ray * ray).sum(0))
    distance = z * length + 0.015 * rng.standard_normal(len(z), np.float32)
    lost = np.full(len(z), 0.02, np.float32)
    lost[labels == C.WATER] = 0.8
    lost[labels == C.GLASS] = 0.35
    lost[hits.sky] = 1
    keep = (rng.random(len(z), np.float32) >= lost) & (distance < 80) & (distance > 0.3)
    # the scan camera has the camera's orientation, so only the axes are renamed
    points = pose[:3, :3].T.astype(np.float32) @ (ray * (distance / length))
    intensity = np.clip(albedo * (0.3 + 0.7 * hits.cosine), 0, 1)
    cloud = np.stack([*points, intensity], 1)[keep]
    return np.ascontiguousarray(cloud, dtype="<f4")


def event_frames(width: int) -> int:
    """Frames rendered for one recording: one more than the number of intervals."""
    return int(np.clip(round(EVENT_FRAMES * width / 160), EVENT_FRAMES, 65))


def events(r: Renderer, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Events of RECORDING_US that end at the label time.

    x, y (uint16), t (uint32 microseconds from the start, sorted), p (uint8).

    Log intensity is linear in time between rendered frames; a pixel fires whenever it has moved by its own
    threshold since its last event (Lichtsteiner et al. 2008; the simulation scheme of Rebecq et al., ESIM,
    2018).
    """
    frames = event_frames(r.camera.size[1])
    times = np.linspace(0, RECORDING_US, frames)
    h, w = r.camera.size
    threshold = CONTRAST * (1 + 0.08 * rng.standard_normal((h, w), np.float32))
    dark = np.float32(0.004 if r.light.night else 0.01)
    previous = reference = None
    parts = []
    for k, t in enumerate(times):
        tau = (t - RECORDING_US) * 1e-6
        camera = r.scene.camera_at(tau)
        hits = Hits(r.stage_at(tau), camera, camera.position[None])
        level = np.log(hits.unsort(LUMINANCE @ hits.radiance())[0] + dark)
        if previous is None or reference is None:
            reference = level + threshold * rng.uniform(-0.5, 0.5, (h, w)).astype(np.float32)
        else:
            parts.append(_crossings(previous, level, reference, threshold, times[k - 1], t))
        previous = level
    parts.append(_noise_events(rng, h, w, 4.0 if r.light.night else 0.8))
    x, y, t, p = (np.concatenate([part[i] for part in parts]) for i in range(4))
    order = np.lexsort((p, x, y, t))
    return (
        x[order].astype(np.uint16),
        y[order].astype(np.uint16),
        t[order].astype(np.uint32),
        p[order].astype(np.uint8),
    )


def _crossings(
    start: np.ndarray,
    end: np.ndarray,
    reference: np.ndarray,
    threshold: np.ndarray,
    t0: float,
    t1: float,
) -> tuple[np.ndarray, ...]:
    """x, y, t, p of the events between two frames of log intensity (H, W).

    Moves `reference` (in place) to the last crossing of each pixel.
    """
    change = (end - reference) / threshold
    count = np.floor(np.abs(change)).astype(np.int32)
    y, x = np.nonzero(count)
    n = count[y, x]
    sign = np.sign(change[y, x])
    first = np.repeat(np.cumsum(n) - n, n)
    k = np.arange(len(first)) - first + 1  # 1, 2, ... of each pixel
    at = np.repeat(reference[y, x], n) + np.repeat(sign * threshold[y, x], n) * k
    a, b = np.repeat(start[y, x], n), np.repeat(end[y, x], n)
    span = np.where(np.abs(b - a) < 1e-9, 1e-9, b - a)
    part = np.clip((at - a) / span, 0, 1)
    t = np.minimum(t0 + part * (t1 - t0), RECORDING_US - 1)
    reference[y, x] += sign * threshold[y, x] * n
    return np.repeat(x, n), np.repeat(y, n), t.astype(np.int64), np.repeat(sign > 0, n)


def _noise_events(rng: np.random.Generator, h: int, w: int, rate: float) -> tuple[np.ndarray, ...]:
    """Background activity: `rate` events per second and pixel, uniform in time, mostly ON."""
    n = int(rng.poisson(rate * h * w * RECORDING_US * 1e-6))
    return rng.integers(0, w, n), rng.integers(0, h, n), rng.integers(0, RECORDING_US, n), rng.random(n) < 0.6
