"""What a run's workers and the driver say of the devices, and what a summary makes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from boxmill.engine import Ending, Gauges
from boxmill.settings import RunSettings

__all__ = ["DeviceFacts", "settings_at"]


def settings_at(settings: RunSettings, devices: Sequence[str], place: int, workers: int) -> RunSettings:
    """The settings of the worker at one of several devices: that device, and its share of the threads, at least one."""
    least, more = divmod(workers, len(devices))
    engine = replace(settings.engine, device=devices[place], workers=max(1, least + (place < more)))
    return replace(settings, engine=engine)


class DeviceFacts:
    """Collects while a run works; for the supervisor's thread."""

    def __init__(self) -> None:
        self._facts: dict[str, Mapping[str, Any]] = {}  # by device, empty for a processor: of its last worker
        self._gauges: dict[str, Gauges] = {}

    def take(self, facts: Mapping[str, Any]) -> None:
        """What a worker says when it has loaded the network."""
        device = facts.get("device", {"name": ""})
        self._facts[device["name"]] = facts
        if "uuid" in device and device["name"] not in self._gauges:
            self._gauges[device["name"]] = Gauges(device["uuid"])

    def sample(self) -> None:
        """Asks the driver, at most once a second."""
        for gauges in self._gauges.values():
            gauges.sample()

    def startup(self) -> dict[str, float]:
        """Seconds by step; of several workers those of the slowest."""
        steps: dict[str, float] = {}
        for facts in self._facts.values():
            for name, seconds in facts.items():
                if name not in ("workers", "device"):
                    steps[name] = max(seconds, steps.get(name, 0.0))
        return steps

    def summary(self, ending: Ending) -> dict[str, Any]:
        """`device`, or `devices` where there are several: what each did; nothing where there is none."""
        wall = ending.table.wall  # for each, so that one that worked less has idled more
        documents = []
        for part in ending.parts:
            name = part.device or next(iter(self._gauges), "")
            if name not in self._gauges or part.table.device_busy is None:
                continue
            known = {key: value for key, value in self._facts[name]["device"].items() if key != "uuid"}
            idle = 1 - part.table.device_busy / wall if wall else 0.0
            did = {"images": part.kept} if part.device else {}
            measured = self._gauges[name].summary()
            documents.append({**known, **did, "busy": part.table.device_busy, "idle_share": idle, **measured})
        if len(ending.parts) > 1:
            return {"devices": documents}
        return {"device": documents[0]} if documents else {}
