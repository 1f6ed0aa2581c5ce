"""The documents: they are short, name what exists, and their code runs."""

from __future__ import annotations

import ast
import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
import yaml
from sklearn.datasets import load_digits
from sklearn.metrics import average_precision_score

import audit
from audit.config import AuditConfig
from audit.data.injection import inject_mislabels
from audit.result import SCORE_MEANINGS
from integrations.cli import add_subcommands, options_file, run
from integrations.cli.exit_codes import EXIT_CODES
from integrations.cli.root import cli
from tests import ROOT

add_subcommands()

README = ROOT / "README.md"
DOCUMENTS = (README, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md")))
MOST_WORDS, LONGEST_SENTENCE = 900, 30
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.S | re.M)
INLINE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
PLACEHOLDER = "COMMAND"

every_document = pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)


def blocks(path: Path, language: str) -> list[str]:
    return [code for of, code in FENCED.findall(path.read_text(encoding="utf-8")) if of == language]


def in_backticks(path: Path) -> list[str]:
    return INLINE.findall(FENCED.sub("", path.read_text(encoding="utf-8")))


def prose_of(path: Path) -> str:
    """A document without code, tables and pictures."""
    text = FENCED.sub(" ", path.read_text(encoding="utf-8"))
    return re.sub(r"^\|[^\n]*$|!\[[^\]]*\]\([^)]*\)|<[^>\n]+>", " ", text, flags=re.M)


def sentences_of(prose: str) -> Iterator[str]:
    for paragraph in re.split(r"\n\s*\n|\n(?=\s*(?:[-*#]|\d+\.)\s)", prose):
        yield from re.split(r"(?<=[.!?:])\s+", " ".join(paragraph.split()))


def command_lines(path: Path) -> list[str]:
    """Every call of the command in a document: in blocks, in workflows, and in running text."""
    lines = [line.strip() for _, code in FENCED.findall(path.read_text(encoding="utf-8")) for line in code.splitlines()]
    lines += in_backticks(path)
    lines = [line.removeprefix("- run: ").removeprefix("$ ") for line in lines]
    return [line for line in lines if re.match(r"influence-audit( |$)", line)]


def anchors_of(path: Path) -> set[str]:
    """The headings of a document as links name them."""
    headings = re.findall(r"^#+ (.*)$", FENCED.sub("", path.read_text(encoding="utf-8")), flags=re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_readme_is_short() -> None:
    assert len(prose_of(README).split()) <= MOST_WORDS


@every_document
def test_sentences_are_short(path: Path) -> None:
    assert not [sentence for sentence in sentences_of(prose_of(path)) if len(sentence.split()) > LONGEST_SENTENCE]


@every_document
def test_links_lead_somewhere(path: Path) -> None:
    for target in LINK.findall(FENCED.sub("", path.read_text(encoding="utf-8"))):
        if re.match(r"\w+:", target):
            continue
        file, _, anchor = target.partition("#")
        linked = path.parent / file if file else path
        assert linked.exists(), f"{path.name} links to {target}"
        assert not anchor or anchor in anchors_of(linked), f"{path.name} links to {target}"


def test_the_readme_links_every_document() -> None:
    linked = {(README.parent / target.partition("#")[0]).resolve() for target in LINK.findall(README.read_text())}
    assert {path for path in DOCUMENTS if path != README} <= linked


@every_document
def test_files_that_are_named_exist(path: Path) -> None:
    words = " ".join(blocks(path, "bash")).split()
    for name in (*in_backticks(path), *words):
        if re.fullmatch(r"(audit|integrations|reports|tests|docs|\.ci)/[\w./-]*", name):
            assert (ROOT / name).exists(), f"{path.name} names {name}"


WHERE_TO_FIND = {
    "the stage that chooses the threshold": r"def choose_flags\(",
    "the name of the field that the flag is written to": r'AuditField\("flag"',
    "the text of the verdict": r"def headline\(",
    "the key that dismisses a sample": r"KeyD",
    "the exit code 3": r"ABOVE_LIMIT.* = (range|3)",
    "the place where a CSV is read": r"\.csv",
    "the number of neighbours that vote, and its bounds": r"NeighbourSettings:",
    "the cautions": r"def cautions\(",
}
"""What a reader looks for, and what the file has that the architecture names for it, in its last backticks."""


@pytest.mark.parametrize("question", WHERE_TO_FIND)
def test_the_architecture_says_where_to_find(question: str) -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    (answer,) = re.findall(rf"^\| {re.escape(question)} \| (.*) \|$", text, flags=re.M)
    file = INLINE.findall(answer)[-1]
    assert re.search(WHERE_TO_FIND[question], (ROOT / file).read_text(encoding="utf-8")), f"not in {file}: {question}"


@every_document
def test_modules_that_are_named_exist(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    modules = set(re.findall(r"python -m (tests\.[\w.]+)", text))
    modules |= {".".join(name.split(".")[:2]) for name in re.findall(r"`((?:integrations|reports)\.\w[\w.]*)`", text)}
    modules |= {".".join(name.split(".")[:3]) for name in re.findall(r"`(audit\.\w+\.\w[\w.]*)`", text)}
    for code in blocks(path, "python"):
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.ImportFrom):
                modules.add(str(node.module))
            elif isinstance(node, ast.Import):
                modules |= {alias.name for alias in node.names}
    for module in modules:
        assert importlib.util.find_spec(module), f"{path.name} names {module}"


@every_document
def test_targets_of_make_exist(path: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.M))
    text = "\n".join((*in_backticks(path), *blocks(path, "bash")))
    assert set(re.findall(r"^make ([a-z-]+)", text, flags=re.M)) <= targets


@every_document
def test_commands_have_the_options_that_are_named(path: Path) -> None:
    group: Any = typer.main.get_command(cli)
    for line in command_lines(path):
        words = shlex.split(line.split(" > ")[0], comments=True)[1:]
        command, known = group, True
        while known and words and not words[0].startswith("-") and hasattr(command, "commands"):
            known = words[0] in command.commands or words[0] == PLACEHOLDER
            assert known, f"{path.name} names `{line}`"
            name = words.pop(0)
            command = command.commands["run" if name == PLACEHOLDER else name]
        parser = command.make_parser(command.context_class(command))
        _, extra, _ = parser.parse_args(words)
        assert not extra, f"{path.name} names `{line}`, and {extra} are too many"


@every_document
def test_environment_variables_that_are_named_are_read(path: Path) -> None:
    options = {options_file.environment_name(option) for option in options_file.option_kinds(run.run)}
    code = "\n".join(
        file.read_text() for room in ("audit", "integrations", "tests") for file in (ROOT / room).rglob("*.py")
    )
    for name in re.findall(r"INFLUENCE_AUDIT_[A-Z_]+", path.read_text(encoding="utf-8")):
        assert name in options or f'"{name}"' in code, f"{path.name} names {name}"


def test_the_options_file_of_the_guide_is_read(tmp_path: Path) -> None:
    (options,) = blocks(ROOT / "docs" / "guide.md", "toml")
    file = tmp_path / "audit.toml"
    file.write_text(options)
    assert len(options_file.read_options_file(file, run.run).audits) == 2


def test_the_exit_codes_are_those_of_the_command() -> None:
    text = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| (.*) \|$", text, flags=re.M)
    assert {int(code): meaning for code, meaning in rows} == EXIT_CODES


def test_the_workflow_installs_caches_and_has_a_gate() -> None:
    (workflow,) = blocks(ROOT / "docs" / "ci.md", "yaml")
    steps = yaml.safe_load(workflow)["jobs"]["audit"]["steps"]
    commands = [step["run"] for step in steps if "run" in step]
    assert any(command.startswith("pip install") for command in commands)
    assert any("--weights bundled" in command and "--fail-above" in command for command in commands)
    assert any(step.get("uses", "").startswith("actions/cache@") for step in steps)


def test_every_score_and_field_is_explained() -> None:
    explained = (ROOT / "docs" / "scores.md").read_text(encoding="utf-8")
    fields = (ROOT / "integrations" / "fiftyone" / "fields.py").read_text(encoding="utf-8")
    suffixes = re.findall(r"AuditField\(\s*\"(\w+)\"", fields)
    assert len(suffixes) > len(SCORE_MEANINGS) / 2
    missing = [
        name for name in (*SCORE_MEANINGS, *(f"audit_{suffix}" for suffix in suffixes)) if f"`{name}`" not in explained
    ]
    assert not missing


def average_precision(scores: np.ndarray, wrong: np.ndarray) -> float:
    return float(average_precision_score(wrong, scores))


@pytest.mark.parametrize(("share", "strategy"), [(0.1, "uniform"), (0.2, "class-pair")])
def test_the_method_in_numpy_ranks_as_the_audit_does(share: float, strategy: str) -> None:
    (code,) = blocks(ROOT / "docs" / "method.md", "python")
    method: dict[str, Any] = {}
    exec(compile(code, "docs/method.md", "exec"), method)
    images, digits = load_digits(return_X_y=True)
    rows = np.flatnonzero(digits < 6)[:400]
    x, truth = images[rows], digits[rows]
    labels = inject_mislabels(truth, 6, share, strategy, seed=0, embeddings=x)
    in_numpy = average_precision(method["suspicion"](x, labels), labels != truth)
    audited = audit.audit_embeddings(x, labels, config=AuditConfig())
    ours = average_precision(audited.scores["suspicion"].to_numpy(), labels != truth)
    assert in_numpy > 0.9
    assert abs(in_numpy - ours) <= 0.05
