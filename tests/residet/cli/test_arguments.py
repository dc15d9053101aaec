"""The command that goes on with a run, for each way to start a tool."""

import sys

from residet.cli.arguments import Parser, command_to_resume

import pytest

TORCHRUN = f"{sys.executable} -m torch.distributed.run --standalone --nproc-per-node 2"


@pytest.mark.parametrize(
    ("program", "processes", "command"),
    [
        ("tools/train_net.py", 1, f"{sys.executable} tools/train_net.py"),
        ("tools/train_net.py", 2, f"{TORCHRUN} tools/train_net.py"),
        ("/my env/bin/residet train", 1, "'/my env/bin/residet' train"),
        (f"{sys.executable} -m residet train", 1, f"{sys.executable} -m residet train"),
        ("/env/bin/residet train", 2, f"{TORCHRUN} -m residet train"),
    ],
)
def test_the_command_that_goes_on(monkeypatch, program, processes, command):
    monkeypatch.setattr(sys, "argv", [program, "--data", "my cells", "SEED", "-1"])
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
    parser = Parser("train_net.py", "tools/train_net.py --data DIR")
    parser.add_argument("--data")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("opts", nargs="*")
    args = parser.parse_args()
    assert command_to_resume(args, ["SEED", 5]) == f"{command} --data 'my cells' SEED -1 --resume SEED 5"
    sys.argv = [program, "--resume", "--data", "my cells"]
    assert command_to_resume(parser.parse_args()) == f"{command} --resume --data 'my cells'"


def test_the_command_on_several_machines(monkeypatch):
    monkeypatch.setenv("GROUP_WORLD_SIZE", "2")
    args = Parser("train_net.py", "").parse_args([])
    assert command_to_resume(args, ["SEED", 5]) == "the same torchrun command on each machine, with --resume SEED 5"


def test_help_states_a_default_of_zero(capsys):
    parser = Parser("demo.py", "tools/demo.py")
    parser.add_argument("--seed", type=int, default=0, help="seed")
    parser.add_argument("--quick", action="store_true", help="quick")
    with pytest.raises(SystemExit):
        parser.parse_args(["--help"])
    text = capsys.readouterr().out
    assert "seed; default 0" in text and "default False" not in text
