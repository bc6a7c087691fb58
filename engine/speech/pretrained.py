"""HuBERT, wav2vec 2.0 and their relatives by `transformers`, joined to interface v1 by a fitted adapter (adapter.py).

A model is a folder as the hub keeps it: config.json, model.safetensors (or pytorch_model.bin, read without pickle),
preprocessor_config.json. Nothing is downloaded here (hub.py).

The convolutions of these models give one row for each 320 samples (50 Hz) and see 400; the first row is centred on
12.5 ms. Here the sound is padded by half the difference, so that row i is centred on second i / 50.
Baevski et al. 2020 (wav2vec 2.0), Hsu et al. 2021 (HuBERT).
"""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.assets import registry
from engine.core.errors import BadFile, Missing
from engine.core.files import sha256_of
from engine.core.phones import parts
from engine.core.progress import SILENT, Reporter
from engine.core.sound import SAMPLE_RATE, Audio, Features
from engine.speech.encode import Heard

if TYPE_CHECKING:
    from engine.speech.adapter import AdapterNet

KINDS = ("hubert", "wav2vec2", "wav2vec2-conformer", "wavlm", "data2vec-audio", "unispeech", "unispeech-sat", "sew")
WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")
ADAPTER = "soliloquy_adapter.safetensors"  # beside the model, or <encoder id>.safetensors in the user's "adapters"
CHUNK_S, OVERLAP_S = 30.0, 4.0  # attention costs the square of its length; neighbours share this much sound
ROWS_HZ = 50
_NORM_ROWS = 32_000  # of the first convolution at once: 10 s
LAYER_SHARE = 0.75  # of the depth, where these models know most about phones (Pasad et al. 2021, fig. 3)


def accepts(path: Path) -> bool:
    return path.is_dir()


def load(path: Path) -> Adapted:
    """The model of a folder with the adapter that was fitted to it. Raises BadFile, Missing."""
    from engine.speech.adapter import load_adapter

    model = Pretrained(path)
    file = adapter_file(path, model.encoder_id)
    if not file.exists():
        raise Missing(f"no adapter has been fitted to this model yet; run: soliloquy train adapter --encoder {path}")
    net, header = load_adapter(file)
    if header.get("encoder") != model.encoder_id:
        raise BadFile(file, f"was fitted to {header.get('encoder')}, not to {model.encoder_id}: fit it again")
    model.layer = int(header["layer"])
    model.bfloat16 = header.get("dtype") == "bfloat16"
    return Adapted(model, net, f"{model.encoder_id}+adapter-{sha256_of(file)[:12]}", header.get("thresholds", {}))


def adapter_file(folder: Path, encoder_id: str) -> Path:
    """Where the adapter of a model lies: beside it if there is one, else in the user's own folder."""
    beside = folder / ADAPTER
    return beside if beside.exists() else registry.user_home() / "adapters" / f"{encoder_id}.safetensors"


def adapter_time(folder: Path) -> int:
    """When the adapters that may belong to a folder were last written, in nanoseconds; 0 if there are none."""
    places = [folder / ADAPTER, *(registry.user_home() / "adapters").glob("*.safetensors")]
    return max((p.stat().st_mtime_ns for p in places if p.is_file()), default=0)


def read_config(folder: Path) -> dict[str, Any]:
    """The model's config.json, checked. Raises BadFile with what is wrong with the folder."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadFile(folder, "holds no config.json: give the folder of a HuBERT or wav2vec 2.0 model") from None
    except (OSError, ValueError) as error:
        raise BadFile(folder / "config.json", f"is not readable ({error})") from None
    kind = config.get("model_type") if isinstance(config, dict) else None
    if kind not in KINDS:
        raise BadFile(folder, f"holds a '{kind}' model; speech encoders are: {', '.join(KINDS)}")
    if not any((folder / name).is_file() for name in WEIGHTS):
        raise BadFile(folder, f"holds no weights; one of {', '.join(WEIGHTS)} must lie beside config.json")
    return config


def _normalises(folder: Path) -> bool:
    """Whether the model wants each voice at zero mean and unit variance. Raises BadFile.

    Where preprocessor_config.json is missing the answer is yes, as for most published models.
    """
    file = folder / "preprocessor_config.json"
    if not file.exists():
        return True
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
        rate, normal = int(value.get("sampling_rate", SAMPLE_RATE)), bool(value.get("do_normalize", True))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise BadFile(file, f"is not readable ({error})") from None
    if rate != SAMPLE_RATE:
        raise BadFile(file, f"asks for {rate} Hz; only models of 16000 Hz can be used")
    return normal


@functools.lru_cache(maxsize=8)
def _digest(path: str, _mtime_ns: int, _size: int) -> str:
    return sha256_of(path)


@dataclass(frozen=True)
class Frames:
    """How a model's convolutions divide sound: a row each `hop` samples, seeing `window` samples."""

    hop: int
    window: int

    @property
    def rate_hz(self) -> float:
        return SAMPLE_RATE / self.hop

    @property
    def t0_s(self) -> float:
        """Second on which the first row is centred if the sound is not padded."""
        return (self.window - 1) / 2 / SAMPLE_RATE


def frames_of(config: dict[str, Any]) -> Frames:
    """From the config's convolutions (HuBERT's own where it does not say)."""
    kernels = config.get("conv_kernel") or (10, 3, 3, 3, 3, 2, 2)
    strides = config.get("conv_stride") or (5, 2, 2, 2, 2, 2, 2)
    hop, window = 1, 1
    for kernel, stride in zip(kernels, strides, strict=True):
        window += (int(kernel) - 1) * hop
        hop *= int(stride)
    return Frames(hop, window)


class Pretrained:
    """A pretrained model: samples -> rows of one hidden layer at 50 Hz."""

    def __init__(self, folder: Path, layer: int | None = None):
        """layer: hidden layer from 1 (default: LAYER_SHARE of the depth). Raises BadFile, Missing."""
        self.config = read_config(folder)
        self.normalises = _normalises(folder)
        self.frames = frames_of(self.config)
        weights = next(folder / name for name in WEIGHTS if (folder / name).is_file())
        stat = weights.stat()
        self.encoder_id = f"{self.config['model_type']}-{_digest(str(weights), stat.st_mtime_ns, stat.st_size)[:12]}"
        self.depth = int(self.config.get("num_hidden_layers", 12))
        self.layer = layer or max(1, round(LAYER_SHARE * self.depth))
        if not 1 <= self.layer <= self.depth:
            raise BadFile(folder, f"has {self.depth} layers; there is no layer {self.layer}")
        self.bfloat16 = False
        self.model = _load_model(folder)

    def rows(self, samples: np.ndarray, report: Reporter = SILENT, chunk_s: float = CHUNK_S) -> np.ndarray:
        """Hidden states at second i / 50. samples [n] float32 at 16 kHz -> [ceil(50 s), d] float32. Raises Cancelled.

        Longer sounds are run in chunks that overlap; in the middle half of an overlap one gives way to the other.
        """
        count = max(1, -(-len(samples) // (SAMPLE_RATE // ROWS_HZ)))
        if self.normalises:
            samples = (samples - samples.mean()) / np.sqrt(samples.var() + 1e-7)
        hop = self.frames.hop
        total = max(1, -(-len(samples) // hop))  # rows at the model's own rate
        before = (self.frames.window - 1) // 2  # samples before a row's centre
        padded = np.zeros((total - 1) * hop + self.frames.window, np.float32)
        usable = min(len(samples), len(padded) - before)
        padded[before : before + usable] = samples[:usable]
        size, overlap = round(chunk_s * self.frames.rate_hz), round(OVERLAP_S * self.frames.rate_hz)
        if total <= size:
            out = self._run(padded, 0, total)
        else:
            with _whole_norm(self.model, padded):
                out = self._chunked(padded, total, size, overlap, report)
        return _at_rows(out, self.frames.rate_hz, count)

    def _chunked(self, padded: np.ndarray, total: int, size: int, overlap: int, report: Reporter) -> np.ndarray:
        """Chunks of `size` rows that share at least `overlap`; each gives way to the next in the middle of that."""
        count = -(-(total - overlap) // (size - overlap))
        starts = [round(i * (total - size) / (count - 1)) for i in range(count)]
        out: np.ndarray | None = None
        for i, first in enumerate(starts):
            report.step("listening", first, total)
            part = self._run(padded, first, first + size)
            if out is None:
                out = np.zeros((total, part.shape[1]), np.float32)
                out[:size] = part
                continue
            seam = (first + starts[i - 1] + size) // 2
            a, b = seam - overlap // 4, seam + overlap // 4
            ramp = np.linspace(0, 1, b - a, dtype=np.float32)[:, None]
            out[a:b] += (part[a - first : b - first] - out[a:b]) * ramp
            out[b : first + size] = part[b - first :]
        assert out is not None
        return out

    def _run(self, padded: np.ndarray, first: int, last: int) -> np.ndarray:
        """Rows [first, last) of the padded sound, at the model's own rate. [last - first, d] float32."""
        import torch

        hop, window = self.frames.hop, self.frames.window
        piece = torch.from_numpy(padded[first * hop : (last - 1) * hop + window])[None]
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16):
            hidden = self.model(piece, output_hidden_states=True).hidden_states[self.layer][0]
        return hidden.float().numpy()[: last - first]


def _affine(scale: Any, shift: Any) -> Any:
    """A module that multiplies and adds."""
    import torch

    class Affine(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * scale + shift

    return Affine()


@contextlib.contextmanager
def _whole_norm(model: Any, padded: np.ndarray) -> Iterator[None]:
    """While chunks run: HuBERT base normalises its first convolution over the time that it is given (group norm with a
    group for each channel), so a quiet chunk would come out louder than its neighbours. Here it gets the mean and the
    variance of the whole recording, measured block by block."""
    import torch

    layer: Any = next(iter(getattr(getattr(model, "feature_extractor", None), "conv_layers", [])), None)
    norm = getattr(layer, "layer_norm", None)
    if not isinstance(norm, torch.nn.GroupNorm) or norm.num_groups != norm.num_channels:
        yield
        return
    kernel, stride = layer.conv.kernel_size[0], layer.conv.stride[0]
    rows = (len(padded) - kernel) // stride + 1
    total, squares = (torch.zeros(norm.num_channels, dtype=torch.float64) for _ in range(2))
    with torch.inference_mode():
        for at in range(0, rows, _NORM_ROWS):
            count = min(_NORM_ROWS, rows - at)
            piece = torch.from_numpy(padded[at * stride : (at + count - 1) * stride + kernel])[None, None]
            values = layer.conv(piece)[0].double()
            total += values.sum(1)
            squares += (values * values).sum(1)
        mean = total / rows
        scale = norm.weight.double() / torch.sqrt((squares / rows - mean * mean).clamp_min(0) + norm.eps)
        shift = norm.bias.double() - mean * scale
    layer.layer_norm = _affine(scale.float()[:, None], shift.float()[:, None])
    try:
        yield
    finally:
        layer.layer_norm = norm


def _at_rows(values: np.ndarray, rate_hz: float, count: int) -> np.ndarray:
    """Rows of another rate (some models have 25 Hz) at second i / 50; as they are where the rate is 50 Hz."""
    if abs(rate_hz - ROWS_HZ) < 1e-6 and len(values) == count:
        return values
    at = np.clip(np.arange(count) / ROWS_HZ * rate_hz, 0, len(values) - 1)
    left = np.minimum(at.astype(int), len(values) - 1)
    share = (at - left)[:, None].astype(np.float32)
    return values[left] * (1 - share) + values[np.minimum(left + 1, len(values) - 1)] * share


def _load_model(folder: Path) -> Any:
    """The transformers model in eval mode, from local files only and without running code from the folder."""
    from transformers import AutoModel
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()  # it lists every weight of a pretraining head that is not used
    try:
        model = AutoModel.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except ImportError as error:
        raise Missing(f"this model needs a package that is not installed ({str(error).splitlines()[0]})") from None
    except Exception as error:  # transformers and safetensors raise many kinds for a damaged folder
        text = str(error).strip().splitlines()
        raise BadFile(folder, f"is no speech model that can be loaded ({text[0][:160] if text else error!r})") from None
    finally:
        logging.set_verbosity(before)
        logging.enable_progress_bar()
    return model.eval()


class Adapted:
    """Callable: `Audio` -> `Heard`, by a pretrained model and its adapter."""

    def __init__(self, model: Pretrained, net: AdapterNet, encoder_id: str, thresholds: dict[str, float]):
        self.model, self.net, self.encoder_id, self.thresholds = model, net, encoder_id, thresholds

    def __call__(self, audio: Audio, report: Reporter = SILENT) -> Heard:
        """Raises Cancelled."""
        from engine.audio.read import levelled
        from engine.speech.frontend import log_mel

        samples = levelled(audio.samples)
        mel = log_mel(samples, report)
        rows = self.model.rows(samples, report)
        report.check()
        raw = self.net.probabilities(rows)
        events = dict(raw.events)
        closed = [i for i, name in enumerate(raw.phone_names) if _closes(name)]
        at = np.arange(2 * len(rows)) / 2
        seen = np.interp(at, np.arange(len(rows)), raw.phones[:, closed].sum(1))
        # As for the embedded net: the head and the phone classifier are two witnesses of a closure.
        events["closure"] = np.sqrt(events["closure"] * seen).astype(np.float32)
        features = Features(self.encoder_id, str(self.model.layer), 50.0, 0.0, raw.features.astype(np.float16), "tanh")
        return Heard(events, raw.channels, features, mel, self.thresholds, raw.phones)


def _closes(symbol: str) -> bool:
    """Whether a phone (or a class by its name) shuts the lips."""
    return any(cls.event == "closure" for cls, _ in parts(symbol)) if symbol != "_" else False
