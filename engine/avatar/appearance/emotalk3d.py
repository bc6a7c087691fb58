"""FeatureNet and RotationNet (EmoTalk3D eq. 5-8): SH and rotation follow emotion and motion; opacity and scale stay.

Both see the canonical value (of the rotation: the mean of the shortest axes), the emotion vector, the place on the face
in texture coordinates and the mean-free motion. They give what is added to the canonical value (the paper predicts the
value itself; the sum is the same function).
"""

from __future__ import annotations

import torch
from torch import Tensor

from engine.avatar.appearance.base import CM, EMOTIONS, Appearance, Drive, Rest, mean_free, mlp

HIDDEN = 64  # not printed in the paper


class EmoTalk3D(Appearance):
    """feature, rotation: which of the two nets there are (the paper's ablation C is feature=False)."""

    def __init__(self, rest: Rest, feature: bool = True, rotation: bool = True, hidden: int = HIDDEN):
        super().__init__(rest, feature=feature, rotation=rotation, hidden=hidden)
        values, beside = 3 * self.terms, EMOTIONS + 2 + 3
        self.feature_net = mlp((values + beside, hidden, hidden, hidden, values)) if feature else None
        self.rotation_net = mlp((3 + beside, hidden, 3)) if rotation else None

    def raw(self, drive: Drive) -> dict[str, Tensor]:
        """{"sh": [q, 3 * terms], "turns": [q, 3]}, those that there are."""
        beside = [self.everywhere(drive.emotion), self.rest_uv, CM * mean_free(drive.moved)]
        out = {}
        if self.feature_net is not None:
            out["sh"] = self.feature_net(torch.cat([self.rest_sh.flatten(1), *beside], 1))
        if self.rotation_net is not None:
            out["turns"] = self.rotation_net(torch.cat([self.rest_normals, *beside], 1))
        return out
