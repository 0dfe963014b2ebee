"""Each layer alone in INT8, and each alone left float."""
