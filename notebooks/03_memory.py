# %% [markdown]
# # 03 · Memory
#
# *State* says where a run is, and ends with its thread. *Memory* is what was said with a person and what is known of them:
# a store of its own that outlives threads. A crash wipes neither; deleting one leaves the other.

# %%
import os
import tempfile

from vertebra.testing import ScriptedModel

folder = tempfile.mkdtemp()
model = ScriptedModel().start()
model.on("knee hurts").reply("Since when does it hurt?", times=1)
model.on("Tuesday").reply("Rest it until Friday. If it still hurts then, see your doctor.", times=1)
os.environ.update(model.env())

# %% [markdown]
# ## A companion
#
# A node speaks to memory through `ctx.memory`. What it appends becomes durable with its superstep and is delivered exactly
# once, however often the node is retried, resumed or replayed.

# %%
from pydantic import BaseModel

from vertebra import END, START, Context, Graph, llm, open_memory


class Turn(BaseModel):
    said: str
    answer: str = ""


@llm(task="chat")
async def answer(turn: Turn, ctx: Context) -> dict:
    talk = ctx.memory.conversation("ann", subject="ann")
    await talk.append({"role": "user", "content": turn.said})
    window = await talk.window(max_tokens=2000)
    reply = await ctx.client.chat.completions.create(model=ctx.model, messages=window.to_openai())
    await talk.append(reply.choices[0].message)
    return {"answer": reply.choices[0].message.content}


graph = Graph(Turn, name="companion")
graph.add_edge(START, answer).add_edge(answer, END)
memory = open_memory(f"sqlite:///{folder}/memory.db")
app = graph.compile(checkpointer=f"sqlite:///{folder}/threads.db", memory=memory, default_model="gpt-5-mini")

# %% [markdown]
# Two turns, each a thread of its own: all that they share is memory.

# %%
first = await app.run({"said": "My knee hurts."}, thread_id="monday")
second = await app.run({"said": "Since Tuesday."}, thread_id="wednesday")
print(first.output.answer)
print(second.output.answer)

# %%
talk = memory.conversation("ann")
for message in await talk.messages():
    print(f"{message.id}  {message.role:10} {message.text}   ({message.provenance.thread})")

# %% [markdown]
# ## A thread goes, memory stays

# %%
await app.delete("monday")
print(len(await talk.messages()), "messages")

# %% [markdown]
# ## Windows
#
# A long conversation does not fit into a model. A window holds what was pinned and what is newest, never a tool's answer
# without its call, and it begins at the same place for many turns, so that a provider's prompt cache finds it again.

# %%
long = memory.conversation("long")
await long.append({"role": "system", "content": "Be brief."})
for number in range(200):
    await long.append({"role": "user", "content": f"Question {number}: what now?"})
    await long.append({"role": "assistant", "content": f"Answer {number}."})
window = await long.window(max_tokens=300)
print(window.tokens, "tokens:", [message["content"] for message in window.to_openai()][:3], "...")

# %% [markdown]
# ## Recall
#
# What was said, in any conversation, best first.

# %%
for hit in await memory.search("which knee hurts?", limit=2):
    print(hit.conversation, hit.id, hit.snippet)

# %% [markdown]
# ## Facts
#
# What is known is never overwritten: it is superseded, and one can ask what was true when, and what was known when.

# %%
facts = memory.facts("ann")
await facts.learn("hurts", "left knee")
before = (await facts.list())[0].learned_at
await facts.learn("hurts", "right knee")
print("now:   ", [fact.value for fact in await facts.list()])
print("before:", [fact.value for fact in await facts.known_at(before).list()])

# %% [markdown]
# ## Forget
#
# A person may ask to be forgotten. Content goes, everywhere, with a receipt; threads can still run on.

# %%
receipt = await memory.forget("ann", reason="she asked", by="privacy office")
print(dict(receipt.removed))
print([message.text for message in await talk.messages()])
print(await facts.list(), [hit.snippet for hit in (await memory.search("knee"))])

# %%
await app.aclose()
memory.close()
model.stop()
