package org.mobilesr.sr;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertNull;
import static org.junit.Assert.assertThrows;

import android.os.Build;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.After;
import org.junit.Test;
import org.junit.runner.RunWith;
import org.mobilesr.core.Delegate;
import org.mobilesr.core.ModelFile;
import org.robolectric.RobolectricTestRunner;
import org.robolectric.util.ReflectionHelpers;

/** Files that are compiled for a chip, with a runtime that has no NPU. */
@RunWith(RobolectricTestRunner.class)
public class ChipTest {
    @After
    public void tearDown() {
        ReflectionHelpers.setStaticField(Build.class, "SOC_MODEL", Build.UNKNOWN);
        ReflectionHelpers.setStaticField(Build.VERSION.class, "SDK_INT", 34);
    }

    private static ModelFile file(String name) throws IOException {
        return new ModelFile(Files.readAllBytes(Path.of(System.getProperty("mobilesr.models"), name)));
    }

    private static String refusal(ModelFile file, Delegate delegate) {
        return assertThrows(IllegalArgumentException.class, () -> new Network(file, delegate, 1, 32, 32, null)).getMessage();
    }

    @Test
    public void aCompiledFileNamesItsChip() throws IOException {
        ModelFile compiled = file("compiled.tflite");
        assertEquals("SM8650", compiled.compiledFor());
        assertEquals(1, compiled.compiledOperators());
        assertNull(file("tiny_int8.tflite").compiledFor());
        assertNull(Chip.name());
        ReflectionHelpers.setStaticField(Build.class, "SOC_MODEL", "SM8650");
        assertEquals("SM8650", Chip.name());
        assertEquals("no NPU in this runtime", List.of(), Chip.delegates(compiled));
        String message = "the file is compiled for the NPU of SM8650; the chip of this device is SM8650 and cpu was requested";
        assertEquals(message, refusal(compiled, Delegate.CPU));
        message = "npu is not available: this app has TFLite " + Engines.version() + " on Android SDK 34";
        assertEquals(message, refusal(compiled, Delegate.NPU));
    }

    @Test
    public void nnapiIsForAndroid8To14() {
        assertEquals(List.of(Delegate.CPU, Delegate.NNAPI, Delegate.GPU, Delegate.GPU_FP32), Engines.delegates());
        for (int sdk : new int[] {26, 35}) { // NNAPI came with 8.1 and is deprecated since 15
            ReflectionHelpers.setStaticField(Build.VERSION.class, "SDK_INT", sdk);
            assertEquals(List.of(Delegate.CPU, Delegate.GPU, Delegate.GPU_FP32), Engines.delegates());
        }
        ReflectionHelpers.setStaticField(Build.VERSION.class, "SDK_INT", 27);
        assertEquals(4, Engines.delegates().size());
    }
}
