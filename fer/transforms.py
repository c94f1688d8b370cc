"""From an upright picture and a face to the tensor the network sees: one way, used everywhere.

Training, evaluation, the command line and the app all go through `Preprocess`. Training changes
crops *before* this tail (see `augment.py`); nothing else cuts, resizes or normalises a face.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from fer.faces import Face

# Mean and deviation of ImageNet, which the starting weights were trained with
# (torchvision, MobileNet_V2_Weights.IMAGENET1K_V1.transforms()).
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
REACH = 1.6  # side of what is kept of a face ÷ side of the crop: one turned by any angle lies inside (√2), with context
LONGEST = 512  # pixels, side of the largest picture that is kept of a face


@dataclass(frozen=True)
class Preprocess:
    """How a face becomes the network's input; saved in every bundle.

    The crop is a square whose side and centre follow from the detector's box, turned so that the
    eyes are level. Its defaults make it the frame that FER+ pictures have (measured by
    ``python -m fer bench crop``).
    """

    size: int = 96  # side of the square the network sees, pixels
    grayscale: bool = True  # FER+ is grey, so colour would be a look the network never met
    side: float = 1.08  # side of the crop ÷ the geometric mean of the detector box's width and height
    shift: float = 0.01  # centre of the crop below the box's centre, as a fraction of the crop's side
    mean: tuple[float, float, float] = IMAGENET_MEAN  # per channel, of values 0..1
    std: tuple[float, float, float] = IMAGENET_STD  # per channel, of values 0..1

    def __post_init__(self) -> None:
        if self.size < 32 or self.side <= 0 or min(self.std) <= 0:
            raise ValueError(f"preprocess needs size ≥ 32, side > 0 and std > 0; got {self}")

    def crop(self, image: Image.Image, face: Face) -> Image.Image:
        """The square around `face`, upright, RGB, in the picture's own resolution.

        `image` is upright RGB (see `picture.open_picture`). A face without landmarks is a ready-made
        crop: its box is taken as it is. Where the square leaves the picture, the border pixels repeat.
        """
        if self.square(face)[2] * REACH > LONGEST:
            # What is kept of such a face is shrunk; so is it here, or the two would not be read alike.
            image, face = self.surroundings(image, face)
        return _cut_square(image, *self.square(face), face.roll)

    def surroundings(self, image: Image.Image, face: Face) -> tuple[Image.Image, Face]:
        """The upright region around `face`, at most `LONGEST` pixels a side, and the face in its pixels.

        It ends where the picture ends: there a crop repeats the border pixels, of the region as of the picture.
        """
        x, y, side = self.square(face)
        half = REACH * side / 2
        left, top = max(0, math.floor(x - half)), max(0, math.floor(y - half))
        part = image.crop((left, top, min(image.width, math.ceil(x + half)), min(image.height, math.ceil(y + half))))
        moved = face.moved(-left, -top)
        scale = LONGEST / max(part.size)
        if scale >= 1.0:
            return part, moved
        size = (max(1, round(part.width * scale)), max(1, round(part.height * scale)))
        return part.resize(size, Image.Resampling.LANCZOS), moved.scaled(size[0] / part.width, size[1] / part.height)

    def square(self, face: Face) -> tuple[float, float, float]:
        """Centre x, y and side of `face`'s crop in pixels; the crop is turned by `face.roll` about the centre."""
        if face.landmarks is None:
            return _square_of(face.box)
        left, top, right, bottom = face.box
        side = self.side * math.sqrt((right - left) * (bottom - top))
        # The shift points down the face, not down the picture.
        x = (left + right) / 2 - math.sin(face.roll) * self.shift * side
        y = (top + bottom) / 2 + math.cos(face.roll) * self.shift * side
        return x, y, side

    def to_tensor(self, crop: Image.Image) -> Tensor:
        """The square crop as float32 (3, size, size): resized, grey if so set, 0..1, normalised.

        Raises ValueError unless `crop` is square: squeezing a face would change its expression.
        """
        if crop.width != crop.height:
            raise ValueError(f"a face crop must be square, this one is {crop.width}×{crop.height}")
        if self.grayscale:
            crop = crop.convert("L")
        values = torch.from_numpy(np.array(_resized(crop, self.size).convert("RGB"))).permute(2, 0, 1).float().div_(255)
        return (values - torch.tensor(self.mean)[:, None, None]) / torch.tensor(self.std)[:, None, None]

    def to_image(self, face: Tensor) -> Image.Image:
        """What `to_tensor` made, float32 (3, size, size), as a picture for people."""
        values = face * torch.tensor(self.std)[:, None, None] + torch.tensor(self.mean)[:, None, None]
        return Image.fromarray((values.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy())

    def __call__(self, image: Image.Image, face: Face) -> Tensor:
        """`crop`, then `to_tensor`: float32 (3, size, size)."""
        return self.to_tensor(self.crop(image, face))

    def as_dict(self) -> dict:
        """Plain JSON values; `from_dict` reads them back."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: dict) -> "Preprocess":
        """The inverse of `as_dict`. Raises ValueError for missing or unknown fields."""
        known = {field.name for field in fields(cls)}
        if set(values) != known:
            raise ValueError(f"preprocess fields differ: {sorted(set(values) ^ known)}")
        return cls(**{key: tuple(value) if isinstance(value, list) else value for key, value in values.items()})


def _resized(crop: Image.Image, size: int) -> Image.Image:
    """The square `crop` at `size` pixels.

    Small faces are enlarged as the training views are (`augment.Augment.crop`), by Pillow's `transform`,
    whose bicubic is sharper (a = -1) than that of its `resize` (a = -1/2): fed the softer one, the network
    loses a quarter of a point of accuracy. Large ones are shrunk by `resize`, which widens its filter, so
    that they are not aliased.
    """
    if crop.width >= size:
        return crop.resize((size, size), Image.Resampling.BICUBIC)
    step = crop.width / size
    return crop.transform((size, size), Image.Transform.AFFINE, (step, 0, 0, 0, step, 0), Image.Resampling.BICUBIC)


def _square_of(box: tuple[float, float, float, float]) -> tuple[float, float, float]:
    """Centre and side of the largest square inside `box`."""
    left, top, right, bottom = box
    return (left + right) / 2, (top + bottom) / 2, min(right - left, bottom - top)


def _cut_square(image: Image.Image, x: float, y: float, side: float, angle: float) -> Image.Image:
    """The square of `side` pixels centred on (x, y) and turned by `angle` radians, border pixels repeated."""
    pixels = max(1, round(side))
    if angle == 0.0:
        left, top = round(x - pixels / 2), round(y - pixels / 2)
        region, dx, dy = _padded_region(image, left, top, left + pixels, top + pixels)
        return region.crop((left - dx, top - dy, left - dx + pixels, top - dy + pixels))
    reach = math.ceil(pixels * math.sqrt(0.5)) + 2  # half diagonal, and two pixels for the bicubic filter
    region, dx, dy = _padded_region(
        image, math.floor(x) - reach, math.floor(y) - reach, math.ceil(x) + reach, math.ceil(y) + reach
    )
    cos, sin = math.cos(angle) * side / pixels, math.sin(angle) * side / pixels
    half = pixels / 2
    # Pillow maps output pixel to input pixel: rotate about the crop's centre, then move to (x, y).
    matrix = (cos, -sin, x - dx - cos * half + sin * half, sin, cos, y - dy - sin * half - cos * half)
    return region.transform((pixels, pixels), Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC)


def _padded_region(
    image: Image.Image, left: int, top: int, right: int, bottom: int
) -> tuple[Image.Image, int, int]:
    """The pixels left..right, top..bottom with border pixels repeated outside, and where they start."""
    inside = (
        min(max(left, 0), image.width - 1), min(max(top, 0), image.height - 1),
        max(min(right, image.width), 1), max(min(bottom, image.height), 1),
    )  # fmt: skip
    inside = (inside[0], inside[1], max(inside[2], inside[0] + 1), max(inside[3], inside[1] + 1))
    region = image.crop(inside)
    pad = (inside[0] - left, inside[1] - top, right - inside[2], bottom - inside[3])
    if max(pad) > 0:
        widths = [(max(pad[1], 0), max(pad[3], 0)), (max(pad[0], 0), max(pad[2], 0)), (0, 0)]
        region = Image.fromarray(np.pad(np.asarray(region), widths, mode="edge"))
        return region, left, top
    return region, inside[0], inside[1]
