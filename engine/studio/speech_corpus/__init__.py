"""Synthesised speech with exact phone times: own sentences in, clips of (samples, IPA segments) out."""
