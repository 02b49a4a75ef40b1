"""Which images a report shows, and why."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice, zip_longest
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from boxmill.report.survey import Survey
from boxmill.store import FAILED, OK

__all__ = ["EVEN", "GROUPS", "Group", "Picked", "pick"]


class Group(NamedTuple):
    """One reason to show images."""

    name: str
    share: int  # per cent of all that are shown, at most
    en: str
    zh: str


EVEN = Group("even", 0, "Evenly spaced over the run", "在整次运行中等距抽取")
MOST = Group("most", 14, "Most objects", "目标最多")
LOWEST = Group("lowest", 14, "Lowest score", "得分最低")
CUT = Group("cut", 8, "A limit was reached", "达到数量上限")
SLOWEST = Group("slowest", 8, "Took longest", "耗时最长")
EMPTY = Group("empty", 8, "Nothing found", "没有目标")
FAILURES = Group("failed", 12, "Failed", "失败")
GROUPS = (FAILURES, CUT, MOST, LOWEST, EMPTY, SLOWEST)


@dataclass(frozen=True, slots=True)
class Picked:
    """The images of one group."""

    group: Group
    indices: list[int]
    of: int  # how many would have belonged to it


def pick(seen: Survey, most: int) -> list[Picked]:
    """At most `most` images, none of them twice; the same run gives the same ones. Ties go to the earlier input.

    Each group takes its share, in the order of `GROUPS`; what no group needs goes to the evenly spaced ones.
    """
    taken: set[int] = set()
    picked = []
    for group in GROUPS:
        candidates = _candidates(group, seen)
        ordered = (index for index in _ordered(group, candidates, seen) if index not in taken)
        chosen = list(islice(ordered, most * group.share // 100))
        taken.update(chosen)
        picked.append(Picked(group, chosen, len(candidates)))
    done = _candidates(EVEN, seen)
    rest = done[~np.isin(done, list(taken))]
    places = np.linspace(0, len(rest) - 1, min(most - len(taken), len(rest))).round().astype(np.int64)
    return [one for one in (Picked(EVEN, rest[places].tolist(), len(done)), *picked) if one.indices]


def _candidates(group: Group, seen: Survey) -> npt.NDArray[np.int64]:
    """Indices of all images that belong to a group, ascending."""
    status = np.frombuffer(seen.states.status, np.uint8)
    done = status == OK
    if group is FAILURES:
        return np.flatnonzero(status == FAILED)
    if group is EMPTY:
        return np.flatnonzero(done & (seen.count == 0))
    if group is CUT:
        return np.flatnonzero(done & seen.cut)
    if group in (MOST, LOWEST):
        return np.flatnonzero(done & (seen.count > 0))
    return np.flatnonzero(done)


def _ordered(group: Group, candidates: npt.NDArray[np.int64], seen: Survey) -> Iterator[int]:
    """A group's images, those first that are shown first."""
    keys = {MOST: -seen.count, LOWEST: seen.lowest, SLOWEST: -seen.spent}
    if group is FAILURES:
        return iter(_by_turns(candidates, seen))
    if group in keys:
        candidates = candidates[np.argsort(keys[group][candidates], kind="stable")]
    return iter(candidates.tolist())


def _by_turns(failed: npt.NDArray[np.int64], seen: Survey) -> Iterable[int]:
    """The first failure of each code, then the second of each, and so on."""
    codes = seen.states.failure[failed]
    queues = [failed[codes == code].tolist() for code in dict.fromkeys(codes.tolist())]
    turns = chain.from_iterable(zip_longest(*queues))
    return (index for index in turns if index is not None)
