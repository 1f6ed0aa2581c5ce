"""The plugin registers without errors, and each of its operators does its work from Python, delegated, and in forms."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import fiftyone as fo
import fiftyone.operators as foo
import pytest
import yaml
from fiftyone import ViewField as F
from fiftyone.operators.delegated import DelegatedOperationService
from fiftyone.operators.executor import ExecutionRunState, Executor

from audit.config import AuditConfig
from audit.errors import InputError
from integrations.fiftyone import write_result
from integrations.fiftyone.background_audit import (
    DONE,
    FAILED,
    RUNNING,
    audit_in_app,
    find_job,
    forget_job,
    results_home,
)
from integrations.fiftyone.fields import audit_fields
from integrations.fiftyone.importing import import_images
from integrations.fiftyone.plugin_install import PLUGIN, SOURCE
from integrations.fiftyone.review import decisions, review_progress
from integrations.sources.digits import digits
from integrations.sources.labelled_images import LabelledImages
from tests import ROOT
from tests.fiftyone.made_up import made_up_result
from tests.fiftyone.panel_window import Window
from tests.forking import run_script
from tests.waiting import wait_until

pytestmark = pytest.mark.usefixtures("plugin_installed")

SETTINGS = {"weights": "bundled", "device": "cpu", "image_size": 32}


def import_digits(name: str) -> fo.Dataset:
    listed = list(digits(["0", "1", "2"]))[:120]
    import_images(LabelledImages("digits", "digits", len(listed), lambda: iter(listed)), name)
    return fo.load_dataset(name)


@pytest.fixture(scope="module")
def audited() -> Iterator[fo.Dataset]:
    """120 digits, six of them labelled wrong, with a real audit whose result is saved."""
    dataset = import_digits("plugin digits")
    wrong = dataset.match(F("ground_truth.label") == "0").limit(6)
    wrong.set_values("ground_truth.label", ["1"] * 6)
    audit_in_app(dataset, "ground_truth", "audit", AuditConfig(**SETTINGS))
    dataset.reload()
    yield dataset
    fo.delete_dataset(dataset.name)


@pytest.fixture
def dataset(audited: fo.Dataset) -> fo.Dataset:
    """The audited digits without decisions."""
    audited.reload()
    while operator("undo_last_decision")(audited)["count"]:
        continue
    return audited


def operator(name: str) -> Any:
    return foo.get_operator(f"{PLUGIN}/{name}")


def suspects(dataset: fo.Dataset) -> list[str]:
    """Flagged samples for which another label is suggested."""
    view = dataset.load_saved_view("audit: flagged")
    ids = view.match(F("audit_suggested.label") != F("ground_truth.label")).values("id")
    assert len(ids) >= 3
    return ids


# --- registering ----------------------------------------------------------------------------------------------------


def test_everything_that_is_declared_registers_without_errors_and_without_torch() -> None:
    declared = yaml.safe_load((SOURCE / "fiftyone.yml").read_text())
    listing = (
        "import sys, json, fiftyone.operators as foo; registry = foo.OperatorRegistry(); "
        "print(json.dumps([registry.list_errors(), [o.uri for o in registry.list_operators(builtin=False)], "
        "'torch' in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", listing], check=True, env=os.environ, capture_output=True, text=True)
    errors, uris, torch_imported = json.loads(done.stdout.splitlines()[-1])
    assert errors == []
    assert uris == [f"{PLUGIN}/{name}" for name in [*declared["operators"], *declared["panels"]]]
    assert not torch_imported


@pytest.mark.parametrize("server", [False, True])
def test_only_in_the_apps_server_what_is_imported_is_kept_from_the_garbage_collector(server: bool) -> None:
    listing = (
        "import gc, json, fiftyone.operators as foo; foo.OperatorRegistry(); first = gc.get_freeze_count(); "
        "foo.OperatorRegistry(); print(json.dumps([first, gc.get_freeze_count(), len(gc.get_objects())]))"
    )
    env = {**os.environ, **({"FIFTYONE_SERVER": "1"} if server else {})}
    done = subprocess.run([sys.executable, "-c", listing], check=True, env=env, capture_output=True, text=True)
    kept, still_kept, others = json.loads(done.stdout.splitlines()[-1])
    assert still_kept <= kept  # what nobody refers to any more goes as ever
    assert still_kept > 10 * others if server else kept == 0


def test_installing_links_the_plugin_once_and_mends_an_old_copy(tmp_path: Path) -> None:
    plugins = tmp_path / "plugins"
    install = "from integrations.fiftyone.plugin_install import install_plugin; print(install_plugin())"

    def installed() -> Path:
        env = {**os.environ, "FIFTYONE_PLUGINS_DIR": str(plugins)}
        done = run_script(install, environment=env)
        assert done.returncode == 0, done.stderr
        return Path(done.stdout.splitlines()[-1])

    place = installed()
    assert place == plugins / "@influence-audit" / "influence-audit"
    assert place.resolve() == SOURCE.resolve()
    place.unlink()
    place.mkdir()
    (place / "fiftyone.yml").write_text((SOURCE / "fiftyone.yml").read_text())
    assert installed().resolve() == SOURCE.resolve()
    place.rename(plugins / "downloaded")
    assert installed() == plugins / "downloaded"


def test_a_download_of_the_repository_installs_the_plugin(tmp_path: Path) -> None:
    """`fiftyone plugins download` unpacks an archive of the whole repository, as it gets it from GitHub too."""
    tracked = [
        "pyproject.toml",
        "README.md",
        *(path.relative_to(ROOT) for path in (ROOT / "integrations").rglob("*.*")),
    ]
    archive = tmp_path / "influence-audit-main.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        for path in tracked:
            packed.write(ROOT / path, Path("influence-audit-main") / path)
    served = partial(SimpleHTTPRequestHandler, directory=tmp_path)
    with ThreadingHTTPServer(("127.0.0.1", 0), served) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        environment = {**os.environ, "FIFTYONE_PLUGINS_DIR": str(tmp_path / "plugins")}
        address = f"http://127.0.0.1:{server.server_port}/{archive.name}"
        fiftyone = Path(sys.executable).with_name("fiftyone")
        subprocess.run([fiftyone, "plugins", "download", address], check=True, env=environment, capture_output=True)
        server.shutdown()
    (metadata,) = (tmp_path / "plugins").rglob("fiftyone.yml")
    assert (metadata.parent / "operators" / "__init__.py").is_file()
    assert not metadata.parent.is_symlink()
    listing = (
        "import json, fiftyone.operators as foo; registry = foo.OperatorRegistry(); "
        "print(json.dumps([registry.list_errors(), len(registry.list_operators(builtin=False))]))"
    )
    done = subprocess.run([sys.executable, "-c", listing], check=True, env=environment, capture_output=True, text=True)
    declared = yaml.safe_load((SOURCE / "fiftyone.yml").read_text())
    expected = len(declared["operators"]) + len(declared["panels"])
    assert json.loads(done.stdout.splitlines()[-1]) == [[], expected]


# --- from Python ----------------------------------------------------------------------------------------------------


def test_an_audit_runs_from_python_and_is_replaced_only_when_asked(dataset_name: Callable[[str], str]) -> None:
    dataset = import_digits(dataset_name("operator digits"))
    found = operator("audit_labels")(dataset, audit_key="mine", inject=0.1, **SETTINGS)
    assert found["audit_key"] == "mine"
    dataset.reload()
    assert dataset.get_run_info("mine").config.audit_config["inject"] == 0.1
    assert (results_home(dataset, "mine") / "report.html").is_file()
    with pytest.raises(InputError, match="has an audit 'mine' already; tick 'replace'"):
        operator("audit_labels")(dataset, audit_key="mine", **SETTINGS)
    view = dataset.match(F("ground_truth.label") != "2")
    operator("audit_labels")(view, audit_key="mine", replace=True, **SETTINGS)
    dataset.reload()
    assert len(dataset.exists("mine_suspicion")) == len(view)
    assert "since_last" in dataset.get_run_info("mine").config.summary


def test_decisions_are_made_undone_applied_and_exported_from_python(dataset: fo.Dataset, tmp_path: Path) -> None:
    first, second, third, *_ = suspects(dataset)
    assert operator("confirm")(dataset, [first])["count"] == 1
    assert operator("dismiss")(dataset, [second])["count"] == 1
    assert operator("relabel")(dataset, [third], label="2")["count"] == 1
    assert operator("undo_last_decision")(dataset)["action"] == "relabel"
    assert operator("accept_suggestion")(dataset.select([first, third]), by="ada")["count"] == 2
    assert operator("apply_corrections")(dataset)["count"] == 2
    dataset.reload()
    assert dataset[first].ground_truth.label == dataset[first].audit_suggested.label
    exported = operator("export_corrections")(dataset, str(tmp_path / "corrections.json"))
    assert exported["count"] == len(json.loads((tmp_path / "corrections.json").read_text())) == 3
    assert operator("undo_last_decision")(dataset)["action"] == "apply"


def test_a_sample_is_explained_by_training_samples(dataset: fo.Dataset) -> None:
    sample = suspects(dataset)[0]
    found = operator("explain_sample")(dataset, sample)
    assert (found["sample"], found["label"]) == (sample, dataset[sample].ground_truth.label)
    assert found["suggested"] == dataset[sample].audit_suggested.label
    for kind, sign in (("helpful", 1), ("harmful", -1)):
        strengths = [sign * near["influence"] for near in found[kind]]
        assert strengths == sorted(strengths, reverse=True)
        assert min(strengths) > 0
        splits = dataset.select([near["id"] for near in found[kind]]).values("audit_split")
        assert set(splits) == {"train"}
    assert sample not in [near["id"] for near in found["helpful"]]
    assert found["helpful"][0]["label"] == found["label"]
    assert {near["label"] for near in found["helpful_in_class"]} == {found["label"]}
    harmed = [near["influence"] for near in found["harmed"]]
    assert harmed == sorted(harmed)
    assert harmed[0] < 0
    assert set(dataset.select([near["id"] for near in found["harmed"]]).values("audit_split")) == {"validation"}
    assert not dataset.has_field("audit_heatmap"), "only where it is asked for"
    operator("explain_sample")(dataset, sample, heat_map=True)
    dataset.reload()
    heat = dataset[sample].audit_heatmap.map
    assert heat.max() == 255
    assert dataset.count("audit_heatmap") == 1
    assert "audit_heatmap" in next(group.paths for group in dataset.app_config.sidebar_groups if "audit" in group.name)


def test_the_report_is_made(dataset: fo.Dataset, tmp_path: Path) -> None:
    made = operator("make_report")(dataset, str(tmp_path / "deep" / "report.html"))
    assert "<html" in Path(made["path"]).read_text(encoding="utf-8")[:500]


def test_mislabels_are_injected_into_a_field_of_their_own(dataset: fo.Dataset) -> None:
    before = dataset.values("ground_truth.label")
    for _ in range(2):  # the second time the field is made anew
        made = operator("inject_mislabels")(dataset, into="corrupted", share=0.25, seed=3)
        dataset.reload()
        assert dataset.values("ground_truth.label") == before
        changed = dataset.match(F("corrupted.label") != F("ground_truth.label"))
        assert len(changed) == made["changed"] == 30
    with pytest.raises(InputError, match="is there already; name a new one"):
        operator("inject_mislabels")(dataset, into="ground_truth")
    operator("inject_mislabels")(dataset, into="corrupted", strategy="class-pair", **SETTINGS)
    dataset.reload()
    changed = dataset.match(F("corrupted.label") != F("ground_truth.label"))
    pairs = set(zip(*changed.values(["ground_truth.label", "corrupted.label"]), strict=True))
    assert len(changed) == 12
    assert len(pairs) == len({given for given, _ in pairs})  # each class becomes one other
    operator("inject_mislabels")(dataset, into="corrupted", strategy="most-influential")
    dataset.reload()
    changed = dataset.match(F("corrupted.label") != F("ground_truth.label"))
    trained = dataset.match(F("audit_split") == "train")
    assert len(changed) == round(len(trained) / 10)
    assert min(changed.values("audit_influence")) > trained.mean("audit_influence")
    dataset.delete_sample_field("corrupted")


def test_audits_are_loaded_renamed_and_deleted(dataset_name: Callable[[str], str]) -> None:
    dataset = import_digits(dataset_name("renamed digits"))
    operator("audit_labels")(dataset.limit(60), audit_key="one", **SETTINGS)
    dataset.reload()
    assert operator("load_audit")(dataset, "one") == {"audit_key": "one", "samples": 60}
    with pytest.raises(InputError, match="is no valid name"):
        operator("rename_audit")(dataset, "one", "2 words")
    operator("rename_audit")(dataset, "one", "two")
    dataset.reload()
    assert dataset.list_runs() == ["two"]
    with pytest.raises(InputError, match="has no label audit 'one'; it has: two"):
        operator("delete_audit")(dataset, "one")
    operator("delete_audit")(dataset, "two")
    dataset.reload()
    assert (dataset.list_runs(), audit_fields(dataset, "two"), dataset.list_saved_views()) == ([], [], [])


# --- delegated ------------------------------------------------------------------------------------------------------


def test_every_operator_runs_delegated(dataset: fo.Dataset, tmp_path: Path) -> None:
    first, second, third, *_ = suspects(dataset)
    by_name: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
        ("confirm", ([first],), {}),
        ("dismiss", ([second],), {}),
        ("accept_suggestion", ([third],), {}),
        ("relabel", ([first],), {"label": "2"}),
        ("apply_corrections", (), {"into": "fixed"}),
        ("export_corrections", (str(tmp_path / "corrections.csv"),), {}),
        ("undo_last_decision", (), {}),
        ("explain_sample", (first,), {}),
        ("make_report", (str(tmp_path / "report.html"),), {}),
        ("inject_mislabels", (), {"into": "corrupted"}),
        ("load_audit", (), {}),
        ("audit_labels", (), {"audit_key": "queued", **SETTINGS}),
        ("rename_audit", ("queued", "renamed"), {}),
        ("delete_audit", ("renamed",), {}),
    ]
    service = DelegatedOperationService()
    for name, arguments, options in by_name:
        queued = operator(name)(dataset, *arguments, delegate=True, **options)
        assert queued.delegated
        service.execute_queued_operations(limit=1)
        done = service.get(queued.result["id"])
        assert done.run_state == ExecutionRunState.COMPLETED, (name, done.result)
    dataset.reload()
    assert dataset[third].audit_status == "relabelled"
    assert dataset[third].fixed.label == dataset[third].ground_truth.label  # applied, and undone
    assert (tmp_path / "corrections.csv").is_file()
    assert (tmp_path / "report.html").is_file()
    assert dataset.list_runs() == ["audit"]
    dataset.delete_sample_fields(["fixed", "corrupted"])


def test_a_worker_of_fiftyone_executes_what_is_queued(dataset: fo.Dataset) -> None:
    sample = suspects(dataset)[0]
    queued = operator("dismiss")(dataset, [sample], delegate=True)
    fiftyone = Path(sys.executable).with_name("fiftyone")
    worker = subprocess.Popen([fiftyone, "delegated", "launch"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    service = DelegatedOperationService()
    try:
        wait_until(lambda: service.get(queued.result["id"]).run_state == ExecutionRunState.COMPLETED)
    finally:
        worker.terminate()
        said = worker.communicate(timeout=120)[0].decode()
    assert "Traceback" not in said
    dataset.reload()
    assert dataset[sample].audit_status == "dismissed"


def test_a_delegated_mistake_is_in_the_failed_run(dataset_name: Callable[[str], str]) -> None:
    name = dataset_name("deleted before its turn")
    dataset = import_digits(name)
    queued = operator("audit_labels")(dataset, delegate=True, **SETTINGS)
    dataset.delete_sample_field("ground_truth")
    service = DelegatedOperationService()
    service.execute_queued_operations(limit=1)
    done = service.get(queued.result["id"])
    assert done.run_state == ExecutionRunState.FAILED
    assert "has no field with classifications; label some images first" in done.result.error


def test_an_audit_in_its_own_process_shows_its_progress_and_its_end(dataset_name: Callable[[str], str]) -> None:
    dataset = import_digits(dataset_name("own process"))
    assert operator("audit_labels")(dataset, own_process=True, **SETTINGS)["started"]
    with pytest.raises(InputError, match="is running already"):
        operator("audit_labels")(dataset, own_process=True, **SETTINGS)
    stages = set()

    def ended() -> bool:
        job = find_job(dataset, "audit")
        assert job is not None
        stages.add(job.stage)
        return job.state != RUNNING

    wait_until(ended)
    job = find_job(dataset, "audit")
    assert job is not None
    assert job.state == DONE, job.message
    assert "labels flagged" in job.message
    assert len(stages) > 1
    dataset.reload()
    assert dataset.get_run_info("audit").config.state == "complete"


# --- mistakes of the user -------------------------------------------------------------------------------------------


def test_mistakes_are_said_in_one_line(dataset: fo.Dataset, dataset_name: Callable[[str], str]) -> None:
    fo.Dataset(dataset_name("nothing in it"))
    empty = fo.load_dataset("nothing in it")
    sample = dataset.first().id
    one_class = dataset.match(F("ground_truth.label") == "2")
    expected: list[tuple[str, Callable[[], Any]]] = [
        ("label field 'nope' is not on dataset", lambda: operator("audit_labels")(dataset, "nope", "b")),
        ("has no field with classifications", lambda: operator("audit_labels")(empty)),
        ("there are no samples in what you chose", lambda: operator("audit_labels")(dataset.limit(0), audit_key="b")),
        ("an audit needs two or more", lambda: operator("audit_labels")(one_class, audit_key="b")),
        ("audit key '1 b' is no valid name", lambda: operator("audit_labels")(dataset, audit_key="1 b")),
        ("inject: value must be less than 0.5", lambda: operator("audit_labels")(dataset, audit_key="b", inject=0.9)),
        ("backbone 'x' is unknown", lambda: operator("audit_labels")(dataset, audit_key="b", backbone="x", more=True)),
        ("no samples were named", lambda: operator("confirm")(dataset)),
        ("the current view holds no samples", lambda: operator("confirm")(dataset.limit(0))),
        ("the new label is blank", lambda: operator("relabel")(dataset, [sample], label=" ")),
        ("has no label audit 'x'; it has: audit", lambda: operator("dismiss")(dataset, [sample], "x")),
        ("has no label audit yet", lambda: operator("undo_last_decision")(empty)),
        ("was not scored by this audit", lambda: operator("explain_sample")(dataset, "0" * 24)),
        ("neither .csv nor .json", lambda: operator("export_corrections")(dataset, "/tmp/x.xls")),
        ("has a run 'audit' already", lambda: operator("rename_audit")(dataset, "audit", "audit")),
    ]
    for message, call in expected:
        with pytest.raises(InputError) as error:
            call()
        assert message in str(error.value)
        assert "\n" not in str(error.value)


def test_missing_images_and_a_lost_result_are_said(dataset_name: Callable[[str], str], tmp_path: Path) -> None:
    dataset = import_digits(dataset_name("moved digits"))
    operator("audit_labels")(dataset, **SETTINGS)
    dataset.reload()
    folder = results_home(dataset, "audit")
    folder.rename(tmp_path / "moved")
    for name, arguments in (("explain_sample", (dataset.first().id,)), ("make_report", ())):
        with pytest.raises(InputError, match="any more; run the audit again"):
            operator(name)(dataset, *arguments)
    gone = fo.Dataset(dataset_name("gone digits"))
    gone.add_samples(
        [fo.Sample(f"/tmp/gone-{n}.png", ground_truth=fo.Classification(label="ab"[n % 2])) for n in range(10)]
    )
    with pytest.raises(InputError, match="none of the 10 images can be read"):
        operator("audit_labels")(gone, **SETTINGS)


def in_the_app(request: dict[str, Any], uri: str) -> foo.ExecutionContext:
    """What an operator gets when it is started in the App."""
    return foo.ExecutionContext({**request, "operator_uri": uri}, Executor(), operator_uri=uri)


def notifications(ctx: foo.ExecutionContext, outcome: Any) -> list[dict[str, Any]]:
    """What the App is told to say, by a generator or at once."""
    if isinstance(outcome, Iterator):
        list(outcome)
    requests = ctx.executor.to_json()["requests"]
    return [request["params"] for request in requests if request["operator_uri"] == "notify"]


def test_an_audit_can_be_stopped_and_leaves_the_dataset_as_it_was(audited: fo.Dataset) -> None:
    fields = list(audited.get_field_schema())
    found = operator("audit_labels")
    ctx = in_the_app({"dataset_name": audited.name, "params": {"audit_key": "other", **SETTINGS}}, found.uri)
    steps = found.execute(ctx)
    first = next(steps)
    assert "LabelAuditStop" in json.dumps(first.to_json())  # the dialog has a button
    operator("stop_audit")(audited, "other")
    said = notifications(ctx, steps)[-1]
    assert said["message"] == "audit 'other' was stopped; nothing was written"
    audited.reload()
    assert (audited.list_runs(), list(audited.get_field_schema())) == (["audit"], fields)
    with pytest.raises(InputError, match="no audit 'other' of dataset"):
        operator("stop_audit")(audited, "other")


def test_an_audit_in_its_own_process_can_be_stopped(audited: fo.Dataset) -> None:
    operator("audit_labels")(audited, audit_key="apart", own_process=True, **SETTINGS)
    job = find_job(audited, "apart")
    assert job is not None
    assert job.state == RUNNING
    operator("stop_audit")(audited, "apart")
    stopped = find_job(audited, "apart")
    assert stopped is not None
    assert (stopped.state, stopped.message) == (FAILED, "it was stopped")
    assert "apart" not in audited.list_runs()
    forget_job(audited, "apart")


def test_a_dataset_deleted_meanwhile_is_said_in_forms_and_by_operators() -> None:
    request = {"dataset_name": "deleted long ago", "params": {}}
    for found in foo.list_operators(builtin=False, type="operator"):
        if found.config.unlisted:  # it answers the review in the browser, which shows a mistake itself
            continue
        ctx = in_the_app(request, found.uri)
        form = found.resolve_type(ctx, "inputs").to_json()
        assert "was deleted meanwhile" in json.dumps(form)
        (said,) = notifications(ctx, found.execute(ctx))
        assert "was deleted meanwhile" in said["message"]
        assert said["variant"] == "error"


def test_every_operator_but_two_says_in_form_and_notification_that_there_is_no_audit(
    dataset_name: Callable[[str], str],
) -> None:
    name = dataset_name("no audit here")
    import_digits(name)
    for found in foo.list_operators(builtin=False, type="operator"):
        if found.name in ("audit_labels", "inject_mislabels") or found.config.unlisted:
            continue
        ctx = in_the_app({"dataset_name": name, "params": {"audit_key": "gone", "samples": ["0" * 24]}}, found.uri)
        assert "has no label audit yet" in json.dumps(found.resolve_type(ctx, "inputs").to_json())
        (said,) = notifications(ctx, found.execute(ctx))
        assert "has no label audit yet" in said["message"]


def test_mistakes_of_an_audit_in_the_app_are_notifications(dataset_name: Callable[[str], str]) -> None:
    gone = fo.Dataset(dataset_name("nothing to see"))
    gone.add_samples(
        [fo.Sample(f"/tmp/gone-{n}.png", ground_truth=fo.Classification(label="ab"[n % 2])) for n in range(10)]
    )
    expected = [
        ("audit_labels", {"label_field": "nope"}, "label field 'nope' is not on dataset"),
        ("audit_labels", {"audit_key": "1 b"}, "audit key '1 b' is no valid name"),
        ("audit_labels", {"inject": 0.9}, "inject is 0.9"),
        ("audit_labels", {**SETTINGS}, "none of the 10 images can be read"),
        ("inject_mislabels", {"label_field": "nope"}, "label field 'nope' is not on dataset"),
        ("inject_mislabels", {"share": 0.0}, "share is 0.0"),
        ("inject_mislabels", {"strategy": "class-pair", **SETTINGS}, "none of the 10 images can be read"),
        ("inject_mislabels", {"strategy": "most-influential"}, "has no label audit yet"),
    ]
    for name, params, message in expected:
        found = operator(name)
        ctx = in_the_app({"dataset_name": gone.name, "params": params}, found.uri)
        said = notifications(ctx, found.execute(ctx))[-1]
        assert message in said["message"]
        assert said["variant"] == "error"


def test_an_audit_by_an_older_version_is_shown_and_reviewed(dataset_name: Callable[[str], str]) -> None:
    dataset = import_digits(dataset_name("old audit"))
    write_result(dataset, made_up_result(dataset, inject=False))
    dataset.register_run("audit", dataset.get_run_info("audit").config, overwrite=True, cleanup=False)  # no results
    dataset.delete_sample_fields(["audit_corrected", "audit_original", "audit_decisions"])
    config = dataset.get_run_info("audit").config
    config.summary, config.audit_config = {}, {}
    dataset.update_run_config("audit", config)
    window = Window(dataset)
    window.event("on_load")
    flagged = len(dataset.load_saved_view("audit: flagged"))
    assert window.shows(f"##### {flagged}\\nflagged")
    (card, *_) = window.ask("queue", count=1)["cards"]
    decided = window.ask("decide", decisions=[{"action": "dismiss", "samples": [card["sample"]], "seen": ""}])
    assert decided["progress"]["statuses"]["dismissed"] == 1
    explained = window.ask("explain", samples=[card["sample"]])["explanations"][card["sample"]]
    assert "was not saved with the run; run the audit again" in explained["error"]
    with pytest.raises(InputError, match="run the audit again"):
        operator("make_report")(dataset)


# --- the panel ------------------------------------------------------------------------------------------------------


def test_an_event_reads_the_dataset_once_and_again_after_it_has_written(
    dataset: fo.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    window = Window(dataset)
    window.event("on_load")
    reads: list[str] = []
    read = fo.Dataset._reload

    def counted(self: fo.Dataset, hard: bool = False) -> None:
        reads.append(self.name)
        read(self, hard=hard)

    monkeypatch.setattr(fo.Dataset, "_reload", counted)
    window.event("move_threshold", value=0.4)
    assert len(reads) <= 1
    reads.clear()
    decided = [{"action": "dismiss", "samples": suspects(dataset)}]
    answer = window.ask("decide", decisions=decided)
    assert len(reads) <= 4  # `suspects` reads it, too
    assert answer["progress"]["statuses"]["dismissed"] >= 3


@pytest.mark.parametrize("event", ["poll_hand", "on_change_view"])
def test_an_event_before_the_panel_was_loaded_loads_it_first(dataset: fo.Dataset, event: str) -> None:
    window = Window(dataset)
    window.event(event)
    assert window.state.get("audit_key") == (None if event == "on_change_view" else "audit")
    assert window.shows("Most confused with") == (event != "on_change_view")  # it says nothing of an audit


def test_a_threshold_that_the_app_tells_before_the_panel_was_loaded_does_not_filter_the_grid(
    dataset: fo.Dataset,
) -> None:
    window = Window(dataset)
    window.event("move_threshold", value=0.5)
    assert window.view is None
    assert window.state["threshold"] == dataset.get_run_info("audit").config.summary["threshold"]


def test_the_panel_filters_the_grid_by_threshold_class_and_status(dataset: fo.Dataset) -> None:
    window = Window(dataset)
    window.event("on_load")
    window.event("move_threshold", value=0.3)
    above = dataset.match(F("audit_suspicion") >= 0.3).sort_by([("audit_suspicion", -1), ("id", 1)])
    assert window.shown_ids() == above.values("id")
    assert window.shows(f"of at least 0.30: {len(above)} samples")
    window.event("choose_class", row=0)
    label = window.state["class_label"]
    of_class = above.match(F("ground_truth.label") == label)
    assert window.shown_ids() == of_class.values("id")
    first, *others = of_class.values("id")
    operator("dismiss")(dataset, [first])
    window.event("toggle_unreviewed")
    assert sorted(window.shown_ids()) == sorted(others)  # the order of equal suspicions is the database's
    window.event("choose_class", row=0)
    assert len(window.shown_ids()) == len(above) - 1


def test_the_panel_takes_its_filters_from_the_view_that_is_in_the_grid(dataset: fo.Dataset) -> None:
    window = Window(dataset)
    window.event("on_load")
    stale = dict(window.state)
    window.event("move_threshold", value=0.3)
    window.event("choose_class", row=1)
    window.event("toggle_unreviewed")
    filtered = dict(window.state)
    names = ("threshold", "class_label", "only_unreviewed")
    window.state = stale  # as the App may send it when it tells of the view that the panel has just set
    window.event("on_change_view")
    assert {name: window.state[name] for name in names} == {name: filtered[name] for name in names}
    assert window.shows(f"class **{filtered['class_label']}**")
    for other in (dataset.match(F("ground_truth.label") == "1"), dataset.match(F("audit_suspicion") > 0.3)):
        window.view = other._serialize()
        window.event("on_change_view")
        assert (window.state["class_label"], window.state["only_unreviewed"]) == (None, False)
        assert window.state["threshold"] == filtered["threshold"]
        window.state = dict(filtered)


def test_a_panel_that_knows_the_former_audit_under_a_key_shows_the_one_that_is_there_now(
    dataset_name: Callable[[str], str],
) -> None:
    dataset = import_digits(dataset_name("audited again"))
    write_result(dataset, made_up_result(dataset, inject=False))
    window = Window(dataset)
    window.event("on_load")
    stale = dict(window.state)
    again = made_up_result(dataset, inject=False)
    estimates = replace(again.summary.estimates, mistakes=77.0, mistakes_low=75.0, mistakes_high=80.0, precision=0.61)
    again.summary = replace(again.summary, threshold=0.123, estimates=estimates)
    write_result(dataset, again)
    for event in ("changed", "poll_hand", "toggle_unreviewed"):
        window.state = dict(stale)  # the browser may lose what it was told, and say this after the next one, too
        window.event(event)
        assert window.state["threshold"] == 0.123
        assert window.shows("wrong labels, modelled")
        assert "\u00a077" in json.dumps(window.output, ensure_ascii=False)
        assert window.shows("threshold 0.12")
        assert "patch_panel_data" in window.triggered
    window.event("poll_hand")
    assert "patch_panel_data" not in window.triggered  # the figures are sent when they have changed


def test_a_decision_from_the_palette_is_told_to_the_panel_and_ends_the_selection(dataset: fo.Dataset) -> None:
    chosen = suspects(dataset)[:2]
    found = operator("dismiss")
    ctx = in_the_app({"dataset_name": dataset.name, "params": {}, "selected": chosen}, found.uri)
    assert found.execute(ctx)["count"] == 2
    done = {request["operator_uri"]: request["params"] for request in ctx.executor.to_json()["requests"]}
    assert f"{PLUGIN}/look_again" in done
    assert "clear_selected_samples" in done
    assert "reload_samples" in done


def test_a_label_that_is_typed_in_the_apps_own_editor_counts_as_a_decision(dataset: fo.Dataset) -> None:
    window = Window(dataset)
    window.event("on_load")
    sample = window.ask("queue", count=1)["cards"][0]["sample"]
    before = dataset[sample].ground_truth.label
    window.event("label_by_hand", sample=sample)
    assert window.triggered["open_sample"] == {"id": sample, "mode": "annotate"}
    assert "ground_truth" in dataset.active_label_schemas
    window.event("on_change_current_sample", current_sample=sample)
    assert window.state["by_hand"]["sample"] == sample  # it is being edited
    dataset.set_values("ground_truth.label", {sample: "by hand"}, key_field="id")
    window.event("on_change_current_sample")
    assert window.said[-1] == "1 sample relabelled."
    assert f"{PLUGIN}/look_again" in window.triggered
    progress = review_progress(dataset, "audit")
    assert (progress.statuses["relabelled"], progress.to_apply) == (1, 0)
    (entry,) = [entry for entry in decisions(dataset, "audit") if entry["undone_at"] is None]
    assert (entry["given"], entry["after"]["corrected"]) == (before, "by hand")
    window.event("label_by_hand", sample=sample)
    later = Window(dataset)  # the first one was closed meanwhile
    dataset.set_values("ground_truth.label", {sample: "again"}, key_field="id")
    later.event("on_load")
    assert later.said[-1] == "1 sample relabelled."
    assert later.state.get("by_hand") is None
    window.event("on_change_current_sample", current_sample=sample)
    window.event("on_change_current_sample")  # counted once
    assert window.state["by_hand"] is None
    assert review_progress(dataset, "audit").statuses["relabelled"] == 1
    dataset.set_values("ground_truth.label", {sample: before}, key_field="id")
    dataset.delete_label_schemas("ground_truth")
