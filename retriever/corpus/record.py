"""The record of a corpus: what lies in the store beside its points, read and written whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from retriever.errors import StoreCorruptError
from retriever.records import CorpusManifest, Deployment


@dataclass(frozen=True, kw_only=True, slots=True)
class CorpusRecord:
    """What lies beside the points of a corpus.

    `deployments` are all of them, each right behind what it replaced; `serving` is the index of the one
    that is served, None for the last. `dropping` are the names of vectors whose deletion has begun.
    `copied_from` says of which corpus this is a copy that is not whole yet; empty where it is whole.
    """

    manifest: CorpusManifest
    deployments: tuple[Deployment, ...] = ()
    dropping: tuple[str, ...] = ()
    serving: int | None = None
    copied_from: str = ""

    @property
    def served(self) -> Deployment | None:
        """The deployment that is served; None where there is none."""
        if not self.deployments:
            return None
        return self.deployments[-1 if self.serving is None else self.serving]

    def to_json(self) -> dict[str, Any]:
        """Return JSON values from which `from_json` makes an equal record."""
        value: dict[str, Any] = {
            "manifest": self.manifest.to_json(),
            "deployments": [deployment.to_json() for deployment in self.deployments],
        }
        if self.dropping:
            value["dropping"] = list(self.dropping)
        if self.serving is not None:
            value["serving"] = self.serving
        if self.copied_from:
            value["copied_from"] = self.copied_from
        return value

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read what `to_json` wrote.

        Raises
        ------
        StoreCorruptError
            If it is no record.
        """
        try:
            manifest, deployments = value["manifest"], value["deployments"]
        except KeyError as error:
            raise StoreCorruptError(
                f"record: expected a manifest and deployments, got {sorted(value)}."
            ) from error
        return cls(
            manifest=CorpusManifest.from_json(manifest),
            deployments=tuple(Deployment.from_json(deployment) for deployment in deployments),
            dropping=tuple(value.get("dropping", ())),
            serving=_checked(value.get("serving"), count=len(deployments)),
            copied_from=value.get("copied_from", ""),
        )


def _checked(serving: Any, *, count: int) -> int | None:
    if serving is None or (isinstance(serving, int) and 0 <= serving < count):
        return serving
    raise StoreCorruptError(f"record: expected one of {count} deployments to be served, got {serving!r}.")
