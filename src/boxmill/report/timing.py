"""Where the time went, and how fast the run was as it went on."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

import numpy as np

from boxmill.report.charts import Column, Mark, Part, columns, elapsed, number, seconds, stacked_bar
from boxmill.report.facts import Facts, Summary
from boxmill.report.markup import Html, Words, element, foreign
from boxmill.report.survey import Float64, Int64, Survey
from boxmill.report.tables import section, table

__all__ = ["Pace", "pace", "stage_times", "throughput"]

PAUSE = 60.0  # seconds in which no image ended: the run was stopped, and the time is left out of the chart
_MOST_BINS = 60
_PER_BIN = 10  # images, at least on the average

_CHINESE = {
    "read": "读取",
    "decode": "解码",
    "preprocess": "预处理",
    "model": "网络推理",
    "postprocess": "后处理",
    "write": "写入",
    "next input": "等待下一张",
    "last worker": "等待最后的线程",
    "load": "加载",
    "warm-up": "预热",
}


def stage_times(words: Words, facts: Facts) -> Html | None:
    """All workers' stages and waits as one bar as long as workers * wall; None where they are not known."""
    summary = facts.summary
    if summary is None or not (summary.workers and summary.wall and summary.computed):
        return None
    whole = summary.workers * summary.wall
    parts, rows = [], []
    for place, (en, zh, spent) in enumerate(_shares(summary)):
        share, colour = spent / whole, f"s{place % 10}"
        parts.append(Part(share, colour, f"{words.plain(en, zh)}: {spent:.2f} s, {share:.1%}"))
        name = element("span", element("i", class_=f"key {colour}"), words(foreign(en), foreign(zh)))
        rows.append((name, f"{spent:,.2f}", f"{spent / summary.computed * 1e3:,.2f}", f"{share:.1%}"))
    name = words("workers × wall", "线程数 × 用时")
    rows.append((element("b", name), f"{whole:,.2f}", f"{whole / summary.computed * 1e3:,.2f}", "100.0%"))
    headings = [words("stage", "阶段"), words("seconds", "秒"), words("ms/image", "毫秒/张"), words("share", "占比")]
    note = words(
        f"{summary.workers} workers × {summary.wall:.2f} s. Every stage and every wait is measured where it happens; "
        f"only “unexplained” is a difference. Before that: {_startup(summary, {})}.",
        f"{summary.workers} 个线程 × {summary.wall:.2f} 秒。每个阶段和每次等待都在发生处测得，"
        f"只有“未归因”是差值。此前：{_startup(summary, _CHINESE)}。",
    )
    bar = stacked_bar(parts, words.plain("Share of each stage in the time", "各阶段所占时间"))
    heading = words("Where the time went", "时间花在哪里")
    return section("times", heading, bar, table(headings, rows, numeric=1), element("p", note, class_="note"))


def _shares(summary: Summary) -> list[tuple[str, str, float]]:
    waits = [(f"wait: {name}", _CHINESE.get(name, name), spent) for name, spent in summary.waits.items()]
    stages = [(name, _CHINESE.get(name, name), spent) for name, spent in summary.stages.items()]
    return [*stages, *waits, ("unexplained", "未归因", summary.unexplained)]


def _startup(summary: Summary, titles: Mapping[str, str]) -> str:
    return ", ".join(f"{titles.get(name, name)} {spent:.2f} s" for name, spent in summary.startup.items()) or "–"


class Pace(NamedTuple):
    """Images by the time at which they ended, pauses left out."""

    counts: Int64  # (bins,)
    width: float  # seconds of a bin
    pauses: list[tuple[float, float]]  # place in the chart, 0 to 1, and length in seconds


def pace(began: float, ended: Float64) -> Pace:
    """Counts times in bins of equal width.

    Args:
        began: when work on the first of them did; seconds.
        ended: (N,) ascending, N > 0; seconds.
    """
    steps = np.diff(ended, prepend=began)
    paused = np.flatnonzero(steps > PAUSE)
    lengths = steps[paused].tolist()
    steps[paused] = 0.0
    at = np.cumsum(steps)
    span = max(float(at[-1]), 1e-3)
    bins = max(1, min(_MOST_BINS, len(at) // _PER_BIN))
    counts = np.histogram(at, bins, (0.0, span))[0]
    return Pace(counts, span / bins, [(float(at[i]) / span, gap) for i, gap in zip(paused, lengths, strict=True)])


def throughput(words: Words, seen: Survey) -> Html | None:
    """Images a second over the run; None before any has ended."""
    heading = words("Throughput over time", "吞吐量变化")
    if not seen.states.finished():
        return None
    if not len(seen.ended):
        old = words("The journal holds no times: it was written by an older version.", "日志中没有时间：由旧版本写入。")
        return section("throughput", heading, element("p", old, class_="note"))
    found = pace(seen.began, seen.ended)
    rates = (found.counts / found.width).tolist()
    span = found.width * len(rates)
    mean = len(seen.ended) / span
    bars = [
        Column(rate, f"{seconds(i * found.width)} – {seconds((i + 1) * found.width)}: {number(rate)} /s")
        for i, rate in enumerate(rates)
    ]
    marks = [Mark(at, words.plain(f"pause of {seconds(gap)}", f"中断 {seconds(gap)}")) for at, gap in found.pauses]
    label = words.plain("Images per second over time", "每秒图片数随时间的变化")
    below = [elapsed(span * part / 4, span) for part in range(5)]
    chart = columns(bars, below, label, marks, level=mean)
    return section("throughput", heading, chart, element("p", _pace_note(words, seen, found, mean), class_="note"))


def _pace_note(words: Words, seen: Survey, found: Pace, mean: float) -> Html:
    first, last = (_clock(at) for at in (seen.began, float(seen.ended[-1])))
    width = seconds(found.width)
    en = f"Images that ended in each {width}, per second; the line is the mean, {number(mean)}. {first} to {last}."
    zh = f"每 {width} 内结束的图片，按每秒计；横线为平均值 {number(mean)}。{first} 至 {last}。"
    if found.pauses:
        total = seconds(sum(gap for _, gap in found.pauses))
        en += (
            f" Pauses of more than {PAUSE:.0f} s are left out: {len(found.pauses):,}, {total} in all (vertical lines)."
        )
        zh += f"略去 {len(found.pauses):,} 次超过 {PAUSE:.0f} 秒的中断（竖线，共 {total}）。"
    if seen.untimed:
        en += f" Images without a time, written by an older version: {seen.untimed:,}."
        zh += f"{seen.untimed:,} 张图片没有时间：由旧版本写入。"
    return words(en, zh)


def _clock(at: float) -> str:
    return datetime.fromtimestamp(at).astimezone().strftime("%Y-%m-%d %H:%M:%S %z")
