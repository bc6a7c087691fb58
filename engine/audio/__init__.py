"""A sound file in, `Audio` out: samples [n] float32, mono, 16 kHz."""
