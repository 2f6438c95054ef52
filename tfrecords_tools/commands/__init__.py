"""The command line of the record tools: one absl program per verb."""
