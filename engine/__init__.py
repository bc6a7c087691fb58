"""Soliloquy's engine: a recorded voice, keyed emotions and typed directions in, an emotional talking head out.

Importing this package loads nothing heavy (tests/test_layers.py holds it to that).
"""

__version__ = "0.1.0"
