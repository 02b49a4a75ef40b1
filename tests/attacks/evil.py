"""Evil files by name: each is to be refused with a ModelError that has the words beside it, and to execute nothing."""

from __future__ import annotations

import itertools
import struct
import zlib
from collections.abc import Iterator
from dataclasses import replace

from attacks import assembler as asm
from attacks.assembler import (
    BUILD,
    EMPTY_DICT,
    EMPTY_LIST,
    EMPTY_TUPLE,
    MARK,
    NEWOBJ,
    NONE,
    PERSID,
    REDUCE,
    STOP,
    Entry,
    call,
    checkpoint,
    dict_,
    list_,
    name,
    number,
    plain,
    program,
    storage,
    tensor,
    text,
    tuple_,
)

Case = tuple[str, bytes, str]  # name, file, words of the refusal
LONG = struct.Struct("<I")
OCEAN = struct.Struct("<Q")
TOUCH = text("touch harmed")
MODULES = ("torch.nn.Module", "models.yolo.DetectionModel")
STORAGES = {"0": bytes(64), "1": bytes(64), "3": bytes(4096)}


def cases() -> Iterator[Case]:
    for label, body, words in itertools.chain(calls(), machines(), bombs(), tensors(), networks()):
        raw = body if body.startswith(b"\x80") else program(body)
        yield label, checkpoint(raw, STORAGES), words
    yield from archives()
    yield from cuts()


def calls() -> Iterator[Case]:
    """Code that a checkpoint would have run."""
    functions = {
        "posix.system": TOUCH,
        "os.system": TOUCH,
        "nt.system": TOUCH,
        "builtins.eval": text("print(1)"),
        "__builtin__.eval": TOUCH,
        "builtins.exec": text("print(1)"),
        "builtins.compile": TOUCH,
        "builtins.open": TOUCH,
        "builtins.getattr": TOUCH,
        "__builtin__.apply": TOUCH,
        "builtins.__import__": text("os"),
        "importlib.import_module": text("antigravity"),
        "subprocess.Popen": TOUCH,
        "runpy.run_path": TOUCH,
        "ctypes.CDLL": TOUCH,
        "socket.create_connection": tuple_(text("localhost"), number(9)),
        "operator.methodcaller": TOUCH,
        "functools.partial": name("torch.nn.Module"),
        "pickle.loads": b"C\x00",
        "code.InteractiveInterpreter": EMPTY_TUPLE,
        "timeit.timeit": TOUCH,
        "pdb.run": TOUCH,
        "webbrowser.open": TOUCH,
        "shutil.rmtree": TOUCH,
        "copyreg._reconstructor": TOUCH,
        "types.FunctionType": TOUCH,
    }
    for dotted, argument in functions.items():
        yield f"REDUCE {dotted}", call(dotted, argument), f"it calls {dotted}, which no checkpoint needs"
        module, _, member = dotted.rpartition(".")
        yield (
            f"STACK_GLOBAL {dotted}",
            b"\x80\x04" + text(module) + text(member) + b"\x93" + tuple_(argument) + REDUCE + STOP,
            f"it calls {dotted}",
        )
    foreign = ("torch.load", "torch.hub.load", "numpy.load", "numpy.testing._private.utils.runstring", "pip.main")
    for dotted in (*foreign, "torch.utils.collect_env.run", "models.common.attempt_load", "__main__.go"):
        yield f"REDUCE {dotted}", call(dotted, TOUCH), f"it calls the function {dotted}"
    yield "unused", name("os.system") + b"0" + EMPTY_DICT, "it calls os.system"
    nested = call("builtins.getattr", call("importlib.import_module", text("os")), text("system"))
    yield "nested", nested + tuple_(TOUCH) + REDUCE, "it calls builtins.getattr"
    yield "inside a set", dict_({"model": call("builtins.set", list_(call("os.system", TOUCH)))}), "it calls os.system"
    yield "inside a state", asm.new(MODULES[1], dict_({"yaml": call("os.system", TOUCH)})), "it calls os.system"
    dotted = text("torch.nn") + text("Module.__init__.__globals__") + b"\x93"
    yield "dotted member", b"\x80\x04" + dotted + STOP, "no class of a module"
    yield "dotted module", b"\x80\x04" + text("torch..nn") + text("Module") + b"\x93" + STOP, "no class of a module"
    yield "no texts", b"\x80\x04" + number(1) + text("system") + b"\x93" + STOP, "expected two texts"
    yield "member with spaces", b"ctorch\nnn Module\n", "no class of a module"
    yield "member of another alphabet", "ctorch\nМodule\n".encode(), "no class of a module"
    yield "memo of a name", name("os.system") + b"q\0h\0" + tuple_(TOUCH) + REDUCE, "it calls os.system"


def machines() -> Iterator[Case]:
    """Opcodes that are not in the machine, and uses of others that Python's pickler never makes."""
    forbidden = {
        "INST": b"(" + TOUCH + b"ios\nsystem\n",
        "OBJ": b"(" + name("torch.nn.Module") + TOUCH + b"o",
        "EXT1": b"\x82\x01",
        "EXT2": b"\x83\x01\0",
        "EXT4": b"\x84\x01\0\0\0",
        "PERSID": b"Pos\n",
        "NEWOBJ_EX": name("models.common.Conv") + EMPTY_TUPLE + EMPTY_DICT + b"\x92",
        "NEXT_BUFFER": b"\x97",
        "READONLY_BUFFER": b"C\x01a\x98",
        "BYTEARRAY8": b"\x96" + OCEAN.pack(1) + b"a",
        "DUP": NONE + b"2",
        "LONG4": b"\x8b" + LONG.pack(1) + b"a",
        "INT": b"I1\n",
        "LONG": b"L1L\n",
        "FLOAT": b"F1\n",
        "STRING": b"S'a'\n",
        "BINSTRING": b"T" + LONG.pack(1) + b"a",
        "UNICODE": b"Va\n",
        "GET": b"g0\n",
        "PUT": NONE + b"p0\n",
        "DICT": MARK + b"d",
        "LIST": MARK + b"l",
        "an unknown opcode": b"\xff",
    }
    for label, body in forbidden.items():
        yield f"opcode {label}", body, "which is not allowed"
    record = name("models.common.Conv") + EMPTY_TUPLE + NEWOBJ
    yield "call of a record", record + EMPTY_TUPLE + REDUCE, "expected a class and a tuple"
    yield "call of a call", call("models.common.Conv") + EMPTY_TUPLE + REDUCE, "expected a class and a tuple"
    yield "call of a text", text("os.system") + tuple_(TOUCH) + REDUCE, "expected a class and a tuple"
    yield "call with a list", name("models.common.Conv") + EMPTY_LIST + REDUCE, "expected a class and a tuple"
    yield "NEWOBJ of a text", text("os.system") + tuple_(TOUCH) + NEWOBJ, "expected a class and a tuple"
    yield "NEWOBJ of a function", name("os.system") + tuple_(TOUCH) + NEWOBJ, "it calls os.system"
    yield "BUILD of a class", name("models.common.Conv") + EMPTY_DICT + BUILD, "expected a new object"
    yield "BUILD of a list", EMPTY_LIST + EMPTY_DICT + BUILD, "expected a new object"
    yield "BUILD twice", record + EMPTY_DICT + BUILD + EMPTY_DICT + BUILD, "expected a new object"
    yield "BUILD with slots", EMPTY_DICT + tuple_(NONE, EMPTY_DICT) + BUILD, "expected a new object"
    yield "items of a record", record + text("a") + NONE + b"s", "puts 2 keys and values into an object"
    yield "odd items", EMPTY_DICT + MARK + NONE + b"u", "puts 1 keys and values"
    yield "append to a record", record + NONE + b"a", "expected a list"
    yield "append to a tuple", EMPTY_TUPLE + MARK + NONE + b"e", "expected a list"
    yield "add to a list", EMPTY_LIST + MARK + NONE + b"\x90", "expected a set"
    yield "key that is a list", EMPTY_DICT + EMPTY_LIST + NONE + b"s", "as a key"
    yield "key of many bits", EMPTY_DICT + number(1 << 61) + NONE + b"s", "as a key"
    yield "set of tuples", call("builtins.set", list_(EMPTY_TUPLE)), "as a key"
    yield "frozenset of tuples", MARK + EMPTY_TUPLE + b"\x91", "as a key"
    yield "OrderedDict of pairs", call("collections.OrderedDict", list_()), "expected none"
    yield "empty stack", b"a", "damaged or cut short"
    yield "no mark", NONE + b"t", "damaged or cut short"
    yield "no such memo", b"h\x07", "has not remembered"
    yield "more after the value", NONE + STOP + NONE, "goes on after its value"
    yield "values left", NONE + NONE, "goes on after its value"
    yield "mark left", MARK + NONE, "goes on after its value"
    yield "protocol 0", b"\x80\x00" + NONE + STOP, "protocol 0"
    yield "protocol 9", b"\x80\x09" + NONE + STOP, "protocol 9"
    yield "protocol again", NONE + b"\x80\x02", "at the beginning"
    yield "text of no UTF-8", b"X" + LONG.pack(1) + b"\xff", "no UTF-8"
    yield "half of a pair", text("\ud800"), "no UTF-8"


def bombs() -> Iterator[Case]:
    """Small files that would become large, or slow."""
    for code in (b"X", b"B"):
        yield f"length of {code!r}", code + LONG.pack(0xFFFFFFFF), "cut short"
    for code in (b"\x8d", b"\x8e", b"\x95"):
        yield f"length of {code!r}", b"\x80\x04" + code + OCEAN.pack(1 << 62) + STOP, "cut short"
    yield "long name", b"c" + b"a" * 5000 + b"\nb\n", "name without an end"
    yield "name of no end", b"cos", "name without an end"
    many = b"".join(name(f"a.B{index}") + b"0" for index in range(5000))
    yield "many names", many, "more than 4096"
    yield "large memo", NONE + b"r" + LONG.pack(0xFFFFFFFF), "remembers number 4294967295"
    yield "many memos", b"\x80\x04" + NONE + b"\x94" * 1_100_000 + STOP, "more than 1000000 opcodes"
    yield "many sets", b"\x80\x04" + b"\x8f" * 1_100_000 + STOP, "more than 1000000 opcodes"
    yield "many lists", EMPTY_LIST * 1_100_000, "more than 1000000 opcodes"
    yield "long pickle", text("a" * (8 << 20)), "bytes, expected at most 8388608"
    yield "many marks", MARK * 1000, "nests more than 512 deep"
    yield "deep tuples", EMPTY_TUPLE + b"\x85" * 300_000, "expected a network or a dict"
    yield "deep lists", EMPTY_LIST * 300_000 + b"a" * 299_999, "expected a network or a dict"
    yield "deep tuples as a key", EMPTY_DICT + EMPTY_TUPLE + b"\x85" * 300_000 + NONE + b"s", "as a key"
    yield "deep tuples as a size", call("torch.Size", tuple_(EMPTY_TUPLE + b"\x85" * 100_000)), "a tuple as a size"
    deep = b"cmodels.common\nConv\nq\0" + EMPTY_TUPLE + (b"\x85h\0" + b"\x86") * 1
    yield "records in records", deep + b"0h\0)" + (b"\x81\x85q\1h\0h\1") * 100_000 + b"\x81", "goes on after"
    laughs = list_(*[text("ha")] * 10) + b"q\0"
    for index in range(12):
        laughs += b"0" + list_(*[b"h" + bytes([index])] * 10) + b"q" + bytes([index + 1])
    for label, attribute in (("yaml", "yaml"), ("names", "names")):
        body = dict_({"yaml": plain({"nc": 2}), attribute: laughs})
        words = "over 10000 entries" if attribute == "yaml" else "class names"
        yield f"billion laughs in {label}", asm.new(MODULES[1], body), words
    child = asm.module("a.B") + b"q\0"
    for index in range(8):
        shared = dict_({str(key): b"h" + bytes([index]) for key in range(10)})
        child += b"0" + asm.module("a.B", _modules=shared) + b"q" + bytes([index + 1])
    yield "billion modules", _network(model=child), "over 20000"
    loop = name("a.B") + EMPTY_TUPLE + NEWOBJ + b"q\0" + dict_({"_modules": dict_({"a": b"h\0"})}) + BUILD
    yield "module in itself", _network(model=loop), "nests deeper than 32"
    yield "list in itself", asm.new(MODULES[1], dict_({"yaml": EMPTY_LIST + b"q\0h\0a"})), "nests deeper than 32"
    wide = EMPTY_LIST + MARK + NONE * 4000 + b"eq\0" + name("builtins.set") + b"q\1"
    yield "many sets of one list", wide + MARK + b"h\1h\0\x85R" * 5000 + b"t", "sets of more than 1000000"
    same = tensor(storage("3", 1024), [1024], [1])
    shared = {f"a{index}": b"h\x09" for index in range(2000)}
    body = same + b"q\x09" + b"0" + _network(model=asm.module("a.B", shared, stride=NONE))
    yield "many tensors of one storage", body, "expected at most"


def tensors() -> Iterator[Case]:
    """Storages and tensors that do not lie in the file."""
    good = storage("0", 16)
    lies = "does not lie in its storage"
    yield "size", tensor(good, [17], [1]), lies
    yield "huge size", tensor(good, [1 << 39, 1 << 39], [1, 1]), lies
    yield "offset", tensor(good, [16], [1], 1), lies
    yield "strides", tensor(good, [2, 8], [9, 1]), lies
    yield "strides of zero", tensor(good, [1 << 30], [0]), lies
    yield "empty with huge sides", tensor(good, [0, 1 << 39, 1 << 39], [1, 1, 1]), lies
    yield "offset of an empty tensor", tensor(good, [0], [1], 17), lies
    yield "negative offset", tensor(good, [1], [1], -1), "expected whole numbers from 0"
    yield "negative stride", tensor(good, [16], [-1], 15), "expected whole numbers from 0"
    yield "negative side", tensor(good, [-1], [1]), "expected whole numbers from 0"
    yield "side of 2**64", tensor(good, [1 << 64], [1]), "expected whole numbers from 0"
    yield "sides and strides", tensor(good, [2, 2], [1]), "2 sides and 1 strides"
    yield "too many sides", tensor(good, [1] * 9, [1] * 9), "at most 8 numbers"
    yield "tensor of no storage", tensor(NONE, [1], [1]), "something else than a storage"
    yield "tensor with NEWOBJ", tensor(good, [1], [1])[:-1] + NEWOBJ, "has no attributes"
    yield "parameter of no tensor", call("torch._utils._rebuild_parameter", NONE, NONE, NONE), "else than a tensor"
    yield "parameter with a function", call("torch._utils._rebuild_parameter", name("os.system")), "it calls os.system"
    yield "rebuild of a type", call("torch._utils._rebuild_from_type_v2", name("a.b")), "it calls the function"
    yield "count", storage("0", 15), "storage 0 has 64 bytes, expected 15 elements"
    yield "negative count", storage("0", -16), "expected -16 elements"
    yield "huge count", storage("0", 1 << 62), "storage 0 has 64 bytes"
    yield "dtype", storage("0", 16, "DoubleStorage"), "storage 0 has 64 bytes, expected 16 elements of 8"
    yield "unknown dtype", storage("0", 16, "QInt8Storage"), "a storage is of torch.QInt8Storage"
    yield "two dtypes", tuple_(storage("0", 16), storage("0", 16, "IntStorage")), "storage 0 has 64 bytes"
    yield "missing storage", storage("7", 16), "data/7 is missing"
    for outside in ("../data.pkl", "/etc/passwd", "", "0\0", "0" * 5000, "-0", "٠٠"):
        yield f"storage named {outside[:12]!a}", storage(outside, 16), "missing" if outside == "٠٠" else "is named"
    yield "storage of an integer", number(0) + PERSID, "no storage"
    yield "storage of three", tuple_(text("storage"), NONE, NONE) + PERSID, "no storage"
    yield "module instead of a storage", tuple_(text("module"), NONE, NONE, NONE, NONE) + PERSID, "no storage"
    flags = tensor(storage("2", 3, "BoolStorage"), [3], [1])
    yield "bool of other bytes", flags, "data/2 is missing"


def networks() -> Iterator[Case]:
    """Well-formed files that are no network."""
    yield "number", number(1), "expected a network or a dict"
    yield "nothing in it", EMPTY_DICT, "came nothing"
    yield "other keys", dict_({"epoch": number(1)}), "expected a network under 'ema' or 'model', came 'epoch'"
    weight = tensor(storage("0", 16), [16], [1])
    yield "state dict", dict_({"conv.weight": weight}), "it holds weights and no network (a state dict)"
    yield "state dict within", dict_({"model": dict_({"a": weight})}), "it holds weights and no network (a state dict)"
    yield "no attributes", dict_({"model": call("models.yolo.DetectionModel")}), "has no attributes"
    yield "no structure", _network(yaml=NONE), "no structure of its own"
    yield "function in the structure", _network(yaml=dict_({"nc": name("torch.float16")})), "holds torch.float16"
    yield "no classes", _network(yaml=plain({"nc": 0})), "names no number of classes"
    yield "many classes", _network(yaml=plain({"nc": 1 << 30})), "names no number of classes"
    yield "other names", _network(names=plain(["a"])), "no list of 2 class names"
    yield "names of numbers", _network(names=plain([1, 2])), "is no short text"
    yield "no layers", _network(model=NONE), "last layer has no strides"
    yield "modules that are none", _network(_modules=list_()), "_modules of an object of"
    halves = tensor(storage("0", 16), [3], [1])  # zeros
    layer = asm.module("a.B", _modules=dict_({"0": asm.module("a.B", stride=halves)}))
    yield "strides of zero pixels", _network(model=layer), "has strides [0.0, 0.0, 0.0]"
    yield (
        "parameter that is none",
        _network(extra=asm.new("a.B", dict_({"_parameters": dict_({"a": text("b")})}))),
        ("'a' is 'b', expected a tensor"),
    )
    yield "module that is none", _network(extra=text("b")), "'extra' is 'b', expected a module"
    part = asm.module("a.B", {"../a": tensor(storage("0", 16), [16], [1])})
    yield "name that is a path", _network(extra=part), "a part named '../a'"


def _network(**changed: bytes) -> bytes:
    """A network with some of its attributes changed: `model` its layers, `extra` one more child."""
    stride = tensor(storage("1", 16), [1], [1])
    layer = asm.module("a.B", _modules=dict_({"0": asm.module("a.B", stride=changed.pop("stride", stride))}))
    children = {"model": changed.pop("model", layer)}
    if "extra" in changed:
        children = {"extra": changed.pop("extra"), **children}
    parts = {"_modules": dict_(children), "names": plain(["a", "b"]), "yaml": plain({"nc": 2}), **changed}
    return dict_({"model": asm.new(MODULES[1], dict_(parts))})


def archives() -> Iterator[Case]:
    """Archives that torch.save does not write."""
    good = asm.entries(*asm.small())
    weight = good[2]

    def with_(index: int, entry: Entry) -> bytes:
        return asm.archive([*good[:index], entry, *good[index + 1 :]])

    yield "duplicate", asm.archive([*good, weight]), "twice"
    yield "duplicate pickle", asm.archive([*good, replace(good[0], data=program(NONE))]), "twice"
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = packer.compress(bytes(1 << 24)) + packer.flush()
    yield "zip bomb", with_(2, replace(weight, data=bomb, method=8, unpacked=1 << 24)), "is compressed"
    yield "zip bomb as the pickle", with_(0, replace(good[0], data=bomb, method=8, unpacked=1 << 24)), "is compressed"
    yield "sizes that differ", with_(2, replace(weight, unpacked=1 << 31)), "is compressed"
    yield "encrypted", with_(2, replace(weight, flags=0x801)), "is encrypted"
    yield "huge member", with_(2, replace(weight, size=0xFFFFFFF0)), "does not fit the directory"
    yield "checksum", with_(2, replace(weight, crc=1)), "checksum of data/10 is wrong"
    yield "checksum of the pickle", with_(0, replace(good[0], crc=1)), "checksum of data.pkl is wrong"
    yield "two members in one place", with_(3, replace(good[3], offset=0, name=good[0].name + "x")), "does not fit"
    first = Entry("best/data.pkl", good[0].data)
    same = [first, Entry("best/data/0", weight.data), Entry("best/data/1", weight.data)]
    length = len(asm.archive(same[:1])) - len(asm.archive([])) - 46 - len(first.name)
    yield "overlap", asm.archive([*same[:2], replace(same[2], offset=length)]), "does not fit the directory"
    whole = Entry("best/data/0", asm.archive([replace(same[2], name="best/data/1")]))
    start = length + 30 + len("best/data/0")
    inside = [first, whole, Entry("best/data/1", weight.data, offset=start)]
    yield "member in a member", asm.archive(inside), "overlap"
    yield "other name in place", with_(2, replace(weight, local_name="best/data/19")), "does not fit the directory"
    yield "offset outside", with_(2, replace(weight, offset=0xFFFFFFF0)), "lies outside"
    for path in ("../../x", "/etc/x", "best/../x", "best\\x", "best/", "best//x", "best/a\nb", "best/./x"):
        yield f"path {path!r}", asm.archive([*good, Entry(path, b"")]), "no name that torch.save gives"
    yield "other folder", asm.archive([*good, Entry("worst/x", b"")]), "more than one folder"
    yield "TorchScript", asm.archive([*good, Entry("best/constants.pkl", b"")]), "TorchScript"
    yield "TorchScript's code", asm.archive([*good, Entry("best/code/a.py", b"")]), "TorchScript"
    program_of_torch = Entry("best/code/__torch__/a.py", bomb, method=8, unpacked=1 << 24)
    yield "TorchScript's compressed code", asm.archive([*good, program_of_torch]), "TorchScript"
    yield "big-endian", with_(1, Entry("best/byteorder", b"big")), "big-endian"
    yield "no pickle", asm.archive(good[1:]), "data.pkl is missing"
    yield "empty", asm.archive([]), "zip archive"
    file = asm.archive(good)
    yield "comment", file[:-2] + b"\x02\0ab", "damaged or cut short"
    yield "bytes after it", file + b"\0", "damaged or cut short"
    yield "bytes before the end", file[:-22] + bytes(5) + file[-22:], "does not fit its directory"
    yield "count of members", file[:-14] + b"\xff\xff\xff\xff" + file[-10:], "ends too early"
    yield "fewer members", file[:-14] + b"\x01\0\x01\0" + file[-10:], "does not fill its place"
    yield "legacy", program(number(1)), "before version 1.6"
    yield "text", b"no checkpoint at all", "zip archive"


def cuts() -> Iterator[Case]:
    """A good file, and its pickle, cut at every fortieth."""
    pickle, storages = asm.small()
    file = checkpoint(pickle, storages)
    for part in range(40):
        yield f"file cut at {part}/40", file[: len(file) * part // 40], ""
        yield f"pickle cut at {part}/40", checkpoint(pickle[: len(pickle) * part // 40], storages), "its pickle"
