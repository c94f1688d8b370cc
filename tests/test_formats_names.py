"""Names of exported files are harmless and given once."""

from __future__ import annotations

import pytest

from labeling.formats.names import Names


@pytest.mark.parametrize(
    ("wanted", "given"),
    [
        ("a.png", "a.png"), ("sub/b.JPG", "b.png"), ("clip.mp4#t=5", "clip.mp4_t_5.png"),
        ("../../etc/passwd", "passwd.png"),
        ("=1+1.png", "1_1.png"), ("-x", "x.png"), ("<b>.png", "b.png"), ("..", "face.png"), ("", "face.png"),
        (".hidden", "hidden.png"), ("漢字.png", "漢字.png"), ("a" * 300, "a" * 80 + ".png"),
    ],
)  # fmt: skip
def test_a_name_keeps_what_is_harmless(wanted, given):
    assert Names().free(wanted) == given


def test_no_name_is_given_twice_not_even_in_capitals():
    names = Names()
    assert [names.free(one) for one in ("a.png", "A.png", "a-1.png", "a.jpg")] == [
        "a.png",
        "A-1.png",
        "a-1-2.png",
        "a-3.png",
    ]
