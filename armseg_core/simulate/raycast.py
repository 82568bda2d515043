"""Ray casting in numpy: convex shapes, one camera orientation, several camera positions at once.

World and camera axes: x right, y DOWN, z forward; the ground is the plane y = 0, so heights are negative y.
Ray directions have camera-z = 1, so the ray parameter is the z-depth in meters.

Shape letters: B camera positions, H W image, h w the part of the image a shape can cover, F faces, N hits.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from armseg_core.simulate.camera import Camera

FAR = 300.0  # meters; beyond this the ground is sky
INF = np.float32(np.inf)


@dataclass
class Shape:
    """A convex shape.

    surfaces: rows of the world's surface table, one per face (or one for the whole shape).
    """

    surfaces: tuple[int, ...]
    corners: np.ndarray = field(init=False)  # (8, 3) points whose convex hull contains the shape

    def hit(self, origins: np.ndarray, d: np.ndarray) -> np.ndarray:
        """Where rays meet the shape.

        origins (B, 3) float32, directions d (3, h, w) float32 -> z-depth (B, h, w) float32, inf where missed.
        """
        raise NotImplementedError

    def normals(self, p: np.ndarray, face: int = 0) -> np.ndarray:
        """Outward unit normals at points on the surface.

        (3, n) float32 -> (3, n), or (3, 1) where they are all equal.
        """
        raise NotImplementedError


def _pad8(points: np.ndarray) -> np.ndarray:
    return points[np.arange(8) % len(points)] if len(points) < 8 else points


@dataclass
class Polyhedron(Shape):
    """The points x with normal_f . x <= offset_f for all faces. normals_: (F, 3) unit, offsets: (F,)."""

    face_normals: np.ndarray
    offsets: np.ndarray
    vertices: np.ndarray

    def __post_init__(self) -> None:
        self.face_normals = self.face_normals.astype(np.float32)
        self.offsets = self.offsets.astype(np.float32)
        self.corners = _pad8(self.vertices)

    def hit(self, origins: np.ndarray, d: np.ndarray) -> np.ndarray:
        den = np.tensordot(self.face_normals, d, 1)  # (F, h, w)
        den[den == 0] = 1e-9
        inv = 1 / den
        entering = den < 0
        inv_in = np.where(entering, inv, np.float32(0))
        num = self.offsets - origins @ self.face_normals.T  # (B, F)
        near: np.ndarray = num[:, 0, None, None] * inv_in[0]
        np.maximum(near, 0, out=near)
        far = np.full_like(near, INF)
        t = np.empty_like(near)
        for f in range(len(self.offsets)):
            n = num[:, f, None, None]
            np.multiply(n, inv_in[f], out=t)
            np.maximum(near, t, out=near)
            np.multiply(n, inv[f], out=t)
            np.copyto(t, INF, where=entering[f])
            np.minimum(far, t, out=far)
        np.copyto(near, INF, where=(near >= far) | (near <= 0))
        return near

    def faces(self, p: np.ndarray, origins: np.ndarray) -> np.ndarray:
        """Face number (n,) of surface points (3, n) seen from origins (B, 3)."""
        seen = np.flatnonzero((origins @ self.face_normals.T > self.offsets).any(0))
        if len(seen) < 2:
            return np.full(p.shape[1], seen[0] if len(seen) else 0)
        distance = np.stack(
            [
                np.abs(n[0] * p[0] + n[1] * p[1] + n[2] * p[2] - d)
                for n, d in zip(self.face_normals[seen], self.offsets[seen], strict=True)
            ]
        )
        nearest: np.ndarray = seen[distance.argmin(0)]
        return nearest

    def normals(self, p: np.ndarray, face: int = 0) -> np.ndarray:
        normal: np.ndarray = self.face_normals[face]
        return normal[:, None]


@dataclass
class Ellipsoid(Shape):
    """Center (3,), radii (3,) along the columns of `axes` (3, 3)."""

    center: np.ndarray
    radii: np.ndarray
    axes: np.ndarray

    def __post_init__(self) -> None:
        self.center = np.asarray(self.center, np.float64)
        self.inverse = (self.axes / self.radii).T.astype(np.float32)  # world -> unit sphere
        signs = np.array(np.meshgrid([-1, 1], [-1, 1], [-1, 1])).reshape(3, 8)
        self.corners = self.center + (self.axes * self.radii @ signs).T

    def hit(self, origins: np.ndarray, d: np.ndarray) -> np.ndarray:
        o = (origins - self.center.astype(np.float32)) @ self.inverse.T  # (B, 3)
        u = np.tensordot(self.inverse, d, 1)  # (3, h, w)
        a = np.einsum("khw,khw->hw", u, u)
        b = np.tensordot(o, u, 1)  # (B, h, w)
        c = np.einsum("bk,bk->b", o, o) - 1
        disc: np.ndarray = b * b
        disc -= a * c[:, None, None]
        miss = disc < 0
        np.copyto(disc, 0, where=miss)
        np.sqrt(disc, out=disc)
        disc += b
        disc *= -1 / a
        np.copyto(disc, INF, where=miss | (disc <= 0))
        return disc

    def normals(self, p: np.ndarray, face: int = 0) -> np.ndarray:
        n: np.ndarray = (self.inverse.T @ self.inverse) @ (p - self.center.astype(np.float32)[:, None])
        n /= np.sqrt(n[0] * n[0] + n[1] * n[1] + n[2] * n[2])
        return n


@dataclass
class Capsule(Shape):
    """All points within `radius` of the segment from a to b."""

    a: np.ndarray
    b: np.ndarray
    radius: float

    def __post_init__(self) -> None:
        self.a, self.b = np.asarray(self.a, np.float64), np.asarray(self.b, np.float64)
        low = np.minimum(self.a, self.b) - self.radius
        high = np.maximum(self.a, self.b) + self.radius
        self.corners = np.stack([np.where([i & 1, i & 2, i & 4], high, low) for i in range(8)])

    def hit(
        self, origins: np.ndarray, d: np.ndarray
    ) -> np.ndarray:  # after I. Quilez, "capsule - intersection", with directions of any length
        ba = (self.b - self.a).astype(np.float32)
        oa = origins - self.a.astype(np.float32)  # (B, 3)
        ob = origins - self.b.astype(np.float32)
        r2 = np.float32(self.radius**2)
        dd = np.einsum("khw,khw->hw", d, d)
        bard = np.tensordot(ba, d, 1)  # (h, w)
        rdoa = np.tensordot(oa, d, 1)  # (B, h, w)
        baba = ba @ ba
        baoa = (oa @ ba)[:, None, None]
        a = baba * dd - bard * bard + np.float32(1e-12)
        b = baba * rdoa - baoa * bard
        c = (baba * np.einsum("bk,bk->b", oa, oa) - (oa @ ba) ** 2 - r2 * baba)[:, None, None]
        disc = b * b - a * c
        miss = disc < 0
        np.copyto(disc, 0, where=miss)
        t: np.ndarray = -(b + np.sqrt(disc)) / a
        y = baoa + t * bard
        low = y <= 0
        # end caps: spheres around a or b
        b2 = np.where(low, rdoa, rdoa - bard)
        c2 = np.where(
            low,
            (np.einsum("bk,bk->b", oa, oa) - r2)[:, None, None],
            (np.einsum("bk,bk->b", ob, ob) - r2)[:, None, None],
        )
        disc = b2 * b2 - dd * c2
        cap = low | (y >= baba)
        miss |= cap & (disc < 0)
        t = np.where(cap, -(b2 + np.sqrt(np.maximum(disc, 0))) / dd, t)
        np.copyto(t, INF, where=miss | (t <= 0))
        return t

    def normals(self, p: np.ndarray, face: int = 0) -> np.ndarray:
        a, ba = self.a.astype(np.float32), (self.b - self.a).astype(np.float32)
        n: np.ndarray = p - a[:, None]
        n -= np.clip(ba @ n / (ba @ ba), 0, 1) * ba[:, None]
        n /= np.maximum(np.sqrt(n[0] * n[0] + n[1] * n[1] + n[2] * n[2]), 1e-9)
        return n


@dataclass
class Panel(Shape):
    """A flat patch: the points center + a * axis_u + b * axis_v that `inside(a, b)` accepts.

    The default region is |a|, |b| <= 1. `axis_u`, `axis_v`: (3,) half extents, perpendicular to each other.
    `lift` brings the patch forward by a relative amount, so that it wins against the plane it lies on.
    """

    center: np.ndarray
    axis_u: np.ndarray
    axis_v: np.ndarray
    lift: float = 0.0

    def __post_init__(self) -> None:
        self.center = np.asarray(self.center, np.float64)
        n = np.cross(self.axis_u, self.axis_v)
        self.normal = (n / np.linalg.norm(n)).astype(np.float32)
        self.u = (self.axis_u / (self.axis_u @ self.axis_u)).astype(np.float32)
        self.v = (self.axis_v / (self.axis_v @ self.axis_v)).astype(np.float32)
        self.corners = _pad8(
            np.stack([self.center + a * self.axis_u + b * self.axis_v for a in (-1, 1) for b in (-1, 1)])
        )

    def inside(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Whether panel coordinates belong to the patch; any shape, bool."""
        inside: np.ndarray = (np.abs(a) <= 1) & (np.abs(b) <= 1)
        return inside

    def hit(self, origins: np.ndarray, d: np.ndarray) -> np.ndarray:
        o = origins - self.center.astype(np.float32)
        den = np.tensordot(self.normal, d, 1)
        den[den == 0] = 1e-9
        t: np.ndarray = (-(o @ self.normal))[:, None, None] / den
        a = (o @ self.u)[:, None, None] + t * np.tensordot(self.u, d, 1)
        b = (o @ self.v)[:, None, None] + t * np.tensordot(self.v, d, 1)
        t *= np.float32(1 - self.lift)
        np.copyto(t, INF, where=~(self.inside(a, b) & (t > 0)))
        return t

    def normals(self, p: np.ndarray, face: int = 0) -> np.ndarray:
        normal: np.ndarray = self.normal[:, None]
        return normal


@dataclass
class Blob(Panel):
    """A panel with the outline of a puddle: an ellipse whose radius varies with the angle.

    waves: (4, 2) amplitude and phase of the 2nd to 5th angular harmonics.
    """

    waves: np.ndarray = field(default_factory=lambda: np.zeros((4, 2)))

    def inside(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        angle = np.arctan2(b, a)
        edge = np.full_like(angle, 0.75)
        for k, (amplitude, phase) in enumerate(self.waves.astype(np.float32), 2):
            edge += amplitude * np.cos(np.float32(k) * angle + phase)
        inside: np.ndarray = a * a + b * b <= edge * edge
        return inside


@dataclass
class Cutout(Panel):
    """A panel cut along a silhouette that is stored in panel coordinates as seen from the reference camera.

    mask: (h, w) bool, image: (h, w, 3) float32 radiance; both cover image rows/columns from `corner` (row,
    column) of `reference`, a camera with several samples per pixel.
    """

    mask: np.ndarray | None = None
    image: np.ndarray | None = None
    corner: tuple[int, int] = (0, 0)
    reference: Camera | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        assert self.reference is not None
        assert self.mask is not None
        r = self.reference
        basis = np.stack([self.axis_u, self.axis_v, self.center - r.position]) @ r.to_world  # (3, xyz)
        pixels = basis @ r.intrinsics.T - basis[:, 2:] * np.array([self.corner[1], self.corner[0], 0.0])
        self.to_mask = pixels.T.astype(np.float32)  # (a, b, 1) -> column * z, row * z, z of the mask

    def index(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Panel coordinates -> flat index into `mask`, clipped to it."""
        assert self.mask is not None
        m, (h, w) = self.to_mask, self.mask.shape
        z = m[2, 0] * a + m[2, 1] * b + m[2, 2]
        np.copyto(z, 1, where=z < 1e-3)
        column = np.rint((m[0, 0] * a + m[0, 1] * b + m[0, 2]) / z)
        row = np.rint((m[1, 0] * a + m[1, 1] * b + m[1, 2]) / z)
        np.clip(column, 0, w - 1, out=column)
        np.clip(row, 0, h - 1, out=row)
        flat: np.ndarray = row * w + column
        return flat.astype(np.int32)

    def inside(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        assert self.mask is not None
        inside: np.ndarray = super().inside(a, b) & self.mask.reshape(-1)[self.index(a, b)]
        return inside

    def radiance(self, p: np.ndarray) -> np.ndarray:
        """Printed radiance (3, n) at points (3, n) of the panel."""
        assert self.image is not None
        q = p - self.center.astype(np.float32)[:, None]
        printed: np.ndarray = self.image.reshape(-1, 3)[self.index(self.u @ q, self.v @ q)]
        return printed.T


def cast(
    shapes: list[Shape], camera: Camera, origins: np.ndarray, ground: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """The first shape that each ray meets.

    origins: (B, 3) camera positions. Returns z-depth (B, H, W) float32 (inf = sky) and shape number (B, H,
    W) int16: -1 sky, 0 ground, k = shapes[k - 1].
    """
    origins = np.asarray(origins, np.float32)
    h, w = camera.size
    number = np.full((len(origins), h, w), -1, np.int16)
    z = np.full(number.shape, INF, np.float32)
    if ground:
        dy = camera.dirs[1]
        down = dy > 1e-3
        np.divide(-origins[:, 1, None, None], dy, out=z, where=down)
        far = z > FAR
        number[:] = np.where(far, np.int16(-1), np.int16(0))
        z[far] = INF
    if not shapes:
        return z, number
    boxes = camera.boxes(np.stack([s.corners for s in shapes]), origins.astype(np.float64))
    for k, (shape, (y0, y1, x0, x1)) in enumerate(zip(shapes, boxes, strict=True), 1):
        if y0 >= y1 or x0 >= x1:
            continue
        t = shape.hit(origins, np.ascontiguousarray(camera.dirs[:, y0:y1, x0:x1]))
        part = z[:, y0:y1, x0:x1]
        nearer = t < part
        np.copyto(part, t, where=nearer)
        np.copyto(number[:, y0:y1, x0:x1], np.int16(k), where=nearer)
    return z, number
