"""`Head`: parameters in (shape weights, pose [15]), vertices [v, 3] out; the default head and importers."""
