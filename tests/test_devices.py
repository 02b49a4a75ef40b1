"""What is collected of the devices of a run."""

from __future__ import annotations

import pytest

from boxmill import devices
from boxmill.devices import DeviceFacts


def test_each_gpu_is_asked_once_and_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, closed = list[str](), list[str]()

    class Gauges:
        def __init__(self, uuid: str) -> None:
            self.uuid = uuid
            asked.append(uuid)

        def close(self) -> None:
            closed.append(self.uuid)

    monkeypatch.setattr(devices, "Gauges", Gauges)
    facts = DeviceFacts()
    for number in (0, 1, 0):  # the first one's worker was replaced
        device = {"name": f"cuda:{number}", "hardware": "none", "uuid": f"GPU-{number}"}
        facts.take({"workers": 1, "load": 1.0 + number, "device": device})
    facts.take({"workers": 2, "load": 0.5})  # a processor has nothing to ask
    facts.close()
    assert asked == closed == ["GPU-0", "GPU-1"]
    assert facts.startup() == {"load": 2.0}
