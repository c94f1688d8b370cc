"""What the tests of the label store share: real faces as PNG bytes, child processes, disks that refuse."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest
from conftest import ROOT, SAMPLES
from PIL import Image

from labeling.judgements import Judgement

# Boxes of faces in the samples, pixels, as the detector finds them.
BOXES = (
    ("eileen-collins.jpg", (179, 61, 267, 173)), ("grace-hopper.jpg", (170, 110, 356, 344)),
    ("joe-biden.jpg", (372, 139, 615, 490)), ("nikola-tesla.jpg", (83, 91, 201, 239)),
    ("barack-obama-portrait.jpg", (380, 81, 614, 416)), ("oath-ceremony.jpg", (45, 103, 108, 179)),
    ("oath-ceremony.jpg", (240, 111, 291, 176)), ("oath-ceremony.jpg", (528, 141, 575, 205)),
)  # fmt: skip
FAR_APART = range(len(BOXES))
LOCAL_DISK = "/dev/sda1 / ext4 rw 0 0\n"  # a line of /proc/mounts
CODE, OTHER_CODE = "ABCD-EFGH-JKLM-NPQR", "STUV-WXYZ-2345-6789"


@cache
def chip(index: int, shift: int = 0) -> Image.Image:
    """The face `index` of `BOXES`, 112 pixels square, cut `shift` pixels of the photo to the right."""
    name, (left, top, right, bottom) = BOXES[index]
    with Image.open(SAMPLES / name) as photo:
        return photo.convert("RGB").crop((left + shift, top, right + shift, bottom)).resize((112, 112))


def png(image: Image.Image) -> bytes:
    """`image` as the bytes of a PNG file."""
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def face(index: int = 0) -> bytes:
    """The PNG of one real face."""
    return png(chip(index))


def says(request: str, label: str | None = "happiness", annotator: str = "Ada", **more) -> Judgement:
    """What `annotator` says."""
    return Judgement(request, annotator, label, **more)


def files_in(folder: Path) -> dict[str, bytes]:
    """Every file under `folder` with its content."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def assert_one_sentence(error: BaseException, *places: Path) -> None:
    """The message can be shown to a visitor: a sentence with a period, without a path of this machine."""
    text = str(error)
    assert text[0].isupper() or text.startswith("labels.db"), text
    assert text.endswith(".") and "\n" not in text and len(text) < 300, text
    assert all(str(place) not in text for place in (*places, "/tmp", ROOT)) and "Errno" not in text, text


# The interpreter may lie where only root can read: everything is imported before the rights are given up.
_DROP_RIGHTS = """
import os, imagehash, labeling.store, scipy.fftpack
from PIL import Image
Image.preinit()
os.setgroups([]); os.setgid(65534); os.setuid(65534)
"""


def child(code: str, *arguments: object, nobody: bool = False) -> subprocess.Popen:
    """A process that runs `code` with `arguments` in sys.argv[1:]; as `nobody` it has lost the rights of root."""
    if nobody and (os.name != "posix" or os.geteuid() != 0):
        pytest.skip("giving up the rights of root needs to have them")
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{_DROP_RIGHTS if nobody else ''}\n{code}"
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd="/",
    )  # fmt: skip


def said_by(process: subprocess.Popen) -> str:
    """What the child printed; fails with its trace where it did not end well."""
    out, trace = process.communicate(timeout=60)
    assert process.returncode == 0, trace
    return out.strip()


@contextmanager
def mounted(folder: Path, *commands: list[str]) -> Iterator[None]:
    """`folder` with mounts over it, made by `commands`; skips where this machine does not let us mount."""
    if os.name != "posix" or os.geteuid() != 0:
        pytest.skip("mounting needs root on Linux")
    try:
        for number, command in enumerate(commands):
            done = subprocess.run(["mount", *command], capture_output=True, text=True, check=False)
            if done.returncode:
                if number:
                    subprocess.run(["umount", "--lazy", folder], check=True)
                pytest.skip(f"this machine does not let us mount: {done.stderr.strip()}")
    except FileNotFoundError:
        pytest.skip("there is no mount command here")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """`folder` on a mount that cannot be written, not even by root."""
    place = str(folder)
    with mounted(folder, ["--bind", place, place], ["-o", "remount,ro,bind", place]):
        yield


@contextmanager
def small_disk(folder: Path, size: str = "1m") -> Iterator[None]:
    """A disk of `size` at `folder`."""
    folder.mkdir(exist_ok=True)
    with mounted(folder, ["-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]):
        yield


def fill(folder: Path) -> Path:
    """Leave no room on the disk of `folder`; the file to remove again."""
    ballast = folder / "ballast"
    with ballast.open("ab", buffering=0) as file:
        try:
            while file.write(b"x" * 4096) == 4096:
                pass
        except OSError:
            pass
    return ballast


def with_mounts(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Let Linux list `text` as its mounts."""
    read = Path.read_text
    monkeypatch.setattr(Path, "read_text", lambda path, *args, **more: text if str(path) == "/proc/mounts" else read(path, *args, **more))
