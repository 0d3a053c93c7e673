"""Benchmarks: latency and memory on this machine, and on Android devices over adb."""
