"""What was said and what is known, apart from state: it outlives threads, and is opened by one URL."""

from vertebra.memory.carrying import Imported
from vertebra.memory.conversation import Conversation
from vertebra.memory.counting import Estimator, encoded
from vertebra.memory.expiring import Expired
from vertebra.memory.facts import Facts
from vertebra.memory.holds import Hold
from vertebra.memory.learning import Fact, Source
from vertebra.memory.messages import ChatMessage
from vertebra.memory.opening import Memory, open_memory
from vertebra.memory.receipts import Receipt
from vertebra.memory.records import Branch, ConversationRecord, Message, Provenance
from vertebra.memory.summarising import Summary
from vertebra.memory.windows import Manifest, Window

__all__ = [
    "Branch",
    "ChatMessage",
    "Conversation",
    "ConversationRecord",
    "Estimator",
    "Expired",
    "Fact",
    "Facts",
    "Hold",
    "Imported",
    "Manifest",
    "Memory",
    "Message",
    "Provenance",
    "Receipt",
    "Source",
    "Summary",
    "Window",
    "encoded",
    "open_memory",
]
