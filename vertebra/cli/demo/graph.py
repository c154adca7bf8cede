"""The scribe: a recorded consultation becomes a report, as a graph whose every edge survives a crash.

::

    cut -> transcribe (each slice) -> collate -> summarise (each passage) -> draft -> approve -> deliver
"""

from __future__ import annotations

import asyncio
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from vertebra import END, START, Context, Graph, Question, Retry, effect, human, llm, transition
from vertebra.cli.demo.audio import Slice, cut_recording, write_atomically
from vertebra.cli.demo.errors import AudioSilent
from vertebra.cli.demo.records import Approval, Complaint, Consultation, Note, Passage, Report
from vertebra.cli.demo.wording import VOCABULARY, complaint_request, report_request, statements, summary_request

AT_ONCE = 4
"""Requests in flight: hours of recording are hundreds of slices, and providers limit rates."""

MAX_TOKENS = 2000


@effect
def cut(visit: Consultation) -> dict[str, Any]:
    """Cut the recording at its silences. Writes files named by their content: doing it twice is doing it once."""
    return {"slices": cut_recording(visit.audio, Path(visit.folder) / "slices")}


@llm(task="transcribe", retry=Retry(attempts=4), timeout_s=1800)
async def transcribe(piece: Slice, ctx: Context) -> dict[str, Any]:
    """What is said in one slice."""
    path = Path(piece.path)
    sound = await asyncio.to_thread(path.read_bytes)
    async with _gate(asyncio.get_running_loop()):
        answer = await ctx.client.audio.transcriptions.create(
            model=ctx.model,
            file=(path.name, sound, "audio/wav"),
            prompt=VOCABULARY,
            response_format="json",
        )
    passage = Passage(index=piece.index, start_s=piece.start_s, end_s=piece.end_s, text=answer.text.strip())
    return {"heard": [passage]}


@transition
def collate(visit: Consultation) -> dict[str, Any]:
    """The passages in the order of the recording, without those in which nothing was understood."""
    transcript = [passage for passage in sorted(visit.heard, key=lambda p: p.index) if statements(passage.text)]
    if not transcript:
        raise AudioSilent("No word was understood in the recording.")
    return {"transcript": transcript}


@llm(task="summarise", retry=Retry(attempts=4), timeout_s=1800)
async def summarise(passage: Passage, ctx: Context) -> dict[str, Any]:
    """The lines of a passage that matter: at most three, chosen among what was said."""
    async with _gate(asyncio.get_running_loop()):
        answer = await ctx.client.chat.completions.create(
            model=ctx.model, max_completion_tokens=MAX_TOKENS, **summary_request(passage.text)
        )
    chosen = json.loads(answer.choices[0].message.content or "")
    said = statements(passage.text)
    lines = [line for line in dict.fromkeys(chosen.values()) if line in said]
    return {"notes": [Note(index=passage.index, lines=lines)]}


@llm(task="draft", retry=Retry(attempts=4), timeout_s=1800)
async def draft(visit: Consultation, ctx: Context) -> dict[str, Any]:
    """The report: first why the patient came, then, streamed, all of it."""
    lines = visit.lines()
    first = await ctx.client.chat.completions.create(
        model=ctx.model, max_completion_tokens=MAX_TOKENS, **complaint_request(lines)
    )
    reason = Complaint.model_validate_json(first.choices[0].message.content or "")
    stream = await ctx.client.chat.completions.create(
        model=ctx.model,
        max_completion_tokens=MAX_TOKENS,
        stream=True,
        stream_options={"include_usage": True},
        **report_request(lines, reason.complaint),
    )
    text = ""
    async for chunk in stream:
        if chunk.choices:
            text += chunk.choices[0].delta.content or ""
    return {"report": Report.read(text, lines)}


@human(answer=Approval, into="approval")
def approve(visit: Consultation) -> Question:
    """Nothing leaves without a person's consent."""
    return Question("Is this draft right, and may the report go out?", data=visit.report)


def decided(visit: Consultation) -> str:
    """Where the answer leads."""
    return "approved" if visit.approval is not None and visit.approval.approved else "declined"


@effect
def deliver(visit: Consultation) -> dict[str, Any]:
    """Write the report, as JSON and as a page. Each file is there whole or not at all."""
    from vertebra.cli.demo.report import render

    folder = Path(visit.folder)
    content = visit.model_dump(mode="json", include={"report", "approval", "transcript"})
    write_atomically(folder / "report.json", (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())
    write_atomically(folder / "report.html", render(visit).encode())
    return {"delivered": [str(folder / "report.json"), str(folder / "report.html")]}


@lru_cache(maxsize=4)
def _gate(loop: asyncio.AbstractEventLoop) -> asyncio.Semaphore:
    """The gate of one event loop; a semaphore belongs to the loop that first waited on it."""
    return asyncio.Semaphore(AT_ONCE)


def scribe() -> Graph:
    """The graph, checked when it is compiled."""
    graph = Graph(Consultation, name="scribe", version="1")
    graph.add_edge(START, cut)
    graph.fan_out(cut, transcribe, over="slices")
    graph.add_edge(transcribe, collate)
    graph.fan_out(collate, summarise, over="transcript")
    graph.add_edge(summarise, draft)
    graph.add_edge(draft, approve)
    graph.add_conditional_edges(approve, decided, {"approved": deliver, "declined": END})
    graph.add_edge(deliver, END)
    return graph
