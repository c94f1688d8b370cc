"""Apps with labels of their own for the tests of the Label tab, the faces they begin with, and the way to the tab."""

from __future__ import annotations

import io
from dataclasses import dataclass

from conftest import SAMPLES
from label_workspaces import BOXES
from PIL import Image
from playwright.sync_api import Page, expect

from labeling.items import NewItem
from labeling.judgements import Annotation, annotation_of
from labeling.store import LabelStore


# Timers of the page between half a second and ten go ten times as fast: it looks anew at once.
FAST = """for (const name of ["setTimeout", "setInterval"]) {
  const real = window[name];
  window[name] = (work, after, ...more) => real(work, after >= 500 && after <= 10000 ? after / 10 : after, ...more);
}"""


@dataclass(frozen=True)
class Studio:
    """A running app with labels of its own: its services and address, and its labels as another process sees them."""

    services: object
    address: str
    store: LabelStore

    def annotations(self, annotator: str | None = None) -> list[Annotation]:
        """All judgements, oldest first; those of `annotator` where one is named."""
        return [one for one in all_annotations(self.store) if annotator in (None, one.annotator)]


def all_annotations(store: LabelStore) -> list[Annotation]:
    """All judgements in `store`, oldest first."""
    with store.database.reading() as connection:
        return [annotation_of(row) for row in connection.execute("SELECT * FROM judgements ORDER BY id")]


def new_face(picture: Image.Image, group: str) -> NewItem:
    """`picture`, a face that fills it, as it comes from a set of faces."""
    file = io.BytesIO()
    picture.save(file, "PNG")
    return NewItem("import", group, file.getvalue(), *picture.size, box=(0, 0, *picture.size))


def some_faces(count: int = 24) -> list[NewItem]:
    """Real faces cut from the samples, turned and shifted so that no two are near-duplicates."""
    faces = []
    for turn in (0, 24, -24, 48):
        for at, (name, (left, top, right, bottom)) in enumerate(BOXES):
            with Image.open(SAMPLES / name) as photo:
                side = (right - left) // 3
                wide = photo.convert("RGB").crop((left - side, top - side, right + side, bottom + side))
            turned = wide.rotate(turn, Image.Resampling.BILINEAR)
            edge, shift = side // 2, turn // 6
            inner = turned.crop((edge + shift, edge, turned.width - edge + shift, turned.height - edge))
            faces.append(new_face(inner.resize((160, 160)), f"{name}:{at}"))
    return faces[:count]


def to_label(page: Page, name: str | None = None) -> Page:
    """Open the Label tab; as `name`, unless this browser still knows who labels."""
    page.get_by_role("tab", name="Label").click()
    desk = page.locator("#labeling .desk")
    field = page.locator("#labeling .name")
    expect(desk.or_(field).filter(visible=True).first).to_be_visible()
    if field.is_visible():
        if name:
            field.fill(name)
        if field.input_value():
            page.get_by_role("button", name="Start labeling").click()
    return page


def to_faces(page: Page, name: str | None = None) -> Page:
    """`to_label`, until a face is shown."""
    to_label(page, name)
    expect(page.locator("#labeling .easel")).to_have_attribute("data-state", "shown")
    return page


def item_shown(page: Page) -> int | None:
    """The number of the face on the Label tab."""
    shown = page.locator("#labeling .easel").get_attribute("data-item")
    return shown and int(shown)
