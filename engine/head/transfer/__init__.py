"""Shapes for a mesh that has none: align, register, transfer deformations, mend contacts (`transfer_head`)."""
