"""What a mesh holds beside the skin: eyeballs, teeth, gums, tongue, hairs; and how each of them takes part in a shape.

Nothing says which part of a brought mesh is what, so position decides: the source's parts are carried along by the
registered skin, and a piece of the target is what it lies nearest to.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.core.anatomy import Head
from engine.head.transfer.align import Similarity, fit_similarity
from engine.head.transfer.surface import Surface, components, edges_of

INNER = ("teeth_upper", "gums_upper", "teeth_lower", "gums_lower", "tongue")
EYES = ("eye_left", "eye_right")
NEAR_M = 0.015  # a piece farther than this from every inner part is none
SKIN_SHARE = 0.2  # of the mesh's area: a piece this large is skin
TOOTH = 300  # vertices: a smaller piece is a tooth, which moves as one
RIGID_SPREAD = 0.3  # a piece whose vertices' jaw shares differ less than this moves as one: a tooth
ROUND, OUT = (
    0.6,
    1.2,
)  # an eyeball's shortest side to its longest; how far its cornea may stand out (part of the radius)
TONGUE = ("tongueOut", "tongueTipUp", "tongueBetweenTeeth", "tongueBackUp")
JAW = ("jawOpen", "jawLeft", "jawRight", "jawForward")


@dataclass(frozen=True)
class Pieces:
    """skin [v] bool: registered against; eyes: name -> vertices; inner [n]: vertices of teeth, gums, tongue, with
    jaw [n] in [0, 1] and tongue [n] in [0, 1]; close [c]: vertices of pieces that lie on the skin (hairs, lashes)."""

    skin: np.ndarray
    eyes: dict[str, np.ndarray]
    inner: np.ndarray
    jaw: np.ndarray
    tongue: np.ndarray
    close: np.ndarray


def skin_of(surface: Surface) -> np.ndarray:
    """[v] bool: the pieces that make up the body. The largest by area, and any other of a fifth of the whole."""
    piece = components(surface.triangles, len(surface.points))
    area = np.bincount(piece[surface.triangles[:, 0]], surface.area, piece.max() + 1)
    big = area >= max(SKIN_SHARE * area.sum(), 0)
    big[np.argmax(area)] = True
    return big[piece]


def local_similarity(rest: np.ndarray, registered: np.ndarray, centre: np.ndarray, trust: np.ndarray) -> Similarity:
    """How the skin round a place (aligned coordinates) was carried by the registration."""
    distance = np.linalg.norm(rest - centre, axis=1)
    rows = np.argsort(np.where(trust > 0, distance, np.inf))[:400]
    return fit_similarity(rest[rows], registered[rows])


def sort_out(
    source: Head, sim: Similarity, rest: np.ndarray, registered: np.ndarray, trust: np.ndarray, target: Surface
) -> Pieces:
    """Pieces of the target. rest, registered [n, 3]: the source's skin aligned and registered; trust [n]."""
    from scipy.spatial import cKDTree

    piece = components(target.triangles, len(target.points))
    skin = skin_of(target)
    warped, owner = [], []
    for k, name in enumerate((*INNER, *EYES)):
        rows = source.parts.get(name)
        if rows is not None and len(rows):
            part = sim(source.template[rows].astype(np.float64))
            warped.append(local_similarity(rest, registered, part.mean(0), trust)(part))
            owner.append(np.full(len(part), k))
    eyes: dict[str, np.ndarray] = {}
    seen: dict[str, list[np.ndarray]] = {name: [] for name in EYES}
    inner: list[np.ndarray] = []
    jaw: list[np.ndarray] = []
    tongue: list[np.ndarray] = []
    close: list[np.ndarray] = []
    if not warped:
        return _pieces(skin, eyes, inner, jaw, tongue, np.flatnonzero(~skin))
    tree, label = cKDTree(np.concatenate(warped)), np.concatenate(owner)
    body = cKDTree(registered)
    for number in np.unique(piece[~skin]):
        rows = np.flatnonzero((piece == number) & ~skin)
        distance, at = tree.query(target.points[rows], k=8)
        kind = label[at]
        eye = [(kind[:, 0] == len(INNER) + k).mean() for k in range(len(EYES))]
        far = float(np.median(distance[:, 0]))
        if max(eye) > 0.5 and far < NEAR_M:
            seen[EYES[int(np.argmax(eye))]].append(rows)
        elif far < NEAR_M and far < float(np.median(body.query(target.points[rows])[0])) + 0.004:
            weight = 1 / np.maximum(distance, 1e-4)
            weight /= weight.sum(1, keepdims=True)
            lower = (weight * (kind >= INNER.index("teeth_lower"))).sum(1)
            is_tongue = (weight * (kind == INNER.index("tongue"))).sum(1)
            if lower.std() < RIGID_SPREAD or len(rows) < TOOTH:
                lower[:] = round(float(lower.mean()))
                is_tongue[:] = is_tongue.mean() if is_tongue.mean() > 0.8 else 0.0
            else:
                lower, is_tongue = (_settled(target, rows, values) for values in (lower, is_tongue))
            inner.append(rows)
            jaw.append(lower)
            tongue.append(is_tongue)
        else:
            close.append(rows)
    for name, found in seen.items():
        if found:
            eyes[name], others = _eyeball(target.points, found)
            close += others
    return _pieces(skin, eyes, inner, jaw, tongue, np.concatenate(close) if close else np.zeros(0, int))


def _eyeball(points: np.ndarray, found: list[np.ndarray]) -> tuple[np.ndarray, list[np.ndarray]]:
    """(vertices of the ball and what lies in or on it, the other pieces) of pieces that lie where an eye is: lashes do
    too, and stand out from it."""
    spread = [np.ptp(points[rows], axis=0) for rows in found]
    round_ = [s.min() > ROUND * s.max() for s in spread]
    if not any(round_):
        return np.concatenate(found), []
    ball = max((k for k, yes in enumerate(round_) if yes), key=lambda k: float(spread[k].max()))
    centre = 0.5 * (points[found[ball]].min(0) + points[found[ball]].max(0))
    reach = OUT * 0.5 * float(spread[ball].max())
    inside = [bool((np.linalg.norm(points[rows] - centre, axis=1) < reach).all()) for rows in found]
    own = [rows for rows, yes in zip(found, inside, strict=True) if yes]
    return np.concatenate(own), [rows for rows, yes in zip(found, inside, strict=True) if not yes]


def _settled(target: Surface, rows: np.ndarray, values: np.ndarray, rounds: int = 40) -> np.ndarray:
    """Values [n] in [0, 1] of the vertices `rows` of one piece, smoothed along its surface and driven apart again: gums
    between the teeth lie nearest to the wrong jaw vertex by vertex, but not as a whole."""
    from scipy.sparse import coo_matrix, diags

    number = np.full(len(target.points), -1)
    number[rows] = np.arange(len(rows))
    edges = number[edges_of(target.triangles)]
    edges = edges[(edges >= 0).all(1)]
    both = np.concatenate([edges, edges[:, ::-1]])
    near = coo_matrix((np.ones(len(both)), (both[:, 0], both[:, 1])), shape=(len(rows), len(rows))).tocsr()
    mean = diags(1 / np.maximum(np.asarray(near.sum(1)).ravel(), 1)) @ near
    for _ in range(rounds):
        values = 0.3 * values + 0.7 * (mean @ values)
    t = np.clip((values - 0.3) / 0.4, 0, 1)
    return t * t * (3 - 2 * t)


def _pieces(
    skin: np.ndarray, eyes: dict[str, np.ndarray], inner: list[np.ndarray], jaw: list[np.ndarray],
    tongue: list[np.ndarray], close: np.ndarray,
) -> Pieces:  # fmt: skip
    def joined(values: list[np.ndarray]) -> np.ndarray:
        return np.concatenate(values) if values else np.zeros(0)

    return Pieces(skin, eyes, joined(inner).astype(np.int64), joined(jaw), joined(tongue), close.astype(np.int64))


def rigid_motion(rest: np.ndarray, moved: np.ndarray) -> Similarity:
    """Rotation and shift that best take rest [n, 3] to moved [n, 3] (Kabsch)."""
    a, b = rest - rest.mean(0), moved - moved.mean(0)
    u, _, vt = np.linalg.svd(b.T @ a)
    turn = u @ np.diag([1, 1, np.sign(np.linalg.det(u @ vt))]) @ vt
    return Similarity(1.0, turn, moved.mean(0) - turn @ rest.mean(0))


def inner_offsets(
    source: Head, name: str, sim: Similarity, carry: Similarity, near: Similarity, pieces: Pieces, points: np.ndarray
) -> np.ndarray:
    """[n, 3] offsets of the inner vertices in shape `name`: the lower teeth's rigid motion by their share in the jaw,
    and the source tongue's own offsets where there is a tongue. points [n, 3]: those vertices; carry: of offsets;
    near: the aligned source's mouth onto the target's."""
    shape = source.shapes[source.shape_index[name]].astype(np.float64)
    out = np.zeros((len(points), 3))
    teeth = source.parts.get("teeth_lower")
    if teeth is not None and np.abs(shape[teeth]).max(initial=0) > 1e-5:
        rest = sim(source.template[teeth].astype(np.float64))
        motion = rigid_motion(rest, rest + carry(shape[teeth]))
        out += pieces.jaw[:, None] * (motion(points) - points)
    rows = source.parts.get("tongue")
    if name in TONGUE and rows is not None and pieces.tongue.any():
        from scipy.spatial import cKDTree

        is_tongue = pieces.tongue > 0.3
        rest = sim(source.template[rows].astype(np.float64))
        mine = points[is_tongue]
        # Both tongues stretched onto the same box: what is the tip of one is the tip of the other.
        low, high = rest.min(0), rest.max(0)
        unit = (mine - mine.min(0)) / np.maximum(np.ptp(mine, axis=0), 1e-9)
        distance, at = cKDTree(rest).query(low + unit * (high - low), k=min(6, len(rows)))
        weight = 1 / np.maximum(distance, 1e-5)
        weight /= weight.sum(1, keepdims=True)
        offsets = carry(shape[rows])
        moved = np.einsum("nk,nkc->nc", weight, offsets[at])
        # What moves most arrives where the source's tongue does, wherever this one lies at rest: the tip that is to
        # come out between the lips must not come out through the chin.
        there = np.einsum("nk,nkc->nc", weight, near(rest)[at])
        moved += (there - mine) * (np.linalg.norm(moved, axis=1) / np.linalg.norm(offsets, axis=1).max())[:, None]
        out[is_tongue] += pieces.tongue[is_tongue, None] * moved
    return out
