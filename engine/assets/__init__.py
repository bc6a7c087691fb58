"""Registry of heads, checkpoints, avatars and user models: name -> file, sha256, licence."""
