"""A stretch of one take put into another: a segment generated anew, everything else bit for bit as it was."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from engine.core.anatomy import Head
from engine.core.errors import BadInput
from engine.core.take import FlameTrack, Take
from engine.motion.contacts import seal

BLEND_S = 0.12  # at each seam, inside the stretch
_FLAME = ("expression", "pose", "translation", "eyelids")


def splice(
    old: Take, new: Take, start: float, end: float, head: Head, flame: Callable[[Take], FlameTrack] | None = None
) -> Take:
    """`old` with its frames in [start, end] seconds taken from `new`.

    Seams lie inside the stretch: over BLEND_S the one becomes the other, and lips that are together in `new` there
    are closed again on `head`. flame: makes the FLAME-layout form of the blended frames again (without it that form is
    blended too). Raises BadInput where the two do not belong together or the stretch holds no frame.
    """
    _check(old, new)
    if not (np.isfinite(start) and np.isfinite(end)) or end <= start:
        raise BadInput(f"the stretch from {start:g} to {end:g} s has no length; --to must come after --from")
    inside = (old.times >= start - 1e-9) & (old.times <= end + 1e-9)
    if not inside.any():
        raise BadInput(f"no frame of this take lies between {start:g} and {end:g} s; it is {old.times[-1]:.2f} s long")
    share = _share(old, inside, start, end)
    mix = lambda a, b: _mixed(a, b, share)  # noqa: E731
    arkit, extra = mix(old.arkit, new.arkit), mix(old.extra, new.extra)
    drive = {k: mix(v, new.drive[k]) if k in new.drive and new.drive[k].shape == v.shape else v
             for k, v in old.drive.items()}  # fmt: skip
    seam = (share > 0) & (share < 1)
    if seam.any() and "contact" in drive:
        closure = np.maximum(new.drive["contact"][seam, 0] * share[seam], drive["contact"][seam, 0])
        arkit[seam], extra[seam] = seal(head, arkit[seam], extra[seam], np.clip(closure, 0, 1))
    tracks: dict[str, Any] = {n: mix(getattr(old.flame, n), getattr(new.flame, n)) for n in _FLAME}
    out = dataclasses.replace(
        old, au=mix(old.au, new.au), arkit=arkit, extra=extra, drive=drive,
        flame=dataclasses.replace(old.flame, **tracks), residual_mm=dict(old.residual_mm),
    )  # fmt: skip
    if flame is not None and seam.any():
        again = flame(out)
        for name in _FLAME:
            tracks[name][seam] = getattr(again, name)[seam]
        out = dataclasses.replace(out, flame=dataclasses.replace(old.flame, **tracks))
    worst = {k: max(v, new.residual_mm.get(k, 0.0)) for k, v in old.residual_mm.items()}
    return dataclasses.replace(out, residual_mm=worst, meta=_meta(old, new, start, end))


def _check(old: Take, new: Take) -> None:
    """Raise BadInput that says what differs."""
    if old.offsets is not None or old.gaussians is not None:
        raise BadInput("this take holds vertex offsets or Gaussians, which cannot be generated in part; make it anew")
    for what, a, b in (
        ("frame rate", old.fps, new.fps), ("number of frames", len(old), len(new)),
        ("first frame", old.first_frame, new.first_frame),
        ("voice", old.meta.get("audio_sha256"), new.meta.get("audio_sha256")),
        ("head", old.meta.get("topology_sha256"), new.meta.get("topology_sha256")),
        ("form", (old.authority, old.extra_names), (new.authority, new.extra_names)),
    ):  # fmt: skip
        if a != b:
            shown = "" if what in {"voice", "head", "form"} else f" ({a} there, {b} here)"
            raise BadInput(f"the take to change has another {what}{shown}; generate it whole first")


def _share(take: Take, inside: np.ndarray, start: float, end: float) -> np.ndarray:
    """How much of the new take each frame shows. [t] in [0, 1]; 0 outside the stretch; no seam at the voice's ends."""
    blend = min(BLEND_S, 0.4 * (end - start))
    times = take.times
    rise = np.ones(len(take)) if start <= times[0] + 1e-9 else np.clip((times - start) / blend, 0, 1)
    fall = np.ones(len(take)) if end >= times[-1] - 1e-9 else np.clip((end - times) / blend, 0, 1)
    level = np.minimum(rise, fall) * inside
    return level * level * (3 - 2 * level)


def _mixed(old: np.ndarray, new: np.ndarray, share: np.ndarray) -> np.ndarray:
    weight = share.reshape(-1, *[1] * (old.ndim - 1))
    mixed = (old.astype(np.float64) * (1 - weight) + new.astype(np.float64) * weight).astype(old.dtype)
    return np.where(weight >= 1, new.astype(old.dtype), np.where(weight > 0, mixed, old))


def _meta(old: Take, new: Take, start: float, end: float) -> dict[str, Any]:
    """The old take's meta, with the new cues of the stretch and a note of what was generated anew."""
    cues = [c for c in old.meta.get("cues") or [] if c[2] <= start or c[1] >= end]
    cues += [[p, max(a, start), min(b, end)] for p, a, b in new.meta.get("cues") or [] if b > start and a < end]
    for phone, a, b in old.meta.get("cues") or []:  # a cue that reaches into the stretch keeps its part outside
        cues += [[phone, a, min(b, start)]] if a < start < b else []
        cues += [[phone, max(a, end), b]] if a < end < b else []
    joined: list[list[Any]] = []
    for phone, a, b in sorted(cues, key=lambda c: c[1]):
        if joined and joined[-1][0] == phone and abs(joined[-1][2] - a) < 1e-3 and a in (start, end):
            joined[-1][2] = round(float(b), 3)  # the seam goes through a cue that both takes have
        elif b - a > 0.004:
            joined.append([phone, round(float(a), 3), round(float(b), 3)])
    note = {
        "from": round(float(start), 3), "to": round(float(end), 3), "seed": new.meta.get("seed"),
        "controls_digest": new.meta.get("controls_digest"), "system": new.meta.get("system"),
    }  # fmt: skip
    return {**old.meta, "cues": joined, "segments": [*old.meta.get("segments", []), note]}
