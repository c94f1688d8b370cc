"""Training: `TrainConfig`, `train_one_epoch`, `train`; also ``python -m fer.train RUN_DIR``, which resumes.

Every random draw is a function of the seed and of the step, so a run that was stopped and resumed
gives the same numbers as one that was not.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel

from fer import bundle as bundles
from fer import datasets, evaluate
from fer.bundle import ModelBundle
from fer.config import TrainConfig, command, read_config, shown
from fer.datasets import DataError, FaceSet
from fer.files import replace_file, replace_json, replace_text
from fer.model import build, forward_logits, initialise, parameter_groups
from fer.runs import RunPaths

log = logging.getLogger(__name__)


@dataclass
class Progress:
    """Where a run stands; saved with every checkpoint. `loss` sums over the `seen` faces of this epoch."""

    step: int = 0
    loss: float = 0.0
    seen: int = 0
    seconds: float = 0.0
    best: dict | None = None  # the metrics line of the epoch whose weights are kept


@dataclass(frozen=True)
class Learner:
    """The parts that learn: the network, its running average, the optimiser, and the best average so far."""

    network: nn.Module
    average: AveragedModel
    optimiser: torch.optim.Optimizer
    best: dict[str, Tensor]

    def state(self) -> dict:
        return {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "best": self.best,
        }

    def restore(self, state: dict) -> None:
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.best.update(state["best"])


def learning_rate(config: TrainConfig, step: int, steps: int) -> float:
    """The step size of step `step` of `steps`: linear warm-up, then a half cosine to 0 (arXiv:1608.03983)."""
    warm = max(1, round(config.warmup * steps / config.epochs))
    if step < warm:
        return config.learning_rate * (step + 1) / warm
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def running_average(decay: float) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """The exponential moving average of weights, `decay` per step, shorter at the start.

    In the first steps a decay of 0.999 would still be mostly the random last layer, so it rises as
    (1 + n) / (10 + n), as in TensorFlow's ExponentialMovingAverage.
    """

    def update(average: Tensor, current: Tensor, count: Tensor) -> Tensor:
        if not average.is_floating_point():
            return current  # the batch norms' step counters
        keep = min(decay, (1 + int(count)) / (10 + int(count)))
        return torch.lerp(current, average, keep)

    return update


def draw_batch(config: TrainConfig, faces: FaceSet, step: int) -> tuple[Tensor, Tensor]:
    """The faces of step `step`: float32 (N, 3, S, S), and their targets float32 (N, K).

    A pure function: each epoch's order and each face's augmentation come from the seed alone.
    """
    per_epoch = steps_per_epoch(config, faces)
    epoch, at = divmod(step, per_epoch)
    order = np.random.default_rng([config.seed, epoch]).permutation(len(faces))
    indices = order[at * config.batch : (at + 1) * config.batch]
    batch = [_draw_face(config, faces, int(index), epoch) for index in indices]
    return torch.stack(batch), torch.from_numpy(faces.targets[indices])


def _draw_face(config: TrainConfig, faces: FaceSet, index: int, epoch: int) -> Tensor:
    random = np.random.default_rng([config.seed, epoch, index])
    image = faces.image(index)
    crop = config.preprocess().crop(image, faces.face(index, image))
    if config.preprocess().grayscale:
        crop = crop.convert("L")  # the tail would do it later; a third of the numbers to augment
    view = config.augment().crop(crop, config.size, random)
    return config.augment().erased(config.preprocess().to_tensor(view), random)


def steps_per_epoch(config: TrainConfig, faces: FaceSet) -> int:
    """Whole batches in an epoch; the rest waits for another epoch's order. At least 1."""
    return max(1, len(faces) // config.batch)


def train_one_step(config: TrainConfig, learner: Learner, faces: FaceSet, step: int, steps: int) -> tuple[float, int]:
    """One step of AdamW on soft-target cross-entropy; the mean loss and the number of faces."""
    images, targets = draw_batch(config, faces, step)
    for group in learner.optimiser.param_groups:
        group["lr"] = learning_rate(config, step, steps)
    # Dropout is the only draw left to torch: seeding it by step makes a resumed run equal.
    torch.manual_seed(config.seed * 1_000_003 + step)
    learner.network.train()
    loss = functional.cross_entropy(forward_logits(learner.network, images), targets)
    if not torch.isfinite(loss):
        raise FloatingPointError(f"the loss became {loss.item()} at step {step}; lower --learning-rate")
    learner.optimiser.zero_grad(set_to_none=True)
    loss.backward()
    learner.optimiser.step()
    learner.average.update_parameters(learner.network)
    return loss.item(), len(images)


def train(config: TrainConfig, root: Path, progress=iter) -> ModelBundle:
    """Train as `config` says in the run folder `root`, going on from its checkpoint if there is one.

    After every epoch the averaged weights are measured on the validation split; see `_finish_run` for
    which are kept. `progress` wraps the iterator over steps (tqdm, say).
    Returns the bundle, which is also in ``root/bundle``. Raises DataError, WeightsError or ValueError
    before anything is written when the data or the settings cannot work.
    """
    paths = RunPaths(root)
    faces, held_out = _load_data(config)
    learner = _new_learner(config, len(faces.classes))
    state = _resume(paths, config, learner)
    per_epoch = steps_per_epoch(config, faces)
    steps = per_epoch * config.epochs
    _write_status(paths, "running", state.step, steps)
    log.info("%d training faces, %d validation faces, %d steps of %d", len(faces), len(held_out), steps, config.batch)
    try:
        _learn(config, paths, learner, (faces, held_out), state, progress(range(state.step, steps)))
        result = _finish_run(config, paths, learner, held_out, state)
    except BaseException as error:
        stopped = isinstance(error, KeyboardInterrupt | SystemExit)
        _write_status(paths, "stopped" if stopped else "failed", state.step, steps)
        raise
    _write_status(paths, "finished", steps, steps)
    return result


def _learn(
    config: TrainConfig,
    paths: RunPaths,
    learner: Learner,
    data: tuple[FaceSet, FaceSet],
    state: Progress,
    numbers: Iterable[int],
) -> None:
    """Take the steps `numbers`, measuring after each epoch and saving every so often."""
    faces, held_out = data
    per_epoch = steps_per_epoch(config, faces)
    steps = per_epoch * config.epochs
    saved = started = time.monotonic()
    for step in numbers:
        loss, count = train_one_step(config, learner, faces, step, steps)
        state.step, state.loss, state.seen = step + 1, state.loss + loss * count, state.seen + count
        now = time.monotonic()
        ended = state.step % per_epoch == 0
        if not ended and now - saved <= config.save_seconds:
            continue
        state.seconds, started = state.seconds + now - started, now
        if ended:
            _finish_epoch(config, paths, learner, held_out, state, state.step // per_epoch)
            started = time.monotonic()
        _save_checkpoint(paths, learner, state)
        _write_status(paths, "running", state.step, steps)
        saved = time.monotonic()


def _load_data(config: TrainConfig) -> tuple[FaceSet, FaceSet]:
    faces = datasets.load(config.data, "train").for_training()
    held_out = datasets.load(config.data, "val").for_evaluation()
    if config.limit:
        # Spread over the split, so that a sorted folder still gives every class.
        faces = faces.subset(np.linspace(0, len(faces) - 1, min(config.limit, len(faces))).astype(int))
        held_out = held_out.subset(np.linspace(0, len(held_out) - 1, min(config.limit, len(held_out))).astype(int))
    if len(faces) < 2 or len(held_out) < 1:
        raise DataError(f"{config.data} has {len(faces)} faces to train on and {len(held_out)} to validate; add more")
    return faces, held_out


def _new_learner(config: TrainConfig, classes: int) -> Learner:
    torch.manual_seed(config.seed)
    network = build(config.arch, classes, config.dropout)
    initialise(network, config.init)
    average = AveragedModel(network, avg_fn=running_average(config.average), use_buffers=True)
    optimiser = torch.optim.AdamW(parameter_groups(network, config.weight_decay), lr=config.learning_rate)
    return Learner(network, average, optimiser, {})


def _resume(paths: RunPaths, config: TrainConfig, learner: Learner) -> Progress:
    """The progress saved in the run's folder, restoring `learner`; a new one where there is none."""
    if not paths.checkpoint.is_file():
        paths.root.mkdir(parents=True, exist_ok=True)
        replace_json(paths.config, {**asdict(config), "command": command(config, paths.root)})
        replace_text(paths.metrics, "")
        return Progress()
    before = read_config(paths)
    if replace(before, save_seconds=config.save_seconds) != config:
        raise ValueError(f"{paths.root} holds a run with other settings; choose another --out, or resume it as it was")
    try:
        state = torch.load(paths.checkpoint, weights_only=True)
        learner.restore(state["learner"])
        progress = Progress(**state["progress"])
    except Exception as error:  # torch raises many kinds for a file that is damaged
        raise ValueError(f"{paths.checkpoint} is damaged; delete it to start the run anew, or restore it") from error
    _forget_later_metrics(paths, progress.step)
    log.info("resumed at step %d", progress.step)
    return progress


def _forget_later_metrics(paths: RunPaths, step: int) -> None:
    """Drop the lines written after the checkpoint that the run goes on from: they will be written again."""
    lines = paths.metrics.read_text(encoding="utf-8").splitlines() if paths.metrics.is_file() else []
    replace_text(paths.metrics, "".join(line + "\n" for line in lines if _step_of(line) <= step))


def _step_of(line: str) -> float:
    """The step of a metrics line; infinite for a line that a kill left half-written."""
    try:
        return json.loads(line)["step"]
    except (ValueError, KeyError, TypeError):
        return math.inf


def _finish_epoch(
    config: TrainConfig, paths: RunPaths, learner: Learner, held_out: FaceSet, state: Progress, epoch: int
) -> None:
    """Measure the averaged weights, write the metrics line, keep the weights if they are the best."""
    network = learner.average.module
    report = evaluate.report(
        evaluate.read_logits(network, config.preprocess(), held_out), held_out, model=f"epoch {epoch}", temperature=1.0
    )
    line = {
        "epoch": epoch,
        "step": state.step,
        "train_loss": state.loss / state.seen,
        "val_loss": report.nll,
        "val_accuracy": report.accuracy,
        "val_macro_f1": report.macro_f1,
        "val_macro_f1_50": report.macro_f1_50,
        "learning_rate": learner.optimiser.param_groups[0]["lr"],
    }
    log.info("epoch %d: %s, %.0f s", epoch, json.dumps(line), state.seconds)
    if state.best is None or line["val_accuracy"] > state.best["val_accuracy"]:
        state.best = line
        learner.best.update({key: value.clone() for key, value in network.state_dict().items()})
    state.loss, state.seen, state.seconds = 0.0, 0, 0.0
    with paths.metrics.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def _save_checkpoint(paths: RunPaths, learner: Learner, state: Progress) -> None:
    value = {"learner": learner.state(), "progress": asdict(state)}
    replace_file(paths.checkpoint, lambda partial: torch.save(value, partial))


def _finish_run(
    config: TrainConfig, paths: RunPaths, learner: Learner, held_out: FaceSet, state: Progress
) -> ModelBundle:
    """The kept weights with their temperature as a bundle, its report on validation, and the curves.

    Kept are the weights of the best epoch, those of the last, or the mean of the two (a model soup, Wortsman
    et al. 2022, arXiv:2203.05482): whichever is most accurate on the validation split.
    """
    from fer.plots import draw_curves

    network = build(config.arch, len(held_out.classes))
    last = {key: value.clone() for key, value in learner.average.module.state_dict().items()}
    candidates = {
        f"epoch {state.best['epoch']}": learner.best,
        f"epoch {config.epochs}": last,
        f"mean of epochs {state.best['epoch']} and {config.epochs}": _mean(learner.best, last),
    }
    measured = {}
    for name, weights in candidates.items():
        network.load_state_dict(weights)
        measured[name] = evaluate.read_logits(network, config.preprocess(), held_out)
    accuracy = {name: float((logits.argmax(axis=1) == held_out.labels).mean()) for name, logits in measured.items()}
    kept = max(accuracy, key=accuracy.get)
    log.info("kept %s: %s", kept, json.dumps(accuracy))
    network.load_state_dict(candidates[kept])
    logits = measured[kept]
    temperature = round(evaluate.fit_temperature(logits, held_out.labels), 4)
    epochs = [json.loads(line) for line in paths.metrics.read_text(encoding="utf-8").splitlines()]
    provenance = {
        "command": json.loads(paths.config.read_text(encoding="utf-8"))["command"],
        "config": {**asdict(config), "data": shown(config.data), "init": shown(config.init)},
        "started_from": bundles.origin(config.init),
        "snapshot": datasets.snapshot_id(config.data),  # so that a withdrawal can name the models that learned from a face
        "kept": kept,
        "candidates": accuracy,
        "epochs": epochs,
        "torch": torch.__version__,
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
    }
    version = f"{config.arch}-{held_out.name}-{config.size}px-{_fingerprint(candidates[kept])}"
    result = ModelBundle(
        version, config.arch, held_out.classes, config.preprocess(), network.eval(), temperature, provenance
    )
    report = evaluate.report(logits, held_out, model=version, temperature=temperature)
    datasets.note_training(config.data, version)
    bundles.save(result, paths.bundle)
    replace_json(paths.report, asdict(report))
    draw_curves(epochs, paths.curves)
    return result


def _mean(one: dict[str, Tensor], other: dict[str, Tensor]) -> dict[str, Tensor]:
    """Half of each; counters, which are whole numbers, from the first."""
    return {key: (one[key] + other[key]) / 2 if one[key].is_floating_point() else one[key] for key in one}


def _fingerprint(tensors: dict[str, Tensor]) -> str:
    """Eight hexadecimal digits of the SHA-256 of the weights: another training, another name."""
    digest = hashlib.sha256()
    for key in sorted(tensors):
        digest.update(key.encode() + tensors[key].numpy().tobytes())
    return digest.hexdigest()[:8]


def _write_status(paths: RunPaths, state: str, step: int, steps: int) -> None:
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    replace_json(paths.status, {"state": state, "pid": os.getpid(), "step": step, "steps": steps, "heartbeat": now})


def main(arguments: list[str] | None = None) -> int:
    """``python -m fer.train RUN_DIR``: start or go on with the run whose config.json lies in RUN_DIR."""
    from tqdm import tqdm

    arguments = sys.argv[1:] if arguments is None else arguments
    if len(arguments) != 1:
        print("usage: python -m fer.train RUN_DIR", file=sys.stderr)
        return 2
    root = Path(arguments[0])
    try:
        train(read_config(RunPaths(root)), root, lambda steps: tqdm(steps, unit="step"))
    except (ValueError, OSError, ArithmeticError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    raise SystemExit(main())
