"""What looking at a large graph costs: seconds of CPU for the checks, for each form of proof and for the bounds.

The graph has 10,000 nodes and 30,000 edges that lead forward at random, in choices of three, and a bounded way back. A
fifth of the nodes asks a model, a fifth has an effect, a tenth asks a person, so that the checks find something.

    python benchmarks/graphs.py [--nodes 10000]
"""

from __future__ import annotations

import argparse
import random
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, TypedDict

from vertebra import END, START, Context, Graph, Retry, effect, human, llm, transition


class State(TypedDict, total=False):
    n: int
    said: str
    done: str
    approved: bool


@transition
def nothing(state: State) -> None: ...


@llm(timeout_s=60)
async def says(state: State, ctx: Context) -> dict[str, Any]:
    return {"said": str(state.get("n"))}


@effect(retry=Retry(attempts=2))
def does(state: State, ctx: Context) -> dict[str, Any]:
    return {"done": f"{state.get('said')} {ctx.idempotency_key}"}


@human(answer=bool, into="approved")
def approves(state: State) -> str:
    return str(state.get("said"))


KINDS = [nothing, says, nothing, does, nothing, says, approves, does, nothing, nothing]


def pick(state: State) -> str: ...


def large(nodes: int) -> Graph:
    """Forward edges of at most 50 nodes ahead; every hundredth node may also go back, twice."""
    chance = random.Random(1)
    graph = Graph(State, name="large")
    names = [f"n{number}" for number in range(nodes)]
    for number, name in enumerate(names):
        graph.add_node(name, KINDS[number % len(KINDS)])
    graph.add_edge(START, names[0])
    for number, name in enumerate(names[:-1]):
        ahead = names[number + 1 : number + 51]
        targets = {ahead[0], *chance.sample(ahead, min(2, len(ahead)))}
        graph.add_conditional_edges(name, pick, sorted(targets))
    graph.add_conditional_edges(names[-1], pick, [END, names[nodes // 2]], max_visits=2, on_exhausted=END)
    return graph


def timed(what: str, work: Callable[[], Any]) -> None:
    started = time.process_time()
    result = work()
    print(f"{what:<44} {time.process_time() - started:6.2f} s   {str(result)[:60]}")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--nodes", type=int, default=10_000)
    nodes = options.parse_args().nodes
    graph = large(nodes)
    edges = sum(len(targets) for targets in graph.definition.successors().values())
    print(f"{nodes:,} nodes, {edges:,} edges")
    middle, last = f"n{nodes // 2}", f"n{nodes - 1}"
    timed("check()", graph.check)
    findings = Counter(finding.code for finding in graph.check())
    print(f"  found: {', '.join(f'{count:,} {code}' for code, count in sorted(findings.items())) or 'nothing'}")
    timed("prove(n0, before=last)", lambda: graph.prove("n0", before=last))
    timed("prove(middle, before=last)", lambda: graph.prove(middle, before=last))
    timed("prove(last, between=(middle, END))", lambda: graph.prove(last, between=(middle, END)))
    timed("prove(never=n0, after=middle)", lambda: graph.prove(never="n0", after=middle))
    timed("prove(at_most=(middle, 3))", lambda: graph.prove(at_most=(middle, 3)))
    timed("prove(eventually=END)", lambda: graph.prove(eventually=END))


if __name__ == "__main__":
    main()
