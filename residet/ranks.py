"""The processes of a distributed run end together: when one of them fails, all end within seconds, with one message.

A process that fails alone leaves the others waiting in an operation that all must join: under gloo until its socket
closes, under NCCL for half an hour. So the process that fails says so in the store through which the processes have
found each other, and a thread in each process looks there.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import threading
from collections.abc import Callable

from backbones.errors import InputError

from torch import distributed
from torch.distributed import distributed_c10d

_FAILED = "residet/failed"  # key in the store: number of processes that have failed
_PERIOD = 1.0  # seconds between two looks at the store
_GRACE = 5.0  # seconds in which a process may end by itself after another one has failed
_GRACE_WITHOUT_STORE = 60.0  # the process that serves the store may also have ended because its work is done
_CODE = 2


def run_together(main: Callable[[argparse.Namespace], None], args: argparse.Namespace) -> None:
    """Runs `main(args)` in one of several processes that have joined the default process group.

    Raises:
        InputError: another process has been killed.
        SystemExit: another process has failed before, and says why.
    """
    store = distributed_c10d._get_default_store()
    store = getattr(store, "clone", lambda: store)()  # a connection of its own, from torch 2.7 on: the other may wait
    done = threading.Event()
    threading.Thread(target=_watch, args=(store, done), daemon=True).start()
    try:
        main(args)
    except Exception as e:
        if not _is_first(store):
            done.wait(_PERIOD)  # who waits for the processes takes the error of the first that ends
            raise SystemExit(_CODE) from None
        if _is_lost_connection(e):
            raise InputError(
                "another process of the run was killed, most often since the memory ran out; go on with --resume"
            ) from e
        raise
    finally:
        done.set()


def _is_first(store: distributed.Store) -> bool:
    """Whether no process has failed before this one."""
    try:
        return store.add(_FAILED, 1) == 1
    except RuntimeError:  # the process that serves the store is gone
        return False


def _is_lost_connection(error: Exception) -> bool:
    """Whether an operation on all processes has failed since one of the processes is gone."""
    return isinstance(error, distributed.DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error))


def _watch(store: distributed.Store, done: threading.Event) -> None:
    """Ends this process after another one has failed."""
    while not done.wait(_PERIOD):
        try:
            grace = _GRACE if store.check([_FAILED]) else 0.0
        except RuntimeError:
            grace = _GRACE_WITHOUT_STORE
        if grace and not done.wait(grace):
            for process in multiprocessing.active_children():
                process.kill()
            os._exit(_CODE)
