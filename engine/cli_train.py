"""`soliloquy train RECIPE` and `soliloquy studio datasets`: checkpoints and corpora from nothing, by one line each."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Annotated, Any

import typer

from engine.cli_head import table
from engine.console import Json, reporting, show
from engine.core.errors import BadInput


@dataclass(frozen=True)
class Recipe:
    """target: "module:function" of `function(out, work, seed, report, **options) -> dict`. about: one line."""

    target: str
    about: str

    def load(self) -> Any:
        module, _, name = self.target.partition(":")
        return getattr(import_module(module), name)


# One line for each recipe; a recipe's own options are parameters of its function, given as --option NAME=VALUE.
RECIPES: dict[str, Recipe] = {
    "speech": Recipe("engine.train.speech_chain:speech", "the speech net for takes (OUT: a .safetensors)"),
    "speech_causal": Recipe("engine.train.speech_chain:speech_causal", "the speech net for live use"),
    "adapter": Recipe("engine.train.adapter:adapter", "any HuBERT or wav2vec 2.0 (--encoder) to the speech interface"),
    "speech_loso": Recipe("engine.train.speech_chain:speech_loso", "speech nets that miss one speaker (OUT: a folder)"),
}
RECIPES |= {
    "legibility": Recipe("engine.train.legibility:recipe", "the net that measures emotion (OUT: a .safetensors)"),
}
RECIPES |= {  # motion systems: --work is a set of `studio perform`; options: steps=N, ablate=NAME
    "motion_basis": Recipe("engine.train.motion_basis:recipe", "the basis that every motion network ends in"),
    "emotalk3d": Recipe("engine.train.emotalk3d_recipe:recipe", "EmoTalk3D's S2GNet"),
    "emovoca": Recipe("engine.train.emovoca_recipe:recipe", "EmoVOCA's chain: DE-SD, its set, E-FaceFormer"),
    "emotalk3d_extractor": Recipe("engine.train.emotalk3d_extractor:recipe", "EmoTalk3D's emotion extractor"),
    "emotag": Recipe("engine.train.emotag_recipe:recipe", "EmoTaG's gated residual motion network"),
    "emotag_adapt": Recipe("engine.train.emotag_adapt:recipe", "emotag to one person from seconds (OUT: .safetensors)"),
    "emodifftalk": Recipe("engine.train.emodifftalk_recipe:recipe", "EmoDiffTalk's speech-to-AU and diffusion"),
    "emotalkinggaussian": Recipe("engine.train.emotalkinggaussian_recipe:recipe", "EmoTalkingGaussian's branches"),
}
DATASETS: dict[str, Recipe] = {
    "speech": Recipe("engine.train.speech_chain:dataset", "every voice of the speech nets, with labels"),
}

studio_app = typer.Typer(no_args_is_help=True, help="Corpora that training learns from.")


def _of(table_of: dict[str, Recipe], name: str, what: str) -> Recipe:
    if name not in table_of:
        raise BadInput(f"there is no {what} '{name}'; there are: {', '.join(table_of)}")
    return table_of[name]


def _options(function: Any, pairs: list[str]) -> dict[str, str]:
    """NAME=VALUE pairs as arguments of a recipe. Raises BadInput."""
    known = [p for p in signature(function).parameters if p not in {"out", "work", "seed", "report"}]
    out = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or name not in known:
            raise BadInput(f"'{pair}' is no option of this recipe; it takes: {', '.join(known) or 'none'}")
        out[name] = value
    return out


def train(
    recipe: Annotated[str, typer.Argument(help=f"One of: {', '.join(RECIPES)}.")],
    out: Annotated[Path | None, typer.Argument(help="Where the checkpoint goes (adapter: the user's folder).")] = None,
    work: Annotated[
        Path | None, typer.Option(help="Folder of the corpus and the state; the same line again resumes.")
    ] = None,
    encoder: Annotated[str | None, typer.Option(help="Of an adapter: a model's folder or hub id.")] = None,
    seed: Annotated[int, typer.Option()] = 0,
    option: Annotated[list[str] | None, typer.Option(help="NAME=VALUE of this recipe.")] = None,
    as_json: Json = False,
) -> None:
    """Train a checkpoint by its recipe."""
    function = _of(RECIPES, recipe, "recipe").load()
    options = _options(function, [*(option or []), *([f"encoder={encoder}"] if encoder else [])])
    required = [p.name for p in signature(function).parameters.values() if p.default is p.empty]
    for name, value in (("OUT", out), ("--work FOLDER", work)):
        if value is None and name.strip("-").split()[0].lower() in required:
            raise BadInput(f"the recipe '{recipe}' needs {name}")
    with reporting(as_json) as report:
        result = function(out, work, seed=seed, report=report, **options)
    show(result, as_json, table(result))


@studio_app.command()
def datasets(
    name: Annotated[str, typer.Argument(help=f"One of: {', '.join(DATASETS)}.")],
    work: Annotated[Path, typer.Option(help="Folder of the corpus.")],
    seed: Annotated[int, typer.Option()] = 0,
    as_json: Json = False,
) -> None:
    """Fetch, synthesise and label a corpus; what is there already is kept."""
    function = _of(DATASETS, name, "dataset").load()
    with reporting(as_json) as report:
        result = function(work, seed=seed, report=report)
    show(result, as_json, table(result))
