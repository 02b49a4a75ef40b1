from __future__ import annotations

from pathlib import Path

import pytest

from boxmill.errors import ModelError
from boxmill.models.card import Card, CardHead, CardInput, find_card, load_card

CARDS = Path(__file__).parent.parent / "cards"

FULL = """\
version: 1
task: detect
input: {size: [480, 640], layout: NHWC, color: BGR, scale: 0.5, mean: [1, 2, 3.5], std: [1, 1, 2],
        resize: stretch, pad: 0, rounding: floor, dynamic: true, stride: 64}
head: {type: yolox, boxes: normalized, activation: sigmoid, outputs: [out], strides: [8, 16, 32, 64]}
labels: [人, car]
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "model.onnx.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_every_field(tmp_path: Path) -> None:
    path = write(tmp_path, FULL)
    assert load_card(path) == Card(
        path=path,
        task="detect",
        input=CardInput(
            size=(480, 640),
            layout="NHWC",
            color="BGR",
            scale=0.5,
            mean=(1.0, 2.0, 3.5),
            std=(1.0, 1.0, 2.0),
            resize="stretch",
            pad=0,
            rounding="floor",
            dynamic=True,
            stride=64,
        ),
        head=CardHead("yolox", "normalized", "sigmoid", ("out",), (8, 16, 32, 64)),
        labels=("人", "car"),
    )


TAGGER = """\
version: 1
task: tag
input: {size: 224, scale: 0.5, resize: center_crop, crop_from: 256, interpolation: bicubic, antialias: true}
head: {type: classes, activation: softmax, outputs: [logits]}
"""


def test_fields_of_taggers_and_of_other_heads(tmp_path: Path) -> None:
    card = load_card(write(tmp_path, TAGGER))
    assert card.task == "tag"
    said = CardInput(
        (224, 224), scale=0.5, resize="center_crop", crop_from=256, interpolation="bicubic", antialias=True
    )
    assert card.input == said
    assert card.head == CardHead("classes", activation="softmax", outputs=("logits",))
    card = load_card(write(tmp_path, "version: 1\nhead: {type: nanodet, bins: 16, outputs: [a, b, c, d]}"))
    assert card.head == CardHead("nanodet", outputs=("a", "b", "c", "d"), bins=16)
    for head in ("end2end", "triple", "detr"):
        assert load_card(write(tmp_path, f"version: 1\nhead: {{type: {head}}}")).head.type == head


@pytest.mark.parametrize("names", ["[{}]", "\n  - {}", "{{{}}}"])
def test_54092_names_in_the_card(tmp_path: Path, names: str) -> None:
    labels = [f"标签{index}" for index in range(54092)]
    if "{{" in names:
        text = names.format(", ".join(f"{index}: {name}" for index, name in enumerate(labels)))
    else:
        text = names.format((", " if "[" in names else "\n  - ").join(labels))
    path = write(tmp_path, "version: 1\nlabels: " + text)
    card = load_card(path)
    assert card.labels == tuple(labels)


def test_everything_but_the_version_is_optional(tmp_path: Path) -> None:
    path = write(tmp_path, "\ufeffversion: 1\ninput:\nhead: {type: }\nlabels:\n")
    assert load_card(path) == Card(path=path)


def test_short_forms(tmp_path: Path) -> None:
    assert load_card(write(tmp_path, "version: 1\ninput: {size: 320}")).input.size == (320, 320)
    assert load_card(write(tmp_path, "version: 1\nlabels: coco80")).labels == "coco80"
    assert load_card(write(tmp_path, "version: 1\nlabels: coco91")).labels == "coco91"
    assert load_card(write(tmp_path, "version: 1\nlabels: coco91")).labels_from == "coco91"
    assert load_card(write(tmp_path, "version: 1\nlabels: sub/zh.json")).labels == tmp_path / "sub" / "zh.json"
    assert load_card(write(tmp_path, "version: 1\nlabels: {1: b, 0: a}")).labels == ("a", "b")


@pytest.mark.parametrize("path", sorted(CARDS.glob("*.yaml")), ids=lambda path: path.stem)
def test_cards_of_the_test_models(path: Path) -> None:
    card = load_card(path)
    assert card.head.type is not None
    assert card.input.size is not None
    assert card.labels is not None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("version: 1\ninput: {sise: 640}", r"input\.sise: unknown key; did you mean 'size'\?"),
        ("version: 1\nhead: {tipe: yolo}", r"head\.tipe: unknown key; did you mean 'type'\?"),
        ("version: 1\nlabel: a.txt", r"label: unknown key; did you mean 'labels'\?"),
        ("version: 1\n1: 2", "1: unknown key"),
        ("version: 2", r"version: expected 1, got 2"),
        ("version: true", r"version: expected 1, got True"),
        ("task: detect", r"version: expected 1, got nothing"),
        ("nc: 80\nbackbone: []", "no model card"),
        ("- a", r"expected a model card .* got \['a'\]"),
        ("", "got nothing"),
        ("version: 1\ninput: 3", "input: expected a mapping"),
        ("version: 1\ntask: tags", r"task: expected detect or tag, got 'tags'; did you mean 'tag'"),
        ("version: 1\ninput: {resize: center}", r"input\.resize: expected letterbox .* or center_crop, got 'center'"),
        ("version: 1\ninput: {crop_from: 0}", r"input\.crop_from: expected a whole number of 1 to 65536"),
        ("version: 1\ninput: {interpolation: lanczos}", "expected bilinear or bicubic, got 'lanczos'"),
        ("version: 1\ninput: {antialias: 1}", r"input\.antialias: expected true or false, got 1"),
        ("version: 1\nhead: {bins: 1}", r"head\.bins: expected a whole number of 2 to 256, got 1"),
        ("version: 1\nhead: {activation: soft}", "expected none or sigmoid or softmax, got 'soft'"),
        ("version: 1\nhead: {type: yolo5}", r"head\.type: expected yolo or .* got 'yolo5'; did you mean"),
        ("version: 1\nhead: {type: [yolo]}", r"head\.type: expected yolo .* got \['yolo'\]"),
        ("version: 1\ninput: {color: rgb}", r"input\.color: expected RGB or BGR, got 'rgb'"),
        ("version: 1\ninput: {scale: 1e-3}", r"input\.scale: expected a number, got '1e-3'; write it like"),
        ("version: 1\ninput: {scale: 0}", r"input\.scale: expected a finite number above 0, got 0"),
        ("version: 1\ninput: {scale: .nan}", r"input\.scale: expected a finite number above 0, got nan"),
        ("version: 1\ninput: {mean: [.inf, 0, 0]}", r"input\.mean\[0\]: expected a finite number, got inf"),
        ("version: 1\ninput: {mean: [0, 0]}", r"input\.mean: expected three numbers"),
        ("version: 1\ninput: {std: [1, 0, 1]}", r"input\.std\[1\]: expected a finite number above 0"),
        ("version: 1\ninput: {scale: yes}", r"input\.scale: expected a number, got True"),
        ("version: 1\ninput: {size: [1, 2, 3]}", r"input\.size: expected \[height, width\]"),
        ("version: 1\ninput: {size: 64.0}", r"input\.size: expected a whole number of 1 to 65536, got 64\.0"),
        ("version: 1\ninput: {pad: 256}", r"input\.pad: expected a whole number of 0 to 255, got 256"),
        ("version: 1\ninput: {dynamic: 1}", r"input\.dynamic: expected true or false, got 1"),
        ("version: 1\nhead: {outputs: [a, a]}", r"head\.outputs: expected every output once"),
        ("version: 1\nhead: {outputs: []}", r"head\.outputs: expected a list of output names in the order"),
        ("version: 1\nhead: {outputs: [a, 1]}", r"head\.outputs: expected a list of output names"),
        ("version: 1\nhead: {strides: []}", r"head\.strides: expected a list"),
        ("version: 1\nhead: {strides: [0]}", r"head\.strides\[0\]: expected a whole number"),
        ("version: 1\nlabels: {0: a, 2: b}", "labels: expected the class ids"),
        ("version: 1\nlabels: [yes, no]", "labels: class 0: expected a name, got True; write it in quotes"),
        ("version: 1\nlabels: 3", "labels: expected a file"),
        ("version: 1\nlabels: []", "labels: expected a file"),
        ("version: 1\nversion: 1", "line 2: not valid YAML: key 'version' appears twice"),
        ("version: 1\ninput: {size: 0x" + "f" * 9000 + "}", "more than 64 bits"),
        ("version: [", "line 1: not valid YAML"),
        ("version: 1\nlabels: [a", "line 2: not valid YAML"),
        ("- " * 100_000, "nested more than"),
        ("{a: " * 100_000, "nested more than"),
        ("version: !!python/object/apply:os.getcwd []", "not valid YAML"),
        ("version: 2026-13-01", "not valid YAML"),
        ("version: !!timestamp x", "not valid YAML"),
        ("[" * 3000, "not valid YAML"),
        ("version: 1\0", "NUL"),
    ],
)
def test_errors_say_where_and_what(tmp_path: Path, text: str, words: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ModelError, match=words) as caught:
        load_card(path)
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 500 + len(str(path))


def test_aliases_do_not_explode(tmp_path: Path) -> None:
    levels = "".join(f"  l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]\n" for n in range(1, 30))
    with pytest.raises(ModelError, match="version: expected 1"):
        load_card(write(tmp_path, "task:\n  l0: &l0 [x]\n" + levels + "version: *l29\n"))


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        load_card(tmp_path / "no.yaml")
    path = tmp_path / "gbk.yaml"
    path.write_bytes("version: 1\nlabels: [行人]".encode("gbk"))
    with pytest.raises(ModelError, match=r"line 2: expected UTF-8, it looks like GBK; save the file as UTF-8"):
        load_card(path)


def test_find_card(tmp_path: Path) -> None:
    weights = tmp_path / "model.onnx"
    assert find_card(weights) is None
    short, long = tmp_path / "model.yaml", tmp_path / "model.onnx.yaml"
    short.write_text("version: 1")
    assert find_card(weights) == short
    long.write_text("version: 1")
    with pytest.raises(ModelError, match=r"found model\.onnx\.yaml and model\.yaml"):
        find_card(weights)
    short.unlink()
    assert find_card(weights) == long
