"""The command line: one absl program per verb. Flags live here and nowhere else in the package."""
