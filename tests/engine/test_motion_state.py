"""States of motion trainings: resumed by the same line alone, refused where anything differs, gone when done."""

import pytest
import torch
from test_motion_nets import clips

from engine.core.errors import BadFile, BadInput
from engine.head.library import load_head
from engine.motion.nets import file
from engine.train import emotag_adapt, emotalk3d_recipe, motion_recipe
from engine.train.motion_data import of_examples
from engine.train.motion_loop import Plan, train

torch.set_num_threads(1)


class Stop(Exception):
    pass


class StopsAt:
    def __init__(self, step):
        self.at = step

    def step(self, stage, done, total):
        if done == self.at:
            raise Stop


@pytest.fixture
def recipe(monkeypatch):
    """emotalk3d's recipe on a few small clips."""
    pool = of_examples(clips(), file.shared_basis())
    data = motion_recipe.Data(load_head(), file.shared_basis(), pool, pool)
    monkeypatch.setattr(emotalk3d_recipe, "gather", lambda *_: data)
    return emotalk3d_recipe.recipe


def test_a_state_is_resumed_by_the_same_line_and_gone_when_done(recipe, tmp_path):
    out, state = tmp_path / "net.safetensors", tmp_path / "net.state.pt"
    with pytest.raises(Stop):
        recipe(out, tmp_path, steps="14", report=StopsAt(12))
    assert state.is_file() and not out.exists()
    for other, said in (({"steps": "16"}, "steps"), ({"steps": "14", "ablate": "emotion"}, "ablate, config")):
        with pytest.raises(BadFile, match=rf"another training \({said} differ"):
            recipe(out, tmp_path, **other)
    with pytest.raises(BadFile, match=r"\(seed differ"):
        recipe(out, tmp_path, steps="14", seed=1)
    seen = []

    class Notes:
        def step(self, stage, done, total):
            seen.append(done)

    assert recipe(out, tmp_path, steps="14", report=Notes())["step"] == 14
    assert seen == [10, 11, 12, 13] and out.is_file() and not state.exists()
    first = file.read(out, "emotalk3d")
    assert recipe(out, tmp_path, steps="10", ablate="emotion")["step"] == 10, "the finished net is not in the way"
    assert first.header["ablation"] == "" and file.read(out, "emotalk3d").header["ablation"] == "emotion"


def test_another_set_is_another_training():
    pool = of_examples(clips(), file.shared_basis())
    other = of_examples(clips()[:-1], file.shared_basis())
    keys = [motion_recipe.of_data(Plan(10), "x", {"width": 4}, part).key for part in (pool, pool, other)]
    assert keys[0] == keys[1] and keys[0]["set"] != keys[2]["set"]


def test_a_cut_or_foreign_state_is_said(tmp_path):
    net = torch.nn.Linear(2, 1)
    plan = Plan(4, every=2, keep=tmp_path / "a.state.pt")

    def loss(_step):
        return net(torch.ones(1, 2)).square().sum()

    train(net, loss, plan)
    whole = plan.keep.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"no state"):
        plan.keep.write_bytes(damaged)
        with pytest.raises(BadFile, match="not this training's state; delete it"):
            train(net, loss, plan)
    kept = {"net": {"other": torch.ones(1)}, "optimiser": {}, "step": 2, "log": "[]"}
    for foreign in (kept, [1, 2]):
        torch.save(foreign, plan.keep)
        with pytest.raises(BadFile, match="not this training's state; delete it"):
            train(net, loss, plan)
    plan.keep.write_bytes(whole)
    assert len(train(net, loss, plan)) == 2


def test_only_the_first_process_writes_a_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    net, out = torch.nn.Linear(2, 1), tmp_path / "x.safetensors"
    result = motion_recipe.finish(
        out, net, {}, file.shared_basis(), [], system="x", supports=(), native_fps=50.0, head=load_head()
    )
    assert result == {"system": "x", "weights": 3} and not list(tmp_path.iterdir())


def test_seconds_that_are_no_number_are_said(tmp_path):
    for text in ("abc", "nan", "-1", "0"):
        with pytest.raises(BadInput, match="positive number of seconds"):
            emotag_adapt.recipe(tmp_path / "x.safetensors", tmp_path, person="test00", seconds=text)
