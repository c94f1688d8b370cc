"""Command-line flags made from a dataclass."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, fields

import pytest

from fer.flags import add_flags, from_flags, option


@dataclass(frozen=True)
class Settings:
    data: str = "not a flag"
    learning_rate: float = option(0.001, "step size")
    epochs: int = option(3, "passes over the data, > 0")
    arch: str = option("cnn", "which network")


def parsed(*words: str) -> Settings:
    parser = argparse.ArgumentParser()
    add_flags(parser, Settings)
    return from_flags(Settings, parser.parse_args(words), data="folder:x")


def test_without_flags_the_defaults_hold():
    assert parsed() == Settings(data="folder:x")


def test_flags_are_named_with_hyphens_and_keep_their_types():
    settings = parsed("--learning-rate", "0.5", "--epochs", "7", "--arch", "wide")
    assert settings == Settings("folder:x", 0.5, 7, "wide")
    assert isinstance(settings.epochs, int) and isinstance(settings.learning_rate, float)


@pytest.mark.parametrize("words", [["--epochs", "many"], ["--epochs", "1.5"], ["--data", "x"]])
def test_wrong_values_and_fields_without_help_are_refused(words, capsys):
    with pytest.raises(SystemExit) as caught:
        parsed(*words)
    assert caught.value.code == 2 and words[0] in capsys.readouterr().err


def test_every_setting_of_a_training_run_has_a_flag_that_can_change_it():
    from fer.train import TrainConfig

    options = [one for one in fields(TrainConfig) if "help" in one.metadata]
    assert options
    parser = argparse.ArgumentParser()
    add_flags(parser, TrainConfig)
    text = " ".join(parser.format_help().split())
    for one in options:
        assert "--" + one.name.replace("_", "-") in text
        assert f"(default: {one.default})" in text
        # argparse would turn "--flag False" into True.
        assert type(one.default) in (int, float, str), one.name
