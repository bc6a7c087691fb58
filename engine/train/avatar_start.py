"""Where training begins: the head's own avatar recipe for places, sizes and strands, the pictures for colours."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from engine.avatar import channels, free, harmonics
from engine.avatar.attach import attach, axes_from_normals, quaternions
from engine.avatar.bind import bind
from engine.avatar.default import build_default_avatar
from engine.avatar.layout import as_planes
from engine.avatar.surface import LAYERS, of_material
from engine.core.anatomy import Head
from engine.core.errors import BadInput
from engine.core.progress import SILENT, Reporter
from engine.core.splats import Avatar
from engine.head.zones import zones
from engine.train.avatar_data import Capture, View
from engine.train.avatar_measure import project
from engine.train.avatar_model import Model

Array = np.ndarray

SH0 = harmonics.Y0
FEW = 1000  # below this the recipe cannot cover a head, and Gaussians are only spread by area
OPACITY = 0.9  # at most, to begin with
NEAR_M = 0.004  # a Gaussian this close to the depth of the picture is seen there
FACING = 0.25  # least cosine between its normal and the way to the camera
ENOUGH = 20  # seen Gaussians of a material, from which the light on the others is told
LOOKED_AT = 90  # pictures that colours are taken from
HAIRY = 0.26  # part of all Gaussians that lie along hair: most of the error is there
# How many times as many Gaussians as the recipe has stand in a fold's zone.
CROWDED = {
    "forehead_inner": 2.4, "forehead_outer": 2.4, "glabella": 2.2, "crow": 1.8, "nose": 2.0, "chin": 1.6,
    "nasolabial": 1.4, "under_eye": 1.4,
}  # fmt: skip
DEEP_M = 0.012  # behind lips and cheeks: from there on it is the throat
THROAT = 1.0687  # of the recipe's mean size: what the bundled file has, so that its throat is closed already
ROOM_M = (np.array([0.16, 0.16, 0.08]), np.array([0.16, 0.09, 0.03]))  # below and above the head's extent
LOOSE_OPACITY = 0.1  # of points that stand anywhere: most of them have to go


def start(head: Head, count: int, seed: int = 0, dynamic: bool = True, loose: int = 0) -> Avatar:
    """An avatar of `count` Gaussians on the head to train, and `loose` free ones about it. Raises BadInput below 1."""
    if count < 1 or loose < 0:
        raise BadInput("an avatar needs at least one Gaussian")
    if count >= FEW:
        made = seeded(head, count, seed)
    else:
        made = spread(head, count, seed)
    made = replace(made, opacity=np.minimum(made.opacity, np.float32(OPACITY)))
    made = with_loose(made, head, loose, seed) if loose else made
    return replace(made, channels=channels.empty(head, made.triangle)) if dynamic else made


def _crowd(head: Head) -> Array:
    """[v]: where pictures teach more than the recipe knows there are more: creases are 2 mm wide."""
    out = np.ones(len(head.template))
    found = zones(head)
    for fold, times in CROWDED.items():
        if fold in found:
            out = np.maximum(out, 1 + (times - 1) * found[fold])
    return out


def seeded(head: Head, count: int, seed: int = 0) -> Avatar:
    """The recipe's avatar as training begins with it: more hair, more in folds. At least FEW Gaussians."""
    return build_default_avatar(head, count, seed, hairy=HAIRY, crowd=_crowd(head))


def throat(avatar: Avatar, head: Head) -> Array:
    """Numbers of the discs far back in the mouth, where nothing lies close before them; none on heads without one."""
    from scipy.spatial import cKDTree

    lining, lips = of_material(head, ("mouth",)), head.template[np.unique(head.lip_pairs)]
    outer = head.template[(np.asarray(head.masks.get("skin", np.ones(len(lining)))) > 0.5) & (lining == 0)]
    if not lining.any() or not len(lips) or not len(outer):
        return np.zeros(0, np.int64)
    deep = (cKDTree(outer).query(head.template)[0] > DEEP_M) & (head.template[:, 2] < lips[:, 2].mean() - DEEP_M)
    held = (lining * deep)[head.triangles[avatar.triangle]].min(1) > 0
    if avatar.free is not None:
        held[avatar.free.rows] = False
    return np.flatnonzero(held)


def closed_throat(avatar: Avatar, head: Head, seed: int = 0) -> Avatar:
    """The avatar with its throat's discs scaled by one factor, so that they are on average THROAT times the recipe's.

    Training shrinks what few pictures show, and the nape would be seen between the teeth: this is its last step. Once
    or twice is the same. Avatars of less than FEW Gaussians and heads without a mouth stay as they are.
    """
    rows, count = throat(avatar, head), len(avatar) - (0 if avatar.free is None else len(avatar.free.rows))
    if not len(rows) or count < FEW:
        return avatar
    first = seeded(head, count, seed)
    wanted = _mean_log_m(first, head, throat(first, head)) + np.log(THROAT)
    log_scales = np.array(avatar.log_scales)
    log_scales[rows] += np.float32(wanted - _mean_log_m(avatar, head, rows))
    return replace(avatar, log_scales=as_planes(log_scales))


def _mean_log_m(avatar: Avatar, head: Head, rows: Array) -> float:
    """Mean logarithm of sizes in metres on the neutral face: of the local ones times their triangles'."""
    size = Model(avatar, head).sizes()[rows].astype(np.float64)
    return float((np.asarray(avatar.log_scales)[rows] + np.log(size)[:, None]).mean())


def spread(head: Head, count: int, seed: int = 0) -> Avatar:
    """`count` grey discs by area alone: for small trials."""
    rng = np.random.default_rng(seed)
    corners = head.template[head.triangles].astype(np.float64)
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = np.linalg.norm(cross, axis=1) / 2
    edges = np.cumsum(area) / area.sum()
    triangle = np.searchsorted(edges, (np.arange(count) + rng.random(count)) / count).clip(0, len(area) - 1)
    u, v = np.sqrt(rng.random(count)), rng.random(count)
    points = np.einsum("nk,nkc->nc", np.stack([1 - u, u * (1 - v), u * v], 1), corners[triangle])
    normals = cross[triangle] / np.maximum(np.linalg.norm(cross[triangle], axis=1, keepdims=True), 1e-12)
    radius = 0.7 * np.sqrt(area.sum() / count)
    local = attach(
        triangle.astype(np.int32), points, quaternions(axes_from_normals(normals)),
        np.tile(radius * np.array([1.0, 0.25, 1.0]), (count, 1)), corners,
    )  # fmt: skip
    means, quats, log_scales = (as_planes(a) for a in local)
    return Avatar(
        triangle.astype(np.int32), means, quats, log_scales, np.full(count, 0.8, np.float32),
        as_planes(np.zeros((count, 1, 3), np.float32)), np.zeros(count, np.uint8), head.name, head.topology_sha256,
        LAYERS, "srgb", licence=head.licence, meta={"builder": "engine.train.avatar_start", "seed": seed},
    )  # fmt: skip


def with_loose(avatar: Avatar, head: Head, count: int, seed: int = 0) -> Avatar:
    """`count` more Gaussians, uniformly in the space about the head (EmoTalk3D: 85,500), for hair, neck and shoulders
    that the mesh does not have; border ones in two copies (eq. 10)."""
    from scipy.spatial import cKDTree

    rng = np.random.default_rng([seed, 11])
    low, high = head.template.min(0) - ROOM_M[0], head.template.max(0) + ROOM_M[1]
    points = rng.uniform(low, high, (count, 3))
    corners = head.template[head.triangles].astype(np.float64)
    distance, triangle = cKDTree(corners.mean(1)).query(points)
    radius = 0.3 * float(np.prod(high - low) / count) ** (1 / 3)
    local = attach(
        triangle.astype(np.int32), points, np.tile([1.0, 0, 0, 0], (count, 1)), np.full((count, 3), radius), corners
    )  # fmt: skip
    new = (triangle.astype(np.int32), *local, np.full(count, LOOSE_OPACITY, np.float32))
    names = ("triangle", "local_means", "local_quats", "log_scales", "opacity")
    arrays = {n: np.concatenate([np.asarray(getattr(avatar, n)), a]) for n, a in zip(names, new, strict=True)}
    arrays["sh"] = np.concatenate([np.asarray(avatar.sh), np.zeros((count, *avatar.sh.shape[1:]), np.float32)])
    arrays["layer"] = np.concatenate([avatar.layer, np.full(count, LAYERS.index("other"), np.uint8)])
    return free.let_go(replace(avatar, **arrays), head, np.arange(len(avatar), len(avatar) + count), distance)


def coloured_from(avatar: Avatar, capture: Capture, shrink: int = 1, report: Reporter = SILENT) -> Avatar:
    """The avatar with each Gaussian's colour as the pictures show it from where it faces them. SH beyond the constant
    term begins at 0. What no picture shows keeps its own, as much brighter or darker as the rest of its material is."""
    total, weight = np.zeros((len(avatar), 3)), np.zeros(len(avatar))
    views = _choice(capture.views["train"])
    for i, view in enumerate(views):
        report.step("colours", i, len(views))
        _look(avatar, capture, view, shrink, total, weight)
    sh = np.zeros_like(np.asarray(avatar.sh))
    sh[:, 0] = avatar.sh[:, 0]
    seen = weight > 1e-6
    sh[seen, 0] = (total[seen] / weight[seen, None] - 0.5) / SH0
    if np.asarray(avatar.sh)[:, 0].any():  # grey discs (spread) know of no colour to be lit
        sh[~seen, 0] = _in_that_light(avatar, capture.head, sh[:, 0], seen)[~seen]
    return replace(avatar, sh=as_planes(sh))


def _in_that_light(avatar: Avatar, head: Head, colours: Array, seen: Array) -> Array:
    """Constant SH terms [n, 3]: the recipe's, times the ratio in which those that are seen changed, by material."""
    material = head.face_material[head.triangle_face[avatar.triangle]]
    was = np.clip(0.5 + SH0 * np.asarray(avatar.sh)[:, 0], 0, 1)
    out, now = was.copy(), np.clip(0.5 + SH0 * colours, 0, 1)
    for m in np.unique(material):
        rows = material == m
        if (rows & seen).sum() >= ENOUGH:
            out[rows] = was[rows] * now[rows & seen].mean(0) / np.maximum(was[rows & seen].mean(0), 0.02)
    return (np.clip(out, 0, 1) - 0.5) / SH0


def _choice(views: list[View]) -> list[View]:
    """At most LOOKED_AT views: all of the first pose, the rest evenly from the others."""
    first = [v for v in views if v.pose == views[0].pose][:LOOKED_AT]
    rest = [v for v in views if v.pose != views[0].pose]
    count = min(len(rest), LOOKED_AT - len(first))
    return first + [rest[int(i)] for i in np.linspace(0, len(rest) - 1, count)] if count > 0 else first


def _look(avatar: Avatar, capture: Capture, view: View, shrink: int, total: Array, weight: Array) -> None:
    """Add one picture's colours where Gaussians are seen in it."""
    picture, head = capture.picture(view, shrink), capture.head
    vertices = capture.poses[view.pose].vertices
    means = bind(avatar, head.triangles, vertices).means.astype(np.float64)
    corners = vertices[head.triangles].astype(np.float64)
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])[avatar.triangle]
    camera = picture.camera
    eye = np.linalg.inv(camera.world_to_camera)[:3, 3]
    way = eye - means
    facing = (cross * way).sum(1) / np.maximum(np.linalg.norm(cross, axis=1) * np.linalg.norm(way, axis=1), 1e-12)
    depth = means @ camera.world_to_camera[2, :3] + camera.world_to_camera[2, 3]
    x, y = np.floor(project(camera, means)).astype(int).T
    if avatar.free is not None:
        facing[avatar.free.rows] = FACING + 0.1  # they have no side
    rows = np.flatnonzero((facing > FACING) & (x >= 0) & (y >= 0) & (x < camera.width) & (y < camera.height))
    if (there := picture.depth) is not None:
        rows = rows[np.abs(there[y[rows], x[rows]] - depth[rows]) < NEAR_M]
    rgba = picture.rgba[y[rows], x[rows]].astype(np.float64) / 255
    solid = rgba[:, 3] > 0.9
    rows, rgba = rows[solid], rgba[solid]
    # The face at rest says what a colour is; others fill in what it hides.
    share = facing[rows] * (1.0 if view.pose == capture.views["train"][0].pose else 0.05)
    total[rows] += share[:, None] * rgba[:, :3] / rgba[:, 3:]
    weight[rows] += share
