"""What the layouts in `sources/` share: finding, opening and checking files."""
