"""The tree of errors that Vertebra raises.

::

    VertebraError                     everything below; has .code, .remedy, .context
    ├── GraphError                    the definition is wrong
    │   ├── GraphInvalid              compile() found errors; carries all findings
    │   ├── GraphChanged              what lies ahead of a thread in flight is not as it was
    │   │   └── MigrationFailed       the declared migration raised, or gave what the graph cannot go on with
    │   └── UnknownTask               no model for a task of @llm
    ├── NodeError                     a node failed; the thread stands at the edge before it
    │   ├── InvalidInput              the input does not fit the state
    │   ├── InvalidUpdate             what a node returned does not fit the state
    │   ├── ParallelWrites            two branches wrote one field that has no reducer
    │   ├── RouterFailed              a router raised or chose an undeclared target
    │   ├── LoopBoundReached          max_visits is used up
    │   ├── NodeTimeout               timeout_s has passed
    │   ├── NodeFailed                the body raised something of its own
    │   ├── RequestDrift              executed again, the node asked something else
    │   └── ToolError                 what a tool tells the model of a call that it could not do
    ├── CallError                     a call through the door failed
    │   ├── NoVisit                   a call outside of any node execution
    │   ├── NotRecorded               verified, a node asked what the record has no answer for
    │   ├── VisitClosed               a late call of a node that has timed out
    │   ├── ProviderUnreachable       connection lost or refused, or silent too long
    │   ├── ProviderRefused           an answer that is not 2xx, retries used up
    │   ├── AnswerTooLarge            the answer is over the limit
    │   ├── JournalFull               the thread has recorded as much as it may; nothing was sent
    │   ├── AnswerInvalid             2xx, but not what its content type says
    │   └── StreamTruncated           the stream ended before its last event
    ├── ThreadError                   the thread cannot do what was asked
    │   ├── ThreadNotFound
    │   ├── ThreadExists              a fork needs an id of its own
    │   ├── CheckpointNotFound        no such checkpoint in its history
    │   ├── RecordPruned              the recorded answer that is needed was let go
    │   ├── ThreadBusy                another writer holds the lease
    │   ├── ThreadNotFinished         resume it, do not start it again
    │   ├── ThreadCancelled           it was cancelled
    │   ├── LeaseLost                 this process was replaced as the writer
    │   ├── CrashLoop                 it killed every process that touched it
    │   └── AnswerError               the answer to an interrupt was not taken
    │       ├── AnswerMismatch        the interrupt has another answer already
    │       ├── AnswerRejected        the answer does not fit the model of the question
    │       ├── InterruptUnknown      no such interrupt is pending
    │       ├── InterruptAmbiguous    several are pending and none was named
    │       └── QuestionExpired       the deadline passed and there is no default
    ├── ConversationError             the conversation cannot do what was asked
    │   ├── ConversationNotFound
    │   ├── ConversationExists        an import brings another one under the same id
    │   ├── SubjectMismatch           it is a conversation with somebody else
    │   ├── BranchNotFound
    │   ├── BranchExists              a branch that begins elsewhere has the name
    │   ├── MessageNotFound           no such message on this branch
    │   ├── MessageInvalid            not in the shape of OpenAI's chat messages
    │   ├── MessageMismatch           the key has another message already
    │   └── ExportInvalid             lines that no export has written
    ├── RecallError                   nothing can be found again so
    │   ├── EmbedderMismatch          the vectors there are cannot be compared with this embedder's
    │   └── EmbeddingInvalid          what an embedder gave is no vectors
    ├── FactError                     what is known cannot be kept so
    │   └── FactMismatch              the key has another fact already
    ├── RetentionError                what is kept cannot be kept, or end, so
    │   ├── SubjectHeld               a legal hold is on the subject
    │   └── HoldNotFound
    ├── StoreError                    the database below
    │   ├── StoreUrlInvalid
    │   ├── StoreUnavailable          cannot be opened, reached, locked or written
    │   ├── StoreTooNew               written by a later release of Vertebra
    │   ├── StoreCorrupt              does not hold what it should
    │   ├── ClockSetBack              this machine's clock is behind the thread's latest checkpoint
    │   └── EncryptionError           what is encrypted at rest cannot be read or written
    │       ├── EncryptionKeyInvalid  not 32 bytes in base64
    │       ├── EncryptionKeyMissing  the database is encrypted, and no key was given
    │       ├── EncryptionKeyWrong    none of the given keys opens it
    │       ├── StoreNotEncrypted     a key was given, and the database holds plain content
    │       └── ContentTampered       a value was changed, moved, or put there unsealed
    ├── AppDraining                   the app was told to drain: it drives nothing any more
    ├── MissingExtra                  an optional dependency is not installed
    └── UsageError                    the API was used in a way that cannot work
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from vertebra.types import Finding


class VertebraError(Exception):
    """Root of all errors: what happened, where, and what to do next.

    ``code`` is stable across releases; ``context`` holds plain data (graph, node,
    thread, step ...) and never a secret. Errors pickle.
    """

    code: ClassVar[str] = "error"
    default_remedy: ClassVar[str] = ""

    def __init__(self, message: str, *, remedy: str | None = None, **context: Any) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = self.default_remedy if remedy is None else remedy
        self.context: dict[str, Any] = {k: v for k, v in context.items() if v is not None}

    def __str__(self) -> str:
        where = ", ".join(
            f"{key} {self.context[key]!r}" for key in ("graph", "thread", "node", "step") if key in self.context
        )
        parts = [self.message]
        if where:
            parts.append(f"[{where}]")
        if self.remedy:
            parts.append(f"To go on: {self.remedy}")
        return " ".join(parts)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.message, self.remedy, self.context)

    def located(self, **context: Any) -> VertebraError:
        """This error with places filled in that it does not name yet."""
        for key, value in context.items():
            if value is not None:
                self.context.setdefault(key, value)
        return self

    def to_json(self) -> dict[str, Any]:
        """Plain data for journals, HTTP and ``--json``: code, message, remedy, context."""
        return {
            "code": self.code,
            "message": self.message,
            "remedy": self.remedy,
            "context": {key: _plain(value) for key, value in self.context.items()},
        }


def _rebuild(kind: type[VertebraError], message: str, remedy: str, context: dict[str, Any]) -> VertebraError:
    return kind(message, remedy=remedy, **context)


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    return str(value)


class GraphError(VertebraError):
    code = "graph"


class GraphInvalid(GraphError):
    """The static checks found errors; ``findings`` has them all."""

    code = "graph_invalid"
    default_remedy = "mend every finding above; graph.check() lists them without raising."

    @property
    def findings(self) -> Sequence[Finding]:
        found: Sequence[Finding] = self.context.get("findings", ())
        return found


class GraphChanged(GraphError):
    code = "graph_changed"
    default_remedy = (
        "declare @graph.migration(from_version=...), finish the thread with the release that started it, "
        "or cancel it and run it anew."
    )


class MigrationFailed(GraphChanged):
    code = "migration_failed"
    default_remedy = "mend the migration and resume the thread, which is as it was."


class UnknownTask(GraphError):
    code = "unknown_task"
    default_remedy = "pass models={task: model} or default_model= to compile(), or --model to the command."


class NodeError(VertebraError):
    code = "node"


class InvalidInput(NodeError):
    code = "invalid_input"
    default_remedy = "mend the input and call run() again; nothing was executed."


class InvalidUpdate(NodeError):
    code = "invalid_update"
    default_remedy = "return a dict of the state's fields with values of their types, then resume the thread."


class ParallelWrites(NodeError):
    code = "parallel_writes"
    default_remedy = "give the field a reducer (Append[T], or Annotated[T, reducer])."


class RouterFailed(NodeError):
    code = "router_failed"
    default_remedy = "mend the router and resume the thread: it stands before the node, whose calls are journaled."


class LoopBoundReached(NodeError):
    code = "loop_bound_reached"
    default_remedy = "raise max_visits or declare on_exhausted=node, then resume the thread."


class NodeTimeout(NodeError):
    code = "node_timeout"
    default_remedy = "raise timeout_s or mend what hangs, then resume the thread; recorded calls are not paid again."


class NodeFailed(NodeError):
    """The node's body raised; the original exception is the cause."""

    code = "node_failed"
    default_remedy = "mend the cause and resume the thread: recorded calls are not paid again."


class RequestDrift(NodeError):
    """A node executed again sent another request than before at the same place."""

    code = "request_drift"
    default_remedy = (
        "build requests from state, ctx.now(), ctx.random and ctx.uuid() only; "
        "or resume(thread, fresh=node) to ask anew and pay again."
    )


class ToolError(NodeError):
    """Raised by a tool, to tell the model why a call was not done: ``raise ToolError("There is no order 17.")``."""

    code = "tool"
    default_remedy = "tell it to the model, which may call otherwise."


class CallError(VertebraError):
    code = "call"


class NoVisit(CallError):
    code = "no_visit"
    default_remedy = (
        "make calls from the node's own task or thread, with ctx.client; a thread that a node starts "
        "needs contextvars.copy_context()."
    )


class NotRecorded(CallError):
    code = "not_recorded"
    default_remedy = "read the difference that verify() reports: nothing was sent."


class VisitClosed(CallError):
    code = "visit_closed"
    default_remedy = "nothing: the node has ended (timed out or failed) and its late calls are refused."


class ProviderUnreachable(CallError):
    code = "provider_unreachable"
    default_remedy = "check the network and OPENAI_BASE_URL, then resume the thread."


class ProviderRefused(CallError):
    code = "provider_refused"
    default_remedy = "mend what the provider names (key, quota, request), then resume the thread."


class AnswerTooLarge(CallError):
    code = "answer_too_large"
    default_remedy = "ask for less, or raise max_answer_bytes in compile()."


class JournalFull(CallError):
    code = "journal_full"
    default_remedy = "find out why it asks so much; raise max_journal_bytes in compile(), then resume the thread."


class AnswerInvalid(CallError):
    code = "answer_invalid"
    default_remedy = "resume the thread to ask again; nothing was recorded."


class StreamTruncated(CallError):
    code = "stream_truncated"
    default_remedy = "resume the thread to ask again; nothing was recorded."


class ThreadError(VertebraError):
    code = "thread"


class ThreadNotFound(ThreadError):
    code = "thread_not_found"
    default_remedy = "check the thread id and the database; `vertebra threads` lists what is there."


class ThreadExists(ThreadError):
    code = "thread_exists"
    default_remedy = "choose another thread_id for the fork, or none; or delete() that thread first."


class CheckpointNotFound(ThreadError):
    code = "checkpoint_not_found"
    default_remedy = "take the id from app.tree(thread) or `vertebra history THREAD`."


class RecordPruned(ThreadError):
    code = "record_pruned"
    default_remedy = "what was pruned is gone: ask anew, and pay again, with fork(..., fresh=True)."


class ThreadBusy(ThreadError):
    code = "thread_busy"
    default_remedy = "wait for the other writer (wait_s=), or for its lease to run out if it has died."


class ThreadNotFinished(ThreadError):
    code = "thread_not_finished"
    default_remedy = (
        "resume() or recover() the thread, or cancel() it first; new input starts a turn when it has ended."
    )


class ThreadCancelled(ThreadError):
    code = "thread_cancelled"
    default_remedy = "give it new input with run() to start another turn."


class LeaseLost(ThreadError):
    code = "lease_lost"
    default_remedy = "nothing: another process drives the thread on; this one has stopped."


class CrashLoop(ThreadError):
    code = "crash_loop"
    default_remedy = "read its story (vertebra show THREAD), mend the cause, then resume() it by hand."


class AnswerError(ThreadError):
    code = "answer"


class AnswerMismatch(AnswerError):
    code = "answer_mismatch"
    default_remedy = "the first answer stands; show the thread to see it."


class AnswerRejected(AnswerError):
    code = "answer_rejected"
    default_remedy = "send an answer that fits the schema of the question; the thread still waits."


class InterruptUnknown(AnswerError):
    code = "interrupt_unknown"
    default_remedy = "take the id from run.interrupts."


class InterruptAmbiguous(AnswerError):
    code = "interrupt_ambiguous"
    default_remedy = "name the interrupt: resume(thread, answer, interrupt_id=...)."


class QuestionExpired(AnswerError):
    code = "question_expired"
    default_remedy = "answer it late with resume(), or skip its node; give the question a default= for the next time."


class ConversationError(VertebraError):
    code = "conversation"


class ConversationNotFound(ConversationError):
    code = "conversation_not_found"
    default_remedy = "check id, tenant and database; `vertebra memory ls` lists what is there."


class ConversationExists(ConversationError):
    code = "conversation_exists"
    default_remedy = "delete the one that is there, or import into another database or tenant."


class SubjectMismatch(ConversationError):
    code = "subject_mismatch"
    default_remedy = "give each person's conversation an id of its own, or leave subject= out."


class BranchNotFound(ConversationError):
    code = "branch_not_found"
    default_remedy = "make it with conversation.branch(name, at=message_id)."


class BranchExists(ConversationError):
    code = "branch_exists"
    default_remedy = "open it with memory.conversation(id, branch=name), or take another name."


class MessageNotFound(ConversationError):
    code = "message_not_found"
    default_remedy = "take the id from conversation.messages()."


class MessageInvalid(ConversationError):
    code = "message_invalid"
    default_remedy = "write it as the chat completions API takes it: role, content, name, tool_calls, tool_call_id."


class MessageMismatch(ConversationError):
    """The same key was used for another message before; the first one stands."""

    code = "message_mismatch"
    default_remedy = "the first message stands; give another message a key of its own."


class ExportInvalid(ConversationError):
    code = "export_invalid"
    default_remedy = "export it again; conversations before this line were imported."


class RecallError(VertebraError):
    """What was said cannot be found again in the way that was asked for."""

    code = "recall"


class EmbedderMismatch(RecallError):
    """Vectors of two embedders cannot be compared, nor those of two lengths."""

    code = "embedder_mismatch"
    default_remedy = (
        "open the memory with the embedder that made the vectors, or make them anew with this one: "
        "memory.embed_pending()."
    )


class EmbeddingInvalid(RecallError):
    """An embedder gave something else than a finite vector of its length for each text."""

    code = "embedding_invalid"
    default_remedy = "check the model's name and its dimensions; nothing was written."


class FactError(VertebraError):
    code = "fact"


class FactMismatch(FactError):
    """The same key was used for another fact before; the first one stands."""

    code = "fact_mismatch"
    default_remedy = "the first fact stands; give another fact a key of its own."


class RetentionError(VertebraError):
    code = "retention"


class SubjectHeld(RetentionError):
    """Nothing of it may be forgotten or deleted; ``context["holds"]`` has the ids of the holds."""

    code = "subject_held"
    default_remedy = "release each hold with memory.release(id, by=...), then try again."


class HoldNotFound(RetentionError):
    code = "hold_not_found"
    default_remedy = "check id, tenant and database; `vertebra memory holds` lists what is there."


class StoreError(VertebraError):
    code = "store"


class StoreUrlInvalid(StoreError):
    code = "store_url_invalid"
    default_remedy = "use memory://, sqlite:///file.db or postgresql://user@host/database."


class StoreUnavailable(StoreError):
    code = "store_unavailable"
    default_remedy = "check that the database can be reached and written, then resume the thread."


class StoreTooNew(StoreError):
    code = "store_too_new"
    default_remedy = "upgrade vertebra to the release that wrote the database, or later."


class StoreCorrupt(StoreError):
    code = "store_corrupt"
    default_remedy = (
        "restore the database from a backup, with no process running and without the old -wal and -shm files; "
        "nothing was changed."
    )


class ClockSetBack(StoreError):
    """LangGraph orders checkpoints by the time at which they were made: a new one would be taken for an old one."""

    code = "clock_set_back"
    default_remedy = "set this machine's clock right, or wait until it has caught up; then resume the thread."


class EncryptionError(StoreError):
    """Content at rest. No message and no context has content or a key in it; ids of keys are no secrets."""

    code = "encryption"


class EncryptionKeyInvalid(EncryptionError):
    code = "encryption_key_invalid"
    default_remedy = "pass 32 random bytes in base64, such as `openssl rand -base64 32` prints."


class EncryptionKeyMissing(EncryptionError):
    code = "encryption_key_missing"
    default_remedy = "pass encryption=KEY, or set VERTEBRA_ENCRYPTION_KEY for the command."


class EncryptionKeyWrong(EncryptionError):
    code = "encryption_key_wrong"
    default_remedy = "give the key that it was sealed under, too: several are parted by commas, the first one seals."


class StoreNotEncrypted(EncryptionError):
    code = "store_not_encrypted"
    default_remedy = (
        "encrypt it first (`vertebra rekey --encrypt`, SQLite), or pass no key until its threads have ended."
    )


class ContentTampered(EncryptionError):
    code = "content_tampered"
    default_remedy = "restore the row from a backup, and find out who else writes to the database."


class AppDraining(VertebraError):
    code = "app_draining"
    default_remedy = "send it to another process, which can recover the threads of this one; or compile a new app."


class MissingExtra(VertebraError):
    code = "missing_extra"


class UsageError(VertebraError):
    code = "usage"
