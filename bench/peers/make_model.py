"""Makes the benchmark's network: the YOLOv8n structure, random weights, about 15 boxes an image. Peers' environment.

    python bench/peers/make_model.py --photos FOLDER --out FOLDER

Writes yolov8n.pt and, exported by ultralytics itself, yolov8n.onnx (square), yolov8n-dynamic.onnx, yolov8n-square and
yolov8n-dynamic (OpenVINO folders). Nothing is fetched: weights are drawn from a fixed seed, batch-norm statistics are
measured on the photos, and the class biases are raised together until about 15 boxes an image pass conf .25 after NMS
at IoU .45.
"""

import argparse
import shutil
from pathlib import Path

from offline import forbid_downloads

BOXES_PER_IMAGE = 15
SAMPLE = 20  # photos used for the statistics and for the bias
SEED = 0
STRETCH = 4.0  # of the class logits
PREDICT = {"conf": 0.25, "iou": 0.45, "max_det": 300, "verbose": False, "device": "cpu"}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    forbid_downloads(arguments.out / "ultralytics")
    paths = sorted(arguments.photos.glob("*.jpg"))
    sample = paths[:: max(1, len(paths) // SAMPLE)][:SAMPLE]
    weights = make_weights(sample, arguments.out / "yolov8n.pt")
    export(weights)


def make_weights(sample, path):
    import torch
    from ultralytics import YOLO

    torch.manual_seed(SEED)
    yolo = YOLO("yolov8n.yaml", task="detect")
    batch = letterboxed(sample)
    fit_batch_norm(yolo.model, batch)
    level_classes(yolo.model, batch)
    counts = raise_class_bias(yolo, sample)
    yolo.save(path)
    print(
        f"{path.name}: boxes an image over {len(counts)} photos: mean {sum(counts) / len(counts):.1f}, {sorted(counts)}"
    )
    if len(set(counts)) < len(counts) // 4:
        raise SystemExit("the network answers much the same to every photo: its activations are not alive")
    return path


def letterboxed(sample):
    """The sample as the network sees it: (B, 3, 384, 640) float32 in [0, 1], RGB."""
    import cv2
    import numpy as np
    import torch

    frames = [cv2.resize(cv2.imread(str(path)), (640, 360))[:, :, ::-1] for path in sample]
    padded = [np.pad(frame, ((12, 12), (0, 0), (0, 0)), constant_values=114) for frame in frames]
    return torch.from_numpy(np.stack(padded).transpose(0, 3, 1, 2).astype(np.float32) / 255)


def fit_batch_norm(network, batch):
    """Running mean and variance of every batch norm := those of the photos; its bias is drawn from N(1.5, 2).

    With zero biases SiLU amplifies strong photos and mutes weak ones from layer to layer (measured: the features of
    the strongest of 20 photos were 17 times those of the weakest, with these biases 1.3 times), so that one photo
    would get hundreds of boxes and most none.
    """
    import torch

    norms = [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    decay = norms[0].momentum
    for norm in norms:
        norm.reset_running_stats()
        torch.nn.init.normal_(norm.bias, 1.5, 2.0)
        norm.momentum = None  # a plain average instead of a decaying one
    network.train()
    with torch.no_grad():
        network(batch)
    network.eval()
    for norm in norms:
        norm.momentum = decay


def class_layers(network):
    return [branch[-1] for branch in network.model[-1].cv3]  # the last convolution of the class branch of each stride


def level_classes(network, batch):
    """Each class's bias := minus the logit that one anchor in a thousand exceeds, at each stride by itself.

    The logits are stretched first: unstretched, every score that passes conf .25 lies below .4, and rounding decides
    too many of them for two programs to be compared.
    """
    import torch

    def level(layer, _inputs, logits):  # (B, classes, h, w)
        layer.weight.mul_(STRETCH)
        layer.bias.copy_(
            -STRETCH * (logits - layer.bias[:, None, None]).transpose(0, 1).flatten(1).quantile(0.999, dim=1)
        )

    hooks = [layer.register_forward_hook(level) for layer in class_layers(network)]
    with torch.no_grad():
        network(batch)
    for hook in hooks:
        hook.remove()


def raise_class_bias(yolo, sample):
    """Bisects one offset added to every class bias; returns the boxes of each sample photo at the end."""
    import torch

    layers = class_layers(yolo.model)
    original = [layer.bias.detach().clone() for layer in layers]

    def count(offset):
        with torch.no_grad():
            for layer, bias in zip(layers, original, strict=True):
                layer.bias.copy_(bias + offset)
        yolo.predictor = None  # it holds a fused copy of the network with the biases of the last call
        return [len(result.boxes) for path in sample for result in yolo.predict(str(path), imgsz=640, **PREDICT)]

    low, high = -16.0, 16.0
    for _ in range(14):
        offset = (low + high) / 2
        few = sum(count(offset)) < BOXES_PER_IMAGE * len(sample)
        low, high = (offset, high) if few else (low, offset)
    return count(high)


def export(weights):
    """ONNX and OpenVINO, each as exported by default and with dynamic=True; onnxslim simplifies ONNX when installed."""
    from ultralytics import YOLO

    # The dynamic ones first: ultralytics names its output after the weights, whatever the options were.
    for dynamic in (True, False):
        made = Path(YOLO(weights).export(format="onnx", dynamic=dynamic, device="cpu"))
        place(made, weights.with_name("yolov8n-dynamic.onnx" if dynamic else "yolov8n.onnx"))
        made = Path(YOLO(weights).export(format="openvino", dynamic=dynamic, device="cpu"))
        # ultralytics recognises an OpenVINO folder by the end of its name.
        name = "yolov8n-dynamic_openvino_model" if dynamic else "yolov8n-square_openvino_model"
        place(made, weights.with_name(name))


def place(made, target):
    if made == target:
        return
    if target.is_dir():
        shutil.rmtree(target)
    made.replace(target)


if __name__ == "__main__":
    main()
