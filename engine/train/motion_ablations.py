"""Motion systems trained without one part after the other, all for the same short time, beside the papers' orders.

The whole network is trained as long as the others, and once more with another seed: what a missing part costs means
something only where it is more than that. Checkpoints and figures lie in one folder and are not made again;
ablations.json beside them says of each what it was trained on, and another set, recipe or head is refused
(bench/motion_ablations.py is the command; EmoVOCA's comparisons are those of bench/emovoca_tables.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engine.core.anatomy import Head
from engine.core.errors import BadFile, BadInput
from engine.core.files import read_json, replacing, sha256_of_arrays, write_json
from engine.core.progress import SILENT, Reporter
from engine.train import emodifftalk_recipe, emotag_recipe, emotalk3d_recipe, emotalkinggaussian_recipe
from engine.train.motion_data import Pool
from engine.train.motion_loop import Plan
from engine.train.motion_recipe import ablated, of_data

BEGIN, END = "<!-- table: ablations -->", "<!-- end of ablations -->"
WHOLE, AGAIN = "whole", "another seed"
FIGURES = {"lve_mm": "LVE", "uve_mm": "UVE", "mve_mm": "MVE"}
RECIPES: dict[str, Any] = {
    "emotalk3d": emotalk3d_recipe, "emotag": emotag_recipe, "emodifftalk": emodifftalk_recipe,
    "emotalkinggaussian": emotalkinggaussian_recipe,
}  # fmt: skip
# What a recipe's configuration holds beside its network's (see each recipe's `one`).
MORE: dict[str, dict[str, Any]] = {"emotag": emotag_recipe.GUIDANCE, "emotalkinggaussian": {"sync": 1.0}}
STEPS, CLIPS = 800, 8
# What the papers say of leaving a part out, worst first. EmoTalk3D's other rows (geometry, FeatureNet) and
# EmoDiffTalk's Codes4O are of appearance, not of motion.
PAPER: dict[str, dict[str, str]] = {
    "emotalk3d": {"emotion": "LMD 5.6 for 3.6"},
    "emotag": {
        "identity": "worst of all", "residual": "second", "gate": "third", "guidance": "fourth (all of SEG)",
        "kl": "fifth", "score": "least",
    },
    "emodifftalk": {"codes": "20.1 dB for 25.8: worst", "diffusion": "25.0 dB for 25.8, smaller motion"},
    "emotalkinggaussian": {
        "combined": "Sync-C 4.49 for 6.28: worst", "sync": "Sync-C 5.93 for 6.28",
        "emotion": "feelings 25 for 47 %, Sync-C alike",
    },
}  # fmt: skip


@dataclass(frozen=True)
class Claim:
    """An order that EmoVOCA prints: rows of one of its tables by a figure, best first, and whether more is better."""

    what: str
    table: str
    figure: str
    rows: tuple[str, ...]
    paper: str
    more: bool = False


CLAIMS = (
    Claim("encoders, loss: MVE of talk", "1", "talk", ("concat", "single", "plain L2"), ".722, .745, .931 mm"),
    Claim(
        "joins: legibility at high", "2", "high", ("concat", "reversed", "sum", "zero", "mult"),
        ".82, .76, .72, .69, .66", more=True,
    ),
    Claim(
        "generators on v1: LVE", "3a", "lve_mm", ("E-S2L+S2D, v1", "E-FaceFormer, v1"), "3.70, 4.37 mm",
    ),
    Claim("sets, E-FaceFormer: LVE", "3a", "lve_mm", ("E-FaceFormer, v2", "E-FaceFormer, v1"), "3.79, 4.37 mm"),
    Claim("sets, E-S2L+S2D: LVE", "3a", "lve_mm", ("E-S2L+S2D, v2", "E-S2L+S2D, v1"), "3.18, 3.70 mm"),
)  # fmt: skip


def parts_of(system: str) -> list[tuple[str, str, int]]:
    """(row, what is left out, seed) of every training of a system."""
    cut = [(part, part, 0) for part in PAPER[system]]
    return [(WHOLE, "", 0), *cut, (AGAIN, "", 1)]


def checkpoint(out: Path, system: str, row: str) -> Path:
    """Where a training's checkpoint lies."""
    return out / f"{system}_{row.replace(' ', '_')}.safetensors"


def origin(system: str, part: str, seed: int, steps: int, pool: Pool, head: Head) -> dict[str, Any]:
    """What a training hangs on: the recipe's numbers, its configuration, a digest of the set (`of_data`), the head."""
    recipe = RECIPES[system]
    config = ablated({**recipe.CONFIG, **MORE.get(system, {})}, recipe.ABLATIONS, part)
    plan = of_data(Plan(steps, getattr(recipe, "RATE", Plan.rate), seed), system, config, pool, part)
    return {**plan.key, "head": sha256_of_arrays(head.template, head.faces)[:16]}


def missing_of(
    system: str, work: Path, out: Path, steps: int, made: dict[str, Any], report: Reporter = SILENT
) -> list[tuple[str, str, int]]:  # fmt: skip
    """Trainings of a system that are to be made; what they will hang on is written into `made`, {row: origin}.

    Raises BadInput for a checkpoint that hangs on anything else, or of which that is not known.
    """
    recipe = RECIPES[system]
    data = recipe.gather(work, getattr(recipe, "KINDS", ()), report)
    missing = []
    for row, part, seed in parts_of(system):
        wanted, path = origin(system, part, seed, steps, data.train, data.head), checkpoint(out, system, row)
        if not path.is_file():
            made[row] = wanted
            missing.append((row, part, seed))
        elif row not in made:
            raise BadInput(f"it is not known what {path} was trained on: delete it or give another folder")
        elif other := sorted(k for k in {*wanted, *made[row]} if wanted.get(k) != made[row].get(k)):
            raise BadInput(f"{path} is of another training ({', '.join(other)}): delete it or give another folder")
    return missing


def measure(systems: Iterable[str], out: Path, clips: int, report: Reporter = SILENT) -> dict[str, dict[str, Any]]:
    """{system: {row: figures}} of the checkpoints in `out` on held-out people, as in `bench motion --table`."""
    from engine.head.library import load_head
    from engine.train import motion_table

    head = load_head()
    found: dict[tuple[str, str], motion_table.Predict] = {}
    for system in systems:
        for row, _, _ in parts_of(system):
            if (path := checkpoint(out, system, row)).is_file():
                found[system, row] = motion_table.system(f"{system}@{path}", head)
    names = {f"{system}/{row}": predict for (system, row), predict in found.items()}
    cells = motion_table.table(names, motion_table.held_out(clips, head), head, clips, report=report)
    result: dict[str, dict[str, Any]] = {}
    for system, row in found:
        own = {name: cells[f"{system}/{row}"][name] for name in FIGURES}
        log = read_json(checkpoint(out, system, row).with_suffix(".log.json"))["log"][-1]
        result.setdefault(system, {})[row] = own | {k: log[k] for k in ("amplitude", "sync_c") if k in log}
    return result


def run(
    work: Path, out: Path, systems: Iterable[str] = (), steps: int | None = None, clips: int | None = None,
    report: Reporter = SILENT, again: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Train and measure what is missing; the figures are kept in OUT/ablations.json, with steps, clips and origins.

    systems: none are those of the folder, or all; steps, clips: None is what the folder holds, or STEPS, CLIPS;
    again: measure all once more. Raises BadInput where the folder holds another training or measurement.
    """
    out.mkdir(parents=True, exist_ok=True)
    known = out / "ablations.json"
    kept: dict[str, Any] = {"steps": {}, "clips": {}, "made": {}, "systems": {}}
    if known.is_file():
        kept = read_json(known)
        if not all(isinstance(kept.get(name), dict) for name in ("steps", "clips", "made", "systems")):
            raise BadFile(known, "does not say what was measured of which training; give another folder")
    for system in list(systems) or list(kept["steps"]) or list(RECIPES):
        count = _same(f"{out} holds {system} after", "steps", kept["steps"].get(system), steps, STEPS)
        most = _same(f"{out} holds {system} measured on", "clips", kept["clips"].get(system), clips, CLIPS)
        made = kept["made"].setdefault(system, {})
        missing = missing_of(system, work, out, count, made, report)
        kept["steps"][system], kept["clips"][system] = count, most
        write_json(known, kept)
        if missing:
            ready = RECIPES[system].ready(work, 0, report)
            for row, part, seed in missing:
                RECIPES[system].one(ready, checkpoint(out, system, row), seed, report, count, part)
        if missing or again or len(kept["systems"].get(system, {})) < len(parts_of(system)):
            kept["systems"] |= measure([system], out, most, report)
            write_json(known, kept)
    return read_json(known)


def _same(what: str, unit: str, held: int | None, asked: int | None, default: int) -> int:
    """The number to go on with. Raises BadInput for another one than is held."""
    if held is not None and asked is not None and asked != held:
        raise BadInput(f"{what} {held} {unit}: give that or another folder")
    return next(number for number in (held, asked, default) if number is not None)


def markdown(result: Mapping[str, Any], why: Mapping[str, str], claims: Mapping[str, Any] | None = None) -> str:
    """Tables of `run`, the papers' orders beside ours. why: "SYSTEM: PART" or a claim -> the reason for a difference.

    claims: rows of EmoVOCA's tables, {table: {row: figures}} (`emovoca_rows`).
    """
    lines: list[str] = []
    for system, rows in result["systems"].items():
        lines += _system_lines(system, rows, result["steps"][system], result["clips"][system], why)
    if claims:
        lines += ["| `emovoca` | ours, best first | in the paper, best first | |", "|---|---|---|---|"]
        lines += [_claim_line(claim, claims, why) for claim in CLAIMS]
    return "\n".join(lines).rstrip()


def _system_lines(
    system: str, rows: Mapping[str, Any], steps: int, clips: int, why: Mapping[str, str]
) -> list[str]:  # fmt: skip
    whole = rows[WHOLE]
    noise = abs(_cost(rows[AGAIN], whole)) if AGAIN in rows else 0.0
    cut = sorted((r for r in rows if r not in (WHOLE, AGAIN)), key=lambda r: -_cost(rows[r], whole))
    lines = [f"`{system}`, {steps} steps each, {clips} clips of the test people, mm", ""]
    lines[0] += f" (`--systems {system} --steps {steps} --clips {clips}`):"
    lines += [f"| | {' | '.join(FIGURES.values())} | cost | in the paper | |", "|---" * (len(FIGURES) + 4) + "|"]
    for row in (r for r in (WHOLE, AGAIN, *cut) if r in rows):
        own = [f"{rows[row][name]:.2f}" for name in FIGURES]
        cost = _cost(rows[row], whole)
        said = ["" if row == WHOLE else f"{100 * cost:+.0f} %", "", ""]
        if row in cut:
            said[0] += ", no more than the seed" if abs(cost) <= noise else ""
            said[1:] = [PAPER[system].get(row, ""), why.get(f"{system}: {row}", "")]
        name = f"without {row}" if row in cut else row
        lines.append(f"| {name} | {' | '.join((*own, *said))} |")
    return [*lines, ""]


def _cost(row: Mapping[str, float], whole: Mapping[str, float]) -> float:
    """What leaving a part out costs: the mean share by which the errors grow."""
    return float(np.mean([row[name] / whole[name] - 1.0 for name in FIGURES]))


def _claim_line(claim: Claim, tables: Mapping[str, Any], why: Mapping[str, str]) -> str:
    rows = tables.get(claim.table, {})
    known = [(name, float(rows[name][claim.figure])) for name in claim.rows if name in rows]
    ours = sorted(known, key=lambda pair: pair[1], reverse=claim.more)
    if not known:
        return f"| {claim.what} | not run | {', '.join(claim.rows)}: {claim.paper} | |"
    said = "; ".join(f"{name} {value:.3g}" for name, value in ours)
    return f"| {claim.what} | {said} | {', '.join(claim.rows)}: {claim.paper} | {why.get(claim.what, '')} |"


def emovoca_rows(lines: Iterable[str]) -> dict[str, dict[str, Any]]:
    """What bench/emovoca_tables.py printed or kept, as {table: {row: figures}}."""
    import json

    tables: dict[str, dict[str, Any]] = {}
    for line in lines:
        if line.startswith("{"):
            row = json.loads(line)
            tables.setdefault(row["table"], {})[row["row"]] = row["figures"]
    return tables


def write_page(page: Path, text: str) -> None:
    """Put the tables between the marks of a page. Raises BadInput where it has none."""
    before, mark, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    if not mark or END not in rest:
        raise BadInput(f"{page} has no place for the table: add the lines '{BEGIN}' and '{END}'")
    with replacing(page) as part:
        part.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{rest.partition(END)[2]}", encoding="utf-8")
