"""From ray hits to light: what every sensor shares about a pixel (surface, normal, point) and its radiance.

Shape letters: B camera positions, N = B * H * W pixels in the order sorted by shape.
"""

from __future__ import annotations

import cv2
import numpy as np

from armseg_core.simulate import textures
from armseg_core.simulate.classes import SKY
from armseg_core.simulate.raycast import Camera, Cutout, cast
from armseg_core.simulate.scene import Light
from armseg_core.simulate.world import LOOK, Table, World

MAP_CELL, MAP_SIZE = 0.05, 640  # ground light map: metres per cell, cells; x in [-16, 16), z in [0, 32)
LUMINANCE = np.array([0.2126, 0.7152, 0.0722], np.float32)


class Stage:
    """A world with everything needed to shade it: surface table, light, and the light map of the ground."""

    def __init__(self, world: World, light: Light, reference: Camera) -> None:
        self.world, self.light, self.reference = world, light, reference
        self.table: Table = world.table()
        self.direct, self.open_sky = light_map(world.casters, light)


def light_map(hulls: list[np.ndarray], light: Light) -> tuple[np.ndarray, np.ndarray]:
    """Exact shadows of convex hulls on the ground: (MAP_SIZE * MAP_SIZE,) float32 each.

    direct: share of the sun (by night: the lamp) that arrives. open_sky: share of the ambient light that arrives near
    the feet of objects.
    """
    direct = np.full((MAP_SIZE, MAP_SIZE), 255, np.uint8)
    sky = np.full((MAP_SIZE, MAP_SIZE), 255, np.uint8)
    for hull in hulls:
        if light.night:
            below = hull[hull[:, 1] > light.lamp_at[1] + 0.1]
            if len(below) < 3:
                continue
            k = light.lamp_at[1] / (light.lamp_at[1] - below[:, 1])
            shadow = light.lamp_at + (below - light.lamp_at) * k[:, None]
        else:
            shadow = hull - light.to_sun * (hull[:, 1] / light.to_sun[1])[:, None]
        _fill(direct, shadow)
        if hull[:, 1].max() > -0.6:
            _fill(sky, hull)
    direct = cv2.GaussianBlur(direct, (5, 5), 0)
    sky = cv2.GaussianBlur(sky, (0, 0), 4)
    return direct.astype(np.float32).ravel() / 255, 0.45 + 0.55 * sky.astype(np.float32).ravel() / 255


def _fill(image: np.ndarray, points: np.ndarray) -> None:
    cells = np.stack([(points[:, 0] + 16) / MAP_CELL, points[:, 2] / MAP_CELL], 1) - 0.5
    polygon = cv2.convexHull(np.clip(cells, -2000, 3000).astype(np.float32))
    cv2.fillConvexPoly(image, np.rint(polygon * 16).astype(np.int32), 0, shift=4)


class Hits:
    """Pixels of B views, sorted by shape so that each shape is a slice.

    order: (N,) where the sorted pixel sits in the flat (B, H, W) image. point: (N, 3). normal: (N, 3) towards the
    viewer. ray: (N, 3) direction with camera-z = 1. z: (N,) depth of the surface. surface: (N,) table row, -1 = sky.
    All float32.
    """

    def __init__(self, stage: Stage, camera: Camera, origins: np.ndarray, ground: bool = True) -> None:
        self.stage, self.camera = stage, camera
        z, number = cast(stage.world.shapes, camera, origins, ground)
        self.shape = z.shape
        flat = number.ravel()
        self.order = np.argsort(flat, kind="stable")
        counts = np.bincount(flat[:].astype(np.int32) + 1, minlength=len(stage.world.shapes) + 2)
        self.edges = np.concatenate([[0], np.cumsum(counts)])
        pixels = z.shape[1] * z.shape[2]
        self.view = self.order // pixels
        self.ray = np.ascontiguousarray(camera.dirs.reshape(3, -1).T)[self.order - self.view * pixels]
        self.z = z.ravel()[self.order]
        first = self.edges[1]  # pixels before are sky
        self.first = first
        self.z[:first] = 0
        self.origin = np.asarray(origins, np.float32)[self.view]
        self.point = self.origin + self.z[:, None] * self.ray
        self.normal = np.zeros_like(self.point)
        self.surface = np.full(len(self.z), -1, np.int16)
        ground = slice(self.edges[1], self.edges[2])
        self.surface[ground] = 0
        self.normal[ground, 1] = -1
        for part, shape in self.parts():
            self.normal[part], self.surface[part] = shape.normals(self.point[part])
        self.cosine = -np.einsum("nk,nk->n", self.normal, self.ray)
        self.cosine /= np.sqrt(np.einsum("nk,nk->n", self.ray, self.ray))
        flip = np.where(self.cosine < 0, np.float32(-1), np.float32(1))
        self.normal *= flip[:, None]
        self.cosine *= flip  # cosine of the angle of incidence, 0..1

    def parts(self):
        """(slice, shape) of every visible shape."""
        for k, shape in enumerate(self.stage.world.shapes, 2):
            if self.edges[k] < self.edges[k + 1]:
                yield slice(self.edges[k], self.edges[k + 1]), shape

    def unsort(self, values: np.ndarray) -> np.ndarray:
        """(N, ...) -> (B, H, W, ...)."""
        out = np.empty_like(values)
        out[self.order] = values
        return out.reshape(*self.shape, *values.shape[1:])

    def solid(self) -> slice:
        return slice(self.first, len(self.z))

    def pattern(self) -> np.ndarray:
        """Texture value (N - sky,) in [0, 1] of every solid pixel."""
        table, s = self.stage.table, self.surface[self.solid()]
        matrix = table.matrix[s]
        point = self.point[self.solid()]
        footprint = self.z[self.solid()] * table.texels[s]
        footprint /= np.sqrt(np.maximum(self.cosine[self.solid()], 0.05))
        look = table.kind[s] == LOOK
        if look.any():  # the pattern is fixed in the reference view, carried by a plane `behind` the surface
            at = np.flatnonzero(look)
            x, y, _ = self.stage.reference.slopes(self.pattern_point(at + self.first))
            point[at] = np.stack([x, y, np.ones_like(x)], 1)
            footprint[at] = table.texels[s[at]]
        footprint /= self.camera.focal
        st = np.einsum("nij,nj->ni", matrix, point)
        st += table.shift[s]
        return textures.sample(table.layer[s], st[:, 0], st[:, 1], footprint)

    def pattern_point(self, at: np.ndarray) -> np.ndarray:
        """Where the rays of the pixels `at` meet the plane that carries their LOOK pattern, (len(at), 3)."""
        table = self.stage.table
        behind = table.behind[self.surface[at]]
        # openings: the back wall is parallel to the facade; water: the mirror image is an upright plane
        water = np.abs(self.normal[at, 1]) > 0.7
        ray = self.ray[at]
        toward = np.where(water, ray @ self.camera.to_world[:, 2].astype(np.float32),
                          -np.einsum("nk,nk->n", self.normal[at], ray))
        return self.point[at] + ray * (behind / np.maximum(toward, 0.05))[:, None]

    def depth(self) -> np.ndarray:
        """z-depth (N,) of what a ranging sensor meets: the room behind an opening, everything else at its surface."""
        z = self.z.copy()
        table = self.stage.table
        s = np.maximum(self.surface, 0)
        deep = np.flatnonzero((table.behind[s] > 0) & (self.surface >= 0) & (table.index[s] == 0))
        if len(deep):
            p = self.pattern_point(deep) - self.origin[deep]
            z[deep] = p @ self.camera.to_world[:, 2].astype(np.float32)
        return z

    def labels(self) -> np.ndarray:
        """(N,) uint8 class numbers."""
        return np.where(self.surface < 0, np.uint8(SKY), self.stage.table.label[np.maximum(self.surface, 0)])

    def radiance(self) -> np.ndarray:
        """Linear RGB radiance (N, 3); 1.0 is about a white wall in the sun."""
        out = np.empty((len(self.z), 3), np.float32)
        out[:self.first] = sky_radiance(self.stage.light, self.ray[:self.first])
        table, light = self.stage.table, self.stage.light
        solid = self.solid()
        s = self.surface[solid]
        mix = self.pattern()
        mix -= 0.5
        mix *= table.contrast[s] * 1.6
        mix += 0.5
        np.clip(mix, 0, 1, out=mix)
        albedo = table.mix[s]
        albedo *= mix[:, None]
        albedo += table.base[s]
        albedo *= self._irradiance(solid, s, light)
        out[solid] = albedo
        for part, shape in self.parts():
            if isinstance(shape, Cutout):
                out[part] = shape.radiance(self.point[part])
        return out

    def _irradiance(self, solid: slice, s: np.ndarray, light: Light) -> np.ndarray:
        normal, point = self.normal[solid], self.point[solid]
        ambient = 0.75 - 0.25 * normal[:, 1]
        if light.night:
            to = light.lamp_at.astype(np.float32) - point
            r2 = np.einsum("nk,nk->n", to, to)
            direct = np.maximum(np.einsum("nk,nk->n", to, normal), 0)
            direct *= 4.0 / (r2 * np.sqrt(r2))
        else:
            direct = np.maximum(normal @ light.to_sun.astype(np.float32), 0)
        ground = np.flatnonzero((normal[:, 1] < -0.999) & (point[:, 1] > -0.05))
        if len(ground):
            column = ((point[ground, 0] + 16) * (1 / MAP_CELL)).astype(np.int32)
            row = (point[ground, 2] * (1 / MAP_CELL)).astype(np.int32)
            cell = np.clip(row, 0, MAP_SIZE - 1) * MAP_SIZE + np.clip(column, 0, MAP_SIZE - 1)
            far = point[ground, 2] > MAP_SIZE * MAP_CELL
            direct[ground] *= np.where(far, 1, self.stage.direct[cell])
            ambient[ground] *= np.where(far, 1, self.stage.open_sky[cell])
        window = (self.stage.table.kind[s] == LOOK) & (normal[:, 1] > -0.7)
        direct[window] = 0  # panes and rooms are dim: no direct light
        colour = light.lamp if light.night else light.sun
        out = ambient[:, None] * light.ambient.astype(np.float32)
        out += direct[:, None] * colour.astype(np.float32)
        return out


def sky_radiance(light: Light, ray: np.ndarray) -> np.ndarray:
    """Linear RGB (N, 3) of the sky in directions (N, 3): a gradient with soft clouds."""
    if not len(ray):
        return np.zeros((0, 3), np.float32)
    up = np.clip(-ray[:, 1] / np.maximum(np.hypot(ray[:, 0], ray[:, 2]), 1e-3), 0, 1)
    high = np.sqrt(up)[:, None]
    out = (1 - high) * light.sky_low.astype(np.float32) + high * light.sky_high.astype(np.float32)
    scale = np.float32(120.0) / (up + 0.15)
    cloud = textures.sample(np.zeros(len(ray), np.int32), ray[:, 0] * scale, ray[:, 2] * scale,
                            np.full(len(ray), 4.0, np.float32))
    cloud = np.clip((cloud - 0.5) * 3, 0, 1)[:, None] * np.float32(light.cloud)
    white = light.sky_low.astype(np.float32) * (1.0 if not light.night else 0.9)
    return out + cloud * (white - out)
