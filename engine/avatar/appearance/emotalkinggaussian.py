"""Three branches (EmoTalkingGaussian eq. 3-5): inside the mouth by speech, face by speech and units, emotion by V/A.

    mouth    d_mu           = f_M(H_M(mu) + a)
    face     d_mu, d_s, d_q = f_F(H_F(mu) + a_r + u_r),  a_r = A_a * a, u_r = A_u * u
    emotion  d_mu, d_s, d_q = f_E(H_E(mu + d_mu of the face) + e_r),  e_r = A_e * e

H: tri-plane hash encoders; A: attention in [0, 1] a channel, from the place's features and the condition (the text says
"derived from a", its base TalkingGaussian derives it from the place: here from both). Positions are in metres on the
neutral face; offsets are per vertex in the head's axes (base.PARTS), scales one logarithm. `normal` is the residual of
the normals.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from engine.avatar.appearance.base import AUS, VA, Appearance, Drive, Rest, mlp
from engine.avatar.appearance.drive import MOUTH, SPEECH
from engine.avatar.appearance.triplane import TriPlaneHash
from engine.core.errors import BadInput

HIDDEN, METRES = 64, 0.01  # nets give positions in centimetres
UPPER = (0, 1, 2, 3, 4, 5)  # PAPER17's units of the upper face: 01 02 04 05 06 07 (and the blink, below)
BLINK = AUS - 1


class Attention(nn.Module):
    """Region-aware condition: features [q, f], condition [c] -> [q, c], the condition times a weight in [0, 1]."""

    def __init__(self, features: int, conditions: int):
        super().__init__()
        self.net = mlp((features + conditions, 32, conditions), last=1.0, bias=True)

    def forward(self, features: Tensor, condition: Tensor) -> Tensor:
        spread = condition.expand(len(features), -1)
        return torch.sigmoid(self.net(torch.cat([features, spread], 1))) * spread


class Branches(Appearance):
    """heard: the field of Drive that stands for the audio, "speech" (features of the voice, as in the paper) or "mouth"
    (what jaw, lips and tongue do: for captures, which are stills and hold no voice); speech: its length (0: as drive.py
    has it). mouth, face, emotion: which branches there are; attention=False passes the conditions on as they are;
    normals: whether there is a residual of the normals (all are ablations of the paper)."""

    needs: ClassVar[dict[str, str]] = {"mouth": "speech", "emotion": "va"}
    of_captures: ClassVar[dict[str, Any]] = {"heard": "mouth", "normals": False}

    @classmethod
    def needs_of(cls, config: Mapping[str, Any]) -> dict[str, str]:
        """The mouth's branch needs what is `heard`."""
        return {**cls.needs, "mouth": str(config.get("heard", "speech"))}

    def __init__(
        self, rest: Rest, speech: int = 0, mouth: bool = True, face: bool = True, emotion: bool = True,
        attention: bool = True, normals: bool = True, hidden: int = HIDDEN, heard: str = "speech",
    ):  # fmt: skip
        if heard not in ("speech", "mouth"):
            raise BadInput(f"heard={heard}: the branches hear 'speech' or 'mouth'")
        speech = speech or (SPEECH if heard == "speech" else len(MOUTH))
        super().__init__(
            rest, speech=speech, mouth=mouth, face=face, emotion=emotion, attention=attention, normals=normals,
            hidden=hidden, heard=heard,
        )  # fmt: skip
        self.heard = heard
        low, high = rest.positions.amin(0) - 0.01, rest.positions.amax(0) + 0.01
        names = [name for name, used in (("mouth", mouth), ("face", face), ("emotion", emotion)) if used]
        planes = {name: TriPlaneHash(low, high) for name in names}
        places = {name: plane.out for name, plane in planes.items()}
        self.planes = nn.ModuleDict(planes)
        wide = {"mouth": speech, "face": speech + len(UPPER) + 1, "emotion": VA}
        out = {"mouth": 3, "face": 7, "emotion": 7}
        self.nets = nn.ModuleDict({n: mlp((places[n] + wide[n], hidden, hidden, out[n])) for n in names})
        looks = {"face speech": speech, "face units": len(UPPER) + 1, "emotion": VA} if attention else {}
        self.looks = nn.ModuleDict(
            {n: Attention(places[n.split()[0]], width) for n, width in looks.items() if n.split()[0] in names}
        )
        self.normal = nn.Parameter(torch.zeros(len(rest), 3)) if normals else None

    def train(self, mode: bool = True) -> Branches:
        self._kept: dict[str, Tensor] = {}
        super().train(mode)
        return self

    def _features(self, name: str) -> Tensor:
        """Of the canonical positions, which do not change: kept while the net is not trained."""
        if self.training:
            return self.planes[name](self.rest_positions)
        if name not in self._kept:
            with torch.no_grad():
                self._kept[name] = self.planes[name](self.rest_positions)
        return self._kept[name]

    def _seen(self, look: str, features: Tensor, condition: Tensor) -> Tensor:
        return self.looks[look](features, condition) if look in self.looks else self.everywhere(condition)

    def raw(self, drive: Drive) -> dict[str, Tensor]:
        """{"means": [q, 3], "turns": [q, 3], "log_scales": [q, 1]}; the mouth's branch inside, the others outside."""
        inside = self.rest_mouth[:, None]
        total, audio = self.rest_positions.new_zeros(len(self.rest_positions), 7), getattr(drive, self.heard)
        if "face" in self.nets:
            features = self._features("face")
            units = drive.aus[[*UPPER, BLINK]]
            seen = [self._seen("face speech", features, audio), self._seen("face units", features, units)]
            total = total + (1 - inside) * self.nets["face"](torch.cat([features, *seen], 1))
        if "emotion" in self.nets:
            # Where the vertex is by then: with the mesh's motion, and the face branch's own.
            features = self.planes["emotion"](self.rest_positions + drive.moved + METRES * total[:, :3])
            seen_emotion = self._seen("emotion", features, drive.va)
            total = total + (1 - inside) * self.nets["emotion"](torch.cat([features, seen_emotion], 1))
        if "mouth" in self.nets:
            features = self._features("mouth")
            moved = self.nets["mouth"](torch.cat([features, self.everywhere(audio)], 1))
            total = total + inside * torch.nn.functional.pad(moved, (0, 4))
        return {"means": METRES * total[:, :3], "turns": total[:, 3:6], "log_scales": total[:, 6:]}

    def normals(self, normals: Tensor, shares: Tensor | None = None) -> Tensor:
        """Unit normals [n, 3] with the residual added; shares [n, 3]: the residual at the Gaussians, where they are
        not the vertices. Unchanged without a residual."""
        if self.normal is None:
            return normals
        return torch.nn.functional.normalize(normals + (self.normal if shares is None else shares), dim=-1)


def compose(face: Tensor, mouth: Tensor, background: Tensor) -> Tensor:
    """S9-S10: the face's picture over the mouth's over a background. face, mouth [h, w, 4] premultiplied (the paper's
    C times A), background [3] or [h, w, 3] -> [h, w, 3]."""
    behind = mouth[..., :3] + background * (1 - mouth[..., 3:])
    return face[..., :3] + behind * (1 - face[..., 3:])
