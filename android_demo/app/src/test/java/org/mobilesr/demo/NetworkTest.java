package org.mobilesr.demo;

import static org.junit.Assert.assertArrayEquals;
import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertFalse;
import static org.junit.Assert.assertThrows;
import static org.junit.Assert.assertTrue;

import android.content.Context;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import org.junit.Before;
import org.junit.Test;
import org.junit.runner.RunWith;
import org.mobilesr.core.Delegate;
import org.mobilesr.core.ModelFile;
import org.mobilesr.core.Residency;
import org.mobilesr.core.RgbImage;
import org.mobilesr.sr.Network;
import org.robolectric.RobolectricTestRunner;
import org.robolectric.RuntimeEnvironment;

/** The AAR's own interpreter on this machine, against Python's LiteRT. */
@RunWith(RobolectricTestRunner.class)
public class NetworkTest {
    private static final String[] IMAGES = {"astronaut", "chelsea", "coffee"};
    private static final double[] DEPTHS = {0.0, 1.5, 2.0};
    private Storage storage;

    @Before
    public void setUp() {
        HostLog.connect();
        Context context = RuntimeEnvironment.getApplication();
        storage = new Storage(context);
    }

    private ModelFile model(String precision) throws IOException {
        return new ModelFile(storage.read(Storage.MODELS, "asset:xlsr_x3_" + precision + ".tflite"));
    }

    private static ByteBuffer expected(String name) throws IOException {
        byte[] bytes = Files.readAllBytes(Path.of(System.getProperty("mobilesr.expected"), name + ".raw"));
        return ByteBuffer.wrap(bytes).order(ByteOrder.nativeOrder());
    }

    private static byte[] bytes(ByteBuffer buffer) {
        byte[] values = new byte[buffer.rewind().remaining()];
        buffer.get(values);
        return values;
    }

    @Test
    public void uint8IsPythonsByteForByte() throws IOException {
        for (String name : IMAGES) {
            RgbImage image = storage.readImage("asset:" + name + ".png");
            try (Network network = new Network(model("uint8"), Delegate.CPU, 2, image.width(), image.height(), null)) {
                assertTrue(network.invoke(network.encode(image)) > 0);
                assertArrayEquals(name, expected("xlsr_x3_uint8_" + name).array(), bytes(network.raw()));
                assertArrayEquals("the SR output has no other colours", bytes(network.raw()), network.sr().rgb());
                assertEquals(new Residency("cpu", 13, 15), network.residency);
                assertTrue(network.initMs > 0);
            }
            try (Network network = new Network(model("uint8_dense_groups"), Delegate.CPU, 2, image.width(), image.height(), null)) {
                network.invoke(network.encode(image));
                assertArrayEquals("the form for NNAPI", expected("xlsr_x3_uint8_" + name).array(), bytes(network.raw()));
            }
        }
    }

    @Test
    public void floatIsPythonsWithin1e5() throws IOException {
        for (String name : IMAGES) {
            RgbImage image = storage.readImage("asset:" + name + ".png");
            try (Network network = new Network(model("float32"), Delegate.CPU, 2, image.width(), image.height(), null)) {
                network.invoke(network.encode(image));
                ByteBuffer expected = expected("xlsr_x3_float32_" + name);
                ByteBuffer found = network.raw();
                found.rewind();
                assertEquals(expected.remaining(), found.remaining());
                while (expected.hasRemaining()) {
                    assertEquals(expected.getFloat(), found.getFloat(), 1e-5f);
                }
                assertEquals(new Residency("cpu", 14, 14), network.residency);
            }
        }
    }

    private static ModelFile testModel(String name) throws IOException {
        return new ModelFile(Files.readAllBytes(Path.of(System.getProperty("mobilesr.models"), name + ".tflite")));
    }

    private byte[] chelseaBy(ModelFile model, Delegate delegate, Double depth, String effective) throws IOException {
        RgbImage image = storage.readImage("asset:chelsea.png");
        try (Network network = new Network(model, delegate, 1, image.width(), image.height(), depth)) {
            network.invoke(network.encode(image));
            assertEquals(effective, network.residency.effective());
            assertEquals(2, network.scale());
            return bytes(network.raw());
        }
    }

    @Test
    public void int8IsPythonsByteForByte() throws IOException {
        RgbImage image = storage.readImage("asset:chelsea.png");
        try (Network network = new Network(testModel("tiny_int8"), Delegate.CPU, 1, image.width(), image.height(), null)) {
            network.invoke(network.encode(image));
            assertArrayEquals(expected("tiny_int8_chelsea").array(), network.sr().rgb());
        }
    }

    private static void assertWithin1e5(ByteBuffer expected, byte[] bytes) {
        ByteBuffer found = ByteBuffer.wrap(bytes).order(ByteOrder.nativeOrder());
        assertEquals(expected.remaining(), found.remaining());
        while (expected.hasRemaining()) {
            assertEquals(expected.getFloat(), found.getFloat(), 1e-5f);
        }
    }

    /** XNNPACK runs the dense graph, alone, as all delegates would get it. */
    @Test
    public void theDenseGraphIsPythons() throws IOException {
        for (double depth : DEPTHS) {
            ModelFile dense = testModel("ada_sparse_float32").withSignature("dense");
            assertEquals(1, dense.graphs());
            assertWithin1e5(
                    expected("ada_sparse_float32_dense_" + depth + "_chelsea"), chelseaBy(dense, Delegate.CPU, depth, "cpu"));
            byte[] quantized = chelseaBy(testModel("ada_sparse_uint8").withSignature("dense"), Delegate.CPU, depth, "cpu");
            assertArrayEquals(expected("ada_sparse_uint8_dense_" + depth + "_chelsea").array(), quantized);
        }
        for (Double wrong : new Double[] {null, 2.5, -1.0}) {
            assertThrows(
                    IllegalArgumentException.class,
                    () -> chelseaBy(testModel("ada_sparse_uint8").withSignature("dense"), Delegate.CPU, wrong, "cpu"));
        }
    }

    @Test
    public void theSparseGraphIsPythonsInFloat() throws IOException {
        ModelFile sparse = testModel("ada_sparse_float32").withSignature("sparse");
        for (double depth : DEPTHS) {
            byte[] found = chelseaBy(sparse, Delegate.CPU, depth, "none");
            assertWithin1e5(expected("ada_sparse_float32_sparse_" + depth + "_chelsea"), found);
            assertFalse("another depth, another output", Arrays.equals(found, chelseaBy(sparse, Delegate.CPU, 0.5, "none")));
        }
    }

    /**
     * XNNPACK of 2.16.1 refuses the sparse graph. The built-in kernels round otherwise than it in 8 bits, so that their sparse
     * SR image is their dense one, byte for byte. NNAPI, which is not on this machine, leaves the dense graph to them.
     */
    @Test
    public void theSparseGraphIsTheDenseOneInUint8() throws IOException {
        ModelFile file = testModel("ada_sparse_uint8");
        byte[] before = null;
        for (double depth : DEPTHS) {
            byte[] found = chelseaBy(file.withSignature("sparse"), Delegate.CPU, depth, "none");
            assertArrayEquals(chelseaBy(file.withSignature("dense"), Delegate.NNAPI, depth, "none"), found);
            assertFalse("another depth, another output", Arrays.equals(found, before));
            before = found;
        }
    }

    @Test
    public void theSparseGraphComesFirstAsPythonHasIt() throws IOException {
        for (String name : List.of("ada_sparse_float32", "ada_sparse_uint8")) {
            Path expected = Path.of(System.getProperty("mobilesr.expected"), name + "_sparse.sha256");
            assertEquals(Files.readString(expected), testModel(name).withSignature("sparse").sha256());
        }
    }

    /** What GPU and NNAPI get: the same network, with its size written in. */
    @Test
    public void aWrittenSizeChangesNoByte() throws IOException {
        RgbImage image = storage.readImage("asset:chelsea.png");
        ModelFile sized = model("uint8").withSize(image.height(), image.width());
        assertArrayEquals(new int[] {image.height(), image.width()}, sized.fixedSize());
        try (Network network = new Network(sized, Delegate.CPU, 1, image.width(), image.height(), null)) {
            network.invoke(network.encode(image));
            assertArrayEquals(expected("xlsr_x3_uint8_chelsea").array(), bytes(network.raw()));
        }
    }

    /** NNAPI is not there on this machine: TFLite does not say so, our residency does. */
    @Test
    public void nnapiThatTakesNothingIsSeen() throws IOException {
        try (Network network = new Network(model("uint8"), Delegate.NNAPI, 1, 32, 24, null)) {
            assertEquals(new Residency("none", 0, null), network.residency);
        } catch (IllegalArgumentException error) {
            assertTrue(error.getMessage(), error.getMessage().startsWith("nnapi refuses it: "));
        }
    }

    @Test
    public void aGpuThatIsNotThereIsAnError() {
        Exception error = assertThrows(
                IllegalArgumentException.class, () -> new Network(model("float32"), Delegate.GPU, 1, 32, 24, null).close());
        assertTrue(error.getMessage(), error.getMessage().startsWith("gpu refuses it: "));
    }

    @Test
    public void aDepthForAFileWithoutOneIsRefused() {
        Exception error = assertThrows(
                IllegalArgumentException.class, () -> new Network(model("uint8"), Delegate.CPU, 1, 32, 24, 2.0).close());
        assertEquals("this file takes no desired depth", error.getMessage());
    }

    @Test
    public void anImageOfAnotherSizeIsRefused() throws IOException {
        try (Network network = new Network(model("uint8"), Delegate.CPU, 1, 32, 24, null)) {
            assertThrows(IllegalArgumentException.class, () -> network.invoke(network.encode(new RgbImage(24, 24))));
        }
    }
}
