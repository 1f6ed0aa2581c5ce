"""The plugin's folder as FiftyOne reads it after a download: definition, requirements, and what it says when alone."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from integrations.fiftyone.plugin_install import PLUGIN, SOURCE
from tests import ROOT

DEFINITION = """
import json, fiftyone.plugins as fop
plugin = fop.get_plugin({name!r})
fop.ensure_plugin_compatibility(plugin.name, error_level=0)
fop.ensure_plugin_requirements(plugin.name, error_level=0)
names = ("directory", "author", "version", "license", "description", "tags", "url", "operators", "has_py", "has_js")
found = {{name: getattr(plugin, name) for name in names}}
print(json.dumps(found | {{"requirements": fop.load_plugin_requirements(plugin.name)}}))
"""
WITHOUT_PACKAGE = """
import json, sys
for name in ("audit", "integrations", "reports"):
    sys.modules[name] = None
import fiftyone.operators as foo
print(json.dumps(foo.OperatorRegistry().list_errors()))
"""


@pytest.fixture
def plugins(tmp_path: Path) -> Path:
    """A plugins folder with a copy of the plugin, as a download leaves it."""
    shutil.copytree(SOURCE, tmp_path / "plugins" / PLUGIN, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "plugins"


def printed(code: str, plugins: Path) -> Any:
    environment = {**os.environ, "FIFTYONE_PLUGINS_DIR": str(plugins)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_fiftyone_reads_the_definition_and_finds_the_requirements_met(plugins: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found = printed(DEFINITION.format(name=PLUGIN), plugins)
    assert Path(found["directory"]) == plugins / PLUGIN
    assert found["version"] == project["version"]
    assert found["license"] == project["license"]
    assert found["author"]
    assert found["description"]
    assert len(found["tags"]) == len(set(found["tags"])) >= 3
    assert found["url"] is None  # none is known yet
    assert found["has_py"]
    assert found["has_js"]
    (requirement,) = found["requirements"]
    assert requirement.startswith(project["name"])


def test_the_readme_names_every_operator_and_none_that_is_not_there() -> None:
    text = (SOURCE / "README.md").read_text()
    rows = "".join(line.split("|")[1] for line in text.splitlines() if line.startswith("| `"))
    assert sorted(re.findall(r"`(\w+)`", rows)) == sorted(
        yaml.safe_load((SOURCE / "fiftyone.yml").read_text())["operators"]
    )


def test_without_the_package_the_plugin_says_what_to_install(plugins: Path) -> None:
    (error,) = printed(WITHOUT_PACKAGE, plugins)
    assert "the plugin needs the package influence-audit" in error
    assert error.rstrip().endswith("install it into the Python that runs FiftyOne")


def test_lines_of_the_browsers_side_are_as_short_as_those_of_python() -> None:
    files = sorted(SOURCE.rglob("*.js"))
    assert len(files) > 5
    long = [(path.name, line) for path in files for line in path.read_text().splitlines() if len(line) > 120]
    assert long == []
