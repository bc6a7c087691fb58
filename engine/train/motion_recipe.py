"""What the recipes of motion systems share: data in, checkpoint + curves + log out, ablations by name.

A recipe is `recipe(out, work, *, seed, report, steps, ablate, ...)`, listed in engine.cli_train.RECIPES and built of

    data = gather(work, KINDS, EDGE, report)        # pools in the shared basis, held-out clips, the head
    config = ablated(CONFIG, ABLATIONS, ablate)     # the network's configuration with one part left out
    plan = of_data(plan_of(out, steps, seed), NAME, config, data.train, ablate)
    net, log = fit(data.train, data.held, ..., plan, config, report)        # the recipe's own; runs motion_loop.train
    return finish(out, net, config, data.basis, log, system=NAME, ..., plans=(plan,))
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from engine.core.anatomy import Head
from engine.core.errors import BadInput
from engine.core.files import sha256_of_arrays, writable, write_json
from engine.core.progress import SILENT, Reporter
from engine.motion.nets import file
from engine.motion.nets.basis import Basis
from engine.train.motion_data import Pool, load
from engine.train.motion_loop import Plan, rank


@dataclass(frozen=True)
class Data:
    """What a recipe learns from: the default head, the shared basis, clips to train on, clips to look at."""

    head: Head
    basis: Basis
    train: Pool
    held: Pool


def gather(work: Path, kinds: tuple[str, ...] = (), report: Reporter = SILENT) -> Data:
    """A set of `studio perform` in the shared basis: the clips of these kinds (or all). Raises BadFile."""
    from engine.head.library import load_head

    basis = file.shared_basis()
    return Data(
        load_head(), basis, load(work, "train", basis, kinds, report), load(work, "valid", basis, kinds, report)
    )


def ablated(config: Mapping[str, Any], ablations: Mapping[str, Mapping[str, Any]], name: str = "") -> dict[str, Any]:
    """`config` with the changes of the ablation called `name` ("" = none). Raises BadInput that lists them."""
    if name and name not in ablations:
        raise BadInput(f"there is no ablation '{name}'; this recipe has: {', '.join(ablations) or 'none'}")
    return {**config, **(ablations[name] if name else {})}


def count_of(text: str | int, name: str = "steps") -> int:
    """A recipe's option as a positive whole number. Raises BadInput."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise BadInput(f"{name}={text}: give a positive whole number")
    return value


def amount_of(text: str | float, name: str, what: str = "number") -> float:
    """A recipe's option as a positive number. Raises BadInput."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.0 < value < math.inf:
        raise BadInput(f"{name}={text}: give a positive {what}")
    return value


def plan_of(out: Path, steps: str | int, seed: int = 0, rate: float = 2e-3) -> Plan:
    """The plan of a recipe: its state lies beside OUT until it is done, so the same line again resumes."""
    target = writable(out)
    count = count_of(steps)
    return Plan(count, rate, seed, every=max(10, count // 60), keep=target.with_name(f"{target.stem}.state.pt"))


def of_data(plan: Plan, system: str, config: Mapping[str, Any], data: Pool, ablate: str = "") -> Plan:
    """`plan` with what its state belongs to: a state of anything else is refused (motion_loop.train).

    The set counts by the lengths of its clips and every 97th of its rows: hours of rows take a blink to read so.
    """
    held = sha256_of_arrays(data.length, data.speech[::97], data.emotion[::97], data.goal[::97])
    about = {"system": system, "ablate": ablate, "config": dict(config), "set": held[:16]}
    return replace(plan, about=about)


def finish(
    out: Path,
    net: nn.Module,
    config: Mapping[str, Any],
    basis: Basis,
    log: list[dict[str, Any]],
    *,
    system: str,
    supports: Iterable[str],
    native_fps: float,
    head: Head,
    curves: tuple[str, ...] = ("loss",),
    ablate: str = "",
    facts: Mapping[str, Any] | None = None,
    plans: Iterable[Plan] = (),
) -> dict[str, Any]:
    """Write OUT, OUT's log (.log.json) and loss curves (.png); what `train` prints.

    facts: more of the checkpoint's header; plans: whose states are no longer needed and are removed. Only the first of
    several processes writes.
    """
    from engine.train.curves import draw_log

    tensors = {name: value.detach().cpu().numpy() for name, value in net.state_dict().items()}
    header = {
        "system": system, "config": dict(config), "supports": sorted(supports), "interface": "v1",
        "native_fps": native_fps, "topology_sha256": head.topology_sha256, "ablation": ablate, **(facts or {}),
    }  # fmt: skip
    weights = sum(p.numel() for p in net.parameters())
    if rank() > 0:
        return {"system": system, "weights": weights}
    file.write(out, file.Checkpoint(tensors, basis, header))
    write_json(out.with_suffix(".log.json"), {"system": system, "ablation": ablate, "weights": weights, "log": log})
    if len(log) > 1:
        title = f"{system}{f' without {ablate}' if ablate else ''}: {weights} weights"
        draw_log(out.with_suffix(".png"), log, curves, title)
    for plan in plans:
        if plan.keep is not None:
            plan.keep.unlink(missing_ok=True)
    last = dict(log[-1]) if log else {}
    return {"system": system, "weights": weights, "megabytes": round(out.stat().st_size / 1e6, 2)} | last
