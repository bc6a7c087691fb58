"""Adapts `emotag` to one person from a few seconds (EmoTaG, section 3.3): only AdaIN's parameters are trained, and of
these only what shifts gamma and beta: all 50 thousand numbers of AdaIN fitted five seconds better and made the lips
of other sentences worse (validation people: 1.27 -> 1.32 mm), these 384 do not.

    soliloquy train emotag_adapt OUT.safetensors --option take=TAKE.npz --option sound=VOICE.wav
    soliloquy train emotag_adapt OUT.safetensors --work SET --option person=test00

OUT in the user's folder as motion/emotag.safetensors is what `speak --motion emotag` then uses. What the person shows
must be known with what it was asked to show: a take (tracked or animated by hand, any rate) with nothing keyed counts
as neutral, a performance set knows its controls. `measure` is the paper's few-shot protocol on test people.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from engine.core.errors import BadFile, BadInput
from engine.core.names import AUS, EMOTION_INDEX, EMOTIONS
from engine.core.progress import SILENT, Reporter
from engine.motion.emotag import IDENTITY, NAME, EmoTaG, identity_of
from engine.motion.nets import file
from engine.motion.nets.grmn import GRMN
from engine.train.emotag_recipe import Lessons, Units, held_errors, standard
from engine.train.motion_codes import asked_of, clips_of, rows_of
from engine.train.motion_data import load
from engine.train.motion_loop import VertexLoss
from engine.train.motion_recipe import amount_of

SECONDS, RATE_HZ = 5.0, 50
STEPS, RATE = 40, 1e-3  # more steps fit the seconds better and other sentences worse (validation people)


@dataclass(frozen=True)
class Shown:
    """A few seconds of one person at 50 Hz: speech [t, 75], codes [t, 36], emotion [t, 14], weights [t, 59]."""

    speech: np.ndarray
    codes: np.ndarray
    emotion: np.ndarray
    weights: np.ndarray


def adapt(
    net: GRMN, seen: Shown, unit: Units, goal: np.ndarray, loss: VertexLoss, steps: int = STEPS,
    report: Reporter = SILENT,
) -> GRMN:  # fmt: skip
    """`net` itself, adapted in place: `person` is set, AdaIN's modulation is trained, nothing else changes.

    goal [t, k]: coefficients of seen.weights.
    """
    net.eval()  # running statistics and dropout stay as they are
    net.person.copy_(torch.from_numpy(standard(identity_of(seen.weights, seen.speech), unit)))
    style = net.modulation()
    given = [torch.from_numpy(np.asarray(x, np.float32))[None] for x in (seen.speech, seen.codes, seen.emotion)]
    truth = torch.from_numpy(np.asarray(goal, np.float32))[None]
    optimiser = torch.optim.Adam(style, RATE)
    for step in range(steps):
        report.step("adapting", step, steps)
        for group in optimiser.param_groups:
            group["lr"] = RATE * (1.0 - step / steps)
        gradient = torch.autograd.grad(loss(net(*given, net.person[None]).motion, truth), style)
        for p, g in zip(style, gradient, strict=True):
            p.grad = g
        optimiser.step()
    optimiser.zero_grad()
    return net


def load_net(path: Path | None = None) -> tuple[GRMN, file.Checkpoint, Units]:
    """The pretrained network (the bundled one without a path), its checkpoint and its units of identity."""
    from engine.assets.registry import resolve

    path = path or resolve(NAME, "motion")
    checkpoint = file.read(path, NAME)
    net = file.load_into(lambda config: GRMN(checkpoint.basis.size, **config), checkpoint, path)
    if "identity" not in checkpoint.header:
        raise BadFile(path, "does not say in which units identities are: train it again")
    try:
        mean, spread = (np.array(part, np.float32).reshape(IDENTITY) for part in checkpoint.header["identity"])
    except (TypeError, ValueError):
        raise BadFile(path, "has damaged units of identities: train it again") from None
    return net, checkpoint, (mean, spread)


def first_seconds(held: Lessons, clips: list[int], seconds: float = SECONDS) -> tuple[Shown, list[int]]:
    """The first seconds of a person's clips, one clip after the other, and the clips that no part was taken of."""
    rows: list[int] = []
    for n, clip in enumerate(clips):
        at = rows_of(held.pool, clip)
        rows += list(range(at.start, at.stop))[: round(seconds * RATE_HZ) - len(rows)]
        if len(rows) >= round(seconds * RATE_HZ):
            return _rows(held, np.array(rows)), clips[n + 1 :]
    raise BadInput(f"this person's clips last less than {seconds:g} s")


def _rows(held: Lessons, rows: np.ndarray) -> Shown:
    pool = held.pool
    columns = (pool.speech[rows], held.codes[rows], pool.emotion[rows], pool.weights[rows])
    return Shown(*(column.astype(np.float32) for column in columns))


def measure(
    work: Path, path: Path | None = None, seconds: float = SECONDS, split: str = "test", report: Reporter = SILENT
) -> dict[str, Any]:
    """Errors in mm on the rest of each person's clips: told nothing (`nobody`), told the identity of the first seconds
    (`told`), and adapted to them (`adapted`). Means over the people, and each person's row."""
    from engine.head.library import load_head

    _, checkpoint, unit = load_net(path)
    pool = load(work, split, checkpoint.basis)
    held = Lessons(pool, asked_of(pool), np.zeros((len(pool.goal), len(EMOTIONS)), np.float16), ())
    loss = VertexLoss(load_head(), checkpoint.basis)
    people: dict[str, dict[str, Any]] = {}
    for i, name in enumerate(pool.people):
        report.step("people", i, len(pool.people))
        net, _, _ = load_net(path)
        seen, rest = first_seconds(held, clips_of(pool, name), seconds)
        row: dict[str, Any] = {"nobody": held_errors(net, held, loss, rest)}
        identity = standard(identity_of(seen.weights, seen.speech), unit)
        row["told"] = held_errors(net, held, loss, rest, identity)
        adapt(net, seen, unit, checkpoint.basis.coefficients(seen.weights), loss)
        people[name] = row | {"adapted": held_errors(net, held, loss, rest)}
    names = ("held_lips_mm", "held_upper_mm")
    means = {
        kind: {n.removeprefix("held_"): round(float(np.mean([p[kind][n] for p in people.values()])), 4) for n in names}
        for kind in ("nobody", "told", "adapted")
    }
    return {"seconds": seconds, **means, "people": people}


def of_take(take: Path, sound: Path, encoder: str = "default") -> Shown:
    """A take and its voice as `Shown`: what was keyed is not in a take, so its labels and final AUs are taken as asked.

    Raises BadFile / BadInput where they cannot be read.
    """
    from engine.audio.read import read_audio
    from engine.core.takefile import read_take
    from engine.motion.nets.inputs import interface
    from engine.speech.encode import encode

    performed, heard = read_take(take), interface(encode(read_audio(sound), encoder))
    if len(performed) < 2:
        raise BadInput("the take is too short to learn a person from")
    seconds = min(performed.times[-1] - performed.times[0], len(heard) / RATE_HZ)
    times = performed.times[0] + np.arange(int(seconds * RATE_HZ)) / RATE_HZ

    def at(values: np.ndarray) -> np.ndarray:
        flat = np.asarray(values, np.float32).reshape(len(performed), -1)
        return np.stack([np.interp(times, performed.times, column) for column in flat.T], 1).astype(np.float32)

    drive = performed.drive
    shares = at(drive["emotion"] * drive["intensity"][:, None]) if "emotion" in drive else np.zeros((len(times), 14))
    shares[:, EMOTION_INDEX["neutral"]] = 0.0
    shares[:, EMOTION_INDEX["neutral"]] = np.clip(1.0 - shares.sum(1), 0.0, 1.0)
    weights = np.concatenate([at(performed.arkit), at(performed.extra)], 1)
    asked = at(performed.au).reshape(-1, len(AUS), 2)
    asked[:, [AUS.index(name) for name in ("AU25", "AU26", "AU45")]] = 0.0  # speech's and the blinks', not asked for
    return Shown(heard[: len(times)], asked.reshape(len(times), -1), shares.astype(np.float32), weights)


def recipe(
    out: Path, work: Path | None = None, *, seed: int = 0, report: Reporter = SILENT, person: str = "",
    take: str = "", sound: str = "", net: str = "", seconds: str = str(SECONDS),
) -> dict[str, Any]:  # fmt: skip
    """`train emotag_adapt OUT`: writes the adapted checkpoint. net: another pretrained checkpoint than the bundled."""
    from engine.head.library import load_head

    length = amount_of(seconds, "seconds", "number of seconds")
    pretrained, checkpoint, unit = load_net(Path(net) if net else None)
    if take and sound:
        seen = of_take(Path(take), Path(sound))
        seen = Shown(*(getattr(seen, f)[: round(length * RATE_HZ)] for f in Shown.__dataclass_fields__))
    elif person and work is not None:
        pool = load(work, person.rstrip("0123456789"), checkpoint.basis)
        held = Lessons(pool, asked_of(pool), np.zeros((len(pool.goal), len(EMOTIONS)), np.float16), ())
        if not (mine := clips_of(pool, person)):
            raise BadInput(f"the set holds no person '{person}'; there are: {', '.join(pool.people)}")
        seen, _ = first_seconds(held, mine, length)
    else:
        raise BadInput("say whom to adapt to: take=TAKE.npz and sound=VOICE.wav, or --work SET and person=NAME")
    goal = checkpoint.basis.coefficients(seen.weights)
    loss = VertexLoss(load_head(), checkpoint.basis)
    before = _missed(pretrained, seen, goal, loss)
    adapted = adapt(pretrained, seen, unit, goal, loss, report=report)
    result = {"lips_mm_before": before, "lips_mm": _missed(adapted, seen, goal, loss)}
    written = _write(out, adapted, checkpoint, person or Path(take).stem)
    return {**written, "seconds": round(len(goal) / RATE_HZ, 2), **result}


@torch.inference_mode()
def _missed(net: GRMN, seen: Shown, goal: np.ndarray, loss: VertexLoss) -> float:
    """Root mean square error of the lips in mm on the seconds themselves."""
    given = [torch.from_numpy(x)[None] for x in (seen.speech, seen.codes, seen.emotion)]
    missed = net(*given, net.person[None]).motion[0] - torch.from_numpy(goal.astype(np.float32))
    return round(float((missed @ loss.lips).square().sum(-1).mean().sqrt()), 4)


def _write(out: Path, net: GRMN, checkpoint: file.Checkpoint, name: str) -> dict[str, Any]:
    tensors = {key: value.detach().numpy() for key, value in net.state_dict().items()}
    header = {**checkpoint.header, "supports": sorted(EmoTaG.supports), "adapted_to": name}
    file.write(out, file.Checkpoint(tensors, checkpoint.basis, header))
    return {"adapted_to": name, "megabytes": round(out.stat().st_size / 1e6, 2)}
