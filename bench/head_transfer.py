"""Shapes carried to other meshes, measured: on truth (the default head as another person, meshed anew), on ICT-FaceKit.

    python bench/head_transfer.py --json                     # both; ICT needs ../shared/data/heads/ict_slim.npz
    python bench/head_transfer.py --parts truth --points 8 --coarse

Truth: an identity is folded into the template, every triangle of the skin is cut in four and the whole replaced by its
dual mesh (a vertex in every triangle: none of the old vertices is left; --coarse leaves out the cutting, so that rims
lose a few tenths of a millimetre), points are picked with an error, and each shape's own offsets must come back.
Errors are mean distances over the vertices that the shape moves by more than a tenth of its largest offset, in parts of
their mean displacement there. The five people lie in the span of the default head's identity directions, which the
transfer fits first; the two called "beyond" have smooth bumps as well, which no identity makes: they have no bar.

ICT: another sculptor's mesh, so directions, closed lids and crossings are measured, the latter two by rays and edges
that pierce triangles, which share no code with the transfer.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from engine.core.anatomy import Head  # noqa: E402
from engine.head.files import save_head  # noqa: E402
from engine.head.importers import Options  # noqa: E402
from engine.head.importers.assemble import build  # noqa: E402
from engine.head.importers.obj import Mesh  # noqa: E402
from engine.head.importers.shapes import ICT_FACE68, assemble  # noqa: E402
from engine.head.library import load_head  # noqa: E402
from engine.head.transfer.run import transfer_head  # noqa: E402

ICT = ROOT.parent / "shared" / "data" / "heads" / "ict_slim.npz"
PICKS = (
    "outer_eye_right", "inner_eye_right", "inner_eye_left", "outer_eye_left", "nose_tip", "mouth_left", "mouth_right",
    "menton", "upper_lid_left", "lower_lid_left", "upper_lid_right", "lower_lid_right", "lip_upper_outer",
    "lip_lower_outer",
)  # fmt: skip
PICK_ERROR_M = 0.0006  # standard deviation in each axis: a millimetre in all
PEOPLE = {
    "older": [0.0, 0.6, -0.5, 0.0, 0.0, 0.0],
    "man": [0.5, 0.0, 0.0, 0.5, -0.25, -0.25],
    "heavy older man": [0.8, 0.3, 0.4, 0.5, 0.0, -0.3],
    "woman": [-0.5, 0.0, 0.2, -0.2, 0.4, -0.2],
    "other features": [0.2, 0.0, 0.0, 0.0, 0.0, 0.0, 0.3, 0.5, -0.5, 0.5, 0.6, -0.5, 0.6, 0.5, -0.5],
}  # weights of the first columns of Head.identity (engine.head.identity.NAMES)
BEYOND = {"beyond: woman": ("woman", 1), "beyond: man": ("man", 2)}
BUMPS, BUMP_M, WIDE_M = 24, 0.0012, 0.018  # how many on each side, their size (deviation in each axis), their width
MOVED = 0.1
LIDS, LIPS = 0.015, 0.020  # metres round the eye's and the mouth's middle
ICT_TONGUE, ICT_TEETH = (14062, 17039), (17039, 21451)  # vertices of gums and tongue, of teeth (ICT-FaceKit's README)
JAWS = (0.4, 0.5, 0.7, 1.0)
DEEP_M = 0.0001  # an edge that sticks through a triangle by less has touched it


def dual(triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(corners [n, 3], triangles [m, 3]): the dual mesh. Vertex i is the middle of the old triangle `corners[i]`; every
    old vertex inside the mesh becomes a fan of triangles round it."""
    after: dict[int, dict[int, tuple[int, int]]] = {}
    for i, (a, b, c) in enumerate(triangles.tolist()):
        for before, here, then in ((c, a, b), (a, b, c), (b, c, a)):
            after.setdefault(here, {})[before] = (i, then)
    out = []
    for steps in after.values():
        first = next(iter(steps))
        at, ring = first, []
        while at in steps and len(ring) < 64:
            i, at = steps[at]
            ring.append(i)
            if at == first:
                break
        if at == first and len(ring) > 2:
            # Stepping from the edge before to the edge after runs clockwise.
            ring.reverse()
            out += [[ring[0], ring[k], ring[k + 1]] for k in range(1, len(ring) - 1)]
    return np.asarray(triangles), np.array(out)


def halved(triangles: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """(ends [e, 2], triangles [4 m, 3]): every triangle cut in four; vertex count + i is the middle of ends[i]."""
    sides = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    ends, which = np.unique(np.sort(sides, axis=1), axis=0, return_inverse=True)
    ab, bc, ca = which.reshape(3, -1) + count
    a, b, c = triangles.T
    return ends, np.concatenate([np.c_[a, ab, ca], np.c_[ab, b, bc], np.c_[ca, bc, c], np.c_[ab, bc, ca]])


def person(
    head: Head, identity: list[float], seed: int = 0, fine: bool = True
) -> tuple[Head, dict[str, Any], Callable[[np.ndarray], np.ndarray]]:
    """(target without shapes, picked points, carry): carry takes values [v, 3] of the head to the target's skin, which
    comes first among its vertices."""
    whole = head.template + head.identity[:, :, : len(identity)] @ np.asarray(identity, np.float64)
    skin = head.parts["skin"]
    inside = np.zeros(len(head.template), bool)
    inside[skin] = True
    triangles = head.triangles[inside[head.triangles].all(1)]
    ends = np.zeros((0, 2), int)
    if fine:
        ends, triangles = halved(triangles, len(whole))
    corners, triangles = dual(triangles)

    def carry(values: np.ndarray) -> np.ndarray:
        return np.concatenate([values, values[ends].mean(1)])[corners].mean(1)

    points, faces = [carry(whole)], [triangles]
    for name in ("eye_left", "eye_right", "teeth_upper", "teeth_lower", "gums_upper", "gums_lower", "tongue"):
        rows = head.parts[name]
        number = np.full(len(whole), -1)
        number[rows] = np.arange(len(rows)) + sum(map(len, points))
        own = number[head.triangles]
        points.append(whole[rows])
        faces.append(own[(own >= 0).all(1)])
    every = np.concatenate(faces)
    table = np.c_[every, np.full(len(every), -1)].astype(np.int32)
    mesh = Mesh(np.concatenate(points), table, np.zeros((0, 2)), np.full_like(table, -1), np.zeros(len(table), int))
    rng = np.random.default_rng(seed)
    picks = {n: (whole[head.landmarks[n][0]] + rng.normal(size=3) * PICK_ERROR_M).tolist() for n in PICKS}
    return build(mesh, 1.0, Options(name="person"), Path("person")), picks, carry


def bumped(head: Head, seed: int) -> tuple[Head, float]:
    """(the head with mirrored smooth bumps on its neutral face, their root mean square in millimetres on the skin)."""
    rng = np.random.default_rng(seed)
    rest = head.template.astype(np.float64)
    low, high = rest[head.parts["skin"]].min(0), rest[head.parts["skin"]].max(0)
    centres = rng.uniform((0, low[1] + 0.3 * (high[1] - low[1]), 0.5 * high[2]), (0.07, high[1], high[2]), (BUMPS, 3))
    change = np.zeros_like(rest)
    for centre, size in zip(centres, rng.normal(0, BUMP_M, (BUMPS, 3)), strict=True):
        for mirror in (np.ones(3), np.array([-1.0, 1, 1])):
            near = np.exp(-((rest - centre * mirror) ** 2).sum(1) / (2 * WIDE_M**2))
            change += near[:, None] * size * mirror
    face = head.parts["skin"][head.template[head.parts["skin"], 2] > 0.5 * high[2]]
    size = float(np.sqrt((change[face] ** 2).sum(1).mean()) * 1000)
    return dataclasses.replace(head, template=(rest + change).astype(np.float32)), size


def errors(head: Head, made: Head, carry: Callable[[np.ndarray], np.ndarray]) -> dict[str, float]:
    """Shape -> mean error in the moved region as a part of the mean displacement there."""
    out = {}
    for name in made.shape_names:
        truth = carry(head.shapes[head.shape_index[name]].astype(np.float64))
        size = np.linalg.norm(truth, axis=1)
        if size.max() < 1e-4:
            continue  # the tongue's
        moved = size > MOVED * size.max()
        off = made.shapes[made.shape_index[name]][: len(truth)] - truth
        out[name] = float(np.linalg.norm(off[moved], axis=1).mean() / size[moved].mean())
    return out


def truth(points: int, fine: bool) -> dict[str, Any]:
    """Figures of every person of PEOPLE."""
    head = load_head()
    out: dict[str, Any] = {}
    for name in (*PEOPLE, *BEYOND):
        whose, seed = BEYOND.get(name, (name, None))
        other, size = bumped(head, seed) if seed is not None else (head, 0.0)
        target, picks, carry = person(other, PEOPLE[whose], fine=fine)
        picks = dict(list(picks.items())[:points])
        made, figures = transfer_head(head, target, picks)
        found = errors(head, made, carry)
        key = ("jawOpen", "mouthSmileLeft", "mouthSmileRight", "eyeBlinkLeft", "eyeBlinkRight")
        out[name] = {
            "mean": round(float(np.mean(list(found.values()))), 4),
            "over_10_percent": {n: round(e, 3) for n, e in found.items() if e > 0.1},
            **{n: round(found[n], 4) for n in key},
            "worst": max((round(e, 3), n) for n, e in found.items()),
            "seconds": figures["seconds"], "vertices": len(target.template),
            **({"bumps_rms_mm": round(size, 2)} if seed is not None else {}),
        }  # fmt: skip
        print(name, out[name], file=sys.stderr, flush=True)
    return out


def read_ict() -> Head:
    """ICT-FaceKit's face from the slim file, with the shapes its sculptor made."""
    data = np.load(ICT, allow_pickle=False)
    vertices = data["v"].astype(np.float64)
    offsets = {}
    for k, name in enumerate(data["names"].tolist()):
        offsets[name] = np.zeros_like(vertices)
        rows = slice(data["off"][k], data["off"][k + 1])
        offsets[name][data["idx"][rows]] = data["val"][rows] / float(data["scale"])
    none = np.full((len(data["f"]), 4), -1, np.int32)
    mesh = Mesh(vertices, data["f"].astype(np.int32), np.zeros((0, 2)), none, np.zeros(len(none), int))
    return assemble(mesh, offsets, [], 0.01, Options(name="ict"), ICT)


def cosine(ours: np.ndarray, theirs: np.ndarray) -> dict[str, float]:
    """Two fields of offsets [n, 3]: "direction", the cosine with each vertex weighted by both lengths; "lengths", the
    cosine of the lengths alone; "plain", that of the fields as they are, which is the product of the two."""
    ways = [np.linalg.norm(field, axis=1) for field in (ours, theirs)]
    both, sizes = float((ways[0] * ways[1]).sum()), float(np.linalg.norm(ours) * np.linalg.norm(theirs))
    dot = float((ours * theirs).sum())
    return {"direction": round(dot / both, 4), "lengths": round(both / sizes, 4), "plain": round(dot / sizes, 4)}


def piercings(points: np.ndarray, first: np.ndarray, second: np.ndarray) -> int:
    """How many edges of triangles `first` [m, 3] stick through triangles `second` by more than DEEP_M at both ends."""
    from scipy.spatial import cKDTree

    edges = np.unique(np.sort(np.concatenate([first[:, [0, 1]], first[:, [1, 2]], first[:, [2, 0]]]), axis=1), axis=0)
    middle = points[second].mean(1)
    near = cKDTree(middle).query_ball_point(points[edges].mean(1), 0.004)
    e = np.repeat(np.arange(len(edges)), [len(n) for n in near])
    t = np.concatenate([np.asarray(n, int) for n in near]) if len(e) else np.zeros(0, int)
    shared = (edges[e][:, :, None] == second[t][:, None]).any((1, 2))
    e, t = e[~shared], t[~shared]
    a, b, (p, q, r) = points[edges[e, 0]], points[edges[e, 1]], (points[second[t, k]] for k in range(3))
    normal = np.cross(q - p, r - p)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-15)
    above, below = ((x - p) * normal for x in (a, b))
    above, below = above.sum(1), below.sum(1)
    through = (above * below < 0) & (np.minimum(abs(above), abs(below)) > DEEP_M)
    hit = a + (above / np.where(through, above - below, 1))[:, None] * (b - a)
    for u, v in ((p, q), (q, r), (r, p)):
        through &= (np.cross(v - u, hit - u) * normal).sum(1) > 0
    return int(through.sum())


def open_lid(points: np.ndarray, skin: np.ndarray, ball: np.ndarray, middle: np.ndarray) -> float:
    """Millimetres: the tallest upright stretch of eyeball that shows from the front between the lids. skin, ball:
    triangles; rays run along z on a grid of 0.05 mm x 0.5 mm round `middle` [3]."""
    x, y = np.arange(-0.012, 0.0121, 0.0005) + middle[0], np.arange(-0.012, 0.012, 0.00005) + middle[1]
    depth = [np.full((len(x), len(y)), -np.inf) for _ in range(2)]
    for buffer, triangles in zip(depth, (skin, ball), strict=True):
        corner = points[triangles]
        near = (np.abs(corner[:, :, :2].mean(1) - middle[:2]) < 0.016).all(1) & (corner[:, :, 2].mean(1) > middle[2])
        for a, b, c in corner[near]:
            _fill(buffer, x, y, a, b, c)
    shows = np.isfinite(depth[1]) & (depth[1] > depth[0])
    longest = 0
    for column in shows:
        edges = np.flatnonzero(np.diff(np.r_[0, column.astype(int), 0]))
        longest = max(longest, int((edges[1::2] - edges[::2]).max(initial=0)))
    return longest * 0.05


def _fill(buffer: np.ndarray, x: np.ndarray, y: np.ndarray, a: np.ndarray, b: np.ndarray, c: np.ndarray) -> None:
    """Keep the larger depth of one triangle on the grid, in place."""
    low, high = np.minimum(np.minimum(a, b), c), np.maximum(np.maximum(a, b), c)
    i, j = (slice(*np.searchsorted(g, (low[k], high[k]))) for k, g in enumerate((x, y)))
    area = (b[0] - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (b[1] - a[1])
    if abs(area) < 1e-15 or not x[i].size or not y[j].size:
        return
    gx, gy = np.meshgrid(x[i], y[j], indexing="ij")
    v = ((gx - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (gy - a[1])) / area
    w = ((b[0] - a[0]) * (gy - a[1]) - (gx - a[0]) * (b[1] - a[1])) / area
    z = np.where((v >= 0) & (w >= 0) & (v + w <= 1), a[2] + v * (b[2] - a[2]) + w * (c[2] - a[2]), -np.inf)
    buffer[i, j] = np.maximum(buffer[i, j], z)


def regions(theirs: Head) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Name -> (upper, lower) triangles of lips and lids, told apart by the motions that ICT's sculptor gave them."""
    rest, triangles = theirs.template.astype(np.float64), theirs.triangles
    skin = triangles[(triangles < 14062).all(1)]
    out = {}
    for name, marks, shape, reach in (
        ("lips", range(48, 68), "jawOpen", LIPS),
        ("left lids", range(42, 48), "eyeBlinkLeft", LIDS),
        ("right lids", range(36, 42), "eyeBlinkRight", LIDS),
    ):
        middle = rest[[ICT_FACE68[k] for k in marks]].mean(0)
        near = (np.linalg.norm(rest - middle, axis=1) < reach) & (rest[:, 2] > middle[2] - 0.5 * reach)
        size = np.linalg.norm(theirs.shapes[theirs.shape_index[shape]], axis=1)
        share = size / size[near].max()
        moves, stays = near & (share > 0.4), near & (share < 0.2)
        if name != "lips":
            stays &= rest[:, 1] < middle[1]
        out[name] = tuple(skin[chosen[skin].all(1)] for chosen in (moves, stays))
    return out


def mouth_inside(theirs: Head, made: Head) -> dict[str, Any]:
    """Edges that pierce, beyond those of the neutral face: a tongue that is out at JAWS of jawOpen through the lower
    lip and the teeth, and the lip of lowerLipToTeeth through the teeth; how near it comes to the incisors, mm."""
    rest, triangles = theirs.template.astype(np.float64), theirs.triangles
    shape = {n: made.shapes[made.shape_index[n]].astype(np.float64) for n in made.shape_names}
    middle = rest[[ICT_FACE68[k] for k in range(48, 68)]].mean(0)
    near = np.linalg.norm(rest - middle, axis=1) < 2 * LIPS
    tongue = np.linalg.norm(shape["tongueOut"], axis=1) > 0.003

    def part(low: int, high: int, also: np.ndarray) -> np.ndarray:
        inside = np.zeros(len(rest), bool)
        inside[low:high] = True
        return triangles[(inside & also)[triangles].all(1)]

    lip = regions(theirs)["lips"][0]  # what goes with the jaw
    teeth, body = part(*ICT_TEETH, near), part(*ICT_TONGUE, tongue)

    def pierced(first: np.ndarray, second: np.ndarray, now: np.ndarray, than: np.ndarray) -> int:
        counts = [piercings(at, first, second) + piercings(at, second, first) for at in (now, than)]
        return max(0, counts[0] - counts[1])

    out: dict[str, Any] = {}
    for jaw in JAWS:
        opened = rest + jaw * shape["jawOpen"]
        now = opened + shape["tongueOut"]
        out[f"tongueOut, jawOpen {jaw:g}"] = {
            "lip": pierced(body, lip, now, opened), "teeth": pierced(body, teeth, now, opened),
        }  # fmt: skip
    bitten = rest + shape["lowerLipToTeeth"]
    out["lowerLipToTeeth"] = {"teeth": pierced(lip, teeth, bitten, rest)}
    upper = teeth[np.linalg.norm(shape["jawOpen"], axis=1)[teeth].max(1) < 1e-4]
    edge = bitten[np.unique(upper)]
    edge = edge[(np.abs(edge[:, 0]) < 0.006) & (edge[:, 2] > edge[:, 2].max() - 0.008)]
    edge = edge[np.argmin(edge[:, 1])]
    out["lowerLipToTeeth"]["to_incisors_mm"] = round(
        float(np.linalg.norm(bitten[np.unique(lip)] - edge, axis=1).min() * 1000), 2
    )
    return out


def ict(save: Path | None) -> dict[str, Any]:
    """Figures of the default head's shapes on ICT-FaceKit's mesh, with its own 68 marks as picked points."""
    theirs = read_ict()
    bare = build_bare(theirs)
    made, figures = transfer_head(load_head(), bare)
    if save:
        save_head(save, made)
    rest = theirs.template.astype(np.float64)
    skin = np.arange(14062)
    out: dict[str, Any] = {
        "error_mm": figures["error_mm"],
        "seconds": figures["seconds"],
        "cosine": {},
        "crossings": {},
    }
    for name in ("jawOpen", "mouthSmileLeft", "mouthSmileRight"):
        ours, own = (h.shapes[h.shape_index[name]][skin].astype(np.float64) for h in (made, theirs))
        out["cosine"][name] = cosine(ours, own)
    out["tongue_and_teeth"] = mouth_inside(theirs, made)
    where = regions(theirs)
    before = {part: piercings(rest, *pair) + piercings(rest, *pair[::-1]) for part, pair in where.items()}
    for k, name in enumerate(made.shape_names):
        base = made.shapes[made.shape_index["jawOpen"]] if name == "mouthClose" else 0
        now = rest + made.shapes[k] + base
        for part, pair in where.items():
            count = piercings(now, *pair) + piercings(now, *pair[::-1]) - before[part]
            if count > 0:
                out["crossings"][f"{name}: {part}"] = count
    triangles = theirs.triangles
    face = triangles[(triangles < 14062).all(1)]
    for side, marks in (("Left", range(42, 48)), ("Right", range(36, 42))):
        ball = np.isin(triangles, theirs.parts[f"eye_{side.lower()}"]).all(1)
        middle = rest[[ICT_FACE68[k] for k in marks]].mean(0) - (0, 0, 0.012)
        for label, head in (("", made), ("own_", theirs)):
            now = rest + head.shapes[head.shape_index[f"eyeBlink{side}"]]
            out[f"{label}blink_gap_mm_{side.lower()}"] = round(open_lid(now, face, triangles[ball], middle), 3)
        out[f"neutral_gap_mm_{side.lower()}"] = round(open_lid(rest, face, triangles[ball], middle), 3)
    return out


def build_bare(theirs: Head) -> Head:
    """The same head without its shapes."""
    v = len(theirs.template)
    none = {"shape_names": (), "shapes": np.zeros((0, v, 3), np.float32), "expression_names": ()}
    return dataclasses.replace(theirs, **none, expression=np.zeros((v, 3, 0), np.float32))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", default=["truth", "ict"], choices=["truth", "ict"])
    parser.add_argument("--points", type=int, default=len(PICKS), help="picked points on the truth meshes")
    parser.add_argument("--coarse", action="store_true", help="truth meshes as coarse as the default head")
    parser.add_argument("--save", type=Path, help="write the ICT head with its new shapes")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    out: dict[str, Any] = {}
    if "truth" in options.parts:
        out["truth"] = truth(options.points, not options.coarse)
    if "ict" in options.parts:
        out["ict"] = ict(options.save) if ICT.is_file() else "needs ../shared/data/heads/ict_slim.npz"
    print(json.dumps(out, indent=None if options.json else 1))


if __name__ == "__main__":
    main()
