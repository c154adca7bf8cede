"""The rows of calls: begun, sent, answered once, told, and emptied; each a function of a transaction."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from vertebra.checkpointers.allowance import Allowance
from vertebra.checkpointers.content import seal, seal_request, stored_key, unseal, unseal_request
from vertebra.checkpointers.legible import legible
from vertebra.databases.database import Row, Tx
from vertebra.databases.sealing import Seals
from vertebra.types import Attempt, CallKey, CallRecord, RecordedAnswer

COLUMNS = (
    "thread, visit, request_hash, epoch, ordinal, run_id, node, step, kind, endpoint, model, status, request, "
    "sequence, answer_status, answer_headers, answer_body, input_tokens, output_tokens, started_at, finished_at, "
    "sends, lost, replays, attempts, origin"
)
_BY_KEY = "thread = ? AND visit = ? AND request_hash = ? AND epoch = ? AND ordinal = ?"


def books_of(thread: str) -> str:
    """What is locked to change a thread's journal: not its name, which a takeover locks (see ``fencing``)."""
    return f"journal of {thread}"


def begin(tx: Tx, call: CallRecord, allowance: Allowance | None) -> CallRecord:
    key = stored_key(tx.seals, call.key)
    request = seal_request(tx.seals, key, call.key.request_hash, call.request)
    is_new = tx.execute(
        f"INSERT INTO vertebra_calls ({COLUMNS}) VALUES ({', '.join('?' * 26)}) ON CONFLICT DO NOTHING",
        *key,
        *(call.run_id, call.node, call.step, call.kind, call.endpoint, call.model, "intent", request),
        *(call.sequence, None, None, None, None, None, call.started_at, None, 1, 0, 0),
        *(seal(tx.seals, "calls", "attempts", key, "[]"), None),
    )
    if is_new:
        if allowance is not None:
            allowance.require(tx, call.key.thread, call.request)
        return replace(call, status="intent", sends=1)
    tx.lock(books_of(call.key.thread))
    known = _get(tx, call.key)
    assert known is not None
    if known.answer is not None and known.answer.pruned:
        return known
    if known.status == "done":
        # An inherited call counts in the run that takes its answer: nobody ran it here before.
        tx.execute(
            "UPDATE vertebra_calls SET replays = replays + 1, "
            f"run_id = CASE WHEN origin IS NULL THEN run_id ELSE ? END WHERE {_BY_KEY}",
            *(call.run_id, *key),
        )
        return replace(known, replays=known.replays + 1, run_id=known.run_id if known.origin is None else call.run_id)
    # An intent whose last sending has no noted outcome: its process died with the answer, if there was one.
    lost = 1 if len(known.attempts) < known.sends else 0
    attempts = (*known.attempts, *([Attempt("unknown: the process died", call.started_at)] * lost))
    tx.execute(
        f"UPDATE vertebra_calls SET sends = sends + 1, lost = lost + ?, attempts = ? WHERE {_BY_KEY}",
        *(lost, seal(tx.seals, "calls", "attempts", key, _attempts_text(attempts))),
        *key,
    )
    return replace(known, sends=known.sends + 1, lost=known.lost + lost, attempts=attempts)


def _get(tx: Tx, key: CallKey) -> CallRecord | None:
    row = tx.one(f"SELECT {COLUMNS} FROM vertebra_calls WHERE {_BY_KEY}", *stored_key(tx.seals, key))
    return None if row is None else record_of(tx.seals, row)


def sent(tx: Tx, key: CallKey, attempt: Attempt, again: bool) -> None:
    tx.lock(books_of(key.thread))
    known = _get(tx, key)
    if known is None:
        return  # the thread was deleted in the meantime
    stored = stored_key(tx.seals, key)
    text = seal(tx.seals, "calls", "attempts", stored, _attempts_text([*known.attempts, attempt]))
    # `sends` counts what left, `attempts` what is known to have failed: the difference may have been paid.
    tx.execute(f"UPDATE vertebra_calls SET attempts = ?, sends = sends + ? WHERE {_BY_KEY}", text, int(again), *stored)


def complete(tx: Tx, key: CallKey, answer: RecordedAnswer, finished_at: float) -> RecordedAnswer:
    stored = stored_key(tx.seals, key)
    headers = seal(tx.seals, "calls", "answer_headers", stored, json.dumps(answer.headers))
    body = seal(tx.seals, "calls", "answer_body", stored, answer.body)
    changed = tx.execute(
        "UPDATE vertebra_calls SET status = 'done', answer_status = ?, answer_headers = ?, answer_body = ?, "
        f"input_tokens = ?, output_tokens = ?, finished_at = ? WHERE {_BY_KEY} AND status = 'intent'",
        *(answer.status, headers, body, answer.input_tokens, answer.output_tokens, finished_at),
        *stored,
    )
    if changed:
        return answer
    known = _get(tx, key)
    return (known.answer if known is not None else None) or answer


def forget_answers(tx: Tx, thread: str, *, dry_run: bool = False) -> int:
    """Let go what was asked and answered in a thread; rows, tokens and hashes stay. Returns of how many calls."""
    row = tx.one("SELECT count(*) FROM vertebra_calls WHERE thread = ? AND answer_body IS NOT NULL", thread)
    if not dry_run:
        if tx.seals.on:  # there the request is the only place that has the hash
            _forget_requests(tx, thread)
            tx.execute("UPDATE vertebra_calls SET answer_body = NULL WHERE thread = ?", thread)
            return int(row[0]) if row else 0
        tx.execute(
            "UPDATE vertebra_calls SET request = NULL, answer_body = NULL "
            "WHERE thread = ? AND (request IS NOT NULL OR answer_body IS NOT NULL)",
            thread,
        )
    return int(row[0]) if row else 0


def _forget_requests(tx: Tx, thread: str) -> None:
    for *key, stored in tx.all(
        "SELECT thread, visit, request_hash, epoch, ordinal, request FROM vertebra_calls WHERE thread = ?", thread
    ):
        at = tuple(key)
        text = seal_request(tx.seals, at, unseal_request(tx.seals, at, stored)[0], None)
        tx.execute(f"UPDATE vertebra_calls SET request = ? WHERE {_BY_KEY}", text, *at)


def record_of(seals: Seals, row: Row) -> CallRecord:
    """From a row of ``COLUMNS``. Raises ``EncryptionError``, ``StoreCorrupt``."""
    with legible(str(row[0]), "call", row[1]):
        return _record_of(seals, row)


def _record_of(seals: Seals, row: Row) -> CallRecord:
    (thread, visit, digest, epoch, ordinal, run_id, node, step, kind, endpoint, model, status, request, sequence) = row[
        :14
    ]
    (a_status, a_headers, a_body, tokens_in, tokens_out, started, finished, sends, lost, replays, attempts) = row[14:25]
    key = (thread, visit, digest, int(epoch), int(ordinal))
    request_hash, request = unseal_request(seals, key, request)
    answer = None
    if status == "done":
        kept = json.loads(unseal(seals, "calls", "answer_headers", key, a_headers))
        headers = tuple((str(k), str(v)) for k, v in kept)
        body = unseal(seals, "calls", "answer_body", key, a_body)
        sizes = _int(tokens_in), _int(tokens_out)
        answer = RecordedAnswer(int(a_status), headers, body or b"", *sizes, pruned=body is None)
    return CallRecord(
        key=CallKey(thread, visit, request_hash, int(epoch), int(ordinal)),
        run_id=run_id,
        node=node,
        step=int(step),
        kind=kind,
        endpoint=endpoint,
        model=model,
        status=status,
        request=request,
        answer=answer,
        started_at=float(started),
        finished_at=None if finished is None else float(finished),
        sends=int(sends),
        lost=int(lost),
        replays=int(replays),
        attempts=tuple(_attempts(unseal(seals, "calls", "attempts", key, attempts))),
        sequence=_int(sequence),
        origin=row[25],
    )


def _int(value: Any) -> int | None:
    return None if value is None else int(value)


def _attempts(text: str) -> list[Attempt]:
    return [Attempt(**item) for item in json.loads(text)]


def _attempts_text(attempts: Sequence[Attempt]) -> str:
    return json.dumps([asdict(attempt) for attempt in attempts])
