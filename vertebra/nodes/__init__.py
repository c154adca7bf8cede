"""What a node can be: a transition, a model call, an effect, a question to a human, a subgraph."""

from vertebra.nodes.context import Context
from vertebra.nodes.kinds import Node, NodeKind, NodeSpec, effect, human, llm, transition
from vertebra.nodes.question import Question
from vertebra.nodes.retry import Retry

__all__ = ["Context", "Node", "NodeKind", "NodeSpec", "Question", "Retry", "effect", "human", "llm", "transition"]
