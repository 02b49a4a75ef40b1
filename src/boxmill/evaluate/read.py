"""Which form ground truth has: told by what lies there."""

from __future__ import annotations

from pathlib import Path

from boxmill.errors import SourceError
from boxmill.evaluate.truth import Truth
from boxmill.evaluate.truth_coco import read_coco
from boxmill.evaluate.truth_folders import read_voc, read_yolo

__all__ = ["read_truth"]


def read_truth(path: Path) -> Truth:
    """Ground truth from a COCO JSON file, a folder with YOLO's .txt files, or a folder with VOC's .xml files.

    Of a folder, `labels` or `Annotations` inside is taken where it exists; folders are searched recursively.

    Raises:
        SourceError: nothing of that is there, or it cannot be read.
    """
    if not path.is_dir():
        if path.suffix.lower() in (".txt", ".xml", ".yaml", ".yml"):
            raise SourceError(f"--gt {str(path)!r}: of YOLO text and VOC XML give the folder that the files are in")
        return read_coco(path)
    inner = [path / name for name in ("labels", "Annotations") if (path / name).is_dir()]
    folder = inner[0] if len(inner) == 1 else path
    found = {suffix: [*folder.rglob(f"*{suffix}")] for suffix in (".xml", ".txt")}
    if bool(found[".xml"]) == bool(found[".txt"]) and not (folder / "classes.txt").exists():
        what = "both .xml and .txt files" if found[".xml"] else "no .xml and no .txt files"
        raise SourceError(
            f"--gt {str(path)!r} holds {what}; expected a COCO JSON file, a folder of YOLO text or one of VOC XML"
        )
    return read_voc(folder, found[".xml"]) if found[".xml"] else read_yolo(folder, found[".txt"])
