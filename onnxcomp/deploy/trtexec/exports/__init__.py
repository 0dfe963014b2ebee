"""The JSON files that trtexec writes: the time of each layer, what each layer is, the time of each run."""
