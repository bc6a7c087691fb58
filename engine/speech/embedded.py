"""The embedded encoder: the checkpoint that ships with the project (net.py), run in chunks without seams."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from engine.audio.read import levelled
from engine.core.files import sha256_of
from engine.core.phones import CHANNELS, class_names, phone_class
from engine.core.progress import SILENT, Reporter
from engine.core.sound import Audio, Features
from engine.speech.encode import Heard
from engine.speech.frontend import FLOOR, log_mel, normalise, normalise_running
from engine.speech.net import EVENTS, ArticulationNet, load_net, prior_array
from engine.speech.net_phones import BITTEN, CLOSED

EDGE_ROWS = 25  # 50 Hz rows of background put around a recording
AGREEMENT = 1.6
LIP_BLUR_ROWS = 2.0  # standard deviation, 40 ms: lips shape more slowly than phones change
FIRST_FRAMES = 10  # of 10 ms, from which live use takes the background before the start
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
        """Raises Cancelled. A causal net hears nothing that comes later than its look-ahead, the level included."""
        causal = self.net.config.causal
        samples = audio.samples if causal else levelled(audio.samples)
        report.check()
        mel = log_mel(samples, report)
        edge = quiet_edge(mel[:FIRST_FRAMES] if causal else mel)
        padded = np.concatenate([edge, mel, edge])
        report.check()
        prior = prior_array(self.net.config)
        normal = normalise_running(padded, prior) if causal else normalise(padded, prior, heard=mel)
        raw = run_chunked(self.net, normal, report)
        report.check()
        rows, frames = slice(EDGE_ROWS, EDGE_ROWS + len(mel) // 2), slice(2 * EDGE_ROWS, 2 * EDGE_ROWS + len(mel))
        features = raw.features[rows].astype(np.float16)
        return Heard(
            {name: p[frames] for name, p in event_probabilities(raw).items()},
            with_lip_shape(raw)[rows],
            Features(self.encoder_id, "penultimate", 50.0, 0.0, features, norm="tanh"),
            mel,
            self.thresholds,
            raw.fine[rows] if raw.fine.shape[1] else raw.phones[rows],
        )


class Raw(NamedTuple):
    """Outputs of the net. events [2t, 4], channels [t, 8], phones [t, classes], fine [t, net_phones.FINE] (no columns
    for a net without that head): probabilities; features [t, 64]."""

    events: np.ndarray
    channels: np.ndarray
    features: np.ndarray
    phones: np.ndarray
    fine: np.ndarray


def event_probabilities(raw: Raw) -> dict[str, np.ndarray]:
    """name -> [2t] float32 at 100 Hz.

    The witnesses of a contact, its own head and the phone classifiers, err on different sounds: their mean in log odds
    finds 2-4 points more closures at equal false ones than the heads alone. AGREEMENT: witnesses that agree are surer
    together than each alone.
    """
    out = {name: raw.events[:, i] for i, name in enumerate(EVENTS)}
    for kind, fine in (("closure", CLOSED), ("labiodental", BITTEN)):
        classes = [i for i, name in enumerate(class_names()) if phone_class(name).event == kind]
        witnesses = [out[kind], _at_100_hz(raw.phones[:, classes].sum(1))]
        if raw.fine.shape[1]:
            witnesses.append(_at_100_hz(raw.fine[:, list(fine)].sum(1)))
        odds = AGREEMENT * np.mean([_log_odds(w) for w in witnesses], axis=0)
        out[kind] = (1.0 / (1.0 + np.exp(-odds))).astype(np.float32)
    return out


def _at_100_hz(values: np.ndarray) -> np.ndarray:
    """[t] at 50 Hz -> [2t]."""
    return np.interp(np.arange(2 * len(values)) / 2, np.arange(len(values)), values)


def _log_odds(p: np.ndarray) -> np.ndarray:
    p = np.clip(p.astype(np.float64), 1e-5, 1 - 1e-5)
    return np.log(p / (1 - p))


def with_lip_shape(raw: Raw) -> np.ndarray:
    """Channels with rounding and funnelling at least what the phones heard ask for. [t, 8] float32.

    The channel head is trained on blended targets and answers doubt with half a pout. The phone classifier's view is
    blended by the same dominances instead (phones.py), and the stronger of the two is taken.
    """
    from scipy.ndimage import gaussian_filter1d

    classes = [phone_class(name) for name in class_names()]
    weight = gaussian_filter1d(raw.phones * np.array([c.dominance[1] for c in classes]), LIP_BLUR_ROWS, axis=0)
    weight /= np.maximum(weight.sum(1, keepdims=True), 1e-9)
    out = raw.channels.copy()
    for i in (CHANNELS.index("round"), CHANNELS.index("funnel")):
        out[:, i] = np.maximum(out[:, i], weight @ np.array([c.targets[i] for c in classes]))
    return out


def quiet_edge(mel: np.ndarray) -> np.ndarray:
    """Half a second of the recording's own background, to stand before its start and after its end. [50, 64] float32.

    A cut that begins on a burst is heard as one only if silence precedes it; the net's own zero padding would sound
    like average speech.
    """
    quiet = np.minimum(np.percentile(mel, 5, axis=0), mel.max(0) - EDGE_BELOW)
    return np.tile(np.maximum(quiet, np.log(FLOOR)).astype(np.float32), (2 * EDGE_ROWS, 1))


def run_chunked(net: ArticulationNet, mel: np.ndarray, report: Reporter = SILENT, chunk: int = CHUNK_ROWS) -> Raw:
    """The net over a recording of any length, `chunk` rows of 50 Hz at once.

    mel [2t, 64] normalised. Each chunk hears its neighbours as far as the net reaches, so the result is that of one
    run over the whole.
    """
    rows = len(mel) // 2
    reach = round(net.config.reach_s * 50) + 1
    parts: list[tuple[np.ndarray, ...]] = []
    with torch.inference_mode():
        for at in range(0, rows, chunk):
            report.step("listening", at, rows)
            first, last = max(0, at - reach), min(rows, at + chunk + reach)
            trunk = net.trunk(torch.from_numpy(mel[2 * first : 2 * last])[None])
            events, channels, features = net.heads(trunk)
            phones = torch.softmax(net.phone_logits(trunk), 1)[0].T
            fine_logits = net.fine_logits(trunk)
            fine = phones[:, :0] if fine_logits is None else torch.softmax(fine_logits, 1)[0].T
            a, b = at - first, min(at + chunk, rows) - first
            wanted = (
                torch.sigmoid(events[0, 2 * a : 2 * b]),
                torch.sigmoid(channels[0, a:b]),
                features[0, a:b],
                phones[a:b],
                fine[a:b],
            )
            parts.append(tuple(x.numpy() for x in wanted))
    return Raw(*(np.concatenate(p) for p in zip(*parts, strict=True)))
