package org.mobilesr.core;

import static org.junit.jupiter.api.Assertions.assertEquals;

import org.junit.jupiter.api.Test;

class ModelTitleTest {
    @Test
    void namesOfTheExportAreReadable() {
        assertEquals("XLSR x3, uint8", ModelTitle.of("xlsr_x3_uint8.tflite"));
        assertEquals("XLSR x3, uint8, dense groups", ModelTitle.of("xlsr_x3_uint8_dense_groups.tflite"));
        assertEquals("XLSR x3, float32", ModelTitle.of("asset:xlsr_x3_float32.tflite"));
        assertEquals("XLSR x3, snapdragon uint8, SM8650", ModelTitle.of("xlsr_x3_snapdragon_uint8_SM8650.tflite"));
        assertEquals("ADAEDSR B8 x2, sparse uint8", ModelTitle.of("adaedsr_b8_x2_sparse_uint8.tflite"));
        assertEquals("coffee.png", ModelTitle.of("asset:coffee.png"));
        for (String other : new String[] {"mine.tflite", "a_x33_uint8.tflite", "xlsr_x3_uint8.tflite.bak", ""}) {
            assertEquals(other, ModelTitle.of(other));
        }
    }
}
