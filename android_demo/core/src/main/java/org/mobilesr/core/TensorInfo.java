package org.mobilesr.core;

import java.util.Arrays;

/**
 * An input or output of a file's graph.
 *
 * @param shape as the file has it; a dimension that is only known when it runs is 1.
 * @param isFixed whether the file fixes all dimensions.
 * @param type its name, such as "FLOAT32".
 * @param spec how its values are stored; null if the type is not supported.
 */
public record TensorInfo(String name, int[] shape, boolean isFixed, String type, TensorSpec spec) {
    /** @return whether it is one RGB image, [1, H, W, 3]. */
    public boolean isImage() {
        return shape.length == 4 && shape[0] == 1 && shape[3] == 3;
    }

    /** @return whether it sets how many blocks of an AdaDSR network run. */
    public boolean isDepth() {
        return elements() == 1 && name.contains(ModelFile.DESIRED_DEPTH);
    }

    public int elements() {
        return Arrays.stream(shape).reduce(1, Math::multiplyExact);
    }

    /** @throws IllegalArgumentException when the type is not supported. */
    public TensorSpec supported() {
        if (spec == null) {
            throw new IllegalArgumentException("tensor " + name + " is " + type + "; known are float32, uint8 and int8");
        }
        return spec;
    }
}
