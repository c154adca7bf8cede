"""What was said and what is known, apart from state: it outlives threads, is opened by one URL, and is found again."""

from vertebra.memory.carrying import Imported
from vertebra.memory.conversation import Conversation
from vertebra.memory.counting import Estimator, encoded
from vertebra.memory.expiring import Expired
from vertebra.memory.facts import Facts
from vertebra.memory.holds import Hold
from vertebra.memory.learning import Fact, Source
from vertebra.memory.messages import ChatMessage
from vertebra.memory.opening import Memory, open_memory
from vertebra.memory.recall.embedders import Embedder, HashingEmbedder
from vertebra.memory.recall.minilm import MiniLMEmbedder
from vertebra.memory.recall.openai_embedder import OpenAIEmbedder
from vertebra.memory.recall.pending import Embedded
from vertebra.memory.recall.searching import Hit, SearchResult
from vertebra.memory.recall.snippets import Snippet
from vertebra.memory.receipts import Receipt
from vertebra.memory.records import Branch, ConversationRecord, Message, Provenance
from vertebra.memory.summarising import Summary
from vertebra.memory.vocabularies import tiktoken_counter
from vertebra.memory.windows import Manifest, Window

__all__ = [
    "Branch",
    "ChatMessage",
    "Conversation",
    "ConversationRecord",
    "Embedded",
    "Embedder",
    "Estimator",
    "Expired",
    "Fact",
    "Facts",
    "HashingEmbedder",
    "Hit",
    "Hold",
    "Imported",
    "Manifest",
    "Memory",
    "Message",
    "MiniLMEmbedder",
    "OpenAIEmbedder",
    "Provenance",
    "Receipt",
    "SearchResult",
    "Snippet",
    "Source",
    "Summary",
    "Window",
    "encoded",
    "open_memory",
    "tiktoken_counter",
]
