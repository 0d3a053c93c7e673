package com.google.ai.edge.litert;

/** Stand-in for LiteRT's class of this name. */
public enum Accelerator {
    NONE,
    CPU,
    GPU,
    NPU
}
