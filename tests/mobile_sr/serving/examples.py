"""Results as browsers send them, and results of other benchmarks."""

import copy

ROW = {
    "model": "xlsr_x3:uint8",
    "sha256": "0" * 64,
    "size_bytes": 39592,
    "requested_accelerator": "gpu",
    "effective_accelerator": "gpu",
    "fully_accelerated": True,
    "threads": 1,
    "gpu": "vendor model",
    "width": 128,
    "height": 96,
    "load_ms": 60.5,
    "first_ms": 17,
    "latency_ms": {"min": 2.0, "mean": 2.5, "p50": 2.5, "p90": 2.9, "p99": 2.99, "std": 0.5},
    "samples_ms": [2.0, 3.0],
    "memory_bytes": 17_000_000,
    "against_cpu": {"psnr": 92.5, "max_difference": 1, "differing_fraction": 0.0001},
    "against_reference": {"psnr_y": 30.66, "bicubic_psnr_y": 27.8, "max_difference": 192},
    "notes": [],
    "error": None,
}
FAILED = ROW | {
    "effective_accelerator": None,
    "fully_accelerated": None,
    "threads": None,
    "gpu": None,
    "width": None,
    "height": None,
    "load_ms": None,
    "first_ms": None,
    "latency_ms": None,
    "samples_ms": [],
    "memory_bytes": None,
    "against_cpu": None,
    "against_reference": None,
    "error": "the operator is not supported",
}
ENVIRONMENT = {
    "device": "Pixel 8",
    "user_agent": "Mozilla/5.0 (Linux; Android 10; K) Chrome/156.0.0.0",
    "cores": 9,
    "litert": "LiteRT.js 2.5.3",
    "secure_context": True,
    "cross_origin_isolated": True,
    "date": "2026-01-02T03:04:05+00:00",
}


def report(*rows, **environment):
    """A report with these rows, one that ran if there are none."""
    chosen = copy.deepcopy(list(rows or (ROW,)))
    return {
        "format": "mobile-sr benchmark 1",
        "where": "browser",
        "environment": {**ENVIRONMENT, **environment},
        "results": chosen,
    }


HOST = {
    "format": "mobile-sr benchmark 1",
    "where": "host",
    "environment": {"cpu": "Some CPU", "width": 640, "height": 360},
    "results": [
        {
            "model": "xlsr_x3:uint8",
            "sha256": "1" * 64,
            "threads": 1,
            "effective_delegate": "cpu",
            "init_ms": 1.5,
            "latency_ms": {"p50": 33.5, "p90": 35.25},
            "peak_memory_bytes": 30_000_000,
            "error": None,
        }
    ],
}
VIRTUAL = {
    "format": "mobile-sr benchmark 1",
    "where": "virtual",
    "environment": {"label": "virtual:arm64 (cortex-a76, qemu)", "width": 64, "height": 64},
    "results": [
        {
            "model": "xlsr_x3:uint8",
            "sha256": "1" * 64,
            "residency": {"taken": 15, "nodes": 15},
            "instructions_per_lr_pixel": 4480.4,
            "against_host": {"max_difference": 0.0},
        }
    ],
}
