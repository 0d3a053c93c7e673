package org.mobilesr.sr;

import java.nio.ByteBuffer;
import java.util.List;
import org.mobilesr.core.Residency;

/**
 * A runtime that has opened a .tflite file: TFLite's and LiteRT's Interpreter, or LiteRT's CompiledModel.
 *
 * <p>The class `Engines` of the build opens them: src/tflite has that of the Gradle-free build, src/litert that of Gradle's.
 */
public interface Engine extends AutoCloseable {
    /**
     * Runs the graph once.
     *
     * @param inputs the bytes of each input, in the file's order.
     * @return the time of the runtime alone in ms, without copies in and out.
     */
    double run(ByteBuffer[] inputs);

    /** The bytes of an output of the last run, in the machine's order. */
    ByteBuffer output(int index);

    /** An output's shape as the runtime reports it. The sparse path's may be an old one; the number of bytes is right. */
    int[] outputShape(int index);

    /**
     * What runs the operators.
     *
     * @param log the runtime's lines in the app's log since before the file was opened; null if it cannot be read.
     * @return null if that cannot be told.
     */
    Residency residency(List<String> log);

    @Override
    void close();
}
