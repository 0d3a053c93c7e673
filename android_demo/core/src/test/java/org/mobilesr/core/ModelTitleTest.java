package org.mobilesr.core;

import static org.junit.jupiter.api.Assertions.assertEquals;

import org.junit.jupiter.api.Test;

class ModelTitleTest {
    @Test
    void namesOfTheExportAreReadable() {
        assertEquals("XLSR x3, uint8", ModelTitle.of("xlsr_x3_uint8.tflite"));
        assertEquals("XLSR x3, uint8, dense groups", ModelTitle.of("xlsr_x3_uint8_dense_groups.tflite"));
        assertEquals("XLSR x3, float32", ModelTitle.of("asset:xlsr_x3_float32.tflite"));
        assertEquals("coffee.png", ModelTitle.of("asset:coffee.png"));
        for (String other : new String[] {"mine.tflite", "a_x33_uint8.tflite", "xlsr_x3_uint8.tflite.bak", ""}) {
            assertEquals(other, ModelTitle.of(other));
        }
    }
}
