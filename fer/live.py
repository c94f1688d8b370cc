"""Live video: `LiveReader` follows the faces of each viewer from frame to frame.

The detector looks at the whole frame a few times a second; between, each face is followed by MTCNN's
last network alone (`FaceDetector.follow`). Nothing of a frame is kept once it is answered.
"""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from fer.faces import Face, FaceDetector, overlap
from fer.picture import Source, open_picture
from fer.predict import FaceReading, Prediction, Recognizer
from fer.quality import remarks

FORGET_SECONDS = 10.0  # a viewer silent for so long has gone away
SEARCH_SECONDS = 0.3  # between two looks at the whole frame while faces are being followed
EMPTY_SECONDS = 0.15  # the same while there is nobody to follow
MAX_VIEWERS = 64  # the one longest silent makes room; bounds memory, whatever ids a page makes up
SAME = 0.35  # overlap from which a found box is a followed face
MERGED = 0.3  # overlap from which two followed faces can no longer be told apart


@dataclass(eq=False)
class Track:
    """One face over time: `id` never returns once lost; `scores` float (K,) are smoothed, summing to 1."""

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
    lock: threading.Lock = field(default_factory=threading.Lock)


class Turns:
    """At most `slots` holders at once, served in the order they came.

    A page waits for its answer before it sends the next frame, so first come, first served gives
    every viewer the same share.
    """

    def __init__(self, slots: int) -> None:
        self._condition = threading.Condition()
        self._free = slots
        self._waiting: OrderedDict[object, None] = OrderedDict()

    @contextmanager
    def turn(self) -> Iterator[None]:
        me = object()
        with self._condition:
            self._waiting[me] = None
            self._condition.wait_for(lambda: self._free > 0 and next(iter(self._waiting)) is me)
            del self._waiting[me]
            self._free -= 1
            self._condition.notify_all()
        try:
            yield
        finally:
            with self._condition:
                self._free += 1
                self._condition.notify_all()


class LiveReader:
    """Reads frames for several viewers at once; `clock` returns seconds and is replaced in tests."""

    def __init__(
        self,
        recognizer: Callable[[], Recognizer],
        slots: int,
        detector: FaceDetector | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._recognizer = recognizer
        self._detector = detector or FaceDetector(longest=480, smallest=36)
        self._turns = Turns(slots)
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

    def read(self, viewer_id: str, source: Source, smoothing: float = 0.3) -> dict:
        """The faces of one frame of the page `viewer_id`: the JSON that the page draws.

        `smoothing` is the time constant of the scores in seconds, 0 for none. Each face carries the
        `id` it keeps while it can be followed without doubt. Raises UnreadablePicture.
        """
        viewer = self._viewer(viewer_id)
        with viewer.lock, self._turns.turn():
            started = time.perf_counter()
            recognizer = self._recognizer()
            image = open_picture(source)
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
                    {"id": track.id, **_reading(track, recognizer, image, crop).as_dict()}
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
        while self._sweeping:
            time.sleep(FORGET_SECONDS / 4)
            with self._lock:
                self._forget(self._clock())
                self._sweeping = bool(self._viewers)

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


def _reading(track: Track, recognizer: Recognizer, image: Image.Image, crop: Image.Image) -> FaceReading:
    """The track's face with its smoothed scores, in the form that photos have too."""
    prediction = Prediction(tuple(track.scores.tolist()), recognizer.bundle.classes, recognizer.bundle.version)
    return FaceReading(track.face, prediction, remarks(image, track.face, crop))
