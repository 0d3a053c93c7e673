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
import java.util.function.Function;
import org.junit.Before;
import org.junit.Test;
import org.junit.runner.RunWith;
import org.mobilesr.core.Delegate;
import org.mobilesr.core.ModelFile;
import org.mobilesr.core.Residency;
import org.mobilesr.core.RgbImage;
import org.robolectric.RobolectricTestRunner;
import org.robolectric.RuntimeEnvironment;

/** The AAR's own interpreter on this machine, against Python's LiteRT. */
@RunWith(RobolectricTestRunner.class)
public class NetworkTest {
    private static final String[] IMAGES = {"astronaut", "chelsea", "coffee"};
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
                assertArrayEquals("the picture has no other colours", bytes(network.raw()), network.picture().rgb());
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

    private byte[] chelseaBy(String model, Double depth, Function<Network, byte[]> output) throws IOException {
        RgbImage image = storage.readImage("asset:chelsea.png");
        try (Network network = new Network(testModel(model), Delegate.CPU, 1, image.width(), image.height(), depth)) {
            network.invoke(network.encode(image));
            return output.apply(network);
        }
    }

    private byte[] chelseaBy(String model, Double depth) throws IOException {
        return chelseaBy(model, depth, network -> network.picture().rgb());
    }

    @Test
    public void int8IsPythonsByteForByte() throws IOException {
        assertArrayEquals(expected("tiny_int8_chelsea").array(), chelseaBy("tiny_int8", null));
    }

    @Test
    public void aDesiredDepthReachesTheNetwork() throws IOException {
        ByteBuffer expected = expected("ada_sparse_float32_chelsea");
        ByteBuffer found = ByteBuffer.wrap(chelseaBy("ada_sparse_float32", 1.5, network -> bytes(network.raw()))).order(ByteOrder.nativeOrder());
        assertEquals(expected.remaining(), found.remaining());
        while (expected.hasRemaining()) {
            assertEquals(expected.getFloat(), found.getFloat(), 1e-5f);
        }
        byte[] quantized = chelseaBy("ada_sparse_uint8", 1.5);
        assertArrayEquals(expected("ada_sparse_uint8_chelsea").array(), quantized);
        assertFalse("another depth, another picture", Arrays.equals(quantized, chelseaBy("ada_sparse_uint8", 0.0)));
        for (Double wrong : new Double[] {null, 2.5, -1.0}) {
            assertThrows(IllegalArgumentException.class, () -> chelseaBy("ada_sparse_uint8", wrong));
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
