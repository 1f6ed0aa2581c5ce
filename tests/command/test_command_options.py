"""What `run` is asked for: in a file, in the environment, by flags; for one dataset or several; or for a try."""

from __future__ import annotations

import json
import os
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

import fiftyone as fo
import pytest

from audit.config import AuditConfig
from audit.result import AuditResult
from audit.summary.schema import summary_from_json
from integrations.cli.options_file import option_kinds, read_options_file
from integrations.cli.run import run
from reports.index import IndexEntry, write_index
from tests.command.forked_command import forked_command
from tests.one_line import error_line

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.usefixtures("no_dataset_stays")
DIGITS = 'weights = "bundled"\nsource = "digits"\n'


def test_later_layers_win_and_a_bad_value_says_where_it_is_from(tmp_path: Path) -> None:
    (tmp_path / "audit.toml").write_text(DIGITS + "inject = 0.9\n")
    file = forked_command("run", "--config", "audit.toml", cwd=tmp_path)
    assert "inject is 0.9" in error_line(file.stderr)
    assert "(in audit.toml)" in file.stderr
    environment = forked_command("run", "--config", "audit.toml", cwd=tmp_path, INFLUENCE_AUDIT_INJECT="0.8")
    assert "inject is 0.8" in error_line(environment.stderr)
    assert "(environment variable INFLUENCE_AUDIT_INJECT)" in environment.stderr
    by_name = {"INFLUENCE_AUDIT_INJECT": "0.8", "INFLUENCE_AUDIT_CONFIG": "audit.toml"}
    flag = forked_command("run", "--inject", "0.7", cwd=tmp_path, **by_name)
    assert error_line(flag.stderr).endswith("inject is 0.7; it takes a share from 0 to 0.5")
    typo = forked_command("run", "digits", cwd=tmp_path, INFLUENCE_AUDIT_SEED="x")
    assert "(environment variable INFLUENCE_AUDIT_SEED)" in error_line(typo.stderr)
    assert {done.returncode for done in (file, environment, flag, typo)} == {2}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sede = 1", "audit.toml: there is no option 'sede'; did you mean 'seed'?"),
        ("seed = 1.5", "audit.toml: seed is 1.5; it takes a whole number"),
        ("seed = true", "audit.toml: seed is True; it takes a whole number"),
        ('use_splits = "yes"', "audit.toml: use_splits is 'yes'; it takes true or false"),
        ("label_field = [1]", "audit.toml: label_field is [1]; it takes a text in quotes, or a list of them"),
        ("seed =", "config file 'audit.toml' is not TOML"),
        ('[audit]\nsource = "digits"', "'audit' is not a list of tables"),
        ('[[audit]]\nsuorce = "digits"', "[[audit]] number 1: there is no option 'suorce'; did you mean 'source'?"),
        (
            '[[audit]]\nsource = "digits"\noutput = "x"',
            "output applies to all audits of a call; move it above the first",
        ),
        ('[[audit]]\nsource = "digits"\ntrainer = "sgd"', "trainer is 'sgd'; it takes one of newton, adam (in an"),
        ("seed = 1", "no source was given"),
        ('source = "digits"\nfail_above = nan', "--fail-above is nan; it takes a share of the labels"),
        ('source = "digits"\noutput = "audit.toml/x"', "audit.toml: Not a directory"),
    ],
)
def test_a_mistake_in_the_file_is_one_line_that_names_it(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "audit.toml").write_text(text)
    done = forked_command("run", "--config", "audit.toml", cwd=tmp_path)
    assert done.returncode == 2
    assert message in error_line(done.stderr)


def test_the_printed_file_has_every_option_with_its_default_and_what_it_means(tmp_path: Path) -> None:
    done = forked_command("config", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    options = re.findall(r"^#([a-z_0-9]+) = ", done.stdout, re.MULTILINE)
    assert set(options) == set(option_kinds(run))
    assert set(AuditConfig().to_dict()) < set(options)
    for meaning in ("Where to compute: 'auto', 'cpu', 'cuda' or 'cuda:N'.", "[[audit]]"):
        assert meaning in done.stdout
    set_ones = [line[1:] for line in done.stdout.splitlines() if re.match(r"#[a-z_0-9]+ = +[^ #]", line)]
    path = tmp_path / "audit.toml"
    path.write_text("\n".join(set_ones))
    values = read_options_file(path, run).options
    assert values == tomllib.loads(path.read_text())
    defaults = AuditConfig().to_dict()
    assert {name: value for name, value in values.items() if name in defaults} == {
        name: value for name, value in defaults.items() if value is not None
    }


def test_a_dry_run_says_what_would_be_done_and_does_none_of_it(tmp_path: Path) -> None:
    before = fo.list_datasets()
    arguments = ("digits", "--keep-labels", "3,8", "--weights", "bundled", "--inject", "0.1", "--dry-run")
    fresh = {"INFLUENCE_AUDIT_CACHE": str(tmp_path / "cache")}
    done = forked_command("run", *arguments, "--json", "--dataset", "dry", cwd=tmp_path, **fresh)
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    assert plan["classes"] == {"3": 183, "8": 174}
    assert sum(plan["splits"].values()) == plan["samples"] == 357
    assert (plan["backbone"], plan["weights"], plan["cached_share"]) == ("resnet18", "bundled", 0.0)
    assert plan["output"] == os.path.join("audit-results", "dry", "audit")
    assert {"audit_suspicion", "audit_injected"} <= set(plan["fields"])
    assert plan["embedding_seconds"] == pytest.approx(357 / plan["images_per_second"])
    assert 0.5e9 < plan["memory_bytes"] < 4e9
    assert not list(tmp_path.iterdir())
    assert fo.list_datasets() == before
    refused = forked_command("run", "digits", "--keep-labels", "3", "--dry-run", cwd=tmp_path)
    assert "fewer than two classes" in error_line(refused.stderr)


def test_one_failure_in_a_batch_shows_and_does_not_stop_the_rest(tmp_path: Path, browser: Browser) -> None:
    (tmp_path / "audit.toml").write_text(
        'weights = "bundled"\nseed = 3\n'
        '[[audit]]\nsource = "digits"\nkeep_labels = "3,8"\ndataset = "batch-38"\n'
        '[[audit]]\nsource = "no-such-source"\n'
        '[[audit]]\nsource = "digits"\nkeep_labels = "1,7"\ndataset = "batch-17"\nseed = 4\n'
        '[[audit]]\nsource = "fiftyone:batch-17"\nseed = 5\n'
    )
    done = forked_command("run", "--config", "audit.toml", "--json", "-o", "results", cwd=tmp_path)
    assert done.returncode == 4
    audits = json.loads(done.stdout)["audits"]
    assert [audit["exit_code"] for audit in audits] == [0, 2, 0, 2]
    assert "no-such-source" in audits[1]["error"]
    assert "'batch-17' was already audited under 'audit' in this call" in audits[3]["error"]
    assert [audit["summary"]["config"]["seed"] for audit in (audits[0], audits[2])] == [3, 4]
    results = tmp_path / "results"
    assert AuditResult.load(results / "batch-17" / "audit").summary == summary_from_json(
        json.dumps(audits[2]["summary"]).encode()
    )
    page = browser.new_page()
    messages: list[str] = []
    page.on("console", lambda message: messages.append(message.text))
    page.goto((results / "index.html").as_uri())
    assert "2 of 4 audits failed" in page.locator("h1").inner_text()
    rows = page.locator("#audits tbody tr")
    assert rows.count() == 4
    assert "no-such-source" in rows.nth(1).inner_text()
    links = page.locator("#audits a").evaluate_all("links => links.map(link => link.getAttribute('href'))")
    assert [(results / unquote(link)).is_file() for link in links] == [True, True]
    page.close()
    assert messages == []


def test_several_label_fields_of_one_dataset_are_audited_side_by_side(tmp_path: Path) -> None:
    made = forked_command(
        "run", "digits", "--keep-labels", "3,8", "--dataset", "fields", "--weights", "bundled", "-q", cwd=tmp_path
    )
    assert made.returncode == 0, made.stderr
    dataset = fo.load_dataset("fields")
    dataset.clone_sample_field("ground_truth", "second")
    arguments = ("fiftyone:fields", "--label-field", "ground_truth", "--label-field", "second", "--weights", "bundled")
    done = forked_command("run", *arguments, "--fail-above", "0.9", "-q", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    dataset.reload()
    assert {"audit", "audit_ground_truth", "audit_second"} == set(dataset.list_runs())
    assert (tmp_path / "audit-results" / "index.html").is_file()
    folders = {path.parent.name for path in (tmp_path / "audit-results" / "fields").glob("*/report.html")}
    assert folders == {"audit", "audit_ground_truth", "audit_second"}


def test_names_in_the_index_page_are_text(tmp_path: Path, browser: Browser) -> None:
    name = '<script>alert("1")</script> ‮ 🐱' + "x" * 300
    entries = [IndexEntry(name, name, "audit", 1, error=f"failed: {name}")]
    path = write_index(entries, tmp_path / "index.html")
    page = browser.new_page(viewport={"width": 400, "height": 800})
    page.goto(path.as_uri())
    assert page.locator("script").count() == 1
    assert name[:20] in page.locator("#audits").inner_text()
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    page.close()
