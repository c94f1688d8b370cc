"""Live video: `LiveReader` follows the faces of each viewer from frame to frame.

The detector looks at the whole frame a few times a second; between, each face is followed by MTCNN's
last network alone (`FaceDetector.follow`). Nothing of a frame is kept once it is answered.
"""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from fer.faces import Face, FaceDetector, overlap
from fer.picture import Source, open_picture
from fer.predict import FaceReading, Prediction, Recognizer
from fer.quality import remarks
from fer.turns import Turns

FORGET_SECONDS = 10.0  # a viewer silent for so long has gone away
SEARCH_SECONDS = 0.3  # between two looks at the whole frame while faces are being followed
EMPTY_SECONDS = 0.15  # the same while there is nobody to follow
MAX_VIEWERS = 64  # the one longest silent makes room; bounds memory, whatever ids a page makes up
SAME = 0.35  # overlap from which a found box is a followed face
FRAME_PIXELS = 2_100_000  # of the largest frame that is read: full HD
PATIENCE_SECONDS = 2.0  # a frame that waited longer for the one before it is stale
MERGED = 0.3  # overlap from which two followed faces can no longer be told apart


@dataclass(eq=False)
class Track:
    """One face over time: `id` is not given again to this viewer; `scores` float (K,) are smoothed, summing to 1."""

    id: int
    face: Face
    scores: np.ndarray | None = None


@dataclass
class Viewer:
    """What is remembered of one open page between two frames."""

    last_seen: float
    tracks: list[Track] = field(default_factory=list)
    next_id: int = 1
    searched: float = -math.inf
    answered: float = -math.inf
    size: tuple[int, int] | None = None  # of the frame before, pixels
    newest: int = 0  # number of the frame that came last
    lock: threading.Lock = field(default_factory=threading.Lock)


class LiveReader:
    """Reads frames for several viewers at once; `clock` returns seconds and is replaced in tests."""

    def __init__(
        self,
        recognizer: Callable[[], Recognizer],
        turns: Turns,
        detector: FaceDetector | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._recognizer = recognizer
        self._detector = detector or FaceDetector(longest=480, smallest=36)
        self._turns = turns
        self._clock = clock
        self._viewers: OrderedDict[str, Viewer] = OrderedDict()
        self._lock = threading.Lock()
        self._sweeping = False

    @property
    def viewers(self) -> int:
        """How many pages are remembered; those silent for `FORGET_SECONDS` are forgotten first."""
        with self._lock:
            self._forget(self._clock())
            return len(self._viewers)

    def read(self, viewer_id: str, source: Source, smoothing: float = 0.3, scale: float = 1.0) -> dict:
        """The faces of one frame of the page `viewer_id`: the JSON that the page draws.

        `smoothing` is the time constant of the scores in seconds, 0 for none. Each face carries the
        `id` it keeps while it can be followed without doubt. `scale` says how much larger the camera's
        own picture is than the frame. A frame that a newer one has overtaken is answered {stale: true}
        and not looked at. Raises UnreadablePicture.
        """
        recognizer = self._recognizer()
        viewer = self._viewer(viewer_id)
        viewer.newest = mine = viewer.newest + 1
        if not viewer.lock.acquire(timeout=PATIENCE_SECONDS):
            return {"stale": True}
        try:
            with self._turns.turn():
                if mine != viewer.newest:
                    return {"stale": True}
                return self._answer(viewer, recognizer, source, smoothing, scale)
        finally:
            viewer.lock.release()

    def _answer(self, viewer: Viewer, recognizer: Recognizer, source: Source, smoothing: float, scale: float) -> dict:
        started = time.perf_counter()
        image = open_picture(source, FRAME_PIXELS)
        _rescale(viewer, image.size)
        self._locate(viewer, image)
        preprocess = recognizer.bundle.preprocess
        crops = [preprocess.crop(image, track.face) for track in viewer.tracks]
        tensors = [preprocess.to_tensor(crop) for crop in crops]
        now = self._clock()
        keep = math.exp(-(now - viewer.answered) / smoothing) if smoothing > 0 else 0.0
        for track, prediction in zip(viewer.tracks, recognizer.predict(tensors), strict=True):
            fresh = np.array(prediction.probabilities)
            track.scores = fresh if track.scores is None else keep * track.scores + (1 - keep) * fresh
        viewer.answered = now
        return {
            "width": image.width,
            "height": image.height,
            "model": recognizer.bundle.version,
            "faces": [
                {"id": track.id, **_reading(track, recognizer, image, crop, scale).as_dict()}
                for track, crop in zip(viewer.tracks, crops, strict=True)
            ],
            "ms": round((time.perf_counter() - started) * 1000, 1),
        }

    def leave(self, viewer_id: str) -> None:
        """Forget the page `viewer_id` at once: its camera was switched off."""
        with self._lock:
            self._viewers.pop(viewer_id, None)

    def _viewer(self, viewer_id: str) -> Viewer:
        now = self._clock()
        with self._lock:
            self._forget(now)
            viewer = self._viewers.pop(viewer_id, None) or Viewer(now)
            viewer.last_seen = now
            self._viewers[viewer_id] = viewer  # at the end: the first is the one longest silent
            while len(self._viewers) > MAX_VIEWERS:
                self._viewers.popitem(last=False)
            if not self._sweeping:
                self._sweeping = True
                threading.Thread(target=self._sweep, name="live-sweep", daemon=True).start()
        return viewer

    def _sweep(self) -> None:
        """Forget the silent even when nobody else comes; ends with the last viewer."""
        while True:
            time.sleep(FORGET_SECONDS / 4)
            with self._lock:
                self._forget(self._clock())
                if not self._viewers:
                    self._sweeping = False
                    return

    def _forget(self, now: float) -> None:
        for one in [one for one, viewer in self._viewers.items() if now - viewer.last_seen > FORGET_SECONDS]:
            del self._viewers[one]

    def _locate(self, viewer: Viewer, image: Image.Image) -> None:
        """Move the viewer's tracks to where their faces are in `image`; start and end tracks."""
        before = len(viewer.tracks)
        moved = self._detector.follow(image, [track.face for track in viewer.tracks])
        tracks = [
            Track(old.id, face, old.scores)
            for old, face in zip(viewer.tracks, moved, strict=True)
            if face and not _took_over(old, face, viewer.tracks)
        ]
        # Two faces that meet may leave with each other's box: neither keeps its name or its scores.
        tracks = [one for one in tracks if all(one is two or overlap(one.face, two.face) < MERGED for two in tracks)]
        lost = len(tracks) < before
        pause = SEARCH_SECONDS if tracks else EMPTY_SECONDS
        now = self._clock()
        if now - viewer.searched >= pause or lost:
            viewer.searched = now
            tracks = self._matched(viewer, tracks, self._detector.find(image))
        viewer.tracks = sorted(tracks, key=lambda track: track.face.box)

    def _matched(self, viewer: Viewer, tracks: list[Track], found: list[Face]) -> list[Track]:
        """Tracks for `found`: an old one where exactly one overlaps and is overlapped, else a new one.

        A track that the search did not see goes on if its own network is sure of it.
        """
        matched: list[Track] = []
        claims = [[track for track in tracks if overlap(track.face, face) >= SAME] for face in found]
        claimed = [track for claim in claims for track in claim]
        for face, claim in zip(found, claims, strict=True):
            if len(claim) == 1 and claimed.count(claim[0]) == 1:
                matched.append(Track(claim[0].id, face, claim[0].scores))
            else:
                matched.append(Track(viewer.next_id, face))
                viewer.next_id += 1
        return matched + [track for track in tracks if track not in claimed and track.face.score > 0.9]


def _took_over(old: Track, face: Face, tracks: list[Track]) -> bool:
    """Whether the track `old` now lies on `face` where rather another of `tracks` was: it jumped to a neighbour."""
    return any(one is not old and overlap(face, one.face) > overlap(face, old.face) for one in tracks)


def _rescale(viewer: Viewer, size: tuple[int, int]) -> None:
    """Carry the faces over to frames of another `size`: a page sends smaller ones while its line is slow."""
    if viewer.size not in (None, size):
        x, y = size[0] / viewer.size[0], size[1] / viewer.size[1]
        for track in viewer.tracks:
            track.face = track.face.scaled(x, y)
    viewer.size = size


def _reading(
    track: Track, recognizer: Recognizer, image: Image.Image, crop: Image.Image, scale: float
) -> FaceReading:
    """The track's face with its smoothed scores, in the form that photos have too."""
    prediction = Prediction(tuple(track.scores.tolist()), recognizer.bundle.classes, recognizer.bundle.version)
    return FaceReading(track.face, prediction, remarks(image, track.face, crop, scale))
