"""The adapter: rows of any speech encoder -> events, channels, phones and the 64 features of interface v1.

A small gated conv net like the embedded one's top, so that a motion system cannot tell which encoder listened. It is
fitted by `train adapter` (engine/train/adapter.py) and kept as a safetensors with its configuration in the header.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from engine.core.errors import BadFile
from engine.core.files import replacing
from engine.core.phones import CHANNELS
from engine.speech.net_phones import FINE

KIND, FORMAT = "speech adapter", 1
EVENTS = ("closure", "labiodental", "round", "voice")
BLOCK_ROWS = 3000  # one minute at once


@dataclass(frozen=True)
class AdapterConfig:
    """inputs: size of an encoder row. width, dilations (50 Hz rows): of the trunk. features: of interface v1."""

    inputs: int
    width: int = 96
    dilations: tuple[int, ...] = (1, 2, 4)
    features: int = 64

    @property
    def reach(self) -> int:
        """Rows on either side that an output row hears."""
        return sum(self.dilations) + 1


class Outputs(NamedTuple):
    """events: name -> [2t] float32 at 100 Hz; channels [t, 8]; features [t, 64]; phones [t, n] of `phone_names`."""

    events: dict[str, np.ndarray]
    channels: np.ndarray
    features: np.ndarray
    phones: np.ndarray
    phone_names: tuple[str, ...]


class _Block(nn.Module):
    """x + W glu(dilated conv of x). [b, c, t] -> [b, c, t]."""

    def __init__(self, width: int, dilation: int):
        super().__init__()
        self.gates = nn.Conv1d(width, 2 * width, 3, padding=dilation, dilation=dilation)
        self.out = nn.Conv1d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.out(nn.functional.glu(self.gates(x), dim=1))


class AdapterNet(nn.Module):
    """Encoder rows [b, t, d] at 50 Hz -> event logits [b, 2t, 4], channel logits [b, t, 8], features [b, t, 64] in
    [-1, 1], phone logits [b, t, n] over `net_phones.FINE`."""

    mean: Tensor
    scale: Tensor

    def __init__(self, config: AdapterConfig):
        super().__init__()
        self.config = config
        self.register_buffer("mean", torch.zeros(config.inputs))
        self.register_buffer("scale", torch.ones(config.inputs))
        self.entry = nn.Conv1d(config.inputs, config.width, 1)
        self.blocks = nn.ModuleList(_Block(config.width, d) for d in config.dilations)
        self.features = nn.Conv1d(config.width, config.features, 1)
        self.events = nn.Conv1d(config.width, 2 * len(EVENTS), 3, padding=1)
        self.channels = nn.Conv1d(config.width, len(CHANNELS), 3, padding=1)
        self.phones = nn.Conv1d(config.width, len(FINE), 1)

    def forward(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        b, t, _ = rows.shape
        x = self.entry(((rows - self.mean) * self.scale).transpose(1, 2))
        for block in self.blocks:
            x = block(x)
        events = self.events(x).reshape(b, len(EVENTS), 2, t).permute(0, 3, 2, 1).reshape(b, 2 * t, len(EVENTS))
        features = torch.tanh(self.features(x)).transpose(1, 2)
        return events, self.channels(x).transpose(1, 2), features, self.phones(x).transpose(1, 2)

    def probabilities(self, rows: np.ndarray) -> Outputs:
        """All outputs of a recording of any length. rows [t, d] float32."""
        parts: list[tuple[np.ndarray, ...]] = []
        reach = self.config.reach
        with torch.inference_mode():
            for at in range(0, len(rows), BLOCK_ROWS):
                first, last = max(0, at - reach), min(len(rows), at + BLOCK_ROWS + reach)
                events, channels, features, phones = (x[0] for x in self(torch.from_numpy(rows[first:last])[None]))
                a, b = at - first, min(at + BLOCK_ROWS, len(rows)) - first
                wanted = (torch.sigmoid(events[2 * a : 2 * b]), torch.sigmoid(channels[a:b]), features[a:b],
                          torch.softmax(phones[a:b], 1))  # fmt: skip
                parts.append(tuple(x.numpy() for x in wanted))
        events_, channels_, features_, phones_ = (np.concatenate(p) for p in zip(*parts, strict=True))
        named = {name: events_[:, i] for i, name in enumerate(EVENTS)}
        return Outputs(named, channels_, features_, phones_, FINE)


def save_adapter(path: str | Path, net: AdapterNet, header: Mapping[str, Any]) -> None:
    """Write weights (float16; input statistics float32) with the configuration and `header` as JSON in the header."""
    from safetensors.torch import save_file

    weights = {
        name: (value if name in {"mean", "scale"} else value.half()).contiguous()
        for name, value in net.state_dict().items()
    }
    entries = {"config": asdict(net.config), "phones": FINE, **header}
    texts = {"kind": KIND, "format": str(FORMAT), **{k: json.dumps(v) for k, v in entries.items()}}
    with replacing(path) as part:
        save_file(weights, part, metadata=texts)


def load_adapter(path: str | Path) -> tuple[AdapterNet, dict[str, Any]]:
    """(net in eval mode, header entries). Raises BadFile."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), "pt") as f:
            texts = f.metadata() or {}
            weights = {name: f.get_tensor(name).float() for name in f.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise BadFile(path, "no such file") from None
    except (SafetensorError, OSError) as error:
        raise BadFile(path, f"is not a safetensors file ({error})") from None
    if texts.get("kind") != KIND:
        raise BadFile(path, f"holds a {texts.get('kind', 'nameless checkpoint')}, not a speech adapter")
    if int(texts.get("format", "0")) > FORMAT:
        raise BadFile(path, f"was written by a newer Soliloquy (format {texts['format']}, this one reads {FORMAT})")
    try:
        header = {k: json.loads(v) for k, v in texts.items() if k not in {"kind", "format"}}
        if tuple(header["phones"]) != FINE:
            raise ValueError("its list of phones is another version's; fit it again")
        config: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in header.pop("config").items()}
        net = AdapterNet(AdapterConfig(**config))
        net.load_state_dict(weights)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise BadFile(path, f"is a damaged speech adapter ({str(error).splitlines()[0]})") from None
    return net.eval(), header
