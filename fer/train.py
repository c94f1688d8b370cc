"""Training: `TrainConfig`, `train_one_step`, `train`; also ``python -m fer.train RUN_DIR``, which starts or resumes.

Every random draw is a function of the seed and of the step, so a run that was stopped and resumed
gives the same numbers as one that was not. ``torchrun --nproc-per-node N -m fer.train RUN_DIR`` shares
the faces of every step out to N processes; a face is drawn the same whoever draws it.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator
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
from fer.pulse import Pulse, Stopped
from fer.ranks import ALONE, Ranks, joined
from fer.run_folder import RunPaths, forget_later

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


def draw_batch(config: TrainConfig, faces: FaceSet, step: int, ranks: Ranks = ALONE) -> tuple[Tensor, Tensor]:
    """The faces of step `step`, or this rank's share of them: float32 (N, 3, S, S), and their targets float32 (N, K).

    A pure function: each epoch's order and each face's augmentation come from the seed alone.
    """
    per_epoch = steps_per_epoch(config, faces)
    epoch, at = divmod(step, per_epoch)
    order = np.random.default_rng([config.seed, epoch]).permutation(len(faces))
    indices = ranks.share(order[at * config.batch : (at + 1) * config.batch])
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


def train_one_step(
    config: TrainConfig, learner: Learner, faces: FaceSet, step: int, steps: int, ranks: Ranks = ALONE
) -> tuple[float, int]:
    """One step of AdamW on soft-target cross-entropy; the mean loss and the number of faces, of all ranks together."""
    images, targets = (one.to(ranks.device) for one in draw_batch(config, faces, step, ranks))
    for group in learner.optimiser.param_groups:
        group["lr"] = learning_rate(config, step, steps)
    # Dropout is the only draw left to torch: seeding it by step makes a resumed run equal, by rank makes faces differ.
    torch.manual_seed(config.seed * 1_000_003 + step + ranks.rank * 1_000_000_007)
    _set_learning(learner.network, bool(config.freeze_statistics))
    loss = functional.cross_entropy(forward_logits(learner.network, images), targets)
    mean, count = _mean_over_ranks(loss.detach(), len(images), ranks)
    if not math.isfinite(mean):
        raise FloatingPointError(f"the loss became {mean} at step {step}; lower --learning-rate")
    learner.optimiser.zero_grad(set_to_none=True)
    (loss * (len(images) / count)).backward()
    ranks.sum_gradients(learner.network)
    learner.optimiser.step()
    learner.average.update_parameters(learner.network)
    return mean, count


def _set_learning(network: nn.Module, freeze_statistics: bool) -> None:
    """Training mode; with `freeze_statistics` the batch norms stay as they are when a model is used."""
    network.train()
    for module in network.modules():
        if freeze_statistics and isinstance(module, nn.BatchNorm2d):
            module.eval()


def _mean_over_ranks(loss: Tensor, faces: int, ranks: Ranks) -> tuple[float, int]:
    """The mean loss over the faces of all ranks and their number, from this rank's mean over its `faces`."""
    if ranks.size == 1:
        return loss.item(), faces
    total, count = ranks.sum(torch.stack([loss * faces, torch.full_like(loss, faces)])).tolist()
    return total / count, round(count)


def train(config: TrainConfig, root: Path, progress=iter, ranks: Ranks = ALONE) -> ModelBundle | None:
    """Train as `config` says in the run folder `root`, going on from its checkpoint if there is one.

    After every epoch the averaged weights are measured on the validation split; see `_finish_run` for
    which are kept. `progress` wraps the iterator over steps (tqdm, say).
    Returns the bundle, which is also in ``root/bundle``; None on a rank that is not the first. Raises DataError,
    WeightsError or ValueError before anything is written when the data or the settings cannot work, and
    Stopped, once a checkpoint is saved, when the run was asked to stop.
    """
    paths = RunPaths(root)
    _refuse_other_settings(paths, config)
    with Pulse(paths, silent=not ranks.first) as pulse:
        faces, held_out = _load_data(config)
        _refuse_too_many_ranks(config, len(faces), ranks)
        learner = _new_learner(config, len(faces.classes), ranks.device)
        state = _resume(paths, config, learner, ranks)
        pulse.steps = steps = steps_per_epoch(config, faces) * config.epochs
        log.info("%d training faces, %d validation faces, %d steps of %d", len(faces), len(held_out), steps, config.batch)
        session = Session(config, paths, learner, faces, held_out, state, pulse, ranks)
        try:
            _learn(session, progress(range(state.step, steps)))
            with ranks.stopping_together():
                return _finish_run(session) if ranks.first else None
        except Stopped:
            if ranks.first:
                _save_checkpoint(session)
            log.info("stopped after %d of %d steps", state.step, steps)
            raise


@dataclass(frozen=True)
class Session:
    """What the steps of a run share, in one process."""

    config: TrainConfig
    paths: RunPaths
    learner: Learner
    faces: FaceSet
    held_out: FaceSet
    state: Progress
    pulse: Pulse
    ranks: Ranks

    @property
    def epoch(self) -> int:
        """The epoch that the next step belongs to, counted from 0."""
        return self.state.step // steps_per_epoch(self.config, self.faces)

    @property
    def unmeasured(self) -> bool:
        """Whether an epoch has ended that is not measured yet."""
        return self.state.seen > 0 and self.state.step % steps_per_epoch(self.config, self.faces) == 0

    def logits(self, network: nn.Module, words: str) -> np.ndarray:
        """The logits of `network` on the validation faces; the run can be stopped meanwhile."""

        def beating(batches: Iterable) -> Iterator:
            for batch in batches:
                self.pulse.beat(self.state.step, words)
                yield batch

        return evaluate.read_logits(self.ranks.on_device(network), self.config.preprocess(), self.held_out, beating)


def _learn(session: Session, numbers: Iterable[int]) -> None:
    """Take the steps `numbers`, measuring after each epoch and saving every so often.

    Between two steps everything is whole: only there is a wish to stop heard.
    """
    config, state, ranks = session.config, session.state, session.ranks
    _measure_if_due(session)  # a run may have been stopped while it measured
    saved, steps = time.monotonic(), session.pulse.steps
    for step in numbers:
        with ranks.stopping_together():
            session.pulse.beat(step, f"training, epoch {session.epoch + 1} of {config.epochs}")
        started = time.monotonic()
        loss, count = train_one_step(config, session.learner, session.faces, step, steps, ranks)
        state.step, state.loss, state.seen = step + 1, state.loss + loss * count, state.seen + count
        state.seconds += time.monotonic() - started
        if ranks.first:
            _append(session.paths.losses, {"step": state.step, "loss": loss})
        if _measure_if_due(session) or time.monotonic() - saved > config.save_seconds:
            if ranks.first:
                _save_checkpoint(session)
            saved = time.monotonic()


def _measure_if_due(session: Session) -> bool:
    """Where an epoch has just ended, measure it; whether it had."""
    if not session.unmeasured:
        return False
    with session.ranks.stopping_together():
        if session.ranks.first:
            _finish_epoch(session)
    session.state.loss, session.state.seen, session.state.seconds = 0.0, 0, 0.0
    return True


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


def _refuse_other_settings(paths: RunPaths, config: TrainConfig) -> None:
    if paths.checkpoint.is_file() and replace(read_config(paths), save_seconds=config.save_seconds) != config:
        raise ValueError(f"{paths.root} holds a run with other settings; choose another --out, or resume it as it was")


def _refuse_too_many_ranks(config: TrainConfig, faces: int, ranks: Ranks) -> None:
    least = 1 if config.freeze_statistics else 2  # batch norms need two faces to have a spread
    if min(config.batch, faces) < least * ranks.size:
        raise ValueError(f"{ranks.size} processes need a batch of at least {least * ranks.size} faces; raise --batch")


def _new_learner(config: TrainConfig, classes: int, device: torch.device = ALONE.device) -> Learner:
    torch.manual_seed(config.seed)
    network = build(config.arch, classes, config.dropout)
    initialise(network, config.init)
    network.to(device)
    average = AveragedModel(network, avg_fn=running_average(config.average), use_buffers=True)
    optimiser = torch.optim.AdamW(parameter_groups(network, config.weight_decay), lr=config.learning_rate)
    return Learner(network, average, optimiser, {})


def _resume(paths: RunPaths, config: TrainConfig, learner: Learner, ranks: Ranks = ALONE) -> Progress:
    """The progress saved in the run's folder, restoring `learner`; a new one where there is none."""
    if not paths.checkpoint.is_file():
        if ranks.first:
            _begin_folder(paths, config)
        return Progress()
    try:
        state = torch.load(paths.checkpoint, map_location="cpu", weights_only=True)
        learner.restore(state["learner"])
        progress = Progress(**state["progress"])
    except Exception as error:  # torch raises many kinds for a file that is damaged
        raise ValueError(f"{paths.checkpoint} is damaged; delete it to start the run anew, or restore it") from error
    if ranks.first:
        forget_later(paths.losses, progress.step)
        # With faces seen, the epoch of the last step is not measured, or its line came after this checkpoint.
        forget_later(paths.metrics, progress.step - (progress.seen > 0))
    log.info("resumed at step %d", progress.step)
    return progress


def _begin_folder(paths: RunPaths, config: TrainConfig) -> None:
    paths.root.mkdir(parents=True, exist_ok=True)
    started = {"command": command(config, paths.root), "module": "fer.train"}
    replace_json(paths.config, {**asdict(config), **started})
    for lines in (paths.metrics, paths.losses):
        replace_text(lines, "")


def _finish_epoch(session: Session) -> None:
    """Measure the averaged weights, write the metrics line, keep the weights if they are the best."""
    learner, state, held_out = session.learner, session.state, session.held_out
    network, epoch = learner.average.module, session.epoch
    logits = session.logits(network, f"measuring epoch {epoch} of {session.config.epochs}")
    report = evaluate.report(logits, held_out, model=f"epoch {epoch}", temperature=1.0)
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
        learner.best.update(_copied(network))
    _append(session.paths.metrics, line)


def _append(path: Path, line: dict) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def _copied(network: nn.Module) -> dict[str, Tensor]:
    """The weights as they are now, on the CPU."""
    return {key: value.detach().cpu().clone() for key, value in network.state_dict().items()}


def _save_checkpoint(session: Session) -> None:
    value = {"learner": session.learner.state(), "progress": asdict(session.state)}
    save_checkpoint(session.paths.checkpoint, value)


def save_checkpoint(path: Path, value: dict) -> None:
    """Write `value` as torch does; a full disk is an OSError, which torch would report as a fault of its own."""
    content = io.BytesIO()
    torch.save(value, content)
    replace_file(path, lambda partial: partial.write_bytes(content.getbuffer()))


def _finish_run(session: Session) -> ModelBundle:
    """The kept weights with their temperature as a bundle, its report on validation, and the curves.

    Kept are the weights of the best epoch, those of the last, or the mean of the two (a model soup, Wortsman
    et al. 2022, arXiv:2203.05482): whichever is most accurate on the validation split.
    """
    from fer.plots import draw_curves

    config, paths, held_out, best = session.config, session.paths, session.held_out, session.state.best
    network = build(config.arch, len(held_out.classes))
    last = _copied(session.learner.average.module)
    candidates = {
        f"epoch {best['epoch']}": session.learner.best,
        f"epoch {config.epochs}": last,
        f"mean of epochs {best['epoch']} and {config.epochs}": _mean(session.learner.best, last),
    }
    measured = {}
    for name, weights in candidates.items():
        network.load_state_dict(weights)
        measured[name] = session.logits(network.to(session.ranks.device), f"measuring {name}")
    network.cpu()
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


def main(arguments: list[str] | None = None) -> int:
    """``python -m fer.train RUN_DIR``: start or go on with the run whose config.json lies in RUN_DIR."""
    from tqdm import tqdm

    arguments = sys.argv[1:] if arguments is None else arguments
    if len(arguments) != 1:
        print("usage: python -m fer.train RUN_DIR", file=sys.stderr)
        return 2
    root = Path(arguments[0])
    try:
        config = read_config(RunPaths(root))
        with joined() as ranks:
            # Without a terminal there is no bar: train.log keeps whole lines.
            train(config, root, lambda steps: tqdm(steps, unit="step", disable=None if ranks.first else True), ranks)
    except (ValueError, OSError, ArithmeticError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; the run goes on where it was with the same command", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    raise SystemExit(main())
