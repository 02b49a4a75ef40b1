"""A pickle machine that cannot call anything: classes become inert records, and a few exact names get a meaning.

It has the binary opcodes that Python's pickler writes for protocols 2 to 5; every other opcode, the text ones of
protocol 0 among them, is refused. What a class or function of the pickle would have done is kept as its name and its
arguments (`Record`). The formats of the opcodes are those that `pickletools` documents.

Memory is bounded by the opcodes: none of them makes more than one object, the largest an empty set of 216 bytes, and
nothing is copied that can be recalled from the memo; sets made of lists are counted.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from boxmill.errors import ModelError

__all__ = ["MAX_BYTES", "Global", "Machine", "Record", "describe", "refusal"]

MAX_BYTES: Final = 8 << 20  # of a pickle; that of yolov9-e has about 0.55 MB, because tensors lie outside it
MAX_OPCODES: Final = 1_000_000  # that of yolov9-e has 230,000, and twice that before training strips its optimizer
_MAX_MARKS = 512
_MAX_NAMES = 4096
_MAX_NAME = 256
_STOP = object()

# Of Python's own modules a checkpoint may name these; they stay inert, too.
_HARMLESS = frozenset(
    {
        *(f"{module}.{name}" for module in ("builtins", "__builtin__") for name in ("set", "frozenset", "object")),
        *(f"pathlib{part}.{kind}Path" for part in ("", "._local") for kind in ("", "Posix", "Windows")),
        *(f"datetime.{name}" for name in ("date", "datetime", "time", "timedelta", "timezone")),
        "_codecs.encode",
        "argparse.Namespace",
        "collections.OrderedDict",
        "types.SimpleNamespace",
    }
)
# Functions that a checkpoint may call. Any other call is of a class, whose name begins with a capital letter.
_FUNCTIONS = frozenset(
    {
        *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("scalar", "_reconstruct")),
        *(f"datetime.{name}" for name in ("date", "datetime", "time", "timedelta", "timezone")),
        "_codecs.encode",
        "builtins.frozenset",
        "__builtin__.frozenset",
        "numpy.dtype",
        "torch.device",
    }
)
_PYTHON_2 = frozenset({"__builtin__", "commands", "copy_reg", "cPickle", "exceptions", "popen2", "urllib2"})
_BUILTIN_MODULES = sys.stdlib_module_names | _PYTHON_2


@dataclass(frozen=True, slots=True, eq=False)
class Global:
    """A class or function that the pickle names, never looked up."""

    name: str  # dotted: "torch.FloatStorage"


@dataclass(slots=True, eq=False, repr=False)
class Record:
    """What would have been an object: the class that would have been called, with what, and its state."""

    name: str
    args: tuple[Any, ...]
    state: Any = None


def refusal(name: str) -> str | None:
    """Why no checkpoint may name this class or function; None where it may."""
    if name.partition(".")[0] in _BUILTIN_MODULES and name not in _HARMLESS:
        return f"it calls {name}, which no checkpoint needs"
    return None


def describe(value: object) -> str:
    """A value of a pickle for a message: short whatever it is, and without following what it holds."""
    if isinstance(value, str):
        return repr(value[:64])
    if value is None or isinstance(value, bool | int | float):
        return str(value)[:64]
    if isinstance(value, Record):
        return f"an object of {value.name}"
    return value.name if isinstance(value, Global) else f"a {type(value).__name__}"


@dataclass(slots=True, eq=False, repr=False)
class Machine:
    """Runs one pickle.

    `meanings` gives calls of exact names a meaning: from the arguments to a value. `persistent` turns a persistent id,
    as torch.save writes for storages, into a value. Both raise ModelError for what they do not accept.
    """

    data: bytes
    meanings: Mapping[str, Callable[[tuple[Any, ...]], object]]
    persistent: Callable[[object], object]
    called: dict[str, None] = field(default_factory=dict)  # names in the order of their first call
    _position: int = 0
    _stack: list[Any] = field(default_factory=list)
    _below: list[list[Any]] = field(default_factory=list)  # the stacks under the marks
    _memo: dict[int, Any] = field(default_factory=dict)
    _globals: dict[str, Global] = field(default_factory=dict)
    _copied: int = 0  # elements of sets made of lists, the only values that opcodes can multiply

    def load(self) -> object:
        """The pickle's value.

        Raises:
            ModelError: the pickle is damaged, or holds what no checkpoint needs.
        """
        data, opcodes = self.data, _OPCODES
        if len(data) > MAX_BYTES:
            raise ModelError(f"its pickle has {len(data)} bytes, expected at most {MAX_BYTES}")
        if data[:1] != b"\x80":
            raise ModelError("its pickle does not begin with a protocol of 2 or later")
        try:
            for _ in range(MAX_OPCODES):
                code = data[self._position]
                self._position += 1
                if opcodes[code](self) is _STOP:
                    return self._finish()
        except (IndexError, struct.error):  # an empty stack, or the data at an end
            raise ModelError(f"its pickle is damaged or cut short at byte {self._position}") from None
        except UnicodeDecodeError:
            raise ModelError(f"a text in its pickle is no UTF-8, at byte {self._position}") from None
        raise ModelError(f"its pickle has more than {MAX_OPCODES} opcodes")

    def _finish(self) -> object:
        value = self._stack.pop()
        if self._stack or self._below or self._position != len(self.data):
            raise ModelError("its pickle goes on after its value")
        return value

    # reading

    def _take(self, count: int) -> bytes:
        start = self._position
        self._position = start + count
        if self._position > len(self.data):
            raise ModelError(f"its pickle is cut short at byte {start}: {count} more bytes are announced")
        return self.data[start : self._position]

    def _number(self, layout: struct.Struct) -> Any:
        (value,) = layout.unpack_from(self.data, self._position)
        self._position += layout.size
        return value

    def _line(self) -> str:
        end = self.data.find(b"\n", self._position, self._position + _MAX_NAME)
        if end < 0:
            raise ModelError(f"its pickle has a name without an end, at byte {self._position}")
        text = self.data[self._position : end].decode()
        self._position = end + 1
        return text

    # values

    def _put(self, index: int) -> None:
        if index >= MAX_OPCODES:
            raise ModelError(f"its pickle remembers number {index}, expected fewer than {MAX_OPCODES}")
        self._memo[index] = self._stack[-1]

    def _get(self, index: int) -> None:
        if index not in self._memo:
            raise ModelError(f"its pickle recalls number {index}, which it has not remembered")
        self._stack.append(self._memo[index])

    def _mark(self) -> None:
        if len(self._below) >= _MAX_MARKS:
            raise ModelError(f"its pickle nests more than {_MAX_MARKS} deep")
        self._below.append(self._stack)
        self._stack = []

    def _marked(self) -> list[Any]:
        items = self._stack
        self._stack = self._below.pop()
        return items

    def _tuple(self, count: int) -> None:
        if len(self._stack) < count:
            raise IndexError
        self._stack[len(self._stack) - count :] = [tuple(self._stack[len(self._stack) - count :])]

    def _extend(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if type(target) is not list:
            raise ModelError(f"its pickle appends to {describe(target)}, expected a list")
        target.extend(items)

    def _update(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if type(target) is not dict or len(items) % 2:
            raise ModelError(f"its pickle puts {len(items)} keys and values into {describe(target)}")
        for index in range(0, len(items), 2):
            target[_key(items[index])] = items[index + 1]

    def _add(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if type(target) is not set:
            raise ModelError(f"its pickle adds to {describe(target)}, expected a set")
        target.update(map(_key, items))

    # classes and functions

    def _global(self, module: str, name: str) -> None:
        dotted = f"{module}.{name}"
        known = self._globals.get(dotted)
        if known is None:
            if not name.isidentifier() or not all(map(str.isidentifier, module.split("."))) or not dotted.isascii():
                raise ModelError(f"its pickle names {dotted[:_MAX_NAME]!r}, which is no class of a module")
            if len(self._globals) >= _MAX_NAMES or len(dotted) > _MAX_NAME:
                raise ModelError(f"its pickle names more than {_MAX_NAMES} classes, or one at too great a length")
            why = refusal(dotted)
            if why is not None:
                raise ModelError(f"{why}; get the model from a source that you trust")
            known = self._globals[dotted] = Global(dotted)
        self._stack.append(known)

    def _stack_global(self) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        if type(name) is not str or type(module) is not str:
            raise ModelError(f"its pickle names a class by {describe(module)} and {describe(name)}, expected two texts")
        self._global(module, name)

    def _call(self, *, new: bool) -> None:
        """REDUCE, and NEWOBJ where `new`: nothing is called, but for the exact names in `meanings`."""
        args, called = self._stack.pop(), self._stack.pop()
        if type(called) is not Global or type(args) is not tuple:
            raise ModelError(f"its pickle calls {describe(called)} with {describe(args)}, expected a class and a tuple")
        name = called.name
        self.called[name] = None
        meaning = None if new else self.meanings.get(name)
        if meaning is not None:
            self._stack.append(meaning(args))
        elif new or name in _FUNCTIONS or name.rpartition(".")[2][:1].isupper():
            self._stack.append(Record(name, args))
        elif name in ("builtins.set", "__builtin__.set"):
            self._stack.append(self._set(args))
        else:
            raise ModelError(
                f"it calls the function {name}, which no checkpoint needs; get the model from a source that you trust"
            )

    def _set(self, args: tuple[Any, ...]) -> set[Any]:
        if len(args) != 1 or type(args[0]) is not list:
            raise ModelError("its pickle makes a set of something else than a list")
        self._copied += len(args[0])
        if self._copied > MAX_OPCODES:
            raise ModelError(f"its pickle makes sets of more than {MAX_OPCODES} elements")
        return set(map(_key, args[0]))

    def _build(self) -> None:
        state, target = self._stack.pop(), self._stack[-1]
        if type(target) is dict and type(state) is dict:
            return  # attributes of an OrderedDict, such as the versions beside a state dict
        if type(target) is not Record or target.state is not None:
            raise ModelError(f"its pickle sets the state of {describe(target)}, expected a new object")
        target.state = state

    def _persistent(self) -> None:
        self._stack.append(self.persistent(self._stack.pop()))


def _key(value: object) -> object:
    """Keys of other types are refused: their hashes can be chosen so that a dictionary takes quadratic time."""
    if type(value) in (str, bool, type(None)) or (type(value) is int and abs(value) < 1 << 31):
        return value
    raise ModelError(f"its pickle has {describe(value)} as a key, expected a text or a whole number of 32 bits")


def _push(value: object) -> Callable[[Machine], object]:
    return lambda machine: machine._stack.append(value)


def _number(layout: str) -> Callable[[Machine], object]:
    compiled = struct.Struct(layout)
    return lambda machine: machine._stack.append(machine._number(compiled))


def _text(layout: str) -> Callable[[Machine], object]:
    compiled = struct.Struct(layout)
    return lambda machine: machine._stack.append(machine._take(machine._number(compiled)).decode())


def _raw(layout: str) -> Callable[[Machine], object]:
    compiled = struct.Struct(layout)
    return lambda machine: machine._stack.append(machine._take(machine._number(compiled)))


def _protocol(machine: Machine) -> None:
    protocol = machine._take(1)[0]
    if machine._position != 2 or not 2 <= protocol <= 5:
        raise ModelError(f"its pickle has protocol {protocol}, expected 2 to 5 and at the beginning")


def _frame(machine: Machine) -> None:
    length = machine._number(_UINT64)
    if length > len(machine.data) - machine._position:
        raise ModelError(f"its pickle is cut short: a frame of {length} bytes is announced")


def _long(machine: Machine) -> None:
    raw = machine._take(machine._take(1)[0])
    machine._stack.append(int.from_bytes(raw, "little", signed=True))


def _gather(make: Callable[[list[Any]], object]) -> Callable[[Machine], object]:
    def gather(machine: Machine) -> None:
        items = machine._marked()  # before the stack is looked up: it is another one then
        machine._stack.append(make(items))

    return gather


def _refuse(code: int) -> Callable[[Machine], object]:
    def refuse(machine: Machine) -> object:
        raise ModelError(
            f"its pickle has the opcode 0x{code:02x} at byte {machine._position - 1}, which is not allowed"
        )

    return refuse


def _drop(machine: Machine) -> None:
    machine._stack.pop()


_UINT8, _UINT32, _UINT64 = struct.Struct("<B"), struct.Struct("<I"), struct.Struct("<Q")
_ALLOWED: Mapping[bytes, Callable[[Machine], object]] = {
    b"\x80": _protocol,
    b"\x95": _frame,
    b".": lambda machine: _STOP,
    b"N": _push(None),
    b"\x88": _push(True),
    b"\x89": _push(False),
    b"J": _number("<i"),
    b"K": _number("<B"),
    b"M": _number("<H"),
    b"G": _number(">d"),
    b"\x8a": _long,
    b"X": _text("<I"),
    b"\x8c": _text("<B"),
    b"\x8d": _text("<Q"),
    b"B": _raw("<I"),
    b"C": _raw("<B"),
    b"\x8e": _raw("<Q"),
    b")": _push(()),
    b"]": lambda machine: machine._stack.append([]),
    b"}": lambda machine: machine._stack.append({}),
    b"\x8f": lambda machine: machine._stack.append(set()),
    b"(": Machine._mark,
    b"0": _drop,
    b"1": Machine._marked,
    b"t": _gather(tuple),
    b"\x85": lambda machine: machine._tuple(1),
    b"\x86": lambda machine: machine._tuple(2),
    b"\x87": lambda machine: machine._tuple(3),
    b"a": lambda machine: machine._extend([machine._stack.pop()]),
    b"e": lambda machine: machine._extend(machine._marked()),
    b"s": lambda machine: machine._update([machine._stack.pop(-2), machine._stack.pop()]),
    b"u": lambda machine: machine._update(machine._marked()),
    b"\x90": lambda machine: machine._add(machine._marked()),
    b"\x91": _gather(lambda items: frozenset(map(_key, items))),
    b"q": lambda machine: machine._put(machine._number(_UINT8)),
    b"r": lambda machine: machine._put(machine._number(_UINT32)),
    b"\x94": lambda machine: machine._put(len(machine._memo)),
    b"h": lambda machine: machine._get(machine._number(_UINT8)),
    b"j": lambda machine: machine._get(machine._number(_UINT32)),
    b"c": lambda machine: machine._global(machine._line(), machine._line()),
    b"\x93": Machine._stack_global,
    b"R": lambda machine: machine._call(new=False),
    b"\x81": lambda machine: machine._call(new=True),
    b"b": Machine._build,
    b"Q": Machine._persistent,
}
_OPCODES = tuple(_ALLOWED.get(bytes([code])) or _refuse(code) for code in range(256))
