"""The page as a whole: complete, closed in itself, and safe from what it tells of."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from pathlib import Path

import pytest
from reported_runs import NAMES, START, Page, failed, found, png, read, tagged, write_run, write_summary

from boxmill.errors import UsageError
from boxmill.labels import COCO80_EN, COCO80_ZH
from boxmill.report import ReportOptions, write_report
from boxmill.store import Entry, Journal, NewInput, write_manifest

EVIL = '"><script>alert(1)</script><img src=x onerror=alert(2)>'
SECTIONS = ["times", "throughput", "scores", "classes", "failures", "run", "gallery"]


def report(run: Path, **options: object) -> Page:
    return read(Path(write_report(run, None, ReportOptions(**options)).path))  # type: ignore[arg-type]


def ordinary(tmp_path: Path, **settings: object) -> Path:
    outcomes = [failed(i) if i % 10 == 9 else found(i, i % 5, cut=0.3 if i == 4 else None) for i in range(30)]
    run = write_run(tmp_path, outcomes, **settings)  # type: ignore[arg-type]
    write_summary(run, 30)
    return run


def test_a_report_has_all_its_parts_and_the_runs_numbers(tmp_path: Path) -> None:
    run = ordinary(tmp_path)
    written = write_report(run)
    page = read(run / "report.html")
    assert written.path == str(run / "report.html")
    assert written.size == (run / "report.html").stat().st_size
    assert (written.shown, written.missing) == (30, 0)
    assert [given["id"] for given in page.all("section")] == SECTIONS
    text = page.text()
    for shown in ("truncated", "it ends early", "net.onnx", "cat", "0.25", "Images that reached a limit", "0.1.0"):
        assert shown in text
    assert page.texts[0] == ("en", "run · boxmill")
    pictures = [given["href"] or "" for given in page.all("image")]
    assert len(pictures) == 27
    boxes = [given for given in page.all("rect") if (given.get("style") or "").startswith("--h:")]
    assert len(boxes) == sum(i % 5 for i in range(30) if i % 10 != 9)


def test_nothing_is_asked_of_the_network(tmp_path: Path) -> None:
    run = ordinary(tmp_path)
    page = report(run)
    for tag, given in page.tags:
        for name in ("src", "href", "action", "poster", "srcset"):
            assert (given.get(name) or "data:image/jpeg").startswith("data:image/jpeg"), tag
        assert tag not in ("link", "iframe", "object", "embed", "base", "form")
    text = (run / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"url\(|@import|https?:|fetch\(|XMLHttp|import\(", text)
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    (policy,) = [m["content"] or "" for m in page.all("meta") if m.get("http-equiv")]
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() in policy


def test_hostile_names_are_only_text(tmp_path: Path) -> None:
    key = "a\u202e<b>&amp;'\"\x01.png"
    outcomes = [found(0, 3, key), failed(1, code="<i>", key="<script>.png", message=EVIL), found(2, 1)]
    run = write_run(tmp_path / EVIL.replace("/", ""), outcomes, names=(EVIL, "</title>", "]]>"), odd=EVIL, conf=0.25)
    write_summary(run, 3, deaths={EVIL: 1}, restarts=1, skipped={EVIL: 3}, stages={EVIL: 2.0})
    page = report(run)
    assert len(page.all("script")) == 1
    assert not page.all("img")
    assert not [given for _, given in page.tags if any(name.startswith("on") for name in given)]
    text = page.text()
    assert text.count(EVIL) >= 5
    assert "<script>.png" in text
    assert key.replace("\x01", "␁") in text


@pytest.mark.parametrize(
    ("lang", "wanted", "other"),
    [
        ("zh", "吞吐量变化", "Throughput"),
        ("en", "Throughput", "吞吐量"),
        ("zh", "预热 0.25 s", "warm-up"),
        ("en", "warm-up 0.25 s", "预热"),
    ],
)
def test_a_page_in_one_language_has_no_other(tmp_path: Path, lang: str, wanted: str, other: str) -> None:
    page = report(ordinary(tmp_path), lang=lang)
    assert wanted in page.text()
    assert other not in page.text()
    assert not page.all("input")
    assert page.all("html") == [{"lang": "zh-Hans" if lang == "zh" else "en"}]
    assert page.all("section")[0]["id"] == "times"


@pytest.mark.parametrize(("names", "first"), [(NAMES, "en"), (("猫", "狗", "牛"), "zh")])
def test_both_languages_begin_with_that_of_the_labels(tmp_path: Path, names: tuple[str, ...], first: str) -> None:
    page = report(ordinary(tmp_path, names=names))
    buttons = {given["id"]: "checked" in given for given in page.all("input")}
    assert buttons == {"show-zh": first == "zh", "show-en": first == "en"}
    by_language = {lang: [text for own, text in page.texts if own == lang] for lang in ("zh", "en")}
    assert "各类别数量" in by_language["zh"]
    assert "Classes" in by_language["en"]


def test_cocos_classes_are_named_in_both_languages(tmp_path: Path) -> None:
    page = report(write_run(tmp_path, [found(0, 40, classes=80)], names=COCO80_ZH))
    class_id = int(found(0, 40, classes=80).result.classes[0])  # type: ignore[union-attr]
    assert COCO80_ZH[class_id] in [text for own, text in page.texts if own == "zh"]
    assert COCO80_EN[class_id] in [text for own, text in page.texts if own == "en"]


def test_a_killed_run_has_a_report_without_times(tmp_path: Path) -> None:
    page = report(write_run(tmp_path, [found(i, 2) for i in range(3)], open_inputs=2))
    assert [given["id"] for given in page.all("section")] == ["throughput", "scores", "classes", "run", "gallery"]
    assert "The run is not finished" in page.text()
    assert "There is no summary.json" in page.text()


def test_a_run_of_nothing_has_a_report(tmp_path: Path) -> None:
    page = report(write_run(tmp_path, [], open_inputs=2))
    assert [given["id"] for given in page.all("section")] == ["run"]


def test_times_of_another_execution_are_called_so(tmp_path: Path) -> None:
    run = ordinary(tmp_path)
    write_summary(run, 7)
    assert "Times are of the last execution; images that it computed: 7." in report(run).text()
    write_summary(run, 7, epoch=0)
    assert "Times are of an earlier execution" in report(run).text()


def test_a_taggers_run(tmp_path: Path) -> None:
    page = report(write_run(tmp_path, [tagged(0, [0.9, 0.25]), tagged(1, [])], task="tag", conf=None, keep_conf=None))
    assert "cat 0.90" in re.sub(r"\s+", " ", page.text())
    assert len(page.all("image")) == 2


def test_pictures_that_are_gone_leave_boxes_and_a_reason(tmp_path: Path) -> None:
    run = ordinary(tmp_path)
    (tmp_path / "photos").rename(tmp_path / "elsewhere")
    assert write_report(run).missing == 27
    page = read(run / "report.html")
    assert not page.all("image")
    assert page.text().count("The image cannot be shown: ") == 27
    assert [given for given in page.all("rect") if (given.get("style") or "").startswith("--h:")]
    assert write_report(run, None, ReportOptions(source=str(tmp_path / "elsewhere"))).missing == 0


def test_what_killed_a_worker_is_not_opened(tmp_path: Path) -> None:
    run = write_run(tmp_path, [failed(0, "crashed", "worker"), failed(1, "nan", "model")])
    assert len(report(run).all("image")) == 1


def test_the_same_run_gives_the_same_page(tmp_path: Path) -> None:
    run = ordinary(tmp_path)
    pages = {Path(write_report(run, tmp_path / f"{n}.html").path).read_bytes() for n in range(2)}
    assert len(pages) == 1
    assert not (run / "report.html").exists()


def test_ten_thousand_images_of_noise_stay_under_five_megabytes(tmp_path: Path) -> None:
    noise = png(400, 400)
    (tmp_path / "noise.png").write_bytes(noise)
    facts, key = (tmp_path / "noise.png").stat(), "x" * 200
    os.mkdir(tmp_path / "run")
    names = ["&" * 300 + str(number) for number in range(3000)]
    inputs = [NewInput(f"{key}{i}", b"noise.png", facts.st_size, facts.st_mtime_ns) for i in range(10_000)]
    write_manifest(tmp_path / "run/manifest-0.jsonl", os.fsencode(tmp_path), inputs)
    header = {"format": 1, "settings": {"classes": list(range(3000))}, "model": {"names": names, "task": "detect"}}
    (tmp_path / "run/run.json").write_text(json.dumps(header))
    crowd = [found(i, 300, f"{key}{i}", classes=3000) for i in range(70)]
    rest = [failed(i, key="<" * 900, message="&" * 2000) if i % 9 == 0 else found(i, 2) for i in range(70, 10_000)]
    journal = Journal(tmp_path / "run", 1, 1)
    journal.commit([Entry.of(one, at=START + one.index / 100) for one in (*crowd, *rest)])
    journal.close()
    written = write_report(tmp_path / "run", None, ReportOptions(images=150))
    assert 3_000_000 < written.size < 5_000_000
    page = read(tmp_path / "run/report.html")
    assert "Left out because the page would become too large: " in page.text()


def test_only_a_run_has_a_report(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no run"):
        write_report(tmp_path)
    run = ordinary(tmp_path)
    (run / "run.json").write_text('{"format": 1, "model": {"names": ["a"]}, "settings": {}, "concluded": 3}')
    with pytest.raises(UsageError, match="concluded"):
        write_report(run)
