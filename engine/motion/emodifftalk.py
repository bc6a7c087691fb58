"""`emodifftalk`: EmoDiffTalk's speech-to-AU encoder and AU-prompt diffusion (nets/au_diffusion.py) as a motion system.

Obeys every control through AU codes: what labels, valence-arousal, words and sliders ask for, living, joined with the
codes that the encoder hears in the voice and the words modulate (eq. 7, controls/modulate.py). Of the voice's own codes
those of speech, AU25 and AU26, are used; what it hears of feelings (`feelings`) is off: it learned them from
synthesised voices. The seed draws the noise; the noise of a row hangs on the row and the seed alone, and what moves the
lips is drawn alike for every seed: another take may not say it worse.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from engine.controls.modulate import modulate
from engine.core.control import ControlTrack
from engine.core.errors import BadFile
from engine.core.names import ARKIT, AU_INDEX
from engine.core.sound import Speech
from engine.motion.base import CONTROLS, MotionSlice
from engine.motion.nets import file
from engine.motion.nets.codes import CODES, asked, spread, unsaid
from engine.motion.nets.inputs import interface, slice_of, wide_rows

NAME = "emodifftalk"
_RNG_STREAM = 53  # apart from those of the layers
_EVERYONE = 2**40  # in place of a seed, which is smaller
_SPOKEN = [AU_INDEX["AU25"], AU_INDEX["AU26"]]


def noise_rows(seed: int, first: int, last: int, size: int) -> np.ndarray:
    """Unit noise of rows [first, last), drawn in blocks so that it does not hang on the cut. [last - first, size]."""
    from engine.motion.nets.au_diffusion import HOP

    blocks = range(first // HOP, (last - 1) // HOP + 1)
    drawn = [np.random.default_rng([seed, _RNG_STREAM, 1, b + 1000]).standard_normal((HOP, size)) for b in blocks]
    start = blocks[0] * HOP
    return np.concatenate(drawn)[first - start : last - start].astype(np.float32)


class EmoDiffTalk:
    """Denoiser and encoder at interface v1's 50 Hz, in windows on one grid that overlap: no state is passed on."""

    name = NAME
    supports = frozenset(CONTROLS)
    native_fps = 50.0

    def __init__(self, path: Path | None = None, feelings: float = 0.0):
        from engine.assets.registry import resolve
        from engine.motion.nets.au_diffusion import Both

        path = path or resolve(NAME, "motion")
        checkpoint = file.read(path, NAME)
        self.basis, self.checkpoint_sha256, self.feelings = checkpoint.basis, checkpoint.sha256, feelings
        both = file.load_into(lambda config: Both.of(self.basis.size, config), checkpoint, path)
        self.ear, self.net = both.ear, both.net
        try:
            varied = checkpoint.header.get("varied", [1.0] * self.basis.size)
            self.varied = np.array(varied, np.float32).reshape(self.basis.size)
        except (TypeError, ValueError):
            raise BadFile(path, "does not say how much of each component the seed draws: train it again") from None

    def prepare(self, speech: Speech) -> tuple[Speech, np.ndarray]:
        return speech, interface(speech)

    def run(
        self,
        cache: tuple[Speech, np.ndarray],
        controls: Callable[[np.ndarray], ControlTrack],
        t0: float,
        t1: float,
        state: Any = None,
    ) -> tuple[MotionSlice, Any]:
        import torch

        from engine.motion.nets import au_diffusion as diffusion

        heard, rows = cache
        first, last = (int(np.ceil(t * self.native_fps - 1e-6)) for t in (t0, t1))
        starts = diffusion.window_starts(first, last)
        low, high = starts[0], starts[-1] + diffusion.WINDOW
        with torch.inference_mode():
            codes = self.codes(rows, controls, starts)
            speech = _windows(wide_rows(rows, low, high, diffusion.MARGIN), starts, diffusion.MARGIN)
            seed = controls(np.zeros(1)).seed
            noise = self.noise(seed, starts)
            made = diffusion.make(self.net, codes, speech, noise) * self.net.spread
            weights = self.basis.weights(diffusion.blend(made, starts, first, last).numpy())
        times = np.arange(first, last) / self.native_fps
        motion = slice_of(weights, heard, controls, times, self.supports)
        weights = unsaid(np.concatenate([motion.arkit, motion.extra], 1), controls(times), motion.au)
        return dataclasses.replace(motion, arkit=weights[:, : len(ARKIT)], extra=weights[:, len(ARKIT) :]), state

    def noise(self, seed: int, starts: range) -> Any:
        """The noise of the windows, [n, w, k]: of each component the share `varied` is the seed's own."""
        import torch

        from engine.motion.nets import au_diffusion as diffusion

        reach, out = diffusion.SMOOTH_REACH, torch.zeros(())
        for number, share in ((seed, self.varied), (_EVERYONE, 1.0 - self.varied)):
            common = noise_rows(number, -10 * diffusion.HOP, -10 * diffusion.HOP + 1, len(share))
            rows = noise_rows(number, starts[0] - reach, starts[-1] + diffusion.WINDOW + reach, len(share))
            drawn = diffusion.steady(_windows(rows, starts, reach), torch.from_numpy(common)[None])
            out = out + torch.from_numpy(np.sqrt(share)) * drawn
        return out

    def codes(self, rows: np.ndarray, controls: Callable[[np.ndarray], ControlTrack], starts: range) -> Any:
        """The AU codes of each window, [n, w, 36]: what the controls ask for, and the voice's own."""
        import torch

        from engine.motion.nets.au_diffusion import LISTEN, WINDOW

        low, high = starts[0], starts[-1] + WINDOW
        times = np.arange(low, high) / self.native_fps
        wanted, track = asked(controls, times).reshape(-1, CODES), controls(times)
        with torch.inference_mode():
            heard = self.ear(_windows(wide_rows(rows, low, high, LISTEN), starts, LISTEN))[:, LISTEN:-LISTEN].numpy()
        out = []
        for start, spoken in zip(starts, heard, strict=True):
            at = slice(start - low, start - low + WINDOW)
            own = spread(spoken)
            quiet = np.full((own.shape[1], 1), self.feelings, np.float32)
            quiet[_SPOKEN] = 1.0
            worded = modulate(own * quiet, _rows_of(track, at))
            out.append(np.maximum(wanted[at], worded.reshape(WINDOW, CODES)))
        return torch.from_numpy(np.stack(out))


def _windows(rows: np.ndarray, starts: range, margin: int) -> Any:
    """Rows that begin `margin` before the first window -> tensor [n, WINDOW + 2 margin, d]."""
    import torch

    from engine.motion.nets.au_diffusion import WINDOW

    offsets = np.array(starts)[:, None] - starts[0] + np.arange(WINDOW + 2 * margin)
    return torch.from_numpy(np.ascontiguousarray(rows[offsets], np.float32))


def _rows_of(track: ControlTrack, at: slice) -> ControlTrack:
    """The rows `at` of a track."""
    count, changes = len(track.times), dict[str, Any]()
    for field in dataclasses.fields(track):
        value = getattr(track, field.name)
        if isinstance(value, np.ndarray) and len(value) == count:
            changes[field.name] = value[at]
    return dataclasses.replace(track, **changes)
