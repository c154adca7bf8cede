"""What can be claimed of the paths of a graph, as data: read from keyword arguments, told as a sentence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from vertebra.errors import UsageError
from vertebra.nodes.kinds import node_name
from vertebra.types import END

Kind = Literal["before", "between", "never", "at_most", "eventually"]
FORMS = "(a, before=b), (a, between=(b, c)), (never=a, after=b), (at_most=(a, n)) or (eventually=a)"


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim about every path: its kind, the nodes in the order of its sentence, and a number of times."""

    kind: Kind
    nodes: tuple[str, ...]
    times: int = 0

    def __str__(self) -> str:
        a, b, c = (*self.nodes, "", "")[:3]
        visits = "visit" if self.times == 1 else "visits"
        return {
            "before": f"{a} has run before any visit of {b}",
            "between": f"{a} runs between any visit of {b} and the next of {c}",
            "never": f"{a} never runs after {b}",
            "at_most": f"{a} has at most {self.times} {visits} in a run",
            "eventually": "every path leads to the end" if a == "END" else f"every path leads through {a}",
        }[self.kind]


def read_claim(
    node: Any = None,
    *,
    before: Any = None,
    between: Any = None,
    never: Any = None,
    after: Any = None,
    at_most: Any = None,
    eventually: Any = None,
) -> Claim:
    """The claim that arguments of ``Graph.prove`` make. Raises ``UsageError`` unless they make exactly one."""
    given = {"node": node, "before": before, "between": between, "never": never}
    given |= {"after": after, "at_most": at_most, "eventually": eventually}
    match tuple(key for key, value in given.items() if value is not None):
        case ("node", "before"):
            return _apart(Claim("before", (_name(node), _name(before))))
        case ("node", "between") if isinstance(between, list | tuple) and len(between) == 2:
            return _apart(Claim("between", (_name(node), *map(_name, between))))
        case ("never", "after"):
            return Claim("never", (_name(never), _name(after)))
        case ("at_most",) if isinstance(at_most, list | tuple) and len(at_most) == 2 and _is_count(at_most[1]):
            return Claim("at_most", (_name(at_most[0]),), at_most[1])
        case ("eventually",):
            return Claim("eventually", (_name(eventually),))
        case keys:
            raise UsageError(f"({', '.join(keys)}) makes no claim that can be proved.", remedy=f"write {FORMS}.")


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _apart(claim: Claim) -> Claim:
    if claim.nodes[0] in claim.nodes[1:]:
        raise UsageError(f"The claim is about {claim.nodes[0]!r} and itself.", remedy="name different nodes.")
    return claim


def _name(node: Any) -> str:
    name = node.name if hasattr(node, "definition") else node_name(node)
    return "END" if name == END else "START" if name == "__start__" else name
