"""How much a network minds that one of its layers is compressed while the others stay as they are."""
