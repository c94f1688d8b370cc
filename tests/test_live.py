"""Faces followed from frame to frame, with frames made of the sample photograph."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from PIL import Image

from fer.faces import Face, overlap
from fer.live import FORGET_SECONDS, MAX_VIEWERS, LiveReader, Track, Viewer
from fer.turns import Turns


class Clock:
    """Seconds that pass only when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def live(recognizer, clock) -> LiveReader:
    return LiveReader(lambda: recognizer, Turns(2), clock=clock)


@pytest.fixture(scope="module")
def heads(collins) -> tuple[Image.Image, Image.Image]:
    """Two heads of the same person, the second mirrored and darker."""
    with Image.open(collins) as image:
        head = image.convert("RGB").crop((150, 30, 300, 190)).resize((220, 235), Image.Resampling.BICUBIC)
    return head, head.transpose(Image.Transpose.FLIP_LEFT_RIGHT).point(lambda value: value * 0.7)


def frame(*placed: tuple[Image.Image, int, int]) -> np.ndarray:
    canvas = Image.new("RGB", (640, 480), (120, 130, 140))
    for head, left, top in placed:
        canvas.paste(head, (left, top))
    return np.asarray(canvas)


def test_a_moving_face_keeps_its_id_for_thirty_seconds(live, clock, heads):
    ids = set()
    for index in range(30 * 15):
        clock.now += 1 / 15
        left, top = round(210 + 150 * np.sin(index / 15)), round(120 + 80 * np.cos(index / 11))
        faces = live.read("one", frame((heads[0], left, top)))["faces"]
        assert len(faces) == 1
        ids.add(faces[0]["id"])
        middle = (faces[0]["box"][0] + faces[0]["box"][2]) / 2
        assert abs(middle - (left + 110)) < 30
    assert ids == {1}


def test_two_people_who_cross_never_swap_ids(live, clock, heads):
    """Whoever keeps an id is on the side that the id's face went to."""
    before, after = {}, {}
    for index in range(61):
        clock.now += 1 / 15
        first, second = 10 + index * 400 // 60, 410 - index * 400 // 60
        faces = live.read("one", frame((heads[1], second, 130), (heads[0], first, 110)))["faces"]
        where = {face["id"]: (face["box"][0] + face["box"][2]) / 2 for face in faces}
        if index == 10:
            before = where
        if index == 60:
            after = where
    assert len(before) == 2 and len(after) == 2
    for number in before.keys() & after.keys():
        assert (before[number] < 320) != (after[number] < 320), "an id stayed on its side while its face crossed over"


def test_scores_start_afresh_with_a_new_id(live, clock, heads):
    live.read("one", frame((heads[0], 200, 120)), smoothing=1000.0)
    live._viewers["one"].tracks[0].scores = np.eye(8)[4]  # pretend it was all anger
    clock.now += 1
    live.read("one", frame())
    clock.now += 1
    face = live.read("one", frame((heads[1], 100, 120)), smoothing=1000.0)["faces"][0]
    assert face["id"] != 1
    assert face["scores"]["anger"] < 0.02


def test_smoothing_follows_its_time_constant(live, clock, heads):
    live.read("one", frame((heads[0], 200, 120)), smoothing=0.5)
    track = live._viewers["one"].tracks[0]
    track.scores = np.eye(8)[4]  # pretend it was all anger
    clock.now += 0.5
    anger = live.read("one", frame((heads[0], 200, 120)), smoothing=0.5)["faces"][0]["scores"]["anger"]
    assert anger == pytest.approx(np.exp(-1), abs=0.02)
    clock.now += 0.1
    assert live.read("one", frame((heads[0], 200, 120)), smoothing=0.0)["faces"][0]["scores"]["anger"] < 0.02


def test_tracks_that_meet_lose_their_names():
    viewer, merged = Viewer(0.0), (100.0, 100.0, 200.0, 200.0)
    nearly = (110.0, 100.0, 210.0, 200.0)

    class Meeting:
        def follow(self, image, faces):
            return [Face(merged), Face(nearly)]

        def find(self, image):
            return [Face(merged), Face(nearly)]

    reader = LiveReader(lambda: None, Turns(1), detector=Meeting(), clock=lambda: 5.0)
    viewer.tracks = [Track(1, Face(merged), np.ones(8) / 8), Track(2, Face(nearly), np.ones(8) / 8)]
    viewer.next_id = 3
    reader._locate(viewer, Image.new("RGB", (400, 300)))
    assert {track.id for track in viewer.tracks} == {3, 4}
    assert all(track.scores is None for track in viewer.tracks)


def test_a_track_that_jumps_onto_a_lost_neighbour_loses_its_name():
    class Jumping:
        def follow(self, image, faces):
            return [Face((205.0, 100.0, 305.0, 200.0)), None]

        def find(self, image):
            return [Face((205.0, 100.0, 305.0, 200.0))]

    reader, viewer = LiveReader(lambda: None, Turns(1), detector=Jumping(), clock=lambda: 5.0), Viewer(0.0, next_id=3)
    viewer.tracks = [
        Track(1, Face((120.0, 100.0, 220.0, 200.0)), np.ones(8) / 8),
        Track(2, Face((210.0, 100.0, 310.0, 200.0)), np.ones(8) / 8),
    ]
    reader._locate(viewer, Image.new("RGB", (400, 300)))
    assert [track.id for track in viewer.tracks] == [3]


def test_a_face_keeps_its_id_when_the_page_sends_smaller_frames(live, clock, heads):
    large = Image.fromarray(frame((heads[0], 200, 120)))
    ids = []
    for width in (640, 640, 320, 320, 640, 640):
        clock.now += 0.05
        picture = large.resize((width, width * 3 // 4), Image.Resampling.BOX)
        ids.append([face["id"] for face in live.read("one", picture)["faces"]])
    assert ids == [[1]] * 6


def test_a_frame_that_a_newer_one_has_overtaken_is_not_looked_at(live, clock, heads):
    live.read("one", frame((heads[0], 200, 120)))
    viewer = live._viewers["one"]
    answers = []
    with viewer.lock:
        threads = [
            threading.Thread(target=lambda: answers.append(live.read("one", frame((heads[0], 200, 120)))))
            for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        while viewer.newest < 4:
            time.sleep(0.001)
    for thread in threads:
        thread.join(10)
    assert sorted("stale" in answer for answer in answers) == [False, True, True]


def test_a_frame_larger_than_full_hd_is_refused(live):
    from fer.picture import UnreadablePicture

    with pytest.raises(UnreadablePicture, match="million pixels"):
        live.read("one", np.zeros((1500, 2000, 3), np.uint8))


def test_viewers_do_not_see_each_others_faces(live, clock, heads):
    assert live.read("one", frame((heads[0], 100, 100)))["faces"]
    assert live.read("two", frame())["faces"] == []


def test_a_silent_viewer_is_forgotten_and_a_leaving_one_at_once(live, clock, heads):
    live.read("one", frame())
    live.read("two", frame())
    live.leave("two")
    assert live.viewers == 1
    clock.now += FORGET_SECONDS + 0.1
    assert live.viewers == 0


def test_made_up_viewers_do_not_fill_the_memory(live):
    for index in range(MAX_VIEWERS + 20):
        live._viewer(f"viewer {index}")
    assert live.viewers == MAX_VIEWERS


def test_turns_are_served_in_the_order_they_came():
    turns, order, waiting = Turns(1), [], []

    def take(number: int) -> None:
        with turns.turn():
            order.append(number)

    with turns.turn():
        for number in range(5):
            thread = threading.Thread(target=take, args=(number,))
            thread.start()
            waiting.append(thread)
            while len(turns._waiting) <= number:
                time.sleep(0.001)
    for thread in waiting:
        thread.join(5)
    assert order == [0, 1, 2, 3, 4]


def test_overlap_is_intersection_over_union():
    a, b = Face((0.0, 0.0, 2.0, 2.0)), Face((1.0, 0.0, 3.0, 2.0))
    assert overlap(a, b) == pytest.approx(1 / 3)
    assert overlap(a, Face((5.0, 5.0, 6.0, 6.0))) == 0.0


def test_memory_is_stable_over_hundreds_of_frames(live, clock, heads):
    import tracemalloc

    for index in range(50):
        clock.now += 0.05
        live.read("one", frame((heads[0], 200, 120)))
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for index in range(300):
        clock.now += 0.05
        live.read("one", frame((heads[0], 200 + index % 40, 120)))
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 2_000_000
