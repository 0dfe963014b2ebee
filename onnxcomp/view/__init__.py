"""Netron on a network, with marks on the nodes that onnxcomp added, from a server of onnxcomp's own."""
