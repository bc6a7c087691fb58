"""Dynamic appearance of an avatar: the papers' networks, which change Gaussians beyond what their triangles do.

    anchors = anchors_of(avatar, head)                        # <= 5,000 vertices, and each Gaussian's share of three
    net = build("emotalk3d", rest_of(avatar, head, anchors))  # torch; `NETS` names them all
    per_vertex = net(drive)                                   # {"sh": [q, terms * 3], "turns": [q, 3], ...}
    avatar_now = changed(avatar, anchors, per_vertex)         # added to the Gaussians' own parameters, then bind()

Every net is evaluated per vertex, in the head's axes at rest, interpolated to the Gaussians and turned into the frames
of their triangles (apply.py); on the neutral face it adds exactly nothing (base.py). Which of them are used is the
avatar's choice; the simple masked colour channels of engine/avatar/channels.py are what they are measured against.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from engine.core.errors import BadInput

if TYPE_CHECKING:
    from engine.avatar.appearance.base import Appearance, Rest

# Name -> module and class. Parts that a paper's ablation leaves out are arguments of the class.
NETS: dict[str, tuple[str, str]] = {
    "emotalk3d": ("emotalk3d", "EmoTalk3D"),
    "emodifftalk": ("emodifftalk", "EmoDiffTalk"),
    "emotag": ("emotag", "IntraOral"),
    "emotalkinggaussian": ("emotalkinggaussian", "Branches"),
}


def kind_of(name: str) -> type[Appearance]:
    """A net's class. Raises BadInput for an unknown name."""
    if name not in NETS:
        raise BadInput(f"there is no appearance net '{name}'; there are: {', '.join(NETS)}")
    module, kind = NETS[name]
    made: type[Appearance] = getattr(import_module(f"engine.avatar.appearance.{module}"), kind)
    return made


def build(name: str, rest: Rest, **config: Any) -> Appearance:
    """A net by name with its own arguments, untrained. Raises BadInput for an unknown name or argument."""
    made = kind_of(name)
    try:
        return made(rest, **config)
    except TypeError as error:
        raise BadInput(f"appearance net '{name}': {error}") from None
