"""Where the network looked."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from fer.activation import activation_map, overlaid
from fer.emotions import CLASSES
from fer.picture import open_picture


@pytest.fixture(scope="module")
def crop(recognizer, collins) -> Image.Image:
    photo = open_picture(collins)
    (face,) = recognizer.detector.find(photo)
    return recognizer.bundle.preprocess.crop(photo, face)


@pytest.fixture(scope="module")
def face(recognizer, crop) -> torch.Tensor:
    return recognizer.bundle.preprocess.to_tensor(crop)


@pytest.mark.parametrize("expression", CLASSES)
def test_a_map_has_the_inputs_size_and_lies_between_zero_and_one(recognizer, face, expression):
    heat = activation_map(recognizer.bundle, face, expression)
    assert heat.shape == face.shape[1:] and heat.dtype == np.float32
    assert heat.min() >= 0 and heat.max() in (0, pytest.approx(1))


def test_the_map_of_the_expression_shown_has_a_peak_and_is_not_flat(recognizer, face):
    heat = activation_map(recognizer.bundle, face, "happiness")
    assert heat.max() == pytest.approx(1) and heat.min() < 0.2


def test_maps_of_two_expressions_differ(recognizer, face):
    one, other = (activation_map(recognizer.bundle, face, name) for name in ("happiness", "anger"))
    assert np.abs(one - other).mean() > 0.05


def test_the_same_face_gives_the_same_map(recognizer, face):
    maps = [activation_map(recognizer.bundle, face, "happiness") for _ in range(2)]
    np.testing.assert_array_equal(*maps)


def test_looking_leaves_no_trace_in_the_network_or_the_face(recognizer, face):
    before = recognizer.bundle.probabilities(face[None])
    activation_map(recognizer.bundle, face, "fear")
    assert torch.equal(recognizer.bundle.probabilities(face[None]), before)
    assert not face.requires_grad and face.grad is None
    assert all(parameter.grad is None for parameter in recognizer.bundle.network.parameters())
    assert not any(module._forward_hooks for module in recognizer.bundle.network.modules())


def test_an_unknown_expression_is_refused(recognizer, face):
    with pytest.raises(ValueError):
        activation_map(recognizer.bundle, face, "boredom")


def test_maps_can_be_made_by_several_threads_at_once(recognizer, face):
    from concurrent.futures import ThreadPoolExecutor

    expected = [activation_map(recognizer.bundle, face, name) for name in CLASSES]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda name: activation_map(recognizer.bundle, face, name), CLASSES * 3))
    for one, other in zip(found, expected * 3, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_laid_over_the_face_the_map_colours_where_it_is_warm(crop):
    square = crop.resize((96, 96))
    heat = np.zeros((96, 96), np.float32)
    heat[:48] = 1.0
    pixels = np.asarray(overlaid(square, heat)).astype(int)
    grey = np.asarray(square.convert("L")).astype(int)
    assert (pixels[48:] == grey[48:, :, None]).all()
    assert (pixels[:48, :, 0] > pixels[:48, :, 2]).all()
