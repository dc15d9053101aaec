"""How often a training iteration of pretraining makes the CPU wait for a GPU, were there one."""

from backbones.catalogue import get_spec
from classification.model import Classifier
from residet.engine.step import Step

import torch
from host_syncs import HostSyncs
from narrow_networks import narrow


def test_an_iteration_between_two_that_log_never_waits(storage):
    model = Classifier(narrow(get_spec("resnet18"), 5), [120.0] * 3, [60.0] * 3, channels_last=True)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=1e-4)
    step = Step(model, optimizer, micro_batches=2, logged=20)
    batch = {"image": torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8), "label": torch.tensor([1, 3])}
    step.data_loader = [batch] * 6
    for step.iter in (17, 18):
        with HostSyncs() as syncs:
            step.run_step()
        assert syncs.places == {}
    step.iter = 19  # logs
    with HostSyncs() as syncs:
        step.run_step()
    assert {place.split(":")[0] for place in syncs.places} <= {
        "engine/late.py",
        "engine/train_loop.py",
        "utils/events.py",
    }
    assert syncs.places
