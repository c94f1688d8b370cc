"""How a network learns from a few hundred corrections without forgetting: `Lesson`.

Each step learns from corrections and from twice as many rehearsed faces. On the rehearsed ones the network keeps to what
the old one says (distillation, Hinton et al. 2015, arXiv:1503.02531; against forgetting: Li and Hoiem 2016,
arXiv:1606.09282). They are mixed in pairs (mixup, Zhang et al. 2018, arXiv:1710.09412): between two faces lie the
doubtful ones, which would change sides first, and of which a few clear faces tell nothing. Batch norms keep their
statistics, for those of a batch, a third of it of another look, would be neither look's. At the end the old weights and
the new ones are averaged (Wortsman et al. 2022, arXiv:2109.01903), as far towards the new ones as held-out faces allow.
What each part is worth stands in EXPERIMENTS.md.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from fer.bundle import ModelBundle
from fer.model import parameter_groups
from fer.rehearsal import Activations, Rehearsal

BLENDS = (0.7, 0.6, 0.5, 0.4, 0.3, 0.15)  # shares of the new weights that are tried; more of them forgets more and gains nothing
CHOSEN_FALL = 0.003  # share of the rehearsal's "choose" faces that may be lost; the gate allows 0.005 of others


@dataclass(frozen=True)
class Recipe:
    """What learns, how long and how fast. The values of `RECIPES` were chosen by measurements in EXPERIMENTS.md."""

    first: int  # block of the network's features, 0..18, from which on all layers learn
    steps: int
    learning_rate: float  # of AdamW at the first step; it falls as a half cosine to 0
    batch: int = 96  # faces a step
    share: float = 1 / 3  # of the batch that are corrections
    weight: float = 6.0  # of what is rehearsed against what is corrected
    heat: float = 2.0  # temperature at which the two networks' answers are compared
    views: int = 12  # changed views of each correction
    most: float = 0.7  # of the new weights in the average of old and new
    weight_decay: float = 0.02


# Quick: the last three blocks and the last layer. Full: everything above the replay point.
RECIPES = {
    "quick": Recipe(first=15, steps=150, learning_rate=1e-3, weight=10.0, most=0.6),
    "full": Recipe(first=8, steps=250, learning_rate=5e-4),
}
# With the faces themselves to rehearse on nothing needs to stay as it is.
WHOLE = Recipe(first=0, steps=250, learning_rate=5e-4)


class Top(nn.Module):
    """The part of a network from block `first` on: activations (N, C, H, W) in, logits (N, K) out."""

    def __init__(self, network: nn.Module, first: int) -> None:
        super().__init__()
        self.features = copy.deepcopy(network.features[first:])
        self.classifier = copy.deepcopy(network.classifier)
        self.eval()  # batch norms use what they know; no dropout

    def forward(self, below: Tensor) -> Tensor:
        return self.classifier(self.features(below).mean(dim=(2, 3)))

    def logits(self, faces: Activations, batch: int = 256) -> np.ndarray:
        """float32 (N, K) of all `faces`."""
        with torch.inference_mode():
            parts = [self(faces.at(slice(start, start + batch))) for start in range(0, len(faces), batch)]
        return torch.cat(parts).numpy()


class Lesson:
    """`bundle`'s network learning from `corrections`, activations at the rehearsal's point, by `recipe`.

    A step depends on nothing but the weights, the optimiser, the seed and its number. Raises ValueError for a recipe
    that begins below the point, where no activations are.
    """

    def __init__(
        self, bundle: ModelBundle, recipe: Recipe, rehearsal: Rehearsal, corrections: Activations, seed: int = 0
    ) -> None:
        if recipe.first < rehearsal.point:
            raise ValueError(f"block {recipe.first} lies below {rehearsal.point}, from which faces are rehearsed")
        self.recipe, self.seed, self.step = recipe, seed, 0
        self._between = bundle.network.features[rehearsal.point : recipe.first]
        self.old, self.new = Top(bundle.network, recipe.first), Top(bundle.network, recipe.first)
        self.corrections = self.raised(corrections)
        self.rehearsed = self.raised(rehearsal.sides["learn"])
        self._optimiser = torch.optim.AdamW(parameter_groups(self.new, recipe.weight_decay), lr=recipe.learning_rate)

    def raised(self, faces: Activations) -> Activations:
        """`faces` at the rehearsal's point, brought up to where the learning begins."""
        return faces.through(self._between) if len(self._between) else faces

    def learn(self) -> float:
        """Take one step; its loss. Raises FloatingPointError when that is not a number."""
        recipe, learned = self.recipe, round(self.recipe.batch * self.recipe.share)
        random = np.random.default_rng([self.seed, self.step])
        own = torch.from_numpy(random.integers(len(self.corrections), size=learned))
        for group in self._optimiser.param_groups:
            group["lr"] = self.learning_rate
        past = self._mixed(recipe.batch - learned, random)
        logits = self.new(torch.cat([self.corrections.at(own), past]))
        loss = functional.cross_entropy(logits[:learned], self.corrections.targets[own])
        if len(past):
            loss = loss + recipe.weight * self._forgotten(logits[learned:], past)
        if not torch.isfinite(loss):
            raise FloatingPointError(f"the loss became {loss.item()} at step {self.step}; look for damaged pictures")
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self._optimiser.step()
        self.step += 1
        return loss.item()

    @property
    def learning_rate(self) -> float:
        """That of the next step."""
        return self.recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * self.step / self.recipe.steps))

    def blended(self, share: float) -> Top:
        """The old weights, moved by `share` of the way to the new ones."""
        mixed, new = copy.deepcopy(self.old), self.new.state_dict()
        with torch.no_grad():
            for key, value in mixed.state_dict().items():
                if value.is_floating_point():
                    value.lerp_(new[key], share)
        return mixed

    def choose(self, held_out: Activations) -> tuple[float, Top]:
        """The largest of `BLENDS` up to the recipe's `most` that loses at most `CHOSEN_FALL` of `held_out`, raised, and its layers.

        (0.0, the old layers) where all of them lose more.
        """
        before = _accuracy(self.old, held_out)
        for share in (one for one in BLENDS if one <= self.recipe.most):
            mixed = self.blended(share)
            if _accuracy(mixed, held_out) >= before - CHOSEN_FALL:
                return share, mixed
        return 0.0, self.blended(0.0)

    def state(self) -> dict:
        """All that is needed to go on; `restore` takes it."""
        return {"step": self.step, "new": self.new.state_dict(), "optimiser": self._optimiser.state_dict()}

    def restore(self, state: dict) -> None:
        """Go on where `state` was taken."""
        self.new.load_state_dict(state["new"])
        self._optimiser.load_state_dict(state["optimiser"])
        self.step = state["step"]

    def _mixed(self, count: int, random: np.random.Generator) -> Tensor:
        """`count` pairs of rehearsed faces, each mixed in an even share: activations (n, C, H, W)."""
        one, other = (torch.from_numpy(random.integers(len(self.rehearsed), size=count)) for _ in range(2))
        share = torch.from_numpy(random.uniform(0.5, 1.0, count).astype(np.float32))[:, None, None, None]
        return share * self.rehearsed.at(one) + (1 - share) * self.rehearsed.at(other)

    def _forgotten(self, logits: Tensor, faces: Tensor) -> Tensor:
        """How far `logits` of rehearsed `faces` are from the old network's answers."""
        heat = self.recipe.heat
        with torch.no_grad():
            answers = (self.old(faces) / heat).softmax(dim=1)
        # Times heat², so that the gradient does not shrink with the heat.
        return functional.kl_div((logits / heat).log_softmax(dim=1), answers, reduction="batchmean") * heat**2


def joined(bundle: ModelBundle, top: Top) -> nn.Module:
    """`bundle`'s network with its upper layers replaced by `top`."""
    network = copy.deepcopy(bundle.network)
    first = len(network.features) - len(top.features)
    for at, block in enumerate(top.features, first):
        network.features[at] = copy.deepcopy(block)
    network.classifier = copy.deepcopy(top.classifier)
    return network.requires_grad_(False).eval()


def _accuracy(top: Top, faces: Activations) -> float:
    counted = faces.labels >= 0
    return float((top.logits(faces).argmax(axis=1) == faces.labels)[counted].mean())
