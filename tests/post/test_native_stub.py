"""The native module is what its stub says, and small."""

from __future__ import annotations

import ast
import re
import zlib
from pathlib import Path

import pytest

import boxmill
from boxmill import _native

STUB = ast.parse((Path(boxmill.__file__).parent / "_native.pyi").read_text(encoding="utf-8"))
FUNCTIONS = {node.name: node for node in STUB.body if isinstance(node, ast.FunctionDef)}


def native_parameters(name: str) -> dict[str, str]:
    """Names and types as nanobind prints them."""
    signature = getattr(_native, name).__doc__.splitlines()[0]
    inside = signature[len(name) + 1 : signature.rindex(" -> ") - 1]
    parts = re.split(r", (?=\w+: )", inside) if inside else []
    return dict(part.split(": ", 1) for part in parts)


def stub_parameters(name: str) -> dict[str, str]:
    return {one.arg: ast.unparse(one.annotation) for one in FUNCTIONS[name].args.args if one.annotation is not None}


def test_every_function_is_in_the_stub_and_no_other():
    assert {name for name in dir(_native) if not name.startswith("_")} == set(FUNCTIONS)


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_parameters_have_the_same_names_and_order(name):
    assert list(stub_parameters(name)) == list(native_parameters(name))


def holds(native: str, stub: str) -> bool:
    """Whether the bindings' type takes what the stub asks for; the stub may say more."""
    if native == "object":  # read by the bindings themselves
        return True
    if native.startswith("ndarray["):
        return stub == f"npt.NDArray[np.{re.findall('dtype=([a-z0-9]+)', native)[0]}]"
    if native.startswith("collections.abc.Sequence["):
        element = native.removeprefix("collections.abc.Sequence[").removesuffix("]")
        return re.fullmatch(rf"tuple\[{element}(, {element})*\]", stub) is not None
    return native in (stub, stub.split("[")[0], stub.replace("[int, ...]", ""))


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_types_agree(name):
    native = native_parameters(name)
    for parameter, annotation in stub_parameters(name).items():
        assert "None" in native[parameter] or "None" not in annotation, parameter
        assert holds(native[parameter].removesuffix(" | None"), annotation.removesuffix(" | None")), parameter


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_results_agree(name):
    native = getattr(_native, name).__doc__.splitlines()[0].rpartition(" -> ")[2]
    assert holds(native, ast.unparse(FUNCTIONS[name].returns))


def test_module_leaves_room_in_a_wheel_of_one_megabyte():
    """Compressed as in a wheel, and even unstripped."""
    assert len(zlib.compress(Path(_native.__file__).read_bytes())) < 500_000
