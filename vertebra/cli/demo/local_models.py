"""The local models as a provider: one process, one base URL, the OpenAI protocol.

``python -m vertebra.cli.demo.local_models --port 0 --books FILE`` prints one line of JSON, with its
``base_url``, when it is ready. It outlives the runs that ask it, and ends when its standard input
or its parent does.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from vertebra.cli.demo.engines import CHAT_MODEL, SPEECH_MODEL, Speech, require_models, start_chat
from vertebra.cli.demo.front import Front
from vertebra.errors import VertebraError


def main() -> int:
    """Serve until standard input ends or the parent dies."""
    parser = argparse.ArgumentParser(description="SmolLM2 and Whisper behind one OpenAI-compatible base URL.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--books", help="JSON Lines file to keep the books in")
    options = parser.parse_args()
    began = time.monotonic()
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    try:
        require_models()
        with ThreadPoolExecutor(2) as pool:
            chat, speech = pool.submit(start_chat), pool.submit(Speech)
            server, address = chat.result()
            front = Front(address, speech.result(), port=options.port, books=options.books)
    except VertebraError as error:
        print(json.dumps({"error": error.to_json()}), flush=True)
        return 1
    threading.Thread(target=front.serve_forever, args=(0.1,), daemon=True).start()
    ready = {
        "base_url": front.base_url,
        "chat_model": CHAT_MODEL,
        "speech_model": SPEECH_MODEL,
        "ready_s": round(time.monotonic() - began, 2),
    }
    print(json.dumps(ready), flush=True)
    while os.read(0, 4096):
        pass
    del server  # alive until here: it is the engine
    _end()
    return 0


def _end_with_parent(parent: int) -> None:
    """For the parents whose pipe somebody else still holds."""
    while os.getppid() == parent:
        time.sleep(1.0)
    _end()


def _end() -> None:
    """At once: an engine in the middle of an answer would hold up an orderly exit."""
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
