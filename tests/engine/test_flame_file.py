"""FLAME model files: both forms, both ways of naming the version, and every bad file refused with a sentence."""

import os
import pickle
import sys

import flame_like
import numpy as np
import pytest

from engine.core.errors import BadFile, BadInput
from engine.head.flame.file import looks_like_flame, read_flame


@pytest.fixture(scope="module")
def fields():
    return flame_like.random_model()


@pytest.fixture(scope="module")
def small(fields):
    """The same with float32 bases: quick to write again and again."""
    return {name: a.astype(np.float32) if a.dtype == np.float64 else a for name, a in fields.items()}


def changed(small, tmp_path, **replaced):
    path = tmp_path / "flame2020.npz"
    flame_like.write_npz(path, {name: a for name, a in {**small, **replaced}.items() if a is not None})
    return path


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_a_pickle_is_read_as_data(fields, tmp_path, protocol):
    """chumpy objects, a sparse regressor and plain arrays come out as they went in; chumpy need not be installed."""
    path = tmp_path / "generic_model.pkl"
    flame_like.write_pickle(path, fields, protocol=protocol)
    model = read_flame(path)
    assert "chumpy" not in sys.modules and model.version == "2020"
    assert np.array_equal(model.template, fields["v_template"])
    assert np.array_equal(model.triangles, fields["f"])
    assert np.array_equal(np.concatenate([model.identity, model.expression], 2), fields["shapedirs"])
    assert np.array_equal(model.posedirs, fields["posedirs"])
    assert np.abs(model.regressor - fields["J_regressor"]).max() < 1e-15
    assert np.array_equal(model.weights, fields["weights"])


def test_an_archive_and_its_version(small, tmp_path):
    path = changed(small, tmp_path)
    assert looks_like_flame(path) and read_flame(path).version == "2020"
    for name, version in (
        ("flame2023_Open.npz", "2023-open"), ("FLAME2023_no_jaw.npz", "2023-no-jaw"), ("flame2023.npz", "2023"),
        ("FLAME2020.npz", "2020"), ("female_model.npz", "2020"),
    ):  # fmt: skip
        assert read_flame(path.rename(path.with_name(name))).version == version
        path = path.with_name(name)


def test_a_version_that_is_not_known_must_be_said(small, tmp_path):
    path = changed(small, tmp_path).rename(tmp_path / "my_head.npz")
    with pytest.raises(BadInput, match=r"add --version \(2020, 2023"):
        read_flame(path)
    assert read_flame(path, "2023").version == "2023"
    with pytest.raises(BadInput, match="no FLAME version"):
        read_flame(path, "2019")
    with pytest.raises(BadInput, match="2023-open by its own word, not 2020"):
        read_flame(path.rename(tmp_path / "flame2023_open.npz"), "2020")


class Gadget:
    """What a malicious pickle holds: a call that runs while it is read."""

    def __init__(self, call, *args):
        self.call, self.args = call, args

    def __reduce__(self):
        return self.call, self.args


def gadgets(mark):
    yield "posix.system|nt.system", Gadget(os.system, f"echo x > {mark}")
    yield "(builtins|__builtin__).eval", Gadget(eval, f"open({str(mark)!r}, 'w').close()")
    yield "(_io|io|builtins|__builtin__).open", Gadget(open, str(mark), "w")
    yield "(builtins|__builtin__).getattr", Gadget(getattr, "x", "format")
    yield "numpy.load|numpy.lib", Gadget(np.load, str(mark))


@pytest.mark.parametrize("number", range(5))
@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_a_pickle_that_would_run_something_is_refused_and_does_not_run(small, tmp_path, number, protocol):
    mark = tmp_path / "it_ran"
    name, gadget = list(gadgets(mark))[number]
    path = tmp_path / "generic_model.pkl"
    with open(path, "wb") as file:
        pickle.dump({"v_template": small["v_template"], "extra": [{"deep": gadget}]}, file, protocol=protocol)
    with pytest.raises(BadFile, match=f"names ({name}).*not run"):
        read_flame(path)
    assert not mark.exists()


@pytest.mark.parametrize(
    "stream",
    [
        # BUILD on a class: replaces a class's attributes in the standard unpickler.
        b"cchumpy.ch\nCh\n(N}X\x0b\x00\x00\x00__setstate__X\x01\x00\x00\x00xstb.",
        # copy_reg._reconstructor of something that is no permitted class.
        b"ccopy_reg\n_reconstructor\n(I1\nI2\nNtR.",
        b"Pid\n.",  # a persistent object
        b"(lp0\n.",  # a list
        b"\x80\x02}q\x00.",  # an empty dictionary
        b"",
        b"not a pickle at all",
    ],
)
def test_odd_streams_are_refused(tmp_path, stream):
    path = tmp_path / "generic_model.pkl"
    path.write_bytes(stream)
    with pytest.raises(BadFile):
        read_flame(path)


def test_a_truncated_pickle_is_refused(fields, tmp_path):
    path = tmp_path / "generic_model.pkl"
    flame_like.write_pickle(path, {"f": fields["f"], "J_regressor": fields["J_regressor"]}, chumpy=())
    whole = path.read_bytes()
    for part in (0.1, 0.5, 0.999):
        path.write_bytes(whole[: int(part * len(whole))])
        with pytest.raises(BadFile, match="no readable FLAME pickle"):
            read_flame(path)


@pytest.mark.parametrize(
    "name, value, says",
    [
        ("posedirs", None, "no field 'posedirs'"),
        ("v_template", np.zeros((5143, 3)), r"'v_template' must be \[5023, 3\]"),
        ("shapedirs", np.zeros((5023, 3, 150)), r"must be \[5023, 3, 400\]"),
        ("weights", np.full((5023, 5), 0.3), "must sum to 1"),
        ("J_regressor", np.zeros((5, 5023)), "must sum to 1"),
        ("kintree_table", np.array([[-1, 0, 1, 2, 3], [0, 1, 2, 3, 4]]), "hang on"),
        ("f", np.full((9976, 3), 5023), "vertices that it does not have"),
        ("v_template", np.full((5023, 3), "x"), "must be"),
    ],
)
def test_fields_that_do_not_fit_are_refused(small, tmp_path, name, value, says):
    with pytest.raises(BadFile, match=says):
        read_flame(changed(small, tmp_path, **{name: value}))


@pytest.mark.parametrize("name", ["v_template", "expression", "weights"])
def test_values_that_are_not_finite_are_refused(small, tmp_path, name):
    name = "shapedirs" if name == "expression" else name
    broken = small[name].copy()
    broken.flat[7] = np.nan
    with pytest.raises(BadFile, match="not finite"):
        read_flame(changed(small, tmp_path, **{name: broken}))


def test_millimetres_objects_and_other_files_are_refused(small, tmp_path):
    with pytest.raises(BadFile, match="not in metres"):
        read_flame(changed(small, tmp_path, v_template=1000 * small["v_template"]))
    path = tmp_path / "flame2023.npz"
    np.savez(path, v_template=np.array([Gadget(print, "x")], object), allow_pickle=True)
    with pytest.raises(BadFile, match="plain arrays"):
        read_flame(path)
    for missing in (tmp_path / "flame2023.pkl", tmp_path / "generic_model.npz"):
        missing.unlink(missing_ok=True)
        with pytest.raises(BadFile, match="no such file"):
            read_flame(missing)
    other = tmp_path / "flame2023.obj"
    other.write_text("v 0 0 0\n")
    with pytest.raises(BadFile, match=r"\.pkl or \.npz"):
        read_flame(other)
