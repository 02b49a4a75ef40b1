"""What is often said of NMS, and what this visit found; the figures of the second article among it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from boxmill.lab.study import BASE, Study

__all__ = ["Claim", "claims"]

Verdict = Literal["holds", "does not hold", "not measured"]
_CLIFF = (1000, 1001)
_ARTICLE = {"80 candidates": 9.8, "1200 candidates": 38.6}  # ms
_ARTICLE_KERNEL = 12.4  # ms, with its CUDA kernel


@dataclass(frozen=True, slots=True)
class Claim:
    """One statement, and what stands behind the verdict."""

    text: str
    verdict: Verdict
    evidence: str


def claims(study: Study) -> list[Claim]:
    """Each statement with the evidence of this study."""
    return [
        Claim(
            "YOLOv9 suppresses class by class in a loop",
            "does not hold",
            "its non_max_suppression adds 7680 times the class to the boxes and calls torchvision's nms once (from its "
            "source, not measured here)",
        ),
        _opencv(study),
        _cliff(study),
        _share(study),
        _milliseconds(study),
        *_filters(study),
    ]


def _opencv(study: Study) -> Claim:
    text = "OpenCV's NMSBoxes keeps other boxes than greedy NMS"
    name = "OpenCV NMSBoxesBatched"
    found = [scene.difference[name] for scene in study.scenes if name in scene.difference]
    if not found:
        return Claim(text, "not measured", "OpenCV did not take part")
    unlike, expected = sum(one.missing + one.extra for one in found), sum(one.expected for one in found)
    evidence = f"{unlike} of {expected} boxes differ from the reference"
    if unlike:
        evidence += "; it computes in double, so that an IoU within rounding of the threshold may go either way"
    return Claim(text, "holds" if unlike > 0.001 * expected else "does not hold", evidence)


def _cliff(study: Study) -> Claim:
    text = "torchvision's batched_nms becomes several times slower just above 1000 boxes on a CPU"
    name = "torchvision batched_nms"
    sizes, curves = study.growth.sizes, study.growth.latency
    if name not in curves or not all(size in sizes for size in _CLIFF):
        return Claim(text, "not measured", "needs torchvision, and 1000 and 1001 among --sizes")
    low, high = (curves[name][sizes.index(size)].median for size in _CLIFF)
    ratio = high / low
    evidence = f"{low:.0f} µs at 1000, {high:.0f} µs at 1001: {ratio:.1f} times, at 80 classes"
    return Claim(text, "holds" if ratio >= 4 else "does not hold", evidence)


def _share(study: Study) -> Claim:
    text = "post-processing is a few per cent of the time on a CPU"
    spent = study.stages.get("postprocess")
    total = sum(seconds for stage, seconds in study.stages.items() if stage != "write")  # dumping makes it larger
    if spent is None or not total:
        return Claim(text, "not measured", "give the folder of a finished run")
    share = spent / total
    return Claim(
        text, "holds" if share < 0.1 else "does not hold", f"{share:.1%} of this run's stages, writing left out"
    )


def _milliseconds(study: Study) -> Claim:
    said = ", ".join(f"{ms} ms ({what})" for what, ms in _ARTICLE.items())
    text = f"post-processing takes {said}, {_ARTICLE_KERNEL} ms with a CUDA kernel (the article's figures, an A100)"
    if not study.scenes:
        return Claim(text, "not measured", "no scene had a candidate")
    whole = all(scene.whole is not None for scene in study.scenes)
    spent = [(scene.whole or scene.latency[BASE]).median / 1e3 for scene in study.scenes]
    here = ", ".join(f"{ms:.3f} ms ({scene.candidates[1]})" for ms, scene in zip(spent, study.scenes, strict=True))
    what = "raw head to boxes" if whole else "NMS alone"
    least = min(_ARTICLE.values())
    verdict: Verdict = "does not hold" if max(spent) < least else "holds"
    return Claim(text, verdict, f"boxmill on one CPU thread here, {what}, at so many candidates: {here}")


def _filters(study: Study) -> Iterator[Claim]:
    for limit in (1000, 500):
        name = f"boxmill, Top-{limit}"
        text = f"a Top-{limit} pre-filter makes suppression faster and loses nothing"
        scenes = [scene for scene in study.scenes if name in scene.latency and scene.candidates[2] > limit]
        if not scenes:
            yield Claim(text, "not measured", f"no scene with more than {limit} candidates, or it did not take part")
            continue
        lost = sum(scene.difference[name].missing for scene in scenes)
        expected = sum(scene.difference[name].expected for scene in scenes)
        faster = max(scene.latency[BASE].median / scene.latency[name].median for scene in scenes)
        verdict: Verdict = "holds" if not lost and faster > 1.1 else "does not hold"
        evidence = (
            f"{lost} of {expected} kept boxes lost, all of lower scores than the {limit} candidates; at most "
            f"{faster:.1f} times as fast as boxmill without it"
        )
        worst = min((scene.accuracy[name].delta for scene in scenes if name in scene.accuracy), default=None)
        evidence += "" if worst is None else f"; ΔAP {round(worst, 4) + 0.0:+.4f}"
        yield Claim(text, verdict, evidence)
