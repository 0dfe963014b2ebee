"""TensorRT's command line tool ``trtexec``: its options for each version, its log and the files it writes."""
