"""What every appearance net is given and gives back."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

AUS, EMOTIONS, VA = 17, 13, 2  # EmoDiffTalk's action units; emotions without neutral; valence and arousal
# What a net may give per vertex, in the head's axes at rest (a triangle's own axes change from one to the next, so
# values in them cannot be interpolated): metres, rotation vectors in radians, one log-scale, opacity as a logit.
PARTS = {"means": 3, "turns": 3, "log_scales": 1, "logits": 1}  # and "sh": 3 * terms
CM = 100.0  # distances enter nets in centimetres: about 1 where a face moves far


@dataclass(frozen=True)
class Rest:
    """The avatar at rest, at its q vertices: positions [q, 3] metres, uv [q, 2], and the means over the Gaussians near
    each of sh [q, terms, 3] and of their shortest axes, normals [q, 3]; mouth [q] in [0, 1]: inside the mouth.

    topology: the head's topology_sha256; vertices: a digest of which of its vertices these are (anchors.rest_of).
    Files are tied to an avatar by both."""

    positions: Tensor
    uv: Tensor
    sh: Tensor
    normals: Tensor
    mouth: Tensor
    topology: str = ""
    vertices: str = ""

    def __len__(self) -> int:
        return len(self.positions)

    def tensors(self) -> dict[str, Tensor]:
        """The values by name."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("topology", "vertices")}


@dataclass(frozen=True)
class Drive:
    """One frame: moved [q, 3] metres, the vertices' motion without the head's (anchors.motion_of); aus [17] (PAPER17's
    order, mean of both sides), emotion [13] (EMOTIONS without neutral, times intensity), va [2]; speech [s]: any
    features of the voice; mouth [m]: what the mouth does (jaw, lips and tongue)."""

    moved: Tensor
    aus: Tensor
    emotion: Tensor
    va: Tensor
    speech: Tensor
    mouth: Tensor

    def at_rest(self) -> Drive:
        """The same with nothing moving."""
        return Drive(*(torch.zeros_like(getattr(self, f.name)) for f in fields(self)))


class Appearance(nn.Module):
    """Base of the nets: a subclass computes `raw`; the result here is raw(drive) - raw(rest).

    So a neutral face shows the canonical Gaussians whatever was trained (ours; the papers leave it to the data).
    """

    # Branch (an argument of the class) -> the field of Drive without which it learns nothing of its own.
    needs: ClassVar[dict[str, str]] = {}
    # Arguments of a net that is trained on captures, where they differ from its own.
    of_captures: ClassVar[dict[str, Any]] = {}

    @classmethod
    def needs_of(cls, config: Mapping[str, Any]) -> dict[str, str]:
        """`needs` of a net with these arguments."""
        return cls.needs

    rest_positions: Tensor
    rest_uv: Tensor
    rest_sh: Tensor
    rest_normals: Tensor
    rest_mouth: Tensor

    def __init__(self, rest: Rest, **config: Any):
        super().__init__()
        self.config: dict[str, Any] = config
        for name, value in rest.tensors().items():
            self.register_buffer(f"rest_{name}", value.float(), persistent=False)
        self.made_for = {"topology_sha256": rest.topology, "anchors_sha256": rest.vertices}
        self.terms = rest.sh.shape[1]
        self._neutral: dict[str, Tensor] | None = None

    def raw(self, drive: Drive) -> dict[str, Tensor]:
        """Part -> [q, width]. Parts are those of PARTS and "sh"."""
        raise NotImplementedError

    def train(self, mode: bool = True) -> Appearance:
        self._neutral = None
        super().train(mode)
        return self

    def forward(self, drive: Drive) -> dict[str, Tensor]:
        """Part -> [q, width]: what apply.py adds to the Gaussians. Gradients only while training."""
        if self.training:
            neutral = self.raw(drive.at_rest())
            return {name: value - neutral[name] for name, value in self.raw(drive).items()}
        with torch.no_grad():
            if self._neutral is None:
                self._neutral = self.raw(drive.at_rest())
            return {name: value - self._neutral[name] for name, value in self.raw(drive).items()}

    def everywhere(self, value: Tensor) -> Tensor:
        """A vector [k] at each vertex: [q, k]."""
        return value.expand(len(self.rest_positions), -1)


def mlp(widths: tuple[int, ...], last: float = 0.01, bias: bool = False) -> nn.Sequential:
    """Linear layers with SiLU between. The last one starts near zero (times `last`) and has no bias unless asked for:
    a constant would be taken off again with the rest."""
    layers: list[nn.Module] = []
    for i, (a, b) in enumerate(itertools.pairwise(widths)):
        layers.append(nn.Linear(a, b, bias=bias or i < len(widths) - 2))
        if i < len(widths) - 2:
            layers.append(nn.SiLU())
    final = layers[-1]
    assert isinstance(final, nn.Linear)
    with torch.no_grad():
        final.weight.mul_(last)
    return nn.Sequential(*layers)


def mean_free(moved: Tensor) -> Tensor:
    """EmoTalk3D eq. 8: motion [q, 3] less its mean over the vertices."""
    return moved - moved.mean(0, keepdim=True)
