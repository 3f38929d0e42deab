"""The system's clock as somebody sets it, for one process: a library to preload, with a function ``set_ahead``."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SETTABLE_CLOCK = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <time.h>
static _Atomic long long ahead_ns;
void set_ahead(long long ns) { ahead_ns = ns; }
int clock_gettime(clockid_t id, struct timespec *now) {
    static int (*system_call)(clockid_t, struct timespec *);
    if (!system_call) system_call = dlsym(RTLD_NEXT, "clock_gettime");
    int failed = system_call(id, now);
    if (failed || id != CLOCK_REALTIME) return failed;
    long long ns = now->tv_sec * 1000000000LL + now->tv_nsec + ahead_ns;
    now->tv_sec = ns / 1000000000LL;
    now->tv_nsec = ns % 1000000000LL;
    return 0;
}
"""

needed = pytest.mark.skipif(
    not sys.platform.startswith("linux") or shutil.which("cc") is None, reason="needs LD_PRELOAD and cc"
)


def library(folder: Path) -> Path:
    """Compile it and return where it is."""
    source, compiled = folder / "clock.c", folder / "clock.so"
    source.write_text(SETTABLE_CLOCK)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", compiled, source, "-ldl"], check=True)
    return compiled
