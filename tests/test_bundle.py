"""A bundle comes back as it was saved, or is refused in one sentence that names the file."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from fer.bundle import DESCRIPTION, SHIPPED, WEIGHTS, BundleError, ModelBundle, load, origin, save
from fer.emotions import CLASSES, SEVEN_CLASSES
from fer.model import build
from fer.transforms import Preprocess


@pytest.fixture(scope="module")
def bundle() -> ModelBundle:
    torch.manual_seed(0)
    network = build("mobilenet_v2", 8).eval()
    with torch.no_grad():
        network.classifier[1].bias.copy_(torch.linspace(-2, 2, 8))  # so that the classes differ
    preprocess = Preprocess(size=64, side=1.2, grayscale=False)
    return ModelBundle("v1", "mobilenet_v2", CLASSES, preprocess, network, 1.7, {"data": "Gesichter für Tests"})


@pytest.fixture(scope="module")
def saved(bundle, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("bundle") / "model"
    save(bundle, folder)
    return folder


@pytest.fixture
def folder(saved, tmp_path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(saved, tmp_path / "model"))


@pytest.fixture(scope="module")
def faces() -> torch.Tensor:
    return torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def describe(folder: Path, **changes: object) -> None:
    description = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
    (folder / DESCRIPTION).write_text(json.dumps({**description, **changes}), encoding="utf-8")


def forget(folder: Path, field: str) -> None:
    description = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
    del description[field]
    (folder / DESCRIPTION).write_text(json.dumps(description), encoding="utf-8")


def rewrite_weights(folder: Path, change: Callable[[dict], dict], meaning: str | None = "") -> None:
    """Save changed tensors with a right checksum; `meaning` replaces the header's, None drops it."""
    import hashlib

    with safe_open(folder / WEIGHTS, framework="pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}
        kept = file.metadata()["meaning"]
    metadata = None if meaning is None else {"meaning": meaning or kept}
    save_file(change(tensors), folder / WEIGHTS, metadata=metadata)
    describe(folder, sha256=hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest())


def refusal(folder: Path) -> str:
    with pytest.raises(BundleError) as caught:
        load(folder)
    sentence = str(caught.value)
    assert "\n" not in sentence and len(re.findall(r"[.!?](?=\s|$)", sentence)) == 1 and sentence.endswith("."), sentence
    return sentence


def test_a_bundle_comes_back_as_it_was_saved(bundle, saved, faces):
    back = load(saved)
    assert (back.version, back.arch, back.classes) == (bundle.version, bundle.arch, bundle.classes)
    assert back.preprocess == bundle.preprocess and back.temperature == bundle.temperature
    assert back.provenance == bundle.provenance and not back.network.training
    assert torch.equal(back.probabilities(faces), bundle.probabilities(faces))


def test_saving_twice_gives_the_same_files(bundle, saved, tmp_path):
    save(bundle, tmp_path)
    for name in (WEIGHTS, DESCRIPTION):
        assert (tmp_path / name).read_bytes() == (saved / name).read_bytes()


def test_saving_over_another_bundle_leaves_the_new_one_and_nothing_else(bundle, folder):
    newer = ModelBundle("v2", bundle.arch, bundle.classes, bundle.preprocess, bundle.network)
    save(newer, folder)
    assert load(folder).version == "v2"
    assert {path.name for path in folder.iterdir()} == {WEIGHTS, DESCRIPTION}


def test_the_shipped_bundle_loads_and_says_what_it_was_trained_on():
    shipped = load()
    assert shipped.classes == CLASSES and shipped.version and shipped.temperature > 0
    assert shipped.provenance and (SHIPPED / "card.md").is_file()


def changed_byte(folder: Path) -> None:
    content = bytearray((folder / WEIGHTS).read_bytes())
    content[-1] ^= 1
    (folder / WEIGHTS).write_bytes(content)


def cut_weights(folder: Path) -> None:
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[: len(content) // 2])


def text_for_weights(folder: Path) -> None:
    import hashlib

    (folder / WEIGHTS).write_text("version https://git-lfs.github.com/spec/v1")
    describe(folder, sha256=hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest())


def other_shape(tensors: dict) -> dict:
    return {**tensors, "features.0.0.weight": torch.zeros(16, 3, 3, 3)}


def missing_tensor(tensors: dict) -> dict:
    return {key: value for key, value in tensors.items() if key != "classifier.1.bias"}


def strange_tensor(tensors: dict) -> dict:
    return {**tensors, "layer1.weight": torch.zeros(3)}


DISAGREEMENTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no weights": (lambda folder: (folder / WEIGHTS).unlink(), WEIGHTS),
    "no description": (lambda folder: (folder / DESCRIPTION).unlink(), DESCRIPTION),
    "changed byte": (changed_byte, WEIGHTS),
    "cut weights": (cut_weights, WEIGHTS),
    "text for weights": (text_for_weights, WEIGHTS),
    "tensor of another shape": (lambda folder: rewrite_weights(folder, other_shape), WEIGHTS),
    "missing tensor": (lambda folder: rewrite_weights(folder, missing_tensor), WEIGHTS),
    "strange tensor": (lambda folder: rewrite_weights(folder, strange_tensor), WEIGHTS),
    "no meaning": (lambda folder: rewrite_weights(folder, dict, None), WEIGHTS),
    "other meaning": (lambda folder: rewrite_weights(folder, dict, "{}"), WEIGHTS),
    "other order of classes": (lambda folder: describe(folder, classes=list(CLASSES[::-1])), WEIGHTS),
    "fewer classes": (lambda folder: describe(folder, classes=list(SEVEN_CLASSES)), WEIGHTS),
    "other size": (lambda folder: describe(folder, preprocess=Preprocess().as_dict()), WEIGHTS),
    "other architecture": (lambda folder: describe(folder, arch="resnet50"), WEIGHTS),
    "unknown preprocess field": (lambda folder: describe(folder, preprocess={"size": 64}), DESCRIPTION),
    "preprocess of another kind": (lambda folder: describe(folder, preprocess=7), DESCRIPTION),
    "not JSON": (lambda folder: (folder / DESCRIPTION).write_text("{"), DESCRIPTION),
    "not text": (lambda folder: (folder / DESCRIPTION).write_bytes(b"\xff\xfe\x00"), DESCRIPTION),
    "a list": (lambda folder: (folder / DESCRIPTION).write_text("[]"), DESCRIPTION),
    "format 2": (lambda folder: describe(folder, format=2), DESCRIPTION),
    "no format": (lambda folder: forget(folder, "format"), DESCRIPTION),
    "no checksum": (lambda folder: forget(folder, "sha256"), DESCRIPTION),
    "no version": (lambda folder: forget(folder, "version"), DESCRIPTION),
    "no temperature": (lambda folder: forget(folder, "temperature"), DESCRIPTION),
    "temperature 0": (lambda folder: describe(folder, temperature=0), DESCRIPTION),
    "temperature below 0": (lambda folder: describe(folder, temperature=-1.0), DESCRIPTION),
    "temperature not a number": (lambda folder: describe(folder, temperature=float("nan")), DESCRIPTION),
    "temperature infinite": (lambda folder: describe(folder, temperature=float("inf")), DESCRIPTION),
    "temperature in words": (lambda folder: describe(folder, temperature="warm"), DESCRIPTION),
}


@pytest.mark.parametrize("damage", DISAGREEMENTS)
def test_a_bundle_that_contradicts_itself_is_refused(folder, damage):
    change, name = DISAGREEMENTS[damage]
    load(folder)
    change(folder)
    assert name in refusal(folder)


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    assert DESCRIPTION in refusal(tmp_path / "nowhere")


def test_probabilities_sum_to_one_and_follow_the_temperature(bundle, faces):
    with torch.no_grad():
        logits = bundle.network(faces)
    torch.testing.assert_close(bundle.probabilities(faces), (logits / 1.7).softmax(1), atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(bundle.probabilities(faces).sum(1), torch.ones(3))


@pytest.mark.parametrize("classes", [SEVEN_CLASSES, ("anger", "neutral"), CLASSES[::-1], ("fear",)])
def test_masked_classes_give_their_share_to_the_others(bundle, faces, classes):
    masked = bundle.probabilities(faces, classes)
    assert masked.shape == (3, len(classes))
    torch.testing.assert_close(masked.sum(1), torch.ones(3))
    kept = bundle.probabilities(faces)[:, [CLASSES.index(name) for name in classes]]
    torch.testing.assert_close(masked, kept / kept.sum(1, keepdim=True))


def test_masking_to_an_unknown_class_is_refused(bundle, faces):
    with pytest.raises(ValueError):
        bundle.probabilities(faces, ("neutral", "boredom"))


def test_the_origin_of_weights_is_their_bundles_version_and_provenance(bundle, saved):
    assert origin(saved / WEIGHTS) == {"version": "v1", "provenance": bundle.provenance}
    assert origin(str(saved / WEIGHTS)) == origin(saved / WEIGHTS)


def test_weights_without_a_bundle_or_of_another_have_no_origin(folder, tmp_path):
    shutil.copy(folder / WEIGHTS, tmp_path / WEIGHTS)
    assert origin(tmp_path / WEIGHTS) is None
    assert origin(folder / "gone.safetensors") is None
    changed_byte(folder)
    assert origin(folder / WEIGHTS) is None


def test_what_loads_without_provenance_has_an_origin_without_provenance(folder):
    forget(folder, "provenance")
    assert load(folder).provenance == {}
    assert origin(folder / WEIGHTS) == {"version": "v1", "provenance": {}}
