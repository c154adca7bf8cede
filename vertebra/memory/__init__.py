"""What was said, apart from state: conversations that outlive threads, opened by one URL."""

from vertebra.memory.carrying import Imported
from vertebra.memory.conversation import Conversation
from vertebra.memory.messages import ChatMessage
from vertebra.memory.opening import Memory, open_memory
from vertebra.memory.records import Branch, ConversationRecord, Message, Provenance

__all__ = [
    "Branch",
    "ChatMessage",
    "Conversation",
    "ConversationRecord",
    "Imported",
    "Memory",
    "Message",
    "Provenance",
    "open_memory",
]
