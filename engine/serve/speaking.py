"""The parts of a `speak` request: controls, what is heard, and the take into which a stretch goes."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from engine.core.anatomy import Head
from engine.core.control import Controls
from engine.core.errors import BadInput
from engine.core.progress import Reporter
from engine.core.sound import Audio, Speech
from engine.core.take import Take

if TYPE_CHECKING:
    from engine.core.sound import Cue

Request = dict[str, Any]


def controls_of(request: Request) -> Controls:
    """From "controls_path" or "controls"; "seed" overrides theirs. Raises BadInput, BadFile."""
    from engine.controls.files import parse_controls, read_controls

    if request.get("controls_path"):
        controls = read_controls(request["controls_path"])
    elif request.get("controls"):
        controls = parse_controls(request["controls"])
    else:
        controls = Controls()
    seed = request.get("seed")
    if seed is None:
        return controls
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**31:
        raise BadInput(f"'seed' must be a whole number from 0 to {2**31 - 1}, got {seed!r}")
    return dataclasses.replace(controls, seed=seed)


def speech_of(request: Request, audio: Audio, report: Reporter) -> Speech | str:
    """What is heard: "speech" (encoder), "transcript" (text or text file), "language", "cues" (file or rows).

    Raises BadInput, BadFile, Missing, Cancelled.
    """
    from engine.speech.listen import listen

    transcript = request.get("transcript")
    if transcript is not None:
        from engine.speech.transcript import read_transcript

        if not isinstance(transcript, str):
            raise BadInput("'transcript' must be a text or the path of a text file")
        transcript = read_transcript(transcript)
    return listen(
        audio,
        request.get("speech") or "default",
        transcript,
        request.get("language") or None,
        _cues(request.get("cues")),
        report,
        download=request.get("download") is True,
    )


def _cues(value: object) -> tuple[Cue, ...] | None:
    if value is None:
        return None
    from engine.speech.cue_files import from_rows, read_cues

    return read_cues(value) if isinstance(value, str) else from_rows(value)


@dataclass(frozen=True)
class Into:
    """A stretch of seconds of a finished take."""

    take: Take
    start: float
    end: float


def into_of(request: Request) -> Into | None:
    """From "into" (a take), "from" and "to" (seconds; missing: the take's beginning, its end). Raises BadInput."""
    bounds = [request.get(name) for name in ("from", "to")]
    if request.get("into") is None:
        if any(value is not None for value in bounds):
            raise BadInput("a stretch (--from, --to) needs the take to change: give --into TAKE.npz")
        return None
    for name, value in zip(("from", "to"), bounds, strict=True):
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if value is not None and not number:
            raise BadInput(f"'{name}' must be a number of seconds, got {value!r}")
    from engine.core.takefile import read_take

    take = read_take(request["into"])
    start, end = (float(v) if v is not None else d for v, d in zip(bounds, (0.0, float(take.times[-1])), strict=True))
    return Into(take, start, end)


def spliced(into: Into, new: Take, head: Head) -> Take:
    """The old take with its stretch from the new one. Raises BadInput."""
    from engine.motion.perform import flame_again
    from engine.motion.splice import splice

    flame = None if head.is_flame else partial(flame_again, head)
    return splice(into.take, new, into.start, into.end, head, flame)
