"""The networks: torchvision's, with a last layer for our classes.

MobileNetV2 (Sandler et al. 2018, arXiv:1801.04381) is the product's network: 2.2 million
parameters, 55 million multiply-adds for a face of 96×96.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

ARCHITECTURES = ("mobilenet_v2",)


class WeightsError(ValueError):
    """A weights file is missing or does not fit the network; the message says which and what to do."""


def build(arch: str, classes: int, dropout: float = 0.0) -> nn.Module:
    """A network with random weights: float32 (N, 3, H, W) in, logits (N, classes) out.

    Raises ValueError for an architecture that is not in `ARCHITECTURES`.
    """
    from torchvision.models import mobilenet_v2

    if arch not in ARCHITECTURES:
        raise ValueError(f"architecture “{arch}” is not known; use one of {', '.join(ARCHITECTURES)}")
    return mobilenet_v2(weights=None, num_classes=classes, dropout=dropout).to(memory_format=torch.channels_last)


def initialise(network: nn.Module, source: str) -> None:
    """Fill `network` from `source`: "none", "imagenet" (torchvision's file, downloaded) or a .safetensors file.

    A last layer that is missing or made for another number of classes is left at its random start; everything else must fit.
    Raises WeightsError when the file is missing, unreadable or of another network.
    """
    if source == "none":
        return
    tensors = _imagenet() if source == "imagenet" else _from_file(Path(source))
    expected = network.state_dict()
    # Files may come without a last layer, and without the batch norms' step counters, which nothing here reads.
    needed = {key for key in expected if not key.startswith("classifier.") and not key.endswith("num_batches_tracked")}
    head = [key for key in tensors if key in expected and tensors[key].shape != expected[key].shape]
    if any(not key.startswith("classifier.") for key in head) or not needed <= set(tensors) <= set(expected):
        raise WeightsError(f"{source} holds the weights of another network; give one of the same --arch")
    network.load_state_dict({**expected, **{key: tensors[key] for key in tensors if key not in head}})


def parameter_groups(network: nn.Module, weight_decay: float) -> list[dict]:
    """Two groups for an optimiser: weight matrices decay, biases and batch norms do not (arXiv:1706.05350)."""
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


def forward_logits(network: nn.Module, batch: Tensor) -> Tensor:
    """Logits (N, K) of `batch` float32 (N, 3, H, W), in the memory layout that is fastest on CPUs."""
    return network(batch.contiguous(memory_format=torch.channels_last))


def pooled_features(network: nn.Module, batch: Tensor) -> Tensor:
    """What the last layer sees: float32 (N, 1280) for `batch` float32 (N, 3, H, W); `network.classifier` makes logits of it."""
    return network.features(batch.contiguous(memory_format=torch.channels_last)).mean(dim=(2, 3))


def split_for_map(network: nn.Module) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    """The network in two parts, around the features a class-activation map shows: MobileNetV2's at stride 8."""
    below, above = network.features[:7], network.features[7:]
    return below, lambda features: network.classifier(above(features).mean(dim=(2, 3)))


def _imagenet() -> dict[str, Tensor]:
    from torchvision.models import MobileNet_V2_Weights

    try:
        return MobileNet_V2_Weights.IMAGENET1K_V1.get_state_dict(check_hash=True)
    except OSError as error:
        raise WeightsError(
            "torchvision could not download its ImageNet weights; connect to the internet "
            "or start from a local file, such as --init fer/weights/model.safetensors"
        ) from error


def _from_file(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise WeightsError(f"{path} does not exist; --init takes imagenet, none or a .safetensors file")
    try:
        return load_file(path)
    except Exception as error:  # safetensors raises its own type, and OSError
        raise WeightsError(f"{path} cannot be read as safetensors ({error}); download or copy it again") from error
