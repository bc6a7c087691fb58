"""The loop that every motion network is trained by: resumable, seeded, logged; the loss is in vertex space.

On several processes (torchrun) each draws its own batches and gradients are averaged: `torchrun --nproc_per_node N -m
engine train RECIPE ...`. Without torchrun nothing of that is loaded.
"""

from __future__ import annotations

import json
import math
import os
import pickle
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from engine.core.anatomy import Head
from engine.core.errors import BadFile
from engine.core.files import replacing
from engine.core.progress import SILENT, Reporter
from engine.motion.nets.basis import Basis, region_metric

LIPS, UPPER, SPEED = 2.0, 1.0, 2.0  # weights beside the whole face's 1: regions, and velocity against jitter


class VertexLoss(nn.Module):
    """Mean square error of vertices in mm² from coefficients: whole face + lips + upper face, and of their changes.

    speed, unrest: weights of the first and second difference from row to row; the second weighs a tremor most, which is
    large there and small in the position.
    """

    def __init__(self, head: Head, basis: Basis, speed: float = SPEED, unrest: float = 0.0):
        super().__init__()
        self.speed, self.unrest = speed, unrest
        self.lips: Tensor
        self.upper: Tensor
        for name, mask in (("lips", "lips"), ("upper", "upper_face")):
            self.register_buffer(name, torch.from_numpy(region_metric(head, basis, mask)))

    def forward(self, seen: Tensor, truth: Tensor) -> Tensor:
        """[b, t, k] twice -> one number."""
        missed = seen - truth
        change = missed[:, 1:] - missed[:, :-1]
        total = self._of(missed) + self.speed * self._of(change)
        return total + self.unrest * self._of(change[:, 1:] - change[:, :-1]) if self.unrest else total

    def _of(self, missed: Tensor) -> Tensor:
        lips, upper = missed @ self.lips, missed @ self.upper
        whole = missed.square().sum(-1).mean()
        return whole + LIPS * lips.square().sum(-1).mean() + UPPER * upper.square().sum(-1).mean()


@dataclass
class Plan:
    """steps; rate: the highest learning rate (warm-up of 3 %, then cosine to 2 %); keep: where to resume from; every:
    steps between two rows of the log and two saved states; decay: AdamW's weight decay; tables: how many times faster
    parameters called `table` (of hash encoders) learn, without decay; about: what else the state belongs to (JSON)."""

    steps: int
    rate: float = 2e-3
    seed: int = 0
    every: int = 100
    keep: Path | None = None
    decay: float = 1e-3
    tables: float = 1.0
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> dict[str, Any]:
        """What a state must have been made with to be resumed."""
        own: dict[str, Any] = {"steps": self.steps, "seed": self.seed, "rate": self.rate, "decay": self.decay}
        if self.tables != 1.0:
            own["tables"] = self.tables
        return json.loads(json.dumps(own | dict(self.about)))


def processes() -> int:
    """How many processes train together (torchrun's WORLD_SIZE; 1 without it)."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """Which of them this is; the first writes files."""
    return int(os.environ.get("RANK", "0"))


def place() -> torch.device:
    """Where to train: this process's graphics card if there is one, else the processor."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


def draws(plan: Plan, step: int) -> np.random.Generator:
    """What a step's batch is drawn with: the same when resumed, another in each process."""
    return np.random.default_rng([plan.seed, step, *([rank()] if rank() else [])])


def rate_at(step: int, plan: Plan) -> float:
    """The learning rate of a step (see Plan)."""
    warm = max(1, round(0.03 * plan.steps))
    if step < warm:
        return plan.rate * (step + 1) / warm
    return plan.rate * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, plan.steps - warm))))


class _Objective(nn.Module):
    """A network and the loss of a step as one module: DistributedDataParallel averages what backward gives its own
    module's parameters, whatever that loss calls of them."""

    def __init__(self, net: nn.Module, step_loss: Callable[[int], Tensor]):
        super().__init__()
        self.net, self.step_loss = net, step_loss

    def forward(self, step: int) -> Tensor:
        return self.step_loss(step)


def _objective(net: nn.Module, step_loss: Callable[[int], Tensor]) -> nn.Module:
    """`step_loss` as it is called; on several processes with averaged gradients."""
    whole = _Objective(net, step_loss)
    if processes() == 1:
        return whole
    import torch.distributed as dist

    device = next(net.parameters()).device
    if not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    # A step may leave parts of a network out (DE-SD's encoders take turns).
    return nn.parallel.DistributedDataParallel(
        whole, [device] if device.type == "cuda" else None, find_unused_parameters=True
    )


def train(
    net: nn.Module,
    step_loss: Callable[[int], Tensor],
    plan: Plan,
    check: Callable[[], dict[str, float]] | None = None,
    report: Reporter = SILENT,
) -> list[dict[str, Any]]:
    """Run `plan`, resuming from `plan.keep` if it is there; the log: rows of step, loss and what `check` measures.

    step_loss(step): the loss of that step's batch; it must draw from the step's number (`draws`), so that a resumed run
    sees what an unbroken one sees.
    """
    optimiser = torch.optim.AdamW(_groups(net, plan), plan.rate, weight_decay=plan.decay)
    log: list[dict[str, Any]] = []
    first = _resume(net, optimiser, plan, log)
    objective = _objective(net, step_loss)
    before = log[-1]["seconds"] if log else 0.0
    sums, since = 0.0, time.monotonic()
    for step in range(first, plan.steps):
        report.step("training", step, plan.steps)
        torch.manual_seed(plan.seed * 1_000_003 + step + 500_009 * rank())  # dropout too is the same when resumed
        for group in optimiser.param_groups:
            group["lr"] = rate_at(step, plan) * group.get("times", 1.0)
        loss = objective(step)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        sums += loss.item()
        if ((step + 1) % plan.every == 0 or step + 1 == plan.steps) and rank() == 0:
            rows = (step % plan.every) + 1
            log.append({"step": step + 1, "loss": round(sums / rows, 4), **(check() if check else {})})
            log[-1]["seconds"] = round(before + time.monotonic() - since, 1)
            sums = 0.0
            _keep(net, optimiser, plan, step + 1, log)
    return log


def _groups(net: nn.Module, plan: Plan) -> list[dict[str, Any]]:
    """The parameters as AdamW takes them; tables apart where they learn at a rate of their own."""
    if plan.tables == 1.0:
        return [{"params": list(net.parameters())}]
    named = list(net.named_parameters())
    tables = [p for name, p in named if name.endswith("table")]
    others = [p for name, p in named if not name.endswith("table")]
    groups: list[dict[str, Any]] = [{"params": others}, {"params": tables, "times": plan.tables, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def _keep(net: nn.Module, optimiser: torch.optim.Optimizer, plan: Plan, step: int, log: list[dict[str, Any]]) -> None:
    if plan.keep is None:
        return
    state = {"net": net.state_dict(), "optimiser": optimiser.state_dict(), "step": step}
    with replacing(plan.keep) as part:
        torch.save(state | {"log": json.dumps(log), "key": json.dumps(plan.key)}, part)


def _resume(net: nn.Module, optimiser: torch.optim.Optimizer, plan: Plan, log: list[dict[str, Any]]) -> int:
    """Load the kept state (tensors only, nothing is run); the step to go on from. Raises BadFile.

    A state of another training is refused, not written over: it may be hours of work.
    """
    if plan.keep is None or not plan.keep.is_file():
        return 0
    try:
        kept = torch.load(plan.keep, map_location=next(net.parameters()).device, weights_only=True)
        made = json.loads(kept["key"])
        if other := [name for name in plan.key if made.get(name) != plan.key[name]]:
            raise BadFile(
                plan.keep,
                f"is the state of another training ({', '.join(other)} differ): run that one to its end, delete the "
                "file or write elsewhere",
            )
        net.load_state_dict(kept["net"])
        optimiser.load_state_dict(kept["optimiser"])
        log += json.loads(kept["log"])
        return int(kept["step"])
    except (OSError, EOFError, LookupError, ValueError, TypeError, AttributeError, RuntimeError, pickle.PickleError):
        raise BadFile(plan.keep, "is not this training's state; delete it") from None
