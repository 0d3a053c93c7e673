package com.google.ai.edge.litert;

import java.util.Map;

/** Stand-in for LiteRT's class of this name, without content. */
public final class Environment implements AutoCloseable {
    /** Those that are used. */
    public enum Option {
        DispatchLibraryDir
    }

    private Environment() {}

    public static Environment create(Map<Option, String> options) throws LiteRtException {
        return new Environment();
    }

    @Override
    public void close() {}
}
