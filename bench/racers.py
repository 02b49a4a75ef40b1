"""The peers that bench/end_to_end.py races: how each is started, and how it is spoken to (bench/peers/protocol.py)."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parent / "peers"


@dataclass(frozen=True)
class Peer:
    script: str
    model: str
    options: tuple[str, ...] = ()

    def command(self, python, photos, models, work):
        options = [option.replace("{work}", str(work)) for option in self.options]
        inputs = ["--photos", str(photos), "--model", str(models / self.model)]
        return [str(python), "-W", "ignore", str(FOLDER / self.script), *inputs, *options]


PREDICT = "ultralytics_predict.py"
SCRIPT = "article_script.py"
BATCH_8 = ("--batch", "8")
PEERS = {
    "ultralytics .pt, batch 1": Peer(PREDICT, "yolov8n.pt"),
    "ultralytics .pt, batch 8": Peer(PREDICT, "yolov8n.pt", BATCH_8),
    "ultralytics ONNX, default export": Peer(PREDICT, "yolov8n.onnx"),
    "ultralytics ONNX, dynamic, batch 1": Peer(PREDICT, "yolov8n-dynamic.onnx"),
    "ultralytics ONNX, dynamic, batch 8": Peer(PREDICT, "yolov8n-dynamic.onnx", BATCH_8),
    "ultralytics OpenVINO, default export": Peer(PREDICT, "yolov8n-square_openvino_model"),
    "ultralytics OpenVINO, dynamic, batch 1": Peer(PREDICT, "yolov8n-dynamic_openvino_model"),
    "ultralytics OpenVINO, dynamic, batch 4": Peer(PREDICT, "yolov8n-dynamic_openvino_model", ("--batch", "4")),
    "plain script, float32": Peer(SCRIPT, "yolov8n.pt", ("--out", "{work}/script")),
    "plain script, bf16": Peer(SCRIPT, "yolov8n.pt", ("--out", "{work}/script", "--bf16")),
}


class PeerProgram:
    """A running peer; a context manager that ends it."""

    def __init__(self, command, log):
        self.command, self.log = command, log

    def __enter__(self):
        self._errors = self.log.open("a", encoding="utf-8")
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(self.command, stdin=pipe, stdout=pipe, stderr=self._errors, text=True)
        self.versions = self._answer()["versions"]
        return self

    def __exit__(self, *_):
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
        self._errors.close()

    def run(self):
        return self._ask({"run": True})

    def dump(self, path):
        """{file name: [[x1, y1, x2, y2, score, class], ...]} of every photo."""
        self._ask({"dump": str(path)})
        return json.loads(path.read_text(encoding="utf-8"))

    def _ask(self, command):
        print(json.dumps(command), file=self._process.stdin, flush=True)
        return self._answer()

    def _answer(self):
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"a peer ended with {self._process.wait()}: {' '.join(self.command)}; see {self.log}")
        return json.loads(line)
