"""Setting a run up: what reaches the user of an error, and from where."""

from backbones.errors import InputError
from classification.config import default_config
from residet.cli.exits import exit_code
from residet.config import merge_config

import pytest
import torch
from run_tools import PROJECT


def fail(rank, message):
    raise InputError(message)


def test_an_error_in_a_launched_process_is_one_message(capsys):
    def run():
        torch.multiprocessing.spawn(fail, ("a.json: broken",), nprocs=2)

    assert exit_code(run) == 2
    assert capsys.readouterr().err.strip().splitlines()[-1] == "error: a.json: broken"


def test_a_fault_of_our_own_is_not_hidden():
    with pytest.raises(ZeroDivisionError):
        exit_code(lambda: 1 / 0)
    assert exit_code(lambda: None) == 0


def test_overrides_win_over_the_file():
    cfg = default_config()
    file = PROJECT / "configs" / "classification" / "cifar10.yaml"
    merge_config(cfg, str(file), ["SOLVER.BASE_LR", "0.3"])
    assert cfg.SOLVER.BASE_LR == 0.3 and cfg.CLASSIFICATION.CROP == "pad"
