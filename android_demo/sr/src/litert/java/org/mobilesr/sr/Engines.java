package org.mobilesr.sr;

import dalvik.system.BaseDexClassLoader;
import java.util.ArrayList;
import java.util.List;
import org.mobilesr.core.Delegate;
import org.mobilesr.core.ModelFile;
import org.tensorflow.lite.TensorFlowLite;

/** The runtime of the Gradle build: LiteRT 2, with CompiledModel for CPU, GPU and NPU. It has no NNAPI. */
public final class Engines {
    private static final String DISPATCH = "LiteRtDispatch_Qualcomm";

    public static final String NAME = "LiteRT";

    private Engines() {}

    /** The NPU only where the feature module of the chip's NPU was installed with the app. */
    public static List<Delegate> delegates() {
        List<Delegate> delegates = new ArrayList<>(List.of(Delegate.CPU, Delegate.GPU, Delegate.GPU_FP32));
        if (libraries() != null) {
            delegates.add(Delegate.NPU);
        }
        return delegates;
    }

    /** @return the version of the runtime, such as "2.2.0". */
    public static String version() {
        return TensorFlowLite.runtimeVersion();
    }

    /** The folder of the NPU's libraries; null without them. */
    private static String libraries() {
        ClassLoader loader = Engines.class.getClassLoader();
        String library = loader instanceof BaseDexClassLoader ? ((BaseDexClassLoader) loader).findLibrary(DISPATCH) : null;
        return library == null ? null : library.substring(0, library.lastIndexOf('/'));
    }

    /**
     * Opens a file; a refusal throws IllegalArgumentException or what the runtime throws.
     *
     * @param width of the image input, 0 to leave the sizes of the file.
     */
    public static Engine open(ModelFile file, Delegate requested, int threads, int width, int height) {
        // The sizes of a graph with control flow, as the sparse path of an AdaDSR file, are known only when it has run.
        if (requested == Delegate.CPU && file.graphs() > 1) {
            return new InterpreterEngine(file, requested, null, threads, width, height);
        }
        ModelFile sized = width > 0 ? file.withSize(height, width) : file;
        return new CompiledModelEngine(sized, requested, threads, requested == Delegate.NPU ? libraries() : null);
    }
}
