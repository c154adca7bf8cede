# %% [markdown]
# # 06 · Tokens by stage
#
# Which stage of the agent costs what? Each call is recorded with its node, its tokens and its attempts, so the answer is
# there after every run, without a library for it.

# %%
import os

from vertebra.testing import ScriptedModel

model = ScriptedModel().start()
model.on("Make a plan").reply("1. Find out where it is. 2. Tell the customer.")
model.on("Look it up").fail(429, retry_after_s=0.05).reply("Order 17 left on Monday and is in Lyon.")
model.on("Answer politely").reply("Your parcel left on Monday and is in Lyon now. It should be with you on Thursday.")
os.environ.update(model.env())

# %%
from pydantic import BaseModel

from vertebra import END, START, Append, Context, Graph, llm


class Support(BaseModel):
    question: str
    history: Append[str] = []


def stage(name: str, prompt: str):
    @llm(task=name, timeout_s=60)
    async def node(state: Support, ctx: Context) -> dict:
        asked = "\n".join([prompt, state.question, *state.history])
        reply = await ctx.client.chat.completions.create(model=ctx.model, messages=[{"role": "user", "content": asked}])
        return {"history": [reply.choices[0].message.content]}

    return node


graph = Graph(Support, name="support")
for name, prompt in {"plan": "Make a plan", "look_up": "Look it up", "answer": "Answer politely, in two sentences"}.items():
    graph.add_node(name, stage(name, prompt))
graph.add_edge(START, "plan").add_edge("plan", "look_up").add_edge("look_up", "answer").add_edge("answer", END)

models = {"plan": "large", "look_up": "small", "answer": "large"}
app = graph.compile(models=models)
run = await app.run({"question": "Where is my parcel?"}, thread_id="parcel-1")

# %% [markdown]
# ## One run
#
# While it went on, its picture lived above. As figures: `calls` are those that were paid; `replayed` ones came from the
# journal.

# %%
from IPython.display import Markdown


def table(usage: dict) -> Markdown:
    lines = ["| stage | calls | replayed | tokens in | tokens out |", "|---|---:|---:|---:|---:|"]
    for node, used in usage.items():
        lines.append(f"| {node} | {used.calls} | {used.replayed} | {used.input_tokens} | {used.output_tokens} |")
    return Markdown("\n".join(lines))


table(run.usage)

# %% [markdown]
# ## Call by call
#
# The journal has each call with its model and its attempts: `look_up` was told to wait (429) and was sent again. That
# cost time, but no tokens. `vertebra show parcel-1 --store ...` prints the same in a terminal.

# %%
for call in await app.services.store.journal.calls("parcel-1"):
    attempts = [f"{attempt.status} ({attempt.outcome})" for attempt in call.attempts]
    print(f"{call.node:8} {call.model:6} sent {call.sends} times {' '.join(attempts)}")

# %% [markdown]
# ## Many runs
#
# Sums are sums: `Usage` can be added.

# %%
from collections import Counter

from IPython.utils.capture import capture_output

from vertebra import Usage

with capture_output():  # ten pictures would be too many
    runs = [await app.run({"question": f"Where is parcel {n}?"}, thread_id=f"parcel-{n}") for n in range(2, 12)]
by_stage: dict[str, Usage] = {}
for one in runs:
    for node, used in one.usage.items():
        by_stage[node] = by_stage.get(node, Usage()) + used
table(by_stage)

# %% [markdown]
# The stages differ because each one sees what came before it: the history grows, and with it the tokens that go in. What
# a provider asks for them depends on the model of each stage:

# %%
by_model = Counter()
for node, used in by_stage.items():
    by_model[models[node]] += used.input_tokens + used.output_tokens
dict(by_model)

# %% [markdown]
# ## A fork costs what is new
#
# Forked at its last edge with another question, a thread asks again only what differs.

# %%
fork = await app.fork("parcel-1", update={"history": ["The customer is in a hurry."]}, as_node="look_up")
again = await app.resume(fork.thread_id)
table(again.usage)

# %%
await app.aclose()
model.stop()
