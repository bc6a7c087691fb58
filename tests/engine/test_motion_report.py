"""The table of motion systems as data and as a page: pieces join, bars are printed, papers' words stand beside ours."""

import json

import pytest
from typer.testing import CliRunner

from engine.cli import app
from engine.core.errors import BadInput
from engine.train import motion_report as report


def row(lve, **more):
    names = ("lve_mm", "uve_mm", "mve_mm", "lve_mean_mm", "uve_mean_mm", "mve_mean_mm")
    return dict.fromkeys(names, lve) | {"clips": 4, **more}


BARS = {"over_no_audio": 0.4, "over_wrong_label": 0.25, "over_other_clip": 0.35}


def result(**systems):
    return {"clips": 4, "systems": {"direct": row(2.0, closure=0.9, legibility=None), **systems}}


def test_the_page_holds_what_was_measured(tmp_path):
    page = tmp_path / "p.md"
    page.write_text(f"# Head\n\n{report.BEGIN}\nold\n{report.END}\n\nTail\n")
    cut = {"emotalk3d@/somewhere/cut.safetensors": row(3.0, ablation="emotion")}
    report.write_page(page, result(emotalk3d=row(1.5, ablation="", **BARS), **cut))
    text = page.read_text()
    assert text.startswith("# Head") and text.rstrip().endswith("Tail")
    assert "old" not in text and "/somewhere" not in text
    assert "| emotalk3d | 1.50 |" in text and "| emotalk3d | 0.40 | 0.25 | 0.35 |" in text
    assert "| emotalk3d: emotion | 3.00 | 3.00 | LMD 3.6 with, 5.6 without: worse |" in text
    assert "| emotalk3d without emotion | 3.00 |" in text and "strong" not in text, "what nobody measured is no column"
    assert "/somewhere" not in page.with_suffix(".json").read_text()


def test_a_table_is_made_system_by_system(tmp_path):
    page = tmp_path / "p.md"
    cut = {"emotalk3d@/x.safetensors": row(3.0, ablation="emotion")}
    report.write_page(page, result(emotalk3d=row(1.5, **BARS), **cut))
    report.write_page(page, result(emotag=row(1.7, **BARS)))
    report.write_page(page, result(emotalk3d=row(1.4, **BARS)))
    report.write_page(page, {"clips": 4, "systems": {"direct": row(2.0, closure=None)}})
    text = page.read_text()
    assert text.count("| emotalk3d | 1.40") == 1 and "| emotag | 1.70" in text and "1.50" not in text
    assert "| emotalk3d: emotion | 3.00" in text, "ablations stay"
    assert "| 0.90 |" in text, "closure stays where a piece did not measure it"
    names = list(json.loads(page.with_suffix(".json").read_text())["systems"])
    assert names[0] == "direct" and names.count("direct") == 1
    with pytest.raises(BadInput, match="--clips"):
        report.write_page(page, {**result(), "clips": 5})


def test_speed_of_one_system_by_name():
    ran = CliRunner().invoke(app, ["bench", "motion", "--systems", "direct", "--json"])
    assert ran.exit_code == 0, ran.output
    systems = json.loads(ran.stdout)["systems"]
    assert list(systems) == ["direct"] and systems["direct"]["x_realtime"] > 1 and systems["direct"]["cpu_s"] > 0


def test_a_system_that_is_not_there_is_a_sentence():
    ran = CliRunner().invoke(app, ["bench", "motion", "--systems", "nobody"])
    assert ran.exit_code and "nobody" in str(ran.exception)
