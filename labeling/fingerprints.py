"""Near-duplicates: perceptual hashes of pictures, compared by the bits in which they differ.

The hash is ImageHash's `phash` (Zauner 2010, "Implementation and Benchmarking of Perceptual Image Hash
Functions"): 64 signs of a cosine transform. It says that two files show the same picture; it says
nothing about who is in it.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageOps

# Bits. On FER+, 90 % of pairs that correlate by 0.98 or more differ in at most this many, and of 6,000
# faces drawn at random 95 % have no other nearer than 10.
NEAR = 6
_BITS = np.arange(64, dtype=np.uint64)


def fingerprint(png: bytes) -> tuple[int, int]:
    """The hashes of a picture and of its mirror image, each 64 bits as a signed integer, which SQLite can keep.

    Raises ValueError, in one sentence, for what is no picture.
    """
    try:
        with Image.open(io.BytesIO(png)) as image:
            grey = image.convert("L")
    except (OSError, ValueError, SyntaxError) as error:
        raise ValueError("What was to be kept is not a picture, or a damaged one; give a PNG.") from error
    return _hash(grey), _hash(ImageOps.mirror(grey))


def distances(one: int, others: np.ndarray) -> np.ndarray:
    """In how many bits, 0..64, `one` differs from each of `others` int64 (N,); (N,)."""
    return _ones(others.view(np.uint64) ^ np.int64(one).view(np.uint64))


def nearest(marks: tuple[int, ...], others: np.ndarray) -> int | None:
    """Index of the first of `others` int64 (N,) within `NEAR` bits of one of `marks`; None when there is none."""
    near = np.flatnonzero(np.minimum.reduce([distances(mark, others) for mark in marks]) <= NEAR)
    return int(near[0]) if len(near) else None


def _hash(image: Image.Image) -> int:
    import imagehash

    bits = imagehash.phash(image).hash.ravel()
    return int(np.bitwise_or.reduce(np.where(bits, np.uint64(1) << _BITS, np.uint64(0))).astype(np.int64))


def _ones(values: np.ndarray) -> np.ndarray:
    """How many bits of each uint64 are set."""
    if hasattr(np, "bitwise_count"):
        return np.bitwise_count(values)
    return np.unpackbits(values.view(np.uint8).reshape(-1, 8), axis=1).sum(axis=1)
