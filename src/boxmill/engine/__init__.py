"""Works a job off: the loop, its batches, its clock; and the supervisor that keeps a process at it."""

from __future__ import annotations

from boxmill.engine.allocator import keep_freed_memory
from boxmill.engine.batch_size import BatchSizes
from boxmill.engine.clock import STAGES, WAITS, TimeTable
from boxmill.engine.handed import Handed
from boxmill.engine.nvml import Gauges
from boxmill.engine.pipeline import Job, Postprocess, Progress, Reporter, Run, Sink, Store
from boxmill.engine.process import WorkerProcess, start_worker
from boxmill.engine.rehearsal import inspect, prove
from boxmill.engine.remembered import RememberedSizes
from boxmill.engine.seat import Ledger, Part, Start
from boxmill.engine.staged import StagedOptions, StagedRun
from boxmill.engine.supervisor import Ending, Supervisor
from boxmill.engine.watch import Limits
from boxmill.engine.worker import DEVICE_FAULT, WorkerLink, die_with_parent

__all__ = [
    "DEVICE_FAULT",
    "STAGES",
    "WAITS",
    "BatchSizes",
    "Ending",
    "Gauges",
    "Handed",
    "Job",
    "Ledger",
    "Limits",
    "Part",
    "Postprocess",
    "Progress",
    "RememberedSizes",
    "Reporter",
    "Run",
    "Sink",
    "StagedOptions",
    "StagedRun",
    "Start",
    "Store",
    "Supervisor",
    "TimeTable",
    "WorkerLink",
    "WorkerProcess",
    "die_with_parent",
    "inspect",
    "keep_freed_memory",
    "prove",
    "start_worker",
]
