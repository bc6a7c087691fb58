"""The default avatar: Gaussians spread over a head, coloured from its materials under soft studio light.

A recipe, not a capture: it runs in seconds on the user's machine and needs nothing but the head.

    discs on every surface (even spacing, flat along the normal, dense at eyes, lids and lips) + strands of hair
    colour = albedo x irradiance (shadows, occlusion, skin scattering) + a glossy lobe, fitted by SH of degree 2
"""

from __future__ import annotations

import numpy as np

from engine.avatar import hair, strands
from engine.avatar.attach import attach, axes_from_normals, quaternions
from engine.avatar.layout import as_planes
from engine.avatar.sampling import spread
from engine.avatar.surface import HAIR, LAYERS, Surface, material_ids, of_material
from engine.core.anatomy import Head
from engine.core.errors import BadInput
from engine.core.splats import Avatar

Array = np.ndarray

VERSION = 8  # part of the cache's name: raise it when the recipe changes
HARD = ("iris", "sclera", "teeth")
UNDER_SKIN = (*HARD, "gums")
# Radius (standard deviation) of a disc over the mean distance to its six neighbours: on skin, which stretches, and on
# hard parts, which do not and want sharp edges. At 0.76 the least covered place between discs lets 3 % through.
RADIUS_SKIN, RADIUS_HARD, THICKNESS, OPACITY = 0.76, 0.64, 0.14, 0.97
# Metres: of skin; of hard things close under it; of surfaces that nobody sees. Those are sparse, and large discs of
# them (the pocket between lips and gums) would poke through the skin.
MAX_RADIUS, MAX_RADIUS_UNDER, MAX_RADIUS_HIDDEN = 0.006, 0.0012, 0.0005
HAIRY = 0.22  # part of all Gaussians that lie along the scalp's hair, where the head has some
CROPPED = 0.13  # part of all that are cropped hair, where a scalp is only painted


def build_default_avatar(
    head: Head, count: int = 60_000, seed: int = 0, with_hair: bool = True, hairy: float = HAIRY,
    crowd: Array | None = None,
) -> Avatar:  # fmt: skip
    """An avatar of exactly `count` Gaussians on this head. Same inputs, same avatar. Raises BadInput below 1,000.

    with_hair=False leaves the scalp cropped where the head has hair of its own. hairy: part of all Gaussians that lie
    along hair; crowd [v]: how many times as many as the recipe has stand about each vertex.
    """
    if count < 1000:
        raise BadInput(f"an avatar of {count} Gaussians cannot cover a head; use at least 1000")
    rng = np.random.default_rng(seed)
    surface = Surface(head)
    parts = [strands.blades(head, count)]
    grown = hair.scalp_hair(head, surface, int(hairy * count), seed) if with_hair else None
    parts.append(strands.cropped(head, surface, int(CROPPED * count), rng) if grown is None else grown[0])
    parts.insert(0, _discs(head, surface, count - sum(map(len, parts)), seed, crowd))

    def joined(name: str) -> Array:
        return np.concatenate([getattr(part, name) for part in parts])

    triangle = joined("triangle")
    order = np.argsort(triangle, kind="stable")  # neighbours in memory are neighbours on the head
    plain = parts if grown is None else parts[:-1]
    sh = np.concatenate(
        [surface.colours(p.triangle, p.bary, p.tint) for p in plain] + ([] if grown is None else [grown[1]])
    )[order]
    triangle = triangle[order].astype(np.int32)
    corners = head.template[head.triangles].astype(np.float64)
    local = attach(
        triangle, joined("points")[order], quaternions(joined("axes")[order]), joined("scales")[order], corners
    )
    means, quats, log_scales = (as_planes(a) for a in local)
    return Avatar(
        triangle, means, quats, log_scales, joined("opacity")[order].astype(np.float32), as_planes(sh),
        surface.layer[triangle], head.name, head.topology_sha256, LAYERS, "srgb",
        licence=head.licence, meta={"builder": "engine.avatar.default", "version": VERSION, "seed": seed},
    )  # fmt: skip


def _discs(head: Head, surface: Surface, count: int, seed: int, crowd: Array | None = None) -> strands.Strands:
    """Flat Gaussians over everything but hair (same record as strands; the second axis is the normal)."""
    hair = np.isin(head.face_material, material_ids(head, HAIR))[head.triangle_face]
    solid = np.flatnonzero(~hair)
    corners = head.template[head.triangles].astype(np.float64)
    density = (surface.density if crowd is None else surface.density * crowd)[head.triangles[solid]]
    triangle, bary, spacing = spread(corners[solid], density, surface.group[solid], count, seed)
    triangle = solid[triangle].astype(np.int32)
    index = head.triangles[triangle]
    normals = np.einsum("nk,nkc->nc", bary, surface.normals[index])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
    flat = np.einsum("nk,nkc->nc", bary, corners[triangle])
    points = _rounded(flat, bary, corners[triangle], surface.normals[index], surface.smooth[index])
    hard = np.isin(head.face_material[head.triangle_face[triangle]], material_ids(head, HARD))
    radius = np.where(hard, RADIUS_HARD, RADIUS_SKIN) * _neighbours(points, normals, spacing)
    under = np.isin(head.face_material[head.triangle_face[triangle]], material_ids(head, UNDER_SKIN))
    radius = np.minimum(radius, np.where(under, MAX_RADIUS_UNDER, MAX_RADIUS))
    hidden = np.einsum("nk,nk->n", bary, surface.hidden[index]) > 0.02
    radius = np.where(hidden, np.minimum(radius, MAX_RADIUS_HIDDEN), radius)
    # Where the bust is cut, discs end at the edge instead of hanging over it.
    cap = np.isin(head.face_material[head.triangle_face[triangle]], material_ids(head, ("cap",)))
    edge = np.where(cap, _distance(head, points, "skin"), _distance(head, points, "cap"))
    radius = np.minimum(radius, 0.0008 + 0.4 * edge)
    scales = np.stack([radius, THICKNESS * radius, radius], 1)
    scalp = np.einsum("nk,nk->n", bary, surface.scalp[index])
    grain = np.random.default_rng(seed + 1).normal(0, 0.02, count)  # skin is not plastic
    tint = np.exp(grain) * (1 - 0.4 * scalp)
    return strands.Strands(triangle, bary, points, axes_from_normals(normals), scales, np.full(count, OPACITY), tint)


def _distance(head: Head, points: Array, material: str) -> Array:
    """[n] distance to the nearest vertex of a material, at most 20 mm."""
    from scipy.spatial import cKDTree

    found = head.template[of_material(head, (material,)) > 0]
    far = np.full(len(points), 0.02)
    return np.minimum(cKDTree(found).query(points, distance_upper_bound=0.02)[0], far) if len(found) else far


def _neighbours(points: Array, normals: Array, spacing: Array, count: int = 6) -> Array:
    """[n] mean distance to the `count` nearest points that face the same way, at most twice the planned spacing."""
    from scipy.spatial import cKDTree

    distance, index = cKDTree(points).query(points, 3 * count)
    same = (normals[index] * normals[:, None]).sum(2) > 0.5
    same[:, 0] = False
    rank = np.cumsum(same, 1)
    used = same & (rank <= count)
    mean = (distance * used).sum(1) / np.maximum(used.sum(1), 1)
    return np.where(used.sum(1) >= count // 2, np.minimum(mean, 2 * spacing), spacing)


def _rounded(points: Array, bary: Array, corners: Array, normals: Array, smooth: Array) -> Array:
    """Move points [n, 3] from flat triangles towards the surface that their normals describe, where smooth is 1.

    Phong tessellation (Boubekeur and Alexa 2008) with 0.6: outlines of coarse meshes come out round.
    """
    out = np.zeros_like(points)
    for k in range(3):
        away = ((points - corners[:, k]) * normals[:, k]).sum(1, keepdims=True)
        out += bary[:, k : k + 1] * (points - away * normals[:, k])
    part = 0.6 * np.einsum("nk,nk->n", bary, smooth)[:, None]
    return points + part * (out - points)
