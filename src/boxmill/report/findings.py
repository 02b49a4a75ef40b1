"""What was found: scores and classes."""

from __future__ import annotations

import numpy as np

from boxmill.report.charts import Column, Mark, columns, meter
from boxmill.report.facts import Facts
from boxmill.report.markup import Html, Labels, Words, element
from boxmill.report.survey import SCORE_BINS, Survey
from boxmill.report.tables import details, section, table

__all__ = ["classes", "scores"]

_TOP = 20  # classes with a bar
_MOST_ROWS = 1000  # of the table: a tagger may know 20,000 classes


def scores(words: Words, facts: Facts, seen: Survey) -> Html | None:
    """How many objects have which score; None where there is no object."""
    total = int(seen.scores.sum()) + seen.beyond
    if not total:
        return None
    bars = [
        Column(count, f"{place / SCORE_BINS:.3f} – {(place + 1) / SCORE_BINS:.3f}: {count:,}")
        for place, count in enumerate(seen.scores.tolist())
    ]
    conf = facts.header.conf
    marks = (
        [] if conf is None or not 0 < conf < 1 else [Mark(conf, words.plain(f"--conf {conf:g}", f"--conf {conf:g}"))]
    )
    label = words.plain("Number of objects by score", "各得分区间的目标数")
    chart = columns(bars, ["0", "0.25", "0.5", "0.75", "1"], label, marks)
    share = seen.scores[SCORE_BINS // 2 :].sum() / total
    en, zh = f"{total:,} scores; {share:.0%} are above 0.5.", f"共 {total:,} 个得分，{share:.0%} 高于 0.5。"
    if marks:
        en, zh = f"{en} The line is --conf {conf:g}.", f"{zh}竖线为 --conf {conf:g}。"
    if seen.beyond:
        en += f" {seen.beyond:,} are below 0 or above 1 and not drawn."
        zh += f"{seen.beyond:,} 个小于 0 或大于 1，未画出。"
    return section("scores", words("Scores", "得分分布"), chart, element("p", words(en, zh), class_="note"))


def classes(words: Words, labels: Labels, seen: Survey) -> Html | None:
    """The most frequent classes with bars, and all that were found in a table; None where none was."""
    known = seen.classes
    ranked = np.argsort(-known.objects, kind="stable")
    ranked = ranked[known.objects[ranked] > 0]
    if not len(ranked):
        return None
    most = int(known.objects[ranked[0]])
    rows = []
    for index in ranked[:_MOST_ROWS].tolist():
        objects, images = int(known.objects[index]), int(known.images[index])
        mean = f"{known.scores[index] / objects:.3f}"
        rows.append((labels.html(index), meter(objects / most), f"{objects:,}", f"{images:,}", mean, index))
    headings = [
        words("class", "类别"),
        "",
        words("objects", "目标数"),
        words("images", "图片数"),
        words("mean score", "平均得分"),
        words("id", "编号"),
    ]
    parts = [table(headings, rows[:_TOP], numeric=2)]
    if len(rows) > _TOP:
        rest = words(f"The other {len(rows) - _TOP:,} classes", f"其余 {len(rows) - _TOP:,} 个类别")
        parts.append(details(rest, table(headings, rows[_TOP:], numeric=2)))
    found, all_of_them = len(ranked), len(known.objects)
    en, zh = f"{found:,} of {all_of_them:,} classes were found.", f"{all_of_them:,} 个类别中出现了 {found:,} 个。"
    if found > _MOST_ROWS:
        en += f" The {_MOST_ROWS:,} most frequent ones are listed; summary.json has all."
        zh += f"只列出最常见的 {_MOST_ROWS:,} 个，全部见 summary.json。"
    parts.append(element("p", words(en, zh), class_="note"))
    return section("classes", words("Classes", "各类别数量"), *parts)
