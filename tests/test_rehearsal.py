"""What a fine-tune remembers with: the file that ships, what is refused, and how exact eight bits are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from fer import bundle as bundles
from fer import datasets
from fer.emotions import CLASSES
from fer.lesson import Top
from fer.rehearsal import (
    COUNTS, FILE, POINT, SIDES, Activations, RehearsalError, activations, build, half_of, lower_layers, read, save,
)  # fmt: skip


@pytest.fixture(scope="module")
def bundle():
    return bundles.load()


@pytest.fixture(scope="module")
def shipped():
    return read()


def some(count: int = 12, seed: int = 0) -> Activations:
    """Made-up activations of `count` faces, each channel of another size."""
    random = torch.Generator().manual_seed(seed)
    codes = torch.randn(count, 4, 3, 3, generator=random) * torch.tensor([0.1, 1.0, 10.0, 0.0])[:, None, None]
    targets = torch.nn.functional.one_hot(torch.arange(count) % len(CLASSES), len(CLASSES)).float()
    return Activations(codes, None, targets, np.arange(count) % len(CLASSES))


def assert_sentence(error: BaseException) -> None:
    text = str(error)
    assert text.endswith(".") and "\n" not in text and str(FILE.parent) not in text, text


# --- the file that ships ------------------------------------------------------------------------


def test_the_shipped_activations_are_small_and_those_of_the_shipped_model(shipped, bundle):
    assert FILE.stat().st_size <= 10_000_000
    assert shipped.point == POINT
    shipped.check(bundle)


def test_the_shipped_sides_are_as_large_as_said_and_have_labels(shipped):
    for side in SIDES:
        one = shipped.sides[side]
        assert len(one) == len(one.targets) == len(one.labels) and 0.9 * COUNTS[side] <= len(one) <= COUNTS[side]
        assert one.codes.dtype == torch.int8 and one.targets.shape[1] == len(CLASSES)
        assert torch.allclose(one.targets.sum(dim=1), torch.ones(len(one)), atol=1e-5)
    for side in ("choose", "benchmark"):
        assert shipped.sides[side].labels.min() >= 0 and len(np.unique(shipped.sides[side].labels)) == len(CLASSES)


def test_the_shipped_model_reads_most_of_the_benchmark_from_its_activations(shipped, bundle):
    few = shipped.sides["benchmark"].subset(np.arange(200))
    right = Top(bundle.network, shipped.point).logits(few).argmax(axis=1) == few.labels
    assert 0.8 < right.mean() < 0.95


def test_what_was_saved_is_read_back(tmp_path, shipped):
    small = replace(shipped, sides={side: one.subset(np.arange(7)) for side, one in shipped.sides.items()})
    save(small, tmp_path / "small.safetensors")
    again = read(tmp_path / "small.safetensors")
    assert (again.point, again.lower, again.data) == (small.point, small.lower, small.data)
    for side in SIDES:
        assert torch.equal(again.sides[side].codes, small.sides[side].codes)
        assert torch.equal(again.sides[side].scale, small.sides[side].scale)
        assert np.array_equal(again.sides[side].labels, small.sides[side].labels)
        assert torch.allclose(again.sides[side].targets, small.sides[side].targets, atol=1 / 255)
    assert [path.name for path in tmp_path.iterdir()] == ["small.safetensors"]


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize("damage", ["missing", "cut off", "text", "empty", "without a side", "without a header"])
def test_a_missing_or_damaged_file_is_one_sentence(tmp_path, damage):
    path, content = tmp_path / "rehearsal.safetensors", FILE.read_bytes()
    if damage in ("cut off", "text", "empty"):
        path.write_bytes({"cut off": content[:-1], "text": b"not tensors at all", "empty": b""}[damage])
    elif damage != "missing":
        tensors = {key: one for key, one in load_file(FILE).items() if damage != "without a side" or not key.startswith("choose")}
        about = {"point": "8", "lower": "0", "data": "test"}
        save_file(tensors, path, metadata=None if damage == "without a header" else about)
    with pytest.raises(RehearsalError, match="missing" if damage == "missing" else "damaged") as error:
        read(path)
    assert_sentence(error.value)


def test_a_model_with_other_lower_layers_is_refused(shipped):
    other = bundles.load()
    with torch.no_grad():
        next(other.network.features[shipped.point - 1].parameters()).add_(1e-3)
    with pytest.raises(RehearsalError, match="--rehearsal") as error:
        shipped.check(other)
    assert_sentence(error.value)


def test_a_model_with_another_preprocessing_is_refused(shipped, bundle):
    with pytest.raises(RehearsalError):
        shipped.check(replace(bundle, preprocess=replace(bundle.preprocess, side=bundle.preprocess.side + 0.01)))


def test_upper_layers_and_counters_do_not_count(shipped):
    other = bundles.load()
    before = lower_layers(other, shipped.point)
    with torch.no_grad():
        next(other.network.features[shipped.point].parameters()).add_(1.0)
        other.network.classifier[1].bias.add_(1.0)
        other.network.features[0][1].num_batches_tracked.add_(5)
    assert lower_layers(other, shipped.point) == before
    shipped.check(other)


# --- eight bits, halves, views ------------------------------------------------------------------


def test_eight_bits_are_off_by_half_a_step_at_most():
    faces = some()
    small = faces.quantised()
    steps = faces.codes.abs().amax(dim=(0, 2, 3)) / 127
    assert small.codes.dtype == torch.int8
    off = (small.at(slice(None)) - faces.codes).abs().amax(dim=(0, 2, 3))
    assert (off <= steps / 2 + 1e-6).all() and off[3] == 0


def test_what_is_beyond_the_given_scale_is_cut_off():
    small = some().quantised(torch.full((4, 1, 1), 0.01))
    assert small.at(slice(None)).abs().max() == pytest.approx(1.27)


def test_halves_are_the_same_for_good_and_about_equal():
    assert [half_of(f"fer00{number}.png") for number in range(8)] == [1, 0, 1, 1, 1, 0, 1, 1]
    assert 450 < sum(half_of(f"{number}.png") for number in range(1000)) < 550


def test_all_views_of_a_face_follow_each_other(bundle, face_folder):
    faces = datasets.load(f"folder:{face_folder}", "val").for_training()
    size = bundle.preprocess.size
    views = activations(bundle, faces, 2, lambda index: [torch.full((3, size, size), float(index + 10 * at)) for at in range(3)])
    assert len(views) == 3 * len(faces) and views.codes.dtype == torch.float16
    assert np.array_equal(views.labels, np.repeat(faces.labels, 3))
    with torch.inference_mode():
        expected = bundle.network.features[:2](torch.full((1, 3, size, size), 12.0))
    assert torch.allclose(views.at(slice(7, 8)), expected, atol=2e-2, rtol=2e-3)


def test_a_rehearsal_is_built_of_the_right_splits_and_halves(bundle, face_folder, tmp_path):
    built = build(bundle, f"folder:{face_folder}", POINT, {"learn": 5, "choose": 9, "benchmark": 9})
    val = datasets.load(f"folder:{face_folder}", "val").for_evaluation()
    halves = [half_of(path.name) for path in val.paths]
    assert [len(built.sides[side]) for side in SIDES] == [5, halves.count(0), halves.count(1)]
    built.check(bundle)
    again = build(bundle, f"folder:{face_folder}", POINT, {"learn": 5, "choose": 9, "benchmark": 9})
    assert all(torch.equal(built.sides[side].codes, again.sides[side].codes) for side in SIDES)


# --- with FER+ ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def val(ferplus):
    return datasets.load(f"ferplus:{ferplus}", "val").for_evaluation()


@pytest.mark.data
def test_choose_and_benchmark_share_no_face(val):
    halves = [{path.name for path in val.paths if half_of(path.name) == half} for half in (0, 1)]
    assert not halves[0] & halves[1] and len(halves[0] | halves[1]) == len(val)
    assert min(map(len, halves)) >= max(COUNTS["choose"], COUNTS["benchmark"]) * 0.9


@pytest.mark.data
def test_activations_made_anew_are_those_that_ship(val, ferplus, shipped, bundle):
    built = build(bundle, f"ferplus:{ferplus}", POINT, {"learn": 1, "choose": 1, "benchmark": 1})
    assert built.lower == shipped.lower
    half = val.subset(np.array([half_of(path.name) for path in val.paths]) == 1)
    drawn = np.sort(np.random.default_rng(0).permutation(len(half))[: COUNTS["benchmark"]])[:16]
    codes = activations(bundle, half.subset(drawn), POINT).quantised(shipped.sides["benchmark"].scale).codes
    off = (codes.int() - shipped.sides["benchmark"].codes[:16].int()).abs()
    assert off.max() <= 1 and (off == 0).float().mean() > 0.99  # another processor rounds otherwise
    assert np.array_equal(half.labels[drawn], shipped.sides["benchmark"].labels[:16])


@pytest.mark.data
def test_the_benchmark_is_as_hard_as_its_faces(val, shipped, bundle):
    from fer.evaluate import read_logits

    half = val.subset(np.array([half_of(path.name) for path in val.paths]) == 1)
    drawn = np.sort(np.random.default_rng(0).permutation(len(half))[: COUNTS["benchmark"]])
    faces, kept = half.subset(drawn), shipped.sides["benchmark"]
    seen = (read_logits(bundle.network, bundle.preprocess, faces).argmax(axis=1) == faces.labels).mean()
    remembered = (Top(bundle.network, shipped.point).logits(kept).argmax(axis=1) == kept.labels).mean()
    assert remembered == pytest.approx(seen, abs=0.01)
