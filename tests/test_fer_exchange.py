"""Models to the Hub and back, with the real client over HTTP; and what strangers put there."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hub_models import MODEL, bundle_files, client_sent_to, hold
from local_hub import OTHER_TOKEN, TOKEN, LocalHub
from made_runs import judged
from model_versions import PROMOTE, write_model
from starlette.responses import Response

from fer import bundle as bundles
from fer import exchange
from fer import hub as hub_module
from fer.__main__ import main
from fer.bundle import SHIPPED
from fer.emotions import SEVEN_CLASSES
from fer.hub import HubError, HubUnreachable, ModelAddress, ModelRepository
from fer.predict import Recognizer
from fer.registry import Registry, RegistryError
from fer.serving import Serving

ADDRESS = ModelAddress(MODEL)
MEASURED = json.loads((SHIPPED / "report-test.json").read_text(encoding="utf-8"))
WITHDRAWN = "0123456789abcdef"


@pytest.fixture
def hub() -> Iterator[LocalHub]:
    with LocalHub() as one, client_sent_to(one):
        yield one


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A bundle as a fine-tune leaves it."""
    return write_model(tmp_path_factory.mktemp("made") / "bundle", "mine", snapshot="feedfacefeedface", command="python -m fer finetune")


@pytest.fixture
def registry(tmp_path) -> Registry:
    return Registry(tmp_path / "models")


@pytest.fixture
def other(tmp_path) -> Registry:
    """The models of somebody else."""
    return Registry(tmp_path / "other" / "models")


@pytest.fixture
def mine(registry, made, tmp_path) -> Registry:
    """With the version "mine", and the report of its run."""
    said = {"kind": "finetune", "version": "mine", "snapshot_folder": str(tmp_path / "snapshots" / "x"), **judged(20, 2),
            "flips": [{"image": "c0ffee.png", "label": "fear", "before": "fear", "after": "anger"}], "seconds": 50.0}  # fmt: skip
    (tmp_path / "report.json").write_text(json.dumps(said))
    registry.add(made, tmp_path / "report.json")
    return registry


def pushed(registry: Registry, version: str = "mine", **how: bool) -> hub_module.Pushed:
    return exchange.push(registry, version, ModelRepository(MODEL), **how)


def said(error: pytest.ExceptionInfo) -> str:
    sentence = str(error.value)
    assert "\n" not in sentence and "Traceback" not in sentence and "/tmp" not in sentence and sentence.endswith("."), sentence
    return sentence


def nothing_left(registry: Registry) -> bool:
    """Whether the workspace is as it was before: no version, no half of one, nothing noted."""
    return not registry.root.exists() or {one.name for one in registry.root.iterdir()} <= {".lock"}


# --- push, then pull ----------------------------------------------------------------------------


def test_what_was_pushed_and_pulled_predicts_bit_by_bit_the_same(hub, mine, other, collins):
    commit = pushed(mine).commit
    pulled = exchange.pull(other, ADDRESS)
    assert (pulled.new, pulled.version.version, pulled.origin.commit, pulled.version.origin.repository) == (True, "mine", commit, MODEL)
    for name in ("model.safetensors", "bundle.json"):
        assert (other.root / "mine" / name).read_bytes() == (mine.root / "mine" / name).read_bytes()
    before, after = (Recognizer.load(one.root / "mine").read(collins) for one in (mine, other))
    assert before.faces and [one.prediction for one in after.faces] == [one.prediction for one in before.faces]
    batch = torch.randn(4, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    scores = [bundles.load(one.root / "mine").probabilities(batch) for one in (mine, other)]
    assert torch.equal(*scores)


def test_the_shipped_model_goes_and_comes_too(hub, registry, other):
    exchange.push(registry, "shipped", ModelRepository(MODEL))
    pulled = exchange.pull(other, ADDRESS)
    assert not pulled.new and pulled.version.shipped and pulled.version.origin.repository == MODEL
    hub.requests.clear()
    assert exchange.pull(other, ADDRESS).version.shipped and not [one for one in hub.requests if "/resolve/" in one]


def test_the_page_says_what_was_measured_and_the_hub_checked_it_first(hub, registry):
    from huggingface_hub import ModelCard

    exchange.push(registry, "shipped", ModelRepository(MODEL))
    card = ModelCard(hub.files(MODEL, "models")["README.md"].decode())
    assert (card.data.license, card.data.pipeline_tag, card.data.library_name) == ("mit", "image-classification", "expression-studio")
    assert {"safetensors", "mobilenet_v2", "facial-expression-recognition"} <= set(card.data.tags)
    report = json.loads((SHIPPED / "report-test.json").read_text())
    test = {one.metric_name: one.metric_value for one in card.data.eval_results if one.dataset_name == "FER+ test"}
    assert test["accuracy"] == round(report["accuracy"], 4) and test["macro-F1, classes with ≥ 50 faces"] == round(report["macro_f1_50"], 4)
    (apart,) = [one.metric_value for one in card.data.eval_results
                if one.dataset_name.startswith("FER+ test, without") and one.metric_type == "accuracy"]  # fmt: skip
    assert apart == round(report["dedup"]["accuracy"], 4)
    for part in ("## Data", "## Limits", "## Protocol", "## Snapshot", "## Licence", f"hub:{MODEL}", report["protocol"], "SHA-256"):
        assert part in card.text
    validated = hub.requests.index("POST /api/validate-yaml")
    assert validated < hub.requests.index("POST /api/repos/create")


def test_a_fine_tune_tells_before_and_after_and_its_snapshot(hub, mine):
    from huggingface_hub import ModelCard

    pushed(mine)
    card = ModelCard(hub.files(MODEL, "models")["README.md"].decode())
    report = judged(20, 2)
    figures = {(one.dataset_type, one.metric_name): one.metric_value for one in card.data.eval_results}
    assert figures["snapshot", "accuracy"] == round(report["corrections"]["accuracy_after"], 4)
    assert figures["snapshot", "accuracy of the model it started from"] == round(report["corrections"]["accuracy_before"], 4)
    assert figures["ferplus", "accuracy"] == round(report["benchmark"]["accuracy_after"], 4)
    assert "feedfacefeedface" in card.text and "80 faces" in card.text


def test_no_picture_no_single_face_and_no_folder_of_this_machine_goes_along(hub, mine, tmp_path):
    (mine.root / "mine" / "report-test.png").write_bytes(b"a picture")
    (mine.root / "mine" / "extra.pt").write_bytes(b"a pickle")
    pushed(mine)
    files = hub.files(MODEL, "models")
    assert set(files) == {".gitattributes", "README.md", "bundle.json", "model.safetensors", "report.json"}
    assert "flips" not in json.loads(files["report.json"]) and b"c0ffee" not in hub.everything()
    assert os.fsencode(tmp_path) not in hub.everything()


def test_it_is_one_commit_and_the_same_again_is_none(hub, mine):
    first = pushed(mine)
    assert len(hub.repository(MODEL, "models").commits) == 2 and pushed(mine).commit == first.commit
    assert len(hub.repository(MODEL, "models").commits) == 2


def test_another_version_takes_the_place_of_the_first_with_all_that_was_its(hub, mine, registry):
    pushed(registry, "shipped")
    assert "report-test.json" in hub.files(MODEL, "models")
    pushed(mine)
    assert "report-test.json" not in hub.files(MODEL, "models") and "report.json" in hub.files(MODEL, "models")


def test_a_repository_is_private_unless_it_is_said(hub, mine):
    assert pushed(mine).private and hub.repository(MODEL, "models").private
    hub.delete(MODEL, "models")
    assert not pushed(mine, public=True).private
    with pytest.raises(HubError, match=r"is public; add --public") as error:
        pushed(mine)
    said(error)


def test_a_page_is_not_written_twice_over_when_a_model_travels_on(hub, mine, other):
    pushed(mine)
    exchange.pull(other, ADDRESS)
    exchange.push(other, "mine", ModelRepository("tester/again"))
    again = hub.files("tester/again", "models")["README.md"].decode()
    assert again.count("## Use\n") == 1 and again.count("# mine\n") == 1


# --- what is not pushed -------------------------------------------------------------------------


def test_a_card_that_the_hub_does_not_accept_stops_it_before_anything_is_sent(hub, mine):
    hub.fail(1, 400, "/api/validate-yaml")
    with pytest.raises(HubError, match=r"does not accept the head of the card.*nothing was sent") as error:
        pushed(mine)
    assert said(error) and not hub.repositories


def test_somebody_elses_repository_is_not_overwritten(hub, mine):
    hold(hub, {"config.json": b"{}", "pytorch_model.bin": b"x"})
    with pytest.raises(HubError, match=r"holds something else \(config.json\)") as error:
        pushed(mine)
    said(error)
    hold(hub, {**bundle_files(mine.root / "mine"), "optimizer.pt": b"x"})
    with pytest.raises(HubError, match=r"optimizer.pt, a kind of file that can carry code") as error:
        pushed(mine)
    said(error)


def test_whoever_pushed_at_the_same_moment_is_not_overwritten_unseen(hub, mine):
    pushed(mine)
    (mine.root / "mine" / "card.md").write_text("# mine\n\nanother card\n")
    hub.moved_before_commit = 1
    with pytest.raises(HubError, match=r"Somebody changed tester/faces at the same moment; try again\.") as error:
        pushed(mine)
    said(error)


@pytest.mark.parametrize(
    ("broken", "words"),
    [("none", "no token of the Hub here"), ("revoked", "wants a token that it knows"), ("reader", "needs the right to write"),
     ("stranger", "needs the right to write|may not see it"), ("gone", "cannot be reached")],
)  # fmt: skip
def test_without_rights_or_a_network_a_push_is_refused_in_a_sentence(hub, mine, monkeypatch, broken, words):
    if broken == "none":
        monkeypatch.delenv("HF_TOKEN")
        monkeypatch.setenv("HF_TOKEN_PATH", "/nowhere")
        monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", "/nowhere")
    elif broken == "revoked":
        hub.revoke()
    elif broken == "reader":
        hub.read_only.add(TOKEN)
    elif broken == "stranger":
        monkeypatch.setenv("HF_TOKEN", OTHER_TOKEN)
    else:
        hub.stop()
    with pytest.raises(HubError, match=words) as error:
        pushed(mine)
    said(error)


def test_a_damaged_version_and_one_of_withdrawn_faces_are_not_shown_to_everybody(hub, registry, made, tmp_path):
    registry.add(write_model(tmp_path / "b" / "bundle", "sad", snapshot=WITHDRAWN))
    mark = registry.root.parent / "snapshots" / WITHDRAWN / "WITHDRAWN.json"
    mark.parent.mkdir(parents=True)
    mark.write_text("{}")
    with pytest.raises(RegistryError, match="withdrawn since, so it is not published"):
        pushed(registry, "sad", public=True)
    assert pushed(registry, "sad").private
    (registry.root / "sad" / "model.safetensors").write_bytes(b"x")
    with pytest.raises(RegistryError, match="cannot be pushed: .*checksum differs"):
        pushed(registry, "sad")


# --- what is not pulled -------------------------------------------------------------------------


def changed(folder: Path, change) -> dict[str, bytes]:
    """The files of a bundle whose description was changed."""
    files = bundle_files(folder)
    description = json.loads(files["bundle.json"])
    change(description)
    return {**files, "bundle.json": json.dumps(description).encode()}


def deep(levels: int) -> bytes:
    return b'{"a":' * levels + b"1" + b"}" * levels


MALICIOUS = {
    "a pickle": (lambda made: {**bundle_files(made), "pytorch_model.bin": b"\x80\x04."}, "pytorch_model.bin, a kind of file that can carry code"),
    "a pickle in a folder": (lambda made: {**bundle_files(made), "a/b/weights.pkl": b"x"}, "a/b/weights.pkl, a kind of file"),
    "a program": (lambda made: {**bundle_files(made), "setup.py": b"x"}, "setup.py, a kind of file"),
    "a file without a kind": (lambda made: {**bundle_files(made), "run": b"x"}, "holds run, a kind of file"),
    "a way out": (lambda made: {**bundle_files(made), "../../evil.sh": b"x"}, "evil.sh, a kind of file"),
    "no weights": (lambda made: {"bundle.json": b"{}"}, "model.safetensors is missing"),
    "no description": (lambda made: {"model.safetensors": b"x"}, "bundle.json is missing"),
    "a link": (lambda made: {**bundle_files(made), "bundle.json": b"/etc/passwd"}, "no JSON object of a usual depth"),
    "a pickle by another name": (lambda made: {**bundle_files(made), "model.safetensors": b"\x80\x04K\x01."}, "checksum differs"),
    "another's weights": (lambda made: {**bundle_files(made), "model.safetensors": (SHIPPED / "model.safetensors").read_bytes()}, "checksum differs"),
    "a deep description": (lambda made: {**bundle_files(made), "bundle.json": deep(100_000)}, "no JSON object of a usual depth"),
    "a deep report": (lambda made: {**bundle_files(made), "report.json": deep(500)}, "no JSON object of a usual depth"),
    "a long description": (lambda made: {**bundle_files(made), "bundle.json": b" " * 1_000_001}, "1 MB is the most"),
    "a newer format": (lambda made: changed(made, lambda one: one.update(format=2)), "is not a bundle of format 1"),
    "an unknown network": (lambda made: changed(made, lambda one: one.update(arch="os.system")), "other classes or another preprocessing"),
    "other classes": (lambda made: changed(made, lambda one: one.update(classes=one["classes"][::-1])), "other classes or another"),
    "a temperature of nothing": (lambda made: changed(made, lambda one: one.update(temperature=0)), "must be above 0"),
    "no temperature": (lambda made: changed(made, lambda one: one.update(temperature="hot")), "incomplete or wrong"),
    "a provenance that is none": (lambda made: changed(made, lambda one: one.update(provenance=[])), "does not give shares"),
    "a name that is a folder": (lambda made: changed(made, lambda one: one.update(version="../../x")), "cannot be the name of a model"),
    "the name of a file": (lambda made: changed(made, lambda one: one.update(version="active.json")), "cannot be the name of a model"),
    "too many files": (lambda made: {**bundle_files(made), **{f"{n}.txt": b"" for n in range(600)}}, "more than 500 files"),
}  # fmt: skip


@pytest.mark.parametrize("what", MALICIOUS)
def test_a_repository_that_means_harm_is_refused_and_nothing_of_it_stays(hub, other, made, what):
    content, words = MALICIOUS[what]
    hold(hub, content(made))
    with pytest.raises((HubError, RegistryError), match=words) as error:
        exchange.pull(other, ADDRESS)
    assert said(error) and nothing_left(other)


def test_a_repository_is_refused_before_its_weights_are_fetched(hub, other, made):
    hold(hub, {**bundle_files(made), "pytorch_model.bin": b"x"})
    with pytest.raises(HubError):
        exchange.pull(other, ADDRESS)
    assert not [one for one in hub.requests if "/resolve/" in one]


def with_network(folder: Path, change, **fields) -> Path:
    """A bundle whose network was changed, with a checksum that fits."""
    shipped = bundles.load()
    with torch.no_grad():
        change(shipped.network)
    bundles.save(replace(shipped, version="odd", **fields), folder)
    return folder


def test_a_model_that_gives_no_shares_is_refused(hub, other, tmp_path):
    def spoil(network):
        network.classifier[1].bias[0] = math.nan

    hold(hub, bundle_files(with_network(tmp_path / "a", spoil)))
    with pytest.raises(HubError, match="does not give shares") as error:
        exchange.pull(other, ADDRESS)
    assert said(error) and nothing_left(other)


@pytest.mark.parametrize("field", [{"size": 100_000}, {"side": 1e6}, {"shift": math.inf}, {"mean": (math.nan, 0.0, 0.0)}, {"size": 96.5}])
def test_a_model_that_would_take_the_memory_of_the_machine_is_refused(hub, other, tmp_path, field):
    odd = replace(bundles.load().preprocess, **field)
    hold(hub, bundle_files(with_network(tmp_path / "b", lambda network: None, preprocess=odd)))
    with pytest.raises(HubError, match="does not give shares") as error:
        exchange.pull(other, ADDRESS)
    assert said(error) and nothing_left(other)


def test_a_model_of_other_expressions_is_refused(hub, other, tmp_path):
    from fer.model import build

    bundles.save(replace(bundles.load(), version="seven", classes=SEVEN_CLASSES, network=build("mobilenet_v2", 7)), tmp_path / "seven")
    hold(hub, bundle_files(tmp_path / "seven"))
    with pytest.raises(HubError, match=r"names other expressions \(.*\) than the app") as error:
        exchange.pull(other, ADDRESS)
    assert said(error) and nothing_left(other)


def test_a_server_that_lies_about_a_file_is_not_believed(hub, other, made, monkeypatch):
    commit = hold(hub, bundle_files(made))
    repository = hub.repository(MODEL, "models")
    whole = repository.content

    def serve(change) -> str:
        monkeypatch.setattr(repository, "content", lambda entry: change(whole(entry)))
        with pytest.raises(HubError) as error:
            exchange.pull(other, ADDRESS)
        assert nothing_left(other)
        return said(error)

    assert "checksum differs" in serve(lambda content: content.replace(b'"temperature": 0', b'"temperature": 1'))
    assert "checksum differs" in serve(lambda content: content[:-1])
    assert "is longer than the Hub lists" in serve(lambda content: content + bytes(10_000_000))
    monkeypatch.setattr(repository, "content", whole)
    assert exchange.pull(other, ADDRESS).origin.commit == commit


def test_a_file_that_is_too_large_is_not_begun(hub, other, made, monkeypatch):
    hold(hub, bundle_files(made))
    monkeypatch.setitem(hub_module.LARGEST, "model.safetensors", 1_000_000)
    with pytest.raises(HubError, match=r"has 9 MB; 1 MB is the most that is taken") as error:
        exchange.pull(other, ADDRESS)
    assert said(error) and not [one for one in hub.requests if one.endswith("model.safetensors")]


class Cut(Response):
    """A file that breaks off in the middle."""

    async def __call__(self, scope, receive, send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"9103088")]})
        await send({"type": "http.response.body", "body": bytes(100_000), "more_body": True})
        raise ConnectionError("the line is gone")


def test_half_a_download_leaves_nothing_and_the_next_one_works(other, made):
    class Cutting(LocalHub):
        cuts = 0

        async def _resolve(self, request, repository, commit):
            if request.url.path.endswith(".safetensors") and self.cuts:
                self.cuts -= 1
                return Cut()
            return await super()._resolve(request, repository, commit)

    with Cutting() as hub, client_sent_to(hub):
        hold(hub, bundle_files(made))
        hub.cuts = 99
        with pytest.raises(HubUnreachable, match="cannot be reached") as error:
            exchange.pull(other, ADDRESS)
        assert said(error) and nothing_left(other)
        hub.cuts = 1  # a line that comes back by itself is no reason to give up
        assert exchange.pull(other, ADDRESS).new


def test_what_is_not_there_is_said_in_a_sentence(hub, other, made):
    hold(hub, bundle_files(made))
    for text, words in (("tester/nothing", "There is no tester/nothing on the Hub"), (f"{MODEL}@v9", "has no revision v9")):
        with pytest.raises(HubError, match=words) as error:
            exchange.pull(other, ModelAddress.parse(text))
        said(error)
    assert nothing_left(other)


@pytest.mark.parametrize("text", ["faces", "tester/faces@", "../faces", "a/b/c", "tester/fa--ces", "tester/faces@a b", "", "tester/é", "a/b@../x"])
def test_a_name_that_is_none_is_refused_before_anything_is_asked(text):
    with pytest.raises(HubError, match="names no model on the Hub; write USER/NAME") as error:
        ModelAddress.parse(text)
    said(error)


def test_a_full_disk_is_a_sentence(hub, other, made, monkeypatch):
    hold(hub, bundle_files(made))

    def full(*arguments):
        raise OSError(28, "No space left on device", "/tmp/x")

    monkeypatch.setattr(ModelRepository, "_download", full)
    with pytest.raises(HubError, match=r"could not be stored \(No space left on device\)") as error:
        exchange.pull(other, ADDRESS)
    said(error)


# --- what is kept of it -------------------------------------------------------------------------


def test_a_verdict_from_elsewhere_opens_no_gate_and_a_card_fetches_nothing(hub, other, made):
    report = {"kind": "finetune", "verdict": PROMOTE, **judged(20, 2)} | {"verdict": PROMOTE}
    page = b"---\nlicense: mit\n---\n# Mine\n\n![me](http://spy.example/x.png) <img src=http://spy.example/y.png> <script>alert(1)</script>\n"
    hold(hub, {**bundle_files(made), "report.json": json.dumps(report).encode(), "README.md": page})
    version = exchange.pull(other, ADDRESS).version
    assert version.verdict() is None and "was never compared" in other.misgiving(version)
    assert version.figures["corrections"]["n"] == 80, "what it says of itself is shown all the same"
    card = version.card.read_text()
    assert card.startswith("# Mine") and "![" not in card and "<" not in card and "license" not in card


@pytest.mark.parametrize("report", [
    {"kind": "finetune", "corrections": {"n": "many", "accuracy_before": 0.1, "accuracy_after": "x"}},
    {"data": "ferplus", "split": "test", "protocol": "p", "accuracy": 0.9, "macro_f1": 0.8, "n": [1]},
    {**MEASURED, "accuracy": 7.0}, {**MEASURED, "accuracy": math.nan}, {**MEASURED, "macro_f1": "high"}, {**MEASURED, "n": -1},
    {**MEASURED, "data": {"x": 1}}, {**MEASURED, "data": "x" * 500}, {**MEASURED, "dedup": [1]}, {**MEASURED, "per_class": {"fear": 1}}, {},
])  # fmt: skip
def test_figures_that_are_none_are_left_out(hub, other, made, report, capsys):
    hold(hub, {**bundle_files(made), "report-test.json": json.dumps(report).encode()})
    version = exchange.pull(other, ADDRESS).version
    assert version.figures == {}
    assert main(["models", "--workspace", str(other.root.parent)]) == 0 and "mine" in capsys.readouterr().out


def test_figures_that_are_some_are_kept_and_go_on_with_the_model(hub, other, made):
    hold(hub, {**bundle_files(made), "report-test.json": json.dumps(MEASURED).encode()})
    assert exchange.pull(other, ADDRESS).version.figures["ferplus test"]["accuracy"] == MEASURED["accuracy"]
    exchange.push(other, "mine", ModelRepository("tester/again"))
    page = hub.files("tester/again", "models")["README.md"].decode()
    assert f"{MEASURED['accuracy']:.4f}" in page and "name: FER+ test" in page


def test_another_model_of_the_same_name_is_refused_also_where_only_its_temperature_differs(hub, mine, made):
    hold(hub, changed(made, lambda one: one.update(temperature=0.9)))
    with pytest.raises(RegistryError, match="There is another model called mine already") as error:
        exchange.pull(mine, ADDRESS)
    assert said(error) and mine.find("mine").origin is None


def test_the_same_commit_is_fetched_once_and_a_newer_one_anew(hub, mine, other, made):
    pushed(mine)
    exchange.pull(other, ADDRESS)
    hub.requests.clear()
    again = exchange.pull(other, ADDRESS)
    assert not again.new and not [one for one in hub.requests if "/resolve/" in one]
    commit = hold(hub, changed(made, lambda one: one.update(version="newer")))
    assert exchange.pull(other, ADDRESS).version.version == "newer" and other.origins.of("newer").commit == commit
    assert {one.version for one in other.versions()} >= {"mine", "newer"}


def test_a_version_damaged_meanwhile_is_fetched_again(hub, mine, other):
    pushed(mine)
    exchange.pull(other, ADDRESS)
    (other.root / "mine" / "model.safetensors").write_bytes(b"x")
    assert exchange.pull(other, ADDRESS).new and not other.find("mine").damaged


# --- starting from the Hub ----------------------------------------------------------------------


def test_without_a_network_what_was_fetched_before_is_used_with_a_warning(hub, mine, other):
    commit = pushed(mine).commit
    folder, warning = exchange.chosen(other, f"hub:{MODEL}")
    assert (folder, warning) == (other.root / "mine", None)
    hub.stop()
    folder, warning = exchange.chosen(other, f"hub:{MODEL}")
    assert folder == other.root / "mine" and "as it was fetched on" in warning and "cannot be reached" in warning
    assert exchange.chosen(other, f"hub:{MODEL}@{commit}") == (folder, None), "a commit that is here needs no network"
    with pytest.raises(HubError, match="other was not fetched: The Hub cannot be reached") as error:
        exchange.chosen(other, "hub:tester/other")
    said(error)


def test_a_repository_that_turned_bad_does_not_replace_what_serves(hub, mine, other, made):
    pushed(mine)
    exchange.pull(other, ADDRESS)
    hold(hub, {**bundle_files(made), "evil.pkl": b"x"})
    folder, warning = exchange.chosen(other, f"hub:{MODEL}")
    assert folder == other.root / "mine" and "evil.pkl" in warning


def started(registry: Registry, model: str) -> Serving:
    serving = Serving(registry, Path(model))
    serving.start()
    serving.recognizer()
    serving.stop()
    return serving


def test_the_app_serves_a_model_of_the_hub_and_the_shipped_one_where_there_is_none(hub, mine, other):
    pushed(mine)
    serving = started(other, f"hub:{MODEL}")
    assert (serving.health()["model"], serving.health()["warning"]) == ("mine", None)
    hub.stop()
    serving = started(other, f"hub:{MODEL}")
    assert serving.health()["model"] == "mine" and "cannot be reached" in serving.health()["warning"]
    serving = started(other, "hub:tester/other")
    assert serving.health()["model"] == other.find("shipped").version
    assert serving.health()["warning"].startswith("The model that ships serves in place of hub:tester/other. ")
    with pytest.raises(RegistryError, match="started with --model"):
        serving.promote("mine", "Ada", "why")


def test_the_screens_say_that_another_model_serves(other):
    from types import SimpleNamespace

    from fer.ui.models_tab import _listing
    from fer.workshop import Workshop

    health = {"model": "mine", "warning": "The model that ships serves in place of hub:ada/faces."}
    services = SimpleNamespace(workshop=Workshop(other.root.parent), health=lambda: health)
    assert _listing(services)["warning"] == health["warning"]


def test_the_settings_refuse_an_address_that_is_none(capsys):
    import app

    assert str(app.Settings.from_command_line(["--model", f"hub:{MODEL}@v1"]).model) == f"hub:{MODEL}@v1"
    with pytest.raises(SystemExit):
        app.Settings.from_command_line(["--model", "hub:faces"])
    assert "names no model on the Hub" in capsys.readouterr().err


# --- the commands -------------------------------------------------------------------------------


def test_the_commands_push_pull_and_use_it(hub, mine, other, capsys, collins):
    here, there = (["--workspace", str(one.root.parent)] for one in (mine, other))
    assert main(["models", "push", MODEL, "--version", "mine", "--json", *here]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["version"], said["private"], said["address"]) == ("mine", True, f"{hub.address}/{MODEL}")
    assert main(["models", "pull", f"{MODEL}@{said['commit']}", *there]) == 0
    assert f"mine is here now, from {MODEL}@{said['commit'][:7]}" in capsys.readouterr().out
    assert main(["models", *there]) == 0 and f"fetched from {MODEL}@" in capsys.readouterr().out
    assert main(["predict", "--json", "--model", f"hub:{MODEL}", str(collins), *there]) == 0
    assert json.loads(capsys.readouterr().out)["model"] == "mine"


@pytest.mark.parametrize(("arguments", "code", "words"), [
    (["push"], 2, "say where on the Hub, such as: models push USER/NAME"),
    (["pull"], 2, "say where on the Hub, such as: models pull USER/NAME"),
    (["list", "--public"], 2, "--public and --version belong to models push"),
    (["push", f"{MODEL}@main"], 1, "give USER/NAME without a revision"),
    (["pull", "tester/nothing"], 1, "There is no tester/nothing on the Hub"),
    (["push", MODEL, "--version", "none"], 1, "There is no model “none”"),
])  # fmt: skip
def test_wrong_commands_are_one_sentence(hub, registry, capsys, arguments, code, words):
    assert main(["models", *arguments, "--workspace", str(registry.root.parent)]) == code
    err = capsys.readouterr().err
    assert words in err and err.startswith("error: ") and err.count("\n") == 1, err
