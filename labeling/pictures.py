"""Ready-made faces as they are kept: opened, upright, grey or RGB, and written as PNG without metadata.

Whole photos go through the detector's own opener (see `exchange.Cutter`); what needs no detector comes
through here, so that faces can be imported where no network is installed.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageOps

MOST_PIXELS = 50_000_000  # a small file can decode to gigabytes
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")  # Pillow's other readers call outside programs
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".mpo", ".ppm", ".pgm")


class UnreadablePicture(ValueError):
    """The picture cannot be used; the message is one sentence."""


def open_face(content: bytes) -> Image.Image:
    """The picture in `content`, upright, mode "L" where the file is grey and "RGB" otherwise. Raises UnreadablePicture.

    Transparency is laid on white, 16-bit grey scaled to 8. Nothing but pixels travels on.
    """
    try:
        image = Image.open(io.BytesIO(content), formats=FORMATS)
    except Exception as error:  # readers raise whatever a crafted file makes them stumble over
        raise UnreadablePicture("It is not a picture that can be read here; use JPEG, PNG or WebP.") from error
    if image.width * image.height > MOST_PIXELS:
        raise UnreadablePicture(f"It has more than {MOST_PIXELS // 10**6} million pixels; make it smaller first.")
    try:
        image.load()
        # An array on the way: no EXIF, no colour profile, no comments travel on.
        return Image.fromarray(np.array(_plain(_upright(image))))
    except Exception as error:  # as above
        raise UnreadablePicture("It is damaged or cut off; save or download it again.") from error


def png(image: Image.Image) -> bytes:
    """`image` as the bytes of a PNG, the same for the same pixels."""
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def small_grey(content: bytes, side: int) -> Image.Image:
    """The face in `content` grey, `side` pixels square; where it is not square, border pixels repeat."""
    image = open_face(content).convert("L")
    if image.width != image.height:
        extra = max(image.size) - np.array(image.size[::-1])
        image = Image.fromarray(np.pad(np.asarray(image), [(gap // 2, gap - gap // 2) for gap in extra], mode="edge"))
    return image if image.width == side else image.resize((side, side), Image.Resampling.LANCZOS)


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # EXIF is damaged; the picture itself may be whole
        return image


def _plain(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # Pillow clips 16-bit grey at 255 instead of scaling it
        values = np.asarray(image.convert("I")).clip(0, 65535)
        return Image.fromarray(((values + 128) // 257).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("L" if image.mode in ("1", "L", "F") else "RGB")
