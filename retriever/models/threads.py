"""What the processor gives this process: how many cores, and which arithmetic.

Machines are shared: a container or a batch system gives a process some of the cores, and a runtime
that starts one thread for each core there is makes those threads wait for each other.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

THREADS = "TANDEM_THREADS"
"""Environment variable: how many threads models may use; all the cores there are if it is not set."""

_POOLS = ("OMP_NUM_THREADS", "RAYON_NUM_THREADS")
"""What torch and the tokenizers read when they are loaded."""

_BFLOAT16 = {"avx512_bf16", "amx_bf16", "bf16"}  # the last is ARM's word


def available_cores(root: Path = Path("/")) -> int:
    """Return how many cores the process may use: as `THREADS` says, or by its affinity and its quota.

    Parameters
    ----------
    root
        Where ``proc`` and ``sys`` are mounted.

    Returns
    -------
    int
        At least 1; a quota of one and a half cores counts as 2. A quota that cannot be read is none.
    """
    wished = os.environ.get(THREADS, "")
    if wished.isdecimal() and int(wished) > 0:
        return int(wished)
    return max(1, min([_cores_by_affinity(), *_quotas(root)]))


def limit_threads(threads: int | None) -> None:
    """Let models that are loaded from now on use so many threads, by default all cores there are.

    A setting of the whole process, so only a program makes it, and before torch is loaded. What the
    environment says of a library already stays, unless a number is given.
    """
    if threads is not None:
        os.environ[THREADS] = str(threads)
    for name in _POOLS:
        if threads is not None or name not in os.environ:
            os.environ[name] = str(available_cores())


def computes_in_bfloat16(root: Path = Path("/")) -> bool:
    """Return whether the processor multiplies bfloat16 numbers itself; others only imitate it, slowly.

    Only Linux says so (in ``proc/cpuinfo`` under `root`); elsewhere the answer is no.
    """
    return not _BFLOAT16.isdisjoint(_read(root / "proc/cpuinfo").split())


def _cores_by_affinity() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _quotas(root: Path) -> Iterator[int]:
    """Yield the cores of each quota above the process: the smallest binds."""
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers:
            for folder in _upwards(root / "sys/fs/cgroup", path):
                yield from _quota(_read(folder / "cpu.max"))
        elif "cpu" in controllers.split(","):
            for folder in _upwards(root / "sys/fs/cgroup" / controllers, path):
                files = (folder / "cpu.cfs_quota_us", folder / "cpu.cfs_period_us")
                yield from _quota(" ".join(map(_read, files)))


def _upwards(mount: Path, path: str) -> Iterator[Path]:
    """Yield the folder of a control group and of all groups it is in.

    In a container the path may be that of the host, which is not mounted; the mount is its own group.
    """
    inside = PurePosixPath(path.lstrip("/"))
    for group in (inside, *inside.parents):
        yield mount / group


def _quota(text: str) -> Iterator[int]:
    """Yield the cores of a quota, given as microseconds of work and microseconds they are allowed in."""
    try:
        used, every = map(int, text.split())
    except ValueError:
        return  # "max", or no such file: no quota
    if used > 0 and every > 0:  # version 1 writes -1 for none
        yield math.ceil(used / every)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
