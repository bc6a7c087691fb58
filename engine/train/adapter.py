"""Recipe `adapter`: fit any pretrained speech encoder to interface v1, in minutes on one core.

    soliloquy train adapter --encoder FOLDER

Synthesised speech teaches it: phones, events and channels come from the exact phone times, the 64 features from the
embedded net (a motion system must get the same features whoever listens). Every tenth clip is held out for the
figures; the last step tries bfloat16 and keeps it only where it is measured equal and faster.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.assets import registry
from engine.audio.read import audio_of, levelled
from engine.core.errors import BadInput
from engine.core.files import writable
from engine.core.progress import SILENT, Reporter
from engine.core.sound import SAMPLE_RATE
from engine.speech.adapter import EVENTS, AdapterConfig, AdapterNet, save_adapter
from engine.speech.encode import load_encoder
from engine.speech.hub import folder_of
from engine.speech.net_phones import UNKNOWN, fine_labels
from engine.speech.pretrained import Pretrained
from engine.studio.speech_corpus.augment import vary
from engine.studio.speech_corpus.build import clips
from engine.studio.speech_corpus.labels import continuous_labels, event_labels

WINDOW, BATCH = 200, 16  # rows (4 s) and windows of one step
RATE = 2e-3
EVENT_WEIGHTS = (2.0, 2.0, 1.0, 1.0)
HELD_OUT = 10  # every tenth clip
SAME_COSINE, FASTER = 0.999, 1.2  # what bfloat16 must reach


@dataclass(frozen=True)
class _Example:
    """One clip at 50 Hz: encoder rows [t, d] f16, events [t, 2, 4] u8, channels [t, 8] u8, phones [t] u8 (fine), the
    embedded net's features [t, 64] f16."""

    rows: np.ndarray
    events: np.ndarray
    channels: np.ndarray
    phones: np.ndarray
    features: np.ndarray


def adapter(
    out: Path | None = None, work: Path | None = None, seed: int = 0, report: Reporter = SILENT, encoder: str = "",
    minutes: float | str = 15.0, steps: int | str = 1200, layer: int | str | None = None, download: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Fit and write an adapter; default place: the user's folder, where `--speech FOLDER` finds it.

    encoder: folder or hub id. minutes: of synthesised speech. layer: hidden layer from 1. Returns the held-out figures:
    phone accuracy and its chance level, closure hits, correlation of features and channels; seconds; cosine of
    bfloat16. Raises BadInput, BadFile, Missing, Cancelled.
    """
    if not encoder:
        raise BadInput("say which model to fit: --encoder FOLDER")
    began = time.perf_counter()
    folder = folder_of(encoder, download)
    model = Pretrained(folder, int(layer) if layer is not None else None)
    target = writable(out or registry.user_home() / "adapters" / f"{model.encoder_id}.safetensors")
    examples = _examples(model, float(minutes), seed, report)
    train, held = [e for i, e in enumerate(examples) if i % HELD_OUT], examples[::HELD_OUT]
    net = fit(train, int(steps), seed, report)
    figures = evaluate(net, held)
    equal = try_bfloat16(model, seed)
    header = {
        "encoder": model.encoder_id, "layer": model.layer, "native_rate_hz": model.frames.rate_hz,
        "native_t0_s": model.frames.t0_s, "dtype": "bfloat16" if equal["use"] else "float32",
        "bfloat16_cosine": equal["cosine"], "held_out": figures,
    }  # fmt: skip
    save_adapter(target, net, header)
    return {
        "adapter": str(target), "encoder": model.encoder_id, "layer": model.layer, **figures,
        "bfloat16": equal, "seconds": round(time.perf_counter() - began, 1),
    }  # fmt: skip


def _examples(model: Pretrained, minutes: float, seed: int, report: Reporter) -> list[_Example]:
    """Synthesised clips with room, microphone and speed changes, heard by both encoders."""
    teacher = load_encoder()
    rng = np.random.default_rng(seed)
    out, done, total = [], 0.0, minutes * 60
    for clip in clips(minutes / 60, seed):
        report.step("speech", int(done), int(total))
        done += clip.duration
        samples, segments, _ = vary(clip.samples, clip.segments, rng)
        voice = levelled(samples.astype(np.float32))
        rows = model.rows(voice, report)
        heard = teacher(audio_of(voice), report)
        t = min(len(rows), len(heard.channels))
        events = event_labels(segments, 2 * t).reshape(t, 2, len(EVENTS))
        channels = continuous_labels(segments, 2 * t)[::2]
        phones = fine_labels(segments, 2 * t)[::2]
        features = heard.features.values[:t]
        out.append(_Example(rows[:t].astype(np.float16), events, channels, phones, features))
    if len(out) < 2 * HELD_OUT:
        raise BadInput(f"{minutes:g} minutes of speech are too few to fit and to measure an adapter; give 5 or more")
    return out


def fit(examples: list[_Example], steps: int, seed: int = 0, report: Reporter = SILENT) -> AdapterNet:
    """Train an adapter on examples; the same seed gives the same weights on the same machine."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rng = np.random.default_rng([seed, 1])
    some = np.concatenate([e.rows for e in examples[:200]]).astype(np.float32)
    net = AdapterNet(AdapterConfig(inputs=some.shape[1]))
    net.mean.copy_(torch.from_numpy(some.mean(0)))
    net.scale.copy_(torch.from_numpy(1.0 / np.maximum(some.std(0), 1e-3)))
    optimiser = torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps, pct_start=0.1)
    lengths = np.array([len(e.rows) for e in examples], np.float64)
    for step in range(steps):
        report.step("fitting", step, steps)
        chosen = rng.choice(len(examples), BATCH, p=lengths / lengths.sum())
        loss = _loss(net, [_window(examples[i], rng) for i in chosen])
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 2.0)
        optimiser.step()
        schedule.step()
    return net.eval()


def _window(example: _Example, rng: np.random.Generator) -> _Example:
    """WINDOW rows of a clip, padded where it is shorter (unknown phones, no events)."""
    t = len(example.rows)
    at = int(rng.integers(0, max(1, t - WINDOW + 1)))
    cut = [getattr(example, name)[at : at + WINDOW] for name in ("rows", "events", "channels", "phones", "features")]
    missing = WINDOW - len(cut[0])
    if missing > 0:
        cut = [np.pad(a, [(0, missing)] + [(0, 0)] * (a.ndim - 1), mode="edge") for a in cut]
        cut[3][-missing:] = UNKNOWN
    return _Example(*cut)


def _loss(net: AdapterNet, batch: list[_Example]) -> Tensor:
    """Cross entropies of events, channels and phones, and the squared distance from the embedded net's features."""
    stack = lambda name: torch.from_numpy(np.stack([getattr(e, name) for e in batch]))  # noqa: E731
    events, channels, features, phones = net(stack("rows").float())
    b, t = phones.shape[:2]
    bce = torch.nn.functional.binary_cross_entropy_with_logits
    wanted = stack("events").float().reshape(b, 2 * t, len(EVENTS))
    event_loss = (bce(events, wanted, reduction="none").mean((0, 1)) * torch.tensor(EVENT_WEIGHTS)).sum()
    channel_loss = bce(channels, stack("channels").float() / 255)
    which = stack("phones").long()
    phone_loss = torch.nn.functional.cross_entropy(phones.reshape(b * t, -1), which.reshape(-1), ignore_index=UNKNOWN)
    feature_loss = (features - stack("features").float()).pow(2).mean()
    return event_loss + 4 * channel_loss + 0.5 * phone_loss + 4 * feature_loss


def evaluate(net: AdapterNet, held: list[_Example]) -> dict[str, float]:
    """Figures on clips that were not trained on.

    phones, phones_chance: share of rows with the right phone, and of always answering the commonest; closure: area
    under the ROC curve of the closure head (0.5 = chance); features, channels: mean correlation over columns.
    """
    got = [net.probabilities(e.rows.astype(np.float32)) for e in held]
    phones = np.concatenate([e.phones for e in held])
    known = phones != UNKNOWN
    named = np.concatenate([g.phones.argmax(1) for g in got])
    truth = np.concatenate([e.events.reshape(-1, len(EVENTS)) for e in held])[:, 0] > 0
    closure = np.concatenate([g.events["closure"] for g in got])
    pairs = [
        (np.concatenate([e.features for e in held]), np.concatenate([g.features for g in got])),
        (np.concatenate([e.channels for e in held]), np.concatenate([g.channels for g in got])),
    ]
    features, channels = (_correlation(a.astype(np.float64), b.astype(np.float64)) for a, b in pairs)
    return {
        "phones": round(float((named[known] == phones[known]).mean()), 4),
        "phones_chance": round(float(np.bincount(phones[known]).max() / known.sum()), 4),
        "closure": round(_area(closure, truth), 4),
        "features": round(features, 4),
        "channels": round(channels, 4),
        "held_out_rows": len(phones),
    }


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Mean over columns of Pearson's correlation; columns that do not vary are left out."""
    a, b = a - a.mean(0), b - b.mean(0)
    norm = np.sqrt((a * a).sum(0) * (b * b).sum(0))
    return float(((a * b).sum(0)[norm > 1e-9] / norm[norm > 1e-9]).mean()) if (norm > 1e-9).any() else 0.0


def _area(score: np.ndarray, truth: np.ndarray) -> float:
    """Area under the ROC curve (Mann-Whitney). 0.5 for scores that know nothing."""
    from scipy.stats import rankdata

    yes = int(truth.sum())
    if not yes or yes == len(truth):
        return 0.5
    return float((rankdata(score)[truth].sum() - yes * (yes + 1) / 2) / (yes * (len(truth) - yes)))


def try_bfloat16(model: Pretrained, seed: int = 0) -> dict[str, Any]:
    """Run ten seconds in float32 and bfloat16: {"cosine", "times_faster", "use"}; use: equal and faster here."""
    clip = np.concatenate([c.samples for c in clips(10 / 3600, seed + 1)])[: 10 * SAMPLE_RATE]
    samples = levelled(clip.astype(np.float32))
    took, rows = {}, {}
    for half in (False, True):
        model.bfloat16 = half
        model.rows(samples[:SAMPLE_RATE])  # the first call allocates
        started = time.perf_counter()
        rows[half] = model.rows(samples)
        took[half] = time.perf_counter() - started
    a, b = (rows[half] - rows[False].mean(0) for half in (False, True))
    cosine = float((a * b).sum() / max(np.sqrt((a * a).sum() * (b * b).sum()), 1e-12))
    faster = took[False] / max(took[True], 1e-9)
    use = cosine >= SAME_COSINE and faster >= FASTER
    model.bfloat16 = use
    return {"cosine": round(cosine, 6), "times_faster": round(faster, 2), "use": use}
