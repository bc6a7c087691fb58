"""EmoTaG's Gated Residual Motion Network (its section 3.2): base motion + gate x emotional residual, styled by
identity.

Audio: interface v1 (in place of wav2vec 2.0) -> temporal CNN -> MLP -> transformer encoder of four layers. Expression:
an MLP of the control track's AUs (in place of OpenFace's). Identity: pooled coefficients of the person's neutral motion
and face (in place of AdaFace), through AdaIN (eq. 4-5) on both streams. Heads: base branch, EMO encoder-decoder, gate
(eq. 6). The emotion latent is 14-d, one per label; the gate and the residual also see label and intensity (ours). A
local window of attention, and its margin, let a long voice run in windows. Each branch has a second part, the offsets
of the Gaussians inside the mouth (eq. 8), as `inside` numbers: performances hold no Gaussians, so nothing supervises
them there, and a network trained on performances alone has inside = 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from engine.core.names import ARTICULATION, AUS, EMOTIONS

INPUT = len(ARTICULATION) + 64
REACH = 12  # rows of attention to either side in each layer (0.24 s); four layers see a second to either side
LAYERS = 4
EDGE = LAYERS * REACH + 4  # rows that the audio stream looks to either side


class AdaIN(nn.Module):
    """Eq. 4-5: scale and shift of instance-normalised features from an identity. [b, t, c], [b, s] -> [b, t, c].

    Statistics are running ones, not the window's own: a window must not change what is in it.
    """

    def __init__(self, width: int, identity: int):
        super().__init__()
        self.norm = nn.BatchNorm1d(width, affine=False)
        self.style = nn.Sequential(nn.Linear(identity, width), nn.GELU(), nn.Linear(width, 2 * width))

    def forward(self, x: Tensor, identity: Tensor) -> Tensor:
        gamma, beta = self.style(identity)[:, None].chunk(2, -1)
        return (1.0 + gamma) * self.norm(x.transpose(1, 2)).transpose(1, 2) + beta


class NearAttention(nn.Module):
    """Pre-norm transformer layer whose rows attend to those within REACH."""

    def __init__(self, width: int, heads: int = 4):
        super().__init__()
        self.heads = heads
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.leave = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        b, t, c = x.shape
        q, k, v = self.qkv(self.before(x)).reshape(b, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        row = torch.arange(t, device=x.device)
        near = (row[:, None] - row[None]).abs() <= REACH
        out = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=near)
        x = x + self.leave(out.transpose(1, 2).reshape(b, t, c))
        return x + self.mlp(self.between(x))


@dataclass
class Branches:
    """What the decoder gives: base, residual [b, t, size]; gate [b, t, 1] in [0, 1]; latent z_e [b, t, 14];
    inside [b, t, n]: the offsets inside the mouth by the same equation, or None."""

    base: Tensor
    residual: Tensor
    gate: Tensor
    latent: Tensor
    inside: Tensor | None = None

    @property
    def motion(self) -> Tensor:
        """Eq. 6."""
        return self.base + self.gate * self.residual


class GRMN(nn.Module):
    """(speech [b, t, 75], au [b, t, 36], emotion [b, t, 14], identity [b, s]) -> Branches.

    inside: width of the offsets inside the mouth. use_identity, use_residual, use_gate: the ablations of the paper's
    table 5. The buffer `person` [s] is the identity that the network was adapted to (zero: nobody's).
    """

    def __init__(
        self, size: int, identity: int, width: int = 128, inside: int = 0, use_identity: bool = True,
        use_residual: bool = True, use_gate: bool = True,
    ):  # fmt: skip
        super().__init__()
        self.size, self.inside = size, inside
        self.person: Tensor
        self.register_buffer("person", torch.zeros(identity))
        self.use_identity, self.use_residual, self.use_gate = use_identity, use_residual, use_gate
        self.hear = nn.Sequential(
            nn.Conv1d(INPUT, width, 5, padding=2), nn.GELU(), nn.Conv1d(width, width, 5, padding=2), nn.GELU()
        )
        self.enter = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))
        self.context = nn.Sequential(*(NearAttention(width) for _ in range(LAYERS)))
        self.see = nn.Sequential(nn.Linear(2 * len(AUS), width // 2), nn.GELU(), nn.Linear(width // 2, width // 2))
        self.audio_style, self.face_style = AdaIN(width, identity), AdaIN(width // 2, identity)
        self.base = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, size + inside))
        both = width + width // 2 + len(EMOTIONS)
        self.emo_in = nn.Sequential(nn.Linear(both, width), nn.GELU(), nn.Linear(width, len(EMOTIONS)))
        self.emo_out = nn.Sequential(nn.Linear(len(EMOTIONS) + both, width), nn.GELU(), nn.Linear(width, size + inside))
        self.gate = nn.Sequential(nn.Linear(both, width // 2), nn.GELU(), nn.Linear(width // 2, 1), nn.Sigmoid())

    def forward(self, speech: Tensor, au: Tensor, emotion: Tensor, identity: Tensor) -> Branches:
        audio = self.context(self.enter(self.hear(speech.transpose(1, 2)).transpose(1, 2)))
        face = self.see(au)
        if self.use_identity:
            audio, face = self.audio_style(audio, identity), self.face_style(face, identity)
        both = torch.cat([audio, face, emotion], -1)
        base, latent = self.base(audio), self.emo_in(both)
        residual = self.emo_out(torch.cat([latent.softmax(-1), both], -1))
        if not self.use_residual:
            residual = torch.zeros_like(base)
        gate = self.gate(both) if self.use_gate else torch.ones_like(base[..., :1])
        whole = (base + gate * residual)[..., self.size :] if self.inside else None
        return Branches(base[..., : self.size], residual[..., : self.size], gate, latent, whole)

    def style_parameters(self) -> list[nn.Parameter]:
        """AdaIN's parameters (section 3.3: all that adapting to a person may change)."""
        return [*self.audio_style.style.parameters(), *self.face_style.style.parameters()]

    def modulation(self) -> list[nn.Parameter]:
        """Of these, what shifts gamma and beta as such: the last bias of each stream. 3 width numbers."""
        last = (part.style[-1] for part in (self.audio_style, self.face_style))
        return [layer.bias for layer in last if isinstance(layer, nn.Linear)]


def guidance(branches: Branches, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Semantic Emotion Guidance: (KL of eq. 12, score of eq. 13) against a teacher's distribution [b, t, 14].

    Column 0 of the labels is neutral: the score is e = 1 - p(neutral) (eq. 9).
    """
    log_p = branches.latent.log_softmax(-1)
    kl = (wanted * (wanted.clamp_min(1e-6).log() - log_p)).sum(-1).mean()
    score = (branches.gate[..., 0] - (1.0 - wanted[..., 0])).abs().mean()
    return kl, score
