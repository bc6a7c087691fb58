"""A typed direction -> action units: rules first, a small net for what they do not reach, a gate for "nothing said".

`recognise(text)` is the door; docs/text.md has the figures.
"""

from engine.controls.text.recognise import MAX_TEXT, recognise
from engine.controls.text.record import Recognition

__all__ = ["MAX_TEXT", "Recognition", "recognise"]
