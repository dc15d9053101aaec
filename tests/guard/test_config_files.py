"""Broken and hostile YAML files: one message with the file, nothing from a network, nothing of Python."""

from backbones.errors import InputError
from detection.config import default_config
from residet.config import merge_config

import pytest

BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)
FILES = {
    "list": ("- 1\n- 2\n", "not keys with values"),
    "number": ("5\n", "not keys with values"),
    "text": ("hello\n", "not keys with values"),
    "key_of_a_number": ("5: 6\n", "not keys with values"),
    "no_yaml": ("SOLVER: [1, 2\n", "expected"),
    "tabs": ("SOLVER:\n\tBASE_LR: 1\n", "cannot start any token"),
    "python": (
        "OUTPUT_DIR: !!python/object/apply:os.system ['touch /tmp/owned']\n",
        "could not determine a constructor",
    ),
    "unhashable": ("? [a, b]\n: 5\n", "unhashable"),
    "nested": ("OUTPUT_DIR: " + "[" * 100_000, ""),
    "digits": ("SEED: " + "9" * 6000, ""),
    "bomb": (BOMB, "holds more than"),
    "latin": ("OUTPUT_DIR: f\xfcr".encode("latin1"), "UTF-8"),
    "binary": (bytes(range(256)), ""),
    "group_is_a_value": ("SOLVER: 5\n", "SOLVER is a group of keys"),
    "value_is_a_group": ("SEED: {A: 1}\n", "SEED: {'A': 1} is not a whole number"),
    "unknown": ("SOLVER: {BASE_LRR: 1.0}\n", "did you mean SOLVER.BASE_LR?"),
    "http": ("_BASE_: http://example.com/a.yaml\n", "is on a network"),
    "https": ("_BASE_: https://example.com/a.yaml\n", "is on a network"),
    "ftp": ("_BASE_: ftp://example.com/a.yaml\n", "is on a network"),
    "detectron2": ("_BASE_: detectron2://a.yaml\n", "is on a network"),
    "s3_in_a_list": ("_BASE_: ['s3://bucket/a.yaml']\n", "is on a network"),
    "base_missing": ("_BASE_: nowhere.yaml\n", "nowhere.yaml: no such config"),
    "base_of_a_number": ("_BASE_: 5\n", "_BASE_ 5 is no path"),
    "base_itself": ("_BASE_: base_itself.yaml\n", "names this one again"),
    "base_folder": ("_BASE_: /\n", "no such config"),
    "base_against_group": ("_BASE_: other.yaml\nSOLVER: {BASE_LR: 1.0}\n", "is a group of keys in one file"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_broken_config_is_one_message(tmp_path, name, monkeypatch):
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("reached for a network"))
    content, words = FILES[name]
    (tmp_path / "other.yaml").write_text("SOLVER: 5\n")
    file = tmp_path / f"{name}.yaml"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError) as caught:
        merge_config(default_config(), str(file), [])
    message = str(caught.value)
    assert str(tmp_path) in message and words in message and len(message) < 1500, message
    assert message.isprintable(), message


def test_bases_are_merged_in_order_and_the_file_wins(tmp_path):
    (tmp_path / "a.yaml").write_text("SOLVER: {BASE_LR: 0.1, GAMMA: 0.5}\nSEED: 1\n")
    (tmp_path / "b.yaml").write_text("_BASE_: a.yaml\nSOLVER: {BASE_LR: 0.2}\n")
    (tmp_path / "c.yaml").write_text(f"_BASE_: [a.yaml, {tmp_path}/b.yaml]\nSEED: 3\n")
    cfg = default_config()
    merge_config(cfg, str(tmp_path / "c.yaml"), [])
    assert (cfg.SOLVER.BASE_LR, cfg.SOLVER.GAMMA, cfg.SEED) == (0.2, 0.5, 3)


@pytest.mark.parametrize(
    ("opts", "words"),
    [
        (["SEED"], "has no partner"),
        (["SEED.X", "5"], "SEED: {'X': '5'} is not a whole number"),
        (["", "5"], "Non-existent config key"),
        (["SOLVER", "5"], "SOLVER is a group of keys"),
        (["SOLVER.BASE_LR\x1b[31m", "5"], "Non-existent config key"),
        (["SEED", "9" * 6000], "is not a whole number"),
        (["SEED", "(" * 10_000], "is not a whole number"),
        (["_BASE_", "http://example.com/a.yaml"], "Non-existent config key: _BASE_"),
    ],
)
def test_a_broken_override_is_one_message(opts, words):
    with pytest.raises(InputError) as caught:
        merge_config(default_config(), "", opts)
    assert words in str(caught.value) and len(str(caught.value)) < 500 and str(caught.value).isprintable()
