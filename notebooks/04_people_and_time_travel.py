# %% [markdown]
# # 04 · People in the loop, and time travel
#
# An agent drafts, a person decides. The question may wait for days, in no process at all; the answer may come from
# anywhere. Then we go back to an edge of the past and try what else could have been.

# %%
import os

from vertebra.testing import ScriptedModel

model = ScriptedModel(sampled=True).start()
model.on("friendly").reply("Dear Ada, your parcel is on its way!")
model.on("formal").reply("Dear Ms Lovelace, your parcel has been dispatched.")
os.environ.update(model.env())

# %%
from pydantic import BaseModel

from vertebra import END, START, Context, Graph, Question, effect, human, llm


class Decision(BaseModel):
    send: bool
    why: str = ""


class Letter(BaseModel):
    tone: str = "friendly"
    text: str = ""
    decision: Decision | None = None
    sent: bool = False


@llm(task="write")
async def write(letter: Letter, ctx: Context) -> dict:
    reply = await ctx.client.chat.completions.create(
        model=ctx.model, messages=[{"role": "user", "content": f"Write a {letter.tone} letter."}]
    )
    return {"text": reply.choices[0].message.content}


@human(answer=Decision)
def approve(letter: Letter) -> Question:
    return Question(f"Shall this be sent?\n{letter.text}", deadline_s=3 * 86400, default=Decision(send=False))


def decided(letter: Letter) -> bool:
    return letter.decision.send


@effect
async def send(letter: Letter, ctx: Context) -> dict:
    print("SENT:", letter.text)
    return {"sent": True}


graph = Graph(Letter, name="letters")
graph.add_edge(START, write).add_edge(write, approve)
graph.add_conditional_edges(approve, decided, {True: send, False: END})
graph.add_edge(send, END)
graph.require(approve, before=send)
graph

# %% [markdown]
# ## Ask
#
# The run stops at the question, and tells how it is resumed.

# %%
app = graph.compile(default_model="gpt-5-mini")
run = await app.run({}, thread_id="letter-1")
run

# %%
(question,) = run.interrupts
print(question.text)
print("until", question.deadline)

# %% [markdown]
# ## Answer
#
# The answer is checked against `Decision` before anything is done with it.

# %%
from vertebra.errors import VertebraError

try:
    await app.resume("letter-1", {"send": "perhaps"})
except VertebraError as error:
    print(error)

# %%
run = await app.resume("letter-1", Decision(send=False, why="too friendly"))
print(run.status, run.output.sent)

# %% [markdown]
# The same answer again changes nothing, so that whoever delivers answers may do it twice; another one is refused.

# %%
run = await app.resume("letter-1", Decision(send=False, why="too friendly"), interrupt_id=question.id)
try:
    await app.resume("letter-1", Decision(send=True), interrupt_id=question.id)
except VertebraError as error:
    print(error)

# %% [markdown]
# ## What has happened?
#
# Step by step, with what each one changed in the state.

# %%
run.history

# %% [markdown]
# ## Time travel
#
# Every edge is a place to go back to. A *fork* is a thread of its own that goes on from one; its parent stays as it is.

# %%
tree = await app.tree("letter-1")
for edge in tree.edges:
    print(f"{edge.step:2}  {', '.join(edge.nodes) or edge.source:10} -> {', '.join(edge.next) or 'end'}")

# %%
start = next(edge for edge in tree.edges if edge.next == ("write",))
fork = await app.fork("letter-1", at=start.checkpoint_id, update={"tone": "formal"}, thread_id="letter-1-formal")
run = await app.resume(fork.thread_id)
print(run.interrupts[0].text)

# %%
run = await app.resume("letter-1-formal", Decision(send=True))
run

# %% [markdown]
# The parent has not noticed, and the tree shows both.

# %%
print((await app.status("letter-1")).output.sent, run.output.sent)
print([fork.thread for fork in (await app.tree("letter-1")).forks])

# %%
await app.aclose()
model.stop()
