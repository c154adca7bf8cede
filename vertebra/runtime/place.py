"""Where in a run a node is being executed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vertebra.runtime.scope import send_index
from vertebra.runtime.siblings import Superstep


@dataclass(frozen=True)
class Place:
    """Read from LangGraph's config."""

    node: str
    step: int
    namespace: str
    index: int | None

    @classmethod
    def of(cls, config: Mapping[str, Any], node: str) -> Place:
        metadata = config["metadata"]
        return cls(
            node,
            int(metadata["langgraph_step"]),
            str(metadata.get("langgraph_checkpoint_ns", "")),
            send_index(metadata.get("langgraph_path")),
        )

    @property
    def loop(self) -> str:
        """The checkpoint namespace of the LangGraph loop that runs the node."""
        return self.namespace.rpartition("|")[0]

    @property
    def superstep(self) -> Superstep:
        return self.loop, self.step

    @property
    def task_id(self) -> str:
        return self.namespace.rpartition("|")[2].rpartition(":")[2]
