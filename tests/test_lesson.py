"""How a network learns from corrections: what a step depends on, what stays as it is, how much is kept."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from short_finetune import few

from fer import bundle as bundles
from fer import lesson as lessons
from fer import rehearsal as rehearsals
from fer.lesson import BLENDS, CHOSEN_FALL, RECIPES, Lesson, Recipe, Top, joined
from fer.rehearsal import Activations, Rehearsal


@pytest.fixture(scope="module")
def bundle():
    return bundles.load()


@pytest.fixture(scope="module")
def memory() -> Rehearsal:
    return few(rehearsals.read())


RECIPE = Recipe(first=15, steps=8, learning_rate=1e-3, batch=8)


@pytest.fixture(scope="module")
def corrections(memory) -> Activations:
    """Faces of the benchmark, each called what the next one is."""
    faces = memory.sides["benchmark"]
    return replace(faces, targets=faces.targets.roll(1, dims=0), labels=np.roll(faces.labels, 1))


@pytest.fixture
def lesson(bundle, memory, corrections) -> Lesson:
    return Lesson(bundle, RECIPE, memory, corrections)


@pytest.fixture(scope="module")
def learned(bundle, memory, corrections) -> Lesson:
    """A lesson at its end; look, but do not change it."""
    made = Lesson(bundle, RECIPE, memory, corrections)
    made.losses = [made.learn() for _ in range(RECIPE.steps)]
    return made


def weights(top: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in top.state_dict().items()}


def equal(one: dict, other: dict, within: float = 0.0) -> bool:
    pairs = [(one[key].float(), other[key].float()) for key in one.keys() & other.keys()]
    return one.keys() == other.keys() and all(torch.allclose(*pair, rtol=0, atol=within) for pair in pairs)


# --- a step -------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [1, 5])
def test_a_lesson_that_was_cut_off_goes_on_as_if_it_had_not_been(bundle, memory, corrections, lesson, learned, at, tmp_path):
    losses = [lesson.learn() for _ in range(at)]
    torch.save(lesson.state(), tmp_path / "state.pt")
    torch.manual_seed(at)  # nobody's business
    other = Lesson(bundle, RECIPE, memory, corrections)
    other.restore(torch.load(tmp_path / "state.pt", weights_only=True))
    assert other.step == at
    losses += [other.learn() for _ in range(RECIPE.steps - at)]
    assert losses == pytest.approx(learned.losses, abs=1e-6)
    assert equal(other.new.state_dict(), learned.new.state_dict(), 1e-6)


def test_a_state_is_not_changed_by_what_is_learned_after_it_was_restored(lesson):
    lesson.learn()
    state = copy.deepcopy(lesson.state())
    before = copy.deepcopy(state["new"])
    lesson.restore(state)
    lesson.learn()
    assert equal(state["new"], before)


def test_another_seed_learns_from_other_faces(bundle, memory, corrections, learned):
    assert Lesson(bundle, RECIPE, memory, corrections, seed=1).learn() != learned.losses[0]


def test_the_corrections_are_learned(learned, corrections):
    def off(top: Top) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(torch.from_numpy(top.logits(learned.corrections)), corrections.targets)

    assert off(learned.new) < 0.8 * off(learned.old)


def test_the_learning_rate_falls_from_the_recipes_to_nothing(lesson):
    rates = []
    for _ in range(RECIPE.steps):
        rates.append(lesson.learning_rate)
        lesson.learn()
    assert rates[0] == RECIPE.learning_rate and rates == sorted(rates, reverse=True)
    assert lesson.learning_rate == pytest.approx(0, abs=1e-9) and rates[-1] < 0.05 * RECIPE.learning_rate


def test_a_loss_that_is_no_number_ends_the_lesson_and_changes_no_weight(bundle, memory, corrections):
    damaged = replace(corrections, codes=torch.full_like(corrections.codes.float(), float("nan")), scale=None)
    lesson = Lesson(bundle, RECIPE, memory, damaged)
    before = weights(lesson.new)
    with pytest.raises(FloatingPointError, match="step 0; look for damaged pictures"):
        lesson.learn()
    assert equal(weights(lesson.new), before) and lesson.step == 0


def test_a_recipe_that_begins_below_the_rehearsed_point_is_refused(bundle, memory, corrections):
    with pytest.raises(ValueError, match="lies below"):
        Lesson(bundle, replace(RECIPE, first=memory.point - 1), memory, corrections)
    Lesson(bundle, replace(RECIPE, first=memory.point), memory, corrections)


def test_the_recipes_fit_the_rehearsal_that_ships(memory):
    assert set(RECIPES) == {"quick", "full"}
    assert all(memory.point <= one.first <= 18 and one.steps > 0 and 0 < one.share < 1 for one in RECIPES.values())
    assert lessons.WHOLE.first == 0


def test_without_rehearsed_faces_in_the_batch_only_corrections_count(bundle, memory, corrections):
    lesson = Lesson(bundle, replace(RECIPE, share=1.0), memory, corrections)
    assert np.isfinite(lesson.learn())


# --- what stays ---------------------------------------------------------------------------------


def test_batch_norms_keep_their_statistics_and_the_old_network_its_weights(bundle, learned):
    old, new, before = learned.old.state_dict(), learned.new.state_dict(), Top(bundle.network, RECIPE.first).state_dict()
    statistics = [key for key in new if "running_" in key]
    assert statistics and all(torch.equal(new[key], before[key]) for key in statistics)
    assert equal(old, before)
    assert any(not torch.equal(new[key], before[key]) for key in new)


def test_the_joined_network_says_what_the_top_says_and_is_the_old_one_below(bundle, memory, learned):
    network = joined(bundle, learned.new)
    faces = memory.sides["choose"].subset(np.arange(8))
    with torch.inference_mode():
        up = faces.at(slice(None))
        whole = network.classifier(network.features[memory.point :](up).mean(dim=(2, 3))).numpy()
    assert np.allclose(whole, learned.new.logits(learned.raised(faces)), atol=1e-5)
    for key, value in bundle.network.features[: RECIPE.first].state_dict().items():
        assert torch.equal(network.features[: RECIPE.first].state_dict()[key], value)
    assert not network.training and not any(one.requires_grad for one in network.parameters())


def test_joining_and_learning_leave_the_bundle_as_it_was(bundle, learned):
    joined(bundle, learned.new)
    assert equal(bundle.network.state_dict(), bundles.load().network.state_dict())


def test_raising_in_two_steps_is_reading_the_whole_network(bundle, memory, learned):
    faces = memory.sides["choose"].subset(np.arange(8))
    low = Top(bundle.network, memory.point).logits(faces)
    assert np.allclose(learned.old.logits(learned.raised(faces)), low, atol=1e-4)


# --- how much is kept ---------------------------------------------------------------------------


def test_blending_by_nothing_is_the_old_network_and_wholly_the_new_one(learned):
    assert equal(learned.blended(0.0).state_dict(), learned.old.state_dict())
    assert equal(learned.blended(1.0).state_dict(), learned.new.state_dict(), 1e-7)
    half, old, new = (one.state_dict() for one in (learned.blended(0.5), learned.old, learned.new))
    assert all(torch.allclose(half[key], (old[key] + new[key]) / 2, atol=1e-6) for key in half if half[key].is_floating_point())


def test_the_largest_blend_that_loses_little_is_chosen(learned, memory, monkeypatch):
    faces = learned.raised(memory.sides["choose"])
    lost = {share: 2 * CHOSEN_FALL for share in BLENDS} | {BLENDS[1]: 0.9 * CHOSEN_FALL, BLENDS[-1]: 0.0}
    fakes = {share: Top.__new__(Top) for share in BLENDS}
    monkeypatch.setattr(learned, "blended", fakes.__getitem__, raising=False)
    accuracy = {id(learned.old): 0.8} | {id(fake): 0.8 - lost[share] for share, fake in fakes.items()}
    monkeypatch.setattr(lessons, "_accuracy", lambda top, _: accuracy[id(top)])
    assert learned.choose(faces) == (BLENDS[1], fakes[BLENDS[1]])


def test_what_was_chosen_loses_no_more_than_is_allowed(learned, memory):
    faces = learned.raised(memory.sides["choose"])
    share, top = learned.choose(faces)
    assert share in (*BLENDS, 0.0)
    assert lessons._accuracy(top, faces) >= lessons._accuracy(learned.old, faces) - CHOSEN_FALL
    assert equal(top.state_dict(), learned.blended(share).state_dict())


def test_where_every_blend_forgets_the_old_layers_are_kept(lesson, memory):
    with torch.no_grad():
        for one in lesson.new.classifier.parameters():
            one.mul_(-30.0)
    share, top = lesson.choose(lesson.raised(memory.sides["choose"]))
    assert share == 0.0 and equal(top.state_dict(), lesson.old.state_dict())


def test_the_blends_are_tried_from_the_largest():
    assert list(BLENDS) == sorted(BLENDS, reverse=True) and 0 < min(BLENDS) and max(BLENDS) <= 1 and 0 < CHOSEN_FALL <= 0.005
