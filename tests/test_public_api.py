"""The functions that `import backbones` and `import detection` offer (docs/api.md), and how light the imports are."""

import inspect
import subprocess
import sys

import backbones
import detection
from backbones.errors import InputError
from backbones.resnet import ResidualNet

import pytest
import torch
from run_tools import PROJECT

PUBLIC = {
    backbones: ["create_network", "get_spec", "list_networks", "load_backbone"],
    detection: ["Predictor", "build_detector"],
}


@pytest.mark.parametrize("package", PUBLIC, ids=lambda package: package.__name__)
def test_public_names(package):
    assert package.__all__ == PUBLIC[package]
    assert set(package.__all__) <= set(dir(package))
    page = (PROJECT / "docs" / "api.md").read_text()
    for name in package.__all__:
        assert inspect.getdoc(getattr(package, name)), name
        assert f"{package.__name__}.{name}(" in page, name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        package.nothing  # noqa: B018


@pytest.mark.parametrize("package", ["backbones", "residet", "classification", "detection"])
def test_importing_a_package_imports_no_torch(package):
    code = f"import sys, {package}; print(sorted({{'torch', 'detectron2', 'numpy'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_networks_are_listed_and_created():
    assert backbones.list_networks("resnext101_*4d") == [
        name for name in backbones.list_networks() if name.startswith("resnext101_") and name.endswith("4d")
    ]
    network = backbones.create_network("cifar_resnet20")
    assert isinstance(network, ResidualNet) and network(torch.zeros(1, 3, 32, 32)).shape == (1, 10)
    assert backbones.create_network("cifar_resnet20", num_classes=0).fc is None
    with pytest.raises(InputError, match="did you mean cifar_resnet20"):
        backbones.create_network("cifar_resnet2")


def test_networks_are_filled_from_files(tmp_path):
    torch.manual_seed(0)
    network = backbones.create_network("cifar_resnet20", num_classes=4)
    torch.save({"model": network.state_dict(), "task": "classification", "arch": "cifar_resnet20"}, tmp_path / "w.pth")
    same = backbones.create_network("cifar_resnet20", pretrained=tmp_path / "w.pth")
    assert all(torch.equal(v, network.state_dict()[k]) for k, v in same.state_dict().items())
    other = backbones.create_network("cifar_resnet20", num_classes=7, pretrained=tmp_path / "w.pth")
    assert other.fc.out_features == 7 and torch.equal(other.conv1.weight, network.conv1.weight)
    bare = backbones.create_network("cifar_resnet20", num_classes=0, pretrained=tmp_path / "w.pth")
    assert bare.fc is None and bare.pretrained_cfg == {"task": "classification", "arch": "cifar_resnet20"}
    with pytest.raises(InputError, match="holds cifar_resnet20, the model is cifar_resnet32"):
        backbones.create_network("cifar_resnet32", pretrained=tmp_path / "w.pth")
