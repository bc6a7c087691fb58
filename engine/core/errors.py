"""Every error that a person can meet, in one tree.

SoliloquyError            a sentence that says what happened and what to do; exit code 1, no traceback
├── BadInput              the file or the value given cannot be used
│   └── BadFile           a file: missing, damaged, wrong kind, or of a newer format version
├── Missing               something must be installed or put in place first
└── Cancelled             the person asked to stop (not a failure)
"""

from __future__ import annotations


class SoliloquyError(Exception):
    """Base of all errors meant for a person. `str(error)` is one line that says what to do."""


class BadInput(SoliloquyError):
    """A value or file that cannot be used as it is."""


class BadFile(BadInput):
    """A file that is missing, damaged, of the wrong kind, or written by a newer version."""

    def __init__(self, path: object, what: str):
        super().__init__(f"{path}: {what}")
        self.path = path


class Missing(SoliloquyError):
    """A package, model or asset that must be there first; the sentence says how to get it."""


class Cancelled(SoliloquyError):
    """The job was cancelled; nothing was written."""

    def __init__(self, what: str = "cancelled"):
        super().__init__(what)
