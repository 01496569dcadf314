"""The record of a corpus: what lies in the store beside its points, read and written whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from retriever.errors import StoreCorruptError
from retriever.records import CorpusManifest, Deployment


@dataclass(frozen=True, kw_only=True, slots=True)
class CorpusRecord:
    """A manifest, all deployments, oldest first, and the names of vectors whose deletion has begun."""

    manifest: CorpusManifest
    deployments: tuple[Deployment, ...] = ()
    dropping: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return JSON values from which `from_json` makes an equal record."""
        value: dict[str, Any] = {
            "manifest": self.manifest.to_json(),
            "deployments": [deployment.to_json() for deployment in self.deployments],
        }
        if self.dropping:
            value["dropping"] = list(self.dropping)
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
        )
