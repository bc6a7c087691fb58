"""Public data sets in their own layouts: one file a layout, one line in `base.READERS`."""
