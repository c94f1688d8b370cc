"""The Hugging Face Hub: files and jobs there. The only module that imports its client, each time where it is used.

Importing this is cheap. Every failure is a `HubError`, one sentence that says what, where and what to do.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import inspect
import logging
import os
import re
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from huggingface_hub import HfApi

ANSWER_SECONDS = 10.0  # without a byte, and nobody is there
TRIES, PAUSE_SECONDS = 3, 1.0  # of a download that breaks off


class HubError(ValueError):
    """The Hub refused, or holds what cannot be used; the message is one sentence."""


class HubUnreachable(HubError):
    """The Hub cannot be reached or is in trouble: later the same may work."""


# --- models -------------------------------------------------------------------------------------

# A file that is none of these may carry code (.bin, .pt and .pkl are pickles), and nobody has looked at it.
HARMLESS = (".safetensors", ".json", ".md", ".txt", ".png", ".jpg", ".jpeg", ".webp", ".gif", ".svg", ".csv", ".yaml", ".yml")
HARMLESS_NAMES = (".gitattributes", ".gitignore", "LICENSE", "NOTICE")
WEIGHTS, DESCRIPTION, README = "model.safetensors", "bundle.json", "README.md"
REPORT = re.compile(r"report[A-Za-z0-9_-]{0,40}\.json")
LARGEST = {WEIGHTS: 400_000_000, DESCRIPTION: 1_000_000, README: 1_000_000}  # bytes
LARGEST_REPORT, MOST_REPORTS = 1_000_000, 8
MOST_FILES = 500  # in a repository that is looked at
_PART = r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,94}[A-Za-z0-9_])?"
_REPOSITORY = re.compile(rf"{_PART}/{_PART}")
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/+-]{0,199}")


@dataclass(frozen=True)
class ModelAddress:
    """A model on the Hub: ``USER/NAME`` or ``USER/NAME@REVISION``, a branch, a tag or a commit."""

    repository: str
    revision: str = "main"

    @classmethod
    def parse(cls, text: str) -> ModelAddress:
        """What `text` names, with or without ``hub:`` before it. Raises HubError."""
        name, at, revision = text.strip().removeprefix("hub:").partition("@")
        sound = _REPOSITORY.fullmatch(name) and not {"--", ".."} & {name[i : i + 2] for i in range(len(name))}
        if not sound or at and (not _REVISION.fullmatch(revision) or ".." in revision):
            raise HubError(f"“{_short(text)}” names no model on the Hub; write USER/NAME or USER/NAME@REVISION.")
        return cls(name, revision or "main")

    def __str__(self) -> str:
        return self.repository if self.revision == "main" else f"{self.repository}@{self.revision}"


@dataclass(frozen=True)
class ModelCard:
    """The page of a model called `name`: its text, and what its head says: `front` as in YAML, `results` as
    `huggingface_hub.EvalResult` takes them."""

    name: str
    text: str
    front: dict = field(default_factory=dict)
    results: tuple[dict, ...] = ()


@dataclass(frozen=True)
class Pushed:
    """Where a model lies now: the address of its page, and the commit that put it there."""

    address: str
    repository: str
    commit: str
    private: bool

    def as_dict(self) -> dict:
        """Plain JSON values."""
        return {"address": self.address, "repository": self.repository, "commit": self.commit, "private": self.private}


class _Repository:
    """What the repositories here share. `token` and `endpoint` are those of the client (HF_TOKEN, HF_ENDPOINT) by default."""

    kind = "model"

    def __init__(self, name: str, token: str | None = None, endpoint: str | None = None) -> None:
        self.name = name
        self._api, self._token = _client(token, endpoint)

    def _tree(self, commit: str) -> list:
        """All files of `commit`."""
        from huggingface_hub.hf_api import RepoFile

        entries = self._api.list_repo_tree(self.name, recursive=True, revision=commit, repo_type=self.kind)
        entries = list(islice(entries, MOST_FILES + 1))
        if len(entries) > MOST_FILES:
            raise HubError(f"{self.name} holds more than {MOST_FILES} files, as nothing of this program does.")
        return [one for one in entries if isinstance(one, RepoFile)]

    def _fetch(self, listed, commit: str, target: Path, most: int) -> None:
        """The file that is `listed`, as `target`; no byte more than was listed, nor `most`, and exactly what was listed."""
        if listed.size > most:
            sizes = f"{listed.size / 1e6:.0f} MB; {most / 1e6:.0f} MB is the most that is taken"
            raise HubError(f"{listed.path} of {self.name} has {sizes}.")
        for attempt in range(1, TRIES + 1):
            try:
                self._download(listed, commit, target)
                break
            except _transport_error() as error:
                if attempt == TRIES or _status(error) in range(400, 429):
                    raise
                time.sleep(PAUSE_SECONDS * attempt)
        if not _is_listed(listed, target):
            fault = f"{listed.path} of {self.name} is not the file that the Hub lists (checksum differs)"
            raise HubError(f"{fault}; fetch it again, or choose another.")

    def _download(self, listed, commit: str, target: Path) -> None:
        from huggingface_hub import get_session, hf_hub_url
        from huggingface_hub.utils import build_hf_headers, hf_raise_for_status

        url = hf_hub_url(self.name, listed.path, revision=commit, endpoint=self._api.endpoint, repo_type=self.kind)
        headers = {**build_hf_headers(token=self._api.token), "Accept-Encoding": "identity"}
        with get_session().stream("GET", url, headers=headers, timeout=ANSWER_SECONDS) as answer, target.open("wb") as file:
            hf_raise_for_status(answer)
            taken = 0
            for chunk in answer.iter_bytes():
                taken += len(chunk)
                if taken > listed.size:
                    raise HubError(f"{listed.path} of {self.name} is longer than the Hub lists; it was not taken.")
                file.write(chunk)


class ModelRepository(_Repository):
    """A repository of models on the Hub."""

    def push(self, files: dict[str, bytes | Path], card: ModelCard, title: str, public: bool = False) -> Pushed:
        """Put `files` and the `card` there in one commit, in place of the model there was; a new repository is private
        unless `public`.

        Raises HubError for a card that the Hub does not accept, before anything was sent; for a repository that is
        public without `public`, or that holds something else than a model of this program.
        """
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        _need(self._token)
        with _sentences(self.name):
            readme = self._readme(card)
            self._validate(readme)
            there = self._made(public)
            held = [one.path for one in self._tree(there.sha)]
            self._own(held)
            stale = [path for path in held if REPORT.fullmatch(path) and path not in files]
            wanted = {**files, README: readme.encode()}
            changes = [CommitOperationAdd(path, str(one) if isinstance(one, Path) else one) for path, one in sorted(wanted.items())]
            changes += [CommitOperationDelete(path) for path in stale]
            # The parent: whoever pushed since then is not overwritten unseen.
            made = self._api.create_commit(self.name, changes, commit_message=title, parent_commit=there.sha)
        return Pushed(f"{self._api.endpoint}/{self.name}", self.name, made.oid, bool(there.private))

    def commit(self, revision: str) -> str:
        """The commit that `revision` is now, 40 hexadecimal digits. Raises HubError, HubUnreachable."""
        with _sentences(self.name, revision):
            found = self._api.model_info(self.name, revision=revision, timeout=ANSWER_SECONDS).sha
        if not isinstance(found, str) or not re.fullmatch(r"[0-9a-f]{40}", found):
            raise HubError(f"The Hub did not say which commit of {self.name} {_short(revision)} is; try again later.")
        return found

    def fetch(self, commit: str, target: Path) -> None:
        """Put the model's files of `commit` into the empty folder `target`, each checked against what the Hub lists.

        Nothing but a model of this program comes: safetensors, JSON and the page, none larger than `LARGEST`. Raises
        HubError for a repository that holds files of other kinds, for a file that is not what was listed, and where
        there is no model; then, as when the process is killed, `target` holds a part and must be thrown away.
        """
        with _sentences(self.name, commit):
            files = {one.path: one for one in self._tree(commit)}
            for path in files:
                self._refuse_code(path)
            for needed in (WEIGHTS, DESCRIPTION):
                if needed not in files:
                    raise HubError(f"{self.name} holds no model of this program: {needed} is missing.")
            reports = sorted(path for path in files if REPORT.fullmatch(path))[:MOST_REPORTS]
            # The description first: a model that is refused for it costs no download.
            for path in (DESCRIPTION, *reports, *({README} & files.keys()), WEIGHTS):
                self._fetch(files[path], commit, target / path, LARGEST.get(path, LARGEST_REPORT))

    def _readme(self, card: ModelCard) -> str:
        from huggingface_hub import EvalResult, ModelCardData

        results = [EvalResult(**one) for one in card.results]
        measured = {"model_name": card.name, "eval_results": results} if results else {}
        return f"---\n{ModelCardData(**card.front, **measured).to_yaml()}\n---\n\n{card.text}"

    def _validate(self, readme: str) -> None:
        """Have the Hub look at the page's head, which it would otherwise refuse with the commit."""
        from huggingface_hub import get_session
        from huggingface_hub.utils import build_hf_headers, hf_raise_for_status

        answer = get_session().post(
            f"{self._api.endpoint}/api/validate-yaml", json={"repoType": "model", "content": readme},
            headers=build_hf_headers(token=self._api.token), timeout=ANSWER_SECONDS,
        )  # fmt: skip
        if answer.status_code != 400:
            hf_raise_for_status(answer)
        faults = _faults(answer)
        if faults or answer.status_code == 400:
            raise HubError(f"The Hub does not accept the head of the card ({faults or 'no reason given'}); nothing was sent.")

    def _made(self, public: bool):
        """The repository as it is, made if it was not there."""
        from huggingface_hub.errors import RepositoryNotFoundError

        try:
            there = self._api.model_info(self.name, timeout=ANSWER_SECONDS)
        except RepositoryNotFoundError:
            self._api.create_repo(self.name, private=not public, exist_ok=True)
            return self._api.model_info(self.name, timeout=ANSWER_SECONDS)
        if not there.private and not public:
            raise HubError(f"{self.name} is public; add --public to push there, or give another name.")
        return there

    def _own(self, held: list[str]) -> None:
        """Raises HubError where the files `held` are not those of a model of this program."""
        others = [path for path in held if path not in (*HARMLESS_NAMES, README)]
        if others and DESCRIPTION not in held:
            raise HubError(f"{self.name} holds something else ({_short(others[0])}); give the name of a repository of its own.")
        for path in held:
            self._refuse_code(path)

    def _refuse_code(self, path: str) -> None:
        if PurePosixPath(path).suffix.lower() not in HARMLESS and path not in HARMLESS_NAMES:
            found = f"{self.name} holds {_short(path)}, a kind of file that can carry code"
            raise HubError(f"{found}; only safetensors and JSON are taken.")


def _is_listed(listed, path: Path) -> bool:
    """Whether `path` is the file that the Hub lists: a large one by its SHA-256, any other by the name git gives it."""
    content = path.read_bytes()
    if len(content) != listed.size:
        return False
    if listed.lfs:
        return hashlib.sha256(content).hexdigest() == listed.lfs.sha256
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest() == listed.blob_id


def _faults(answer) -> str:
    """What the Hub finds wrong with a card, on one line."""
    try:
        said = answer.json()
        return _short("; ".join(one["message"] for one in said.get("errors", ())), 300)
    except (ValueError, TypeError, KeyError, AttributeError):
        return _short(answer.text, 300) if answer.status_code == 400 else ""


# --- jobs ---------------------------------------------------------------------------------------

PARCEL, RESULT = "job.zip", "result.zip"
LARGEST_RESULT = 1_000_000_000  # bytes
UNITS = {"second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86400.0}  # of the Hub's prices, seconds
NEWEST_JOBS = 50  # are looked at
OVER = ("COMPLETED", "CANCELED", "ERROR", "DELETED")
# What a job starts with, as `python -c START REPOSITORY COMMIT PACKAGE==VERSION …`: it makes sure of the packages, fetches the
# parcel and goes on in it. The token comes as a secret, HF_TOKEN.
START = """\
import importlib.metadata, os, subprocess, sys, tempfile, zipfile
repository, commit, *packages = sys.argv[1:]
def here(package):
    name, _, version = package.partition("==")
    try:
        return importlib.metadata.version(name).partition("+")[0] == version
    except importlib.metadata.PackageNotFoundError:
        return False
missing = [one for one in packages if not here(one)]
if missing:
    print("installing", *missing, flush=True)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"]
    subprocess.run([*pip, *missing], check=True)
    importlib.invalidate_caches()
from huggingface_hub import hf_hub_download
place = tempfile.mkdtemp(prefix="fer-job-")
with zipfile.ZipFile(hf_hub_download(repository, "job.zip", repo_type="dataset", revision=commit, local_dir=place)) as parcel:
    parcel.extractall(place)
os.chdir(place)
os.execv(sys.executable, [sys.executable, "-u", "-m", "fer.job", repository])
"""


@dataclass(frozen=True)
class Price:
    """What a machine called `flavor` costs: `dollars` for `seconds`; `machine` says in words what it is."""

    flavor: str
    machine: str
    dollars: float
    seconds: float
    accelerator: str = ""  # "" for processors alone

    def of(self, seconds: float) -> float:
        """Dollars for so many seconds."""
        return self.dollars * (seconds / self.seconds)


@dataclass(frozen=True)
class JobState:
    """How a job stands: its `stage` in the Hub's words, what the Hub says about it, and how long it has been running."""

    stage: str
    message: str = ""
    seconds: float = 0.0

    @property
    def over(self) -> bool:
        return self.stage in OVER


class Jobs:
    """Machines of Hugging Face by the minute, for whoever the token belongs to."""

    def __init__(self, token: str | None = None, endpoint: str | None = None) -> None:
        self._api, self._token = _client(token, endpoint)
        self._user: str | None = None  # asked once: the Hub minds being asked often
        _need(self._token)

    def user(self) -> str:
        """Whose token it is, who pays. Raises HubError, HubUnreachable."""
        if self._user is None:
            with _sentences("the account"):
                self._user = self._api.whoami()["name"]
        return self._user

    def price(self, flavor: str) -> Price:
        """What the machine called `flavor` costs now. Raises HubError for one that there is not."""
        if not hasattr(self._api, "list_jobs_hardware"):
            raise HubError("This huggingface-hub cannot ask for prices; update it: python -m pip install -U huggingface-hub.")
        with _sentences("the list of machines"):
            known = {one.name: one for one in self._api.list_jobs_hardware()}
        if flavor not in known:
            names = ", ".join(sorted(known)) or "none"
            raise HubError(f"There is no machine called “{_short(flavor, 40)}”; there are {names}.")
        one = known[flavor]
        if one.unit_label not in UNITS:
            unit = _short(one.unit_label, 40)
            raise HubError(f"The Hub states the price of {flavor} per “{unit}”, which this program cannot add up.")
        gpu = one.accelerator
        extra = f"{gpu.quantity} × {gpu.model}" if gpu else ""
        words = ", ".join(part for part in (one.cpu, one.ram, extra) if part)
        return Price(flavor, words, float(one.unit_cost_usd), UNITS[one.unit_label], extra)

    def start(self, repository: str, commit: str, packages: list[str], flavor: str, image: str, seconds: int) -> str:
        """Start the parcel of `commit` on a machine, for `seconds` at most; the job's id. From now on it costs."""
        with _sentences(f"the machine {flavor}"):
            return self._api.run_job(
                image=image, command=["python", "-c", START, repository, commit, *packages], flavor=flavor, timeout=seconds,
                env=_addresses(self._api.endpoint), secrets={"HF_TOKEN": self._token}, namespace=self.user(),
            ).id  # fmt: skip

    def of(self, repository: str) -> list[str]:
        """The jobs that were started on what lies in `repository` and are not over, among the newest. Raises HubError."""
        with _sentences("the list of jobs"):
            newest = islice(self._api.list_jobs(namespace=self.user()), NEWEST_JOBS)
            return [one.id for one in newest if repository in (one.command or ()) and not _state(one).over]

    def state(self, job: str) -> JobState:
        """How the job stands. Raises HubError, HubUnreachable."""
        with _sentences(f"the job {job}"):
            return _state(self._api.inspect_job(job_id=job, namespace=self.user()))

    def log(self, job: str) -> Iterator[str]:
        """What the job prints, from its beginning, line by line until it is over. Raises HubError, HubUnreachable."""
        with _sentences(f"the job {job}"):
            read = self._api.fetch_job_logs
            options = {"follow": True} if "follow" in inspect.signature(read).parameters else {}  # once it always did
            yield from read(job_id=job, namespace=self.user(), **options)

    def cancel(self, job: str) -> None:
        """End the job, and what it costs; one that is over or gone stays so. Raises HubError, HubUnreachable."""
        if not self.state(job).over:
            with _sentences(f"the job {job}"):
                self._api.cancel_job(job_id=job, namespace=self.user())


class JobRepository(_Repository):
    """The private repository in which a job finds its parcel and leaves its result; made for it, and deleted after it."""

    kind = "dataset"

    def send(self, path: Path, name: str) -> str:
        """Put the file `path` there as `name`, in a repository that is made if it is not there; the commit."""
        from huggingface_hub import CommitOperationAdd

        _need(self._token)
        with _sentences(self.name):
            self._api.create_repo(self.name, private=True, exist_ok=True, repo_type=self.kind)
            added = [CommitOperationAdd(name, str(path))]
            return self._api.create_commit(self.name, added, commit_message=name, repo_type=self.kind).oid

    def receive(self, name: str, target: Path) -> None:
        """Fetch `name` as the file `target`. Raises HubError where it is not there."""
        with _sentences(self.name):
            commit = self._api.dataset_info(self.name, timeout=ANSWER_SECONDS).sha
            listed = {one.path: one for one in self._tree(commit)}
            if name not in listed:
                raise HubError(f"The job left no {name} in {self.name}; its log says why.")
            self._fetch(listed[name], commit, target, LARGEST_RESULT)

    def delete(self) -> None:
        """Delete it with all that it holds; it may be gone already. Raises HubError, HubUnreachable."""
        with _sentences(self.name):
            self._api.delete_repo(self.name, repo_type=self.kind, missing_ok=True)


def _state(said) -> JobState:
    seconds = said.durations.running_secs if said.durations else None
    stage = str(getattr(said.status.stage, "value", said.status.stage))
    return JobState(stage, _short(said.status.message or "", 300), seconds or 0.0)


def _addresses(endpoint: str) -> dict[str, str]:
    """What a job must know to find the Hub, where it is not the usual one."""
    given = {"HF_ENDPOINT": endpoint} if endpoint != "https://huggingface.co" else {}
    return given | {name: os.environ[name] for name in ("HF_HUB_DISABLE_XET",) if name in os.environ}


# --- the client, and what it says ---------------------------------------------------------------


def _need(token: str | None) -> None:
    if token is None:
        how = "set HF_TOKEN to one that may write, or log in with: hf auth login"
        raise HubError(f"There is no token of the Hub here; {how}.")


def _client(token: str | None, endpoint: str | None) -> tuple[HfApi, str | None]:
    """A client, and the token it sends if there is one."""
    from huggingface_hub import HfApi, get_token

    for name in ("httpx", "httpx2"):  # a line for every request
        logging.getLogger(name).setLevel(logging.WARNING)
    token = token or get_token()
    return HfApi(endpoint=endpoint, token=token if token else False), token


def _transport_error() -> type[Exception]:
    """What the client raises where an answer does not come or breaks off; also the parent of its other errors."""
    from huggingface_hub.errors import HfHubHTTPError

    return next(one for one in HfHubHTTPError.__mro__ if one.__name__ == "HTTPError")


@contextmanager
def _sentences(name: str, revision: str = "main") -> Iterator[None]:
    """Turn what the client raises about the repository `name` into a HubError."""
    from huggingface_hub import errors

    try:
        yield
    except errors.GatedRepoError as error:
        raise HubError(f"{name} is gated; ask for access on its page, then try again.") from error
    except errors.RevisionNotFoundError as error:
        raise HubError(f"{name} has no revision {_short(revision)}; look at its history on the Hub.") from error
    except errors.RepositoryNotFoundError as error:
        raise HubError(f"There is no {name} on the Hub, or your token (HF_TOKEN) may not see it.") from error
    except errors.HfHubHTTPError as error:
        raise _refusal(name, error) from error
    except errors.HFValidationError as error:
        raise HubError(f"“{_short(name)}” cannot be the name of a repository; write USER/NAME.") from error
    except (_transport_error(), errors.OfflineModeIsEnabled) as error:
        raise HubUnreachable("The Hub cannot be reached; look at the network, then try again.") from error


def _refusal(name: str, error) -> HubError:
    """What an answer that is an error means."""
    status = error.response.status_code
    if status == 401:
        return HubError("The Hub wants a token that it knows; make one on its page “Access Tokens”, and set HF_TOKEN.")
    if status == 402:
        return HubError("The Hub asks for payment; add credit to your account on its page “Billing”.")
    if status == 403:
        return HubError(f"Your token may not do this with {name}; it needs the right to write there.")
    if status == 412:
        return HubError(f"Somebody changed {name} at the same moment; try again.")
    if status == 429 or status >= 500:
        return HubUnreachable(f"The Hub is busy or in trouble (it answered {status}); try again later.")
    return HubError(f"The Hub refused ({status}: {_short(error.server_message or str(error), 200)}).")


def _short(text: object, most: int = 120) -> str:
    """`text` on one line, without control characters, `most` characters at most."""
    return " ".join("".join(one if one.isprintable() else " " for one in str(text)).split())[:most]


# --- labels -------------------------------------------------------------------------------------

Reason = Literal["unreachable", "limited", "refused", "missing", "moved", "absent", "public", "unexpected"]
CONNECT_SECONDS, REPLY_SECONDS = 10.0, 60.0  # the client itself would wait for ever
LEFT_OVER = dt.timedelta(hours=6)  # a large file that no commit names after so long was left by an upload that was cut off
BUSY = (408, 429, 500, 502, 503, 504)  # the client asks these again by itself, out of sight and for up to minutes
# Inside, whoever asks is told at once: the sync knows how long to wait, says so on the screen, and can be stopped.
_at_once: ContextVar[bool] = ContextVar("_at_once", default=False)
_preparing = threading.Lock()
_prepared: list[bool] = []


class LabelHubError(HubError):
    """What `LabelRepository` raises: `reason`, and the seconds the Hub asks to wait as `after`, if it does."""

    def __init__(self, words: str, reason: Reason, after: float | None = None) -> None:
        super().__init__(words)
        self.reason: Reason = reason
        self.after = after


class _Busy(Exception):
    """An answer that the client would wait for and ask again, or none at all; never leaves this file."""

    def __init__(self, status: int | None, headers: dict[str, str]) -> None:
        super().__init__(status)
        self.status, self.headers = status, headers


@dataclass(frozen=True)
class Head:
    """The newest state of a repository."""

    commit: str
    private: bool


@dataclass(frozen=True)
class Remote:
    """A file of a repository: bytes, and the SHA-256 of its content where it is kept as a large file."""

    size: int
    sha256: str | None


class LabelRepository:
    """A private data set repository that holds labels; what `labeling.repository.Repository` asks for.

    `name` is USER/NAME. Nothing that was read lies on disk afterwards.
    """

    def __init__(self, name: str, token: str | None = None, endpoint: str | None = None) -> None:
        if not _REPOSITORY.fullmatch(name):
            raise ValueError(f"“{_short(name)}” cannot be the name of a repository; write USER/NAME.")
        self.name = name
        self._token, self._endpoint = token, endpoint
        self._made: HfApi | None = None
        self._told_private = False

    @property
    def _api(self) -> HfApi:
        if self._made is None:
            _prepare()
            self._made, _ = _client(self._token, self._endpoint)
        return self._made

    def head(self) -> Head:
        """The newest state. Raises LabelHubError."""
        with _asking(self.name):
            info = self._api.dataset_info(self.name, timeout=REPLY_SECONDS)
            # A server on this very machine is nobody else's to read, and may keep no account of who may see what.
            self._told_private = self._told_private or bool(info.private)
            return Head(info.sha, bool(info.private) or (_is_here(self._api.endpoint) and not self._told_private))

    def create(self) -> Head:
        """Make it, private. Raises LabelHubError, "refused" also where it is there and the token may not see it."""
        with _asking(self.name):
            try:
                self._api.create_repo(self.name, repo_type="dataset", private=True)
            except Exception as error:
                if _status(error) in (401, 403, 404, 409):
                    raise LabelHubError(
                        f"{self.name} on the Hub is not there or closed to this token, which may not make it either; "
                        "give the token the right to write there.", "refused",
                    ) from error  # fmt: skip
                raise
        return self.head()

    def files(self, commit: str) -> dict[str, Remote]:
        """All files of a state, by their path. Raises LabelHubError."""
        with _asking(self.name):
            tree = self._api.list_repo_tree(self.name, recursive=True, revision=commit, repo_type="dataset")
            files = (one for one in tree if hasattr(one, "blob_id"))
            return {one.path: Remote(one.size, one.lfs.sha256 if one.lfs else None) for one in files}

    def read(self, path: str, commit: str) -> bytes:
        """The content of a file, in memory: the client's own downloads stay in a cache. Raises LabelHubError."""
        from huggingface_hub import hf_hub_url
        from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

        with _asking(self.name):
            url = hf_hub_url(self.name, path, repo_type="dataset", revision=commit, endpoint=self._api.endpoint)
            answer = get_session().get(url, headers=build_hf_headers(token=self._api.token))
            hf_raise_for_status(answer)
            return answer.content

    def send(
        self, message: str, added: Iterable[tuple[str, bytes]] = (), deleted: Collection[str] = (), parent: str | None = None
    ) -> str:
        """One commit, on top of `parent` only where that is given; its name. `added`, (path, content), is taken one by
        one, and each is in memory only while it is sent. Raises LabelHubError."""
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        with _asking(self.name):
            operations: list = []
            for path, content in added:
                one = CommitOperationAdd(path, content)
                self._api.preupload_lfs_files(self.name, [one], repo_type="dataset")
                operations.append(one)
            operations += [CommitOperationDelete(path, is_folder=False) for path in deleted]
            made = self._api.create_commit(
                self.name, operations, commit_message=message, repo_type="dataset", parent_commit=parent
            )
            return made.oid

    def forget(self, large: Collection[str], kept: Collection[str]) -> None:
        """Delete for good the large files with these SHA-256, but none of `kept`; and what cut-off uploads left long ago.

        Raises LabelHubError.
        """
        if not large:
            return
        with _asking(self.name):
            old = dt.datetime.now(dt.timezone.utc) - LEFT_OVER
            listed = list(self._api.list_lfs_files(self.name, repo_type="dataset"))
            wanted = [one for one in listed if one.file_oid not in kept and (one.file_oid in large or one.pushed_at < old)]
            if wanted:
                self._api.permanently_delete_lfs_files(self.name, wanted, repo_type="dataset")

    def squash(self) -> None:
        """One state instead of the whole history. Raises LabelHubError."""
        with _asking(self.name):
            self._api.super_squash_history(self.name, repo_type="dataset", commit_message="Labels")


@contextmanager
def _asking(name: str) -> Iterator[None]:
    """Turn what the client raises about the repository `name` into a LabelHubError, the first time the Hub is busy."""
    mark = _at_once.set(True)
    try:
        yield
    except HubError:
        raise
    except Exception as error:
        told = _explained(name, error)
        if told is None:
            raise
        raise told from error
    finally:
        _at_once.reset(mark)


def _prepare() -> None:
    """Have the client speak plain HTTP, since Xet keeps pieces of what passes in a cache of its own; and give up in the end."""
    from huggingface_hub import constants, set_client_factory
    from huggingface_hub.utils import disable_progress_bars

    with _preparing:
        if not _prepared:
            constants.HF_HUB_DISABLE_XET = True
            disable_progress_bars()
            set_client_factory(_sessions())
            _prepared.append(True)


def _sessions() -> Callable[[], object]:
    import httpx2
    from huggingface_hub.utils._http import hf_request_event_hook

    class Session(httpx2.Client):
        def send(self, request: httpx2.Request, **settings: object) -> httpx2.Response:
            try:
                answer = super().send(request, **settings)
            except httpx2.TransportError as error:
                if _at_once.get():
                    raise _Busy(None, {}) from error
                raise
            if _at_once.get() and answer.status_code in BUSY:
                answer.close()
                raise _Busy(answer.status_code, dict(answer.headers))
            return answer

    # As the client makes its own, but for the limits of time.
    limits = httpx2.Timeout(REPLY_SECONDS, connect=CONNECT_SECONDS)
    hooks = {"request": [hf_request_event_hook]}
    return lambda: Session(event_hooks=hooks, follow_redirects=True, timeout=limits)


def _is_here(endpoint: str) -> bool:
    """Whether the Hub at `endpoint` is a server on this machine that only this machine reaches."""
    return urlsplit(endpoint).hostname in ("127.0.0.1", "localhost", "::1")


def _status(error: BaseException) -> int | None:
    """The status of the answer that `error` is about."""
    return getattr(getattr(error, "response", None), "status_code", None)


def _explained(name: str, error: BaseException) -> LabelHubError | None:
    """What `error` says of the Hub; None where it says nothing of it."""
    if isinstance(error, _Busy):
        return _of_status(name, error.status, "", "", error.headers)
    answer = getattr(error, "response", None)
    if answer is not None:
        headers = dict(answer.headers)
        said = headers.get("x-error-message") or getattr(error, "server_message", None) or ""
        return _of_status(name, answer.status_code, headers.get("x-error-code", ""), said, headers)
    if isinstance(error, _transport_error() | ConnectionError):
        return _of_status(name, None, "", "", {})
    # The client words what goes wrong with a large file in an error of its own.
    return _explained(name, error.__cause__) if isinstance(error, RuntimeError) and error.__cause__ else None


def _of_status(name: str, status: int | None, code: str, said: str, headers: dict[str, str]) -> LabelHubError:
    """The error that an answer with `status` means; None: there was no answer."""
    after = _after(headers)
    if status is None:
        return LabelHubError("The Hub cannot be reached; look at the network.", "unreachable", after)
    if status == 401:
        return LabelHubError(f"The Hub does not accept the token for {name}; it was withdrawn, or is missing: set HF_TOKEN.", "refused")
    if status == 404 and code in ("EntryNotFound", "RevisionNotFound"):
        return LabelHubError(f"A file or a state of {name} on the Hub is not there any more.", "absent")
    if status == 404:
        return LabelHubError(f"{name} is not there on the Hub, or closed to this token.", "missing")
    if status == 403:
        return LabelHubError(f"The token may not write to {name} on the Hub; give it the right to.", "refused")
    if status in (409, 412):
        return LabelHubError(f"Somebody else has changed {name} on the Hub meanwhile.", "moved")
    if status == 429:
        return LabelHubError("The Hub asks to wait: too many requests.", "limited", after)
    if status in BUSY or status >= 500:
        return LabelHubError(f"The Hub is out of order at the moment ({status}).", "unreachable", after)
    return LabelHubError(f"The Hub does not take it ({status}{': ' if said else ''}{_short(said)}).", "unexpected", after)


def _after(headers: dict[str, str]) -> float | None:
    """The seconds that an answer asks to wait: by Retry-After, in seconds or as a date, or by its limits."""
    from huggingface_hub.utils import parse_ratelimit_headers

    value = headers.get("retry-after", headers.get("Retry-After", "")).strip()
    if value.isdigit():
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - dt.datetime.now(dt.timezone.utc)).total_seconds())
    except (ValueError, TypeError):
        limits = parse_ratelimit_headers(headers)
        return float(limits.reset_in_seconds) if limits is not None and limits.remaining == 0 else None
