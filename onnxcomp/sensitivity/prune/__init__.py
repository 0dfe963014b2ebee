"""Each layer pruned alone, to several sparsities."""
