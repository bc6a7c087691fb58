"""Clock, names, files and take round trip."""

import json
from fractions import Fraction

import numpy as np
import pytest

from engine.core import names
from engine.core.clock import FrameClock, parse_fps
from engine.core.errors import BadFile, BadInput, Cancelled
from engine.core.files import read_archive, replacing, writable, write_archive
from engine.core.progress import Reporter
from engine.core.take import FlameTrack, Take
from engine.core.takefile import read_take, write_take
from engine.core.units import TO_BLENDER, from_blender, linear_to_srgb, srgb_to_linear, to_blender


@pytest.mark.parametrize(
    "text, exact",
    [("23.976", (24000, 1001)), ("23.98", (24000, 1001)), (29.97, (30000, 1001)), (25, (25, 1)), ("24", (24, 1)),
     ("30000/1001", (30000, 1001)), ("59.94", (60000, 1001)), ("12.5", (25, 2))],
)  # fmt: skip
def test_frame_rates_are_exact(text, exact):
    assert parse_fps(text) == Fraction(*exact)


@pytest.mark.parametrize("text", ["fast", "0", "-25", "1e9", "nan", "1/0", ""])
def test_bad_frame_rates_are_refused(text):
    with pytest.raises(BadInput):
        parse_fps(text)


@pytest.mark.parametrize("fps", ["23.976", "25", "30", "60"])
def test_frames_cover_the_voice_and_not_more(fps):
    clock = FrameClock.of(fps)
    for duration in (0.05, 1.0, 10.01, 3600.0):
        count = clock.count(duration)
        assert (count - 1) / clock.fps < duration <= count / clock.fps + Fraction(1, 10**6)
    assert clock.times(3)[2] == pytest.approx(float(2 / clock.fps))


def test_the_two_public_sets_of_17_differ_in_one_name():
    assert set(names.PAPER17) ^ set(names.OPENFACE17) == {"AU20", "AU24"}
    assert len(names.PAPER17) == len(names.OPENFACE17) == 17


def test_axes_there_and_back():
    points = np.random.default_rng(0).normal(size=(5, 3))
    assert np.array_equal(from_blender(to_blender(points)), points)
    assert np.allclose(to_blender(points), points @ TO_BLENDER.T)
    assert np.linalg.det(TO_BLENDER) == pytest.approx(1.0)


def test_srgb_agrees_with_the_standard():
    # IEC 61966-2-1: 18 % grey is 0.4614 in display values; both ends and the knee are fixed points of the pair.
    assert linear_to_srgb(np.array(0.18)) == pytest.approx(0.46136, abs=1e-4)
    values = np.linspace(0, 1, 1001)
    assert np.allclose(linear_to_srgb(srgb_to_linear(values)), values, atol=1e-6)


def test_a_failed_write_leaves_the_old_file(tmp_path):
    target = tmp_path / "kept.json"
    target.write_text("old")
    with pytest.raises(RuntimeError), replacing(target) as part:
        part.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old" and list(tmp_path.iterdir()) == [target]


def test_archives_refuse_what_they_are_not(tmp_path):
    good = tmp_path / "a.npz"
    write_archive(good, "take", 3, {"x": np.arange(3)}, {"note": "ü"})
    arrays, meta = read_archive(good, "take", 3)
    assert meta["note"] == "ü" and arrays["x"].tolist() == [0, 1, 2]
    with pytest.raises(BadFile, match="newer"):
        read_archive(good, "take", 2)
    with pytest.raises(BadFile, match="not a head"):
        read_archive(good, "head", 3)
    with pytest.raises(BadFile, match="no such file"):
        read_archive(tmp_path / "missing.npz", "take", 1)
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(BadFile):
        read_archive(tmp_path / "text.npz", "take", 1)
    np.savez(tmp_path / "pickle.npz", x=np.array([{}], object))
    with pytest.raises(BadFile):
        read_archive(tmp_path / "pickle.npz", "take", 1)
    good.write_bytes(good.read_bytes()[:-40])
    with pytest.raises(BadFile):
        read_archive(good, "take", 3)


def small_take(frames=4, seed=0):
    rng = np.random.default_rng(seed)
    flame = FlameTrack(
        "default-head-1", np.zeros(0, np.float32), rng.random((frames, 5), np.float32),
        rng.random((frames, 15), np.float32), np.zeros((frames, 3), np.float32), rng.random((frames, 2), np.float32),
    )  # fmt: skip
    return Take(
        fps=Fraction(24000, 1001), first_frame=101, au=rng.random((frames, 18, 2), np.float32),
        arkit=rng.random((frames, 52), np.float32), extra=rng.random((frames, 7), np.float32), flame=flame,
        drive={"emotion": rng.random((frames, 14), np.float32), "audio": rng.random((frames, 64)).astype(np.float16)},
        residual_mm={"flame": 0.1}, meta={"head": "default", "seed": 3},
    )  # fmt: skip


def test_a_take_comes_back_as_it_was(tmp_path):
    take = small_take()
    write_take(tmp_path / "take.npz", take)
    back = read_take(tmp_path / "take.npz")
    for name in ("au", "arkit", "extra"):
        assert np.array_equal(getattr(back, name), getattr(take, name))
    assert np.array_equal(back.flame.pose, take.flame.pose) and np.array_equal(back.drive["audio"], take.drive["audio"])
    assert (back.fps, back.first_frame, back.meta, back.residual_mm) == (
        take.fps, take.first_frame, take.meta, take.residual_mm,
    )  # fmt: skip


def test_a_take_with_a_missing_part_is_called_damaged(tmp_path):
    take = small_take()
    write_take(tmp_path / "take.npz", take)
    with np.load(tmp_path / "take.npz") as data:
        arrays = {k: data[k] for k in data.files if k != "flame.pose"}
    np.savez(tmp_path / "take.npz", **arrays)
    with pytest.raises(BadFile, match="damaged take"):
        read_take(tmp_path / "take.npz")


def test_takes_must_be_finite_and_of_one_length():
    take = small_take()
    bad = take.arkit.copy()
    bad[0, 0] = np.nan
    with pytest.raises(BadInput, match="arkit"):
        Take(take.fps, 1, take.au, bad, take.extra, take.flame)
    with pytest.raises(BadInput, match="au"):
        Take(take.fps, 1, take.au[:-1], take.arkit, take.extra, take.flame)


def test_a_reporter_stops_the_job():
    asked = iter([False, True])
    report = Reporter(cancelled=lambda: next(asked))
    report.step("a", 0, 2)
    with pytest.raises(Cancelled):
        report.step("a", 1, 2)


def test_json_of_archives_is_not_pickle(tmp_path):
    write_archive(tmp_path / "a.npz", "take", 1, {}, {"k": [1, 2]})
    with np.load(tmp_path / "a.npz", allow_pickle=False) as data:
        assert json.loads(data["meta"].tobytes())["k"] == [1, 2]


def test_any_flipped_byte_is_seen_or_harmless(tmp_path):
    path = tmp_path / "a.npz"
    write_archive(path, "take", 1, {"x": np.arange(40, dtype=np.float32)}, {"note": "n"}, compressed=True)
    whole = path.read_bytes()
    refused = 0
    for at in range(0, len(whole), 3):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
        try:
            arrays, _ = read_archive(path, "take", 1)
            # (A name in the zip's directory may be hit: then an entry lacks, which each kind's reader refuses.)
            assert "x" not in arrays or np.array_equal(arrays["x"], np.arange(40))
        except BadFile:
            refused += 1
    assert refused > len(whole) // 6


def test_targets_are_checked_before_any_work(tmp_path):
    (tmp_path / "file").write_text("x")
    for bad in (tmp_path, tmp_path / "file" / "x.npz", ""):
        with pytest.raises(BadFile):
            writable(bad)
    assert writable(tmp_path / "new" / "x.npz").parent.is_dir()
