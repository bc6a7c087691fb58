"""A sound file -> `Audio` (mono, 16 kHz, finite); samples -> a wav file."""

from __future__ import annotations

import hashlib
import math
import os
from pathlib import Path

import numpy as np

from engine.core.errors import BadFile, BadInput
from engine.core.files import replacing, sha256_of
from engine.core.progress import SILENT, Reporter
from engine.core.sound import SAMPLE_RATE, Audio

LONGEST_S = 4 * 3600
SHORTEST_S = 0.01
_BLOCK_S = 30  # seconds resampled at once
_LOUDEST = 8.0  # float files may exceed 1 a little; beyond this they are scaled down


def read_audio(path: str | os.PathLike[str], report: Reporter = SILENT) -> Audio:
    """Read wav, flac, mp3 or ogg at any rate and channel count (libsndfile).

    Channels are averaged; samples that are not numbers become silence (with a warning); time starts at the file's
    first sample. Raises BadFile with one sentence for anything that holds no usable sound, or more than four hours.
    """
    source = Path(path)
    if source.is_dir():
        raise BadFile(path, "is a folder; give one sound file")
    if not source.exists():
        raise BadFile(path, "no such file")
    if source.stat().st_size == 0:
        raise BadFile(path, "is empty")
    samples, broken = _decode(source, report)
    if broken:
        report.warn(f"{source.name}: {broken} samples are not numbers; they were read as silence")
    return Audio(samples, sha256_of(source), str(source))


def _decode(source: Path, report: Reporter) -> tuple[np.ndarray, int]:
    import soundfile

    try:
        with soundfile.SoundFile(source) as f:
            seconds = f.frames / f.samplerate
            if seconds > LONGEST_S:
                raise BadFile(source, f"lasts {seconds / 3600:.1f} hours; cut it into takes of less than 4 hours")
            resampler = Resampler(f.samplerate)
            parts, broken, done = [], 0, 0
            while len(block := f.read(_BLOCK_S * f.samplerate, dtype="float32", always_2d=True)):
                report.step("reading", done, max(f.frames, 1))
                done += len(block)
                mono = block.mean(1)
                bad = ~np.isfinite(mono)
                broken += int(bad.sum())
                mono[bad] = 0.0
                parts.append(resampler.push(mono))
            parts.append(resampler.finish())
    except soundfile.LibsndfileError as error:
        reason = str(error).split(":")[-1].strip().rstrip(".")
        raise BadFile(source, f"is not a sound file that can be read ({reason}); use wav, flac, mp3 or ogg") from None
    except OSError as error:
        raise BadFile(source, f"cannot be read ({error.strerror or error})") from None
    samples = np.concatenate(parts)
    if done / resampler.rate < SHORTEST_S:
        raise BadFile(source, "holds no sound; give a recording of at least 10 ms")
    loudest = float(np.abs(samples).max())
    if loudest > _LOUDEST:  # a float file scaled like 16-bit integers
        samples /= loudest
    return samples, broken


class Resampler:
    """Polyphase resampling to 16 kHz, block by block, equal to resampling the whole at once (within 1e-6).

    `push` takes the next samples [n] float32 and gives those that are final; `finish` gives the rest.
    """

    def __init__(self, rate: int):
        if rate <= 0:
            raise BadInput(f"a sound file's rate must be positive, not {rate}")
        divisor = math.gcd(rate, SAMPLE_RATE)
        self.rate, self.up, self.down = rate, SAMPLE_RATE // divisor, rate // divisor
        # scipy's own filter is 20 max(up, down) + 1 taps at the upsampled rate: 10 max / up input samples a side.
        self._margin = 0 if self.up == self.down else (10 * max(self.up, self.down) // self.up + 2)
        # Blocks must start on a multiple of `down` so that every block meets the filter in the same phase.
        self._margin = -(-self._margin // self.down) * self.down
        self._held = np.zeros(0, np.float32)
        self._lead = 0  # samples at the front of _held that are already out, kept as the filter's past

    def push(self, block: np.ndarray) -> np.ndarray:
        self._held = np.concatenate([self._held, block.astype(np.float32)])
        ready = (len(self._held) - self._lead - self._margin) // self.down * self.down
        return self._emit(ready) if ready > 0 else np.zeros(0, np.float32)

    def finish(self) -> np.ndarray:
        return self._emit(len(self._held) - self._lead) if len(self._held) > self._lead else np.zeros(0, np.float32)

    def _emit(self, ready: int) -> np.ndarray:
        from scipy.signal import resample_poly

        if self.up == self.down:
            out, self._held = self._held, np.zeros(0, np.float32)
            return out
        all_out = resample_poly(self._held, self.up, self.down)
        first = self._lead * self.up // self.down
        last = -(-(self._lead + ready) * self.up // self.down)
        keep = max(0, self._lead + ready - self._margin)
        keep = keep // self.down * self.down
        self._held, self._lead = self._held[keep:], self._lead + ready - keep
        return all_out[first:last].astype(np.float32)


def audio_of(samples: np.ndarray, rate: int = SAMPLE_RATE) -> Audio:
    """`Audio` of samples in memory: [n] or [n, channels], any rate."""
    mono = np.asarray(samples, np.float32)
    mono = np.nan_to_num(mono.mean(1) if mono.ndim == 2 else mono, nan=0.0, posinf=0.0, neginf=0.0)
    resampler = Resampler(rate)
    out = np.concatenate([resampler.push(mono), resampler.finish()])
    return Audio(out, hashlib.sha256(out.tobytes()).hexdigest())


def write_wav(path: str | os.PathLike[str], samples: np.ndarray, rate: int = SAMPLE_RATE) -> None:
    """Write 16-bit PCM. samples: [n] or [n, channels] float in [-1, 1]; louder is clipped."""
    import soundfile

    with replacing(path) as part:
        soundfile.write(part, np.clip(samples, -1.0, 1.0), rate, subtype="PCM_16", format="WAV")


def levelled(samples: np.ndarray, rms: float = 0.08) -> np.ndarray:
    """Samples scaled so that their loud 20 ms windows have this RMS (-22 dB); for a net's input, never for output.

    Near silence (loud windows below -60 dB) is left as it is: lifting it would make speech of hiss.
    """
    hop = SAMPLE_RATE // 50
    if len(samples) < hop:
        power = np.array([np.mean(samples**2)])
    else:
        # float64 sums over one reshaped view: half an hour needs no copy of the samples
        power = np.einsum("ij,ij->i", *(2 * [samples[: len(samples) // hop * hop].reshape(-1, hop)])) / hop
    loud = float(np.sqrt(np.percentile(power, 95)))
    return samples if loud < 1e-3 else (samples * np.float32(rms / loud)).astype(np.float32)
