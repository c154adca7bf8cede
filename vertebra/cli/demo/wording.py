"""What the models are asked: requests whose answers can only be sentences that were said. Pure.

The local model has 135 million parameters and invents freely when it may write. So it does not
write: it chooses, and the JSON schema of its answer lists the sentences that it can choose from.
The same holds for a large model behind ``OPENAI_BASE_URL``: no line of the report is invented.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

NOT_SAID = "Not said."

SECTIONS = ("complaint", "history", "medication", "findings", "plan")

VOCABULARY = (
    "A consultation with a doctor. Acetaminophen, albuterol, allopurinol, amlodipine, amoxicillin, aspirin, "
    "atorvastatin, azithromycin, bisoprolol, cetirizine, citalopram, clopidogrel, gabapentin, hydrochlorothiazide, "
    "ibuprofen, insulin, levothyroxine, lisinopril, losartan, metformin, metoprolol, naproxen, omeprazole, "
    "paracetamol, penicillin, prednisone, ramipril, salbutamol, sertraline, simvastatin, warfarin."
)
"""For the ``prompt`` of a transcription: medicines that are prescribed often, so that their names are expected."""

_CUES: Mapping[str, re.Pattern[str]] = {
    section: re.compile(pattern, re.IGNORECASE)
    for section, pattern in {
        "complaint": r"\b(I (have|get|feel|can't|cannot)|I've|my \w+ (hurts?|aches?)|pain|ache|cough|worse|sore)\b",
        "history": r"\b(I had|as a child|history|allerg\w+|smok\w+|years? ago|surgery|operation"
        r"|my (mother|father|family)|diagnosed|pregnan\w+)\b",
        "medication": r"\b(milligrams?|mg|micrograms?|tablets?|pills?|dose|inhaler|I take|taking|(twice|once) a day|"
        + "|".join(re.findall(r"[a-z]{6,}", VOCABULARY.split(". ", 1)[1].lower()))
        + r")\b",
        "findings": r"\byour (\w+ ){1,3}(is|are|sounds?|looks?|shows?|feels?)\b|\b(normal|swollen|tender|reading of)\b",
        "plan": r"\b(we will|we'll|I will|I'll|let's|let us|come back|start|stop|please|refer|prescri\w+|blood test"
        r"|x-ray|scan|follow up|rest)\b",
    }.items()
}
"""Where a sentence may belong. Code offers, the model chooses."""

_MAX_OFFERED = 12
_MAX_NOTES = 60


def sentences(text: str) -> list[str]:
    """The sentences of a transcript, each at most 240 characters long."""
    found = (part.strip() for part in re.split(r"(?<=[.!?])\s+", text))
    return [part[:240] for part in found if part]


def statements(text: str) -> list[str]:
    """The sentences that say something: no questions, no pleasantries. All of them if none does."""
    every = list(dict.fromkeys(sentences(text)))
    return [s for s in every if not s.endswith("?") and len(s.split()) > 2 and not _POLITE.match(s)] or every


_POLITE = re.compile(r"(good (morning|afternoon|evening)|hello|hi|thank you|thanks|bye|goodbye)\b[^,]{0,12}$", re.I)


def shares(lines: Sequence[str], count: int) -> list[list[str]]:
    """Lines in at most ``count`` runs of nearly equal length, in order."""
    count = min(count, len(lines))
    edges = [len(lines) * n // count for n in range(count + 1)] if count else []
    return [list(lines[a:b]) for a, b in pairwise(edges)]


def offered(lines: Sequence[str], complaint: str) -> dict[str, list[list[str]]]:
    """For each section the sentences to choose from, one list for each line that the section may have."""
    rest = [line for line in lines if line != complaint]
    more = [line for line in rest if _CUES["complaint"].search(line) and not _CUES["plan"].search(line)]
    offer = {"complaint": [[complaint], *shares(_spread(more, _MAX_OFFERED), 1)]}
    for section in SECTIONS[1:]:
        fitting = [line for line in rest if _CUES[section].search(line)]
        if section == "medication":  # an allergy names a medicine, but is history
            fitting = [line for line in fitting if not _CUES["history"].search(line)]
        offer[section] = shares(_spread(fitting, _MAX_OFFERED), 2) or [[NOT_SAID]]
    return offer


def complaints(lines: Sequence[str]) -> list[str]:
    """The sentences that may be the reason of the visit."""
    fitting = [line for line in lines if _CUES["complaint"].search(line) and not _CUES["plan"].search(line)]
    fitting = fitting or list(lines)
    return fitting[:_MAX_OFFERED]


def _spread(lines: Sequence[str], most: int) -> list[str]:
    return [line for part in shares(lines, most) for line in part[:1]]


def choice(name: str, fields: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """A ``response_format``: an object whose fields each hold one of the given sentences."""
    schema = {
        "type": "object",
        "properties": {field: {"type": "string", "enum": list(options)} for field, options in fields.items()},
        "required": list(fields),
        "additionalProperties": False,
    }
    return {"type": "json_schema", "json_schema": {"name": name, "strict": True, "schema": schema}}


def _turns(system: str, shown: str, answer: Mapping[str, str], asked: str) -> list[dict[str, str]]:
    return [
        {"role": "system", "content": system + " Answer in JSON with whole sentences as they were said."},
        {"role": "user", "content": shown},
        {"role": "assistant", "content": json.dumps(answer)},
        {"role": "user", "content": asked},
    ]


def summary_request(text: str) -> dict[str, Any]:
    """Ask for the lines to keep of what was said in one slice: at most three."""
    fields = {f"line_{n}": part for n, part in enumerate(shares(statements(text), 3), 1)}
    messages = _turns(
        "You take notes for a doctor. Choose the sentences that matter.",
        "What can I do for you? My left knee has hurt since I fell three days ago. I take metformin for diabetes.",
        {"line_1": "My left knee has hurt since I fell three days ago.", "line_2": "I take metformin for diabetes."},
        text,
    )
    return {"messages": messages, "response_format": choice("notes", fields)}


_SHOWN = (
    "My left knee has hurt since I fell three days ago.",
    "I broke that leg when I was ten.",
    "I take metformin for diabetes.",
    "The knee is swollen, but nothing is broken.",
    "Rest it, and come back in a week.",
)


def complaint_request(lines: Sequence[str]) -> dict[str, Any]:
    """Ask which line says why the patient came."""
    messages = _turns(
        "Choose the sentence that says why the patient came to the doctor.",
        _listed(_SHOWN),
        {"complaint": _SHOWN[0]},
        _listed(lines[:_MAX_NOTES]),
    )
    return {"messages": messages, "response_format": choice("complaint", {"complaint": complaints(lines)})}


def report_request(lines: Sequence[str], complaint: str) -> dict[str, Any]:
    """Ask for the report: which lines belong to which section."""
    messages = _turns(
        "Sort the notes of a consultation into a report: complaint, history, medication, findings, plan.",
        _listed(_SHOWN),
        dict(zip(field_names({section: [[]] for section in SECTIONS}), _SHOWN, strict=True)),
        _listed(_spread(lines, _MAX_NOTES)),
    )
    offer = offered(lines, complaint)
    options = [options for section in SECTIONS for options in offer[section]]
    fields = dict(zip(field_names(offer), options, strict=True))
    return {"messages": messages, "response_format": choice("report", fields)}


def field_names(offer: Mapping[str, Sequence[Sequence[str]]]) -> list[str]:
    """The fields of the answer: ``plan_1``, ``plan_2`` and so on for the lines of a section."""
    return [f"{section}_{n}" for section in SECTIONS for n in range(1, len(offer[section]) + 1)]


def _listed(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)
