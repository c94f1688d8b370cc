"""What came of an import or an export, in numbers and in words: `ImportReport`, `ExportReport`."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

from labeling.formats.records import Problem, plain_text

MOST_LISTED = 200  # problems that are named; the others are counted
_SHOWN = 10  # problems in the words


@dataclass
class Tally:
    """Numbers of an import while it goes on."""

    faces: int = 0
    known: int = 0
    repeated: int = 0
    judgements: int = 0
    unlabelled: int = 0
    without_face: int = 0
    near_duplicates: int = 0
    problems: list[Problem] = field(default_factory=list)
    problem_count: int = 0

    def note(self, problem: Problem) -> None:
        """Count `problem`, and keep it if it is one of the first."""
        self.problem_count += 1
        if len(self.problems) < MOST_LISTED:
            self.problems.append(Problem(plain_text(problem.name), plain_text(problem.sentence)))

    def report(self, source: str) -> "ImportReport":
        """The numbers as they are now."""
        return ImportReport(source, **{**vars(self), "problems": tuple(self.problems)})


@dataclass(frozen=True)
class ImportReport:
    """What an import brought."""

    source: str  # KIND:NAME of the set
    faces: int  # that are new here
    known: int  # that were here before
    repeated: int  # times a picture came again in the same set; what was first said of it counts
    judgements: int  # that are new here
    unlabelled: int  # of all faces that came, those nothing was said about
    without_face: int  # photos in which the detector found none
    near_duplicates: int  # of the new faces, those much like another: kept, and asked about last
    problems: tuple[Problem, ...]  # the first 200 parts that were passed over, in plain text
    problem_count: int  # all of them

    def as_dict(self) -> dict:
        """Plain JSON values."""
        return {**asdict(self), "problems": [asdict(one) for one in self.problems]}

    def in_words(self) -> str:
        """A few lines for people, in plain text."""
        lines = [f"{self.source}: {_many(self.faces, 'new face')}, {_many(self.judgements, 'new label')}"]
        counts = (
            (self.known, "were here already"), (self.repeated, "came more than once in the set"),
            (self.unlabelled, "without a label"), (self.without_face, "photos without a face"),
            (self.near_duplicates, "of the new ones much like another face, asked about last"),
        )  # fmt: skip
        lines += [f"  {count} {words}" for count, words in counts if count]
        if self.problem_count:
            lines.append(f"{_many(self.problem_count, 'part')} passed over:")
            lines += [f"  {one.name}: {one.sentence}" for one in self.problems[:_SHOWN]]
            more = self.problem_count - min(_SHOWN, len(self.problems))
            lines += [f"  and {more} more; the report names the first {MOST_LISTED}"] if more else []
        return "\n".join(lines)

    def keep(self, path: Path) -> None:
        """Write it as JSON to `path`, replaced in one step. Raises OSError."""
        partial = path.with_name(f"{path.name}.partial")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            partial.write_text(json.dumps(self.as_dict(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)


@dataclass(frozen=True)
class ExportReport:
    """What an export wrote: how many `faces` are in `target`, and how many the format left out, by reason."""

    target: str  # KIND:PATH
    faces: int
    left_out: dict[str, int]

    def as_dict(self) -> dict:
        """Plain JSON values."""
        return asdict(self)

    def in_words(self) -> str:
        """A few lines for people."""
        lines = [f"{_many(self.faces, 'face')} in {self.target}"]
        return "\n".join([*lines, *(f"  {count} left out: {reason}" for reason, count in self.left_out.items())])


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
