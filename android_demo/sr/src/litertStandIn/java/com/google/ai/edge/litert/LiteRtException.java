package com.google.ai.edge.litert;

/** Stand-in for LiteRT's class of this name. */
public class LiteRtException extends Exception {
    private static final long serialVersionUID = 1;

    LiteRtException(String message) {
        super(message);
    }
}
