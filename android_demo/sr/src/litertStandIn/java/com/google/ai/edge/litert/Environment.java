package com.google.ai.edge.litert;

import java.util.Map;

/** Stand-in for LiteRT's class of this name, which only keeps its options. */
public final class Environment implements AutoCloseable {
    /** Those that are used. */
    public enum Option {
        DispatchLibraryDir
    }

    final Map<Option, String> options;

    private Environment(Map<Option, String> options) {
        this.options = options;
    }

    public static Environment create(Map<Option, String> options) throws LiteRtException {
        return new Environment(options);
    }

    @Override
    public void close() {}
}
