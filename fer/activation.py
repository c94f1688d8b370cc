"""Where the network looked: a class-activation map of one face (Draelos & Carin 2020, arXiv:2011.08891)."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from fer.bundle import ModelBundle
from fer.model import split_for_map


ORANGE = (255, 140, 0)  # stands out from grey for everybody


def activation_map(bundle: ModelBundle, face: Tensor, expression: str) -> np.ndarray:
    """HiResCAM for the class `expression` on float32 (3, size, size): float32 (size, size), 0..1.

    1 is where the layer's features speak most for the class, 0 where they do not. The layer has a grid
    of 12×12 at 96 pixels. Hiding the map's hottest quarter lowers the class's logit more than hiding
    its coldest; Grad-CAM at a deeper layer often did not. Raises ValueError for an unknown class.
    """
    if expression not in bundle.classes:
        raise ValueError(f"“{expression}” is not a class of {bundle.version}; use one of {', '.join(bundle.classes)}")
    below, above = split_for_map(bundle.network)
    # No hooks: the network is shared with other threads that predict at the same time.
    with torch.enable_grad():
        features = below(face[None]).detach().requires_grad_()
        (gradient,) = torch.autograd.grad(above(features)[0, bundle.classes.index(expression)], features)
    coarse = (gradient * features).sum(dim=1, keepdim=True).detach().relu()
    fine = torch.nn.functional.interpolate(coarse, size=face.shape[-2:], mode="bicubic", align_corners=False)[0, 0]
    fine = fine.clamp_min(0)
    return (fine / fine.max().clamp_min(1e-9)).numpy()


def overlaid(face: Image.Image, heat: np.ndarray) -> Image.Image:
    """`face` in grey with `heat` float (H, W), 0..1, of its size laid over it in orange."""
    grey = np.asarray(face.convert("L"), dtype=np.float32)[..., None]
    strength = heat[..., None] * 0.75
    mixed = grey * (1 - strength) + np.array(ORANGE, dtype=np.float32) * strength
    return Image.fromarray(mixed.round().astype(np.uint8))
