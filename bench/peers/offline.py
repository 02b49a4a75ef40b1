"""Keeps ultralytics from reaching the network: no downloads, no automatic installs, no settings in the home folder."""

import os


def forbid_downloads(settings):
    """Call before the first import of ultralytics; it reads these variables while it is imported."""
    settings.mkdir(parents=True, exist_ok=True)
    os.environ["YOLO_OFFLINE"] = "true"
    os.environ["YOLO_AUTOINSTALL"] = "false"
    os.environ["YOLO_CONFIG_DIR"] = str(settings)
    os.environ["YOLO_VERBOSE"] = "false"
