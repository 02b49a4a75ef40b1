"""The report's beginning: headline numbers, what was run, what deserves attention, and what failed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from boxmill.report.charts import meter, number, seconds
from boxmill.report.facts import Facts
from boxmill.report.markup import Html, Words, element, foreign, join
from boxmill.report.survey import Survey
from boxmill.report.tables import details, pairs, section, table
from boxmill.store import Manifest
from boxmill.types import Failure

__all__ = ["failures", "headline", "remarks", "what_ran"]

_LISTED = 50  # failures
_AT_ONCE = 10  # of them, the others behind a click
_MESSAGE = 300  # characters of a failure's


def headline(words: Words, facts: Facts, seen: Survey) -> Html:
    """The numbers that everybody looks for."""
    tally, summary = seen.states.tally(), facts.summary
    things = words("tags", "标签") if facts.header.task == "tag" else words("objects", "目标")
    tiles = [
        (f"{seen.total:,}", words("images", "图片"), None),
        (f"{tally.objects:,}", things, None),
        (f"{tally.empty:,}", words("without any", "没有目标"), None),
        (f"{tally.failed:,}", words("failed", "失败"), "bad" if tally.failed else "good"),
    ]
    if left := seen.total - seen.states.finished():
        tiles.append((f"{left:,}", words("not done yet", "尚未完成"), "bad"))
    if summary is not None and summary.computed and summary.wall:
        tiles += [
            (number(summary.images_per_s), words("images/s", "张/秒"), None),
            (seconds(summary.wall), words("wall time", "用时"), None),
            (f"{summary.peak_memory / 2**20:,.0f} MiB", words("peak memory", "内存峰值"), None),
        ]
    return element("div", join(_tile(*tile) for tile in tiles), class_="tiles")


def _tile(value: str, name: Html, kind: str | None) -> Html:
    return element("div", element("strong", value), element("span", name), class_=kind)


def remarks(words: Words, facts: Facts, seen: Survey) -> Html | None:
    """What the numbers above do not say by themselves; None where there is nothing."""
    lines = [*_standing(words, facts, seen), *_events(words, facts, seen)]
    if not lines:
        return None
    return element("ul", join(element("li", line) for line in lines), class_="remarks")


def _standing(words: Words, facts: Facts, seen: Survey) -> Iterator[Html]:
    """How far the run and its summary go."""
    summary = facts.summary
    if seen.states.finished() < seen.total:
        yield words(
            "The run is not finished: the same command, given again, goes on where it stopped.",
            "运行尚未完成：再次执行同一命令即可从中断处继续。",
        )
    if summary is None:
        yield words(
            "There is no summary.json, so how long the run took is not known here; counts are from the journal.",
            "没有 summary.json，因此这里不知道用时；各项计数来自日志。",
        )
    elif facts.stale:
        yield words(
            "Times are of an earlier execution: the journal has gone on since summary.json was written.",
            "时间来自较早的一次执行：写入 summary.json 之后日志又有新增。",
        )
    elif summary.computed < seen.states.finished():
        yield words(
            f"Times are of the last execution; images that it computed: {summary.computed:,}.",
            f"时间是最近一次执行的，其中计算了 {summary.computed:,} 张图片。",
        )


def _events(words: Words, facts: Facts, seen: Survey) -> Iterator[Html]:
    """What happened during the run."""
    tally, summary = seen.states.tally(), facts.summary
    if tally.truncated:
        yield words(
            f"Images that reached a limit (--max-det, --max-nms): {tally.truncated:,}; lower scores are left out.",
            f"{tally.truncated:,} 张图片达到数量上限（--max-det、--max-nms），得分更低的目标未计入。",
        )
    if tally.nan:
        yield words(
            f"Candidates dropped because the network gave NaN: {tally.nan:,}.",
            f"网络输出 NaN，丢弃了 {tally.nan:,} 个候选。",
        )
    if summary is not None and summary.restarts:
        deaths = ", ".join(f"{count} {cause}" for cause, count in summary.deaths.items())
        yield words(
            f"Replacements of the worker process: {summary.restarts:,} ({deaths}).",
            f"工作进程重启了 {summary.restarts:,} 次（{deaths}）。",
        )
    if summary is not None and summary.skipped:
        passed = foreign(", ".join(f"{count} {kind}" for kind, count in sorted(summary.skipped.items())))
        yield join([words("Passed over in the source: ", "来源中略过："), passed])
    for damage in seen.states.damage[:5]:
        yield join([words("Damage in the journal: ", "日志损坏："), foreign(damage, _MESSAGE)])


def what_ran(words: Words, facts: Facts, manifest: Manifest) -> Html:
    """Model, runtime, thresholds, versions; and where each conclusion about the model came from."""
    run, settings = facts.run, facts.run.settings
    head, network = run.model.get("head", {}), run.model.get("input", {})
    size = network.get("size")
    rows: list[tuple[object, object]] = [
        (words("source", "来源"), foreign(run.source or manifest.root.decode(errors="replace"))),
        (words("weights", "权重"), foreign(facts.header.weights)),
        (words("head", "输出头"), foreign(str(head.get("type", "?")))),
        (words("labels", "标签数"), f"{len(facts.header.names):,}"),
    ]
    if size:
        rows.append((words("network input", "网络输入"), foreign(" × ".join(map(str, reversed(size))))))
    rows += [(element("code", name), foreign(_shown(value))) for name, value in settings.items() if name != "weights"]
    if sha := run.fingerprint.get("sha256"):
        rows.append((words("fingerprint", "指纹"), element("code", foreign(str(sha)[:16]))))
    rows += [(foreign(name), foreign(str(version))) for name, version in run.versions.items()]
    parts = [pairs(rows)]
    if run.concluded:
        lines = [(element("code", foreign(c.field)), foreign(c.value), foreign(c.source)) for c in run.concluded]
        headings = [words("field", "字段"), words("value", "取值"), words("from", "来自")]
        parts.append(
            details(
                words("What was concluded about the model, and from which", "对模型的判断及其依据"),
                table(headings, lines),
            )
        )
    return section("run", words("What was run", "运行内容"), *parts)


def _shown(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, list):
        return " ".join(map(str, value)) or "all"
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)


def failures(words: Words, seen: Survey) -> Html | None:
    """How many failed with each code, and the first of them; None where none has."""
    tally = seen.states.tally()
    if not tally.failed:
        return None
    ranked = tally.by_code.most_common()
    by_code = table(
        [words("code", "代码"), words("share", "占比"), words("images", "图片数")],
        [(element("code", foreign(code)), meter(count / tally.failed), f"{count:,}") for code, count in ranked],
        numeric=2,
    )
    rows = [(foreign(one.key), _why(one)) for _, one in tally.failures[:_LISTED]]
    headings = [words("image", "图片"), words("why", "原因")]
    note = words(
        f"The first {len(rows):,} of {tally.failed:,}, in the order of the listing.",
        f"按列表顺序的前 {len(rows):,} 个，共 {tally.failed:,} 个。",
    )
    parts = [by_code, element("p", note, class_="note"), table(headings, rows[:_AT_ONCE])]
    if len(rows) > _AT_ONCE:
        rest = words(f"The next {len(rows) - _AT_ONCE:,}", f"其后 {len(rows) - _AT_ONCE:,} 个")
        parts.append(details(rest, table(headings, rows[_AT_ONCE:])))
    return section("failures", words("Failures", "失败"), *parts)


def _why(failure: Failure) -> Html:
    stage = element("span", foreign(failure.stage), class_="dim")
    return join(
        [element("code", foreign(failure.code)), " ", stage, element("div", foreign(failure.message, _MESSAGE))]
    )
