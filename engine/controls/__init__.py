"""`Controls` (keys in seconds) in, `ControlTrack` (arrays at given times) out; words and labels to AUs."""
