"""Where the network looked: a class-activation map of one face (Selvaraju et al. 2017, arXiv:1610.02391)."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from fer.bundle import ModelBundle
from fer.model import map_layer


ORANGE = (255, 140, 0)  # stands out from grey for everybody


def activation_map(bundle: ModelBundle, face: Tensor, expression: str) -> np.ndarray:
    """Grad-CAM for the class `expression` on float32 (3, size, size): float32 (size, size), 0..1.

    1 is where the layer's features speak most for the class, 0 where they do not. The layer is the
    deepest that still has a grid of 6×6 at 96 pixels. Raises ValueError for an unknown class.
    """
    column = bundle.classes.index(expression)
    kept: list[Tensor] = []
    handle = map_layer(bundle.network).register_forward_hook(lambda module, inputs, output: kept.append(output))
    try:
        with torch.enable_grad():
            logit = bundle.network(face[None].requires_grad_())[0, column]
            (gradient,) = torch.autograd.grad(logit, kept[0])
    finally:
        handle.remove()
    weights = gradient.mean(dim=(2, 3), keepdim=True)
    coarse = (weights * kept[0]).sum(dim=1, keepdim=True).relu().detach()
    fine = torch.nn.functional.interpolate(coarse, size=face.shape[-2:], mode="bicubic", align_corners=False)[0, 0]
    fine = fine.clamp_min(0)
    return (fine / fine.max().clamp_min(1e-9)).numpy()


def overlaid(face: Image.Image, heat: np.ndarray) -> Image.Image:
    """`face` in grey with `heat` float (H, W), 0..1, of its size laid over it in orange."""
    grey = np.asarray(face.convert("L"), dtype=np.float32)[..., None]
    strength = heat[..., None] * 0.75
    mixed = grey * (1 - strength) + np.array(ORANGE, dtype=np.float32) * strength
    return Image.fromarray(mixed.round().astype(np.uint8))
