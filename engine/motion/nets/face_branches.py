"""EmoTalkingGaussian's three branches (its eq. 3-5) as a motion of the mesh: mouth, face and emotion.

    mouth    d_m = f_M(H_M(mu) + a)                                     from speech alone
    face     d_u = f_F(H_F(mu) + a_r + u_r),  a_r = A_a * a, u_r = A_u * u
    emotion  d_e = f_E(H_E(mu + d_u) + e_r),  e_r = A_e * e              read where the point is by then

mu are vertices of the default head (`Sites`), d their displacement in mm; H tri-plane hash encoders; A attention in
[0, 1] for each channel, from the place and the condition (the text: "derived from a and u"; its base TalkingGaussian
derives it from the place: here both). Scale and rotation of Gaussians have no place on a mesh. What the points do is
projected onto the shared basis by least squares, so that the last layer is the one of all motion networks; `missed`
is what the basis does not hold of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from engine.core.anatomy import Head
from engine.core.names import ARTICULATION
from engine.core.units import MM
from engine.head.points import face_points, farthest
from engine.motion.nets.basis import Basis, shape_rows
from engine.motion.nets.triplane import TriPlaneHash

INPUT = len(ARTICULATION) + 64
UNITS, AFFECT = 16, 2  # upper-face units on two sides; valence and arousal
EDGE = 20  # rows that the audio nets look to either side (0.4 s)
HEAR = 128  # width inside an audio net: it runs once a row, a branch at every point of it
FACE, MOUTH, LIPS = 240, 40, 56  # points; of the face's so many lie on the lips
_WITHIN = ("mouth_inside", "teeth_lower", "tongue")
_MOVES_MM = 0.2  # of a point inside the mouth that is worth a place
_LIP_WEIGHT = 3.0  # in the projection, as lips weigh in the loss (1 + 2)
_RIDGE = 1e-5
OUT_MM = 4.0  # unit of what a branch gives, about what lips move: it learns faster than from millimetres
CHUNK = 48  # rows at a time when the system runs: 48 x 240 x 64 numbers stay near the processor


@dataclass(frozen=True)
class Sites:
    """Where the branches are read. vertices [p]: of the default head, the face's first, then the mouth's; face: how
    many are the face's; points [p, 3] metres at rest; rows [k, p, 3]: what each component of the basis moves there, mm;
    rest [k]: coefficients of the face at rest; project [p * 3, k]: displacements from it in mm -> coefficients less
    `rest`, by weighted least squares with weight [p]."""

    vertices: np.ndarray
    face: int
    points: np.ndarray
    rows: np.ndarray
    rest: np.ndarray
    project: np.ndarray
    weight: np.ndarray


def sites_of(head: Head, basis: Basis, face: int = FACE, mouth: int = MOUTH) -> Sites:
    """The points of this head: lips and landmarks first, then evenly over the moving skin and what moves in the mouth.

    The same head and basis give the same points.
    """
    moved = np.einsum("kc,cvx->kvx", basis.out.astype(np.float64), shape_rows(head).reshape(len(basis.mean), -1, 3))
    lips = np.flatnonzero(np.asarray(head.masks["lips"]) > 0.5)
    dense = lips[farthest(head.template[lips].astype(np.float64), min(LIPS, face // 3, len(lips)))]
    marked = np.unique(np.concatenate([dense, np.unique(head.landmarks["face68"])]))
    skin = face_points(head, face, marked[: face - 1] if len(marked) >= face else marked)
    within = np.max([np.asarray(head.masks[name]) for name in _WITHIN], axis=0) > 0.5
    inner = np.flatnonzero(within & (_reach(moved) > _MOVES_MM))
    vertices = np.concatenate([skin, inner[farthest(head.template[inner].astype(np.float64), mouth)]])
    rows = moved[:, vertices]
    weight = np.where(np.isin(vertices, lips), _LIP_WEIGHT, 1.0)
    project = _projection(rows, weight)
    points = head.template[vertices].astype(np.float32)
    rest = basis.coefficients(np.zeros((1, len(basis.mean)), np.float32))[0]
    return Sites(vertices, len(skin), points, rows.astype(np.float32), rest, project, weight)


class Part(NamedTuple):
    """Some of the face's points for a training step, with all of the mouth's: a third of the points in a step allows
    three times the rows. face [n]: which; every [n + m]: the same among all points; project [(n + m) * 3, k]."""

    face: Tensor
    every: Tensor
    project: Tensor


def parts_of(sites: Sites, count: int, parts: int, seed: int = 0) -> list[Part]:
    """`parts` draws of `count` of the face's points (all of them where there are no more)."""
    rng, out = np.random.default_rng(seed), []
    mouth = np.arange(sites.face, len(sites.vertices))
    for _ in range(parts):
        face = np.sort(rng.choice(sites.face, min(count, sites.face), replace=False))
        every = np.concatenate([face, mouth])
        project = _projection(sites.rows[:, every].astype(np.float64), sites.weight[every])
        out.append(Part(*(torch.from_numpy(a) for a in (face, every, project))))
    return out


def _reach(moved: np.ndarray) -> np.ndarray:
    """How far the components move each vertex at one mm of root mean square over the face. [v]."""
    return np.sqrt(np.square(moved).sum((0, 2)))


def _projection(rows: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """[p * 3, k]: weighted least squares with a ridge so slight that it only steadies components nothing here sees."""
    flat = rows.reshape(len(rows), -1)
    heavy = flat * np.repeat(weight, 3)
    gram = heavy @ flat.T
    gram += _RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram))
    return np.linalg.solve(gram, heavy).T.astype(np.float32)


class Attention(nn.Module):
    """Region-aware condition A * c: features [.., f] of the place, condition [.., c] -> [.., c]."""

    def __init__(self, features: int, conditions: int):
        super().__init__()
        self.place = nn.Sequential(nn.Linear(features, 32), nn.ReLU(), nn.Linear(32, conditions))
        self.said = nn.Linear(conditions, conditions, bias=False)

    def forward(self, features: Tensor, condition: Tensor) -> Tensor:
        """features [p, f] or [t, p, f], condition [t, 1, c] -> [t, p, c]."""
        return torch.sigmoid(self.place(features) + self.said(condition)) * condition


class Manipulation(nn.Module):
    """f: features of a place and conditions -> displacement in mm; three layers.

    The first layer takes features and conditions apart, which is the same as one layer over both (`_plain_branch`), and
    reads a place that does not move only once for all rows.
    """

    def __init__(self, features: int, conditions: int, hidden: int):
        super().__init__()
        self.place, self.said = nn.Linear(features, hidden), nn.Linear(conditions, hidden, bias=False)
        self.between, self.last = nn.Linear(hidden, hidden), nn.Linear(hidden, 3)
        with torch.no_grad():
            self.last.weight.mul_(0.1)
            self.last.bias.zero_()

    def forward(self, features: Tensor, condition: Tensor) -> Tensor:
        """features [p, f] or [t, p, f], condition [t, p or 1, c] -> [t, p, 3]."""
        inner = torch.relu(self.between(torch.relu(self.place(features) + self.said(condition))))
        return OUT_MM * self.last(inner)


def audio_net(width: int) -> nn.Sequential:
    """Speech [b, 75, t + 2 EDGE] -> a [b, width, t]; each branch has its own, as in TalkingGaussian."""
    return nn.Sequential(
        nn.Conv1d(INPUT, HEAR, 5), nn.GELU(), nn.Conv1d(HEAR, HEAR, 5, dilation=2), nn.GELU(),
        nn.Conv1d(HEAR, HEAR, 5, dilation=4), nn.GELU(), nn.Conv1d(HEAR, width, 3, dilation=6),
    )  # fmt: skip


class Made(NamedTuple):
    """What the branches give, mm: mouth [b, t, m, 3]; face and emotion [b, t, f, 3]; coefficients [b, t, k]."""

    mouth: Tensor
    face: Tensor
    emotion: Tensor
    coefficients: Tensor

    @property
    def displacement(self) -> Tensor:
        """All points' displacement in mm, in the order of `Sites`. [b, t, p, 3]."""
        return torch.cat([self.face + self.emotion, self.mouth], 2)


class FaceBranches(nn.Module):
    """(speech [b, t + 2 EDGE, 75], units [b, t, 16], affect [b, t, 2]) -> Made.

    audio, hidden: widths. combined: one face branch that also hears valence and arousal; emotion=False: no emotion
    branch (both ablations of the paper's table 4). No row hangs on the window that it is in.
    """

    def __init__(
        self, sites: Sites, audio: int = 32, hidden: int = 64, combined: bool = False, emotion: bool = True
    ):  # fmt: skip
        super().__init__()
        self.count = sites.face
        points = torch.from_numpy(sites.points)
        low, high = points.amin(0) - 0.02, points.amax(0) + 0.02
        low_m, high_m = points[sites.face :].amin(0) - 0.005, points[sites.face :].amax(0) + 0.005
        self.points: Tensor
        self.project: Tensor
        self.rows: Tensor
        self.rest: Tensor
        for name in ("points", "project", "rows", "rest"):
            self.register_buffer(name, torch.from_numpy(getattr(sites, name)), persistent=False)
        self.combined, self.with_emotion = combined, emotion and not combined
        encoders = {"mouth": TriPlaneHash(low_m, high_m), "face": TriPlaneHash(low, high)}
        place, told = encoders["face"].out, UNITS + (AFFECT if combined else 0)
        nets = {"mouth": Manipulation(place, audio, hidden), "face": Manipulation(place, audio + told, hidden)}
        looks = {"speech": Attention(place, audio), "units": Attention(place, told)}
        if self.with_emotion:
            encoders["emotion"] = TriPlaneHash(low, high)
            nets["emotion"], looks["affect"] = Manipulation(place, AFFECT, hidden), Attention(place, AFFECT)
        self.planes, self.nets, self.looks = nn.ModuleDict(encoders), nn.ModuleDict(nets), nn.ModuleDict(looks)
        self.hear = nn.ModuleDict({"mouth": audio_net(audio), "face": audio_net(audio)})

    def branch(self, name: str) -> nn.ModuleList:
        """The modules of one branch, as each is trained apart (section 3.4): "mouth", "face" or "emotion"."""
        looks = {"mouth": (), "face": ("speech", "units"), "emotion": ("affect",)}[name]
        own = [self.planes[name], self.nets[name], *(self.looks[look] for look in looks)]
        return nn.ModuleList([*own, *([self.hear[name]] if name in self.hear else [])])

    def last_layers(self) -> nn.ModuleList:
        """The last layer of each branch."""
        return nn.ModuleList([net.get_submodule("last") for net in self.nets.values()])

    def forward(
        self, speech: Tensor, units: Tensor, affect: Tensor, emotion: bool = True, part: Part | None = None
    ) -> Made:  # fmt: skip
        """emotion=False: the face as its branch leaves it, without the emotion branch. part: of these points alone."""
        b, t = units.shape[:2]
        told = torch.cat([units, affect], -1) if self.combined else units
        mouth = self.mouth(self._heard("mouth", speech))
        places = self.points[: self.count] if part is None else self.points[part.face]
        face = self.face(self._heard("face", speech), told.flatten(0, 1)[:, None], places)
        felt = self.emotion(face, affect.flatten(0, 1)[:, None], places) if emotion else torch.zeros_like(face)
        mouth, face, felt = (part.reshape(b, t, -1, 3) for part in (mouth, face, felt))
        project = None if part is None else part.project
        return Made(mouth, face, felt, self.coefficients(torch.cat([face + felt, mouth], 2), project))

    def _heard(self, name: str, speech: Tensor) -> Tensor:
        """a of every row. [b * t, 1, audio]."""
        return self.hear[name](speech.transpose(1, 2)).transpose(1, 2).flatten(0, 1)[:, None]

    def mouth(self, heard: Tensor) -> Tensor:
        """Eq. 3. heard [n, 1, audio] -> [n, m, 3] mm."""
        return self.nets["mouth"](self.planes["mouth"](self.points[self.count :]), heard)

    def face(self, heard: Tensor, told: Tensor, places: Tensor) -> Tensor:
        """Eq. 4. heard [n, 1, audio], told [n, 1, 16], places [f, 3] metres -> [n, f, 3] mm."""
        features = self.planes["face"](places)
        seen = [self.looks["speech"](features, heard), self.looks["units"](features, told)]
        return self.nets["face"](features, torch.cat(seen, -1))

    def emotion(self, face: Tensor, affect: Tensor, places: Tensor) -> Tensor:
        """Eq. 5. face [n, f, 3] mm: what the face branch gave at places [f, 3] m; affect [n, 1, 2]. [n, f, 3] mm."""
        if not self.with_emotion:
            return torch.zeros_like(face)
        where = places + face / MM
        features = self.planes["emotion"](where.reshape(-1, 3)).reshape(*face.shape[:2], -1)
        return self.nets["emotion"](features, self.looks["affect"](features, affect))

    def coefficients(self, displacement: Tensor, project: Tensor | None = None) -> Tensor:
        """Displacement of all points (or of a part's, by its `project`) [.., p, 3] mm -> coefficients [.., k]."""
        return displacement.flatten(-2) @ (self.project if project is None else project) + self.rest

    def displacement_of(self, coefficients: Tensor) -> Tensor:
        """The way back: coefficients [.., k] -> displacement of all points from rest [.., p, 3] mm."""
        moved = (coefficients - self.rest) @ self.rows.flatten(1)
        return moved.reshape(*coefficients.shape[:-1], -1, 3)

    def missed(self, made: Made) -> Tensor:
        """How far each point is from where the basis puts it, mm. [b, t, p]."""
        return (made.displacement - self.displacement_of(made.coefficients)).norm(dim=-1)

    def plain(self, speech: Tensor, units: Tensor, affect: Tensor) -> Made:
        """`forward` by the equations alone: one row at a time, features and conditions side by side."""
        rows = [
            [self._plain_row(speech[i, j : j + 2 * EDGE + 1], units[i, j], affect[i, j]) for j in range(units.shape[1])]
            for i in range(len(units))
        ]
        parts = (torch.stack([torch.stack([row[k] for row in clip]) for clip in rows]) for k in range(3))
        mouth, face, felt = parts
        return Made(mouth, face, felt, self.coefficients(torch.cat([face + felt, mouth], 2)))

    def _plain_row(self, window: Tensor, units: Tensor, affect: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """window [2 EDGE + 1, 75], units [16], affect [2] -> mouth [m, 3], face and emotion [f, 3]."""
        said = {name: hear(window.T[None])[0, :, 0] for name, hear in self.hear.items()}
        inside, outside = self.points[self.count :], self.points[: self.count]
        mouth = _plain_branch(self.nets["mouth"], self.planes["mouth"](inside), said["mouth"])
        features, told = self.planes["face"](outside), torch.cat([units, affect]) if self.combined else units
        heard = [_plain_look(self.looks[n], features, c) for n, c in (("speech", said["face"]), ("units", told))]
        face = _plain_branch(self.nets["face"], features, torch.cat(heard, 1))
        if not self.with_emotion:
            return mouth, face, torch.zeros_like(face)
        features = self.planes["emotion"](outside + face / MM)
        return (
            mouth,
            face,
            _plain_branch(self.nets["emotion"], features, _plain_look(self.looks["affect"], features, affect)),
        )


def _plain_look(look: nn.Module, features: Tensor, condition: Tensor) -> Tensor:
    """Attention of places [p, f] on one condition [c]. [p, c]."""
    assert isinstance(look, Attention)
    return torch.sigmoid(look.place(features) + look.said(condition)) * condition


def _plain_branch(net: nn.Module, features: Tensor, condition: Tensor) -> Tensor:
    """f of features [p, f] and conditions [p, c] or [c], one layer over both side by side. [p, 3]."""
    assert isinstance(net, Manipulation)
    both = torch.cat([features, condition.expand(len(features), -1)], 1)
    weight = torch.cat([net.place.weight, net.said.weight], 1)
    first = torch.relu(both @ weight.T + net.place.bias)
    return OUT_MM * net.last(torch.relu(net.between(first)))


def of_config(head: Head, basis: Basis, config: Mapping[str, Any]) -> FaceBranches:
    """The network of a checkpoint's configuration: points of the face and the mouth, and FaceBranches' arguments."""
    own = dict(config)
    sites = sites_of(head, basis, int(own.pop("face", FACE)), int(own.pop("mouth", MOUTH)))
    return FaceBranches(sites, **own)
