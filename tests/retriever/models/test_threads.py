from __future__ import annotations

import os
from pathlib import Path

import pytest

from retriever.models import threads
from retriever.models.threads import available_cores, computes_in_bfloat16

_V1 = "12:memory:/job\n4:cpu,cpuacct:/job\n"


@pytest.fixture(autouse=True)
def _eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(threads.THREADS, "")  # set, so that what a test sets is undone
    monkeypatch.setattr(threads, "_cores_by_affinity", lambda: 8)


def _machine(root: Path, groups: str, files: dict[str, str]) -> Path:
    """Lay out what Linux says about the control groups of a process."""
    for name, text in {"proc/self/cgroup": groups, **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("limit", "cores"),
    [
        ("max 100000\n", 8),
        ("200000 100000\n", 2),
        ("150000 100000\n", 2),  # rounded up: half a core is worth a thread
        ("1000 100000\n", 1),
        ("1600000 100000\n", 8),  # a quota beyond the affinity does not bind
        ("", 8),
        ("nonsense\n", 8),
        ("1 2 \xb3", 8),
    ],
)
def test_a_quota_of_version_2_binds(limit: str, cores: int, tmp_path: Path) -> None:
    """cpu.max holds microseconds of work and the period they are allowed in."""
    assert available_cores(_machine(tmp_path, "0::/\n", {"sys/fs/cgroup/cpu.max": limit})) == cores


def test_the_smallest_quota_above_the_process_binds(tmp_path: Path) -> None:
    """A group cannot use what the group around it does not have."""
    files = {
        "sys/fs/cgroup/batch/cpu.max": "300000 100000",
        "sys/fs/cgroup/batch/job/cpu.max": "max 100000",
    }
    assert available_cores(_machine(tmp_path, "0::/batch/job\n", files)) == 3


def test_a_container_that_sees_the_path_of_its_host_finds_its_own_quota(tmp_path: Path) -> None:
    """The path is not mounted there; the mount itself is the group."""
    files = {"sys/fs/cgroup/cpu.max": "100000 100000"}
    assert available_cores(_machine(tmp_path, "0::/docker/abc\n", files)) == 1


@pytest.mark.parametrize(("quota", "cores"), [("250000", 3), ("-1", 8), ("", 8)])
def test_a_quota_of_version_1_binds(quota: str, cores: int, tmp_path: Path) -> None:
    """Two files, and -1 for none."""
    folder = "sys/fs/cgroup/cpu,cpuacct/job"
    files = {f"{folder}/cpu.cfs_quota_us": quota, f"{folder}/cpu.cfs_period_us": "100000"}
    assert available_cores(_machine(tmp_path, _V1, files)) == cores


def test_a_machine_without_control_groups_has_its_affinity(tmp_path: Path) -> None:
    """Other systems than Linux, and old kernels."""
    assert available_cores(tmp_path) == 8


def test_this_machine_has_a_core(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it is."""
    monkeypatch.undo()
    assert available_cores() >= 1


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("flags\t\t: fpu avx2 avx512_bf16 amx_tile", True),
        ("flags\t\t: fpu avx512f amx_bf16", True),
        ("Features\t: fp asimd bf16 i8mm", True),
        ("flags\t\t: fpu avx2 avx512f avx512_vnni", False),
        ("", False),
    ],
)
def test_bfloat16_is_what_the_processor_says(line: str, expected: bool, tmp_path: Path) -> None:  # noqa: FBT001
    """Flags of Intel and AMD, of Intel's matrix unit, of ARM."""
    assert computes_in_bfloat16(_machine(tmp_path, "", {"proc/cpuinfo": f"model\n{line}\n"})) is expected
    assert not computes_in_bfloat16(tmp_path / "another system")


def test_a_number_that_is_wished_counts_and_reaches_every_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """They read it when they are loaded."""
    for name in ("OMP_NUM_THREADS", "RAYON_NUM_THREADS"):
        monkeypatch.setenv(name, "7")
    threads.limit_threads(3)
    assert available_cores() == 3
    assert [os.environ[name] for name in ("OMP_NUM_THREADS", "RAYON_NUM_THREADS")] == ["3", "3"]


def test_without_a_wish_what_the_environment_says_of_a_library_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others get the cores there are."""
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("RAYON_NUM_THREADS", raising=False)
    threads.limit_threads(None)
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert os.environ["RAYON_NUM_THREADS"] == str(available_cores())


@pytest.mark.parametrize("wish", ["", "0", "-1", "many"])
def test_a_wish_that_is_no_number_is_none(wish: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty variable is how many a shell script unsets one."""
    monkeypatch.setenv(threads.THREADS, wish)
    assert available_cores(tmp_path) == 8
