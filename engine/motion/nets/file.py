"""Checkpoints of motion networks: safetensors with the inference configuration in the header.

The basis that all bundled networks end in is one file of its own (`shared_basis`); a checkpoint that was trained in it
names its digest, any other carries its basis.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from engine.core.errors import BadFile
from engine.core.files import replacing, sha256_of, sha256_of_arrays
from engine.motion.nets.basis import Basis

if TYPE_CHECKING:
    from torch import nn

    Net = TypeVar("Net", bound=nn.Module)

KIND, FORMAT = "motion net", 1
BASIS_KIND, BASIS_NAME = "motion basis", "default"
_BASIS = ("mean", "into", "out")


@dataclass(frozen=True)
class Checkpoint:
    """tensors by name (the network's state), its basis, and the header: system, config, supports, interface, head."""

    tensors: dict[str, np.ndarray]
    basis: Basis
    header: dict[str, Any]
    sha256: str = ""


def basis_digest(basis: Basis) -> str:
    """What a checkpoint calls its basis by: the digest of its arrays."""
    return sha256_of_arrays(basis.mean, basis.into, basis.out)


def write_basis(path: Path, basis: Basis, about: dict[str, Any]) -> None:
    """Write a basis with what it was fitted to."""
    from safetensors.numpy import save_file

    tensors = {name: np.ascontiguousarray(getattr(basis, name)) for name in _BASIS}
    with replacing(path) as part:
        save_file(tensors, part, {"kind": BASIS_KIND, "format": str(FORMAT), "header": json.dumps(about)})


def read_basis(path: Path) -> Basis:
    """A basis from its file. Raises BadFile."""
    raw, _ = _load(path, BASIS_KIND, "basis of motion systems")
    try:
        return Basis(*(raw[name] for name in _BASIS))
    except KeyError as error:
        raise BadFile(path, f"lacks {error}") from None


def shared_basis() -> Basis:
    """The basis that comes with the engine: faces of the performances on the default head (`train motion_basis`)."""
    from engine.assets.registry import resolve

    return _shared(resolve(BASIS_NAME, BASIS_KIND))


@functools.lru_cache(maxsize=2)
def _shared(path: Path) -> Basis:
    return read_basis(path)


def write(path: Path, checkpoint: Checkpoint) -> None:
    """Matrices in half precision, which loses nothing that counts; a shared basis by its digest."""
    from safetensors.numpy import save_file

    tensors = {
        f"net.{name}": np.ascontiguousarray(value, np.float16 if value.ndim > 1 else np.float32)
        for name, value in checkpoint.tensors.items()
    }
    basis = checkpoint.basis
    facts = checkpoint.header | {"basis_sha256": basis_digest(basis)}
    if facts["basis_sha256"] != basis_digest(shared_basis()):
        tensors |= {f"basis.{name}": getattr(basis, name) for name in _BASIS}
    header = {"kind": KIND, "format": str(FORMAT), "header": json.dumps(facts)}
    with replacing(path) as part:
        save_file(tensors, part, header)


def read(path: Path, system: str) -> Checkpoint:
    """The checkpoint of that motion system. Raises BadFile."""
    raw, header = _load(path, KIND, "checkpoint of a motion system")
    if header.get("system") != system:
        raise BadFile(path, f"is a checkpoint of '{header.get('system')}', not of '{system}'")
    own = [name for name in _BASIS if f"basis.{name}" in raw]
    if len(own) == len(_BASIS):
        basis = Basis(*(raw.pop(f"basis.{name}") for name in _BASIS))
    elif own or "basis_sha256" not in header:
        raise BadFile(path, "lacks parts of its basis")
    else:
        basis = shared_basis()
        if header["basis_sha256"] != basis_digest(basis):
            raise BadFile(path, "was trained in another basis than the one that comes with the engine: train it again")
    tensors = {name.removeprefix("net."): value.astype(np.float32) for name, value in raw.items()}
    return Checkpoint(tensors, basis, header, sha256_of(path))


def load_into(make: Callable[[dict[str, Any]], Net], checkpoint: Checkpoint, path: Path) -> Net:
    """The network that `make` builds of the checkpoint's configuration, with its weights and ready to run.

    Raises BadFile where either does not fit this version's network.
    """
    import torch

    try:
        net = make(checkpoint.header["config"])
        net.load_state_dict({name: torch.from_numpy(value) for name, value in checkpoint.tensors.items()})
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, AssertionError, RuntimeError) as error:
        first = str(error).partition("\n")[0]
        raise BadFile(path, f"does not hold this version's network ({first}): train it again") from None
    net.eval()
    return net


def header_of(path: Path) -> dict[str, Any]:
    """The header of a motion system's checkpoint, without its weights. Raises BadFile."""
    return _load(path, KIND, "checkpoint of a motion system", weights=False)[1]


def _load(path: Path, kind: str, what: str, weights: bool = True) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """(tensors or none, header) of a file of this kind. Raises BadFile."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy") as f:
            meta = f.metadata() or {}
            raw = {name: f.get_tensor(name) for name in f.keys()} if weights else {}  # noqa: SIM118 (not a mapping)
        header, written_as = json.loads(meta["header"]), int(meta.get("format", 0))
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise BadFile(path, f"is no {what} ({error})") from None
    if meta.get("kind") != kind or written_as > FORMAT or not isinstance(header, dict):
        raise BadFile(path, f"is no {what} that this version reads")
    return raw, header
