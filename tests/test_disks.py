"""Which disk a folder lies on, by the list of mounts."""

from __future__ import annotations

from pathlib import Path

import pytest
from label_workspaces import LOCAL_DISK, with_mounts

from labeling.disks import mount, on_network, outlasts_container


@pytest.mark.parametrize(
    ("mounts", "remote"),
    [
        ("", False),
        ("nas:/data {here} nfs4 rw 0 0\n", True),
        ("//nas/data {here} cifs rw 0 0\n", True),
        ("host {here} fuse.sshfs rw 0 0\n", True),
        ("host {here} 9p rw 0 0\n", True),
        ("/dev/sdb1 {here} fuseblk rw 0 0\n", False),  # NTFS of this machine
        ("tmpfs {here} tmpfs rw 0 0\n", False),
        ("nas:/data {here}/elsewhere nfs4 rw 0 0\n", False),
        ("nas:/data {here}x nfs4 rw 0 0\n", False),  # only begins with the same letters
        ("nas:/data {here} nfs4 rw 0 0\n/dev/sdb1 {here}/my\\040labels ext4 rw 0 0\n", False),  # the nearest one counts
        ("/dev/sdb1 {here} ext4 rw 0 0\nnas:/data {here}/my\\040labels nfs4 rw 0 0\n", True),
        ("systemd-1 {here} autofs rw 0 0\nnas:/data {here} nfs4 rw 0 0\n", True),  # of two on one folder, the upper
    ],
)  # fmt: skip
def test_a_disk_of_another_machine_is_known_by_the_list_of_mounts(tmp_path, monkeypatch, mounts, remote):
    with_mounts(monkeypatch, LOCAL_DISK + mounts.replace("{here}", str(tmp_path)))
    assert on_network(tmp_path / "my labels" / "labels.db") is remote


def test_without_a_list_of_mounts_a_disk_counts_as_local(tmp_path, monkeypatch):
    def missing(path: Path, *_: object, **__: object) -> str:
        raise FileNotFoundError(path)

    monkeypatch.setattr(Path, "read_text", missing)
    assert on_network(tmp_path) is False
    assert mount(tmp_path) == (Path("/"), "") and not outlasts_container(tmp_path)


@pytest.mark.parametrize(
    ("mounts", "lasts"),
    [
        ("overlay / overlay rw 0 0\n", False),
        ("/dev/sda1 / ext4 rw 0 0\n", False),  # some container's whole disk
        ("overlay / overlay rw 0 0\ntmpfs {here} tmpfs rw 0 0\n", False),
        ("overlay / overlay rw 0 0\nbucket {here} fuse.hf-mount rw 0 0\n", True),
        ("overlay / overlay rw 0 0\n/dev/sdb1 {here} ext4 rw 0 0\n", True),
        ("overlay / overlay rw 0 0\n/dev/sdb1 {here}/elsewhere ext4 rw 0 0\n", False),
        ("", False),
    ],
)  # fmt: skip
def test_what_was_mounted_into_a_container_outlasts_it(tmp_path, monkeypatch, mounts, lasts):
    with_mounts(monkeypatch, mounts.replace("{here}", str(tmp_path)))
    assert outlasts_container(tmp_path / "workspace" / "not made yet") is lasts
