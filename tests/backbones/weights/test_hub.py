"""Weights by name: from a server on 127.0.0.1 and from caches, as the libraries that publish weights have them."""

import dataclasses
import hashlib
import io
import json
import os
import pickle
import subprocess
import sys
import time
from pathlib import Path

import backbones
from backbones.adapters import backbone_for_torchvision
from backbones.errors import InputError
from backbones.weights import download, hub, published
from backbones.weights.hub import check_source, locate
from backbones.weights.load import load_backbone
from backbones.weights.read import IMAGENET_MEAN, read_weights
from detection import build_detector

import pytest
import safetensors.torch
import torch
import torchvision
from calibrate import make_norms_matter
from detectron2 import model_zoo
from detectron2.modeling import build_model
from detectron2.utils.file_io import PathManager
from huggingface_hub import constants
from recognisable_states import recognisable
from run_tools import PROJECT, assert_clear_error, pretrain, run_tool, train_net
from weights_server import serving

# torchvision's name, the catalogue's name
PEERS = [
    ("resnet50", "resnet50"),
    pytest.param("resnext50_32x4d", "resnext50_32x4d", marks=pytest.mark.slow),
    pytest.param("wide_resnet50_2", "wrn50_2_bottleneck", marks=pytest.mark.slow),
]
NOBODY = "http://127.0.0.1:1/"  # refuses every connection


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A server in the place of all publishers, and empty caches."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path / "iopath"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
    with serving() as server:
        use_address(monkeypatch, server.url)
        yield server


def use_address(monkeypatch, url):
    monkeypatch.setattr(constants, "ENDPOINT", url.rstrip("/"))
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(hub, "ADDRESSES", dict.fromkeys(hub.ADDRESSES, url))


def saved(state):
    file = io.BytesIO()
    torch.save(state, file)
    return file.getvalue()


@pytest.fixture(scope="module")
def small():
    """A file of weights of cifar_resnet20, and its parameters."""
    torch.manual_seed(3)
    state = backbones.create_network("cifar_resnet20").state_dict()
    return saved(state), state


def files_in(folder):
    return [path for path in Path(folder).rglob("*") if path.is_file() and path.suffix != ".lock"]


def serve_row(server, monkeypatch, name, content):
    """Serves `content` as the file of a row of torchvision, with its checksum in the file's name."""
    (row,) = (row for row in published.published() if row.full_name == name)
    file = f"{row.network}-{hashlib.sha256(content).hexdigest()[:16]}.pth"
    monkeypatch.setattr(hub, "find", lambda _: dataclasses.replace(row, file=file))
    monkeypatch.setattr(hub, "for_network", lambda _: [hub.find(name)])
    server.files["/" + file] = content
    return file


@pytest.mark.parametrize(("theirs", "ours"), PEERS)
def test_a_network_by_name_computes_what_torchvisions_computes(server, monkeypatch, theirs, ours):
    network = torchvision.models.get_model(theirs).eval()
    file = serve_row(server, monkeypatch, f"torchvision:{theirs}.IMAGENET1K_V2", saved(network.state_dict()))
    same = backbones.create_network(ours, pretrained=f"torchvision:{theirs}").eval()
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(same(images), network(images), rtol=1e-5, atol=1e-5)
    assert same.pretrained_cfg["arch"] == ours and same.pretrained_cfg["mean"] == IMAGENET_MEAN
    # Where torch.hub itself looks, so that torchvision does not download the file again.
    assert Path(torch.hub.get_dir(), "checkpoints", file).read_bytes() == server.files["/" + file]
    again = read_weights(f"torchvision:{theirs}", ours)
    assert "top-1" in again.origin and "BSD-3-Clause" in again.origin and server.downloads() == ["/" + file]


def test_a_file_of_timm_brings_its_pixels_from_the_table(server):
    theirs = torchvision.models.resnet34()
    name = "timm:resnet34.ra4_e3600_r224_in1k"
    server.add_repository(name.replace(":", "/"), {"model.safetensors": safetensors.torch.save(theirs.state_dict())})
    backbone = backbone_for_torchvision("resnet34", pretrained="auto")
    assert torch.equal(backbone.body.conv1.weight, theirs.conv1.weight)
    assert backbone.image_mean == backbone.image_std == [0.5, 0.5, 0.5]
    server.files.clear()  # from now on the cache alone has the file
    weights = read_weights(name)
    assert (weights.path, weights.arch, weights.channel_order, weights.input_size) == (name, "resnet34", "RGB", 224)
    assert load_backbone("timm:resnet34", report=lambda line: None).pretrained_cfg["mean"] == (127.5,) * 3


def test_a_repository_says_its_pixels_and_its_network(server):
    with torch.device("meta"):
        theirs = torchvision.models.wide_resnet50_2()
    config = {"architecture": "wide_resnet50_2", "pretrained_cfg": {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.2]}}
    files = {"config.json": json.dumps(config).encode(), "pytorch_model.bin": saved(recognisable(theirs.state_dict()))}
    server.add_repository("org/net", files)
    server.add_repository("org/other", {"a/w.pth": files["pytorch_model.bin"], "config.json": b'{"pretrained_cfg": 3'})
    weights = read_weights("hf:org/net")
    assert weights.arch == "wrn50_2_bottleneck" and weights.mean == pytest.approx((127.5, 102, 76.5))
    weights = read_weights("hf:org/other/a/w.pth")
    assert weights.arch is None and weights.mean is None and len(weights.state) == len(theirs.state_dict())
    with pytest.raises(InputError, match=r"has no file none\.pth; name its file: hf:org/net/FILE"):
        locate("hf:org/net/none.pth")
    with pytest.raises(InputError, match=r"has no file model\.safetensors or pytorch_model\.bin"):
        locate("hf:org/other")


def test_a_transfer_from_the_hub_that_breaks_off_is_resumed(server, tmp_path, small):
    server.add_repository("org/net", {"w.pth": small[0]})
    server.broken.add("/org/net/resolve/main/w.pth")
    path = locate("hf:org/net/w.pth").path
    assert path.read_bytes() == small[0] and path.is_relative_to(tmp_path / "hf")
    assert server.downloads().count("/org/net/resolve/main/w.pth") == 2


def test_the_resnet_authors_weights_come_from_detectron2s_server_and_cache(server):
    state = {k: v.numpy() for k, v in recognisable(backbones.create_network("resnet50_caffe").state_dict()).items()}
    server.files["/ImageNetPretrained/MSRA/R-50.pkl"] = pickle.dumps({"model": state})
    weights = read_weights("detectron2://ImageNetPretrained/MSRA/R-50.pkl", "resnet50_caffe")
    assert weights.arch == "resnet50_caffe" and weights.channel_order == "BGR" and weights.std == (1.0, 1.0, 1.0)
    assert weights.mean == IMAGENET_MEAN[::-1]
    assert locate("auto", "resnet50_caffe").path == locate("detectron2:ImageNetPretrained/MSRA/R-50.pkl").path
    # detectron2 finds the same file without a download.
    path = PathManager.get_local_path("detectron2://ImageNetPretrained/MSRA/R-50.pkl")
    assert Path(path) == locate("auto", "resnet50_caffe").path
    assert server.downloads() == ["/ImageNetPretrained/MSRA/R-50.pkl"]
    with pytest.raises(InputError, match="holds resnet50_caffe, the model is resnet50; --list-weights resnet50"):
        locate("detectron2:ImageNetPretrained/MSRA/R-50.pkl", "resnet50")


def test_a_detector_of_the_model_zoo_has_its_md5_in_its_name(server, tmp_path):
    path = "COCO-Detection/faster_rcnn_R_50_FPN_3x/137849458/model_final_280758.pkl"
    server.files["/" + path] = pickle.dumps({"model": {"backbone.x": torch.zeros(2).numpy()}})
    for name in ("detectron2:COCO-Detection/faster_rcnn_R_50_FPN_3x.yaml", "detectron2:" + path):
        with pytest.raises(InputError, match="its md5 does not begin with 280758; try again"):
            locate(name)
    assert not files_in(tmp_path)


def spoil(server, kind, content):
    path = {"checksum": "/w-0123abcd.pth"}.get(kind, "/w.pth")
    server.files[path] = b" <!DOCTYPE html><html>404</html>" if kind == "page" else content
    if kind == "broken":
        server.broken.add(path)
    if kind == "absent":
        server.files.clear()
    return server.url + path[1:]


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("page", "has sent an HTML page"),
        ("broken", "has sent no whole checkpoint"),
        ("absent", r"has no such file \(HTTP 404\); check the name"),
        ("checksum", "its sha256 does not begin with 0123abcd"),
    ],
)
def test_what_is_no_checkpoint_does_not_reach_the_cache(server, small, tmp_path, kind, words):
    url = spoil(server, kind, small[0])
    with pytest.raises(InputError, match=f"{url}.*{words}"):
        locate(url)
    assert not files_in(tmp_path)
    server.files[url.removeprefix(server.url[:-1])] = small[0]
    if kind != "checksum":
        assert locate(url).path.read_bytes() == small[0]


def test_a_damaged_file_in_the_cache_is_not_used(server, monkeypatch, small):
    file = serve_row(server, monkeypatch, "torchvision:resnet18.IMAGENET1K_V1", small[0])
    path = locate("torchvision:resnet18").path
    assert path.name == file
    path.write_bytes(small[0][:-100])
    with pytest.raises(InputError, match=r"is damaged or another file, its sha256 .* remove the file"):
        locate("torchvision:resnet18")


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("torchvision:resnet18.IMAGENET1K_V1", "torch/hub/checkpoints/resnet18-f37072fd.pth"),
        ("timm:resnet18.a1_in1k", "models--timm--resnet18.a1_in1k of that machine's cache into"),
        ("hf:org/net/w.pth", "models--org--net"),
        ("detectron2:COCO-Detection/faster_rcnn_R_50_C4_1x", "iopath/detectron2/COCO-Detection/faster_rcnn_R_50_C4_1x"),
        (NOBODY + "w.pth", "/w.pth"),
    ],
)
def test_without_a_network_one_message_says_where_to_put_the_file(server, monkeypatch, tmp_path, name, place):
    use_address(monkeypatch, NOBODY)
    start = time.monotonic()
    with pytest.raises(InputError, match=r"cannot be downloaded \(.*Connection refused\)") as e:
        locate(name)
    assert place in str(e.value) and f"give its path in the place of {name}" in str(e.value) and NOBODY in str(e.value)
    assert "\n" not in str(e.value) and time.monotonic() - start < 10
    done = pretrain("--weights", name, "--arch", "resnet18", "--data", tmp_path, "OUTPUT_DIR", tmp_path / "run")
    if not name.startswith("detectron2"):  # another network
        assert_clear_error(done, "cannot be downloaded", place)


def test_a_server_that_does_not_answer_counts_as_out_of_reach(server, monkeypatch):
    monkeypatch.setattr(download, "TIMEOUT", 0.3)
    server.open.clear()
    with pytest.raises(InputError, match=r"cannot be downloaded \(timed out\)"):
        locate(server.url + "w.pth")
    server.open.set()


def test_of_two_processes_one_downloads(server, small, tmp_path):
    server.files["/w.pth"] = small[0]
    server.open.clear()
    code = f"from backbones.weights.hub import locate; print(locate({server.url + 'w.pth'!r}).path)"
    env = os.environ | {"PYTHONPATH": str(PROJECT)}
    command = [sys.executable, "-c", f"import backbones.weights.hub; print('ready', flush=True); {code}"]
    both = [subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.stdout.readline() for process in both] == ["ready\n"] * 2
    time.sleep(0.5)  # one of them waits for the server, the other for the file
    server.open.set()
    assert len({process.communicate(timeout=60)[0] for process in both}) == 1
    assert [process.returncode for process in both] == [0, 0] and server.downloads() == ["/w.pth"]
    assert [path.read_bytes() for path in files_in(tmp_path)] == [small[0]]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("torchvision:fasterrcnn_resnet50_fpn", "torchvision's detectors have other anchors"),
        ("torchvision:resnet5", "did you mean torchvision:resnet50"),
        ("timm:resnet18.none", r"did you mean timm:resnet18\."),
        ("timm:vit_base_patch16_224", "--list-weights prints all names"),
        ("file:///etc/passwd", "file: is no source of weights"),
        ("s3://bucket/w.pth", "s3: is no source of weights"),
        ("http://example.com/w.pth", "http can be altered on its way"),
        ("https://example.com/", "names no file"),
        ("https://example.com/..", "names no file"),
        ("https://[x/w.pth", "is no address"),
        ("hf:net", "hf:ORG/REPO"),
        ("hf:../net", "hf:ORG/REPO"),
        ("hf:org/net/../../w.pth", "hf:ORG/REPO"),
        ("detectron2:../../w.pkl", "is no path of a file"),
        ("detectron2:COCO-Detection/retinanet", "no such weights"),
        ("auto", "the network is not known"),
    ],
)
def test_names_that_lead_nowhere_are_refused_without_a_network(server, name, words):
    for function in (locate, lambda source: check_source(source, "")):
        with pytest.raises(InputError, match=words):
            function(name)
    assert not server.requests


def test_auto_refuses_a_network_without_published_weights(server):
    for arch in ("wrn34_2", "resnet152_caffe", "cifar_resnet20"):
        with pytest.raises(InputError, match=f"nobody has published PyTorch weights of {arch} .*--from-scratch"):
            check_source("auto", arch)
    config = PROJECT / "configs" / "faster_rcnn_wrn34_2.yaml"
    assert_clear_error(train_net("--config-file", config, "--weights", "auto"), "PyTorch weights of wrn34_2")
    configs = [PROJECT / "configs" / "bccd" / f"{n}_fpn.yaml" for n in ("resnet50", "wrn34_2")]
    assert_clear_error(run_tool("compare.py", *configs, "--weights", "auto"), "PyTorch weights of wrn34_2")
    assert not server.requests


def test_a_file_with_a_colon_in_its_path_is_a_file(tmp_path, monkeypatch, small):
    monkeypatch.chdir(tmp_path)
    Path("run:1").mkdir()
    Path("run:1", "w.pth").write_bytes(small[0])
    assert read_weights("run:1/w.pth").path == "run:1/w.pth"


def test_a_torch7_file_is_refused(tmp_path):
    (tmp_path / "wrn-50-2.t7").write_bytes(b"\x04\x00\x00\x00")
    with pytest.raises(InputError, match=r"wrn-50-2\.t7: is a file of Torch7"):
        read_weights(tmp_path / "wrn-50-2.t7")


def test_a_run_keeps_the_name_and_does_not_download_again(server, shapes, small, tmp_path):
    server.files["/w.pth"] = small[0]
    url, run = server.url + "w.pth", tmp_path / "run"
    args = ["--arch", "cifar_resnet20", "--data", shapes / "crops", "CLASSIFICATION.SIZE", 16]
    args += ["CLASSIFICATION.RESIZE", 16, "SOLVER.IMS_PER_BATCH", 8, "DATALOADER.NUM_WORKERS", 0, "OUTPUT_DIR", run]
    done = pretrain("--weights", url, *args, "CLASSIFICATION.EPOCHS", 1)
    assert done.returncode == 0, done.stderr
    assert f"weights: {url}" in done.stdout and f"WEIGHTS: {url}\n" in (run / "config.yaml").read_text()
    assert read_weights(run / "model_final.pth").initial_weights == url
    server.files.clear()
    for file in files_in(tmp_path / "iopath"):
        file.unlink()
    done = pretrain("--weights", url, "--resume", *args, "CLASSIFICATION.EPOCHS", 2)
    assert done.returncode == 0, done.stderr
    assert read_weights(run / "model_final.pth").initial_weights == url and server.downloads() == ["/w.pth"]


@pytest.mark.slow
def test_a_detector_of_the_model_zoo_detects_as_in_detectron2(server, monkeypatch):
    name = "COCO-Detection/faster_rcnn_R_50_FPN_1x"
    cfg = model_zoo.get_config(name + ".yaml")
    cfg.MODEL.DEVICE, cfg.MODEL.WEIGHTS, cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = "cpu", "", 0.0
    image = torch.randint(256, (3, 96, 128), dtype=torch.uint8)
    theirs = make_norms_matter(build_model(cfg), [{"image": image}])
    content = pickle.dumps({"model": {k: v.numpy() for k, v in theirs.state_dict().items()}})
    row = published.find(f"detectron2:{name}")
    file = f"{name}/model_final_{hashlib.md5(content).hexdigest()[:6]}.pkl"
    monkeypatch.setattr(hub, "find", lambda _: dataclasses.replace(row, file=file))
    server.files["/" + file] = content
    config = PROJECT / "configs" / "faster_rcnn_resnet50_fpn.yaml"
    options = ["MODEL.BACKBONE.NAME", "build_resnet50_caffe_fpn_backbone", "MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.0]
    monkeypatch.setattr(hub, "for_network", lambda _: [hub.find(name)])
    ours = build_detector(config, f"detectron2:{name}.yaml", [*options, "MODEL.DEVICE", "cpu"])
    assert ours.cfg.INPUT.FORMAT == "BGR"
    with torch.no_grad():
        (found,), (truth,) = ours([{"image": image}]), theirs([{"image": image}])
    found, truth = found["instances"], truth["instances"]
    assert len(truth) > 10 and torch.equal(found.pred_classes, truth.pred_classes)
    torch.testing.assert_close(found.pred_boxes.tensor, truth.pred_boxes.tensor, rtol=0, atol=1e-2)
