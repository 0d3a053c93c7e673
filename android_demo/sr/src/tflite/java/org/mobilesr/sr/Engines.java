package org.mobilesr.sr;

import android.os.Build;
import java.util.ArrayList;
import java.util.List;
import org.mobilesr.core.Delegate;
import org.mobilesr.core.ModelFile;
import org.tensorflow.lite.TensorFlowLite;
import org.tensorflow.lite.gpu.GpuDelegate;
import org.tensorflow.lite.gpu.GpuDelegateFactory;
import org.tensorflow.lite.nnapi.NnApiDelegate;

/** The runtime of the Gradle-free build: TFLite from Maven Central, with its GPU and NNAPI delegates. */
public final class Engines {
    public static final String NAME = "TFLite";

    private Engines() {}

    /** NNAPI came with Android 8.1 and is deprecated since Android 15. */
    public static List<Delegate> delegates() {
        List<Delegate> delegates = new ArrayList<>(List.of(Delegate.CPU, Delegate.NNAPI, Delegate.GPU, Delegate.GPU_FP32));
        if (Build.VERSION.SDK_INT < Build.VERSION_CODES.O_MR1 || Build.VERSION.SDK_INT > Build.VERSION_CODES.UPSIDE_DOWN_CAKE) {
            delegates.remove(Delegate.NNAPI);
        }
        return delegates;
    }

    /** @return the version of the runtime, such as "2.16.1". */
    public static String version() {
        return TensorFlowLite.runtimeVersion();
    }

    /**
     * Opens a file; a refusal throws what the runtime throws.
     *
     * @param width of the image input, 0 to leave the sizes of the file.
     */
    public static Engine open(ModelFile file, Delegate requested, int threads, int width, int height) {
        ModelFile sized = width > 0 && requested.needsFixedSize() ? file.withSize(height, width) : file;
        return new InterpreterEngine(sized, requested, create(requested), threads, width, height);
    }

    private static org.tensorflow.lite.Delegate create(Delegate requested) {
        switch (requested) {
            case NNAPI:
                // NNAPI's own CPU implementation would be one more silent fallback.
                return new NnApiDelegate(new NnApiDelegate.Options()
                        .setUseNnapiCpu(false)
                        .setExecutionPreference(NnApiDelegate.Options.EXECUTION_PREFERENCE_SUSTAINED_SPEED));
            case GPU:
            case GPU_FP32:
                GpuDelegateFactory.Options options = new GpuDelegateFactory.Options();
                options.setPrecisionLossAllowed(requested == Delegate.GPU);
                options.setQuantizedModelsAllowed(true);
                options.setInferencePreference(GpuDelegateFactory.Options.INFERENCE_PREFERENCE_SUSTAINED_SPEED);
                return new GpuDelegate(options);
            default:
                return null;
        }
    }
}
