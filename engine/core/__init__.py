"""Units, axes, frame clock, errors, file habits and the records that pass between rooms (stdlib + numpy)."""
