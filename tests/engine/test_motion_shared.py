"""What the recipes of motion systems share: the basis that ships, ablations by name, and training on two processes."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from engine.core.errors import BadFile, BadInput
from engine.head.library import load_head
from engine.motion.base import get_system
from engine.motion.nets import basis as bases
from engine.motion.nets import file
from engine.train import motion_recipe
from engine.train.motion_loop import Plan, draws, train

torch.set_num_threads(1)


def drawn_faces(count=300, seed=0):
    rng = np.random.default_rng(seed)
    return rng.random((count, bases.CHANNELS)) * rng.random((count, 1))


def test_the_basis_that_ships_is_of_this_head_and_holds_what_faces_do():
    head, basis = load_head(), file.shared_basis()
    assert 8 <= basis.size <= bases.MOST
    gram = basis.out.astype(np.float64) @ bases.shape_rows(head)
    gram = gram @ gram.T / len(head.template)
    assert np.abs(gram - np.eye(basis.size)).max() < 1e-4, "orthonormal in mm over the vertices (float32 factors)"
    moving = np.abs(basis.out).max(0) > 1e-6
    faces = drawn_faces() * moving + basis.mean * ~moving
    assert bases.left_out_mm(head, basis, faces) < bases.ERROR_MM


def test_a_fit_looks_at_every_face():
    head, faces = load_head(), drawn_faces(900) * 0.0
    faces[:, 20] = np.linspace(0, 1, 900)
    faces[7, 30] = 1.0  # one face among many
    assert bases.left_out_mm(head, bases.fit(head, faces), faces) < bases.ERROR_MM


def test_checkpoints_name_the_shared_basis_and_carry_any_other(tmp_path):
    weights = {"a": np.ones((2, 3), np.float32)}
    shared, own = file.shared_basis(), bases.fit(load_head(), drawn_faces())
    for name, basis in (("shared", shared), ("own", own)):
        file.write(tmp_path / name, file.Checkpoint(weights, basis, {"system": "x"}))
        again = file.read(tmp_path / name, "x")
        assert np.array_equal(again.basis.out, basis.out) and np.array_equal(again.tensors["a"], weights["a"])
    assert (tmp_path / "shared").stat().st_size < 1000 < (tmp_path / "own").stat().st_size


def test_a_checkpoint_of_another_basis_is_refused(tmp_path, monkeypatch):
    file.write(tmp_path / "x", file.Checkpoint({}, file.shared_basis(), {"system": "x"}))
    other = bases.fit(load_head(), drawn_faces())
    monkeypatch.setattr(file, "shared_basis", lambda: other)
    with pytest.raises(BadFile, match="train it again"):
        file.read(tmp_path / "x", "x")
    with pytest.raises(BadFile, match="no basis"):
        file.read_basis(tmp_path / "x")


def test_ablations_and_steps_are_checked():
    table = {"emotion": {"use_emotion": False}}
    assert motion_recipe.ablated({"width": 3}, table, "emotion") == {"width": 3, "use_emotion": False}
    assert motion_recipe.ablated({"width": 3}, table) == {"width": 3}
    with pytest.raises(BadInput, match="emotion"):
        motion_recipe.ablated({}, table, "gate")
    for text in ("0", "-3", "many"):
        with pytest.raises(BadInput, match="whole number"):
            motion_recipe.count_of(text)


def test_a_system_is_named_or_named_with_a_checkpoint(tmp_path):
    for name in ("direct@", "direct@x.safetensors", "nobody", "nobody@x"):
        with pytest.raises(BadInput):
            get_system(name)


def test_a_checkpoint_of_your_own_is_offered_with_what_it_obeys(tmp_path, monkeypatch):
    from engine.motion import base

    monkeypatch.setenv("SOLILOQUY_HOME", str(tmp_path))
    monkeypatch.setitem(base.SYSTEMS, "mine", lambda path=None: None)
    assert "mine" not in [row["name"] for row in base.offered()], "no checkpoint, no system"
    own = tmp_path / "motion" / "mine.safetensors"
    own.parent.mkdir()
    file.write(own, file.Checkpoint({}, file.shared_basis(), {"system": "mine", "supports": ["labels"]}))
    row = next(row for row in base.offered() if row["name"] == "mine")
    assert row["obeys"] == ["labels"] and row["after"] == ["intensity", "va", "prompt", "au"]
    own.write_bytes(b"broken")
    row = next(row for row in base.offered() if row["name"] == "mine")
    assert row["obeys"] == [], "a broken file is said to be so when it is used"


def test_each_process_draws_its_own_batches(monkeypatch):
    plan = Plan(10, seed=3)
    first = draws(plan, 5).random(4)
    assert np.array_equal(first, draws(plan, 5).random(4)) and not np.array_equal(first, draws(plan, 6).random(4))
    monkeypatch.setenv("RANK", "1")
    assert not np.array_equal(first, draws(plan, 5).random(4))


WORKER = """
import json, sys
import torch
from engine.train.motion_loop import Plan, processes, rank, train
torch.set_num_threads(1)
torch.manual_seed(0)
net = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
unused = torch.nn.Linear(2, 2)
whole = torch.nn.ModuleList([net, unused])
data = torch.randn(2, 20, 16, 3, generator=torch.Generator().manual_seed(1))

def step_loss(step):
    parts = [rank()] if processes() > 1 else [0, 1]
    missed = [net(data[r, step]) - data[r, step].sum(-1, keepdim=True) for r in parts]
    return torch.stack(missed).square().mean()

log = train(whole, step_loss, Plan(20, rate=1e-2, every=10))
print(json.dumps({"rank": rank(), "rows": len(log), "first": net[0].weight.tolist()}))
"""


@pytest.mark.slow
def test_two_processes_train_as_one_with_both_batches(tmp_path):
    """torchrun on two gloo processes against one process that is given both batches: the same gradients, so the same
    weights but for the order of float32 sums."""
    (tmp_path / "worker.py").write_text(WORKER)
    root = os.getcwd()
    env = {**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1"}
    alone = subprocess.run(
        [sys.executable, tmp_path / "worker.py"], env=env, capture_output=True, text=True, timeout=120, check=True
    )
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    both = subprocess.run([*torchrun, tmp_path / "worker.py"], env=env, capture_output=True, text=True, timeout=240)
    assert both.returncode == 0, both.stderr[-2000:]
    one = json.loads(alone.stdout)
    two = {row["rank"]: row for row in (json.loads(x) for x in both.stdout.splitlines() if x.startswith("{"))}
    assert set(two) == {0, 1} and (one["rows"], two[0]["rows"], two[1]["rows"]) == (2, 2, 0)
    assert two[0]["first"] == two[1]["first"], "both hold the same weights"
    assert np.allclose(one["first"], two[0]["first"], atol=1e-5)


def test_one_process_starts_no_process_group():
    net = torch.nn.Linear(2, 1)
    log = train(net, lambda step: net(torch.ones(1, 2)).square().sum(), Plan(4, every=2))
    assert [row["step"] for row in log] == [2, 4] and not torch.distributed.is_initialized()
