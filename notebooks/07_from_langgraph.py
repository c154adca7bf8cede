# %% [markdown]
# # 07 · From LangGraph to Vertebra
#
# You have a LangGraph graph. Keep it as it is: Vertebra adopts it, and its model calls are recorded. Then see what a graph
# of Vertebra's own gives beyond that.

# %%
import os

from vertebra.testing import ScriptedModel

model = ScriptedModel(sampled=True).start()
os.environ.update(model.env())

# %% [markdown]
# ## An unchanged LangGraph graph
#
# One thing is new: the HTTP client. `vertebra.http_client()` is the door through which each call is recorded.

# %%
from langchain_openai import ChatOpenAI
from langgraph.graph import END, START, MessagesState, StateGraph

import vertebra

chat = ChatOpenAI(model="gpt-5-mini", http_async_client=vertebra.http_client())
broken = True


async def answer(state: MessagesState) -> dict:
    return {"messages": [await chat.ainvoke(state["messages"])]}


async def deliver(state: MessagesState) -> dict:
    if broken:
        raise ConnectionError("the other system is away")
    return {}


builder = StateGraph(MessagesState)
builder.add_node(answer)
builder.add_node(deliver)
builder.add_edge(START, "answer")
builder.add_edge("answer", "deliver")
builder.add_edge("deliver", END)

# %% [markdown]
# ## Adopted
#
# LangGraph's own methods are all there, and so are Vertebra's: a failed run says why, and is resumed.

# %%
app = vertebra.Graph.from_langgraph(builder, name="support").compile()
run = await app.run({"messages": "Where is my parcel?"}, thread_id="parcel-1")
print(run.status, "before", run.next)
print(run.error)

# %%
broken = False
run = await app.resume("parcel-1")
print(run.status, "| calls paid:", len(model.books.paid()))

# %%
values = await app.ainvoke({"messages": "And now?"}, {"configurable": {"thread_id": "parcel-1"}})
print(len(values["messages"]), "messages;", (await app.aget_state({"configurable": {"thread_id": "parcel-1"}})).next)
await app.aclose()

# %% [markdown]
# ## The same as a graph of Vertebra's
#
# Nodes say what they are, so that the graph can be checked, proved and drawn before it runs, and edges are declared.

# %%
from pydantic import BaseModel

from vertebra import Context, Graph, Retry, effect, llm


class Support(BaseModel):
    question: str
    answer: str = ""
    delivered: bool = False


@llm(task="answer", retry=Retry(attempts=4), timeout_s=60)
async def reply(state: Support, ctx: Context) -> dict:
    said = await ctx.client.chat.completions.create(
        model=ctx.model, messages=[{"role": "user", "content": state.question}]
    )
    return {"answer": said.choices[0].message.content}


@effect
async def hand_over(state: Support, ctx: Context) -> dict:
    return {"delivered": True}


graph = Graph(Support, name="support", version="2")
graph.add_edge(START, reply).add_edge(reply, hand_over).add_edge(hand_over, END)
graph

# %%
print(graph.prove(reply, before=hand_over))
print(graph.bounds())

# %%
async with graph.compile(default_model="gpt-5-mini") as app:
    run = await app.run({"question": "Where is my parcel?"}, thread_id="parcel-2")
run

# %% [markdown]
# | in LangGraph | in Vertebra |
# |---|---|
# | a killed run executes its node again, and pays for every call in it again | recorded calls are answered from the journal |
# | two processes may drive one thread | one thread has one writer: a lease, compared in each transaction that writes |
# | a renamed node silently ends the threads that stand before it | the thread is carried on, migrated or refused, with the difference |
# | a router that raises may end the thread | the thread stands before the node, and is resumed |
#
# [docs/langgraph.md](../docs/langgraph.md) goes through LangGraph's features one by one.

# %%
model.stop()
