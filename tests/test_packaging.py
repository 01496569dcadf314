"""What a user installs: the wheel and the source archive, built here and tried away from the checkout."""

import os
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ["tandem", "retriever", "ingest", "analysis"]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def run(*command: str | Path, cwd: Path) -> str:
    """Run `command` in `cwd`, without the caller's `PYTHONPATH`, and return what it prints."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    process = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert process.returncode == 0, f"{command}\n{process.stdout}\n{process.stderr}"
    return process.stdout


def files_of_the_packages() -> set[str]:
    """Return all files that the packages hold in the checkout: modules, `py.typed`, data."""
    paths = [path for package in PACKAGES for path in (ROOT / package).rglob("*") if path.is_file()]
    return {path.relative_to(ROOT).as_posix() for path in paths if "__pycache__" not in path.parts}


@dataclass(frozen=True, kw_only=True)
class Built:
    wheel: Path
    sdist: Path


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Build the source archive, and the wheel from that archive, as an index or a packager would."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, cwd=ROOT)
    [wheel], [sdist] = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return Built(wheel=wheel, sdist=sdist)


def test_the_wheel_holds_the_four_packages_whole_and_nothing_else(built: Built) -> None:
    with zipfile.ZipFile(built.wheel) as wheel:
        names = {name for name in wheel.namelist() if not name.endswith("/")}
    about = {name for name in names if name.startswith(f"tandem_rag-{VERSION}.dist-info/")}
    assert names - about == files_of_the_packages()
    assert {f"{package}/py.typed" for package in PACKAGES} <= names
    assert f"tandem_rag-{VERSION}.dist-info/licenses/LICENSE" in about


def test_the_wheel_is_for_every_machine(built: Built) -> None:
    assert built.wheel.name == f"tandem_rag-{VERSION}-py3-none-any.whl"


def test_the_source_archive_holds_the_packages_and_what_explains_them(built: Built) -> None:
    with tarfile.open(built.sdist) as archive:
        names = {name.removeprefix(f"tandem_rag-{VERSION}/") for name in archive.getnames()}
    assert files_of_the_packages() <= names
    assert {"pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE", "PKG-INFO"} <= names
    assert [
        name for name in names if name.startswith((".venv", ".git/", "dist/")) or "__pycache__" in name
    ] == []


@pytest.fixture(scope="module")
def installed(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel into an environment of its own, which borrows the dependencies from this one."""
    venv = tmp_path_factory.mktemp("installed")
    run(sys.executable, "-m", "venv", "--without-pip", venv, cwd=venv)
    python = venv / "bin/python"
    pip = [sys.executable, "-m", "pip", "--python", python]
    run(*pip, "install", "--quiet", "--no-deps", "--no-index", built.wheel, cwd=venv)
    # Only now, or pip would find the package installed already. A folder named in a .pth file comes after the
    # environment's own, and the .pth files in it, an editable installation's among them, are not read.
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=venv).strip())
    borrowed = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (site / "borrowed.pth").write_text("".join(f"{folder}\n" for folder in sorted(borrowed)))
    return venv


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_is_imported_from_the_wheel(installed: Path, package: str, tmp_path: Path) -> None:
    file = run(installed / "bin/python", "-c", f"import {package}; print({package}.__file__)", cwd=tmp_path)
    assert Path(file.strip()).is_relative_to(installed)


@pytest.mark.parametrize("command", ["tandem", "ingest"])
def test_a_command_of_the_wheel_explains_itself(installed: Path, command: str, tmp_path: Path) -> None:
    assert "Usage" in run(installed / "bin" / command, "--help", cwd=tmp_path)


def test_the_installed_version_is_that_of_the_project(installed: Path, tmp_path: Path) -> None:
    code = "import importlib.metadata; print(importlib.metadata.version('tandem-rag'))"
    assert run(installed / "bin/python", "-c", code, cwd=tmp_path).strip() == VERSION
