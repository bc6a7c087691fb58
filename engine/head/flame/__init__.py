"""FLAME heads: the model's files in and out, ARKit shapes on its expression basis, an inner mouth."""
