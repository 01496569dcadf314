"""The two commands of a fresh checkout, scripts/demo and scripts/test, and the environment that they make.

A stand-in for Python records what it is asked for and makes just enough of an environment: nothing is
installed here.
"""

import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
SCRIPTS = [ROOT / "scripts/_environment", ROOT / "scripts/demo", ROOT / "scripts/test", ROOT / ".ci/run"]
COMMANDS = [script for script in SCRIPTS if script.name != "_environment"]
BASH = shutil.which("bash") or "/bin/bash"

FAKE_PYTHON = """\
#!/bin/sh
here=$(dirname -- "$0")
case "$*" in
"-c "*)
    exec "$REAL" "$@"
    ;;
"-m venv "*)
    echo "venv" >>"$LOG"
    mkdir -p "$3/bin"
    cp -- "$0" "$3/bin/python"
    ;;
"-m pip install "*)
    for last; do :; done
    echo "install $last" >>"$LOG"
    eval "${DURING_INSTALL:-}"
    for tool in tandem ruff mypy lint-imports pytest; do
        printf '#!/bin/sh\\n%s="%s"\\n' tool "$tool" >"$here/$tool"
        echo 'server=${TANDEM_TEST_QDRANT_URL:+ on $TANDEM_TEST_QDRANT_URL with ${QDRANT_API_KEY:-no key}}' \\
            >>"$here/$tool"
        echo 'echo "$tool $*$server" >>"$LOG"; [ "$tool" != "${FAILING:-}" ] || exit 7' >>"$here/$tool"
        chmod +x "$here/$tool"
    done
    ;;
*compose_server.py)
    [ -n "${SERVER:-}" ] || exit 1
    printf '%s\\n' "$SERVER" "a key of its own"
    ;;
esac
"""


@dataclass
class Checkout:
    """A copy of what the scripts need, and a `PYTHON` that only pretends."""

    root: Path
    python: Path
    log: Path

    @classmethod
    def make(cls, folder: Path) -> "Checkout":
        root = folder / "a checkout"  # with a space, as paths may have
        for source in [*SCRIPTS, ROOT / "scripts/constraints.txt", ROOT / "pyproject.toml"]:
            target = root / source.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
        python = folder / "python"
        python.write_text(FAKE_PYTHON)
        python.chmod(0o755)
        return cls(root=root, python=python, log=folder / "log")

    @property
    def venv(self) -> Path:
        return self.root / ".venv"

    def run(self, script: str, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        """Run `script` from an unrelated directory."""
        environment = (
            os.environ | {"PYTHON": str(self.python), "REAL": sys.executable, "LOG": str(self.log)} | settings
        )
        if "TANDEM_TEST_QDRANT_URL" not in settings:  # as it is where these tests run on a server
            environment.pop("TANDEM_TEST_QDRANT_URL", None)
            environment.pop("QDRANT_API_KEY", None)
        return subprocess.run(
            [self.root / script, *arguments],
            cwd=self.root.parent,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def asked(self) -> list[str]:
        """Return what was asked of Python and of the tools since the last call."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return [line.replace(str(self.root), "ROOT").rstrip() for line in lines]


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout.make(tmp_path)


# The files.


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_a_script_is_valid_bash(script: Path) -> None:
    subprocess.run([BASH, "-n", script], check=True)


@pytest.mark.parametrize("script", COMMANDS, ids=lambda script: script.name)
def test_a_command_can_be_run_by_its_name(script: Path) -> None:
    assert os.access(script, os.X_OK)
    assert script.read_text().startswith("#!/usr/bin/env bash\n")


def test_where_packages_come_from_is_left_to_pips_own_settings() -> None:
    for path in [*SCRIPTS, ROOT / "scripts/constraints.txt"]:
        assert not re.search(r"://|--isolated|index-url|find-links|--trusted-host", path.read_text()), path


# The versions.


def constraints() -> dict[str, str]:
    """Return the pinned version of each package named in scripts/constraints.txt."""
    lines = (ROOT / "scripts/constraints.txt").read_text().splitlines()
    pins = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): pinned for name, pinned in pins}


def direct_requirements() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    required = [Requirement(line) for group in groups for line in group]
    return [requirement for requirement in required if requirement.name != project["name"]]


@pytest.mark.parametrize("requirement", direct_requirements(), ids=str)
def test_the_tested_version_of_each_dependency_is_pinned(requirement: Requirement) -> None:
    pinned = constraints()[canonicalize_name(requirement.name)]
    assert requirement.specifier.contains(pinned)


def test_no_pinned_version_asks_for_a_newer_python_than_ours() -> None:
    installed = {canonicalize_name(package.name): package for package in distributions()}
    checked = [
        installed[name] for name, pinned in constraints().items() if is_version(installed.get(name), pinned)
    ]
    newer = [
        f"{package.name} {package.version} needs Python {needed}"
        for package in checked
        if (needed := package.metadata["Requires-Python"]) and not SpecifierSet(needed).contains("3.11.0")
    ]
    assert newer == []


def is_version(package: Distribution | None, pinned: str) -> bool:
    return package is not None and package.version.partition("+")[0] == pinned


def test_torch_is_pinned_without_a_build() -> None:
    # `2.13.0` admits 2.13.0+cpu and every other build of it, `2.13.0+cpu` that one alone.
    assert re.fullmatch(r"[\d.]+", constraints()["torch"])


# The choice of Python.


def find_python(path: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """Search where `path` is the only place to look."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHON"} | settings
    return subprocess.run(
        [BASH, "-euc", f'. "{ROOT}/scripts/_environment"; PATH=$1; find_python', "demo", path],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def pretend(path: Path, before: str = "") -> Path:
    """Make `path` a Python that runs `before` ahead of what it is asked to run."""
    code = f"import sys; {before}; exec(sys.argv[2])" if before else "import sys; exec(sys.argv[2])"
    path.write_text(f"#!{BASH}\nexec '{sys.executable}' -c '{code}' \"$@\"\n")
    path.chmod(0o755)
    return path


OLD = 'sys.version_info = (3, 9, 18, "final", 0)'
WITHOUT_PIP = 'sys.modules["ensurepip"] = None'


def test_the_first_python_that_serves_is_taken(tmp_path: Path) -> None:
    pretend(tmp_path / "python3")
    assert find_python(tmp_path).stdout == "python3\n"
    pretend(tmp_path / "python3.12")
    assert find_python(tmp_path).stdout == "python3.12\n"
    pretend(tmp_path / "python3.11")
    assert find_python(tmp_path).stdout == "python3.11\n"


def test_a_python_that_does_not_serve_is_passed_over(tmp_path: Path) -> None:
    pretend(tmp_path / "python3.11", WITHOUT_PIP)
    (tmp_path / "python3.12").write_text("#!/bin/sh\necho 'version 3.12 is not installed' >&2\nexit 127\n")
    (tmp_path / "python3.12").chmod(0o755)
    pretend(tmp_path / "python3")
    assert find_python(tmp_path).stdout == "python3\n"


def test_an_old_python_is_refused_with_its_version(tmp_path: Path) -> None:
    pretend(tmp_path / "python3", OLD)
    search = find_python(tmp_path)
    assert search.returncode == 1
    assert search.stdout == ""
    assert "Python 3.11 or newer with venv and pip is needed" in search.stderr
    assert "python3: is Python 3.9, older than 3.11" in search.stderr
    assert "python3.11: not found" in search.stderr
    assert "PYTHON=" in search.stderr  # what to do


def test_a_python_without_venv_or_pip_is_refused_with_the_remedy(tmp_path: Path) -> None:
    pretend(tmp_path / "python3", WITHOUT_PIP)
    search = find_python(tmp_path)
    assert search.returncode == 1
    assert re.search(r"python3: has no venv and pip .*apt install python3\.\d+-venv", search.stderr)


def test_the_python_that_the_user_names_is_taken_or_refused_never_replaced(tmp_path: Path) -> None:
    pretend(tmp_path / "python3")
    mine = pretend(tmp_path / "my python")
    assert find_python(tmp_path, PYTHON=str(mine)).stdout == f"{mine}\n"
    pretend(mine, OLD)
    refused = find_python(tmp_path, PYTHON=str(mine))
    assert refused.returncode == 1
    assert "my python: is Python 3.9" in refused.stderr


def test_without_a_python_nothing_is_made(checkout: Checkout) -> None:
    pretend(checkout.python, OLD)
    run = checkout.run("scripts/demo")
    assert run.returncode == 1
    assert not checkout.venv.exists()


# The environment.


def test_the_first_run_installs_and_the_second_does_not(checkout: Checkout) -> None:
    assert checkout.run("scripts/demo", "--ask", "what is it?").returncode == 0
    assert checkout.asked() == ["venv", "install ROOT[demo,onnx]", "tandem demo --ask what is it?"]
    second = checkout.run("scripts/demo")
    assert checkout.asked() == ["tandem demo"]
    assert second.stderr == ""


def test_an_argument_reaches_the_command_in_one_piece(checkout: Checkout) -> None:
    checkout.run("scripts/demo")
    (checkout.venv / "bin/tandem").write_text('#!/bin/sh\nprintf "%s|" "$@"\n')
    assert checkout.run("scripts/demo", "--ask", "a  b *").stdout == "demo|--ask|a  b *|"


def test_test_adds_to_the_environment_of_demo_and_demo_is_content_with_that_of_test(
    checkout: Checkout,
) -> None:
    checkout.run("scripts/demo")
    checkout.asked()
    checkout.run("scripts/test")
    assert checkout.asked()[0] == "install ROOT[dev]"
    checkout.run("scripts/demo")
    assert checkout.asked() == ["tandem demo"]


@pytest.mark.parametrize("name", ["pyproject.toml", "scripts/constraints.txt"])
def test_a_change_of_what_is_installed_is_installed(checkout: Checkout, name: str) -> None:
    checkout.run("scripts/demo")
    checkout.asked()
    with (checkout.root / name).open("a") as file:
        file.write("# another line\n")
    checkout.run("scripts/demo")
    assert checkout.asked() == ["install ROOT[demo,onnx]", "tandem demo"]
    checkout.run("scripts/demo")
    assert checkout.asked() == ["tandem demo"]


@pytest.mark.parametrize("end", ["exit 1", "kill -9 $PPID"], ids=["pip fails", "the script is killed"])
def test_an_interrupted_installation_begins_anew(checkout: Checkout, end: str) -> None:
    interrupted = checkout.run("scripts/demo", DURING_INSTALL=end)
    assert interrupted.returncode != 0
    assert checkout.asked() == ["venv", "install ROOT[demo,onnx]"]
    (checkout.venv / "half-a-package").touch()
    assert checkout.run("scripts/demo").returncode == 0
    assert checkout.asked() == ["venv", "install ROOT[demo,onnx]", "tandem demo"]
    assert not (checkout.venv / "half-a-package").exists()


def test_an_interrupted_update_begins_anew(checkout: Checkout) -> None:
    checkout.run("scripts/demo")
    checkout.run("scripts/test", DURING_INSTALL="kill -9 $PPID")
    checkout.asked()
    checkout.run("scripts/demo")
    assert checkout.asked() == ["venv", "install ROOT[demo,onnx]", "tandem demo"]


def test_a_failed_installation_says_so(checkout: Checkout) -> None:
    run = checkout.run("scripts/test", DURING_INSTALL="exit 1")
    assert run.returncode == 1
    assert "test: the installation failed" in run.stderr


def test_what_pip_says_stays_out_of_the_output(checkout: Checkout) -> None:
    run = checkout.run("scripts/demo", DURING_INSTALL="echo Collecting torch")
    assert run.stdout == ""
    assert "Collecting torch" in run.stderr


def test_an_environment_that_no_longer_runs_is_made_again(checkout: Checkout) -> None:
    checkout.run("scripts/demo")
    checkout.asked()
    (checkout.venv / "bin/python").unlink()
    (checkout.venv / "bin/python").symlink_to("/removed/python3.11")
    run = checkout.run("scripts/demo")
    assert checkout.asked() == ["venv", "install ROOT[demo,onnx]", "tandem demo"]
    assert "making it again" in run.stderr


def test_an_empty_folder_is_no_environment(checkout: Checkout) -> None:
    checkout.venv.mkdir()
    assert checkout.run("scripts/demo").returncode == 0
    assert checkout.asked() == ["venv", "install ROOT[demo,onnx]", "tandem demo"]


def test_a_copy_of_the_checkout_gets_an_environment_of_its_own(checkout: Checkout) -> None:
    checkout.run("scripts/demo")
    checkout.asked()
    shutil.copytree(checkout.root, checkout.root.with_name("copy"))
    checkout.root = checkout.root.with_name("copy")
    checkout.run("scripts/demo")
    assert checkout.asked() == ["venv", "install ROOT[demo,onnx]", "tandem demo"]


def test_the_users_own_environment_is_used_and_kept(checkout: Checkout) -> None:
    (checkout.venv / "bin").mkdir(parents=True)
    shutil.copy(checkout.python, checkout.venv / "bin/python")
    (checkout.venv / "mine").touch()
    checkout.run("scripts/demo", DURING_INSTALL="exit 1")
    assert checkout.asked() == ["install ROOT[demo,onnx]"]
    checkout.run("scripts/demo")
    assert checkout.asked() == ["install ROOT[demo,onnx]", "tandem demo"]
    assert (checkout.venv / "mine").exists()


@pytest.mark.parametrize(
    ("end", "then"),
    [("", []), ("kill -9 $PPID;", ["venv", "install ROOT[demo,onnx]"])],
    ids=["and uses what it made", "and begins anew if that was killed while its pip went on"],
)
def test_a_second_installation_waits_for_the_first(checkout: Checkout, end: str, then: list[str]) -> None:
    go_on = checkout.root.with_name("go-on")
    held = {"DURING_INSTALL": f'{end} while [ ! -e "$GO_ON" ]; do sleep 0.02; done', "GO_ON": str(go_on)}
    with ThreadPoolExecutor() as both:
        first = both.submit(checkout.run, "scripts/demo", **held)
        wait_until(lambda: checkout.log.exists() and "install" in checkout.log.read_text())
        second = both.submit(checkout.run, "scripts/demo", "second")
        time.sleep(0.5)  # long enough for what must not happen
        assert not second.done()
        assert checkout.asked() == ["venv", "install ROOT[demo,onnx]"]
        go_on.touch()
        assert first.result().returncode == (-9 if end else 0)
        assert second.result().returncode == 0
    assert "demo: waiting for another installation" in second.result().stderr
    assert [line for line in checkout.asked() if line != "tandem demo"] == [*then, "tandem demo second"]


def wait_until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.02)


# The checks.


def test_the_checks_run_in_order_and_pytest_gets_the_arguments(checkout: Checkout) -> None:
    run = checkout.run("scripts/test", "tests/analysis", "-k", "jaccard")
    assert run.returncode == 0
    checks = [
        "ruff format --check .",
        "ruff check .",
        "mypy",
        "lint-imports",
        "pytest tests/analysis -k jaccard",
    ]
    assert checkout.asked()[2:] == checks


@pytest.mark.parametrize("failing", ["ruff", "mypy", "lint-imports", "pytest"])
def test_a_failing_check_is_named_and_its_status_returned(checkout: Checkout, failing: str) -> None:
    run = checkout.run("scripts/test", FAILING=failing)
    assert run.returncode == 7
    assert f"test: failed (status 7): {failing}" in run.stderr
    assert checkout.asked()[-1].startswith(failing)  # the checks after it did not run


def test_all_tests_are_shared_among_the_cores(checkout: Checkout) -> None:
    assert checkout.run("scripts/test").returncode == 0
    assert checkout.asked()[-1] == "pytest --numprocesses logical --maxprocesses 4 --dist loadfile"


def test_tests_run_one_by_one_on_the_server_of_the_compose_file_if_it_is_there(checkout: Checkout) -> None:
    assert checkout.run("scripts/test", SERVER="http://127.0.0.1:6333").returncode == 0
    assert checkout.asked()[-1] == "pytest  on http://127.0.0.1:6333 with a key of its own"


def test_a_server_that_the_user_names_is_taken_and_no_other(checkout: Checkout) -> None:
    named = {"TANDEM_TEST_QDRANT_URL": "http://qdrant.test:6333", "QDRANT_API_KEY": "mine"}
    run = checkout.run("scripts/test", SERVER="http://127.0.0.1:6333", **named)
    assert "tests on a server: http://qdrant.test:6333, named by TANDEM_TEST_QDRANT_URL" in run.stderr
    assert checkout.asked()[-1] == "pytest  on http://qdrant.test:6333 with mine"


def test_continuous_integration_runs_the_same_checks(checkout: Checkout) -> None:
    assert checkout.run(".ci/run").returncode == 0
    assert checkout.asked()[:2] == ["venv", "install ROOT[dev]"]
