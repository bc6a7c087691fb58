"""Trained appearance nets: safetensors beside the avatar, with what builds the net again in the header."""

from __future__ import annotations

import json
import os
from typing import Any

from engine.avatar.appearance import NETS, build
from engine.avatar.appearance.base import Appearance, Rest
from engine.core.errors import BadFile, BadInput
from engine.core.files import replacing

KIND, FORMAT = "avatar appearance", 1


def save_appearance(path: str | os.PathLike[str], name: str, net: Appearance, about: dict[str, Any]) -> None:
    """Write a net's parameters as float16, its name and configuration; about: more JSON facts (avatar, figures)."""
    from safetensors.torch import save_file

    header = {"name": name, "config": net.config, "vertices": len(net.rest_positions), **net.made_for, "about": about}
    tensors = {key: value.detach().half().contiguous() for key, value in net.state_dict().items()}
    with replacing(path) as part:
        save_file(tensors, part, {"kind": KIND, "format": str(FORMAT), "header": json.dumps(header)})


def read_appearance(path: str | os.PathLike[str], rest: Rest) -> tuple[str, Appearance, dict[str, Any]]:
    """(name, net in evaluation mode, about) for an avatar at rest. Raises BadFile for a file that is missing, damaged,
    of a newer format, or of another head or an avatar that stands on other vertices of it."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            meta = file.metadata() or {}
            tensors = {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118 (no dictionary)
        if meta.get("kind") != KIND:
            raise BadFile(path, "holds no avatar appearance")
        if int(meta["format"]) > FORMAT:
            raise BadFile(path, f"was written by a newer Soliloquy (format {meta['format']})")
        header = json.loads(meta["header"])
        name, vertices = str(header["name"]), int(header["vertices"])
        if vertices != len(rest):
            raise BadFile(path, f"is of an avatar with {vertices} vertices, this one has {len(rest)}")
        if header["topology_sha256"] != rest.topology:
            raise BadFile(path, "was trained on another head than this avatar's; train one with 'avatar appearance'")
        if header["anchors_sha256"] != rest.vertices:
            raise BadFile(path, "was trained on another avatar of this head; train one with 'avatar appearance'")
        if name not in NETS:
            raise BadFile(path, f"is of an unknown appearance net '{name}'")
        net = build(name, rest, **header["config"])
        net.load_state_dict(tensors)
    except (FileNotFoundError, IsADirectoryError):
        raise BadFile(path, "no such file") from None
    except (SafetensorError, KeyError, ValueError, RuntimeError, OSError, BadInput, TypeError) as error:
        if isinstance(error, BadFile):
            raise
        raise BadFile(path, f"is damaged ({str(error).splitlines()[0]})") from None
    return name, net.eval(), dict(header.get("about", {}))
