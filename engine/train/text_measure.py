"""`measure text`: how well typed directions are read, on sets that no trainer reads (engine/measure/text_sets).

naming: prompts that name an expression. situations: prompts that name neither emotion nor part of the face. negation:
AUs that must be off and on. nothing: plain and technical sentences. Each line says which sitting it was written in:
"first" before any lexicon or corpus existed, "blind" after the first figures, without a look at the lexicon. "fresh" is
a set of all four kinds on its own (fresh.jsonl), written after those two had been read: before the corpus was doubled.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from engine.controls.text import Recognition, recognise
from engine.controls.text.decide import face
from engine.controls.text.lexicon import phrases
from engine.core.progress import SILENT, Reporter
from engine.measure.labels import Wanted, score
from engine.train.text_corpus import SPLITS, family_names, load

SETS = Path(__file__).resolve().parents[1] / "measure" / "text_sets"
Reader = Callable[[str], Recognition]


def rows(name: str, sitting: str | None = None) -> list[dict[str, Any]]:
    """Lines of a measuring set (naming, situations, negation, nothing), all or of one sitting. sitting "fresh": the
    lines of that kind in fresh.jsonl, which the other sittings do not hold."""
    file = "fresh" if sitting == "fresh" else name
    lines = [json.loads(line) for line in (SETS / f"{file}.jsonl").read_text(encoding="utf-8").splitlines()]
    if sitting == "fresh":
        return [r for r in lines if r["kind"] == name]
    return [r for r in lines if sitting is None or r["set"] == sitting]


def _wanted(row: dict[str, Any]) -> Wanted:
    return Wanted(tuple(frozenset(a) for a in row["alternatives"]), frozenset(row["optional"]))


def labelled(name: str, read: Reader, sitting: str | None = None) -> dict[str, Any]:
    """F1 of a labelled set; interval: 95 % of 300 resamplings of its prompts (of the naming set's macro F1, of the
    situations' micro F1)."""
    chosen = rows(name, sitting)
    answers = [read(r["text"]).aus for r in chosen]
    out = score(answers, [_wanted(r) for r in chosen])
    key = "micro_f1" if name == "situations" else "macro_f1"
    rng = np.random.default_rng(0)
    draws = [rng.integers(0, len(chosen), len(chosen)) for _ in range(300)]
    values = [score([answers[i] for i in d], [_wanted(chosen[i]) for i in d])[key] for d in draws]
    out |= {"prompts": len(chosen), "interval": [round(float(v), 3) for v in np.percentile(values, (2.5, 97.5))]}
    if name == "situations":
        strict = [Wanted((frozenset(r["face"]),)) for r in chosen]
        out["strict_micro_f1"] = score(answers, strict)["micro_f1"]
        out["answered"] = round(float(np.mean([bool(a) for a in answers])), 3)
    return out


def negation(read: Reader, sitting: str | None = None) -> dict[str, Any]:
    """Shares of denied AUs that are off and of wanted AUs that are on."""
    off, on = [], []
    for row in rows("negation", sitting):
        got = set(read(row["text"]).aus)
        off += [au not in got for au in row["off"]]
        on += [bool(got & set(choice)) for choice in row["on"]]
    return {
        "denied_off": round(float(np.mean(off)), 3),
        "wanted_on": round(float(np.mean(on)), 3),
        "prompts": len(rows("negation", sitting)),
    }


def nothing(read: Reader, sitting: str | None = None) -> dict[str, Any]:
    """Share of sentences that ask for nothing but get a face, and of situations that are recognised."""
    wrong = [r["text"] for r in rows("nothing", sitting) if read(r["text"]).recognised]
    passed = [read(r["text"]).recognised for r in rows("situations", sitting)]
    n = len(rows("nothing", sitting))
    return {
        "false_accept": round(len(wrong) / n, 3),
        "sentences": n,
        "situations_accepted": round(float(np.mean(passed)), 3),
        "wrong": wrong,
    }


def held_out_words(mode: str, encoder: Any | None, share: float = 0.25, seed: int = 0) -> dict[str, Any]:
    """Naming with a share of the lexicon's phrases hidden: what the parser has not heard of falls to the nets."""
    table = sorted(phrases())
    hidden = frozenset(random.Random(seed).sample(table, int(share * len(table))))
    out = labelled("naming", lambda t: recognise(t, mode, encoder, hidden))
    return {
        "hidden_share": share,
        "macro_f1": out["macro_f1"],
        "micro_f1": out["micro_f1"],
        "interval": out["interval"],
    }


def splits(judge: Callable[[list[str]], tuple[np.ndarray, np.ndarray]]) -> dict[str, Any]:
    """How a net answers the corpus' held-out splits without rules and gate; only meaningful for a net that was trained
    `--without topic words concept`. judge: texts -> (classes [n, k], AUs [n, 18]) probabilities.

    topic: situations of held-out topics; words: naming prompts of held-out words; concept: faces and mixtures of
    emotions that no entry left in training has. Wanted are the entry's own AUs, none optional.
    """
    out: dict[str, Any] = {}
    for split in SPLITS[1:]:
        entries = [e for e in load(("situation", "naming")) if e.split == split]
        classes, aus = judge([e.text for e in entries])
        answers = [{k[:4] for k in face(c, a, family_names())} for c, a in zip(classes, aus, strict=True)]
        wanted = [Wanted((frozenset(e.au),)) for e in entries]
        out[split] = {"prompts": len(entries)} | score(answers, wanted)
    return out


def measure_text(mode: str = "small", encoder: Any | None = None, report: Reporter = SILENT) -> dict[str, Any]:
    """All figures of one way of reading; keys as in docs/text.md."""

    def read(text: str) -> Recognition:
        return recognise(text, mode, encoder)

    read("warm up: the cat sat on the mat")
    steps: list[tuple[str, Callable[[], Any]]] = [
        ("naming", lambda: labelled("naming", read)),
        ("naming_blind", lambda: labelled("naming", read, "blind")),
        ("situations", lambda: labelled("situations", read)),
        ("situations_blind", lambda: labelled("situations", read, "blind")),
        ("held_out_words", lambda: held_out_words(mode, encoder)),
        ("negation", lambda: negation(read)),
        ("nothing", lambda: nothing(read)),
        ("naming_fresh", lambda: labelled("naming", read, "fresh")),
        ("situations_fresh", lambda: labelled("situations", read, "fresh")),
        ("negation_fresh", lambda: negation(read, "fresh")),
        ("nothing_fresh", lambda: nothing(read, "fresh")),
    ]
    out: dict[str, Any] = {"mode": mode}
    for i, (name, run) in enumerate(steps):
        report.step("measuring", i, len(steps))
        out[name] = run()
    out["ms"] = speed(mode, encoder)
    report.step("measuring", len(steps), len(steps))
    return out


def speed(mode: str = "auto", encoder: Any | None = None) -> dict[str, float]:
    """Milliseconds a direction over all sets, in CPU time of this process, the lexicon and nets loaded before."""
    texts = [r["text"] for name in ("naming", "situations", "nothing") for r in rows(name)]
    for text in texts[:: len(texts) // 8]:
        recognise(text, mode, encoder)
    took = []
    for text in texts:
        started = time.process_time()
        recognise(text, mode, encoder)
        took.append((time.process_time() - started) * 1000)
    return {"mean": round(float(np.mean(took)), 2), "p95": round(float(np.percentile(took, 95)), 2)}


def read_with(mode: str, encoder: str | None, head: str | None) -> tuple[str, Any | None]:
    """(mode, loaded encoder or None) of the command line's options."""
    if encoder is None and mode not in ("encoder", "paper"):
        return mode, None
    import torch

    from engine.controls.text.encoder import default_encoder

    torch.set_num_threads(1)
    return "paper" if mode == "paper" else "encoder", default_encoder(encoder or "minilm", head or "minilm")


def lines(result: dict[str, Any]) -> str:
    """The figures for a person."""
    out = [f"reading: {result['mode']}, {result['ms']['mean']} ms a prompt (p95 {result['ms']['p95']})"]
    labelled_sets = ("naming", "naming_blind", "naming_fresh", "situations", "situations_blind", "situations_fresh")
    for name in (*labelled_sets, "held_out_words"):
        row = result[name]
        out.append(f"{name:<17} macro F1 {row['macro_f1']:.3f}  micro F1 {row['micro_f1']:.3f}  95 % {row['interval']}")
    for end in ("", "_fresh"):
        n, o = result[f"negation{end}"], result[f"nothing{end}"]
        out.append(f"negation{end:<10}denied off {n['denied_off']:.3f}  wanted on {n['wanted_on']:.3f}")
        passed = o["situations_accepted"]
        out.append(f"nothing asked{end:<5}accepted {o['false_accept']:.3f}; situations accepted {passed:.3f}")
    out.append(f"{'AU':<6}{'support':>8}{'precision':>11}{'recall':>8}{'F1':>7}   (naming)")
    for au, row in result["naming"]["per_au"].items():
        out.append(f"{au:<6}{row['support']:>8}{row['precision']:>11.3f}{row['recall']:>8.3f}{row['f1']:>7.3f}")
    zero = result["naming"]["all_zero"]
    out.append(f"an answer of nothing: macro F1 {zero['macro_f1']}, accuracy {zero['accuracy']}")
    return "\n".join(out)
