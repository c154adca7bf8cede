"""What was said and what is known, apart from state: it outlives threads, and is opened by one URL."""

from vertebra.memory.carrying import Imported
from vertebra.memory.conversation import Conversation
from vertebra.memory.counting import Estimator, TokenCounter, encoded
from vertebra.memory.facts import Facts
from vertebra.memory.learning import Fact, Source
from vertebra.memory.messages import ChatMessage
from vertebra.memory.opening import Memory, open_memory
from vertebra.memory.records import Branch, ConversationRecord, Message, Provenance
from vertebra.memory.summarising import Summary
from vertebra.memory.windows import Manifest, Window

__all__ = [
    "Branch",
    "ChatMessage",
    "Conversation",
    "ConversationRecord",
    "Estimator",
    "Fact",
    "Facts",
    "Imported",
    "Manifest",
    "Memory",
    "Message",
    "Provenance",
    "Source",
    "Summary",
    "TokenCounter",
    "Window",
    "encoded",
    "open_memory",
]
