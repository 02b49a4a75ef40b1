"""Small text files that people write (cards, label lists): read with limits, and refused with the line at fault."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from boxmill.errors import ModelError

__all__ = ["parse_yaml", "read_text"]

_MAX_DEPTH = 64  # of lists and mappings in one another
_BYTE_ORDER_MARKS_16 = (b"\xff\xfe", b"\xfe\xff")


def read_text(path: Path, limit: int) -> str:
    """The text of a UTF-8 file of at most `limit` bytes, without a byte order mark.

    Raises:
        ModelError: the file is missing, unreadable, larger than `limit`, or not UTF-8.
    """
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error}") from error
    if len(data) > limit:
        raise ModelError(f"{path}: expected at most {limit} bytes of text, the file is larger; is it the right file?")
    if data.startswith(_BYTE_ORDER_MARKS_16):
        raise ModelError(f"{path}: expected UTF-8, the file is UTF-16; save it as UTF-8")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        kind = "it looks like GBK" if _decodes(data, "gb18030") else f"byte {data[error.start]:#04x} is not valid there"
        raise ModelError(f"{path}: line {line}: expected UTF-8, {kind}; save the file as UTF-8") from error
    if "\0" in text:
        raise ModelError(f"{path}: expected text, found a NUL byte; is it the right file?")
    return text


def _decodes(data: bytes, encoding: str) -> bool:
    try:
        data.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def parse_yaml(text: str, path: Path) -> Any:
    """The plain data (dict, list, str, int, float, bool, None, date) in one YAML document; a repeated key is an error.

    Raises:
        ModelError: the text is not valid YAML, with file and line.
    """
    import yaml

    try:
        return _load_yaml(text)
    except yaml.MarkedYAMLError as error:
        last = text.rstrip().count("\n")  # libyaml points behind a text that ends too early
        line = f"line {min(error.problem_mark.line, last) + 1}: " if error.problem_mark else ""
        raise ModelError(f"{path}: {line}not valid YAML: {error.problem}") from error
    except (yaml.YAMLError, ArithmeticError, AttributeError, LookupError, RecursionError, ValueError) as error:
        # PyYAML lets the failures of its scalar constructors through, e.g. ValueError for the date 2026-13-01 and
        # AttributeError for `!!timestamp x`.
        raise ModelError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error


def _load_yaml(text: str) -> Any:
    import yaml

    # libyaml is ten times as fast: 54,000 names take 0.3 s. Its binding recurses in C, where 100,000 brackets overflow
    # the stack and kill the process, so the depth is looked at first, by its parser, which does not recurse.
    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    depth = 0
    for event in yaml.parse(text, base):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _MAX_DEPTH:
            raise yaml.YAMLError(f"lists and mappings are nested more than {_MAX_DEPTH} deep")

    class Loader(base):  # type: ignore[misc]
        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            seen: set[tuple[str, str]] = set()
            for key, _ in node.value:
                if isinstance(key, yaml.ScalarNode):
                    if (key.tag, key.value) in seen:
                        problem = f"key {key.value!r} appears twice"
                        raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
                    seen.add((key.tag, key.value))
            mapping: dict[Any, Any] = super().construct_mapping(node, deep)
            return mapping

    def whole_number(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
        value = loader.construct_yaml_int(node)
        if value.bit_length() > 64:  # nothing here needs one, and Python refuses to print 0x… of thousands of digits
            raise yaml.MarkedYAMLError(problem="a number of more than 64 bits", problem_mark=node.start_mark)
        return value

    Loader.add_constructor("tag:yaml.org,2002:int", whole_number)
    return yaml.load(text, Loader)
