"""Which classes and functions a pickle names, read from its opcodes: nothing is unpickled, nothing is imported."""

from __future__ import annotations

import io
import pickletools
from dataclasses import dataclass

__all__ = ["Pickle", "scan_pickle"]

_MAX_BYTES = 16 << 20  # the pickle of a large checkpoint has some 2 MB; tensors lie outside it
_MAX_OPCODES = 4_000_000
_TORCH_MAGIC = 0x1950A86A20F9469CFC6C  # the first object of a file that torch.save wrote before 1.6
_STRINGS = frozenset({"SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "UNICODE"})
_PUTS = frozenset({"PUT", "BINPUT", "LONG_BINPUT"})
_GETS = frozenset({"GET", "BINGET", "LONG_BINGET"})

# Harmless in no checkpoint: what a pickle calls when it is loaded.
# Only what no checkpoint of any program holds; the machine that reads YOLOv9's refuses far more (`pickle_machine`).
_DANGEROUS_MODULES = frozenset(
    {"ctypes", "importlib", "nt", "os", "posix", "pty", "runpy", "shutil", "socket", "subprocess", "sys", "webbrowser"}
)
_DANGEROUS_BUILTINS = frozenset({"__import__", "compile", "eval", "exec", "open"})


@dataclass(frozen=True, slots=True)
class Pickle:
    """What a pickle names."""

    names: frozenset[str]  # dotted, as "models.yolo.Detect"
    torch_legacy: bool = False  # written by torch.save before version 1.6

    def dangerous(self) -> list[str]:
        """Names that have no business in a checkpoint; loading the file would call them."""
        return sorted(name for name in self.names if _is_dangerous(name))


def scan_pickle(data: bytes) -> Pickle:
    """The names in up to five pickles that follow each other, as in files of torch.save; a damaged rest is left out."""
    file = io.BytesIO(data[:_MAX_BYTES])
    names: set[str] = set()
    legacy = False
    for index in range(5):
        try:
            first = _scan(file, names)
        except (
            ValueError,
            EOFError,
            IndexError,
            OverflowError,
        ):  # pickletools: bytes that are no opcodes, or cut short
            break
        legacy = legacy or (index == 0 and first == _TORCH_MAGIC)
    return Pickle(frozenset(names), legacy)


def _scan(file: io.BytesIO, names: set[str]) -> object:
    """Adds one pickle's names; returns the first number in it."""
    memo: dict[int, str | None] = {}
    before = last = top = None  # the last two texts, and the text that was pushed just now
    number: object = None
    for count, (opcode, argument, _) in enumerate(pickletools.genops(file)):
        kind = opcode.name
        if count > _MAX_OPCODES:
            raise ValueError("too many opcodes")
        if kind in ("GLOBAL", "INST"):
            names.add(str(argument).replace(" ", "."))
        elif kind == "STACK_GLOBAL":
            names.add(f"{before}.{last}")
        elif kind == "MEMOIZE":
            memo[len(memo)] = top
            continue
        elif kind in _PUTS and isinstance(argument, int):
            memo[argument] = top
            continue
        top = str(argument) if kind in _STRINGS else None
        if kind in _GETS and isinstance(argument, int):
            top = memo.get(argument)
        if top is not None:
            before, last = last, top
        if number is None and isinstance(argument, int) and kind.startswith("LONG"):
            number = argument
    return number


def _is_dangerous(name: str) -> bool:
    module, _, member = name.rpartition(".")
    if module in ("builtins", "__builtin__"):
        return member in _DANGEROUS_BUILTINS
    return module.partition(".")[0] in _DANGEROUS_MODULES
