"""Starts a run: its device, log, random numbers and processes."""

from __future__ import annotations

import argparse
import contextlib
import logging
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

from backbones.errors import InputError, printable
from residet.fingerprint import write_run
from residet.output import release_locks, write_config
from residet.plan import RunPlan
from residet.progress import ConsoleHandler
from residet.ranks import run_together

import torch
from detectron2.config import CfgNode
from detectron2.engine import launch
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng

log = logging.getLogger("residet")


def resolve_device(cfg: CfgNode) -> None:
    """Takes the CPU where there is no GPU, and no more DataLoader workers than the machine has cores.

    Raises:
        InputError: MODEL.DEVICE is a GPU that the machine does not have.
    """
    # Not os.cpu_count(), as a job may have a part of the machine's cores. torch warns of more workers than cores.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    cfg.DATALOADER.NUM_WORKERS = min(cfg.DATALOADER.NUM_WORKERS, cores)
    if cfg.MODEL.DEVICE == "cuda" and not torch.cuda.is_available():
        cfg.MODEL.DEVICE = "cpu"
    _, _, number = cfg.MODEL.DEVICE.partition(":")
    if number.isdecimal() and int(number) >= (count := torch.cuda.device_count()):
        raise InputError(f"MODEL.DEVICE: {cfg.MODEL.DEVICE} is not there: this machine has {count} GPUs; name another")


class _Printable(logging.Formatter):
    """A formatter that shows control characters in names and messages instead of passing them on."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


class _LogFile(logging.FileHandler):
    """log.txt. A line that the disk does not take is left out, and the user is told once."""

    told = False

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
        elif not self.told:
            self.told = True
            print(f"warning: {self.baseFilename}: {error.strerror}: the log has gaps; make room", file=sys.stderr)

    def close(self) -> None:
        with contextlib.suppress(OSError):  # of the lines that are left
            super().close()


def start_log(plan: RunPlan, title: str) -> None:
    """Opens OUTPUT_DIR and seeds the random number generators.

    The whole log goes to log.txt, the config to config.yaml, and what the user must know to the console. run.json gets
    what the run is known by (residet.fingerprint).

    Args:
        plan: the run; its lines are logged.
        title: the first line.
    """
    cfg = plan.cfg
    output = Path(cfg.OUTPUT_DIR)
    rank = comm.get_rank()
    output.mkdir(parents=True, exist_ok=True)
    if comm.is_main_process():
        write_config(cfg)
        write_run(plan)

    file = _LogFile(output / ("log.txt" if rank == 0 else f"log.txt.rank{rank}"))
    file.setFormatter(_Printable("[%(asctime)s %(name)s] %(levelname)s: %(message)s"))
    console = ConsoleHandler()
    console.setFormatter(_Printable("%(message)s"))
    console.setLevel(logging.INFO if rank == 0 else logging.ERROR)
    logging.captureWarnings(True)  # warnings of libraries are for those who look into log.txt
    for name in ("residet", "detectron2", "fvcore", "py.warnings"):
        logger = logging.getLogger(name)
        logger.setLevel(logging.INFO)
        logger.propagate = False
        logger.handlers = [file, console] if name == "residet" else [file]
    log.info("%s, %s → %s", title, cfg.MODEL.DEVICE, output)
    logging.getLogger("detectron2").info("Command line: %s\nConfig:\n%s", sys.argv, cfg.dump())
    for line in plan.lines:
        log.info("%s", line)
    seed_all_rng(cfg.SEED + rank if cfg.SEED >= 0 else None)


def run_distributed(main: Callable[[argparse.Namespace], None], args: argparse.Namespace) -> None:
    """Runs `main(args)` in this process, in one of torchrun's, or in those that detectron2's `launch` starts.

    Raises:
        InputError: --num-gpus is more than there are, or --dist-url is missing.
    """
    try:
        _run(main, args)
    finally:
        release_locks()


def _run(main: Callable[[argparse.Namespace], None], args: argparse.Namespace) -> None:
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
        run_together(main, args)
        torch.distributed.destroy_process_group()
        return
    if args.machine_rank >= args.num_machines:
        raise InputError(f"--machine-rank: {args.machine_rank} is not below --num-machines {args.num_machines}")
    if args.num_machines > 1:
        _check_address(args.dist_url)
    gpus = torch.cuda.device_count()
    processes = max(min(1, gpus) if args.num_gpus is None else args.num_gpus, 1)
    if (args.num_gpus or 0) > gpus:
        raise InputError(f"--num-gpus: {args.num_gpus} asked for, {gpus} found")
    if processes > 1:  # the processes save and leave; this one waits for them
        interrupts: list = []
        signal.signal(signal.SIGTERM, lambda *_: [p.terminate() for p in multiprocessing.active_children()])
        signal.signal(signal.SIGINT, lambda *_: interrupts.append(True))  # a terminal sends it to them, too
        launch(run_together, processes, args.num_machines, args.machine_rank, args.dist_url, args=(main, args))
        if interrupts:
            raise KeyboardInterrupt
        return
    if args.num_machines > 1:
        launch(run_together, 1, args.num_machines, args.machine_rank, args.dist_url, args=(main, args))
    else:
        main(args)


def _check_address(url: str) -> None:
    """Raises InputError if --dist-url is no address of machine 0."""
    try:
        parts = urlsplit(url)
        is_address = parts.scheme == "tcp" and parts.hostname and parts.port
    except ValueError:  # of the port
        is_address = False
    if not is_address:
        raise InputError(f"--dist-url: {url!r} is no address; several machines need that of machine 0, tcp://HOST:PORT")
