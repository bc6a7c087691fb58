"""The table's rows without a network stand in the order that they must, on held-out voices and people."""

import numpy as np
import pytest

from engine.head.library import load_head
from engine.studio.performances import act, people, script
from engine.studio.speech_corpus import espeak
from engine.train import motion_table

pytestmark = pytest.mark.skipif(not espeak.available(), reason="needs espeak-ng (pip install espeakng-loader)")


@pytest.fixture(scope="module")
def head():
    return load_head()


def test_rows_stand_in_order(head):
    import torch

    torch.set_num_threads(1)
    out = motion_table.run(clips=2)["systems"]
    assert set(out) == {"mean face", "no audio", "direct", "oracle"} and out["direct"]["clips"] == 2
    assert out["oracle"]["lve_mm"] < out["direct"]["lve_mm"] < 0.6 * out["no audio"]["lve_mm"]
    assert out["direct"]["uve_mm"] < 0.6 * out["mean face"]["uve_mm"], "the controls are obeyed"


def test_errors_are_zero_only_for_the_truth(head):
    made = act.perform(script.write(people.person("test", 0), 0), head)
    truth = (made.arkit, made.extra)
    assert all(v == 0 for v in motion_table.errors(truth, truth, head).values())
    late = (np.roll(made.arkit, 5, 0), np.roll(made.extra, 5, 0))
    assert motion_table.errors(truth, late, head)["lve_mm"] > 1
