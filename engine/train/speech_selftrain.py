"""Labels for recordings without phone times: the net's own, where it is sure (self-training).

Three views of a recording (vocal-tract warps) vote; an event frame whose mean probability is not clear of 0.5 is
marked unknown, and so is a phone class below CONFIDENCE; channels are the mean of the views at half weight.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch

from engine.audio.read import levelled
from engine.core.phones import class_names, phone_class
from engine.speech import events as ev
from engine.speech.embedded import event_probabilities, run_chunked
from engine.speech.frontend import log_mel, normalise
from engine.speech.net import EVENTS, ArticulationNet, prior_array
from engine.studio.speech_corpus.build import Clip
from engine.train.speech_augment import warp
from engine.train.speech_data import UNKNOWN_PHONE

WARPS = (0.94, 1.0, 1.06)
CONFIDENCE = 0.6  # of the mean of the views: |2 p - 1| of an event, p of a phone class
UNKNOWN = 128


def own_labels(net: ArticulationNet, samples: np.ndarray) -> np.ndarray:
    """Label rows (speech_data.LABELS) of a recording by the net itself. samples [n] float32 -> [t, 14] uint8."""
    mel = log_mel(levelled(samples))
    views = []
    for factor in WARPS:
        view = warp(torch.from_numpy(mel)[None], torch.tensor([factor]))[0].numpy()
        raw = run_chunked(net, normalise(view, prior_array(net.config)))
        views.append((np.stack(list(event_probabilities(raw).values()), 1), raw.channels, raw.phones))
    events, channels, phones = (np.mean(values, axis=0) for values in zip(*views, strict=True))
    names = class_names()
    best = phones.argmax(1)
    known = np.repeat(phones.max(1) > CONFIDENCE, 2)
    hard = np.full(events.shape, UNKNOWN, np.uint8)
    for i, name in enumerate(EVENTS):
        p = events[:, i]
        sure = ev.chain_posterior(p, ev.CLOSURE) if name == "closure" else p
        # "Not there" also needs a phone that is surely another one: a missed f is no proof against f.
        asks = np.repeat(np.isin(best, [k for k, c in enumerate(names) if _asks(c, name)]), 2)
        hard[(sure < 0.5 * (1 - CONFIDENCE)) & known & ~asks, i] = 0
        hard[(sure > 0.5 * (1 + CONFIDENCE)) & (p > 0.5), i] = 255
    which = np.where(known[::2], best, UNKNOWN_PHONE).astype(np.uint8)
    soft = np.round(channels * 255).astype(np.uint8)
    weight = np.full((len(mel), 1), 128, np.uint8)
    return np.concatenate([hard, np.repeat(soft, 2, 0), weight, np.repeat(which, 2)[:, None]], 1)


def _asks(class_name: str, event: str) -> bool:
    """Whether phones of this class show the event."""
    cls = phone_class(class_name)
    return {"round": cls.rounded, "voice": cls.event != "pause"}.get(event, cls.event == event)


def labelled(
    net: ArticulationNet, source: str, recordings: Iterable[tuple[str, np.ndarray]]
) -> Iterator[tuple[Clip, np.ndarray]]:
    """Clips with the net's own labels, for `speech_data.build_store`."""
    net.eval()
    for name, samples in recordings:
        yield Clip(source, name, name.split("/")[0], samples, ()), own_labels(net, samples)
