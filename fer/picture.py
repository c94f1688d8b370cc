"""One way in for every picture: a path, bytes, a data URL, a numpy array or a Pillow image.

All of them come out as the same upright 8-bit RGB picture, so that the network sees the same
numbers however a picture arrived.
"""

from __future__ import annotations

import base64
import binascii
import io
from pathlib import Path

import numpy as np
from PIL import Image

# A 20-kilobyte PNG can decode to gigabytes. 50 megapixels is more than phones take by default.
MAX_PIXELS = 50_000_000
# What people have; Pillow's other readers (some call outside programs) stay closed.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".mpo", ".ppm", ".pgm")

Source = str | Path | bytes | np.ndarray | Image.Image


class UnreadablePicture(ValueError):
    """The picture cannot be used; the message is one sentence for the person who gave it."""


def open_picture(source: Source, limit: int = MAX_PIXELS) -> Image.Image:
    """The first frame of `source` (of a Pillow image the current one) as an upright RGB picture without metadata.

    `source` is a path, the bytes of a file, a ``data:`` URL, a uint8 array (H, W), (H, W, 3) or
    (H, W, 4), or a Pillow image. EXIF orientation is applied, transparency is laid on white, 16-bit
    grey is scaled to 8. A picture of more than `limit` pixels is refused before it is decoded. Raises UnreadablePicture, in one sentence, for anything else.
    """
    if isinstance(source, np.ndarray):
        return _as_rgb(_from_array(source, limit))
    if isinstance(source, Image.Image):
        return _decode(source, "The picture", limit)
    if isinstance(source, str) and source.startswith("data:"):
        return _read(_from_data_url(source), "The picture", limit)
    if isinstance(source, bytes):
        return _read(source, "The picture", limit)
    return _read(_from_path(Path(source)), Path(source).name or "The picture", limit)


def _read(data: bytes, name: str, limit: int) -> Image.Image:
    if not data:
        raise UnreadablePicture(f"{name} is an empty file; choose another picture.")
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError as error:  # Pillow's own limit, far above ours
        raise _too_large(name, limit) from error
    except Exception as error:  # readers raise whatever a crafted file makes them stumble over
        raise UnreadablePicture(f"{name} is not a picture this app can read; use JPEG, PNG or WebP.") from error
    return _decode(image, name, limit)


def _decode(image: Image.Image, name: str, limit: int) -> Image.Image:
    if image.width * image.height > limit:
        raise _too_large(name, limit)
    if min(image.size) < 1:
        raise UnreadablePicture(f"{name} has no pixels; choose another picture.")
    try:
        image.load()
        return _upright(_as_rgb(image), _orientation(image))
    except Exception as error:  # as above
        raise UnreadablePicture(f"{name} is damaged or cut off; save or download it again.") from error


# What to do to a picture whose EXIF says that its first row and column lie elsewhere (EXIF 2.3, tag 0x0112).
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1..8; 1 where there is none or EXIF is damaged: the picture itself may be whole."""
    try:
        return int(image.getexif().get(0x0112, 1))
    except Exception:
        return 1


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    return image.transpose(_TURNS[orientation]) if orientation in _TURNS else image


def _from_path(path: Path) -> bytes:
    name = path.name or "The picture"
    try:
        if path.is_dir():
            raise UnreadablePicture(f"{name} is a folder; choose a picture inside it.")
        return path.read_bytes()
    except FileNotFoundError as error:
        raise UnreadablePicture(f"{name} does not exist; check the name and the folder.") from error
    except UnreadablePicture:
        raise
    except (OSError, ValueError) as error:  # ValueError for names that no file can have
        raise UnreadablePicture(f"{name} cannot be opened; check its name and the right to read it.") from error


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        # Pillow clips 16-bit grey at 255 instead of scaling it.
        values = np.asarray(image.convert("I")).clip(0, 65535)
        image = Image.fromarray(((values + 128) // 257).astype(np.uint8))
    elif image.mode == "F":
        image = Image.fromarray(np.clip(np.nan_to_num(np.asarray(image)), 0, 255).round().astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    # A new picture, not the old one: no EXIF, no colour profile, no comments travel on.
    return Image.fromarray(np.array(image.convert("RGB")))


def _from_array(array: np.ndarray, limit: int) -> Image.Image:
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)):
        raise UnreadablePicture(
            f"An array of {array.dtype} {array.shape} is not a picture; give uint8 (H, W), (H, W, 3) or (H, W, 4)."
        )
    if array.size == 0:
        raise UnreadablePicture("The picture has no pixels; choose another picture.")
    if array.shape[0] * array.shape[1] > limit:
        raise _too_large("The picture", limit)
    return Image.fromarray(array)


def _from_data_url(url: str) -> bytes:
    head, comma, body = url.partition(",")
    try:
        if not comma or not head.endswith(";base64"):
            raise binascii.Error("not base64")
        return base64.b64decode(body, validate=True)
    except ValueError as error:  # binascii.Error among them
        raise UnreadablePicture("The picture's data URL is damaged; choose the file again.") from error


def _too_large(name: str, limit: int) -> UnreadablePicture:
    return UnreadablePicture(f"{name} has more than {limit // 1_000_000} million pixels; make it smaller first.")
