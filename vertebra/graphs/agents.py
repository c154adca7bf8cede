"""A tool-calling agent as an explicit graph: copy it and change it where yours differs.

::

    START -> model -> read => tools -> model      a turn: the model asks for calls, each is done, it is told the results
             model -> answer -> END               it asks for none, so it has answered
             model -> conclude -> answer          its turns are used up: it answers with what there is
             answer -> mend -> answer             what it answered does not fit the type: it is told, and asked anew

With ``memory=`` a node ``recall`` comes first and ``remember`` last: what was said in other threads is there, too.

``tools`` is a graph of its own, run once for each call, side by side: an effect for each tool and, before each tool
that needs approval, a person. So a call that nobody was asked about reaches no such tool: there is no way to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, ValidationError, create_model

from vertebra.errors import ToolError, UsageError
from vertebra.graphs.agent_memory import (
    FIELDS,
    Remembering,
    asked,
    begin,
    recalls,
    rejects,
    remember,
    require_room,
    told_of,
)
from vertebra.graphs.authoring import Graph
from vertebra.graphs.state import Append, summary
from vertebra.graphs.tools import Tool, told, tool
from vertebra.nodes.context import Context
from vertebra.nodes.kinds import Node, effect, human, llm, transition
from vertebra.nodes.question import Question
from vertebra.nodes.retry import Retry
from vertebra.types import END, START

ONE_QUESTION_A_CALL = {"interrupt_in_fan_out": "each call that waits for approval has an interrupt_id of its own"}


class Approval(BaseModel):
    """What a person says to a call of a tool; the model is told the reason of a refusal."""

    approved: bool
    reason: str = ""


class Call(BaseModel):
    """One call of a tool that the model asked for: the state of the graph ``tools``."""

    id: str
    tool: str
    arguments: dict[str, Any]
    approval: Approval | None = None
    messages: Append[dict[str, Any]] = []


class AgentState(BaseModel):
    """A conversation in the shape of OpenAI's chat messages, the calls of the present turn, and the answer."""

    messages: Append[dict[str, Any]] = []
    calls: list[Call] = []
    answer: Any = None


def agent(
    name: str,
    *,
    tools: Sequence[Any] = (),
    system: str = "",
    answer: type[Any] = str,
    task: str = "agent",
    max_turns: int = 8,
    max_parallel: int = 8,
    max_corrections: int = 2,
    retry: Retry | None = None,
    timeout_s: float = 300.0,
    options: Mapping[str, Any] | None = None,
    memory: int | None = None,
    version: str = "1",
) -> Graph:
    """An agent that calls ``tools`` (functions, or what ``tool`` made of them) until it answers. Raises ``UsageError``.

    Input: ``{"messages": [{"role": "user", "content": ...}]}``; the next run of the thread goes on with them. The
    state's ``answer`` is a text, or an instance of ``answer``, a pydantic model. ``task`` becomes a model by the
    policy; ``options`` go into each request (``temperature``, ...). After ``max_turns`` rounds of calls it is asked to
    answer without more; of the calls of one message ``max_parallel`` are done; an answer that does not fit is asked
    for anew ``max_corrections`` times, then the run stops with ``LoopBoundReached``, resumable.

    ``memory``: it talks within a conversation that is kept apart from the thread (``compile(memory=URL)``), named by
    ``conversation`` and ``subject`` of the input, or else by the thread. The model is given of it what fits into so
    many tokens, with a summary of what does not (a call of ``task``), and then the present turn. A turn is added once,
    when it has ended.

    Example::

        helpdesk = agent("helpdesk", tools=[search, refund], system="You answer customers.")
        assert helpdesk.prove("tools/approve_refund", before="tools/refund")
        app = helpdesk.compile(checkpointer="sqlite:///helpdesk.db", default_model="gpt-5-mini")
        run = await app.run({"messages": [{"role": "user", "content": "My parcel is broken."}]})
    """
    known = _named(tools)
    typed = None if answer is str else _require_model(answer)
    room = None if memory is None else require_room(memory)
    reads = ("messages",) if room is None else FIELDS
    requests: dict[str, Any] = {"retry": retry, "timeout_s": timeout_s, "writes": ("messages",), "reads": reads}
    shared: dict[str, Any] = {"task": task, "system": system, "answer": typed, "options": dict(options or {})}
    shared["room"] = room
    g = Graph(_state(typed, max_parallel, room), name=name, version=version)

    g.add_node("model", llm(task=task, **requests)(_asks(known, **shared)))
    g.add_node("answer", _answers(typed, room))
    end = END
    if room is None:
        g.add_edge(START, "model")
    else:
        recall, end = recalls(room, task, retry=retry, timeout_s=timeout_s), remember.name
        g.add_edge(START, begin).add_edge(begin, recall).add_edge(recall, "model")
        g.add_edge(remember, END).require(end, before=END)
    if known:
        g.add_node("read", _reads(known, max_parallel))
        g.add_node(_tools(known), waive=ONE_QUESTION_A_CALL if any(each.approval for each in known.values()) else None)
        g.add_node("conclude", llm(task=task, **requests)(_asks(known, **shared, last=True)))
        g.add_conditional_edges(
            "model", wants, {"calls": "read", "answer": "answer"}, max_visits=max_turns, on_exhausted="conclude"
        )
        g.fan_out("read", "tools", over="calls")
        g.add_edge("tools", "model").add_edge("conclude", "answer")
    else:
        g.add_edge("model", "answer")
    if typed is None:
        return g.add_edge("answer", end)
    g.add_node("mend", llm(task=task, **requests)(_asks(known, **shared, last=True)))
    g.add_conditional_edges("answer", fits, {True: end, False: "mend"}, max_visits=max_corrections)
    return g.add_edge("mend", "answer")


def wants(state: AgentState) -> Literal["calls", "answer"]:
    """What the model asked for last."""
    return "calls" if state.messages[-1].get("tool_calls") else "answer"


def fits(state: AgentState) -> bool:
    """Whether its answer is of the type that was asked for."""
    return state.answer is not None


def _asks(
    tools: Mapping[str, Tool],
    *,
    task: str,
    system: str,
    answer: type[BaseModel] | None,
    options: dict[str, Any],
    room: int | None,
    last: bool = False,
) -> Any:
    """The body of a node that asks the model; ``last``: for an answer, and for no more calls."""
    prompt: list[Any] = [{"role": "system", "content": system}] if system else []
    more: dict[str, Any] = dict(options)
    if tools:
        more |= {"tools": [each.schema for each in tools.values()]} | ({"tool_choice": "none"} if last else {})

    async def ask(state: AgentState, ctx: Context) -> dict[str, Any]:
        left = [told_of(each["id"], "Not done: no turn is left. Answer with what is known.") for each in _open(state)]
        form: dict[str, Any] = {} if answer is None else {"response_format": _response_format(answer)}
        create: Any = ctx.client.chat.completions.create
        talk = await asked(state, ctx, room)
        reply = await create(model=ctx.model, messages=[*prompt, *talk, *left], **more, **form)
        message = reply.choices[0].message
        said: dict[str, Any] = {"role": "assistant", "content": message.content or message.refusal or ""}
        if message.tool_calls and not last:
            said["tool_calls"] = [each.model_dump(exclude_none=True) for each in message.tool_calls]
        return {"messages": [*left, said]}

    return ask


def _reads(tools: Mapping[str, Tool], max_parallel: int) -> Node[..., Any]:
    """The calls that can be made; of the others the model is told why they cannot."""

    @transition(reads=("messages",), writes=("calls", "messages"))
    def read(state: AgentState) -> dict[str, Any]:
        calls: list[Call] = []
        refused: list[dict[str, Any]] = []
        for each in _open(state):
            function = each.get("function") or {}
            try:
                if len(calls) == max_parallel:
                    raise ToolError(f"No more than {max_parallel} calls are done at a time.")
                if function.get("name") not in tools:
                    raise ToolError(f"There is no tool {function.get('name')!r}; there are {', '.join(tools)}.")
                arguments = tools[function["name"]].read(function.get("arguments") or "")
                calls.append(Call(id=each["id"], tool=function["name"], arguments=arguments))
            except ToolError as error:
                refused.append(told_of(each["id"], f"Error: {error.message}"))
        return {"calls": calls, "messages": refused}

    return read


def _tools(tools: Mapping[str, Tool]) -> Graph:
    """The graph of one call: to its tool, past a person where it needs approval."""
    g = Graph(Call, name="tools")
    g.add_conditional_edges(
        START, lambda call: call.tool, {n: f"approve_{n}" if t.approval else n for n, t in tools.items()}
    )
    for name, each in tools.items():
        g.add_node(name, _effect(each)).add_edge(name, END)
        if each.approval:
            g.add_node(f"approve_{name}", _approves(each)).add_node("denied", _denied)
            g.add_conditional_edges(f"approve_{name}", granted, {True: name, False: "denied"})
            g.require(f"approve_{name}", before=name)
    return g.add_edge("denied", END) if "denied" in g.definition.nodes else g


def granted(call: Call) -> bool:
    """Whether a person has approved it."""
    return call.approval is not None and call.approval.approved


def _approves(of: Tool) -> Node[..., Any]:
    """A question to a person about one call."""

    @human(answer=Approval, into="approval", reads=("id", "tool", "arguments"))
    def approve(call: Call) -> Question:
        default = None
        if of.approval_deadline_s is not None:
            default = Approval(approved=False, reason="Nobody answered in time.")
        given = ", ".join(f"{key}={value!r}" for key, value in call.arguments.items())
        data = {"call_id": call.id, "tool": call.tool, "arguments": call.arguments}
        return Question(f"Call {call.tool}({given})?", data, of.approval_deadline_s, default)

    return approve


@transition(reads=("id", "approval"), writes=("messages",))
def _denied(call: Call) -> dict[str, Any]:
    reason = f" The reason: {call.approval.reason}" if call.approval and call.approval.reason else ""
    return {"messages": [told_of(call.id, f"Not done: a person refused this call.{reason}")]}


def _effect(of: Tool) -> Node[..., Any]:
    """The tool as an effect: done once for this call, its result journaled, an error that it tells of too."""

    def arguments(fn: Any, call: Call, ctx: Context) -> dict[str, Any]:
        return of.bound(fn, call.arguments, ctx)

    def said(call: Call, result: Any) -> dict[str, Any]:
        return {"messages": [told_of(call.id, told(result))]}

    def run(call: Call, ctx: Context) -> dict[str, Any]:
        try:
            return said(call, of.fn(**arguments(of.fn, call, ctx)))
        except ToolError as error:
            return said(call, f"Error: {error.message}")

    async def run_async(call: Call, ctx: Context) -> dict[str, Any]:
        try:
            return said(call, await of.fn(**arguments(of.fn, call, ctx)))
        except ToolError as error:
            return said(call, f"Error: {error.message}")

    async def check(call: Call, ctx: Context) -> dict[str, Any] | None:
        assert of.check is not None
        found = of.check(**arguments(of.check, call, ctx))
        found = await found if hasattr(found, "__await__") else found
        return None if found is None else said(call, found)

    declared: dict[str, Any] = {
        "retry": of.retry,
        "timeout_s": of.timeout_s,
        "check": check if of.check is not None else None,
    }
    body: Any = run_async if of.is_async else run
    made: Node[..., Any] = effect(**declared, reads=("id", "arguments"), writes=("messages",))(body)
    return made


def _answers(of: type[BaseModel] | None, room: int | None) -> Node[..., Any]:
    """The answer of its last message, validated; if it does not fit, the model is told why."""
    noted = () if room is None else ("refused",)

    @transition(reads=("messages",), writes=("answer", "messages", *noted))
    def answer(state: AgentState) -> dict[str, Any]:
        text = state.messages[-1].get("content") or ""
        if of is None:
            return {"answer": text}
        try:
            return {"answer": of.model_validate_json(text)}
        except ValidationError as error:
            why = f"Your answer does not fit: {summary(error)}. Answer again, as JSON of the schema and nothing else."
            told = {"answer": None, "messages": [{"role": "user", "content": why}]}
            return told if room is None else {**told, **rejects(state.messages)}

    return answer


def _open(state: AgentState) -> list[dict[str, Any]]:
    """The calls of its last message."""
    return list(state.messages[-1].get("tool_calls") or ()) if state.messages else []


def _response_format(answer: type[BaseModel]) -> dict[str, Any]:
    import openai

    schema = openai.pydantic_function_tool(answer)["function"].get("parameters")
    return {"type": "json_schema", "json_schema": {"name": answer.__name__, "schema": schema, "strict": True}}


def _named(tools: Sequence[Any]) -> dict[str, Tool]:
    made = [each if isinstance(each, Tool) else tool(each) for each in tools]
    names = [each.name for each in made]
    names += [f"approve_{each.name}" for each in made if each.approval] + ["denied"]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"Two nodes of the tools would be called {twice!r}.", remedy="give one tool(name=...).")
    return {each.name: each for each in made}


def _require_model(answer: Any) -> type[BaseModel]:
    if isinstance(answer, type) and issubclass(answer, BaseModel):
        return answer
    raise UsageError(f"answer={answer!r} is no type of an answer.", remedy="give str or a pydantic model.")


def _state(answer: type[BaseModel] | None, max_parallel: int, room: int | None) -> type[AgentState]:
    calls: Any = (Annotated[list[Call], Field(max_length=max_parallel)], [])
    said: Any = (str if answer is None else answer | None, "" if answer is None else None)
    base: Any = AgentState if room is None else (AgentState, Remembering)
    made: type[AgentState] = create_model("AgentState", __base__=base, __module__=__name__, calls=calls, answer=said)
    return made
