"""Performances made by rules: synthesised speech with exact phone times -> full-face motion of made-up people."""
