"""Label Studio's JSON: a list of tasks, each a picture with what people said (labelstud.io/guide/task_format).

A label is a result of the type "choices"; a second expression is a second choice. Annotations carry two keys
that Label Studio passes over, `annotator` and `votes`, because its `completed_by` is a number.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

from labeling.formats.names import Names
from labeling.formats.records import Problem, Record, Said, box_in, json_in, points_in, side_called
from labeling.formats.rows import text
from labeling.labels import ANSWERS
from labeling.tree import LARGEST_TABLE, Tree, TreeError, find

TASKS, IMAGES, CONFIG = "tasks.json", "images", "labeling_config.xml"
FROM_NAME, TO_NAME = "expression", "image"
LARGEST = LARGEST_TABLE // 10  # letters: a task list is read whole
READY_MADE = False
_UPLOAD = re.compile(r"^[0-9a-f]{8}-")  # what Label Studio puts before the name of a file it was given


def fits(tree: Tree) -> bool:
    """Whether `tree` holds a list of tasks."""
    return any(_is_list(tree, name) for name in tree.names())


def read(tree: Tree) -> Iterator[Record | Problem]:
    """The pictures of the tasks with their annotations, not the predictions; what cannot be used as problems."""
    for name in tree.names():
        if _is_list(tree, name):
            try:
                for task in _tasks(tree, name):
                    yield from _face(tree, name, task)
            except ValueError as error:
                yield Problem(name, str(error))


def write(records: Iterable[Record], folder: Path) -> Counter[str]:
    """Write the faces, the list of tasks, and a labelling configuration for them. Nothing is left out."""
    names, people, made = Names(), {}, Counter()
    (folder / IMAGES).mkdir()
    (folder / CONFIG).write_text(_config(), encoding="utf-8")
    with (folder / TASKS).open("w", encoding="utf-8") as file:
        for number, record in enumerate(records, 1):
            image = f"{IMAGES}/{names.free(record.name)}"
            (folder / image).write_bytes(record.content())
            file.write("[\n" if number == 1 else ",\n")
            json.dump(_task(number, image, record, people, made), file, ensure_ascii=False)
        file.write("\n]\n")
    return Counter()


# --- reading ------------------------------------------------------------------------------------


def _is_list(tree: Tree, name: str) -> bool:
    """Whether the file `name` begins as a list of tasks does; the rest may be large."""
    if not name.lower().endswith(".json"):
        return False
    try:
        with text(tree, name) as file:
            head = file.read(100_000)
    except (TreeError, UnicodeDecodeError):
        return False
    return head.lstrip().startswith("[") and '"data"' in head


def _tasks(tree: Tree, name: str) -> list:
    with text(tree, name) as file:
        content = file.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise TreeError(f"{name} is larger than {LARGEST // 10**6} MB; export it from Label Studio in parts.")
    tasks = json_in(content)
    return tasks if isinstance(tasks, list) else []


def _face(tree: Tree, table: str, task: object) -> Iterator[Record | Problem]:
    data = task.get("data") if isinstance(task, dict) else None
    if not isinstance(data, dict) or not isinstance(data.get("image"), str):
        yield Problem(table, "A task has no data.image, and was passed over.")
        return
    name = f"{table} task {task.get('id', '?')}"
    file = _file(tree, table, data["image"])
    if file is None:
        far = " Pictures at web addresses are not fetched; put it beside the JSON." if "://" in data["image"] else ""
        yield Problem(name, f"Its picture {data['image'][:200]} is not here.{far}")
        return
    try:
        box, points = data.get("box"), data.get("landmarks")
        face = {"box": box_in(box) if box else None, "landmarks": points_in(points) if points else None}
        said = tuple(_said(one) for one in _annotations(task))
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        yield Problem(
            f"{name}: {file}", str(error) if isinstance(error, ValueError) else "It is not in Label Studio's form."
        )
        return
    group = str(data["group"]) if data.get("group") else None
    yield Record(file, lambda: tree.read(file), said, group, side_called(data.get("split")), **face)


def _file(tree: Tree, table: str, image: str) -> str | None:
    """The file here that a task's `image` means: a path, an upload, a file of a local storage, a web address."""
    address = urlsplit(image)
    path = (parse_qs(address.query).get("d") or [address.path])[0] if address.query or address.scheme else image
    folder, _, name = path.rpartition("/")
    return find(tree, path, table) or find(tree, f"{folder}/{_UPLOAD.sub('', name)}", table)


def _annotations(task: dict) -> list[dict]:
    """The annotations of `task` that say something."""
    given = [one for one in task.get("annotations") or [] if not one.get("was_cancelled")]
    return [one for one in given if _choices(one)]


def _choices(annotation: dict) -> list[str]:
    results = annotation.get("result") or []
    return [choice for one in results if one.get("type") == "choices" for choice in one["value"]["choices"]]


def _said(annotation: dict) -> Said:
    choices = _choices(annotation)
    second = choices[1] if len(choices) > 1 else None
    return Said.read(_annotator(annotation), choices[0], second, annotation.get("votes"), annotation.get("created_at"))


def _annotator(annotation: dict) -> str:
    """Who made `annotation`: a name where the file has one, otherwise the number Label Studio knows the person by."""
    who = annotation.get("annotator") or annotation.get("completed_by")
    if isinstance(who, dict):
        full = f"{who.get('first_name', '')} {who.get('last_name', '')}".strip()
        who = full or who.get("email") or who.get("id")
    if isinstance(who, int):
        return f"annotator {who}"
    return str(who or "Label Studio")


# --- writing ------------------------------------------------------------------------------------


def _task(number: int, image: str, record: Record, people: dict[str, int], made: Counter) -> dict:
    # The form in which Label Studio serves files of its own disk; `d` is relative to the folder above.
    data = {"image": f"/data/local-files/?d={quote(image)}", "group": record.group, "split": record.split}
    data |= {"box": record.box, "landmarks": record.landmarks}
    annotations = [_annotation(number, one, people, made) for one in record.said]
    return {"id": number, "data": data, "annotations": annotations, "predictions": []}


def _annotation(task: int, said: Said, people: dict[str, int], made: Counter) -> dict:
    made["annotations"] += 1
    choices = [said.label] if said.second is None else [said.label, said.second]
    result = {
        "id": f"result{made['annotations']}", "from_name": FROM_NAME, "to_name": TO_NAME, "type": "choices",
        "value": {"choices": choices},
    }  # fmt: skip
    return {
        "id": made["annotations"], "task": task, "result": [result], "result_count": 1,
        "completed_by": people.setdefault(said.annotator, len(people) + 1), "annotator": said.annotator,
        **({"votes": said.votes} if said.votes else {}),
        "was_cancelled": False, "ground_truth": False, "created_at": said.at, "updated_at": said.at, "lead_time": None,
    }  # fmt: skip


def _config() -> str:
    """The labelling configuration that the tasks belong to."""
    choices = "\n".join(f'    <Choice value="{one.name}" hotkey="{one.code[-1]}"/>' for one in ANSWERS)
    return (
        f'<View>\n  <Image name="{TO_NAME}" value="$image"/>\n  <Choices name="{FROM_NAME}" toName="{TO_NAME}" '
        f'choice="multiple" showInLine="true">\n{choices}\n  </Choices>\n</View>\n'
    )
