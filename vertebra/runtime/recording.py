"""A stream that records itself while it is read: durable before its last bytes are handed out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from vertebra.errors import AnswerTooLarge, CallError, ProviderUnreachable, StreamTruncated
from vertebra.ports import crash_point
from vertebra.runtime.answers import StreamWatch, kept_headers
from vertebra.types import RecordedAnswer

if TYPE_CHECKING:
    from vertebra.ports import Reply
    from vertebra.runtime.call import Call


class RecordedStream:
    """The bytes of an event stream on their way to the caller.

    At the protocol's last event the whole answer is recorded, then that event is handed on. Broken
    off by the provider it raises ``StreamTruncated`` and records nothing. Closed early by the
    caller it is drained to its end within ``drain_s`` seconds and ``drain_bytes`` bytes of the door; failing
    that, what was read is recorded, for the caller wanted no more than that. A caller that was
    cancelled wanted all of it: then only a whole answer is recorded.
    """

    def __init__(self, reply: Reply | None, call: Call | None, watch: StreamWatch, max_bytes: int) -> None:
        self._reply = reply
        self._call = call
        self._watch = watch
        self._max_bytes = max_bytes
        self._body = bytearray()
        self._settled = call is None
        self._cut_short = False

    @classmethod
    def replay(cls, body: bytes) -> RecordedStream:
        """The recorded stream, from the journal."""
        stream = cls(None, None, StreamWatch(), 0)
        stream._body += body
        return stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._reply is None:
            yield bytes(self._body)
            return
        try:
            async for chunk in self._reply.chunks:
                await self._take(chunk)
                yield chunk
            if not self._settled:
                await self._give_up(StreamTruncated("The stream ended before its last event."), "stream truncated")
        except ProviderUnreachable as error:
            truncated = StreamTruncated(f"The stream broke off: {error.message}", kind=error.context.get("kind"))
            await self._give_up(truncated, "stream truncated", error)
        except asyncio.CancelledError:
            self._cut_short = True  # the chunks end here for good: there is nothing left to drain
            raise

    async def _take(self, chunk: bytes) -> None:
        assert self._call is not None
        self._body += chunk
        if len(self._body) > self._max_bytes:
            await self._give_up(AnswerTooLarge(f"The answer is over {self._max_bytes:,} bytes."), "too large")
        texts = self._watch.feed(chunk)
        for text in texts:
            self._call.visit.notify("token", {"text": text})
        crash_point("call.streaming")
        if self._watch.failed is not None and not self._settled:
            # The provider's own error within the stream: the client will raise it; nothing is recorded.
            self._settled = True
            await self._call.note(self._watch.failed, None, None)
            self._call.close()
        if self._watch.ended and not self._settled:
            await self._record()

    async def _record(self) -> None:
        assert self._call is not None
        assert self._reply is not None
        self._settled = True
        answer = RecordedAnswer(
            self._reply.status,
            kept_headers(self._reply.headers),
            bytes(self._body),
            self._watch.input_tokens,
            self._watch.output_tokens,
        )
        crash_point("call.received")
        await self._call.record(answer)

    async def _give_up(self, error: CallError, outcome: str, cause: BaseException | None = None) -> None:
        assert self._call is not None
        if not self._settled:
            self._settled = True
            await self._call.note(outcome, None, None)
            self._call.close()
        raise error from cause

    async def aclose(self) -> None:
        """Let the connection go; a stream that was not read to its end is drained and recorded first."""
        if self._reply is None or self._call is None:
            return
        if not self._settled and not self._call.visit.closed and not self._cut_short:
            await self._drain()
        if not self._settled:
            # An intent without a result, as after a crash: asked again, and counted as lost.
            self._settled = True
            self._call.close()
        await self._reply.close()

    async def _drain(self) -> None:
        assert self._reply is not None
        assert self._call is not None
        limit = len(self._body) + self._call.parts.drain_bytes
        try:
            async with asyncio.timeout(self._call.parts.drain_s):
                async for chunk in self._reply.chunks:
                    await self._take(chunk)
                    if self._settled or len(self._body) > limit:
                        break
        except (TimeoutError, CallError):
            pass
        if not self._settled and not _is_cancelled():
            await self._record()


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
