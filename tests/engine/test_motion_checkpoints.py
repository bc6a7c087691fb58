"""Checkpoints of motion systems that do not hold what this version's networks are made of: each is said in a sentence;
and EmoDiffTalk's recurrent ablation, whose checkpoint holds another network, runs."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from test_emovoca import heard
from test_motion import QUIET

from engine.assets.registry import resolve
from engine.core.errors import BadFile
from engine.head.library import load_head
from engine.motion.emodifftalk import EmoDiffTalk
from engine.motion.emotag import EmoTaG
from engine.motion.emotalk3d import EmoTalk3D
from engine.motion.emotalkinggaussian import EmoTalkingGaussian
from engine.motion.emovoca import EmoVOCA
from engine.motion.nets import file
from engine.motion.nets.au_diffusion import Both, Recurrent
from engine.motion.perform import run_system
from engine.train import emotag_adapt
from engine.train.emodifftalk_recipe import ABLATIONS, CONFIG
from engine.train.motion_recipe import ablated, finish

torch.set_num_threads(1)
SYSTEMS = {system.name: system for system in (EmoDiffTalk, EmoTaG, EmoTalk3D, EmoTalkingGaussian, EmoVOCA)}


def without_config(checkpoint):
    return {name: value for name, value in checkpoint.header.items() if name != "config"}, checkpoint.tensors


def with_config(config):
    return lambda checkpoint: (checkpoint.header | {"config": config}, checkpoint.tensors)


def without_a_tensor(checkpoint):
    return checkpoint.header, dict(list(checkpoint.tensors.items())[:-1])


def with_another_shape(checkpoint):
    name = next(iter(checkpoint.tensors))
    return checkpoint.header, checkpoint.tensors | {name: np.zeros((2, 3), np.float32)}


@pytest.mark.parametrize("name", SYSTEMS)
@pytest.mark.parametrize(
    "damage",
    [without_config, with_config({"depth": 3}), with_config(None), with_config([1]), with_config({"width": "wide"}),
     without_a_tensor, with_another_shape],
)  # fmt: skip
def test_another_network_than_this_versions_is_said(tmp_path, name, damage):
    path = tmp_path / "net.safetensors"
    whole = file.read(resolve(name, "motion"), name)
    header, tensors = damage(whole)
    file.write(path, file.Checkpoint(tensors, whole.basis, header))
    with pytest.raises(BadFile, match=r"net\.safetensors: does not hold this version's network .*train it again"):
        SYSTEMS[name](path)


def test_adapting_says_so_too(tmp_path):
    path = tmp_path / "net.safetensors"
    whole = file.read(resolve("emotag", "motion"), "emotag")
    for header, said in (
        (whole.header | {"config": {"depth": 3}}, "this version's network"),
        (whole.header | {"identity": [[1.0]]}, "units of identities"),
        ({k: v for k, v in whole.header.items() if k != "identity"}, "units identities"),
    ):
        file.write(path, file.Checkpoint(whole.tensors, whole.basis, header))
        with pytest.raises(BadFile, match=said):
            emotag_adapt.load_net(path)


@pytest.mark.parametrize(("format", "header"), [("one", {}), ("1", []), ("1", "x"), ("99", {})])
def test_a_header_of_another_form_is_said(tmp_path, format, header):
    path = tmp_path / "net.safetensors"
    save_file(
        {"net.a": np.zeros(2, np.float32)}, path, {"kind": file.KIND, "format": format, "header": json.dumps(header)}
    )
    for read in (file.header_of, lambda p: file.read(p, "emotag")):
        with pytest.raises(BadFile, match="is no checkpoint of a motion system"):
            read(path)


def test_the_ablation_without_diffusion_runs_as_a_system(tmp_path):
    """Its configuration is the one that the recipe writes; the GRU draws nothing, so two seeds move alike."""
    path, basis = tmp_path / "gru.safetensors", file.shared_basis()
    config = ablated(CONFIG, ABLATIONS, "diffusion")
    torch.manual_seed(0)
    finish(
        path, Both.of(basis.size, config), config, basis, [], system="emodifftalk", supports=EmoDiffTalk.supports,
        native_fps=50.0, head=load_head(), ablate="diffusion",
    )  # fmt: skip
    system = EmoDiffTalk(path)
    assert isinstance(system.net, Recurrent)
    takes = [run_system(system, heard(), dataclasses.replace(QUIET, seed=seed)) for seed in (1, 2)]
    assert np.isfinite(takes[0].arkit).all() and len(takes[0].times) == len(takes[1].times)
    assert np.ptp(takes[0].arkit, axis=0).max() > 1e-3, "the voice moves it"
