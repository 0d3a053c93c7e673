package org.mobilesr.sr;

import static org.junit.Assert.assertArrayEquals;
import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertThrows;
import static org.junit.Assert.assertTrue;

import com.google.ai.edge.litert.CompiledModel;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.Test;
import org.junit.runner.RunWith;
import org.mobilesr.core.Delegate;
import org.mobilesr.core.ModelFile;
import org.mobilesr.core.Residency;
import org.mobilesr.core.RgbImage;
import org.robolectric.RobolectricTestRunner;

/**
 * The library with the runtime of the Gradle build: our code on CompiledModel, whose stand-in runs TFLite's interpreter. It shows
 * that bytes get in and out in the right order; it does not show that LiteRT does the same.
 */
@RunWith(RobolectricTestRunner.class)
public class CompiledModelEngineTest {
    private static ModelFile model(String name) throws IOException {
        return new ModelFile(Files.readAllBytes(Path.of(System.getProperty("mobilesr.models"), name + ".tflite")));
    }

    private static byte[] read(String name) throws IOException {
        return Files.readAllBytes(Path.of(System.getProperty("mobilesr.expected"), name));
    }

    private static byte[] expected(String name) throws IOException {
        return read(name + "_chelsea.raw");
    }

    private static byte[] chelseaBy(ModelFile file, Double depth, int scale) throws IOException {
        try (Network network = new Network(file, Delegate.CPU, 2, 150, 100, depth)) {
            network.invoke(network.encode(new RgbImage(150, 100)));
            network.invoke(network.encode(new RgbImage(150, 100, read("chelsea.rgb"))));
            assertEquals(scale, network.scale());
            ByteBuffer raw = network.raw();
            byte[] bytes = new byte[raw.rewind().remaining()];
            raw.get(bytes);
            return bytes;
        }
    }

    @Test
    public void theBytesArePythons() throws IOException {
        assertArrayEquals(expected("tiny_int8"), shifted(chelseaBy(model("tiny_int8"), null, 2)));
        assertEquals(2, CompiledModel.lastThreads.intValue());
        ModelFile dense = model("ada_sparse_uint8").withSignature("dense");
        assertArrayEquals("two inputs", expected("ada_sparse_uint8_dense_1.5"), chelseaBy(dense, 1.5, 2));
        ByteBuffer floats = ByteBuffer.wrap(expected("ada_sparse_float32_dense_1.5")).order(ByteOrder.nativeOrder());
        byte[] found = chelseaBy(model("ada_sparse_float32").withSignature("dense"), 1.5, 2);
        ByteBuffer values = ByteBuffer.wrap(found).order(ByteOrder.nativeOrder());
        while (floats.hasRemaining()) {
            assertEquals(floats.getFloat(), values.getFloat(), 1e-5f);
        }
    }

    /** int8 files hold -128..127, Python's images 0..255. */
    private static byte[] shifted(byte[] values) {
        for (int i = 0; i < values.length; i++) {
            values[i] ^= (byte) 128;
        }
        return values;
    }

    @Test
    public void controlFlowGoesToTheInterpreter() throws IOException {
        byte[] found = chelseaBy(model("ada_sparse_float32").withSignature("sparse"), 1.5, 2);
        assertEquals(expected("ada_sparse_float32_sparse_1.5").length, found.length);
    }

    @Test
    public void anAcceleratorThatIsNotThereIsAnError() throws IOException {
        assertEquals(List.of(Delegate.CPU, Delegate.GPU, Delegate.GPU_FP32), Engines.delegates());
        for (Delegate gpu : List.of(Delegate.GPU, Delegate.GPU_FP32)) {
            assertEquals(gpu.id + " refuses it: Some ops are not accelerated", refusal(gpu));
        }
        for (Delegate other : List.of(Delegate.NNAPI, Delegate.NPU)) {
            assertTrue(refusal(other), refusal(other).startsWith(other.id + " is not available: this app has LiteRT "));
        }
    }

    private static String refusal(Delegate delegate) {
        return assertThrows(IllegalArgumentException.class, () -> new Network(model("tiny_int8"), delegate, 1, 32, 24, null)).getMessage();
    }

    /** The NPU gets the folder of its libraries, and what it runs is in the file. */
    @Test
    public void theNpuRunsWhatIsCompiledForIt() throws IOException {
        ModelFile sized = model("tiny_int8").withSize(24, 32);
        try (CompiledModelEngine npu = new CompiledModelEngine(sized, Delegate.NPU, 1, "/folder")) {
            assertTrue(npu.run(new ByteBuffer[] {ByteBuffer.allocate(24 * 32 * 3)}) > 0);
            assertEquals(48 * 64 * 3, npu.output(0).capacity());
            assertEquals(new Residency("npu", 0, sized.operators()), npu.residency(null));
        }
        Exception error = assertThrows(
                IllegalArgumentException.class, () -> new CompiledModelEngine(sized, Delegate.NPU, 1, null));
        assertEquals("Some ops are not accelerated", error.getMessage());
    }

    /** The log's line where there is one; a GPU has several names in it. */
    @Test
    public void whatRanIsStated() throws IOException {
        ModelFile sized = model("tiny_int8").withSize(24, 32);
        try (CompiledModelEngine cpu = new CompiledModelEngine(sized, Delegate.CPU, 1, null)) {
            assertEquals(new Residency("cpu", null, null), cpu.residency(null));
            assertEquals(new Residency("cpu", null, null), cpu.residency(List.of("nothing of interest")));
            String line = "Replacing 7 out of 9 node(s) with delegate (TfLiteXNNPackDelegate) node, yielding 2 partitions";
            assertEquals(new Residency("cpu", 7, 9), cpu.residency(List.of(line)));
        }
        String line = "Replacing 9 out of 9 node(s) with delegate (%s) node, yielding 1 partitions";
        List<String> gpu = List.of(String.format(line, "LITERT_CL"));
        assertEquals(new Residency("gpu_fp32", 9, 9), CompiledModelEngine.named(Delegate.GPU_FP32, gpu));
        assertEquals(
                "a silent fallback is seen",
                new Residency("cpu", 9, 9),
                CompiledModelEngine.named(Delegate.GPU, List.of(String.format(line, "TfLiteXNNPackDelegate"))));
    }
}
