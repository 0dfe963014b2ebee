from __future__ import annotations

from onnxcomp.training.lowering.parameters import separate
from onnxcomp.training.lowering.static_batch import fix_batch
from tests.training import networks
from tests.training.lowering import forward


def test_every_tensor_gets_its_shape() -> None:
    training = forward.skeleton(networks.zoo_compression("densenet", "prune,qat,distill"), 6)
    for tensor in training.graph.tensors().values():
        assert tensor.shape is not None
        assert all(isinstance(size, int) for size in tensor.shape), tensor


def test_a_reshape_that_holds_the_old_batch_follows() -> None:
    net = networks.Builder(0)
    x = networks.conv(net, "input", "conv", 3, 4)
    shape = net.constant("shape", networks.np.array([2, 4, 64], "int64"))
    x = net.node("Reshape", [x, shape], "flat")
    back = net.constant("back", networks.np.array([-1, 4, 8, 8], "int64"))
    x = net.node("Reshape", [x, back], "again")
    proto = net.model(networks.head(net, x, "fc", 4, 10), 17, (2, 3, 8, 8), 10)
    model = networks.compression(proto)
    training = separate(model)
    fix_batch(training.graph, training.image, 5)
    assert training.graph.tensors()["flat"].shape == [5, 4, 64]
    assert training.graph.tensors()[training.logits].shape == [5, 10]
    assert model.batch == 2
