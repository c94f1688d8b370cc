"""Writing a file so that a reader sees the old one or the new one, never half of one; reading JSON that may be damaged."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, then put it in `path`'s place.

    When `write` fails, `path` is as it was and the temporary file is gone.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}.partial")
    try:
        partial.touch()
        mode = partial.stat().st_mode  # that of any new file here; some writers make private ones
        write(partial)
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.chmod(mode)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def replace_text(path: Path, text: str) -> None:
    """`replace_file` with `text` as UTF-8."""
    replace_file(path, lambda partial: partial.write_text(text, encoding="utf-8"))


def replace_json(path: Path, value: object) -> None:
    """`replace_file` with `value` as indented JSON."""
    replace_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def json_object(path: Path) -> dict | None:
    """The JSON object in a file; None where it is missing or is none."""
    try:
        return object_in(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def object_in(text: str) -> dict | None:
    """The JSON object that `text` is; None where it is none."""
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
