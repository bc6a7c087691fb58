"""The embedded encoder: the checkpoint that ships with the project (net.py), run in chunks without seams."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from engine.audio.read import levelled
from engine.core.files import sha256_of
from engine.core.progress import SILENT, Reporter
from engine.core.sound import Audio, Features
from engine.speech.encode import Heard
from engine.speech.frontend import FLOOR, log_mel, normalise
from engine.speech.net import EVENTS, ArticulationNet, load_net, prior_array

EDGE_ROWS = 25  # 50 Hz rows of background put around a recording
EDGE_BELOW = 7.0  # at least 30 dB (natural-log units of power) below each band's peak
CHUNK_ROWS = 500  # 10 s at once: a cancel is heard in well under 200 ms


def accepts(path: Path) -> bool:
    return path.is_file() and path.suffix == ".safetensors"


def load(path: Path) -> Embedded:
    net, header = load_net(path)
    return Embedded(net, f"embedded-{sha256_of(path)[:12]}", header.get("thresholds", {}))


class Embedded:
    """Callable: `Audio` -> `Heard`."""

    def __init__(self, net: ArticulationNet, encoder_id: str, thresholds: dict[str, float]):
        self.net, self.encoder_id, self.thresholds = net, encoder_id, thresholds

    def __call__(self, audio: Audio, report: Reporter = SILENT) -> Heard:
        """Raises Cancelled."""
        mel = log_mel(levelled(audio.samples), report)
        padded = np.concatenate([quiet_edge(mel), mel, quiet_edge(mel)])
        normal = normalise(padded, prior_array(self.net.config), heard=mel)
        events, channels, features = run_chunked(self.net, normal, report)
        rows = slice(EDGE_ROWS, EDGE_ROWS + len(mel) // 2)
        events, channels, features = events[2 * rows.start : 2 * rows.stop], channels[rows], features[rows]
        return Heard(
            {name: events[:, i] for i, name in enumerate(EVENTS)},
            channels,
            Features(self.encoder_id, "penultimate", 50.0, 0.0, features.astype(np.float16), norm="tanh"),
            mel,
            self.thresholds,
        )


def quiet_edge(mel: np.ndarray) -> np.ndarray:
    """Half a second of the recording's own background, to stand before its start and after its end. [50, 64] float32.

    A cut that begins on a burst is heard as one only if silence precedes it; the net's own zero padding would sound
    like average speech.
    """
    quiet = np.minimum(np.percentile(mel, 5, axis=0), mel.max(0) - EDGE_BELOW)
    return np.tile(np.maximum(quiet, np.log(FLOOR)).astype(np.float32), (2 * EDGE_ROWS, 1))


def run_chunked(
    net: ArticulationNet, mel: np.ndarray, report: Reporter = SILENT, chunk: int = CHUNK_ROWS
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The net over a recording of any length, `chunk` rows of 50 Hz at once.

    mel [2t, 64] normalised. Each chunk hears its neighbours as far as the net reaches, so the result is that of one
    run over the whole. Returns event probabilities [2t, 4], channels [t, 8], features [t, 64], float32.
    """
    rows = len(mel) // 2
    reach = round(net.config.reach_s * 50) + 1
    parts: list[tuple[np.ndarray, ...]] = []
    with torch.inference_mode():
        for at in range(0, rows, chunk):
            report.step("listening", at, rows)
            first, last = max(0, at - reach), min(rows, at + chunk + reach)
            events, channels, features = net(torch.from_numpy(mel[2 * first : 2 * last])[None])
            a, b = at - first, min(at + chunk, rows) - first
            parts.append((
                torch.sigmoid(events[0, 2 * a : 2 * b]).numpy(),
                torch.sigmoid(channels[0, a:b]).numpy(),
                features[0, a:b].numpy(),
            ))  # fmt: skip
    joined = [np.concatenate(p) for p in zip(*parts, strict=True)]
    return joined[0], joined[1], joined[2]
