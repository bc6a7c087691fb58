"""Key reduction: stated error bounds hold on every sample, closures survive stepping."""

import numpy as np
import pytest

from blender_addon.convert.curves import Keys, fit_bezier, held_indices, reduce, thin_linear


def bezier(keys: Keys, frames):
    """Plain evaluation of Bezier keys by their handles (de Casteljau), the time solved by bisection."""
    out = np.empty(len(frames))
    for n, frame in enumerate(frames):
        i = min(max(int(np.searchsorted(keys.frames, frame, side="right")) - 1, 0), max(len(keys.frames) - 2, 0))
        if frame <= keys.frames[0] or len(keys.frames) == 1:
            out[n] = keys.values[0]
            continue
        p = np.array([
            [keys.frames[i], keys.values[i]], keys.handles[i, 2:], keys.handles[i + 1, :2],
            [keys.frames[i + 1], keys.values[i + 1]],
        ])  # fmt: skip
        low, high = 0.0, 1.0
        for _ in range(60):
            u = (low + high) / 2
            b = np.array([(1 - u) ** 3, 3 * u * (1 - u) ** 2, 3 * u * u * (1 - u), u**3])
            low, high = (u, high) if b @ p[:, 0] < frame else (low, u)
        out[n] = b @ p[:, 1]
    return out


def signals():
    rng = np.random.default_rng(0)
    t = np.arange(200)
    return {
        "sine": np.sin(t / 9),
        "noise": rng.random(200),
        "steps": (t // 20 % 2).astype(float),
        "blink": np.exp(-(((t - 80) / 2.0) ** 2)),
        "ramp": t * 0.01,
    }


@pytest.mark.parametrize("name", signals())
@pytest.mark.parametrize("tolerance", [0.0, 0.004, 0.1])
def test_linear_thinning_stays_within_its_bound(name, tolerance):
    t, y = np.arange(200.0), signals()[name]
    index = thin_linear(t, y, tolerance)
    assert np.abs(np.interp(t, t[index], y[index]) - y).max() <= tolerance + 1e-12
    assert index[0] == 0 and (np.diff(index) > 0).all()


def test_linear_thinning_keeps_little_of_what_is_straight():
    t = np.arange(100.0)
    assert thin_linear(t, 0.3 * t, 1e-9).tolist() == [0, 99]
    assert thin_linear(t, np.full(100, 0.3), 0.0).tolist() == [0]
    assert thin_linear(t, np.minimum(t, 50), 1e-9).tolist() == [0, 50, 99]
    assert thin_linear(np.zeros(0), np.zeros(0), 0.1).tolist() == []
    assert thin_linear(np.zeros(1), np.ones(1), 0.1).tolist() == [0]


@pytest.mark.parametrize("name", signals())
@pytest.mark.parametrize("tolerance", [0.004, 0.05])
def test_bezier_fit_stays_within_its_bound(name, tolerance):
    t, y = np.arange(200.0), signals()[name]
    keys = fit_bezier(t, y, tolerance)
    assert np.abs(bezier(keys, t) - y).max() <= tolerance + 1e-9
    for left, frame, right in zip(keys.handles[:, 0], keys.frames, keys.handles[:, 2], strict=True):
        assert left < frame < right, "handles that cross would fold time"


def test_bezier_fit_is_sparse_where_it_is_smooth():
    t = np.arange(200.0)
    assert len(fit_bezier(t, np.sin(t / 9), 0.004).frames) < 40
    assert len(fit_bezier(t, 0.1 * t, 1e-6).frames) == 2


@pytest.mark.parametrize("mode", ["DENSE", "SPARSE", "LINEAR", "TWOS", "THREES"])
@pytest.mark.parametrize("count", [1, 2, 3, 50])
def test_short_and_still_channels(mode, count):
    frames = np.arange(5, 5 + count)
    still = reduce(frames, np.full(count, 0.25), mode, 0.01)
    assert still.frames.tolist() == [5] and still.values.tolist() == [0.25]
    moving = reduce(frames, np.arange(count) * 0.1, mode, 0.001)
    assert moving.frames[0] == 5 and np.isfinite(moving.values).all()
    if mode == "DENSE":
        assert len(moving.frames) == count


def test_an_unknown_mode_is_refused():
    with pytest.raises(ValueError, match="SPARSE"):
        reduce(np.arange(3), np.arange(3), "FOURS", 0.1)


@pytest.mark.parametrize("step", [2, 3])
def test_held_drawings_show_the_closure_of_their_group(step):
    closure = np.zeros(20)
    closure[[5, 13]] = 1.0
    held = held_indices(20, step, closure)
    assert len(held) == -(-20 // step) and {5, 13} <= set(held.tolist())
    assert (held // step == np.arange(len(held))).all(), "a drawing shows a frame of its own group"
    assert held_indices(20, step).tolist() == list(range(0, 20, step))
