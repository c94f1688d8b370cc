"""Videos: one frame a second, still to be searched for faces. Read with PyAV, which brings FFmpeg along."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from labeling.formats.records import Problem, Record
from labeling.tree import Tree, TreeError

if TYPE_CHECKING:
    from av import VideoFrame

# By ending, and the reader is told: left to guess, FFmpeg would follow a playlist that calls itself a film.
CONTAINERS = {
    ".mp4": "mov", ".m4v": "mov", ".mov": "mov", ".webm": "matroska", ".mkv": "matroska", ".avi": "avi",
    ".mpg": "mpeg", ".mpeg": "mpeg",
}  # fmt: skip
SECONDS = 1.0  # between two frames that are kept
MOST_PIXELS = 50_000_000  # of a frame


def fits(tree: Tree) -> bool:
    """Whether `tree` holds a video."""
    return any(map(_is_video, tree.names()))


def read(tree: Tree) -> Iterator[Record | Problem]:
    """A photo for each second of each video; all of one video are one group."""
    for name in filter(_is_video, tree.names()):
        try:
            for second, frame in _frames(tree, name):
                yield Record(f"{name}#t={second}", _reader(frame), group=f"{tree.name}/{name}", ready_made=False)
        except ValueError as error:
            yield Problem(name, str(error))


def _frames(tree: Tree, name: str) -> Iterator[tuple[int, "VideoFrame"]]:
    """Second and first frame of each second. Raises ValueError, in a sentence, where the video ends too soon."""
    import av

    due = 0.0
    try:
        with tree.open(name) as file, av.open(file, format=CONTAINERS[PurePosixPath(name).suffix.lower()]) as clip:
            stream = clip.streams.video[0]
            stream.thread_type = "AUTO"
            if stream.width * stream.height > MOST_PIXELS:
                raise TreeError(f"Its frames have more than {MOST_PIXELS // 10**6} million pixels.")
            for frame in clip.decode(stream):
                if frame.time is not None and frame.time >= due:
                    yield int(frame.time), frame
                    due = int(frame.time) + SECONDS
    except (av.error.FFmpegError, IndexError, OSError) as error:
        raise TreeError("It is damaged, cut off, or no video that can be read here; use MP4 or WebM.") from error


def _reader(frame: "VideoFrame"):
    """Reads a frame, turned as the camera was held, as a picture without compression."""

    def content() -> bytes:
        image, file = frame.to_image(), io.BytesIO()
        turned = image.rotate(frame.rotation, expand=True) if frame.rotation else image
        turned.save(file, "PPM")
        return file.getvalue()

    return content


def _is_video(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in CONTAINERS
