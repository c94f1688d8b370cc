"""A fine-tune from collected labels, as a run: `finetune`; also ``python -m fer.finetune RUN_DIR``, which resumes.

It reads a snapshot, learns from its training side (`lesson.Lesson`), and reports before and after on what was never
learned from nor used to choose: the snapshot's held-out faces, and the benchmark of `rehearsal.Rehearsal`.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fer import bundle as bundles
from fer import datasets, evaluate
from fer.augment import Augment
from fer.bundle import ModelBundle
from fer.comparison import Comparison, Verdict, compare, verdict
from fer.config import FinetuneConfig, read_finetune, shown
from fer.datasets import DataError, FaceSet
from fer.files import replace_json, replace_text
from fer.lesson import Lesson, Recipe, Top, joined
from fer.pulse import Pulse, Stopped, in_a_sentence
from fer.registry import Registry
from fer.rehearsal import COUNTS, Activations, Rehearsal, activations, build, read
from fer.run_folder import RunPaths, forget_later
from fer.train import save_checkpoint

log = logging.getLogger(__name__)

FEWEST = 20  # faces to learn from, of two expressions
VIEWS = 6000  # views of corrections at most, and so faces: five minutes on two cores
LINES = 15  # measurements of a run
GLANCE = 400  # faces of each kind that such a measurement looks at
SAVE_SECONDS = 5.0  # between two checkpoints
FLIPS = 200  # pictures of the report


@dataclass(frozen=True)
class Faces:
    """The two kinds of a snapshot's faces: those to `learn` from, and those `held_out`, which may be none."""

    learn: FaceSet
    held_out: FaceSet | None


@dataclass
class Progress:
    """What a run knows beside its weights: the sum of the losses of the steps since the last measurement."""

    loss: float = 0.0
    steps: int = 0


def finetune(config: FinetuneConfig, root: Path) -> ModelBundle:
    """Fine-tune as `config` says in the run folder `root`, going on from its checkpoint if there is one.

    Returns the bundle, which is also in ``root/bundle`` and in the registry ``config.models``. Raises DataError,
    BundleError, RehearsalError or ValueError, in one sentence, and Stopped when the run was asked to stop.
    """
    paths, recipe = RunPaths(root), config.recipe()
    with Pulse(paths, recipe.steps) as pulse:
        pulse.beat(0, "reading the labels")
        base, faces = bundles.load(config.base), read_faces(config.data)
        torch.manual_seed(config.seed)
        rehearsal = _rehearsal(config, base, lambda batches: _beating(pulse, batches, "reading the faces to rehearse on"))
        lesson, held_out = _prepared(config, base, faces, rehearsal, pulse)
        state = _resumed(paths, config, lesson)
        _learn(paths, lesson, rehearsal, held_out, state, pulse)
        pulse.beat(recipe.steps, "comparing before and after")
        datasets.load(config.data, "train")  # refuses a snapshot from which a face was withdrawn meanwhile
        result, report = _judged(config, base, lesson, rehearsal, faces, held_out)
        report["seconds"] = round(pulse.seconds, 1)
        keep(config, paths, result, report)
    paths.checkpoint.unlink(missing_ok=True)
    return result


def read_faces(source: str) -> Faces:
    """The faces of the snapshot `source`, ``snapshot:DIR``. Raises DataError where there are too few to learn from."""
    if not Path(os.path.expanduser(source.partition(":")[2])).is_dir():
        raise DataError(f"the snapshot {datasets.snapshot_id(source)} is not there; take a new one")
    datasets.load(source, "all")  # refuses what was changed or withdrawn
    parts = {}
    for split in datasets.SPLITS:
        try:
            parts[split] = datasets.load(source, split)
        except DataError:  # an empty side
            continue
    learn = parts["train"].for_training() if "train" in parts else None
    shown_in = int((learn.targets.sum(axis=0) > 0).sum()) if learn else 0
    if learn is None or len(learn) < FEWEST or shown_in < 2:
        raise DataError(
            f"{len(learn) if learn else 0} labelled faces of {shown_in} expression{'s' * (shown_in != 1)} are there to learn from; "
            f"at least {FEWEST} of two are needed; label more."
        )
    held_out = [parts[split].for_evaluation() for split in ("val", "test") if split in parts]
    held_out = [part for part in held_out if len(part)]
    return Faces(learn, datasets.joined(held_out, "held out") if held_out else None)


def views_of(bundle: ModelBundle, faces: FaceSet, views: int, seed: int) -> Callable[[int], list[Tensor]]:
    """What is learned from of a face: itself, and changed as in training, `views` float32 (3, S, S) in all."""
    augment, preprocess = Augment(), bundle.preprocess

    def seen(index: int) -> list[Tensor]:
        image = faces.image(index)
        crop = preprocess.crop(image, faces.face(index, image))
        if preprocess.grayscale:
            crop = crop.convert("L")  # the tail would do it later; a third of the numbers to augment
        changed = [
            augment.crop(crop, preprocess.size, np.random.default_rng([seed, index, view])) for view in range(1, views)
        ]
        return [preprocess.to_tensor(one) for one in (crop, *changed)]

    return seen


def correction_views(
    bundle: ModelBundle, faces: FaceSet, point: int, recipe: Recipe, seed: int, progress: Callable = iter
) -> Activations:
    """The `faces` to learn from at block `point`, in as many views as `VIEWS` allow; of more faces, so many at random."""
    if len(faces) > VIEWS:
        faces = faces.subset(np.sort(np.random.default_rng(seed).permutation(len(faces))[:VIEWS]))
    views = max(1, min(recipe.views, VIEWS // len(faces)))
    return activations(bundle, faces, point, views_of(bundle, faces, views, seed), progress)


def _rehearsal(config: FinetuneConfig, base: ModelBundle, progress: Callable) -> Rehearsal:
    if config.rehearsal:
        return build(base, config.rehearsal, point=0, counts=COUNTS, progress=progress)
    rehearsal = read()
    rehearsal.check(base)
    return rehearsal


def _prepared(
    config: FinetuneConfig, base: ModelBundle, faces: Faces, rehearsal: Rehearsal, pulse: Pulse
) -> tuple[Lesson, Activations | None]:
    """The lesson, and the held-out faces raised to where it learns."""
    recipe, point = config.recipe(), rehearsal.point
    words = f"reading {len(faces.learn)} faces"
    corrections = correction_views(
        base, faces.learn, point, recipe, config.seed, lambda batches: _beating(pulse, batches, words)
    )
    lesson = Lesson(base, recipe, rehearsal, corrections, config.seed)
    if faces.held_out is None:
        return lesson, None
    words = f"reading {len(faces.held_out)} held-out faces"
    held_out = activations(base, faces.held_out, point, progress=lambda batches: _beating(pulse, batches, words))
    return lesson, lesson.raised(held_out)


def _beating(pulse: Pulse, batches, words: str):
    for batch in batches:
        pulse.beat(0, words)
        yield batch


def _learn(
    paths: RunPaths, lesson: Lesson, rehearsal: Rehearsal, held_out: Activations | None, state: Progress, pulse: Pulse
) -> None:
    """The steps that are left, measuring now and then and saving every so often; also when the run is asked to stop."""
    base = lesson.raised(rehearsal.sides["choose"].subset(_spread(len(rehearsal.sides["choose"]))))
    glance = held_out.subset(_spread(len(held_out))) if held_out else None
    steps, saved = lesson.recipe.steps, time.monotonic()
    every = max(1, steps // LINES)
    if lesson.step == 0:
        _measure(paths, lesson, base, glance, state)
    try:
        while lesson.step < steps:
            pulse.beat(lesson.step, "learning")
            state.loss, state.steps = state.loss + lesson.learn(), state.steps + 1
            if lesson.step % every == 0 or lesson.step == steps:
                _measure(paths, lesson, base, glance, state)
            if time.monotonic() - saved > SAVE_SECONDS:
                _save(paths, lesson, state)
                saved = time.monotonic()
    except Stopped:  # between two steps; whoever asks twice may interrupt one, and what is half done is not kept
        _save(paths, lesson, state)
        raise


def _spread(n: int) -> np.ndarray:
    """The numbers of at most `GLANCE` of `n` faces, evenly spread."""
    return np.linspace(0, n - 1, min(n, GLANCE)).astype(int)


def _measure(paths: RunPaths, lesson: Lesson, base: Activations, held_out: Activations | None, state: Progress) -> None:
    line = {
        "step": lesson.step,
        "loss": state.loss / state.steps if state.steps else None,
        "base_accuracy": _share_right(lesson.new, base),
        "corrections_accuracy": _share_right(lesson.new, held_out) if held_out else None,
        "learning_rate": lesson.learning_rate,
    }
    log.info("%s", json.dumps(line))
    with paths.metrics.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
    state.loss, state.steps = 0.0, 0


def _share_right(top: Top, faces: Activations) -> float:
    return float((top.logits(faces).argmax(axis=1) == faces.labels).mean())


def _save(paths: RunPaths, lesson: Lesson, state: Progress) -> None:
    value = {"lesson": lesson.state(), "progress": asdict(state), "recipe": asdict(lesson.recipe)}
    save_checkpoint(paths.checkpoint, value)


def _resumed(paths: RunPaths, config: FinetuneConfig, lesson: Lesson) -> Progress:
    """The progress saved in the run's folder, restoring `lesson`; a new one where there is none."""
    if not paths.checkpoint.is_file():
        replace_text(paths.metrics, "")
        return Progress()
    try:
        state = torch.load(paths.checkpoint, map_location="cpu", weights_only=True)
        lesson.restore(state["lesson"])
        progress, recipe = Progress(**state["progress"]), state["recipe"]
    except Exception as error:  # torch raises many kinds for a file that is damaged
        raise ValueError(f"{paths.checkpoint.name} of the run is damaged; start a new run") from error
    if recipe != asdict(lesson.recipe):
        raise ValueError("The run was begun by another version of this program; start a new run.")
    forget_later(paths.metrics, lesson.step)
    log.info("resumed at step %d", lesson.step)
    return progress


def _judged(
    config: FinetuneConfig, base: ModelBundle, lesson: Lesson, rehearsal: Rehearsal, faces: Faces, held_out: Activations | None
) -> tuple[ModelBundle, dict]:
    """The new bundle, and the report on it."""
    choose, benchmark = lesson.raised(rehearsal.sides["choose"]), lesson.raised(rehearsal.sides["benchmark"])
    blend, top = lesson.choose(choose)
    temperature = round(evaluate.fit_temperature(top.logits(choose), choose.labels), 4)
    result = _bundle(config, base, joined(base, top), blend, temperature)
    on_base = compare("the base benchmark", benchmark.labels, lesson.old.logits(benchmark), top.logits(benchmark), base.classes)
    on_corrections, flips = None, []
    if held_out:
        before = evaluate.softmax(lesson.old.logits(held_out) / base.temperature)
        after = evaluate.softmax(top.logits(held_out) / temperature)
        on_corrections = compare("held-out corrections", held_out.labels, before, after, base.classes)
        flips = _flips(faces.held_out, before, after)
    decided = verdict(on_corrections, on_base)
    return result, {
        **_heading(config, base, result, faces), "blend": blend, "temperature": temperature,
        "corrections": on_corrections.as_dict() if on_corrections else None, "benchmark": on_base.as_dict(),
        "verdict": decided.as_dict(), "flips": flips,
    }  # fmt: skip


def _heading(config: FinetuneConfig, base: ModelBundle, result: ModelBundle, faces: Faces) -> dict:
    folder = Path(os.path.expanduser(config.data.partition(":")[2])).resolve()
    return {
        "kind": "finetune", "version": result.version, "base": base.version, "snapshot": folder.name,
        "snapshot_folder": str(folder), "speed": config.speed, "learned_from": min(len(faces.learn), VIEWS),
        "held_out": len(faces.held_out) if faces.held_out else 0,
    }  # fmt: skip


def _flips(faces: FaceSet, before: np.ndarray, after: np.ndarray) -> list[dict]:
    """The faces that one model reads rightly and the other does not, right-to-wrong first, then the surest first."""
    right = [one.argmax(axis=1) == faces.labels for one in (before, after)]
    rows = np.flatnonzero(right[0] != right[1])
    rows = rows[np.lexsort((-after[rows].max(axis=1), right[1][rows]))]
    return [
        {
            "image": faces.paths[row].name, "label": faces.classes[faces.labels[row]],
            "before": faces.classes[before[row].argmax()], "after": faces.classes[after[row].argmax()],
            "before_confidence": float(before[row].max()), "after_confidence": float(after[row].max()),
            "broken": bool(right[0][row]),
        }
        for row in rows[:FLIPS]
    ]  # fmt: skip


def _bundle(config: FinetuneConfig, base: ModelBundle, network, blend: float, temperature: float) -> ModelBundle:
    values = {key: value for key, value in asdict(config).items() if key != "models"}
    provenance = {
        "command": config.command,
        "config": {key: shown(value) if isinstance(value, str) else value for key, value in values.items()}
        | {"recipe": asdict(config.recipe())},
        "started_from": {"version": base.version, "provenance": base.provenance},
        "snapshot": datasets.snapshot_id(config.data),  # so that a withdrawal can name the models that learned from a face
        "blend": blend,
        "torch": torch.__version__,
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
    }
    version = f"{base.arch}-taught-{base.preprocess.size}px-{_fingerprint(network, config)}"
    return replace(base, version=version, network=network, temperature=temperature, provenance=provenance)


def _fingerprint(network, config: FinetuneConfig) -> str:
    """Eight hexadecimal digits of the SHA-256 of the weights and of where they come from: another run, another name."""
    digest = hashlib.sha256(json.dumps([datasets.snapshot_id(config.data), config.speed, config.seed]).encode())
    for key, value in sorted(network.state_dict().items()):
        digest.update(key.encode() + value.contiguous().numpy().tobytes())
    return digest.hexdigest()[:8]


def keep(config: FinetuneConfig, paths: RunPaths, result: ModelBundle, report: dict) -> None:
    """Save the bundle and its report in the run's folder and in the registry, and promote it if that was asked for.

    Raises DataError where a face of the snapshot was withdrawn meanwhile, RegistryError where it cannot be kept.
    """
    from fer.card import write_taught_card

    # First noted, then looked at once more: a withdrawal either comes before and is seen here, or finds the note.
    datasets.note_training(config.data, result.version)
    datasets.load(config.data, "train")
    bundles.save(result, paths.bundle)
    replace_text(paths.bundle / bundles.CARD, write_taught_card(result, report))
    replace_json(paths.report, report)
    if config.models:
        registry, decided = Registry(Path(config.models)), Verdict(**report["verdict"])
        registry.add(paths.bundle, paths.report)
        if config.promote == "if-better" and decided.promote:
            registry.promote(result.version, who="the gate", why=decided.words)
            log.info("promoted %s", result.version)
    for key in ("corrections", "benchmark"):
        if report[key]:
            log.info("%s", Comparison.from_dict(report[key]).in_words())
    log.info("%s", report["verdict"]["words"])


def main(arguments: list[str] | None = None) -> int:
    """``python -m fer.finetune RUN_DIR``: start or go on with the run whose config.json lies in RUN_DIR."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if len(arguments) != 1:
        print("usage: python -m fer.finetune RUN_DIR", file=sys.stderr)
        return 2
    paths = RunPaths(Path(arguments[0]))
    torch.set_num_threads(os.cpu_count() or 1)
    try:
        config = read_finetune(paths)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    try:
        finetune(config, paths.root)
    except (ValueError, OSError, ArithmeticError) as error:
        print(in_a_sentence(error), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; resume the run to go on", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    raise SystemExit(main())
