"""What the tests of models on the Hub share: the real client sent to a local server, and repositories as strangers fill them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from local_hub import TOKEN, Entry, LocalHub, Repository, _regular

MODEL = "tester/faces"


@contextmanager
def client_sent_to(hub: LocalHub) -> Iterator[LocalHub]:
    """The client of this process asks `hub` and sends the tester's token, as with HF_ENDPOINT and HF_TOKEN set before it starts."""
    from huggingface_hub import constants

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(constants, "ENDPOINT", hub.address)
        patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.address + "/{repo_id}/resolve/{revision}/{filename}")
        patch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        patch.setenv("HF_TOKEN", TOKEN)
        patch.setenv("HF_HUB_DISABLE_XET", "1")
        patch.setattr("fer.hub.PAUSE_SECONDS", 0.01)
        yield hub


def hold(hub: LocalHub, files: dict[str, bytes], name: str = MODEL, private: bool = True) -> str:
    """A repository of models that holds `files`; the commit."""
    repository = hub.repositories.setdefault(("models", name), Repository("models", name, private))
    entries = {".gitattributes": _regular(b"")}
    for path, content in files.items():
        if path.endswith(".safetensors"):
            oid = hashlib.sha256(content).hexdigest()
            repository.objects[oid] = content
            entries[path] = Entry(oid, len(content), None)
        else:
            entries[path] = _regular(content)
    return repository.commit(entries, "by hand").oid


def bundle_files(folder: Path) -> dict[str, bytes]:
    """The two files of the bundle in `folder`."""
    return {name: (folder / name).read_bytes() for name in ("model.safetensors", "bundle.json")}
