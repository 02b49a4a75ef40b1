"""What a run's workers and the driver say of the devices, and what a summary makes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from boxmill.engine import Ending, Gauges, Part
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

    def close(self) -> None:
        """Asks no more; what was said stays."""
        for gauges in self._gauges.values():
            gauges.close()

    def startup(self) -> dict[str, float]:
        """Seconds by step; of several workers those of the slowest."""
        steps: dict[str, float] = {}
        for facts in self._facts.values():
            for name, seconds in facts.items():
                if name not in ("workers", "device"):
                    steps[name] = max(seconds, steps.get(name, 0.0))
        return steps

    def summary(self, ending: Ending) -> dict[str, Any]:
        """`device`, or `devices` where there are several: what each did; nothing where there is none.

        Of one whose workers all died before they told where the time went, it is not known how long it worked.
        """
        wall = ending.table.wall  # for each, so that one that worked less has idled more
        if len(ending.parts) > 1:
            return {"devices": [{**self._did(part, part.device, wall), "images": part.kept} for part in ending.parts]}
        (part,) = ending.parts
        name = next(iter(self._gauges), None)
        return {} if name is None or part.table.device_busy is None else {"device": self._did(part, name, wall)}

    def _did(self, part: Part, name: str, wall: float) -> dict[str, Any]:
        document: dict[str, Any] = {"name": name}
        if name in self._facts:
            document |= {key: value for key, value in self._facts[name]["device"].items() if key != "uuid"}
        if part.table.device_busy is not None:
            idle = 1 - part.table.device_busy / wall if wall else 0.0
            document |= {"busy": part.table.device_busy, "idle_share": idle}
        return document | (self._gauges[name].summary() if name in self._gauges else {})
