"""Shape names of other programs -> ARKit's names, for heads that come as files.

Understood: any case, underscores, dots or blanks; left and right as Left/Right, _L/_R or .L/.R; a prefix before the
name ("!ex-", "blendShape1.", "CC_"). Shapes that a program splits in two where ARKit has one are added up.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from engine.core.names import ARKIT, EXTRA

_SIDES = {"left": "left", "right": "right", "l": "left", "r": "right"}


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


_KNOWN = {_plain(name): name for name in (*ARKIT, *EXTRA)}
_KNOWN |= {_plain(name[:-2]) + {"_L": "left", "_R": "right"}[name[-2:]]: name for name in EXTRA if name[-2] == "_"}


def standard_name(name: str) -> str | None:
    """ARKit's (or our extra) name of a shape, or None. A half such as browInnerUp_L gives the whole's name."""
    words = re.split(r"[-.:|!]+", name)
    tail = words[-1]
    if _plain(tail) in _SIDES and len(words) > 1:  # mouthSmile.L
        tail = words[-2] + "_" + tail
    stem, _, side = tail.rpartition("_")
    plain = _plain(stem) + _SIDES[side.lower()] if side.lower() in _SIDES and stem else _plain(tail)
    for text in (plain, re.sub(r"^(cc|bs|blendshape|shape|ex|arkit)", "", plain)):
        if text in _KNOWN:
            return _KNOWN[text]
        whole = re.sub(r"(left|right)$", "", text)
        if whole != text and whole in _KNOWN:
            return _KNOWN[whole]
    return None


def standard_shapes(offsets: Mapping[str, np.ndarray]) -> tuple[tuple[str, ...], np.ndarray]:
    """(names [k], shapes [k, v, 3] float32): the file's shapes under ARKit's names and in its order, halves added up;
    then our extras; then those of other names under their own, sorted."""
    found: dict[str, np.ndarray] = {}
    for name in sorted(offsets):
        key = standard_name(name) or name
        found[key] = found[key] + offsets[name] if key in found else np.asarray(offsets[name], np.float64)
    order = [n for n in (*ARKIT, *EXTRA) if n in found]
    order += [n for n in found if n not in order]
    if not order:
        return (), np.zeros((0, 0, 3), np.float32)
    return tuple(order), np.stack([found[n] for n in order]).astype(np.float32)
