"""From ray hits to light: what every sensor shares about a pixel (surface, normal, point) and its radiance.

Shape letters: B camera positions, N = B * H * W pixels sorted by surface, n the pixels of one segment.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from armseg_core.simulate import textures
from armseg_core.simulate.camera import Camera
from armseg_core.simulate.classes import SKY
from armseg_core.simulate.raycast import Cutout, Polyhedron, Shape, cast
from armseg_core.simulate.scene import Light
from armseg_core.simulate.world import GROUND_SURFACE, LOOK, Surface, Table, World

MAP_CELL, MAP_SIZE = 0.05, 640  # ground light map: meters per cell, cells; x in [-16, 16), z in [0, 32)
LUMINANCE = np.array([0.2126, 0.7152, 0.0722], np.float32)  # of linear RGB, ITU-R BT.709
UP = np.array([[0.0], [-1.0], [0.0]], np.float32)  # normal of the ground
STEEPEST = 0.05  # smallest cosine of incidence used for texture footprints and virtual images,
# both of which grow without limit towards 0


class Shadows:
    """Exact shadows of convex hulls on the ground, as two light maps (MAP_SIZE, MAP_SIZE) uint8, 255 = lit.

    direct: light of the sun (by night: the lamp). sky: ambient light near the feet of objects.
    """

    def __init__(self, light: Light, hulls: list[np.ndarray], start: Shadows | None = None) -> None:
        """The shadows of `hulls`, added to those of `start`."""
        self.light = light
        lit = np.full((MAP_SIZE, MAP_SIZE), 255, np.uint8)
        self.direct: np.ndarray = lit if start is None else start.direct.copy()
        self.sky: np.ndarray = lit.copy() if start is None else start.sky.copy()
        for hull in hulls:
            if light.night:
                below = hull[hull[:, 1] > light.lamp_at[1] + 0.1]
                if len(below) < 3:
                    continue
                k = light.lamp_at[1] / (light.lamp_at[1] - below[:, 1])
                _fill(self.direct, light.lamp_at + (below - light.lamp_at) * k[:, None])
            else:
                _fill(self.direct, hull - light.to_sun * (hull[:, 1] / light.to_sun[1])[:, None])
            if hull[:, 1].max() > -0.6:
                _fill(self.sky, hull)

    def shares(self) -> tuple[np.ndarray, np.ndarray]:
        """Share of the direct and of the ambient light that arrives, with soft edges.

        (MAP_SIZE**2,) float32 each.
        """
        direct = np.asarray(cv2.GaussianBlur(self.direct, (5, 5), 0), np.uint8)
        sky = np.asarray(cv2.blur(cv2.blur(self.sky, (9, 9)), (9, 9)), np.uint8)
        one = np.linspace(0, 1, 256, dtype=np.float32)
        return one.take(direct.ravel()), (0.45 + 0.55 * one).take(sky.ravel())


def _fill(image: np.ndarray, points: np.ndarray) -> None:
    cells = np.stack([(points[:, 0] + 16) / MAP_CELL, points[:, 2] / MAP_CELL], 1) - 0.5
    polygon = cv2.convexHull(np.clip(cells, -2000, 3000).astype(np.float32))
    cv2.fillConvexPoly(image, np.rint(polygon * 16).astype(np.int32), 0, shift=4)


class Stage:
    """A world with everything needed to shade it: surface table, light, and the light on the ground."""

    def __init__(
        self, world: World, light: Light, reference: Camera, static: Shadows | None = None, tau: float = 0.0
    ) -> None:
        """Prepare a world.

        tau: seconds after the label time. static: the shadows of the first `static_casters` hulls of the
        world, which never move.
        """
        self.world, self.light, self.reference, self.tau = world, light, reference, tau
        self.table = Table(world)
        moving = world.casters[0 if static is None else world.static_casters :]
        self.direct, self.open_sky = Shadows(light, moving, static).shares()


@dataclass
class Segment:
    """The pixels of one surface: a slice of the sorted arrays.

    normal: (3, n) or (3, 1) float32 unit, towards the viewer.
    """

    part: slice
    row: int
    surface: Surface
    shape: Shape | None
    normal: np.ndarray


class Hits:
    """Pixels of B views, sorted by surface so that each surface is a slice; the sky comes first.

    order: (N,) where the sorted pixel sits in the flat (B, H, W) image. ray: (3, N) direction with camera-z
    1.
    z: (N,) depth of the surface, 0 = sky. point: (3, N). cosine: (N,) of the angle of incidence. float32.
    """

    def __init__(self, stage: Stage, camera: Camera, origins: np.ndarray, ground: bool = True) -> None:
        self.stage, self.camera = stage, camera
        self.origins = np.asarray(origins, np.float32)
        z, number = cast(stage.world.shapes, camera, self.origins, ground)
        self.shape = z.shape
        self.order = np.argsort(number.ravel(), kind="stable")
        counts = np.bincount(number.ravel().astype(np.intp) + 1, minlength=len(stage.world.shapes) + 2)
        edges = np.concatenate([[0], np.cumsum(counts)])
        self.sky = slice(0, int(edges[1]))
        pieces = self._split_by_surface(z.ravel(), edges)
        self.z, self.ray, self.point = self._gather(self.order, z.ravel())
        self.z[self.sky] = 0
        length = np.sqrt(self.ray[0] ** 2 + self.ray[1] ** 2 + self.ray[2] ** 2)
        self.cosine = np.zeros_like(self.z)
        self.segments: list[Segment] = []
        for part, row, shape, face in pieces:
            normal = UP if shape is None else shape.normals(self.point[:, part], face)
            ray = self.ray[:, part]
            along = normal[0] * ray[0] + normal[1] * ray[1] + normal[2] * ray[2]
            if normal.shape[1] == 1 and along[0] > 0:  # a flat surface built with its back to the camera
                normal, along = -normal, -along
            self.cosine[part] = np.maximum(-along, 0) / length[part]
            self.segments.append(Segment(part, row, stage.world.surfaces[row], shape, normal))

    def _gather(self, order: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Depth, rays and points of the pixels `order`."""
        pixels = self.shape[1] * self.shape[2]
        depth = z.take(order)
        reach = np.where(np.isinf(depth), np.float32(0), depth)
        if len(self.origins) == 1:
            ray = self.camera.dirs.reshape(3, -1).take(order, 1)
            return depth, ray, ray * reach + self.origins[0][:, None]
        view, pixel = np.divmod(order, pixels)
        ray = self.camera.dirs.reshape(3, -1).take(pixel, 1)
        return depth, ray, ray * reach + self.origins.T.take(view, 1)

    def _split_by_surface(
        self, z: np.ndarray, edges: np.ndarray
    ) -> list[tuple[slice, int, Shape | None, int]]:
        """(slice, surface row, shape, face) of all that is visible.

        Sorts `order` by face in each polyhedron.
        """
        pieces: list[tuple[slice, int, Shape | None, int]] = []
        if edges[1] < edges[2]:
            pieces.append((slice(int(edges[1]), int(edges[2])), GROUND_SURFACE, None, 0))
        for k, shape in enumerate(self.stage.world.shapes, 2):
            a, b = int(edges[k]), int(edges[k + 1])
            if a == b:
                continue
            if not isinstance(shape, Polyhedron):
                pieces.append((slice(a, b), shape.surfaces[0], shape, 0))
                continue
            face = shape.faces(self._gather(self.order[a:b], z)[2], self.origins)
            self.order[a:b] = self.order[a:b][np.argsort(face, kind="stable")]
            many = len(shape.surfaces) > 1
            for f, count in enumerate(np.bincount(face)):
                if count:
                    pieces.append((slice(a, a + int(count)), shape.surfaces[f if many else 0], shape, f))
                    a += int(count)
        return pieces

    def unsort(self, values: np.ndarray) -> np.ndarray:
        """(N,) -> (B, H, W), or (C, N) -> (B, H, W, C)."""
        if values.ndim == 1:
            out = np.empty_like(values)
            out[self.order] = values
            return out.reshape(self.shape)
        flat = np.empty((values.shape[1], len(values)), values.dtype)
        for c, channel in enumerate(values):
            flat[self.order, c] = channel
        return flat.reshape(*self.shape, len(values))

    def column(self, name: str) -> np.ndarray:
        """A column of the surface table for every pixel, (N, ...); zeros in the sky."""
        values = getattr(self.stage.table, name)
        out = np.zeros((len(self.z), *values.shape[1:]), values.dtype)
        for segment in self.segments:
            out[segment.part] = values[segment.row]
        return out

    def labels(self) -> np.ndarray:
        """(N,) uint8 class numbers."""
        out = self.column("label")
        out[self.sky] = SKY
        return out

    def depth(self) -> np.ndarray:
        """z-depth (N,) of what a ranging sensor meets: the room behind an opening, or else the surface."""
        z = self.z.copy()
        for segment in self.segments:
            if segment.surface.behind > 0 and segment.surface.index == 0:
                z[segment.part] += self._beyond(segment)
        return z

    def _beyond(self, segment: Segment) -> np.ndarray:
        """z-depth (n,) from a LOOK surface on to the plane that carries its pattern.

        Openings: the back wall, parallel to the facade. Water: the mirrored street, an upright plane.
        """
        if segment.surface.behind == 0:
            return np.zeros(1, np.float32)
        if abs(float(segment.normal[1, 0])) > 0.7:
            return np.full(1, segment.surface.behind, np.float32)
        ray = self.ray[:, segment.part]
        toward = -(segment.normal[0] * ray[0] + segment.normal[1] * ray[1] + segment.normal[2] * ray[2])
        reach: np.ndarray = np.float32(segment.surface.behind) / np.maximum(toward, STEEPEST)
        return reach

    def pattern(self, segment: Segment) -> np.ndarray:
        """Texture value (n,) in [0, 1] of one surface."""
        matrix, shift = self.stage.table.matrix[segment.row], self.stage.table.shift[segment.row]
        point = self.point[:, segment.part]
        if segment.surface.kind == LOOK:  # fixed in the reference view, carried by a plane behind the surface
            far = point + self.ray[:, segment.part] * self._beyond(segment)
            x, y = _slopes(self.stage.reference, far)
            moved = np.float32(segment.surface.texels * segment.surface.drift * self.stage.tau)
            s = matrix[0, 0] * x + matrix[0, 1] * y + (shift[0] + moved)
            t = matrix[1, 0] * x + matrix[1, 1] * y + shift[1]
            texels_per_pixel = segment.surface.texels / self.camera.focal
            return textures.sample(self.stage.table.layer[segment.row], s, t, texels_per_pixel)
        s = matrix[0, 0] * point[0] + matrix[0, 1] * point[1] + matrix[0, 2] * point[2] + shift[0]
        t = matrix[1, 0] * point[0] + matrix[1, 1] * point[1] + matrix[1, 2] * point[2] + shift[1]
        footprint = np.float32(segment.surface.texels / self.camera.focal) * self.z[segment.part]
        footprint /= np.sqrt(np.maximum(self.cosine[segment.part], STEEPEST))
        return textures.sample(self.stage.table.layer[segment.row], s, t, footprint)

    def radiance(self) -> np.ndarray:
        """Linear RGB radiance (3, N); 1.0 is about a white wall in the sun."""
        out = np.empty((3, len(self.z)), np.float32)
        out[:, self.sky] = sky_radiance(self.stage.light, self.ray[:, self.sky])
        light, table = self.stage.light, self.stage.table
        ambient_color = light.ambient.astype(np.float32)
        direct_color = (light.lamp if light.night else light.sun).astype(np.float32)
        for segment in self.segments:
            if isinstance(segment.shape, Cutout):
                out[:, segment.part] = segment.shape.radiance(self.point[:, segment.part])
                continue
            mix = self.pattern(segment)
            mix -= 0.5
            mix *= np.float32(1.6 * segment.surface.contrast)
            mix += 0.5
            np.clip(mix, 0, 1, out=mix)
            ambient, direct = self._irradiance(segment)
            base, extra = table.base[segment.row], table.mix[segment.row]
            for c in range(3):
                albedo = mix * extra[c]
                albedo += base[c]
                albedo *= ambient_color[c] * ambient + direct_color[c] * direct
                out[c, segment.part] = albedo
        return out

    def _irradiance(self, segment: Segment) -> tuple[np.ndarray, np.ndarray]:
        """Ambient and direct light on a surface, each (n,) or (1,), in units of the light's color."""
        normal, light = segment.normal, self.stage.light
        ambient = 0.75 - 0.25 * normal[1]
        flat = abs(float(normal[1, 0])) > 0.999 and normal.shape[1] == 1
        if segment.surface.kind == LOOK and not flat:  # panes and rooms are dim: no direct light
            return ambient, np.zeros(1, np.float32)
        point = self.point[:, segment.part]
        if light.night:
            to = light.lamp_at.astype(np.float32)[:, None] - point
            r2 = to[0] * to[0] + to[1] * to[1] + to[2] * to[2]
            direct = np.maximum(to[0] * normal[0] + to[1] * normal[1] + to[2] * normal[2], 0)
            direct *= 4 / (r2 * np.sqrt(r2))
        else:
            sun = light.to_sun.astype(np.float32)
            direct = np.maximum(sun[0] * normal[0] + sun[1] * normal[1] + sun[2] * normal[2], 0)
        if flat and (segment.shape is None or segment.surface.kind == LOOK):  # on the road
            cell = np.clip(point[2] * np.float32(1 / MAP_CELL), 0, MAP_SIZE - 1).astype(np.int32)
            cell *= MAP_SIZE
            cell += np.clip((point[0] + 16) * np.float32(1 / MAP_CELL), 0, MAP_SIZE - 1).astype(np.int32)
            direct = direct * self.stage.direct.take(cell)
            ambient = ambient * self.stage.open_sky.take(cell)
        return ambient, direct


def _slopes(camera: Camera, point: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """World points (3, n) -> x / z and y / z in the camera."""
    r = camera.to_world.astype(np.float32)
    q = point - camera.position.astype(np.float32)[:, None]
    x, y, z = (r[0, k] * q[0] + r[1, k] * q[1] + r[2, k] * q[2] for k in range(3))
    return x / z, y / z


def sky_radiance(light: Light, ray: np.ndarray) -> np.ndarray:
    """Linear RGB (3, n) of the sky in directions (3, n): a gradient with soft clouds."""
    up = np.clip(-ray[1] / np.maximum(np.hypot(ray[0], ray[2]), 1e-3), 0, 1)
    scale = np.float32(120.0) / (up + np.float32(0.15))
    cloud = textures.sample(textures.LAYER["noise"], ray[0] * scale, ray[2] * scale, 4.0)
    cloud = np.clip((cloud - 0.5) * 3, 0, 1) * np.float32(light.cloud)
    high = np.sqrt(up)
    out = np.empty_like(ray)
    for c in range(3):
        low, top = np.float32(light.sky_low[c]), np.float32(light.sky_high[c])
        clear = low + high * (top - low)
        out[c] = clear + cloud * (low - clear)
    return out
