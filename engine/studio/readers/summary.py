"""What a set holds, as figures."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from engine.core.progress import SILENT, Reporter
from engine.studio.readers.base import recordings


def summary(folder: Path, kind: str = "auto", check: bool = False, report: Reporter = SILENT) -> dict[str, Any]:
    """{"kind", "recordings", "subjects", "emotions", "rates", "without_sound", "frames"}; frames only with `check`.

    Raises BadFile and BadInput with the first thing that is wrong.
    """
    layout, found = recordings(folder, kind)
    frames = 0
    for i, recording in enumerate(found if check else ()):
        report.step("read", i, len(found))
        frames += len(recording.load())
    out: dict[str, Any] = {
        "kind": layout,
        "recordings": len(found),
        "subjects": len({r.subject for r in found}),
        "emotions": dict(sorted(Counter(r.emotion or "unknown" for r in found).items())),
        "rates": dict(sorted(Counter(f"{float(r.fps):g}" for r in found).items())),
        "without_sound": sum(r.audio is None for r in found),
    }
    return out | ({"frames": frames} if check else {})
