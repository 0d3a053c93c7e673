package org.mobilesr.core;

import java.util.Arrays;
import java.util.stream.Collectors;

/** What runs the network, by the name that intents and results use. */
public enum Delegate {
    CPU("cpu", "TfLiteXNNPackDelegate"),
    NNAPI("nnapi", "TfLiteNnapiDelegate"),
    GPU("gpu", "TfLiteGpuDelegateV2"),
    GPU_FP32("gpu_fp32", "TfLiteGpuDelegateV2");

    /** In results: the delegate took nothing, and TFLite's built-in kernels ran on the CPU. */
    public static final String NONE = "none";

    public final String id;
    /** How the runtime calls it in its log. */
    final String logName;

    Delegate(String id, String logName) {
        this.id = id;
        this.logName = logName;
    }

    /** XNNPACK is on for the CPU only: with it, a refused GPU or NNAPI would run on the CPU without a word. */
    public boolean usesXnnpack() {
        return this == CPU;
    }

    /** GPU and NNAPI refuse files of dynamic size; they get the file with the tile's size written into it. */
    public boolean needsFixedSize() {
        return this != CPU;
    }

    /** @throws IllegalArgumentException when there is none of that name. */
    public static Delegate named(String id) {
        for (Delegate delegate : values()) {
            if (delegate.id.equals(id)) {
                return delegate;
            }
        }
        String known = Arrays.stream(values()).map(delegate -> delegate.id).collect(Collectors.joining(", "));
        throw new IllegalArgumentException("delegate '" + id + "' is not one of " + known);
    }
}
