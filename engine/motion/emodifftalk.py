"""`emodifftalk`: EmoDiffTalk's speech-to-AU encoder and AU-prompt diffusion (nets/au_diffusion.py) as a motion system.

Obeys every control through AU codes: what labels, valence-arousal, words and sliders ask for, living, and beside them
the codes that the encoder hears in the voice and the words modulate (eq. 7, controls/modulate.py). Of the voice's own
codes those of speech, AU25 and AU26, are used; what it hears of feelings (`feelings`) is off: it learned them from
synthesised voices. The seed draws the noise; the noise of a row hangs on the row and the seed alone. What moves the
lips has little of it: another take may not say it worse, and noise there is only unrest.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from engine.controls.modulate import modulate
from engine.core.control import ControlTrack
from engine.core.errors import BadFile
from engine.core.names import ARKIT, ARTICULATION, AU_INDEX
from engine.core.sound import Speech
from engine.motion.base import CONTROLS, MotionSlice
from engine.motion.nets.codes import CODES, asked, spread, unsaid
from engine.motion.nets.inputs import ROWS_HZ, wide_rows
from engine.motion.nets.system import NetSystem, Sampled

NAME = "emodifftalk"
# How much of interface v1's 64 features the encoder hears beside the articulation (the denoiser hears all): those of
# the made-up voices that it learned from are unlike a recorded one's, and held vowels are calmer without.
EAR_FEATURES = 0.0
# A Gaussian over the finished rows, its standard deviation in rows (16 ms): a tremor that no voice asks for goes, and
# lips lose next to nothing of their way.
STILLED, STILLED_REACH = 0.8, 3
_RNG_STREAM = 53  # apart from those of the layers
_SPOKEN = [AU_INDEX["AU25"], AU_INDEX["AU26"]]


def noise_rows(seed: int, first: int, last: int, size: int) -> np.ndarray:
    """Unit noise of rows [first, last), drawn in blocks so that it does not hang on the cut. [last - first, size]."""
    from engine.motion.nets.au_diffusion import HOP

    blocks = range(first // HOP, (last - 1) // HOP + 1)
    drawn = [np.random.default_rng([seed, _RNG_STREAM, 1, b + 1000]).standard_normal((HOP, size)) for b in blocks]
    start = blocks[0] * HOP
    return np.concatenate(drawn)[first - start : last - start].astype(np.float32)


def stilled(rows: Any) -> Any:
    """Rows [t + 2 STILLED_REACH, ..] smoothed over time, without those at the ends. [t, ..], array or tensor."""
    kernel = np.exp(-0.5 * (np.arange(-STILLED_REACH, STILLED_REACH + 1, dtype=np.float32) / STILLED) ** 2)
    kernel /= kernel.sum()
    count = len(rows) - 2 * STILLED_REACH
    return sum(rows[i : i + count] * float(share) for i, share in enumerate(kernel))


class EmoDiffTalk(NetSystem):
    """Denoiser and encoder at interface v1's 50 Hz, in windows on one grid that overlap: no state is passed on."""

    name = NAME
    supports = frozenset(CONTROLS)

    def __init__(self, path: Path | None = None, feelings: float = 0.0):
        super().__init__(path)
        self.feelings = feelings
        self.ear, self.net = self.net.ear, self.net.net
        if self.net.code.in_features != CODES + len(_SPOKEN):
            raise BadFile(self.path, "was trained by an older version: train it again")
        try:
            varied = self.header.get("varied", [1.0] * self.basis.size)
            self.varied = np.array(varied, np.float32).reshape(self.basis.size)
        except (TypeError, ValueError):
            said = "does not say how much of each component the seed draws: train it again"
            raise BadFile(self.path, said) from None

    def build(self, config: dict[str, Any]) -> Any:
        """Encoder and denoiser."""
        from engine.motion.nets.au_diffusion import Both

        return Both.of(self.basis.size, config)

    def weights(
        self, rows: np.ndarray, controls: Sampled, first: int, last: int, state: Any
    ) -> tuple[np.ndarray, Any]:  # fmt: skip
        """As in NetSystem; without state."""
        from engine.motion.nets import au_diffusion as diffusion

        before, after = first - STILLED_REACH, last + STILLED_REACH
        starts = diffusion.window_starts(before, after)
        low, high = starts[0], starts[-1] + diffusion.WINDOW
        codes = self.codes(rows, controls, starts)
        speech = _windows(wide_rows(rows, low, high, diffusion.MARGIN), starts, diffusion.MARGIN)
        noise = self.noise(controls(np.zeros(1)).seed, starts)
        made = diffusion.make(self.net, codes, speech, noise) * self.net.spread
        return self.basis.weights(stilled(diffusion.blend(made, starts, before, after).numpy())), state

    def run(
        self, cache: tuple[Speech, np.ndarray], controls: Sampled, t0: float, t1: float, state: Any = None
    ) -> tuple[MotionSlice, Any]:
        """As in NetSystem; words that deny the voice's opening are obeyed on the finished mouth."""
        motion, state = super().run(cache, controls, t0, t1, state)
        weights = unsaid(np.concatenate([motion.arkit, motion.extra], 1), controls(motion.times), motion.au)
        return dataclasses.replace(motion, arkit=weights[:, : len(ARKIT)], extra=weights[:, len(ARKIT) :]), state

    def noise(self, seed: int, starts: range) -> Any:
        """The noise of the windows, [n, w, k]: of each component's power the share `varied`.

        Training adds unit noise, and a sampler as printed would begin with x_T ~ N(0, I). This one departs from it in
        what moves the lips: begun with all of the noise they are one draw of what a mouth might do, further from the
        truth than the middle of all draws (a test compares both on held-out clips), and another seed may say it worse.
        """
        import torch

        from engine.motion.nets import au_diffusion as diffusion

        reach, size = diffusion.SMOOTH_REACH, len(self.varied)
        common = noise_rows(seed, -10 * diffusion.HOP, -10 * diffusion.HOP + 1, size)
        rows = noise_rows(seed, starts[0] - reach, starts[-1] + diffusion.WINDOW + reach, size)
        drawn = diffusion.steady(_windows(rows, starts, reach), torch.from_numpy(common)[None])
        return torch.from_numpy(np.sqrt(self.varied)) * drawn

    def codes(self, rows: np.ndarray, controls: Sampled, starts: range) -> Any:
        """The codes of each window, [n, w, 36 + 2]: what the controls ask for, and the voice's own AU25 and AU26."""
        import torch

        from engine.motion.nets.au_diffusion import LISTEN, WINDOW

        low, high = starts[0], starts[-1] + WINDOW
        times = np.arange(low, high) / ROWS_HZ
        wanted, track = asked(controls, times).reshape(-1, CODES), controls(times)
        said = wide_rows(rows, low, high, LISTEN).copy()
        said[:, len(ARTICULATION) :] *= EAR_FEATURES
        with torch.inference_mode():
            heard = self.ear(_windows(said, starts, LISTEN))[:, LISTEN:-LISTEN].numpy()
        out = []
        for start, spoken in zip(starts, heard, strict=True):
            at = slice(start - low, start - low + WINDOW)
            own = spread(spoken)
            quiet = np.full((own.shape[1], 1), self.feelings, np.float32)
            quiet[_SPOKEN] = 1.0
            worded = modulate(own * quiet, _rows_of(track, at))
            felt = worded.copy()
            felt[:, _SPOKEN] = 0.0
            joined = np.maximum(wanted[at], felt.reshape(WINDOW, CODES))
            out.append(np.concatenate([joined, worded[:, _SPOKEN].mean(2)], 1))
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
