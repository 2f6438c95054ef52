"""Programs and readers that build and inspect record data sets."""
