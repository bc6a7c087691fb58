"""Pictures of a take's Gaussian avatar: films, folders of PNG files, contact sheets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from engine.core.anatomy import Head
from engine.core.clock import FrameClock
from engine.core.errors import BadInput
from engine.core.files import writable
from engine.core.names import ARKIT_INDEX, AU_INDEX
from engine.core.progress import SILENT, Reporter
from engine.core.splats import Avatar, Camera, Frame
from engine.core.take import Take
from engine.core.takefile import read_take
from engine.head.replay import BLOCK, check_topology, take_vertices

BACKGROUND = (0.11, 0.12, 0.14)  # linear; a neutral dark grey that flatters skin and shows the silhouette
BELOW_CHIN_M = 0.055  # how much of the throat a portrait keeps
FILM_SUFFIXES = (".mp4",)


def _open(request: dict[str, Any]) -> tuple[Take, Head, Avatar]:
    from engine.avatar.library import load_avatar
    from engine.head.library import load_head

    head = load_head(request.get("head", "default"))
    take = read_take(request.get("take") or "")
    check_topology(take, head)
    return take, head, load_avatar(request.get("avatar", "default"), head)


def _size(request: dict[str, Any]) -> tuple[int, int]:
    size = request.get("size") or [512, 512]
    if not isinstance(size, list | tuple) or len(size) != 2 or not all(isinstance(n, int) and n > 0 for n in size):
        raise BadInput(f"'size' must be [width, height] in pixels, got {size!r}")
    return size[0], size[1]


def _cameras(request: dict[str, Any], head: Head, count: int, fps: float) -> list[Camera]:
    """One camera a frame: a fixed view, a turntable of the whole length, or cameras read from a JSON file."""
    from engine.render import cameras

    width, height = _size(request)
    where = request.get("camera") or "front"
    points = portrait(head)
    if where == "turntable":
        seconds = request.get("seconds") or 0
        if not isinstance(seconds, int | float) or seconds < 0:
            raise BadInput(f"'seconds' of a turn must be a number above 0, got {seconds!r}")
        period = max(1, round(seconds * fps)) if seconds else count
        return cameras.turntable(points, width, height, count=count, period=period)
    fixed = {"front": 0.0, "threequarter": 38.0, "profile": 90.0}
    if where in fixed:
        return [cameras.orbit(points, width, height, azimuth_deg=fixed[where])] * count
    return cameras.from_json(where, width, height, count)


def portrait(head: Head) -> np.ndarray:
    """The points that a picture is framed on: the head down to the throat, not the shoulders. [n, 3] metres."""
    if "chin" not in head.landmarks:
        return head.template
    chin = float(head.template[np.atleast_1d(head.landmarks["chin"])[0], 1])
    return head.template[head.template[:, 1] > chin - BELOW_CHIN_M]


def frames_of(
    take: Take, head: Head, avatar: Avatar, cameras: list[Camera], rows: np.ndarray,
    backend: str = "auto", passes: tuple[str, ...] = ("rgba",), report: Reporter = SILENT,
    appearance: str | None = None,
) -> Iterator[Frame]:  # fmt: skip
    """Rendered frames of the take's `rows` [n] through `cameras` [n], in order; bounded memory at any length.

    appearance: file of a net that was trained for the avatar."""
    from engine.avatar.face_values import of_take
    from engine.avatar.shown import player_of, shown
    from engine.render import rasterise

    player = player_of(appearance, avatar, head)
    for start in range(0, len(rows), BLOCK):
        block = rows[start : start + BLOCK]
        for i, points in enumerate(take_vertices(take, head, block)):
            report.step("render", start + i, len(rows))
            gaussians = shown(avatar, head, points, of_take(take, int(block[i])), player)
            yield rasterise(
                gaussians, cameras[start + i], blend_space=avatar.blend_space, backend=backend, passes=passes
            )
    report.step("render", len(rows), len(rows))


def render_take(request: dict[str, Any], report: Reporter = SILENT) -> dict[str, Any]:
    """{"take", "out", "avatar", "camera", "size", "audio", "passes", "seconds", "backend", "appearance"} -> {"path",
    "frames"}.

    `out` ending in .mp4 is a film over a plain background, with `audio` as its sound from the first frame; anything
    else is a folder of PNG files with alpha (straight, sRGB), one a frame and pass.
    """
    from engine.render.video import write_pictures, write_video

    out = Path(request.get("out") or "")
    if not out.name:
        raise BadInput("the request lacks 'out'")
    film = out.suffix.lower() in FILM_SUFFIXES
    if film:
        writable(out)
    elif out.suffix or out.is_file():
        raise BadInput(f"cannot write '{out.name}'; give FILE.mp4 for a film or a folder for PNG files")
    take, head, avatar = _open(request)
    cameras = _cameras(request, head, len(take), float(take.fps))
    rows = np.arange(len(take))
    passes = tuple(request.get("passes") or ("rgba",))
    if unknown := sorted(set(passes) - {"rgba", "depth", "normal"}):
        raise BadInput(f"'{unknown[0]}' is no pass; there are: rgba, depth, normal")
    frames = frames_of(take, head, avatar, cameras, rows, request.get("backend", "auto"), passes, report,
                       request.get("appearance"))  # fmt: skip
    if film:
        pictures = (over(frame, BACKGROUND) for frame in frames)
        write_video(out, pictures, take.fps, _size(request), audio_path=request.get("audio"))
    else:
        write_pictures(out, frames, passes, first=take.first_frame)
    return {"path": str(out), "frames": len(take)}


def over(frame: Frame, background: tuple[float, float, float]) -> np.ndarray:
    """The picture over a plain background (linear), as display values. [h, w, 3] uint8."""
    from engine.core.units import linear_to_srgb

    rgb = frame.rgba[..., :3] + (1.0 - frame.rgba[..., 3:]) * np.asarray(background, np.float32)
    return (np.clip(linear_to_srgb(rgb), 0, 1) * 255 + 0.5).astype(np.uint8)


def telling_moments(take: Take, count: int) -> np.ndarray:
    """Frames worth looking at, one in each of `count` equal parts: a full expression, lids not in a blink. [count].

    The first shows lips that meet; then the mouth is alternately wide and half open, so that the expression of the
    mouth is seen too.
    """
    parted = take.au[:, AU_INDEX["AU25"]].mean(1)
    parted = parted / max(float(parted.max()), 1e-6)
    emotion = take.drive.get("emotion")
    full = 2.0 * emotion.max(1) if emotion is not None else np.zeros(len(take))
    lids = take.arkit[:, [ARKIT_INDEX["eyeBlinkLeft"], ARKIT_INDEX["eyeBlinkRight"]]]
    blinking = np.abs(lids - np.median(lids, 0)).max(1) > 0.05
    parts = np.array_split(np.arange(len(take)), min(count, len(take)))
    mouth = [-parted] + [parted if i % 2 else -np.abs(parted - 0.5) for i in range(1, len(parts))]
    return np.array([part[np.argmax((full - 10.0 * blinking + mouth[i])[part])] for i, part in enumerate(parts)])


def render_sheet(request: dict[str, Any], report: Reporter = SILENT) -> dict[str, Any]:
    """{"take", "out", "avatar", "moments", "size", "appearance"} -> {"path"}: rows front, three-quarter, profile."""
    from engine.render.cameras import orbit
    from engine.render.sheet import write_sheet

    writable(request.get("out") or "")
    moments = request.get("moments", 6)
    if not isinstance(moments, int) or not 1 <= moments <= 24:
        raise BadInput(f"'moments' must be a whole number from 1 to 24, got {moments!r}")
    take, head, avatar = _open(request)
    width, height = _size({"size": request.get("size") or [320, 400]})
    rows = telling_moments(take, moments)
    seconds = FrameClock(take.fps, take.first_frame).times(len(take))[rows]
    views = {"front": 0.0, "three-quarter": 38.0, "profile": 90.0}
    pictures = []
    for name, azimuth in views.items():
        camera = orbit(portrait(head), width, height, azimuth_deg=azimuth)
        frames = frames_of(
            take, head, avatar, [camera] * len(rows), rows, report=report, appearance=request.get("appearance")
        )
        labels = [f"{name}  {t:.2f} s  {dominant(take, row)}" for t, row in zip(seconds, rows, strict=True)]
        pictures.append([(over(frame, BACKGROUND), label) for frame, label in zip(frames, labels, strict=True)])
    write_sheet(request.get("out") or "", pictures)
    return {"path": str(request["out"]), "moments": seconds.tolist()}


def dominant(take: Take, row: int) -> str:
    """The strongest emotion label at a frame, or ""."""
    from engine.core.names import EMOTIONS

    emotion = take.drive.get("emotion")
    if emotion is None or emotion[row].max() < 0.05:
        return ""
    return EMOTIONS[int(emotion[row].argmax())]
