# %% [markdown]
# # 01 · A first graph
#
# An agent in Vertebra is a graph that *your code* decides. Models are called by nodes of that graph, never the other
# way round. In ten minutes: a state, four nodes, a loop with a bound, a fan-out, a run, and what it has cost.
#
# There is no key at hand? A scripted model on this machine stands in for the provider. It speaks OpenAI's protocol over
# HTTP, so that nothing below would change with a real one: leave the next cell out and set `OPENAI_API_KEY`.

# %%
import os

from vertebra.testing import ScriptedModel

model = ScriptedModel().start()
model.on("Summarise: He coughs").reply("Cough at night for two weeks.")
model.on("Summarise: He takes").reply("Takes lisinopril since May.")
model.on("Draft").reply("Cough?", "Cough at night, two weeks, under lisinopril since May: consider a switch.")
os.environ.update(model.env())

# %% [markdown]
# ## State
#
# What a run knows is a pydantic model. Each edge of the graph makes it durable. `Append` is a *reducer*: branches that
# run in parallel add to the list instead of overwriting each other.

# %%
from pydantic import BaseModel

from vertebra import END, START, Append, Context, Graph, llm, transition


class Visit(BaseModel):
    text: str
    pieces: list[str] = []
    notes: Append[str] = []
    report: str = ""


# %% [markdown]
# ## Nodes
#
# A `@transition` is deterministic: no model, no clock. An `@llm` node calls models through `ctx.client`, which is the
# official `openai` client; each answer is recorded before the node has it.


# %%
@transition
def cut(visit: Visit) -> dict:
    return {"pieces": visit.text.split(". ")}


@llm(task="summarise")
async def summarise(piece: str, ctx: Context) -> dict:
    reply = await ctx.client.chat.completions.create(
        model=ctx.model, messages=[{"role": "user", "content": f"Summarise: {piece}"}]
    )
    return {"notes": [reply.choices[0].message.content]}


@llm(task="draft")
async def draft(visit: Visit, ctx: Context) -> dict:
    asked = f"Draft {ctx.step}: " + " ".join(visit.notes)
    reply = await ctx.client.chat.completions.create(model=ctx.model, messages=[{"role": "user", "content": asked}])
    return {"report": reply.choices[0].message.content}


def long_enough(visit: Visit) -> str:
    return "yes" if len(visit.report) > 20 else "no"


# %% [markdown]
# ## Edges
#
# `fan_out` runs a node once for each item of a field, in parallel, and goes on after all of them. A cycle must have a
# bound: after three visits the graph goes on with what there is.

# %%
graph = Graph(Visit, name="scribe")
graph.add_edge(START, cut)
graph.fan_out(cut, summarise, over="pieces")
graph.add_edge(summarise, draft)
graph.add_conditional_edges(draft, long_enough, {"yes": END, "no": draft}, max_visits=3, on_exhausted=END)
graph

# %% [markdown]
# ## A wrong graph does not compile
#
# All findings come at once, each with a code, a place and a remedy.

# %%
from vertebra.errors import GraphInvalid

wrong = Graph(Visit, name="wrong")
wrong.add_edge(START, cut)
wrong.add_conditional_edges(cut, long_enough, {"yes": "somewhere", "no": cut})
try:
    wrong.compile()
except GraphInvalid as error:
    print(error)

# %% [markdown]
# ## A run
#
# `compile` opens a store: here in memory, else `sqlite:///visits.db` or `postgresql://...`.

# %%
app = graph.compile(default_model="gpt-5-mini")
run = await app.run({"text": "He coughs at night for two weeks. He takes lisinopril since May"}, thread_id="visit-1")
run

# %%
print(run.status, "|", run.output.report)
for node, usage in run.usage.items():
    print(f"{node:10} {usage.calls} calls, {usage.input_tokens} tokens in, {usage.output_tokens} out")

# %% [markdown]
# The loop went round once: the first draft was too short. Five minutes are left for
# [02, where the machine dies](02_crash_and_resume.ipynb).

# %%
await app.aclose()
model.stop()
