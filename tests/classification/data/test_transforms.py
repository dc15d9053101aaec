"""Preprocessing: each crop and colour against what it should give, and the normalisations against their definitions."""

from backbones.errors import InputError
from backbones.weights.files import read_checkpoint, save_checkpoint
from classification.config import default_config
from classification.data.datasets import open_split
from classification.data.examples import Example, TrainingImages
from classification.data.loaders import build_train_loader, build_val_loader, read_normalisation, resolve_normalisation
from classification.data.normalise import PixelMean, WhitenedImages, Whitening, from_state
from classification.data.transforms import PCANoise, train_transform, val_transform
from classification.schema.keys import check_keys
from residet.engine.loaders import PositionSampler, seeded

import pytest
import torch
from torchvision.transforms import v2


def make_cfg(*opts):
    cfg = default_config()
    cfg.merge_from_list(["MODEL.DEVICE", "cpu", "DATALOADER.NUM_WORKERS", 0, *opts])
    return cfg


def keys(**values):
    return [item for key, value in values.items() for item in (f"CLASSIFICATION.{key}", value)]


CIFAR = keys(SIZE=32, RESIZE=32)
RAMP = torch.arange(32 * 32).view(1, 32, 32).expand(3, 32, 32) % 251
RAMP = RAMP.to(torch.uint8)


def crops(image, *opts, tries=200):
    transform = train_transform(make_cfg(*opts))
    torch.manual_seed(0)
    return [transform(image) for _ in range(tries)]


@pytest.mark.parametrize(("crop", "mode"), [("pad", "constant"), ("reflect", "reflect")])
def test_padded_crops_are_windows_of_the_padded_image(crop, mode):
    cfg = make_cfg(*CIFAR, "MODEL.PIXEL_MEAN", [9.2, 7.0, 5.0])
    padded = torch.nn.functional.pad(RAMP.float(), (4,) * 4, mode)
    if crop == "pad":  # with what is zero once normalised
        inside = torch.nn.functional.pad(torch.ones(1, 32, 32), (4,) * 4)
        padded = torch.where(inside == 1, padded, torch.tensor([9.0, 7.0, 5.0]).view(3, 1, 1))
    windows = [padded[:, y : y + 32, x : x + 32] for y in range(9) for x in range(9)]
    transform = train_transform(make_cfg(*CIFAR, *keys(CROP=crop), "MODEL.PIXEL_MEAN", list(cfg.MODEL.PIXEL_MEAN)))
    for i in range(20):
        torch.manual_seed(i)
        out = transform(RAMP).float()
        assert any(torch.equal(out, w) or torch.equal(out, w.flip(-1)) for w in windows)


def test_short_side_is_drawn_from_the_range():
    image = torch.zeros(3, 300, 600, dtype=torch.uint8)
    image[:, :, ::2] = 255
    cfg = make_cfg(*keys(CROP="short_side", SIZE=224))
    resize = train_transform(cfg).transforms[0]
    torch.manual_seed(0)
    sides = [min(resize(image[:, :4, :8]).shape[1:]) for _ in range(3000)]
    assert min(sides) == 256 and max(sides) == 480
    assert train_transform(cfg)(image).shape == (3, 224, 224)


def test_scale_crops_are_torchvisions():
    torch.manual_seed(5)
    ours = train_transform(make_cfg(*keys(SIZE=20, FLIP=False)))(RAMP)
    torch.manual_seed(5)
    assert torch.equal(ours, v2.RandomResizedCrop(20, scale=(0.08, 1.0), antialias=True)(RAMP))


def test_half_of_the_images_are_mirrored_or_none():
    same = [torch.equal(out, RAMP) for out in crops(RAMP, *CIFAR, *keys(CROP="none"))]
    assert 60 < sum(same) < 140
    assert all(torch.equal(out, RAMP) for out in crops(RAMP, *CIFAR, *keys(CROP="none", FLIP=False), tries=5))


def test_pca_noise_has_the_variance_of_its_components():
    grey = torch.full((3, 1, 1), 128, dtype=torch.uint8)
    torch.manual_seed(0)
    noise = torch.stack([PCANoise(1.0)(grey).flatten().double() - 128 for _ in range(4000)])
    # Of fb.resnet.torch: the components in columns, and the standard deviation along each.
    columns = [[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]]
    components = 255 * torch.tensor(columns).double() * torch.tensor([0.2175, 0.0188, 0.0045])
    expected = components @ components.T
    covariance = noise.T @ noise / len(noise)
    assert torch.allclose(covariance, expected, rtol=0.1, atol=60)
    assert PCANoise()(torch.zeros(3, 2, 2, dtype=torch.uint8)).dtype == torch.uint8


def test_every_option_keeps_size_and_type():
    image = torch.randint(0, 256, (3, 70, 50), dtype=torch.uint8)
    for crop in ("scale", "short_side", "pad", "reflect", "none"):
        for colour in ("none", "pca", "jitter"):
            opts = keys(CROP=crop, COLOUR=colour, SIZE=32, RESIZE=32, SHORT_SIDE=(40, 60))
            for out in crops(image, *opts, *keys(TRIVIAL_AUGMENT=True, RANDOM_ERASING=1.0), tries=3):
                assert out.shape == (3, 32, 32) and out.dtype == torch.uint8


def test_views_of_a_test_image():
    image = torch.randint(0, 256, (3, 40, 60), dtype=torch.uint8)
    opts = keys(SIZE=24, RESIZE=32)
    resized = v2.functional.resize(image, [32], antialias=True)
    assert torch.equal(val_transform(make_cfg(*opts))(image), v2.functional.center_crop(resized, [24, 24]))
    ten = val_transform(make_cfg(*opts, "CLASSIFICATION.TEST.VIEWS", "10crop"))(image)
    assert torch.equal(ten, torch.stack(v2.functional.ten_crop(resized, [24, 24]))) and ten.shape == (10, 3, 24, 24)
    assert torch.equal(val_transform(make_cfg(*opts, "CLASSIFICATION.TEST.VIEWS", "dense"))(image), image)
    large = make_cfg(*opts, "CLASSIFICATION.TEST.SIZE", 30)
    assert val_transform(large)(image).shape == (3, 30, 30)


def test_images_are_resized_as_the_key_says():
    """ResNeXt, section 4: "other details as in [11]", fb.resnet.torch, which scales "bicubic" without smoothing."""
    image = torch.randint(0, 256, (3, 40, 60), dtype=torch.uint8)
    cubic = v2.InterpolationMode.BICUBIC
    seen = {}
    for name, antialias in (("bicubic", True), ("bicubic_aliased", False)):
        cfg = make_cfg(*keys(SIZE=16, RESIZE=16, INTERPOLATION=name, CROP="none", FLIP=False))
        expected = v2.functional.resize(image, [16], interpolation=cubic, antialias=antialias)
        assert torch.equal(val_transform(cfg)(image), v2.functional.center_crop(expected, [16, 16]))
        whole = v2.functional.resize(image, [16, 16], interpolation=cubic, antialias=antialias)
        assert torch.equal(train_transform(cfg)(image), whole)
        seen[name] = whole
    assert not torch.equal(*seen.values())


def test_unknown_names_are_refused():
    for key, value in (("INTERPOLATION", "nearest"), ("CROP", "padd"), ("COLOUR", "rgb"), ("TEST.VIEWS", "12crop")):
        with pytest.raises(InputError, match=f"CLASSIFICATION.{key}: '{value}' is none of"):
            check_keys(make_cfg(f"CLASSIFICATION.{key}", value))
    with pytest.raises(InputError, match="zca whitens the whole image"):
        check_keys(make_cfg(*keys(NORMALISE="zca", COLOUR="pca", SIZE=32, RESIZE=32)))
    with pytest.raises(InputError, match="256 is less than the 320"):
        check_keys(make_cfg("CLASSIFICATION.TEST.SIZE", 320))


# Random numbers


def test_an_example_follows_from_its_place_in_the_run(shapes):
    cfg = make_cfg(*CIFAR, *keys(COLOUR="jitter", TRIVIAL_AUGMENT=True), "CLASSIFICATION.DATA", str(shapes / "crops"))
    images = open_split(cfg, "train")
    data = TrainingImages(images, Example(train_transform(cfg)), seed=0)
    state = torch.get_rng_state()
    assert torch.equal(data[7, 3]["image"], data[7, 3]["image"])
    assert not torch.equal(data[7, 3]["image"], data[8, 3]["image"])
    other = TrainingImages(images, Example(train_transform(cfg)), seed=1)
    assert not torch.equal(data[7, 3]["image"], other[7, 3]["image"])
    assert torch.equal(state, torch.get_rng_state())  # the run's own are not touched
    with seeded((1, 2)):
        first = torch.rand(3)
    with seeded((1, 2)):
        assert torch.equal(first, torch.rand(3))


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_go_on_from_any_iteration(shapes, workers):
    opts = [*CIFAR, "CLASSIFICATION.DATA", str(shapes / "crops"), "SOLVER.IMS_PER_BATCH", 8, "SOLVER.ACCUMULATE", 2]
    cfg = make_cfg(*opts, "DATALOADER.NUM_WORKERS", workers)
    whole = [batch for batch, _ in zip(build_train_loader(cfg), range(20), strict=False)]
    rest = [batch for batch, _ in zip(build_train_loader(cfg, 7), range(6), strict=False)]
    for a, b in zip(whole[14:], rest, strict=True):  # two parts an iteration
        assert torch.equal(a["image"], b["image"]) and torch.equal(a["label"], b["label"])
    assert next(iter(PositionSampler(range(200), 100)))[0] == 100


# Normalisation


def test_pixel_mean_is_the_mean_image():
    images = torch.randint(0, 256, (50, 3, 8, 8), dtype=torch.uint8)
    fitted = PixelMean.fit(images.split(20))
    assert torch.allclose(fitted.mean, images.float().mean(0), atol=1e-4)
    assert fitted(images).mean(0).abs().max() < 1e-3
    assert fitted(torch.zeros(2, 10, 3, 12, 12)).shape == (2, 10, 3, 12, 12)  # ten crops of another size


def test_zca_is_pylearn2s():
    """Its formulas, written out: contrast to norm 55, then (C + 0.1)^-1/2 in the basis of the components."""
    torch.manual_seed(0)
    images = (torch.rand(400, 3, 4, 4) * 255).round()
    x = images.flatten(1).double()
    x = x - x.mean(1, keepdim=True)
    x = 55 * x / x.square().sum(1, keepdim=True).sqrt()
    centred = x - x.mean(0)
    values, vectors = torch.linalg.eigh(centred.T @ centred / len(x))
    expected = centred @ (vectors * (values + 0.1).rsqrt()) @ vectors.T
    fitted = Whitening.fit(images.split(64))
    assert torch.allclose(fitted(images).flatten(1).double(), expected, atol=2e-3)
    white = fitted(images).flatten(1).double()
    spread = torch.linalg.eigvalsh(white.T @ white / len(white))
    assert spread[1:].min() > 0.98 and spread.max() < 1.01  # one direction, the image's mean, has been taken away
    assert torch.isfinite(fitted(torch.full((1, 3, 4, 4), 7.0))).all()  # an image without contrast
    with pytest.raises(InputError, match="zca is for images up to 64 px"):
        Whitening.fit([torch.zeros(1, 3, 65, 65)])


@pytest.mark.parametrize("kind", ["pixel_mean", "zca"])
def test_what_is_fitted_is_applied_before_padding_and_goes_with_the_run(kind, shapes, tmp_path):
    opts = [*keys(SIZE=16, RESIZE=16, CROP="pad", NORMALISE=kind), "CLASSIFICATION.DATA", str(shapes / "crops")]
    cfg = make_cfg(*opts, "OUTPUT_DIR", str(tmp_path / "run"), "SOLVER.IMS_PER_BATCH", 8)
    resolve_normalisation(cfg, None)
    fitted = read_normalisation(cfg)
    images = open_split(cfg, "train")
    resize = v2.Resize((16, 16), antialias=True)
    whole = torch.stack([resize(images.load(i)[0]) for i in range(len(images))])
    assert torch.allclose(fitted(whole).mean(0), torch.zeros(3, 16, 16), atol=0.05)
    batch = next(iter(build_train_loader(cfg)))["image"]
    assert batch.dtype == torch.float32 and (batch == 0).any()  # the padding is zero
    val = torch.cat([b["image"] for b in build_val_loader(cfg, fitted)])
    first = val_transform(cfg)(open_split(cfg, "val").load(0)[0])
    assert torch.allclose(val[0], fitted(first), atol=1e-3) or kind == "zca"  # which squeezes what is not square
    state = read_checkpoint(tmp_path / "run" / "normalisation.pth")
    assert torch.equal(from_state(state, "a").mean, fitted.mean) and state["kind"] == kind


def test_a_foreign_normalisation_is_refused(tmp_path):
    save_checkpoint({"kind": "zca", "mean": torch.zeros(3)}, tmp_path / "n.pth")
    for state in ({"kind": "exec"}, read_checkpoint(tmp_path / "n.pth"), {}, []):
        with pytest.raises(InputError, match=r"n\.pth: its normalisation is none that is known"):
            from_state(state, "n.pth")


def test_whitened_images_are_whitened_once(shapes):
    cfg = make_cfg(*keys(SIZE=8, RESIZE=8), "CLASSIFICATION.DATA", str(shapes / "crops"))
    images = open_split(cfg, "val")
    resize = v2.Resize((8, 8), antialias=True)
    fitted = Whitening.fit([torch.stack([resize(images.load(i)[0]) for i in range(len(images))])])
    white = WhitenedImages(images, fitted, 8)
    assert white.labels() == images.labels() and white.classes == images.classes and len(white) == len(images)
    assert torch.allclose(white.load(3)[0], fitted(resize(images.load(3)[0])), atol=1e-3)
