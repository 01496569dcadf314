"""What a user says of a Ray cluster; free of Ray, so that saying it costs nothing."""

from __future__ import annotations

from dataclasses import dataclass

from retriever.errors import InputError


@dataclass(frozen=True, kw_only=True, slots=True)
class RayOptions:
    """Where a run cuts and embeds, and in how many workers.

    Attributes
    ----------
    address
        Of the cluster, as ``ray.init`` takes it (``"auto"``, ``"HOST:6379"``). None: a Ray of this
        machine alone, started for the run and stopped after it, or the one this process uses already.
    workers
        How many processes hold a copy of every model; at least 1. None: as many as the cluster has
        room for at the start.
    cpus_per_worker
        Cores each of them reserves, more than 0; its models use as many threads.
    gpus_per_worker
        Graphics processors each of them reserves, also a part of one; 0 for none.
    """

    address: str | None = None
    workers: int | None = None
    cpus_per_worker: float = 1.0
    gpus_per_worker: float = 0.0

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise InputError(f"ray: expected at least 1 worker, got {self.workers}.")
        if not self.cpus_per_worker > 0:
            raise InputError(f"ray: expected more than 0 CPUs per worker, got {self.cpus_per_worker}.")
        if not self.gpus_per_worker >= 0:
            raise InputError(f"ray: expected 0 GPUs per worker or more, got {self.gpus_per_worker}.")

    @property
    def threads(self) -> int:
        """How many threads the models of a worker use."""
        return max(1, int(self.cpus_per_worker))
