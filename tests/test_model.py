"""The network: its size, its starting weights, its parameter groups."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from fer.model import ARCHITECTURES, WeightsError, build, forward_logits, initialise, parameter_groups, split_for_map


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    return build("mobilenet_v2", 8).eval()


def state(network: nn.Module) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in network.state_dict().items()}


def save(tensors: dict[str, torch.Tensor], path: Path) -> None:
    save_file({key: value.contiguous() for key, value in tensors.items()}, path)


def same(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("classes", [7, 8])
def test_every_architecture_answers_one_logit_a_class(arch, classes):
    with torch.no_grad():
        assert build(arch, classes).eval()(torch.zeros(2, 3, 96, 96)).shape == (2, classes)


def test_an_unknown_architecture_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="“alexnet” is not known; use one of mobilenet_v2"):
        build("alexnet", 8)


def test_dropout_is_as_asked():
    assert [layer.p for layer in build("mobilenet_v2", 8, 0.3).modules() if isinstance(layer, nn.Dropout)] == [0.3]


def test_the_fast_memory_layout_gives_the_same_logits(network):
    batch = torch.randn(3, 3, 96, 96, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(forward_logits(network, batch), network(batch), atol=1e-5, rtol=1e-4)


def test_every_parameter_is_in_one_group_and_only_matrices_decay(network):
    decaying, free = parameter_groups(network, 0.02)
    assert (decaying["weight_decay"], free["weight_decay"]) == (0.02, 0.0)
    assert all(one.ndim > 1 for one in decaying["params"]) and all(one.ndim == 1 for one in free["params"])
    grouped = [id(one) for one in decaying["params"] + free["params"]]
    assert sorted(grouped) == sorted(map(id, network.parameters()))


def test_frozen_parameters_are_in_no_group():
    frozen = build("mobilenet_v2", 8)
    frozen.features.requires_grad_(False)
    assert sum(len(group["params"]) for group in parameter_groups(frozen, 0.02)) == 2


def test_the_two_parts_around_the_map_make_the_whole_network(network):
    batch = torch.randn(2, 3, 96, 96)
    below, above = split_for_map(network)
    with torch.no_grad():
        assert below(batch).shape[2:] == (12, 12)
        assert torch.allclose(above(below(batch)), network(batch), atol=1e-5)


def test_starting_from_none_changes_nothing(network):
    fresh = build("mobilenet_v2", 8)
    before = state(fresh)
    initialise(fresh, "none")
    assert same(state(fresh), before)


def test_starting_from_a_file_takes_all_of_it(network, tmp_path):
    save(network.state_dict(), tmp_path / "start.safetensors")
    fresh = build("mobilenet_v2", 8)
    initialise(fresh, str(tmp_path / "start.safetensors"))
    assert same(state(fresh), state(network))


@pytest.mark.parametrize("without", ["classifier.", "num_batches_tracked"])
def test_what_a_file_may_lack_stays_as_it_is(network, tmp_path, without):
    tensors = {key: value for key, value in network.state_dict().items() if without not in key}
    save(tensors, tmp_path / "start.safetensors")
    fresh = build("mobilenet_v2", 8)
    before = state(fresh)
    initialise(fresh, str(tmp_path / "start.safetensors"))
    assert same(state(fresh), {**before, **tensors})


def test_a_last_layer_for_other_classes_is_left_at_its_random_start(network, tmp_path):
    save(network.state_dict(), tmp_path / "start.safetensors")
    seven = build("mobilenet_v2", 7)
    before = state(seven)
    initialise(seven, str(tmp_path / "start.safetensors"))
    for key, value in seven.state_dict().items():
        assert torch.equal(value, before[key] if key.startswith("classifier.") else network.state_dict()[key]), key


def missing_layer(tensors: dict) -> dict:
    return {key: value for key, value in tensors.items() if key != "features.3.conv.0.0.weight"}


def strange_layer(tensors: dict) -> dict:
    return {**tensors, "layer1.0.conv1.weight": torch.zeros(3)}


def other_shape(tensors: dict) -> dict:
    return {**tensors, "features.0.0.weight": torch.zeros(16, 3, 3, 3)}


@pytest.mark.parametrize("change", [missing_layer, strange_layer, other_shape])
def test_the_weights_of_another_network_are_refused_and_nothing_is_changed(network, tmp_path, change):
    path = tmp_path / "start.safetensors"
    save(change(state(network)), path)
    fresh = build("mobilenet_v2", 8)
    before = state(fresh)
    with pytest.raises(WeightsError, match="start.safetensors holds the weights of another network"):
        initialise(fresh, str(path))
    assert same(state(fresh), before)


@pytest.mark.parametrize("content", [None, b"", b"these are notes", b"\xff" * 64], ids=["missing", "empty", "text", "bytes"])
def test_a_file_that_is_not_there_or_not_safetensors_is_named(tmp_path, content):
    path = tmp_path / "start.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(WeightsError, match="start.safetensors") as caught:
        initialise(build("mobilenet_v2", 8), str(path))
    assert "\n" not in str(caught.value)


def test_without_the_internet_the_imagenet_weights_get_a_sentence(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # the port that discards
    with pytest.raises(WeightsError, match="--init fer/weights/model.safetensors") as caught:
        initialise(build("mobilenet_v2", 8), "imagenet")
    assert "\n" not in str(caught.value)
