"""Sets a run up, for pretraining and detection alike: config, output folder, log, seed, devices, processes."""

from __future__ import annotations

import argparse
import difflib
import errno
import itertools
import logging
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from backbones.errors import InputError

import torch
import yaml
from detectron2.config import CfgNode
from detectron2.engine import default_argument_parser, launch
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng

log = logging.getLogger("residet")


def argument_parser(description: str) -> argparse.ArgumentParser:
    """detectron2's arguments: --config-file, --resume, --eval-only, --num-gpus, … and KEY VALUE overrides."""
    parser = default_argument_parser(epilog=" ")
    parser.description = description
    parser.set_defaults(num_gpus=min(1, torch.cuda.device_count()))
    return parser


def merge_config(cfg: CfgNode, config_file: str, opts: list[str]) -> None:
    """Merges a YAML file and KEY VALUE overrides into cfg.

    Raises:
        InputError: the file does not exist or is not YAML; a key is unknown (the nearest is suggested) or of another
            type.
    """
    if config_file:
        path = Path(config_file)
        if not path.is_file():
            near = difflib.get_close_matches(path.name, [p.name for p in path.parent.glob("*.yaml")], n=1)
            hint = f"; did you mean {path.parent / near[0]}?" if near else ""
            raise InputError(f"{config_file}: no such config{hint}")
        _merge(cfg, lambda: cfg.merge_from_file(config_file, allow_unsafe=False), config_file)
    merge_options(cfg, opts, "command line")


def merge_options(cfg: CfgNode, opts: list, source: str) -> None:
    """Merges KEY, VALUE, … into cfg. Raises InputError as `merge_config`."""
    if len(opts) % 2:
        raise InputError(f"{source}: overrides are KEY VALUE pairs, {opts[-1]!r} has no partner")
    _merge(cfg, lambda: cfg.merge_from_list(opts), source)


def _merge(cfg: CfgNode, merge: Callable[[], None], source: str) -> None:
    try:
        merge()
    except (KeyError, AssertionError) as e:
        words = str(e.args[0]).split()
        key = words[-1] if words else ""
        near = difflib.get_close_matches(key, _keys(cfg), n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise InputError(f"{source}: {e.args[0]}{hint}") from e
    except (ValueError, TypeError, yaml.YAMLError, FileNotFoundError, AttributeError, RecursionError) as e:
        raise InputError(f"{source}: {' '.join(str(e).split())}") from e


def _keys(cfg: CfgNode, prefix: str = "") -> list[str]:
    keys = []
    for key, value in cfg.items():
        keys += _keys(value, f"{prefix}{key}.") if isinstance(value, CfgNode) else [prefix + key]
    return keys


def choose_device(cfg: CfgNode) -> None:
    """The CPU where there is no GPU, and no more workers than cores."""
    cfg.DATALOADER.NUM_WORKERS = min(cfg.DATALOADER.NUM_WORKERS, os.cpu_count() or 1)
    if cfg.MODEL.DEVICE == "cuda" and not torch.cuda.is_available():
        cfg.MODEL.DEVICE = "cpu"


def check_output(cfg: CfgNode, args: argparse.Namespace) -> None:
    """Keeps one run from writing over another: an evaluation in a folder with results gets a subfolder of its own.

    Where torchrun starts the processes again after one has failed, the run goes on as if --resume had been given, or
    from its start if there was no checkpoint yet.

    Raises:
        InputError: OUTPUT_DIR holds a run and this one does not resume it, or it holds none to resume.
    """
    folder = Path(cfg.OUTPUT_DIR)
    if args.eval_only:
        if traces(folder):
            cfg.OUTPUT_DIR = next(str(path) for i in itertools.count(1) if not traces(path := folder / f"eval-{i}"))
        return
    found = traces(folder)
    if is_restart():
        args.resume = "last_checkpoint" in found
        return
    resumable = "last_checkpoint" in found
    if args.resume and not resumable:
        raise InputError(f"--resume: {folder} holds no checkpoint to resume; check OUTPUT_DIR or leave --resume out")
    if found and not args.resume:
        way_out = "give --resume or another folder" if resumable else "remove it or name another folder"
        raise InputError(f"OUTPUT_DIR: {folder} holds another run ({', '.join(found)}); {way_out}")


def is_restart() -> bool:
    """Whether torchrun has started the processes again after one has failed."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0)) > 0


def traces(folder: Path) -> list[str]:
    """Names of the files that only a run leaves which got somewhere; empty ones are of one that failed at its start."""
    files = [folder / "last_checkpoint", folder / "results.json", folder / "metrics.json", *folder.glob("model*.pth")]
    return [path.name for path in files if path.is_file() and path.stat().st_size]


def write_config(cfg: CfgNode) -> None:
    """Leaves the whole config in OUTPUT_DIR/config.yaml."""
    path = Path(cfg.OUTPUT_DIR, "config.yaml")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(cfg.dump())
    partial.replace(path)


def start_log(cfg: CfgNode, args: argparse.Namespace, title: str) -> None:
    """Opens OUTPUT_DIR: the whole log in log.txt, the config in config.yaml, the essence on the console; seeds."""
    output = Path(cfg.OUTPUT_DIR)
    rank = comm.get_rank()
    output.mkdir(parents=True, exist_ok=True)
    if comm.is_main_process():
        write_config(cfg)

    file = logging.FileHandler(output / ("log.txt" if rank == 0 else f"log.txt.rank{rank}"))
    file.setFormatter(logging.Formatter("[%(asctime)s %(name)s] %(levelname)s: %(message)s"))
    console = logging.StreamHandler(sys.stdout)
    console.setFormatter(logging.Formatter("%(message)s"))
    console.setLevel(logging.INFO if rank == 0 else logging.ERROR)
    for name in ("residet", "detectron2", "fvcore"):
        logger = logging.getLogger(name)
        logger.setLevel(logging.INFO)
        logger.propagate = False
        logger.handlers = [file, console] if name == "residet" else [file]
    log.info("%s, %s → %s", title, cfg.MODEL.DEVICE, output)
    logging.getLogger("detectron2").info("Command line: %s\nConfig:\n%s", sys.argv, cfg.dump())
    seed_all_rng(cfg.SEED + rank if cfg.SEED >= 0 else None)


def run_distributed(main: Callable[[argparse.Namespace], None], args: argparse.Namespace) -> None:
    """Runs `main(args)` in this process, in one of torchrun's, or in those that detectron2's `launch` starts.

    Raises:
        InputError: --num-gpus is more than there are.
    """
    if "LOCAL_RANK" in os.environ and "WORLD_SIZE" in os.environ:
        gpus, local_rank = torch.cuda.device_count(), int(os.environ["LOCAL_RANK"])
        if gpus:
            if local_rank >= gpus:
                raise InputError(
                    f"--nproc-per-node: more processes than the {gpus} GPUs; CUDA_VISIBLE_DEVICES= hides them"
                )
            torch.cuda.set_device(local_rank)
        # torchrun serves one store to all its restarts: the addresses of failed processes must not be read again.
        wait = timedelta(minutes=30)
        store, rank, world_size = next(torch.distributed.rendezvous("env://", timeout=wait))
        store = torch.distributed.PrefixStore(f"attempt {os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", store)
        backend = "cpu:gloo,cuda:nccl" if gpus else "gloo"
        torch.distributed.init_process_group(backend, store=store, rank=rank, world_size=world_size, timeout=wait)
        comm.create_local_process_group(int(os.environ["LOCAL_WORLD_SIZE"]))
        try:
            main(args)
        finally:
            torch.distributed.destroy_process_group()
        return
    if args.num_gpus > torch.cuda.device_count():
        raise InputError(f"--num-gpus: {args.num_gpus} asked for, {torch.cuda.device_count()} found")
    if args.num_gpus > 1:  # the processes save and leave; this one waits for them
        signal.signal(signal.SIGTERM, lambda *_: [p.terminate() for p in multiprocessing.active_children()])
    launch(main, max(args.num_gpus, 1), args.num_machines, args.machine_rank, args.dist_url, args=(args,))


_DIVERGED = "Start again in another OUTPUT_DIR with a lower SOLVER.BASE_LR or a longer SOLVER.WARMUP_ITERS."


def exit_code(run: Callable[[], object]) -> int:
    """Runs a tool: 0, or 2 with one message where the user can mend it."""
    try:
        run()
    except InputError as e:
        # A DataLoader worker's error arrives with the worker's traceback around its message.
        message = str(e).rsplit("InputError: ", 1)[-1].strip()
    except FloatingPointError as e:
        message = f"{' '.join(str(e).split())} {_DIVERGED}"
    except torch.multiprocessing.ProcessRaisedException as e:
        # So does that of a process which `launch` started.
        head, _, tail = str(e).rpartition("InputError: ")
        diverged, _, loss = str(e).rpartition("FloatingPointError: ")
        if not head and not diverged:
            raise
        message = tail.strip() if head else f"{' '.join(loss.split())} {_DIVERGED}"
    except OSError as e:
        if e.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        message = f"{e.filename or 'writing'}: {e.strerror}; make room, then go on with --resume"
    except KeyboardInterrupt:
        print("interrupted; --resume goes on from the last checkpoint", file=sys.stderr)
        return 130
    else:
        return 0
    print(f"error: {message}", file=sys.stderr)
    return 2
