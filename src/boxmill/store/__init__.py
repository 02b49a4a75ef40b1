"""What is kept of a run: the journal, which is the truth, and what people read, which is derived from it."""

from __future__ import annotations

from boxmill.store.crops import CropFiles
from boxmill.store.directory import create_run_directory
from boxmill.store.documents import JsonStyle, pretty, printable
from boxmill.store.durable import write_file
from boxmill.store.fingerprint import differences, digest, file_sha256
from boxmill.store.group_commit import JournalWriter
from boxmill.store.heads import DumpHeader, HeadDump, HeadFiles, read_dump, read_dump_header, walk_dumps
from boxmill.store.journal import Entry, Journal, next_epoch, recover
from boxmill.store.ledger import RunLedger
from boxmill.store.lock import RunLock
from boxmill.store.manifest import Input, Manifest, NewInput, write_manifest
from boxmill.store.pictures import Paint, PictureFiles
from boxmill.store.projections import (
    MAX_JSON_FILES,
    JsonFiles,
    rebuild_json,
    results_current,
    run_tally,
    write_results,
)
from boxmill.store.records import Attempt, Record
from boxmill.store.replay import replay
from boxmill.store.states import FAILED, OK, OPEN, States, load
from boxmill.store.stems import check_stems
from boxmill.store.tail import Tail
from boxmill.store.verify import Finding, verify
from boxmill.store.views import seen
from boxmill.store.yolo_text import TextFiles, rebuild_text

__all__ = [
    "FAILED",
    "MAX_JSON_FILES",
    "OK",
    "OPEN",
    "Attempt",
    "CropFiles",
    "DumpHeader",
    "Entry",
    "Finding",
    "HeadDump",
    "HeadFiles",
    "Input",
    "Journal",
    "JournalWriter",
    "JsonFiles",
    "JsonStyle",
    "Manifest",
    "NewInput",
    "Paint",
    "PictureFiles",
    "Record",
    "RunLedger",
    "RunLock",
    "States",
    "Tail",
    "TextFiles",
    "check_stems",
    "create_run_directory",
    "differences",
    "digest",
    "file_sha256",
    "load",
    "next_epoch",
    "pretty",
    "printable",
    "read_dump",
    "read_dump_header",
    "rebuild_json",
    "rebuild_text",
    "recover",
    "replay",
    "results_current",
    "run_tally",
    "seen",
    "verify",
    "walk_dumps",
    "write_file",
    "write_manifest",
    "write_results",
]
