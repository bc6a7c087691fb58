"""The embedded speech net: a small gated dilated conv1d from log-mels to articulation (1 M parameters).

Gates as in van den Oord et al. 2016 (WaveNet, eq. 2), with batch norm and residual sums; non-causal for takes, or
with a bounded look-ahead for live use. Two mel frames in, one 50 Hz row out; event heads give two values a row, so
events are timed to 10 ms.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from engine.core.errors import BadFile
from engine.core.files import replacing
from engine.core.phones import CHANNELS, class_names
from engine.speech.frontend import FRAME_RATE_HZ, MELS, SAMPLE_RATE, WINDOW
from engine.speech.net_phones import FINE

FORMAT = 2
INTERFACE = "v1"  # articulation (core.names.ARTICULATION) and 64 features at 50 Hz, row 0 at second 0
EVENTS = ("closure", "labiodental", "round", "voice")


@dataclass(frozen=True)
class NetConfig:
    """width: channels of the trunk. dilations: of its blocks, in 50 Hz rows. features: size of the layer that motion
    systems get. prior [64]: mean log-mel of speech about its own level (`frontend.normalise`). ahead: rows that each
    block hears after its own, 0 to its dilation (empty: as many as before, the non-causal net). fine: with a head for
    `net_phones.FINE`."""

    width: int = 128
    dilations: tuple[int, ...] = (1, 2, 4, 8, 1, 2, 4, 8)
    features: int = 64
    dropout: float = 0.05
    prior: tuple[float, ...] = field(default=(0.0,) * MELS)
    ahead: tuple[int, ...] = ()
    fine: bool = False

    @property
    def causal(self) -> bool:
        """Whether the look-ahead is bounded: then the recording's level is measured up to each frame only."""
        return bool(self.ahead)

    @property
    def pads(self) -> tuple[tuple[int, int], ...]:
        """Rows that each block hears before and after its own."""
        after = self.ahead or self.dilations
        return tuple((2 * d - a, a) for d, a in zip(self.dilations, after, strict=True))

    @property
    def reach_s(self) -> float:
        """Seconds of sound that an output row can hear, on the side where that is more."""
        return (max(sum(a for a, _ in self.pads), sum(b for _, b in self.pads)) + 3) / 50.0

    @property
    def look_ahead_s(self) -> float:
        """Seconds of sound after an output row's own time that it needs: blocks, one row of the heads, two frames of
        the entry, half a window of the spectrum."""
        return (sum(b for _, b in self.pads) + 1) / 50.0 + 2 / FRAME_RATE_HZ + 0.5 * WINDOW / SAMPLE_RATE


class Block(nn.Module):
    """x + W(tanh(a) sigmoid(b)), (a, b) = dilated conv of x. [b, c, t] -> [b, c, t]."""

    def __init__(self, width: int, dilation: int, pads: tuple[int, int], dropout: float):
        super().__init__()
        self.norm = nn.BatchNorm1d(width)
        self.pads = pads
        self.gates = nn.Conv1d(width, 2 * width, 3, dilation=dilation)
        self.out = nn.Conv1d(width, width, 1)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        heard = nn.functional.pad(self.norm(x), self.pads)
        return x + self.out(self.drop(nn.functional.glu(self.gates(heard), dim=1)))


class ArticulationNet(nn.Module):
    """Normalised log-mels [b, 2t, 64] -> event logits [b, 2t, 4], channel logits [b, t, 8], features [b, t, 64].

    `trunk`, `phone_logits` and `fine_logits` serve training and alignment: classifiers over all phones make the trunk
    tell apart what only differs inside the mouth (m from n, p from t).
    """

    def __init__(self, config: NetConfig):
        super().__init__()
        self.config = config
        self.entry = nn.Conv1d(MELS, config.width, 5, stride=2, padding=2)
        self.blocks = nn.ModuleList(
            Block(config.width, d, pads, config.dropout) for d, pads in zip(config.dilations, config.pads, strict=True)
        )
        self.norm = nn.BatchNorm1d(config.width)
        self.features = nn.Conv1d(config.width, config.features, 1)
        self.events = nn.Conv1d(config.features, 2 * len(EVENTS), 3, padding=1)
        self.channels = nn.Conv1d(config.features, len(CHANNELS), 3, padding=1)
        self.phones = nn.Conv1d(config.width, len(class_names()), 1)
        self.fine = nn.Conv1d(config.width, len(FINE), 1) if config.fine else None

    def trunk(self, mel: Tensor) -> Tensor:
        """[b, 2t, 64] -> [b, width, t]."""
        _, t, m = mel.shape
        assert m == MELS and t % 2 == 0, f"mels must be [b, 2t, {MELS}], got {tuple(mel.shape)}"
        x = self.entry(mel.transpose(1, 2))
        for block in self.blocks:
            x = block(x)
        return self.norm(x)

    def phone_logits(self, trunk: Tensor) -> Tensor:
        """[b, width, t] -> [b, classes, t], classes as `phones.class_names()`."""
        return self.phones(trunk)

    def fine_logits(self, trunk: Tensor) -> Tensor | None:
        """[b, width, t] -> [b, phones, t], phones as `net_phones.FINE`; None for a net without that head."""
        return None if self.fine is None else self.fine(trunk)

    def heads(self, trunk: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[b, width, t] -> the three outputs of `forward`."""
        b, _, t = trunk.shape
        # tanh keeps the features in [-1, 1]: motion systems need no scaling, and f16 holds them well.
        features = torch.tanh(self.features(trunk))
        events = self.events(features).reshape(b, len(EVENTS), 2, t).permute(0, 3, 2, 1)
        events = events.reshape(b, 2 * t, len(EVENTS))
        return events, self.channels(features).transpose(1, 2), features.transpose(1, 2)

    def forward(self, mel: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.heads(self.trunk(mel))


def save_net(path: str | Path, net: ArticulationNet, extra: Mapping[str, Any]) -> None:
    """Write weights (float16) with the inference configuration in the header (safetensors)."""
    from safetensors.torch import save_file

    weights = {
        name: (value.half() if value.is_floating_point() else value).contiguous()
        for name, value in net.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    header = {
        "kind": "speech", "format": str(FORMAT), "interface": INTERFACE, "rate_hz": "50.0", "t0_s": "0.0",
        "config": json.dumps(asdict(net.config)), **{key: json.dumps(value) for key, value in extra.items()},
    }  # fmt: skip
    with replacing(path) as part:
        save_file(weights, part, metadata=header)


def load_net(path: str | Path) -> tuple[ArticulationNet, dict[str, Any]]:
    """(net in eval mode, float32; the other header entries). Raises BadFile."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), "pt") as f:
            header = f.metadata() or {}
            weights = {name: f.get_tensor(name).float() for name in f.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise BadFile(path, "no such file") from None
    except (SafetensorError, OSError) as error:
        raise BadFile(path, f"is not a safetensors file ({error})") from None
    if header.get("kind") != "speech":
        raise BadFile(path, f"holds a {header.get('kind', 'nameless checkpoint')}, not a speech net")
    if int(header["format"]) > FORMAT:
        raise BadFile(
            path, f"was written by a newer Soliloquy (format {header['format']}, this one reads {FORMAT}); update it"
        )
    try:
        config: dict[str, Any] = json.loads(header["config"])
        config |= {k: tuple(v) for k, v in config.items() if isinstance(v, list)}
        net = ArticulationNet(NetConfig(**config))
        missing, unexpected = net.load_state_dict(weights, strict=False)
        if unexpected or any(not name.endswith("num_batches_tracked") for name in missing):
            raise ValueError(f"weights do not fit: {(missing + unexpected)[:3]}")
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise BadFile(path, f"is a damaged speech checkpoint ({str(error).splitlines()[0]})") from None
    own = {"kind", "format", "config", "interface", "rate_hz", "t0_s"}
    extra = {k: json.loads(v) for k, v in header.items() if k not in own}
    return net.eval(), extra


def prior_array(config: NetConfig) -> np.ndarray:
    """[64] float32."""
    return np.array(config.prior, np.float32)
