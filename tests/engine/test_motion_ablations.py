"""Ablations at one budget: trained once, measured, resumed, and set beside the papers' orders."""

import dataclasses
import json
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from test_emovoca import speaks
from test_motion_nets import clips

from engine.core.errors import BadFile, BadInput
from engine.head.library import load_head
from engine.motion.nets import file
from engine.train import emotalk3d_recipe, motion_recipe
from engine.train import motion_ablations as ablations
from engine.train.motion_data import of_examples

torch.set_num_threads(1)


def figures(lve, uve, mve):
    return {"lve_mm": lve, "uve_mm": uve, "mve_mm": mve}


RESULT = {
    "clips": {"emotag": 8},
    "steps": {"emotag": 250},
    "systems": {
        "emotag": {
            "whole": figures(2.0, 1.0, 3.0), "another seed": figures(2.1, 1.05, 3.15),
            "gate": figures(2.02, 1.01, 3.03), "identity": figures(3.0, 1.5, 4.5), "residual": figures(2.4, 1.2, 3.6),
        }
    },
}  # fmt: skip


def test_what_is_left_out_stands_worst_first_beside_the_papers_words():
    text = ablations.markdown(RESULT, {"emotag: gate": "a reason"})
    rows = [line for line in text.splitlines() if line.startswith("| ") and ("whole" in line or "out" in line)]
    assert [row.split(" | ")[0] for row in rows] == [
        "| whole", "| without identity", "| without residual", "| without gate"
    ]  # fmt: skip
    assert "| without identity | 3.00 | 1.50 | 4.50 | +50 % | worst of all |  |" in text
    assert "| another seed | 2.10 | 1.05 | 3.15 | +5 % |" in text
    assert "+1 %, no more than the seed | third | a reason |" in text


def test_emovocas_orders_are_read_from_its_tables():
    printed = [
        json.dumps({"table": "2", "row": row, "figures": {"high": high}})
        for row, high in (("concat", 0.7), ("sum", 0.8), ("mult", 0.0))
    ]
    claims = ablations.emovoca_rows(["some words", *printed])
    text = ablations.markdown({**RESULT, "systems": {}}, {"joins: legibility at high": "why"}, claims)
    assert "| sum 0.8; concat 0.7; mult 0 | concat, reversed, sum, zero, mult: .82, .76, .72, .69, .66 | why |" in text
    assert "| sets, E-FaceFormer: LVE | not run |" in text


def test_every_part_that_the_papers_leave_out_can_be_left_out():
    for system, recipe in ablations.RECIPES.items():
        assert set(ablations.PAPER[system]) == set(recipe.ABLATIONS)


def test_the_page_keeps_what_stands_around_the_table(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"Head\n{ablations.BEGIN}\nold\n{ablations.END}\nTail\n")
    ablations.write_page(page, "new")
    assert page.read_text() == f"Head\n{ablations.BEGIN}\n\nnew\n\n{ablations.END}\nTail\n"
    page.write_text("nothing")
    with pytest.raises(BadInput, match="no place"):
        ablations.write_page(page, "new")


@pytest.fixture
def data(monkeypatch):
    """A small set in place of SET, which the test may change."""
    pool = of_examples(clips(), file.shared_basis())
    held = {"data": motion_recipe.Data(load_head(), file.shared_basis(), pool, pool)}
    monkeypatch.setattr(emotalk3d_recipe, "gather", lambda *_: held["data"])
    return held


@speaks
def test_runs_are_made_once_and_measured_on_held_out_people(tmp_path, data):
    out = tmp_path / "out"
    first = ablations.run(tmp_path, out, ["emotalk3d"], 10, 1)
    rows = first["systems"]["emotalk3d"]
    assert list(rows) == ["whole", "emotion", "another seed"] and all(row["lve_mm"] > 0 for row in rows.values())
    assert rows["whole"] != rows["another seed"] and rows["whole"] != rows["emotion"]
    stamp = ablations.checkpoint(out, "emotalk3d", "emotion").stat().st_mtime_ns
    assert ablations.run(tmp_path, out) == first, "the folder's own system, steps and clips"
    assert ablations.checkpoint(out, "emotalk3d", "emotion").stat().st_mtime_ns == stamp
    assert ablations.run(tmp_path, out, ["emotalk3d"], 10, 1, again=True) == first, "measured once more"
    for steps, most, said in ((20, 1, "after 10 steps"), (10, 2, "measured on 1 clips")):
        with pytest.raises(BadInput, match=said):
            ablations.run(tmp_path, out, ["emotalk3d"], steps, most)
    text = ablations.markdown(first, {})
    assert "`emotalk3d`, 10 steps each, 1 clips" in text and "`--systems emotalk3d --steps 10 --clips 1`" in text


def ready_folder(out, data, steps=10):
    """A folder that holds checkpoints (of no content: what they hang on is looked at first) and their figures."""
    out.mkdir()
    made: dict[str, dict] = {}
    for row, _, _ in ablations.missing_of("emotalk3d", out, out, steps, made):
        ablations.checkpoint(out, "emotalk3d", row).write_bytes(b"x")
    kept = {"steps": {"emotalk3d": steps}, "clips": {"emotalk3d": 1}, "made": {"emotalk3d": made}}
    kept["systems"] = {"emotalk3d": dict.fromkeys(made, figures(1.0, 1.0, 1.0))}
    (out / "ablations.json").write_text(json.dumps(kept))
    return kept


def test_another_set_recipe_or_head_is_refused(tmp_path, data, monkeypatch):
    out = tmp_path / "out"
    kept = ready_folder(out, data)
    assert ablations.run(tmp_path, out) == kept
    whole = data["data"]

    def refused(said):
        with pytest.raises(BadInput, match=said):
            ablations.run(tmp_path, out)

    pool = dataclasses.replace(whole.train, goal=whole.train.goal + np.float16(0.1))
    data["data"] = dataclasses.replace(whole, train=pool)
    refused(r"whole.safetensors is of another training \(set\): delete it")
    head = dataclasses.replace(whole.head, template=whole.head.template + np.float32(0.001))
    data["data"] = dataclasses.replace(whole, head=head)
    refused(r"\(head\)")
    data["data"] = whole
    with monkeypatch.context() as other:
        other.setitem(emotalk3d_recipe.CONFIG, "width", 99)
        refused(r"\(config\)")
    assert ablations.run(tmp_path, out) == kept
    del kept["made"]["emotalk3d"]["emotion"]
    (out / "ablations.json").write_text(json.dumps(kept))
    refused("it is not known what .*emotion.safetensors was trained on")
    (out / "ablations.json").write_text(json.dumps(kept | {"clips": 8}))
    with pytest.raises(BadFile, match="does not say what was measured"):
        ablations.run(tmp_path, out)


def test_every_recipe_trains_on_what_its_origin_says(tmp_path, data, monkeypatch):
    """The very plan that a recipe makes of its numbers and its set, so that the two cannot drift apart."""
    whole, seen = data["data"], []

    class Seen(Exception):
        pass

    def look(plan, *given):
        seen.append(motion_recipe.of_data(plan, *given).key)
        raise Seen

    lessons = types.SimpleNamespace(pool=whole.train)
    ready = types.SimpleNamespace(data=lessons, held=lessons, head=whole.head, basis=whole.basis, train=whole.train)
    for system, recipe in ablations.RECIPES.items():
        monkeypatch.setattr(recipe, "of_data", look)
        for row, part, seed in ablations.parts_of(system):
            with pytest.raises(Seen):
                recipe.one(ready, tmp_path / f"{system}.safetensors", seed, steps=30, ablate=part)
            found = ablations.origin(system, part, seed, 30, whole.train, whole.head)
            assert {name: found[name] for name in seen[-1]} == seen[-1], (system, row)
            assert set(found) - set(seen[-1]) == {"head"}


def test_the_command_says_what_is_wrong_in_one_line(tmp_path):
    (tmp_path / "ablations.json").write_text('{"steps": {"emotag": 250}, "clips": 8, "systems": {}}')
    script = Path(__file__).resolve().parents[2] / "bench" / "motion_ablations.py"
    done = subprocess.run(
        [sys.executable, script, tmp_path / "set", tmp_path], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1 and done.stdout == "" and len(done.stderr.splitlines()) == 1, done.stderr
    assert "ablations.json" in done.stderr and "another folder" in done.stderr
