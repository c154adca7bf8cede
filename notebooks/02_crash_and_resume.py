# %% [markdown]
# # 02 · Crash and resume
#
# A process dies in the middle of a run: a deployment, a full memory, a power cut. Here a second Jupyter kernel drives
# the run, and we kill that kernel for real (`SIGKILL`). Then this kernel goes on from where it stopped, and the books of
# the model show that nothing was paid for twice.

# %%
import os
import signal
import tempfile
from pathlib import Path

from vertebra.testing import ScriptedModel

folder = Path(tempfile.mkdtemp())
model = ScriptedModel(sampled=True).start()  # asked twice, it answers twice: what is repeated shows
model.on("three").hang()  # the first time the third chapter is asked for, the model takes for ever
os.environ.update(model.env(), STORE=f"sqlite:///{folder}/book.db")

# %% [markdown]
# ## The agent
#
# It stands in a file of its own, as it would in your service, so that both kernels can import it.

# %%
(folder / "chapters.py").write_text('''\
from pydantic import BaseModel

from vertebra import END, START, Append, Context, Graph, llm


class Book(BaseModel):
    chapters: Append[str] = []


def chapter(number: str):
    @llm(task="write")
    async def write(book: Book, ctx: Context) -> dict:
        reply = await ctx.client.chat.completions.create(
            model=ctx.model, messages=[{"role": "user", "content": f"Write chapter {number}."}]
        )
        return {"chapters": [reply.choices[0].message.content]}

    return write


graph = Graph(Book, name="book")
names = ["one", "two", "three", "four"]
for name in names:
    graph.add_node(name, chapter(name))
for before, after in zip([START, *names], [*names, END], strict=True):
    graph.add_edge(before, after)
''');

# %%
import sys

sys.path.insert(0, str(folder))
from chapters import graph

graph

# %% [markdown]
# ## Another kernel drives the run ...

# %%
from jupyter_client.manager import start_new_kernel

manager, other = start_new_kernel(cwd=folder, extra_arguments=["--log-level=ERROR"])
other.execute("""
import os
from chapters import graph

app = graph.compile(checkpointer=os.environ["STORE"], default_model="gpt-5-mini")
run = await app.run({}, thread_id="my-book")
""");

# %% [markdown]
# ... and is killed while it waits for the third chapter.

# %%
import time

while not any(entry.status == 0 for entry in model.books):  # the one that hangs
    time.sleep(0.05)
os.kill(manager.provisioner.pid, signal.SIGKILL)
print(f"Killed. The model has answered {len(model.books.paid())} times, and been asked {len(model.books)} times.")

# %% [markdown]
# ## Where does the thread stand?
#
# Each edge is durable, so there is nothing to guess.

# %%
app = graph.compile(checkpointer=os.environ["STORE"], default_model="gpt-5-mini")
standing = await app.status("my-book")
print(standing.status, "before", standing.next, "with", len(standing.output.chapters), "chapters")

# %% [markdown]
# ## Recover
#
# `recover()` drives on every run whose process has died. On the same machine that is known at once; from another one it
# is known when the dead process's lease has run out (30 s by default).

# %%
(run,) = await app.recover()
run

# %%
print(run.status, len(run.output.chapters), "chapters")
print(f"asked {len(model.books)} times, answered and paid {len(model.books.paid())}; four chapters, four payments")
assert len(model.books.paid()) == 4

# %% [markdown]
# The third chapter had been asked for and not answered when the kernel died. That window cannot be closed by anybody, so
# it is *visible*: the call counts as `lost`, and was asked again under the same `Idempotency-Key`.

# %%
print("lost:", run.total.lost, "| from the journal:", run.calls_from_journal)
await app.aclose()
other.stop_channels()
manager.cleanup_resources()
model.stop()
