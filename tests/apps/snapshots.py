"""A snapshot of a node as its report gives it."""

from __future__ import annotations


def percentiles(count: int = 1) -> dict[str, object]:
    return {"p50": 31_000, "p90": 80_000, "p99": 250_000, "max": 1_900_000, "count": count}


def snapshot(seconds: float = 1.0, published: int = 300, subscriptions: int = 1) -> dict:
    return {
        "node": "plant",
        "clock": "counter",
        "uptime_ns": round(seconds * 1e9),
        "topics": {"count": 6, "published": published},
        "subscriptions": [
            {
                "name": f"subscription-{index}",
                "pattern": "plant/**",
                "offered": published,
                "replayed": 0,
                "delivered": published - 8,
                "filtered": 0,
                "dropped": {"oldest": 4},
                "dead_lettered": {"newest": 3},
                "pending": 1,
                "capacity": 1024,
                "latency_ns": percentiles(),
            }
            for index in range(subscriptions)
        ],
        "sources": [{"name": "host", "published": published, "errors": 0, "error": None}],
        "sinks": [{"name": "out", "written": 7, "errors": 0, "error": None}],
        "guards": [
            {
                "name": "hot",
                "evaluated": published,
                "fired": 1,
                "errors": 0,
                "lateness_ns": percentiles(),
                "deadline_ns": None,
                "late": 0,
                "last_robustness": -3.25,
            }
        ],
        "handlers": [
            {"name": "alert", "calls": 1, "errors": 0, "deadline_ns": None, "late": 0, "lateness_ns": percentiles()}
        ],
        "timers": [],
    }


def timer(*, python: bool, **counts: object) -> dict:
    """Return the row of a timer that was late once, of which one tick was left out."""
    return {
        "name": "control" if python else "Flag",
        "period_ns": 10_000_000,
        "tolerance_ns": 1_000_000,
        "budget_ns": 2_000_000 if python else None,
        "overruns": 0,
        "error": None,
        "execution_ns": percentiles(8) if python else None,
        "fired": 10,
        "missed_ticks": 1,
        "coalesced": 2 if python else 0,
        "discarded": 0,
        "called": 8 if python else 0,
        "late_starts": 1,
        "late_ends": 3 if python else 0,
        "errors": 0,
        "native_start_ns": {**percentiles(10), "p50": 2_000},
        "python_start_ns": percentiles(8 if python else 0),
        "completion_ns": percentiles(8 if python else 0),
        **counts,
    }
