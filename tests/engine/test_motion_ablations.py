"""Ablations at one budget: trained once, measured, resumed, and set beside the papers' orders."""

import json

import pytest
import torch
from test_emovoca import speaks
from test_motion_nets import clips

from engine.core.errors import BadInput
from engine.head.library import load_head
from engine.motion.nets import file
from engine.train import emotalk3d_recipe, motion_recipe
from engine.train import motion_ablations as ablations
from engine.train.motion_data import of_examples

torch.set_num_threads(1)


def figures(lve, uve, mve):
    return {"lve_mm": lve, "uve_mm": uve, "mve_mm": mve}


RESULT = {
    "clips": 8,
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


@speaks
def test_runs_are_made_once_and_measured_on_held_out_people(tmp_path, monkeypatch):
    pool = of_examples(clips(), file.shared_basis())
    data = motion_recipe.Data(load_head(), file.shared_basis(), pool, pool)
    monkeypatch.setattr(emotalk3d_recipe, "gather", lambda *_: data)
    first = ablations.run(tmp_path, tmp_path / "out", {"emotalk3d": 10}, 1)
    rows = first["systems"]["emotalk3d"]
    assert list(rows) == ["whole", "emotion", "another seed"] and all(row["lve_mm"] > 0 for row in rows.values())
    assert rows["whole"] != rows["another seed"] and rows["whole"] != rows["emotion"]
    stamp = ablations.checkpoint(tmp_path / "out", "emotalk3d", "emotion").stat().st_mtime_ns
    assert ablations.run(tmp_path, tmp_path / "out", {"emotalk3d": 10}, 1) == first
    assert ablations.checkpoint(tmp_path / "out", "emotalk3d", "emotion").stat().st_mtime_ns == stamp
    with pytest.raises(BadInput, match="after 10 steps"):
        ablations.run(tmp_path, tmp_path / "out", {"emotalk3d": 20}, 1)
    assert "`emotalk3d`, 10 steps each" in ablations.markdown(first, {})
