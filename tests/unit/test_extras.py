"""What the installation brings, as pyproject.toml declares it and `audit.extras` says it."""

from __future__ import annotations

import re
import tomllib

import pytest

from audit import extras
from audit.errors import InputError
from audit.extras import EXTRAS, Extra, require
from tests import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def packages(requirements: list[str]) -> set[str]:
    return {re.split(r"[\[<>=; ]", requirement)[0] for requirement in requirements}


def test_each_extra_brings_its_package_and_the_core_brings_none_of_them() -> None:
    optional = PROJECT["optional-dependencies"]
    assert {*EXTRAS, "all", "dev"} == set(optional)
    core = packages(PROJECT["dependencies"])
    for name, extra in EXTRAS.items():
        assert extra.package in packages(optional[name])
        assert extra.package not in core
    assert optional["all"] == [f"influence-audit[{','.join(EXTRAS)}]"]


def test_the_versions_of_python_are_the_same_everywhere() -> None:
    versions = {name.removeprefix("Programming Language :: Python :: ") for name in PROJECT["classifiers"]}
    assert versions >= {"3.11", "3.12", "3.13"}
    assert PROJECT["requires-python"] == ">=3.11,<3.14"
    for requirement in PROJECT["optional-dependencies"]["pydvl"]:
        assert requirement.endswith("; python_version < '3.13'")
    assert EXTRAS["pydvl"].before == (3, 13)


def test_the_types_of_every_package_are_declared() -> None:
    for package in ("audit", "integrations", "reports"):
        assert (ROOT / package / "py.typed").is_file()


def test_an_extra_that_this_python_cannot_have_is_not_said_to_be_installable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(extras.EXTRAS, "old", Extra("old", "old-package", ("no_such_module",), before=(3, 9)))
    with pytest.raises(InputError) as refused:
        require("old", "this", "do without")
    assert str(refused.value) == (
        "this needs the extra 'old' (the module 'no_such_module' is not installed); use Python 3.8 or earlier, "
        "or do without"
    )
