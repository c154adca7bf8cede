"""What the demo's graph keeps: the state of a consultation, and the parts it is made of."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, ValidationInfo, model_validator

from vertebra.cli.demo.audio import Slice
from vertebra.cli.demo.wording import NOT_SAID, SECTIONS
from vertebra.graphs import Append


class Passage(BaseModel):
    """What was said in one slice."""

    model_config = ConfigDict(frozen=True)

    index: int
    start_s: float
    end_s: float
    text: str


class Note(BaseModel):
    """The lines of one passage that are worth keeping."""

    model_config = ConfigDict(frozen=True)

    index: int
    lines: list[str]


class Report(BaseModel):
    """The draft: in each section, sentences that were said."""

    complaint: list[str]
    history: list[str]
    medication: list[str]
    findings: list[str]
    plan: list[str]

    @classmethod
    def read(cls, answer: str, said: list[str]) -> Report:
        """A model's answer as a report. Raises ``ValidationError``, also for a line that nobody said."""
        return cls.model_validate_json(answer, context={"said": {*said, NOT_SAID}})

    @model_validator(mode="before")
    @classmethod
    def _gathered(cls, data: object) -> object:
        """``plan_1`` and ``plan_2`` of the answer are the lines of ``plan``."""
        if not isinstance(data, dict) or not any(key.endswith("_1") for key in data):
            return data
        lines = {section: [str(v) for k, v in data.items() if k.rpartition("_")[0] == section] for section in SECTIONS}
        return {section: list(dict.fromkeys(found)) for section, found in lines.items()}

    @model_validator(mode="after")
    def _said(self, info: ValidationInfo) -> Report:
        said = (info.context or {}).get("said")
        for section in SECTIONS:
            lines: list[str] = getattr(self, section)
            if not lines:
                raise ValueError(f"the section {section!r} is empty")
            invented = [line for line in lines if said is not None and line not in said]
            if invented:
                raise ValueError(f"nobody said {invented[0]!r}")
        return self


class Complaint(BaseModel):
    """Why the patient came."""

    complaint: str


class Approval(BaseModel):
    """A clinician's decision on the draft."""

    approved: bool
    by: str
    remark: str = ""


class Consultation(BaseModel):
    """The state: from a recording to a report that somebody has approved."""

    audio: str
    folder: str
    slices: list[Slice] = []
    heard: Append[Passage] = []
    transcript: list[Passage] = []
    notes: Append[Note] = []
    report: Report | None = None
    approval: Approval | None = None
    delivered: list[str] = []

    def lines(self) -> list[str]:
        """The noted lines in the order in which they were said, each once."""
        noted = (line for note in sorted(self.notes, key=lambda note: note.index) for line in note.lines)
        return list(dict.fromkeys(noted))
