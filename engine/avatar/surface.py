"""What a head's vertices say about its Gaussians: how many, in which light, of which colour."""

from __future__ import annotations

import numpy as np

from engine.avatar import harmonics, light
from engine.avatar.raycast import sphere_directions
from engine.core.anatomy import Head
from engine.core.units import linear_to_srgb
from engine.head.evaluate import joints_of

Array = np.ndarray

LAYERS = ("face", "inside_mouth", "other")
HAIR = ("brow", "lash")
INSIDE = ("mouth", "teeth", "gums", "tongue")
WET = ("sclera", "iris", "teeth", "gums", "tongue")
SKIN_RGB = (0.50, 0.285, 0.195)  # linear
VIEWS = 32
GLOSS_SKIN, GLOSS_WET = 14.0, 60.0  # see light.glossy
# The inside of the mouth is lit as it is when lips show it, not as when they cover it.
OPEN_MOUTH = {
    "jawOpen": 0.6, "mouthUpperUpLeft": 1.0, "mouthUpperUpRight": 1.0, "mouthLowerDownLeft": 1.0,
    "mouthLowerDownRight": 1.0, "mouthSmileLeft": 0.4, "mouthSmileRight": 0.4,
}  # fmt: skip
# Azimuth, elevation, angular radius in degrees and strength of what a cornea mirrors.
CATCHLIGHTS = ((-26.0, 16.0, 10.0, 0.9), (35.0, -10.0, 6.0, 0.2))
SHUT_EYES = {"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0}
# Points per area relative to the back of the head, by material where the place does not decide.
UNDER_CHEEK_M = 0.012
DENSITY = {"iris": 45.0, "sclera": 8.0, "cap": 0.12, "teeth": 3.6, "gums": 1.4, "tongue": 1.6}


def material_ids(head: Head, names: tuple[str, ...]) -> list[int]:
    return [i for i, material in enumerate(head.materials) if material.name in names]


def of_material(head: Head, names: tuple[str, ...]) -> Array:
    """[v] 1 on vertices of faces with these materials."""
    touched = head.faces[np.isin(head.face_material, material_ids(head, names))]
    out = np.zeros(len(head.template))
    out[touched[touched >= 0]] = 1
    return out


def mask(head: Head, name: str) -> Array:
    """[v] float64; zeros where the head has no such mask."""
    return np.asarray(head.masks.get(name, np.zeros(len(head.template))), np.float64)


class Surface:
    """Light, gloss and density of every vertex, layer and group of every triangle.

    irradiance [v, 3] and gloss [v, VIEWS, 3] linear; normals [v, 3] of the neutral face; smooth [v]: 1 on skin;
    density [v]; hidden [v] bool: seen in no pose; layer [m] uint8; group [m]: surfaces that are sampled apart;
    scalp [v]: 1 where hair is cropped.
    """

    def __init__(self, head: Head):
        self.head = head
        directions = sphere_directions(light.RAYS)
        inside = np.maximum(mask(head, "mouth_inside"), of_material(head, INSIDE) * (1 - mask(head, "lips")))
        self._inside = inside
        lips, lids = mask(head, "lips"), self.near_eyes(0.028)
        rest = light.light_pose(head, {}, inside, directions)
        opened = light.light_pose(head, OPEN_MOUTH, inside, directions, (inside > 0) | (lips > 0))
        shut = light.light_pose(head, SHUT_EYES, inside, directions, lids > 0)
        self.normals = rest.normals
        self._colour = head.albedo.astype(np.float64)
        # The cut under the bust like a plaster cast's: a dark one shows through the small discs of its edge.
        self._colour[of_material(head, ("cap",)) > 0] = 0.8 * np.array(SKIN_RGB)
        self.smooth = np.maximum(mask(head, "skin"), lips) * (1 - inside)
        # Of the neutral face; but of an open mouth inside it, and partly of shut eyes on the lids: a crease that is
        # dark only because it is folded away would show as a dirty band when it opens.
        open_part = np.maximum(inside, 0.55 * lips)[:, None]
        shut_part = 0.5 * (lids * self.smooth)[:, None] * (1 - open_part)
        mixed = (1 - open_part - shut_part) * rest.irradiance + open_part * opened.irradiance
        self.irradiance = light.diffuse_through_skin(mixed + shut_part * shut.irradiance, head.triangles, self.smooth)
        self.hidden = ~(rest.visible.any(1) | opened.visible.any(1) | shut.visible.any(1))
        # A rising tongue uncovers its underside and the throat behind it, which none of these poses shows. (Where the
        # mouth lies close under lips and cheeks it stays hidden: its discs would poke through them.)
        deep = of_material(head, ("mouth",)) * (1 - self.near_mouth()) * self._deeper_than(UNDER_CHEEK_M)
        self.hidden &= np.maximum(of_material(head, ("tongue",)), deep) < 0.5
        self.scalp = self._scalp()
        self._densities()
        self._gloss(rest, directions)

    def near_eyes(self, radius: float) -> Array:
        """[v] in [0, 1]: 1 within `radius` metres of an eye's centre, falling to 0 at 1.5 times that."""
        eyes = joints_of(self.head)[3:5]
        distance = np.linalg.norm(self.head.template[:, None] - eyes[None], axis=2).min(1)
        return np.clip((1.5 * radius - distance) / (0.5 * radius), 0, 1)

    def _deeper_than(self, distance: float) -> Array:
        """[v] 1 where the outer skin is further than `distance` metres away, else 0."""
        from scipy.spatial import cKDTree

        outer = self.head.template[self.smooth > 0.5]
        return (cKDTree(outer).query(self.head.template)[0] > distance).astype(np.float64)

    def near_mouth(self) -> Array:
        """[v] in [0, 1]: 1 within 10 mm of the inner lips, 0 from 22 mm on."""
        lips = self.head.template[np.unique(self.head.lip_pairs)]
        distance = np.linalg.norm(self.head.template[:, None] - lips[None], axis=2).min(1)
        return np.clip((0.022 - distance) / 0.012, 0, 1)

    def _scalp(self) -> Array:
        """[v] in [0, 1]: dark skin away from the eyes, on the upper part of the head, is cropped hair."""
        head, eyes = self.head, joints_of(self.head)[3:5]
        away = np.clip((np.linalg.norm(head.template[:, None] - eyes[None], axis=2).min(1) - 0.045) / 0.01, 0, 1)
        above = head.template[:, 1] > eyes[0, 1] - 0.08
        return np.clip((0.36 - head.albedo[:, 0]) / 0.2, 0, 1) * away * above * mask(head, "skin") * (1 - self._inside)

    def _densities(self) -> None:
        """Where a viewer looks, and where things are small, there are more."""
        head = self.head
        middle = joints_of(head)[3:5].mean(0) + [0, -0.035, 0.02]
        face = np.clip(1.6 - 0.9 * np.linalg.norm((head.template - middle) / [0.085, 0.105, 0.10], axis=1), 0, 1)
        bust = np.clip((middle[1] - 0.085 - head.template[:, 1]) / 0.04, 0, 1)
        sides = np.clip((np.abs(head.template[:, 0]) - 0.071) / 0.004, 0, 1)
        ear = sides * (head.template[:, 1] > middle[1] - 0.06)
        density = 0.7 + 1.7 * face + 3.2 * self.near_eyes(0.021) + 4.5 * self.near_mouth() + 1.5 * ear
        density *= 1 - 0.7 * self.scalp  # hair covers it
        density *= (1 - 0.72 * bust) * (1 - 0.55 * mask(head, "mouth_inside") * (1 - self.near_mouth()))
        for name, value in DENSITY.items():
            density[of_material(head, (name,)) > 0] = value
        # A rim where the bust is cut: small discs give it a clean edge.
        cut = head.template[of_material(head, ("cap",)) > 0]
        if len(cut):
            from scipy.spatial import cKDTree

            skin = np.flatnonzero(self.smooth * bust > 0.5)
            rim = cKDTree(cut).query(head.template[skin])[0] < 0.006
            density[skin[rim]] = 1.6
        # What no pose ever shows (backs of eyes and gums) keeps a few, so that no view finds nothing there.
        self.density = density * np.where(self.hidden, 0.06, 1.0)
        # None in the pocket between cheeks and gums: it lies a few millimetres under the skin, and shapes press it out.
        pocket = of_material(head, ("mouth", "gums")) * (1 - self._deeper_than(UNDER_CHEEK_M)) * self.hidden
        self.density[pocket > 0.5] = 1e-6
        layer = np.full(len(head.faces), LAYERS.index("other"), np.uint8)
        layer[face[head.faces[:, 0]] > 0.25] = LAYERS.index("face")
        for name, materials in (("face", ("iris", "sclera", "lips", *HAIR)), ("inside_mouth", INSIDE)):
            layer[np.isin(head.face_material, material_ids(head, materials))] = LAYERS.index(name)
        self.layer = layer[head.triangle_face]
        self.group = head.face_material[head.triangle_face].astype(np.int32)
        self.group[
            np.isin(self.group, material_ids(head, ("skin", "scalp", "lips", "mouth")))
        ] = -1  # one continuous surface

    def _gloss(self, rest: light.Lit, directions: Array) -> None:
        """Reflected light for each vertex and view, with Schlick's Fresnel factor (1994) and the material's gloss."""
        head = self.head
        wet = np.clip(of_material(head, WET) + 0.35 * mask(head, "lips"), 0, 1)
        dull = of_material(head, (*HAIR, "cap")) + 0.8 * self.scalp
        strength = (0.8 + 0.35 * wet) * (1 - np.clip(dull, 0, 1)) * (1 - 0.6 * self._inside)
        # A cornea mirrors the room sharply: as a broad lobe that would only veil the pupil.
        strength[of_material(head, ("iris",)) > 0] = 0.15
        self.views = sphere_directions(VIEWS)
        facing = np.clip(self.normals @ self.views.T, 0, 1)
        fresnel = 0.028 + 0.35 * (1 - facing) ** 5
        self.gloss = light.glossy(rest, directions, self.views, GLOSS_SKIN + (GLOSS_WET - GLOSS_SKIN) * wet)
        self.gloss *= (strength[:, None] * fresnel)[:, :, None]

    def albedo(self, triangle: Array, bary: Array) -> Array:
        """[n, 3] linear base colour of points; the lips' border is steeper than vertices alone can hold."""
        head = self.head
        index = head.triangles[triangle]
        colour = np.einsum("nk,nkc->nc", bary, self._colour[index])
        lips = np.einsum("nk,nk->n", bary, mask(head, "lips")[index])
        pair = [np.array(head.materials[i].base_color) for i in material_ids(head, ("skin", "lips"))]
        if len(pair) == 2:
            sharp = np.clip((lips - 0.1) / 0.8, 0, 1)
            colour += ((sharp * sharp * (3 - 2 * sharp) - lips)[:, None]) * (pair[1] - pair[0])
        return np.clip(colour, 0.001, 1)

    def _catchlight(self, triangle: Array, normals: Array) -> Array:
        """[n, 3] mirror images of two lights on the corneas, as a camera in front sees them.

        They are painted on: spherical harmonics are too soft to let them wander with the view, and eyes without a
        spark look dead.
        """
        out = np.zeros((len(triangle), 3))
        cornea = np.isin(self.head.face_material[self.head.triangle_face[triangle]], material_ids(self.head, ("iris",)))
        n = normals[cornea] / np.maximum(np.linalg.norm(normals[cornea], axis=1, keepdims=True), 1e-9)
        mirror = 2 * n[:, 2:] * n - [0, 0, 1]
        for azimuth, elevation, radius, strength in CATCHLIGHTS:
            angle = np.arccos(np.clip(mirror @ light.direction(azimuth, elevation), -1, 1))
            edge = np.clip((np.radians(radius) - angle) / np.radians(2.5) + 0.5, 0, 1)
            out[cornea] += (strength * edge)[:, None]
        return out

    def colours(self, triangle: Array, bary: Array, tint: Array) -> Array:
        """Spherical harmonics [n, 9, 3] in display space of points on triangles; tint [n] multiplies their albedo."""
        head, out = self.head, np.empty((len(triangle), 9, 3))
        for at in range(0, len(triangle), 8192):
            rows = slice(at, at + 8192)
            index, b = head.triangles[triangle[rows]], bary[rows]
            base = self.albedo(triangle[rows], b) * tint[rows, None]
            base *= np.einsum("nk,nkc->nc", b, self.irradiance[index])
            gloss = np.einsum("nk,nkjc->njc", b, self.gloss[index])
            normals = np.einsum("nk,nkc->nc", b, self.normals[index])
            gloss += self._catchlight(triangle[rows], normals)[:, None]
            seen = np.clip(linear_to_srgb(base[:, None] + gloss), 0, 1.2)
            out[rows] = fit_views(seen, normals, self.views)
        return out


def fit_views(colour: Array, normals: Array, views: Array) -> Array:
    """SH of degree 2 [n, 9, 3] for colours [n, j, 3] seen from `views` [j, 3]; views from behind hardly count.

    A Gaussian's direction runs from the camera to it, hence the minus. Ridge on the view-dependent part: few views see
    a point well, and an unchecked fit would invent colours for the others.
    """
    basis = harmonics.basis(-views, 9)
    weight = np.clip(normals @ views.T, 0, 1) + 0.02
    square = (basis[:, :, None] * basis[:, None, :]).reshape(len(views), 81)
    matrix = (weight @ square).reshape(-1, 9, 9)
    matrix += np.diag([0.0] + [0.05] * 3 + [0.12] * 5) * (weight.sum(1) / len(views))[:, None, None]
    right = np.matmul(basis.T, weight[:, :, None] * (colour - 0.5))
    return np.linalg.solve(matrix, right)
