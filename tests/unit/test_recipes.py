"""Settings that belong together: from the command line, from a file, and from Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import typer

from audit.config import RECIPES, AuditConfig
from audit.errors import InputError
from integrations.cli import add_subcommands
from integrations.cli.root import cli

add_subcommands()


def options(*given: str) -> dict[str, Any]:
    run = typer.main.get_command(cli).commands["run"]  # type: ignore[attr-defined]
    return dict(run.make_context("run", ["digits", *given]).params)


def test_the_original_recipe_is_one_option() -> None:
    found = options("--recipe", "original")
    assert {name: found[name] for name in RECIPES["original"]} == RECIPES["original"]
    assert (found["train_size"], found["validation_size"]) == (0.8, 0.1)
    config = AuditConfig(**RECIPES["original"])  # type: ignore[arg-type]
    assert config.validation_trusted
    assert config.inject_strategy == "most-influential"


def test_flags_and_the_file_override_a_recipe(tmp_path: Path) -> None:
    file = tmp_path / "audit.toml"
    file.write_text('inject = 0.2\nepochs = 10\ndamping = 0.01\nrecipe = "original"\n')
    for given in (("--config", str(file)), ("--recipe", "original", "--config", str(file)), ("--config", str(file))):
        found = options(*given, "--epochs", "20")
        assert (found["inject"], found["damping"], found["epochs"]) == (0.2, 0.01, 20)
        assert found["trainer"] == "adam"


def test_without_a_recipe_all_settings_are_the_defaults() -> None:
    found = options()
    assert {name: found[name] for name in RECIPES["original"]} == {
        name: getattr(AuditConfig(), name) for name in RECIPES["original"]
    }


def test_an_unknown_recipe_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="recipe is 'nope'; it takes original"):
        options("--recipe", "nope")
    file = tmp_path / "audit.toml"
    file.write_text('recipe = "nope"\n')
    with pytest.raises(InputError, match="recipe is 'nope'"):
        options("--config", str(file))
