package org.mobilesr.core;

import java.io.ByteArrayOutputStream;

/**
 * A file's control dependencies: varints of a version, the number of graphs, and for each graph the number of its pairs of operators
 * and the pairs, each number doubled (converters/tflite/op_order.py). The runtime takes for granted that they fit the graphs.
 */
final class ControlDependencies {
    private static final int VERSION = 1;

    private final byte[] encoded;
    /** Where each graph's part starts, and where the last one ends. */
    private final int[] starts;

    private int at;

    /**
     * @param operators how many operators each graph has.
     * @throws IndexOutOfBoundsException when the bytes are damaged or of another file.
     */
    ControlDependencies(byte[] encoded, int[] operators) {
        this.encoded = encoded;
        starts = new int[operators.length + 1];
        require(next() == VERSION && next() == operators.length);
        for (int graph = 0; graph < operators.length; graph++) {
            starts[graph] = at;
            for (int pairs = next(); pairs > 0; pairs--) {
                int first = next();
                int second = next();
                require(first % 2 == 0 && second % 2 == 0 && first < second && second / 2 < operators[graph]);
            }
        }
        starts[operators.length] = at;
        require(at == encoded.length);
    }

    private static void require(boolean fine) {
        if (!fine) {
            throw new IndexOutOfBoundsException();
        }
    }

    private int next() {
        int number = 0;
        for (int shift = 0; ; shift += 7) {
            require(shift <= 21); // no file of ours has 2^28 operators
            int part = encoded[at++];
            number |= (part & 127) << shift;
            if (part >= 0) {
                return number;
            }
        }
    }

    /** The bytes with the parts of the first graph and another one in each other's place. */
    byte[] swapped(int other) {
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        bytes.write(encoded, 0, starts[0]);
        for (int place = 0; place < starts.length - 1; place++) {
            int graph = place == 0 ? other : place == other ? 0 : place;
            bytes.write(encoded, starts[graph], starts[graph + 1] - starts[graph]);
        }
        return bytes.toByteArray();
    }
}
