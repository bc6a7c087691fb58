"""Labels for recordings without phone times: a net's own, where it is sure (self-training), or a text's, aligned.

Three views of a recording (vocal-tract warps) vote; an event frame whose mean probability is not clear of 0.5 is
marked unknown, and so is a phone below CONFIDENCE; channels are the mean of the views at half weight.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from engine.core.errors import BadInput
from engine.core.files import replacing
from engine.core.phones import class_names, phone_class
from engine.core.progress import SILENT, Reporter
from engine.speech import events as ev
from engine.speech.align import OTHER, align
from engine.speech.embedded import event_probabilities, run_chunked
from engine.speech.frontend import normalise
from engine.speech.net import EVENTS, ArticulationNet, prior_array
from engine.speech.pronounce import voice_of, words_of
from engine.speech.transcript import word_scores
from engine.train.speech_augment import warp
from engine.train.speech_data import (
    LABELS,
    UNKNOWN,
    UNKNOWN_PHONE,
    label_rows,
    open_mels,
    read_index,
    read_texts,
)

WARPS = (0.94, 1.0, 1.06)
ALIGNED_WEIGHT = 200  # of rows placed by a net: their events count, their channels do not (speech_recipe.CHANNEL_TRUST)
CONFIDENCE = 0.6  # of the mean of the views: |2 p - 1| of an event, p of a phone class
GOOD_WORD, SAID = -1.3, 0.38  # mean score of a word that was said; share of such words in a text that fits


def own_labels(net: ArticulationNet, mel: np.ndarray) -> np.ndarray:
    """Label rows (speech_data.LABELS) of a recording by the net itself. mel [t, 64] natural log power -> [t, 15] u8."""
    return _labels_of(*_views(net, mel))


def _views(net: ArticulationNet, mel: np.ndarray) -> tuple[np.ndarray, ...]:
    """Mean over WARPS of events [t, 4], channels [t / 2, 8], phones and fine phones [t / 2, ...]."""
    views = []
    for factor in WARPS:
        view = warp(torch.from_numpy(mel)[None], torch.tensor([factor]))[0].numpy()
        raw = run_chunked(net, normalise(view, prior_array(net.config)))
        views.append((np.stack(list(event_probabilities(raw).values()), 1), raw.channels, raw.phones, raw.fine))
    return tuple(np.mean(values, axis=0) for values in zip(*views, strict=True))


def _labels_of(events: np.ndarray, channels: np.ndarray, phones: np.ndarray, fine: np.ndarray) -> np.ndarray:
    """Label rows of the frames about which the views are sure. -> [t, 15] uint8."""
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
    exact = np.full(len(best), UNKNOWN_PHONE, np.uint8)
    if fine.shape[1]:
        exact = np.where(fine.max(1) > CONFIDENCE, fine.argmax(1), UNKNOWN_PHONE).astype(np.uint8)
    soft = np.round(channels * 255).astype(np.uint8)
    weight = np.full((len(events), 1), 128, np.uint8)
    rows = [hard, np.repeat(soft, 2, 0), weight, np.repeat(which, 2)[:, None], np.repeat(exact, 2)[:, None]]
    return np.concatenate(rows, 1)


def aligned_labels(net: ArticulationNet, mel: np.ndarray, language: str, text: str) -> np.ndarray:
    """Label rows of a recording whose words are known: espeak's phones of the text placed by the net's posteriors.

    Words that do not fit, and texts that as a whole do not, are labelled as `own_labels` does. -> [t, 15] uint8.
    """
    events, channels, phones, fine = _views(net, mel)
    own = _labels_of(events, channels, phones, fine)
    try:
        voice = voice_of(language, text)
        words = words_of(text, voice)
    except BadInput:  # nothing that can be said
        return own
    found = align(words, fine if fine.shape[1] else phones, events[:, 0])
    scores = word_scores(found, len(words))
    if np.isfinite(scores).mean() * (scores > GOOD_WORD).mean() < SAID:
        return own
    placed = label_rows(tuple((s.phone, s.start, s.end) for s in found), len(own))
    placed[:, LABELS.index("weight")] = ALIGNED_WEIGHT
    for s in found:
        if s.index == OTHER or (s.index >= 0 and scores[s.index] < GOOD_WORD):
            a, b = round(s.start * 100), round(s.end * 100)
            placed[a:b] = own[a:b]
    return placed


def _asks(class_name: str, event: str) -> bool:
    """Whether phones of this class show the event."""
    cls = phone_class(class_name)
    return {"round": cls.rounded, "voice": cls.event != "pause"}.get(event, cls.event == event)


def relabel(
    store: Path,
    labels: Path,
    net: ArticulationNet,
    known: Mapping[str, np.ndarray] | None = None,
    without: tuple[str, ...] = (),
    report: Reporter = SILENT,
) -> None:
    """Write `labels`/labels.u8 for a store of plain recordings and their variants (`build_store(..., plain=True)`).

    The unchanged recording is labelled; its variants take the same labels at their own speed. known: name -> rows
    [t, 15] of recordings that have labels from elsewhere. without: voices that are passed over (their rows teach
    nothing).
    """
    labels.mkdir(parents=True, exist_ok=True)
    rows, mels, texts = read_index(store), open_mels(store), read_texts(store)
    out = np.zeros((len(mels), len(LABELS)), np.uint8)
    net.eval()
    own: np.ndarray | None = None
    for number, row in enumerate(rows):
        report.step("labelling", number, len(rows))
        if row.voice in without:
            continue
        if row.of == number:
            own = (known or {}).get(row.name)
            if own is None:
                mel = mels[row.start : row.start + row.frames].astype(np.float32)
                own = aligned_labels(net, mel, *texts[row.name]) if row.name in texts else own_labels(net, mel)
        assert own is not None, "a store for labelling begins with a plain recording"
        at = np.minimum((np.arange(row.frames) / row.scale).round().astype(int), len(own) - 1)
        out[row.start : row.start + row.frames] = own[at]
    with replacing(labels / "labels.u8") as part:
        out.tofile(part)
