"""Training of appearance nets (engine/avatar/appearance) behind the hand-written gradients of the rasteriser.

    learner = Learner(net, anchors)
    avatar_now = learner.begin(avatar, drive)           # the avatar with the net's changes; then bind(), forward()
    learner.end(avatar_now, d_local)                    # gradients of its local parameters; one step of AdamW

The canonical Gaussians stay as they are (EmoTalk3D section 4.2, EmoDiffTalk stage 3), or are moved by who calls.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from engine.avatar.appearance.anchors import Anchors
from engine.avatar.appearance.apply import changed, from_local
from engine.avatar.appearance.base import Appearance, Drive
from engine.avatar.appearance.emodifftalk import EmoDiffTalk
from engine.avatar.appearance.emotalkinggaussian import Branches
from engine.core.splats import Avatar

RATE, HASH_RATE = 5e-4, 5e-3  # EmoTalkingGaussian's: hash tables, all else
LARGEST_STEP = 1.0  # norm that gradients are clipped to


class Learner:
    """One net and its optimiser; `begin` and `end` around each picture."""

    def __init__(self, net: Appearance, anchors: Anchors, rate: float = RATE, hash_rate: float = HASH_RATE):
        self.net, self.anchors = net.train(), anchors
        tables = [p for name, p in net.named_parameters() if name.endswith("table")]
        others = [p for name, p in net.named_parameters() if not name.endswith("table")]
        groups = [{"params": others, "lr": rate}, {"params": tables, "lr": hash_rate}]
        self.optimiser = torch.optim.AdamW([g for g in groups if g["params"]], weight_decay=0.0)
        self._out: dict[str, Tensor] = {}

    def begin(self, avatar: Avatar, drive: Drive) -> Avatar:
        """The avatar as the net has it for this frame."""
        self._out = self.net(drive)
        return changed(avatar, self.anchors, {name: value.detach().numpy() for name, value in self._out.items()})

    def end(
        self, now: Avatar, local: Mapping[str, np.ndarray], scale: float = 1.0, residual: np.ndarray | None = None
    ) -> None:  # fmt: skip
        """One step, from gradients of the local parameters of what `begin` gave (`from_local`'s names and shapes) and
        of the residual of the normals [q, 3], where the net has one."""
        turns = self._out["turns"].detach().numpy() if "turns" in self._out else None
        found = from_local(self.anchors, local, now.local_quats, turns)
        regular = self.net.regularity() if isinstance(self.net, EmoDiffTalk) else None
        self.optimiser.zero_grad()
        heads = [value for name, value in self._out.items() if name in found]
        slopes = [
            torch.from_numpy(scale * found[name]).reshape(value.shape).float()
            for name, value in self._out.items()
            if name in found
        ]
        if residual is not None and isinstance(self.net, Branches) and self.net.normal is not None:
            heads, slopes = [*heads, self.net.normal], [*slopes, torch.from_numpy(scale * residual).float()]
        if regular is not None and regular.requires_grad:
            heads, slopes = [*heads, regular], [*slopes, torch.ones_like(regular)]
        torch.autograd.backward(heads, slopes)
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), LARGEST_STEP)
        self.optimiser.step()
        self._out = {}
