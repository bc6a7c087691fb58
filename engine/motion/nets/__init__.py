"""Networks of the motion systems: one file a network, and what they share (basis, checkpoint file, inputs)."""
