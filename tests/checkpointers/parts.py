"""What tests of run records are made of."""

from __future__ import annotations

import dataclasses
from typing import Any

from vertebra.checkpointers.lease import Holder, new_holder
from vertebra.checkpointers.leasing import Start

START = Start("r1", "scribe", "1", "f1", {"nodes": ["draft"]}, b"input", "alice")
OTHER = dataclasses.replace(START, run_id="r2", version="2", fingerprint="f2", input=b"other", principal=None)
ERROR: dict[str, Any] = {"code": "node_failed", "message": "Größe 'x'", "remedy": "mend it", "context": {"node": "n"}}


def alive() -> Holder:
    """This process."""
    return new_holder()


def dead() -> Holder:
    """A process of this host and boot whose pid has been given to another since: this one."""
    return dataclasses.replace(new_holder(), started="1")
