"""Figures of wrinkles: an avatar whose channel folds the skin as the truth does, and its static twin."""

import dataclasses

import numpy as np
import tiny_capture

from engine.avatar import channels, harmonics
from engine.avatar.bind import bind
from engine.head.library import load_head
from engine.train.avatar_data import read_capture
from engine.train.avatar_wrinkles import correlation, wrinkles


def test_folds_are_compared_where_their_muscles_are_active(tmp_path):
    """Truth has a fold that a smile switches on. Against the neutral face skin that only moves resembles truth nearly
    as well (0.79). Against the same face without the fold it has left what a picture file rounds (0.33: correlation
    does not ask how small both are)."""
    head = load_head()
    truth = tiny_capture.spread_with_colour(head)
    made = channels.empty(head, truth.triangle, ("nasolabial",))
    rng = np.random.default_rng(0)
    drawn_on = channels.replace(made[0], colour=rng.normal(0, 0.7, made[0].colour.shape).astype(np.float32))
    truth = channels.replace(truth, channels=(drawn_on,))
    tiny_capture.write(tmp_path, head, truth, size=160, tests=4)
    capture = read_capture(tmp_path, head)
    found = {dynamic: wrinkles(truth, capture, dynamic=dynamic) for dynamic in (True, False)}
    assert found[True]["nasolabial"] > 0.95 and abs(found[False]["nasolabial"]) < 0.5, found
    assert found[True]["moved"] > 0.95 and 0.6 < found[False]["moved"] < 0.88, found
    assert found[True]["pictures"] >= 2 and set(found[True]) == {"nasolabial", "mean", "moved", "pictures"}
    for split, gone in (("smooth", {"nasolabial", "mean"}), ("rest", {"moved"})):
        less = wrinkles(truth, dataclasses.replace(capture, views={**capture.views, split: []}))
        assert set(less) == set(found[True]) - gone
    assert wrinkles(truth, dataclasses.replace(capture, views={**capture.views, "smooth": [], "rest": []})) == {}


def test_flat_pictures_have_no_correlation():
    flat = np.zeros((5, 5))
    bumpy = np.random.default_rng(0).random((5, 5))
    everywhere = flat == 0
    assert correlation(flat, bumpy, everywhere) == 0 and abs(correlation(bumpy, bumpy, everywhere) - 1) < 1e-9
    assert abs(correlation(-bumpy, bumpy, everywhere) + 1) < 1e-9


def test_what_a_channel_never_shows_is_left_out_and_comes_back():
    """A shipped file carries no zeros; training goes on from it with every Gaussian of the zones."""
    head = load_head()
    avatar = tiny_capture.spread_with_colour(head)
    rng, made = np.random.default_rng(3), []
    for channel in channels.empty(head, avatar.triangle):
        colour = rng.normal(0, 0.5, channel.colour.shape) * (rng.random(len(channel.rows)) < 0.4)[:, None]
        made.append(channels.replace(channel, colour=colour.astype(np.float32)))
    avatar = channels.replace(avatar, channels=tuple(made))
    small = channels.pruned(avatar)
    rows = {c.name: (len(c.rows), len(d.rows)) for c, d in zip(avatar.channels, small.channels, strict=True)}
    assert all(0 < less < 0.6 * all_ for all_, less in rows.values() if all_ > 20), rows
    weights = np.full(channels.COUNT, 0.7, np.float32)
    gaussians = bind(avatar, head.triangles, head.template)
    gap = channels.coloured(avatar, gaussians, weights).sh - channels.coloured(small, gaussians, weights).sh
    shared = np.bincount(np.concatenate([c.rows for c in avatar.channels]), minlength=len(avatar))
    assert (np.abs(gap).max((1, 2)) * harmonics.Y0 <= shared * channels.FAINT + 1e-6).all(), "half a step a channel"
    again = channels.widened(small, head)
    for before, less, after in zip(avatar.channels, small.channels, again.channels, strict=True):
        assert after.name == before.name and np.array_equal(after.rows, before.rows)
        kept = np.isin(before.rows, less.rows)
        assert np.array_equal(after.colour[kept], before.colour[kept]) and not after.colour[~kept].any()
    bare = channels.replace(avatar, channels=())
    assert [len(c.rows) for c in channels.widened(bare, head).channels] == [len(c.rows) for c in avatar.channels]
