package org.mobilesr.core;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Random;
import org.junit.jupiter.api.Test;

/** On the packaged files of the zoo. */
class ModelFileTest {
    private static byte[] zoo(String name) throws IOException {
        return Files.readAllBytes(Path.of("../../mobile_sr/zoo", name));
    }

    @Test
    void readsTheGraph() throws IOException {
        ModelFile file = new ModelFile(zoo("xlsr_x3_uint8.tflite"));
        assertEquals(15, file.operators());
        assertArrayEquals(new int[] {0, 0}, file.fixedSize());
        String sidecar = new String(zoo("xlsr_x3_uint8.json"));
        assertTrue(sidecar.contains("\"size_bytes\": " + file.size() + ","));
        assertTrue(sidecar.contains("\"sha256\": \"" + file.sha256() + "\""));
    }

    @Test
    void writesASizeIntoACopy() throws IOException {
        ModelFile file = new ModelFile(zoo("xlsr_x3_float32.tflite"));
        String before = file.sha256();
        ModelFile sized = file.withSize(36, 64);
        assertArrayEquals(new int[] {36, 64}, sized.fixedSize());
        assertEquals(before, file.sha256());
        assertNotEquals(before, sized.sha256());
        assertEquals(file.size(), sized.size());
    }

    @Test
    void whatIsNoModelIsRefused() throws IOException {
        assertThrows(IllegalArgumentException.class, () -> new ModelFile(new byte[0]));
        assertThrows(IllegalArgumentException.class, () -> new ModelFile("a text that is no model at all".getBytes()));
        assertThrows(IllegalArgumentException.class, () -> new ModelFile(Arrays.copyOf(zoo("xlsr_x3_uint8.tflite"), 20)));
        assertThrows(IllegalArgumentException.class, () -> new ModelFile(Arrays.copyOf(zoo("xlsr_x3_uint8.tflite"), 3000)));
    }

    /** Whatever is damaged, nothing but IllegalArgumentException comes out. */
    @Test
    void damagedFilesAreReadOrRefused() throws IOException {
        byte[] good = zoo("xlsr_x3_uint8.tflite");
        Random random = new Random(3);
        int refused = 0;
        for (int trial = 0; trial < 2000; trial++) {
            byte[] bad = good.clone();
            for (int i = 0; i < 40; i++) {
                bad[random.nextInt(bad.length)] = (byte) random.nextInt();
            }
            bad = trial % 2 == 0 ? bad : Arrays.copyOf(good, 1 + random.nextInt(good.length - 1));
            try {
                new ModelFile(bad).withSize(8, 8);
            } catch (IllegalArgumentException error) {
                refused++;
            }
        }
        assertNotEquals(0, refused);
    }
}
