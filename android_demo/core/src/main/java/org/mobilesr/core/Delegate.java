package org.mobilesr.core;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.stream.Collectors;

/** What runs the network, by the name that intents and results use. */
public enum Delegate {
    CPU("cpu", "TfLiteXNNPackDelegate"),
    NNAPI("nnapi", "TfLiteNnapiDelegate"),
    GPU("gpu", "TfLiteGpuDelegateV2"),
    GPU_FP32("gpu_fp32", "TfLiteGpuDelegateV2"),
    NPU("npu", "DispatchDelegate");

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

    /**
     * The delegates to offer for a file.
     *
     * @param compiledFor the chip that the file is compiled for, null for an ordinary file. Only that chip's NPU runs a compiled
     *     one, and the NPU runs nothing else.
     * @param chip the chip of this device, null if it is not known. A variant has a suffix, such as "SM8650-AC".
     * @param available what the runtime has on this device.
     */
    public static List<Delegate> offered(String compiledFor, String chip, List<Delegate> available) {
        List<Delegate> offered = new ArrayList<>(available);
        if (compiledFor == null) {
            offered.remove(NPU);
        } else {
            boolean same = chip != null && (chip + "-").startsWith(compiledFor + "-");
            offered.removeIf(delegate -> delegate != NPU || !same);
        }
        return offered;
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
