"""The Hugging Face Space that the app may run on, where the disk is wiped at every restart."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from labeling.disks import outlasts_container

MOUNTED = Path("/data")  # where Spaces mount a bucket unless told otherwise


@dataclass(frozen=True)
class Space:
    """A Space: `id` is OWNER/NAME, `host` the name of its own address; "" where the environment does not say."""

    id: str
    host: str

    @classmethod
    def here(cls, environment: Mapping[str, str] = os.environ) -> "Space | None":
        """The Space this process runs on, by the variables that Spaces set; None elsewhere."""
        name = environment.get("SPACE_ID", "")
        # With a custom domain there are several hosts, separated by commas.
        return cls(name, environment.get("SPACE_HOST", "").split(",")[0]) if name else None

    @property
    def address(self) -> str:
        """The address of the app itself, without the Hub's frame around it."""
        return f"https://{self.host}" if self.host else f"https://huggingface.co/spaces/{self.id}"


def usual_workspace(space: Space | None) -> Path:
    """The workspace where nobody names one: on a Space with a mounted bucket in there, otherwise beside the app."""
    return MOUNTED / "workspace" if space and outlasts_container(MOUNTED) else Path("workspace")


def is_wiped(space: Space | None, workspace: Path) -> bool:
    """Whether what is kept in `workspace` is gone at the next restart."""
    return space is not None and not outlasts_container(workspace)
