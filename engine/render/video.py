"""Films (H.264 + AAC through PyAV) and folders of PNG files. Nothing half-written is left behind."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from engine.core.errors import BadFile, BadInput
from engine.core.files import replacing
from engine.core.progress import SILENT, Reporter
from engine.core.splats import FAR_DEPTH, Frame
from engine.core.units import linear_to_srgb

_SOUND_RATE = 48_000
_BT709, _SRGB_TRANSFER, _LIMITED = 1, 13, 1  # codes of ITU-T H.273
DEPTH_STEP = 1e-4  # metres per step of a 16-bit depth picture; 65535 where nothing is


def write_video(
    path: str | os.PathLike[str], frames: Iterable[np.ndarray], fps: Fraction, size: tuple[int, int],
    audio_path: str | os.PathLike[str] | None = None, report: Reporter = SILENT,
) -> int:  # fmt: skip
    """Write frames [h, w, 3] uint8 (display values, row 0 on top) as an .mp4; the number of frames written.

    fps is exact: 24000/1001 gives frames of 1001 ticks at 24000 Hz. size: (width, height); an odd side is padded by a
    repeated pixel, because H.264's usual chroma needs even sides. The sound of `audio_path` starts with frame 0 and is
    cut at the end of the last frame. The file appears only when it is complete.
    """
    import av

    fps = Fraction(fps)
    width, height = size
    sound = _sound(audio_path) if audio_path else None
    count = 0
    with replacing(path) as part, av.open(str(part), "w", format="mp4", options={"movflags": "+faststart"}) as film:
        stream = _video_stream(film, fps, width + width % 2, height + height % 2)
        track = _sound_stream(film) if sound is not None else None
        feed = _SoundFeed(film, track, sound) if track is not None and sound is not None else None
        for picture in frames:
            report.check()
            if picture.shape != (height, width, 3) or picture.dtype != np.uint8:
                raise BadInput(
                    f"frame {count} must be uint8 [{height}, {width}, 3], got {picture.dtype} {picture.shape}"
                )
            padded = np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), "edge")
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(padded), "rgb24")
            frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709")
            frame.pts, frame.time_base = count, 1 / fps
            film.mux(stream.encode(frame))
            count += 1
            if feed:
                feed.until(count / fps)
        film.mux(stream.encode(None))
        if feed:
            feed.close()
        if count == 0:
            raise BadInput("a film needs at least one frame")
    return count


def _video_stream(film: Any, fps: Fraction, width: int, height: int) -> Any:
    stream = film.add_stream("libx264", rate=fps, options={"crf": "17", "preset": "veryfast"})
    stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
    context = stream.codec_context
    context.time_base = 1 / fps
    context.colorspace, context.color_primaries, context.color_trc = _BT709, _BT709, _SRGB_TRANSFER
    context.color_range = _LIMITED
    return stream


def _sound_stream(film: Any) -> Any:
    return film.add_stream("aac", rate=_SOUND_RATE, layout="mono", options={"b": "160k"})


def _sound(path: str | os.PathLike[str]) -> np.ndarray:
    """The first audio track as mono float32 at 48 kHz. Raises BadFile."""
    import av

    blocks: list[np.ndarray] = []
    try:
        with av.open(str(path)) as source:
            if not source.streams.audio:
                raise BadFile(path, "has no sound in it")
            resampler = av.AudioResampler(format="fltp", layout="mono", rate=_SOUND_RATE)
            for frame in source.decode(audio=0):
                blocks.extend(f.to_ndarray()[0] for f in resampler.resample(frame))
            blocks.extend(f.to_ndarray()[0] for f in resampler.resample(None))
    except (av.FFmpegError, OSError) as error:
        raise BadFile(path, f"cannot be read as sound ({error}); convert it to wav") from None
    if not blocks:
        raise BadFile(path, "has no sound in it")
    return np.nan_to_num(np.concatenate(blocks), posinf=0.0, neginf=0.0)


class _SoundFeed:
    """Muxes sound beside the pictures, a little at a time, so that neither track waits for the other in memory."""

    def __init__(self, film: Any, track: Any, samples: np.ndarray):
        self._film, self._track, self._samples = film, track, samples
        self._done = self._allowed = 0

    def until(self, seconds: Fraction) -> None:
        """Write the sound up to this time, in whole blocks of the encoder."""
        self._allowed = min(len(self._samples), int(seconds * _SOUND_RATE))
        block = self._track.codec_context.frame_size or 1024
        while self._allowed - self._done >= block:
            self._write(block)

    def close(self) -> None:
        if self._allowed > self._done:
            self._write(self._allowed - self._done)
        self._film.mux(self._track.encode(None))

    def _write(self, count: int) -> None:
        import av

        piece = np.ascontiguousarray(self._samples[None, self._done : self._done + count], np.float32)
        frame = av.AudioFrame.from_ndarray(piece, format="fltp", layout="mono")
        frame.sample_rate = _SOUND_RATE
        frame.pts, frame.time_base = self._done, Fraction(1, _SOUND_RATE)
        self._film.mux(self._track.encode(frame))
        self._done += count


def write_pictures(
    folder: str | os.PathLike[str], frames: Iterable[Frame], passes: tuple[str, ...] = ("rgba",), first: int = 1,
    report: Reporter = SILENT,
) -> int:  # fmt: skip
    """Write frames as PNG files `0001.png`, `depth_0001.png`, `normal_0001.png`; the number of frames written.

    rgba: 8 bits, straight alpha, display values. depth: 16 bits in steps of 0.1 mm, 65535 where nothing is.
    normal: (n + 1) / 2 in 8 bits with the picture's alpha. The files move into the folder when all are there.
    """
    from PIL import Image

    target = Path(folder)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    shutil.rmtree(part, ignore_errors=True)  # left by a process that was killed
    part.mkdir(parents=True)
    count = 0
    try:
        for frame in frames:
            report.check()
            for name, pixels in _pictures(frame, passes):
                Image.fromarray(pixels).save(part / f"{name}{first + count:04d}.png")
            count += 1
        target.mkdir(parents=True, exist_ok=True)
        for file in sorted(part.iterdir()):
            os.replace(file, target / file.name)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return count


def _pictures(frame: Frame, passes: tuple[str, ...]) -> Iterator[tuple[str, np.ndarray]]:
    alpha = frame.alpha[..., None]
    if "rgba" in passes:
        straight = frame.rgba[..., :3] / np.maximum(alpha, 1e-6)
        yield "", _bytes(np.concatenate([linear_to_srgb(np.clip(straight, 0, 1)), alpha], -1))
    if "depth" in passes:
        steps = np.where(frame.depth < FAR_DEPTH / 2, np.clip(frame.depth / DEPTH_STEP + 0.5, 0, 65534), 65535)
        yield "depth_", steps.astype(np.uint16)
    if "normal" in passes:
        yield "normal_", _bytes(np.concatenate([frame.normal * 0.5 + 0.5, alpha], -1))


def _bytes(values: np.ndarray) -> np.ndarray:
    return (np.clip(values, 0, 1) * 255 + 0.5).astype(np.uint8)
