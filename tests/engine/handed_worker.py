"""A worker in miniature that does what it is handed, started with `python -S`: evil inputs, a pace of its own.

Its journal is a file with a line `I ok` for each input that has ended, kept at once.
"""

import json
import os
import signal
import sys
import time

orders = os.fdopen(int(sys.argv[1]), "rb", 0)
job = json.loads(orders.readline())
journal = os.open(job["journal"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
waiting = list(job["share"])
more = True


def say(*words: object) -> None:
    os.write(int(sys.argv[2]), (" ".join(map(str, words)) + "\n").encode())


def listen() -> None:
    """Takes one order, for which it waits."""
    global more
    match orders.readline().split():
        case [b"take", first, end]:
            waiting.extend(range(int(first), int(end)))
        case [b"last"]:
            more = False
        case [b"stop"]:
            more = False
            waiting.clear()
        case _:
            os._exit(70)


def process(index: int) -> None:
    say("start", index)
    time.sleep(job["pace"])
    match job["evil"].get(str(index)):
        case "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "hang":
            time.sleep(1000)
    say("end", index)
    os.write(journal, b"%d ok\n" % index)
    say("kept", 1)


if job["at once"]:
    exec(job["at once"])
say("ready", json.dumps({"pid": os.getpid(), "place": job["place"]}))
for suspect in job["alone"]:
    process(suspect)
while waiting or more:
    if waiting:
        process(waiting.pop(0))
    else:
        listen()
say("bye", "null")
