"""A worker in miniature, started with `python -S`: no network, no threads, inputs that are evil on request.

Its journal is a file with a line `I ok` or `I failed` for each input that has ended, kept at once.
"""

import json
import os
import signal
import sys
import time

orders = os.fdopen(int(sys.argv[1]), "rb", 0)
job = json.loads(orders.readline())
journal = os.open(job["journal"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
memory = []


def say(*words: object) -> None:
    os.write(int(sys.argv[2]), (" ".join(map(str, words)) + "\n").encode())


def finished() -> set[int]:
    with open(job["journal"]) as lines:
        return {int(line.split()[0]) for line in lines}


def process(*inputs: int) -> None:
    """The inputs of one call are under way at the same time."""
    for index in inputs:
        say("start", index)
    time.sleep(job["pace"])
    for index in inputs:
        suffer(job["evil"].get(str(index)))
    for index in inputs:
        say("end", index)
        os.write(journal, b"%d ok\n" % index)
        say("kept", 1)


def suffer(evil: str | None) -> None:
    if evil == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif evil == "exit":
        os._exit(3)
    elif evil == "hang":
        time.sleep(1000)
    elif evil == "memory":
        memory.append(b"x" * job["bytes"])
        time.sleep(1000)
    elif evil == "killed":  # as by the kernel when memory is short
        memory.append(b"x" * job["bytes"])
        time.sleep(0.3)
        os.kill(os.getpid(), signal.SIGKILL)


say("ready", json.dumps({"pid": os.getpid()}))
for suspect in job["alone"]:
    process(suspect)
open_inputs = [index for index in range(job["total"]) if index not in finished()]
while open_inputs:
    process(*open_inputs[: job["together"]])
    del open_inputs[: job["together"]]
say("bye", "null")
