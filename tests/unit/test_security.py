"""No code runs that came with data, nothing leaves its folder or this machine, and hostile input is refused."""

from __future__ import annotations

import ast
import json
import os
import pickle
import re
import shutil
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import audit
from audit.config import AuditConfig
from audit.data.left_out import label_array
from audit.errors import InputError
from audit.result import _TABLES, AuditResult
from audit.summary.counts import Finding
from audit.summary.surroundings import AuditedDataset
from tests import ROOT
from tests.one_line import one_line

PACKAGES = ("audit", "integrations", "reports")
FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def sources() -> Iterator[Path]:
    for package in PACKAGES:
        yield from (ROOT / package).rglob("*.py")


# --- what is loaded -------------------------------------------------------------------------------------------------


def test_no_code_of_ours_loads_a_pickle_or_runs_text() -> None:
    forbidden = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "jsonpickle"}
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names: set[str] = set()
            if isinstance(node, ast.Import):
                names = {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names = {(node.module or "").split(".")[0]}
            assert not names & forbidden, path
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            options = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            assert called not in ("eval", "exec", "os.system", "pd.read_pickle", "np.fromfile"), path
            assert options.get("allow_pickle", "False") == "False", path
            assert options.get("shell", "False") == "False", path
            if called in ("torch.load", "torch.hub.load_state_dict_from_url"):
                assert options["weights_only"] == "True", path
            if called == "np.load":
                assert options["allow_pickle"] == "False", path


def test_the_linter_keeps_it_so() -> None:
    lint = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]["lint"]
    assert "S" in lint["select"]
    assert not {rule for rule in lint["ignore"] if rule.startswith("S")} - {"S101", "S603", "S607"}


def saved(folder: Path) -> Path:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 3, 90)
    x = generator.normal(size=(90, 5)) + 3 * np.eye(3, 5)[labels]
    names = np.array(["cat", "dog", "fox"])[labels]
    result = audit.audit_embeddings(x, names)
    source = AuditedDataset(dataset="d", slug="d", label_field="l", audit_key="audit", source="s")
    result.summary = replace(result.summary, source=source)
    return result.save(folder)


@pytest.fixture(scope="module")
def result_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("saved") / "result")


READ = ("summary.json", "manifest.json", "heads.safetensors", *(f"{name}.parquet" for name in _TABLES))


@FUZZ
@given(data=st.data())
def test_a_result_folder_with_any_byte_changed_is_refused_in_one_line(
    data: st.DataObject, result_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "changed"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(result_folder, folder)
    path = folder / data.draw(st.sampled_from(READ))
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] ^= data.draw(st.integers(1, 255))
    else:
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    path.write_bytes(content)
    try:
        loaded = AuditResult.load(folder)
    except InputError as error:
        one_line(error)
    else:
        # White space in JSON is the one change that changes nothing.
        assert path.name == "manifest.json"
        assert loaded.summary == AuditResult.load(result_folder).summary


def test_files_of_two_audits_do_not_make_one(result_folder: Path, tmp_path: Path) -> None:
    other = saved(tmp_path / "other")
    scores = pd.read_parquet(other / "scores.parquet")
    scores["suspicion"] = 0.25
    scores.to_parquet(other / "scores.parquet")
    with pytest.raises(InputError, match=r"scores.parquet is not what was saved"):
        AuditResult.load(other)


def test_a_pickle_in_place_of_any_file_of_a_result_is_not_run(result_folder: Path, tmp_path: Path) -> None:
    class Touch:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return os.system, (f"touch {tmp_path / 'run'}",)

    for name in READ:
        folder = tmp_path / name.replace(".", "-")
        shutil.copytree(result_folder, folder)
        (folder / name).write_bytes(pickle.dumps(Touch()))
        with pytest.raises(InputError):
            AuditResult.load(folder)
    assert not (tmp_path / "run").exists()


def test_heads_whose_shapes_do_not_fit_are_refused_though_their_digest_is_right(tmp_path: Path) -> None:
    folder = saved(tmp_path / "result")
    result = AuditResult.load(folder)
    result.heads["given"]["weight"] = result.heads["given"]["weight"][:, :-1]
    result.save(folder)
    with pytest.raises(InputError, match="the arrays of head 'given' have the wrong shapes"):
        AuditResult.load(folder)


# --- settings, labels -----------------------------------------------------------------------------------------------

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | st.binary(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)
SETTINGS = sorted(AuditConfig().to_dict())


@settings(max_examples=400, deadline=None)
@given(st.dictionaries(st.sampled_from(SETTINGS) | st.text(max_size=10), ANYTHING, max_size=4))
def test_settings_are_valid_or_refused_in_one_line_that_names_one(given_settings: dict[str, Any]) -> None:
    try:
        config = AuditConfig.from_dict(given_settings)
    except InputError as error:
        one_line(error)
        return
    json.dumps(config.to_dict(), allow_nan=False)
    assert AuditConfig.from_dict(config.to_dict()) == config


TOML_VALUES = st.one_of(
    st.integers(-(10**6), 10**6),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
    st.text(st.characters(min_codepoint=32, max_codepoint=0x2FFF, exclude_characters='"\\'), max_size=8),
)


@FUZZ
@given(
    st.one_of(
        st.binary(max_size=60),
        st.text(max_size=60).map(lambda text: text.encode(errors="replace")),
        st.dictionaries(st.sampled_from([*SETTINGS, "source", "audit", "audit_key"]), TOML_VALUES, max_size=4).map(
            lambda table: "\n".join(
                f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in table.items()
            ).encode()
        ),
    )
)
def test_a_config_file_of_any_content_is_read_or_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    from integrations.cli.options_file import read_options_file
    from integrations.cli.run import run

    path = tmp_path / "audit.toml"
    path.write_bytes(content)
    try:
        options = read_options_file(path, run)
    except InputError as error:
        one_line(error)
        return
    try:
        AuditConfig.from_dict({name: value for name, value in options.options.items() if name in SETTINGS})
    except InputError as error:
        one_line(error)


@FUZZ
@given(st.lists(ANYTHING, max_size=8))
def test_labels_of_any_kind_are_understood_or_refused_in_one_line(labels: list[Any]) -> None:
    try:
        values, missing = label_array(labels)
    except InputError as error:
        one_line(error)
        return
    assert values.shape == missing.shape == (len(labels),)
    assert values.dtype.kind in "iub" or all(isinstance(value, str) for value in values)


# --- pages ----------------------------------------------------------------------------------------------------------


def test_every_page_has_a_policy_that_lets_nothing_in_and_escapes_what_it_shows(
    result_folder: Path, tmp_path: Path
) -> None:
    from reports import compare, page
    from reports.html import render_report

    assert page.environment().autoescape is True
    templates = ROOT / "reports" / "templates"
    for template in templates.rglob("*.j2"):
        text = template.read_text(encoding="utf-8")
        assert "|safe" not in text.replace(" ", "")
        assert "autoescape false" not in text
        if "<head>" in text:
            assert '<meta http-equiv="Content-Security-Policy" content="{{ policy }}">' in text
            assert text.index("Content-Security-Policy") < text.index("<title>")
    assert compare
    policy = page.policy(["alert(1)"], "p {}")
    directives = {part.split()[0]: part.split()[1:] for part in policy.split(";")}
    assert directives["default-src"] == ["'none'"]
    assert directives["img-src"] == ["data:"]
    assert directives["base-uri"] == directives["form-action"] == ["'none'"]
    for name in ("script-src", "style-src"):
        assert all(re.fullmatch(r"'sha256-[\w+/=]+'", source) for source in directives[name])
    assert "unsafe" not in policy
    assert "http" not in policy
    result = AuditResult.load(result_folder)
    attack = "<img src=x onerror=alert(1)>"
    finding = Finding(kind="class-names", findings=1, samples=1, meaning=attack, examples=(attack,))
    result.summary = replace(result.summary, notes=(attack,), findings=(finding,))
    result.findings = pd.DataFrame({"kind": ["class-names"], "finding": [0], "id": [attack], "detail": [attack]})
    result.skipped = pd.DataFrame({"id": [attack], "filepath": [attack], "reason": [attack]})
    assert attack not in render_report(result)
