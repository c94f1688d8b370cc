"""Where a folder lies: on a disk of this machine, of another machine, or of a container that is gone at its restart."""

from __future__ import annotations

from pathlib import Path

# Shared memory between processes, which SQLite's write-ahead log needs, does not work on these (sqlite.org/wal.html).
NETWORK_DISKS = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "ceph", "afs", "lustre", "glusterfs", "fuse")
FLEETING_DISKS = ("overlay", "tmpfs", "ramfs")  # a container's own layer, and memory


def on_network(path: Path) -> bool:
    """Whether `path` lies on a disk of another machine, by Linux's list of mounts; False where there is none."""
    return mount(path)[1].split(".")[0] in NETWORK_DISKS


def outlasts_container(path: Path) -> bool:
    """Whether `path` lies on a disk that was mounted into this container, and so is there after a restart."""
    place, kind = mount(path)
    return place != Path("/") and kind not in ("", *FLEETING_DISKS)


def mount(path: Path) -> tuple[Path, str]:
    """The mount that `path`, which need not be there yet, lies on, and its kind; "/" and "" where that cannot be known."""
    try:
        mounts = [line.split() for line in Path("/proc/mounts").read_text(encoding="utf-8", errors="replace").splitlines()]
    except OSError:
        return Path("/"), ""
    place = path.resolve()
    above = [(Path(fields[1].replace(r"\040", " ")), fields[2]) for fields in mounts]
    above = [one for one in above if place.is_relative_to(one[0])]
    # Of two mounts on one folder the later one is seen.
    return max(reversed(above), key=lambda one: len(one[0].parts), default=(Path("/"), ""))
