"""Videos become photos, one a second."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import COLLINS, picture
from exchanged import MiddleCutter
from PIL import Image

from labeling.exchange import ExchangeError, bring_in
from labeling.store import LabelStore

av = pytest.importorskip("av")


def clip(path: Path, seconds: float = 3.0, rate: int = 10, size: tuple[int, int] = (96, 64)) -> Path:
    """A video whose picture changes wholly every second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=rate)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = *size, "yuv420p", 4_000_000
        for number in range(round(seconds * rate)):
            still = picture((8, 6), seed=number // rate).resize(size, Image.Resampling.BICUBIC)
            container.mux(stream.encode(av.VideoFrame.from_image(still)))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi", "mov"])
def test_one_frame_a_second_is_searched_and_the_clip_is_the_group(tmp_path, suffix):
    store = LabelStore(tmp_path / "labels")
    report = bring_in(store, str(clip(tmp_path / f"smile.{suffix}")), MiddleCutter())
    assert (report.source, report.faces, report.unlabelled, report.problem_count) == ("video:smile", 3, 3, 0)
    items = [store.item(number) for number in (1, 2, 3)]
    assert [item.name for item in items] == [f"smile.{suffix}#t={second}" for second in range(3)]
    assert {item.group for item in items} == {f"smile/smile.{suffix}"}
    assert {(item.width, item.height) for item in items} == {(72, 48)}


def test_again_it_adds_nothing(tmp_path):
    store, path = LabelStore(tmp_path / "labels"), clip(tmp_path / "smile.mp4")
    bring_in(store, f"video:{path}", MiddleCutter())
    report = bring_in(store, f"video:{path}", MiddleCutter())
    assert (report.faces, report.known) == (0, 3)


def test_videos_among_photos_are_searched_too(tmp_path):
    (tmp_path / "party").mkdir()
    clip(tmp_path / "party" / "a.mp4", 2)
    picture((64, 48), 9).save(tmp_path / "party" / "b.png")
    assert bring_in(LabelStore(tmp_path / "labels"), str(tmp_path / "party"), MiddleCutter()).faces == 3


def test_a_video_that_is_damaged_is_named_and_the_others_arrive(tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a.mp4").write_bytes(b"no video")
    (tmp_path / "set" / "b.webm").write_bytes(b"")
    clip(tmp_path / "set" / "c.mp4", 1)
    report = bring_in(LabelStore(tmp_path / "labels"), f"video:{tmp_path / 'set'}", MiddleCutter())
    assert report.faces == 1 and [one.name for one in report.problems] == ["a.mp4", "b.webm"]
    assert all(one.sentence.endswith("use MP4 or WebM.") for one in report.problems)


def test_a_video_cut_off_gives_what_it_has(tmp_path):
    whole = clip(tmp_path / "whole.avi", 6).read_bytes()
    (tmp_path / "cut.avi").write_bytes(whole[: len(whole) // 2])
    report = bring_in(LabelStore(tmp_path / "labels"), str(tmp_path / "cut.avi"), MiddleCutter())
    assert 1 <= report.faces < 6


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi", "mpg"])
def test_a_playlist_that_calls_itself_a_video_reads_no_other_file(tmp_path, suffix):
    secret = clip(tmp_path / "secret.mp4", 2)
    (tmp_path / "set").mkdir()
    for index, text in enumerate((f"#EXTM3U\n#EXTINF:2,\n{secret}\n", f"ffconcat version 1.0\nfile '{secret}'\n")):
        (tmp_path / "set" / f"{index}.{suffix}").write_text(text)
    with pytest.raises(ExchangeError, match=r"^No face could be brought in from set\."):
        bring_in(LabelStore(tmp_path / "labels"), f"video:{tmp_path / 'set'}", MiddleCutter())


def one_frame(path: Path, image: Image.Image) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=1)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = *image.size, "yuv420p", 8_000_000
        container.mux([*stream.encode(av.VideoFrame.from_image(image)), *stream.encode()])
    return path


def frames_seen(tmp_path: Path, path: Path) -> list[Image.Image]:
    """What the detector is given of a video."""
    seen = []

    class Watching(MiddleCutter):
        def faces(self, image):
            seen.append(image)
            return super().faces(image)

    bring_in(LabelStore(tmp_path / "labels"), str(path), Watching())
    return seen


def test_a_frame_shows_what_the_camera_saw(tmp_path):
    image = Image.open(COLLINS).convert("RGB").resize((160, 192))
    (seen,) = frames_seen(tmp_path, one_frame(tmp_path / "a.mp4", image))
    assert np.abs(np.asarray(seen, float) - np.asarray(image, float)).mean() < 8


# The matrix of a track's header (ISO 14496-12, 6.2.2): as it is, and turned as a phone held upright writes it.
STRAIGHT = bytes.fromhex("00010000 00000000 00000000 00000000 00010000 00000000 00000000 00000000 40000000")
TURNED = bytes.fromhex("00000000 00010000 00000000 ffff0000 00000000 00000000 00000000 00000000 40000000")


def test_a_video_of_a_phone_held_upright_is_turned(tmp_path):
    upright = Image.open(COLLINS).convert("RGB").resize((160, 192))
    path = one_frame(tmp_path / "a.mp4", upright.transpose(Image.Transpose.ROTATE_90))
    content = path.read_bytes()
    track = content.index(b"tkhd")
    path.write_bytes(content[:track] + content[track:].replace(STRAIGHT, TURNED, 1))
    (seen,) = frames_seen(tmp_path, path)
    assert seen.size == upright.size
    assert np.abs(np.asarray(seen, float) - np.asarray(upright, float)).mean() < 8
