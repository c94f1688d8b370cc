"""A Hugging Face Hub of one's own, in memory: what the real client asks for over HTTP, and whatever can go wrong there.

    with LocalHub() as hub:                       # serves in a thread of this process
        api = HfApi(endpoint=hub.address, token=TOKEN)

or as a process: ``python tests/local_hub.py --port 8765``, then ``HF_ENDPOINT=http://127.0.0.1:8765``.
The client must be told ``HF_HUB_DISABLE_XET=1`` where it is not given open files: Xet is not spoken here.

A squash leaves the old commits where whoever kept their names can still ask for them, as the real Hub does for
a while; only what is deleted for good is gone.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import hashlib
import json
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

TOKEN, OTHER_TOKEN = "hf_test", "hf_other"
USER, OTHER_USER = "tester", "other"
PAGE = 1000  # entries of a tree that one answer holds
KINDS = ("models", "datasets", "spaces")
# As the .gitattributes say that the real Hub puts into every new repository.
LARGE = (".zip", ".png", ".jpg", ".safetensors", ".bin", ".gz", ".tar", ".parquet", ".onnx", ".npz", ".db")


@dataclass(frozen=True)
class Entry:
    """A file of a commit: its content, or None where that lies among the large files under `sha256`."""

    sha256: str
    size: int
    content: bytes | None

    @property
    def oid(self) -> str:
        """The name git gives it."""
        return _sha1(b"blob %d\0" % self.size + (self.sha256.encode() if self.content is None else self.content))


@dataclass(frozen=True)
class Commit:
    """What the repository held at one moment."""

    oid: str
    files: dict[str, Entry]
    title: str
    parent: str | None = None


@dataclass
class Repository:
    """One repository; `commits` oldest first, `lingering` those that a squash took out of the history."""

    kind: str  # models, datasets or spaces
    name: str  # USER/NAME
    private: bool
    commits: list[Commit] = field(default_factory=list)
    lingering: dict[str, Commit] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)  # large files by their SHA-256
    pushed: dict[str, float] = field(default_factory=dict)  # when each of them came, seconds since 1970
    tags: dict[str, str] = field(default_factory=dict)

    @property
    def head(self) -> Commit:
        return self.commits[-1]

    def at(self, revision: str | None) -> Commit | None:
        """The commit that `revision` names: main, a tag, or the beginning of an oid."""
        if revision in (None, "main", "refs/heads/main", "HEAD"):
            return self.head
        wanted = self.tags.get(revision, revision)
        known = [*self.commits, *self.lingering.values()]
        return next((one for one in reversed(known) if len(wanted) >= 7 and one.oid.startswith(wanted)), None)

    def content(self, entry: Entry) -> bytes | None:
        """The bytes of a file; None where they were deleted for good."""
        return self.objects.get(entry.sha256) if entry.content is None else entry.content

    def commit(self, files: dict[str, Entry], title: str) -> Commit:
        """A new head."""
        parent = self.head.oid if self.commits else None
        made = Commit(_sha1(f"{self.name}{parent}{title}{time.time_ns()}".encode()), files, title, parent)
        self.commits.append(made)
        return made

    def squash(self, title: str) -> None:
        """One commit instead of all."""
        files = self.head.files
        self.lingering.update({one.oid: one for one in self.commits})
        self.commits.clear()
        self.commit(files, title)

    def forget(self, oids: Iterable[str], rewrite: bool) -> None:
        """Delete large files for good; `rewrite`: also what names them in the history."""
        gone = set(oids)
        for oid in gone:
            self.objects.pop(oid, None)
        if rewrite:
            for index, one in enumerate(self.commits):
                left = {path: entry for path, entry in one.files.items() if entry.content is not None or entry.sha256 not in gone}
                if len(left) < len(one.files):
                    self.lingering[one.oid] = one
                    self.commits[index] = Commit(_sha1(f"{one.oid} rewritten".encode()), left, one.title, one.parent)


@dataclass
class Fault:
    """The next `count` writes whose address holds `where` are answered with `status`."""

    count: int
    status: int
    where: str
    headers: dict[str, str]


class LocalHub:
    """The server. What it holds may be looked at by tests: `repositories`, `requests`, `everything`."""

    def __init__(self, port: int | None = None) -> None:
        self.port = port or _free_port()
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.tokens = {TOKEN: USER, OTHER_TOKEN: OTHER_USER}
        self.read_only: set[str] = set()  # tokens that may not write
        self.requests: list[str] = []  # "POST /api/…" of all that was asked since it was last cleared
        self.slow = 0.0  # seconds that every write takes
        self.moved_before_commit = 0  # the next so many commits that name a parent find that another came before
        self._faults: list[Fault] = []
        self._lost = 0
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    # --- as a server ----------------------------------------------------------------------------

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> "LocalHub":
        self.start()
        return self

    def __exit__(self, *problem: object) -> None:
        self.stop()

    def start(self) -> None:
        """Serve; after `stop` again at the same address, with all that was there."""
        config = uvicorn.Config(self.app(), host="127.0.0.1", port=self.port, log_level="critical", timeout_graceful_shutdown=0)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, name="local hub", daemon=True)
        self._thread.start()
        until = time.monotonic() + 20
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > until:
                raise RuntimeError(f"the local Hub does not start on port {self.port}")
            time.sleep(0.01)

    def stop(self) -> None:
        """Close the port: there is no network."""
        if self._server is not None:
            self._server.should_exit = self._server.force_exit = True
            self._thread.join(20)
            self._server = None

    # --- what can go wrong ----------------------------------------------------------------------

    def fail(self, count: int, status: int, where: str = "", retry_after: int | None = None, **headers: str) -> None:
        """The next `count` writes whose path holds `where` are answered with `status`, and not done."""
        more = {} if retry_after is None else {"Retry-After": str(retry_after)}
        self._faults.append(Fault(count, status, where, {**more, **headers}))

    def recover(self) -> None:
        """No more faults than came already."""
        self._faults.clear()
        self._lost = self.moved_before_commit = 0

    def lose_answers(self, count: int) -> None:
        """The next `count` commits are made, but the connection breaks before the answer."""
        self._lost += count

    def revoke(self, token: str = TOKEN) -> str:
        """The token is worth nothing any more; whose it was."""
        return self.tokens.pop(token)

    def delete(self, name: str, kind: str = "datasets") -> None:
        """Somebody deletes the repository."""
        del self.repositories[kind, name]

    # --- what there is --------------------------------------------------------------------------

    def repository(self, name: str, kind: str = "datasets") -> Repository:
        return self.repositories[kind, name]

    def files(self, name: str, kind: str = "datasets") -> dict[str, bytes]:
        """What the head of the repository holds."""
        one = self.repositories[kind, name]
        return {path: one.content(entry) for path, entry in one.head.files.items()}

    def everything(self) -> bytes:
        """All bytes that are kept of all repositories, in whatever commit or none."""
        parts: list[bytes] = []
        for one in self.repositories.values():
            parts += one.objects.values()
            for commit in (*one.commits, *one.lingering.values()):
                parts += [entry.content for entry in commit.files.values() if entry.content is not None]
        return b"\0".join(parts)

    # --- as an application ----------------------------------------------------------------------

    def app(self) -> Starlette:
        """The ASGI application."""
        return Starlette(routes=self.routes())

    def routes(self) -> list[Route]:
        """What is answered; more specific addresses first."""
        of, one = "/api/{kind}/{owner}/{name}", self._of_repository
        return [
            self._route("/_fail/{count:int}/{status:int}", self._inject, "POST", control=True),
            self._route("/_lose/{count:int}", self._inject_loss, "POST", control=True),
            self._route("/_log", self._log, control=True),
            self._route("/api/whoami-v2", self._whoami),
            self._route("/api/repos/create", self._create, "POST"),
            self._route("/api/repos/delete", self._delete, "DELETE"),
            self._route("/api/validate-yaml", self._validate, "POST"),
            self._route(of + "/settings", one(self._settings), "PUT"),
            self._route(of + "/preupload/{revision:path}", one(self._preupload), "POST"),
            self._route(of + "/commit/{revision:path}", one(self._commit), "POST"),
            self._route(of + "/super-squash/{revision:path}", one(self._squash), "POST"),
            self._route(of + "/lfs-files/batch", one(self._forget_large), "POST"),
            self._route(of + "/lfs-files", one(self._list_large)),
            self._route(of + "/tag/{revision:path}", one(self._tag), "POST"),
            self._route(of + "/paths-info/{revision:path}", one(self._paths), "POST", reads=True),
            self._route(of + "/tree/{revision:path}", one(self._tree)),
            self._route(of + "/commits/{revision:path}", one(self._commits)),
            self._route(of + "/refs", one(self._refs)),
            self._route(of + "/revision/{revision:path}", one(self._info)),
            self._route(of, one(self._info)),
            self._route("/large/{kind}/{owner}/{name}/{oid}", self._put_large, "PUT", signed=True),
            self._route("/{kind}/{owner}/{name}.git/info/lfs/objects/batch", one(self._batch_large), "POST"),
            self._route("/{owner}/{name}.git/info/lfs/objects/batch", one(self._batch_large), "POST"),
            self._route("/{kind}/{owner}/{name}/resolve/{revision}/{path:path}", one(self._resolve), "GET", "HEAD"),
            self._route("/{owner}/{name}/resolve/{revision}/{path:path}", one(self._resolve), "GET", "HEAD"),
        ]

    def _route(
        self, path: str, answer: Callable, *methods: str, control: bool = False, reads: bool = False, signed: bool = False
    ) -> Route:
        """A route that notes the request, meets the faults asked for, and knows whose token came."""

        async def guarded(request: Request) -> Response:
            if control:
                return await answer(request)
            self.requests.append(f"{request.method} {request.url.path}")
            request.state.user = self.tokens.get(request.headers.get("authorization", "").removeprefix("Bearer "))
            if request.method in ("GET", "HEAD") or reads:
                return await answer(request)
            await asyncio.sleep(self.slow)
            fault = self._fault(request.url.path)
            if fault:
                return fault
            if signed or path == "/api/validate-yaml":
                return await answer(request)
            return self._unwelcome(request) or await answer(request)

        return Route(path, guarded, methods=list(methods or ("GET",)))

    def _fault(self, path: str) -> Response | None:
        for one in self._faults:
            if one.count and one.where in path:
                one.count -= 1
                return _error(one.status, "injected", headers=one.headers)
        return None

    def _unwelcome(self, request: Request) -> Response | None:
        if request.state.user is None:
            return _error(401, "Invalid credentials in Authorization header")
        if request.headers["authorization"].removeprefix("Bearer ") in self.read_only:
            return _error(403, "This token may only read.")
        return None

    def _of_repository(self, answer: Callable) -> Callable:
        """`answer(request, repository, commit)`, for those who may see the repository and where there is the revision."""

        async def found(request: Request) -> Response:
            kind, parts = request.path_params.get("kind", "models"), request.path_params
            name = f"{parts['owner']}/{parts['name']}"
            repository = self.repositories.get((kind, name))
            user = request.state.user
            if user is None and (repository is None or repository.private):
                return _error(401, "Invalid credentials in Authorization header")
            if repository is None or (repository.private and user != parts["owner"]):
                return _error(404, "Repository not found", "RepoNotFound")
            writes = request.method != "GET" and request.method != "HEAD" and "/paths-info/" not in request.url.path
            if writes and user != parts["owner"]:
                return _error(403, "You have no right to write here.")
            revision, _, rest = parts.get("revision", "main").partition("/")
            commit = repository.at(revision)
            if commit is None:
                return _error(404, "Invalid rev id", "RevisionNotFound")
            request.state.rest = rest
            return await answer(request, repository, commit)

        return found

    # --- control --------------------------------------------------------------------------------

    async def _inject(self, request: Request) -> Response:
        self.fail(request.path_params["count"], request.path_params["status"], request.query_params.get("where", ""))
        return JSONResponse({})

    async def _inject_loss(self, request: Request) -> Response:
        self.lose_answers(request.path_params["count"])
        return JSONResponse({})

    async def _log(self, request: Request) -> Response:
        seen, self.requests[:] = list(self.requests), []
        return JSONResponse(seen)

    # --- repositories ---------------------------------------------------------------------------

    async def _whoami(self, request: Request) -> Response:
        if request.state.user is None:
            return _error(401, "Invalid credentials in Authorization header")
        role = "read" if request.headers["authorization"].removeprefix("Bearer ") in self.read_only else "write"
        token = {"type": "access_token", "accessToken": {"role": role, "displayName": "tests"}}
        return JSONResponse({"type": "user", "name": request.state.user, "fullname": "T", "auth": token, "orgs": []})

    async def _create(self, request: Request) -> Response:
        asked = await request.json()
        kind = (asked.get("type") or "model") + "s"
        owner = asked.get("organization") or request.state.user
        name = f"{owner}/{asked['name']}"
        if owner != request.state.user:
            return _error(403, "You don't have the rights to create a repository under this namespace")
        url = f"{self.address}/{'' if kind == 'models' else kind + '/'}{name}"
        if (kind, name) in self.repositories:
            return JSONResponse({"error": "You already created this repo", "url": url}, 409)
        private = bool(asked.get("private")) or asked.get("visibility") == "private"
        made = Repository(kind, name, private)
        made.commit({".gitattributes": _regular(b"*.zip filter=lfs diff=lfs merge=lfs -text\n")}, "initial commit")
        self.repositories[kind, name] = made
        return JSONResponse({"url": url, "name": name, "id": name})

    async def _delete(self, request: Request) -> Response:
        asked = await request.json()
        name = f"{asked.get('organization') or request.state.user}/{asked['name']}"
        found = self.repositories.pop(((asked.get("type") or "model") + "s", name), None)
        return JSONResponse({}) if found else _error(404, "Repository not found", "RepoNotFound")

    async def _validate(self, request: Request) -> Response:
        import yaml

        text = (await request.json())["content"]
        try:
            front = yaml.safe_load(text.split("---")[1]) if text.startswith("---") else {}
        except yaml.YAMLError as error:
            return JSONResponse({"errors": [{"message": str(error)}], "warnings": []}, 400)
        if not isinstance(front, dict):
            return JSONResponse({"errors": [{"message": "the front matter is no mapping"}], "warnings": []}, 400)
        return JSONResponse({"errors": [], "warnings": []})

    async def _settings(self, request: Request, repository: Repository, commit: Commit) -> Response:
        asked = await request.json()
        if "private" in asked or "visibility" in asked:
            repository.private = bool(asked.get("private")) or asked.get("visibility") == "private"
        return JSONResponse({"private": repository.private})

    async def _info(self, request: Request, repository: Repository, commit: Commit) -> Response:
        files = [{"rfilename": path} for path in sorted(commit.files)]
        return JSONResponse({
            "id": repository.name, "_id": _sha1(repository.name.encode())[:24], "sha": commit.oid, "private": repository.private,
            "disabled": False, "gated": False, "downloads": 0, "likes": 0, "tags": [], "siblings": files,
            "createdAt": "2026-01-01T00:00:00.000Z", "lastModified": "2026-01-01T00:00:00.000Z",
            "author": repository.name.partition("/")[0],
        })  # fmt: skip

    async def _refs(self, request: Request, repository: Repository, commit: Commit) -> Response:
        main = {"name": "main", "ref": "refs/heads/main", "targetCommit": repository.head.oid}
        tags = [{"name": name, "ref": f"refs/tags/{name}", "targetCommit": oid} for name, oid in repository.tags.items()]
        return JSONResponse({"branches": [main], "converts": [], "tags": tags})

    async def _tag(self, request: Request, repository: Repository, commit: Commit) -> Response:
        repository.tags[(await request.json())["tag"]] = commit.oid
        return JSONResponse({})

    async def _commits(self, request: Request, repository: Repository, commit: Commit) -> Response:
        date = "2026-01-01T00:00:00.000Z"
        known = reversed(repository.commits)
        return JSONResponse([{"id": one.oid, "title": one.title, "message": "", "authors": [], "date": date} for one in known])

    # --- files ----------------------------------------------------------------------------------

    async def _preupload(self, request: Request, repository: Repository, commit: Commit) -> Response:
        modes = []
        for one in (await request.json())["files"]:
            large = one["path"].lower().endswith(LARGE) or one["size"] > 10_000_000
            there = commit.files.get(one["path"])
            oid = None if there is None else there.sha256 if there.content is None else there.oid
            mode = "lfs" if large else "regular"
            modes.append({"path": one["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        return JSONResponse({"files": modes})

    async def _commit(self, request: Request, repository: Repository, commit: Commit) -> Response:
        lines = [json.loads(line) for line in (await request.body()).splitlines() if line.strip()]
        header = next(one["value"] for one in lines if one["key"] == "header")
        if header.get("parentCommit") and self.moved_before_commit:
            self.moved_before_commit -= 1
            repository.commit(repository.head.files, "somebody else's")
        if header.get("parentCommit") not in (None, repository.head.oid):
            return _error(412, "A commit has happened since. Please refresh and try again.")
        files = dict(repository.head.files)
        for one in lines:
            problem = self._apply(repository, files, one["key"], one["value"])
            if problem:
                return problem
        made = repository.commit(files, header["summary"])
        if self._lost:
            self._lost -= 1
            return _Broken()
        url = f"{self.address}/{repository.kind}/{repository.name}/commit/{made.oid}"
        return JSONResponse({"success": True, "commitOid": made.oid, "commitUrl": url, "hookOutput": ""})

    def _apply(self, repository: Repository, files: dict[str, Entry], key: str, value: dict) -> Response | None:
        """One line of a commit, done to `files`; what is wrong with it, if anything."""
        if key == "file":
            files[value["path"]] = _regular(base64.b64decode(value["content"]))
        elif key == "lfsFile":
            if value["oid"] not in repository.objects:
                return _error(400, f"The large file {value['oid']} was not uploaded")
            files[value["path"]] = Entry(value["oid"], len(repository.objects[value["oid"]]), None)
        elif key == "deletedFile":
            if value["path"] not in files:
                return _error(404, "A file with this name doesn't exist", "EntryNotFound")
            del files[value["path"]]
        elif key == "deletedFolder":
            for path in [one for one in files if one.startswith(value["path"].rstrip("/") + "/")]:
                del files[path]
        return None

    async def _squash(self, request: Request, repository: Repository, commit: Commit) -> Response:
        repository.squash((await request.json()).get("message") or "squashed")
        return JSONResponse({})

    async def _tree(self, request: Request, repository: Repository, commit: Commit) -> Response:
        folder, deep = request.state.rest.strip("/"), request.query_params.get("recursive", "").lower() == "true"
        inside = {path: entry for path, entry in commit.files.items() if not folder or path.startswith(folder + "/")}
        if folder and not inside:
            return _error(404, f"{folder} does not exist on “main”", "EntryNotFound")
        found: dict[str, dict] = {}
        for path, entry in inside.items():
            rest = path[len(folder) :].lstrip("/").split("/")
            for depth in range(1, len(rest) if deep else min(len(rest), 2)):
                name = "/".join(([folder] if folder else []) + rest[:depth])
                found[name] = {"type": "directory", "path": name, "oid": _sha1(name.encode()), "size": 0}
            if deep or len(rest) == 1:
                found[path] = _listed(path, entry)
        names, start = sorted(found), int(request.query_params.get("cursor", 0))
        answer = JSONResponse([found[name] for name in names[start : start + PAGE]])
        if start + PAGE < len(names):
            answer.headers["Link"] = f'<{request.url.include_query_params(cursor=start + PAGE)}>; rel="next"'
        return answer

    async def _paths(self, request: Request, repository: Repository, commit: Commit) -> Response:
        plain = "json" in request.headers.get("content-type", "")
        paths = (await request.json())["paths"] if plain else (await request.form()).getlist("paths")
        return JSONResponse([_listed(path, commit.files[path]) for path in paths if path in commit.files])

    async def _resolve(self, request: Request, repository: Repository, commit: Commit) -> Response:
        entry = commit.files.get(request.path_params["path"])
        content = None if entry is None else repository.content(entry)
        if content is None:
            return _error(404, "Entry not found", "EntryNotFound", {"X-Repo-Commit": commit.oid})
        headers = {"X-Repo-Commit": commit.oid, "ETag": f'"{entry.sha256 if entry.content is None else entry.oid}"',
                   "Accept-Ranges": "bytes", "X-Linked-Size": str(entry.size)}  # fmt: skip
        wanted = request.headers.get("range", "")
        if wanted.startswith("bytes=") and request.method == "GET":
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            part = content[int(first) : int(last) + 1 if last else None]
            headers["Content-Range"] = f"bytes {first}-{int(first) + len(part) - 1}/{len(content)}"
            return Response(part, 206, headers, "application/octet-stream")
        if request.method == "HEAD":
            headers["Content-Length"] = str(len(content))
            return Response(b"", 200, headers, "application/octet-stream")
        return Response(content, 200, headers, "application/octet-stream")

    # --- large files ----------------------------------------------------------------------------

    async def _batch_large(self, request: Request, repository: Repository, commit: Commit) -> Response:
        answers = []
        for one in (await request.json())["objects"]:
            answer = {"oid": one["oid"], "size": one["size"]}
            if one["oid"] not in repository.objects:
                href = f"{self.address}/large/{repository.kind}/{repository.name}/{one['oid']}"
                answer["actions"] = {"upload": {"href": href, "header": {}}}
            answers.append(answer)
        return JSONResponse({"transfer": "basic", "objects": answers})

    async def _put_large(self, request: Request) -> Response:
        parts, content = request.path_params, await request.body()
        repository = self.repositories.get((parts["kind"], f"{parts['owner']}/{parts['name']}"))
        if repository is None or hashlib.sha256(content).hexdigest() != parts["oid"]:
            return _error(400, "The content is not what its name says")
        repository.objects[parts["oid"]] = content
        repository.pushed[parts["oid"]] = time.time()
        return JSONResponse({})

    async def _list_large(self, request: Request, repository: Repository, commit: Commit) -> Response:
        names = {entry.sha256: path for one in repository.commits for path, entry in one.files.items() if entry.content is None}
        return JSONResponse([
            {"fileOid": oid, "oid": oid, "filename": names.get(oid, ""), "ref": "refs/heads/main", "size": len(content),
             "pushedAt": time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(repository.pushed.get(oid, 0.0)))}
            for oid, content in repository.objects.items()
        ])  # fmt: skip

    async def _forget_large(self, request: Request, repository: Repository, commit: Commit) -> Response:
        asked = (await request.json())["deletions"]
        repository.forget(asked["sha"], bool(asked.get("rewriteHistory", True)))
        return JSONResponse({})


class _Broken(Response):
    """An answer that breaks off after its first byte."""

    async def __call__(self, scope: dict, receive: Callable, send: Callable) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1000")]})
        await send({"type": "http.response.body", "body": b"{", "more_body": False})


def _error(status: int, message: str, code: str = "", headers: dict[str, str] | None = None) -> Response:
    """A refusal as the Hub words it."""
    more = {"X-Error-Code": code} if code else {}
    return JSONResponse({"error": message}, status, {"X-Error-Message": message, **more, **(headers or {})})


def _listed(path: str, entry: Entry) -> dict:
    """A file as a tree lists it."""
    listed = {"type": "file", "path": path, "size": entry.size, "oid": entry.oid}
    if entry.content is None:
        listed["lfs"] = {"oid": entry.sha256, "size": entry.size, "pointerSize": 130}
    return listed


def _regular(content: bytes) -> Entry:
    return Entry(hashlib.sha256(content).hexdigest(), len(content), content)


def _sha1(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--port", type=int, default=8765)
    hub = LocalHub(parser.parse_args().port)
    print(f"the Hub of {USER} (token {TOKEN}) is at {hub.address}", file=sys.stderr)
    uvicorn.run(hub.app(), host="127.0.0.1", port=hub.port, log_level="warning")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
