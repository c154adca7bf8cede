# %% [markdown]
# # 05 · Checks, proofs and bounds
#
# A graph that is explicit can be examined before it runs. *Checks* find what is wrong or unwise. *Proofs* say whether
# something holds on every path. *Bounds* say what a run costs at worst.

# %%
from typing import Annotated

from pydantic import BaseModel, Field

from vertebra import END, START, Context, Graph, effect, human, llm, transition


class Payment(BaseModel):
    letter: str = "Please pay 40 euros to Ada."
    amount: int = 0
    valid: bool = False
    approved: bool | None = None
    lines: Annotated[list[str], Field(max_length=5)] = []


@llm(task="read")
async def read(payment: Payment, ctx: Context) -> dict: ...


@transition
def validate(payment: Payment) -> dict: ...


@human(answer=bool, into="approved")
def approve(payment: Payment) -> str:
    return f"Pay {payment.amount}?"


@effect
async def pay(payment: Payment, ctx: Context) -> dict: ...


def is_valid(payment: Payment) -> bool:
    return payment.valid


def is_small(payment: Payment) -> bool:
    return payment.amount < 50


# %% [markdown]
# ## A graph with a hole
#
# Small payments skip the approval. Is that what the reviewer has agreed to?

# %%
graph = Graph(Payment, name="payments")
graph.add_edge(START, read).add_edge(read, validate)
graph.add_node("small?", transition(lambda payment: {}))
graph.add_conditional_edges(validate, is_valid, {True: "small?", False: read}, max_visits=3, on_exhausted=END)
graph.add_conditional_edges("small?", is_small, {True: pay, False: approve})
graph.add_edge(approve, pay).add_edge(pay, END)
graph

# %% [markdown]
# ## Proofs
#
# A proof holds for every path, cycles and subgraphs included, or it comes with the shortest path that breaks it.

# %%
print(graph.prove(validate, before=pay))
proof = graph.prove(approve, before=pay)
print(proof)

# %%
proof.draw()

# %% [markdown]
# Five forms of claim:

# %%
for claim in (
    graph.prove(approve, before=pay),
    graph.prove(validate, between=(read, pay)),
    graph.prove(never=read, after=pay),
    graph.prove(at_most=(read, 4)),
    graph.prove(eventually=END),
):
    print("holds " if claim else "BROKEN", claim)

# %% [markdown]
# ## Keep the claim
#
# `require` writes the claim into the graph: from now on `check()` and `compile()` refuse a graph that breaks it.

# %%
from vertebra.errors import GraphInvalid

graph.require(approve, before=pay)
try:
    graph.compile()
except GraphInvalid as error:
    print(error)

# %% [markdown]
# So the hole is closed: everything is approved.

# %%
mended = Graph(Payment, name="payments", version="2")
mended.add_edge(START, read).add_edge(read, validate)
mended.add_conditional_edges(validate, is_valid, {True: approve, False: read}, max_visits=3, on_exhausted=END)
mended.add_edge(approve, pay).add_edge(pay, END)
mended.require(approve, before=pay)
mended

# %% [markdown]
# ## Checks
#
# What is unwise is a warning, with a remedy.

# %%
for finding in mended.check():
    print(finding, "\n")

# %% [markdown]
# ## Bounds
#
# The worst case of one run; a bound that is missing is named. `compile(max_calls=...)` refuses a graph that may cost more.

# %%
print(mended.bounds())

# %% [markdown]
# ## The agent everyone asks for
#
# `agent(...)` makes a tool-calling agent as a plain graph: so it is drawn and proved as any other. Between the model and
# a tool that needs approval there is, on every path, a person.

# %%
from vertebra.graphs import agent, tool


@tool
def look_up(order: str) -> str:
    """What is known of an order."""
    return "a lamp, broken on arrival"


@tool(approval=True)
def refund(order: str, amount: Annotated[float, Field(gt=0, le=500)]) -> str:
    """Pay money back."""
    return f"paid {amount} for order {order}"


helpdesk = agent("helpdesk", tools=[look_up, refund], max_turns=4)
helpdesk

# %%
print(helpdesk.prove("tools/approve_refund", before="tools/refund"))
print(helpdesk.bounds())
