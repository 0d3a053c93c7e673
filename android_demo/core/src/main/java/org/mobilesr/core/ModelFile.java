package org.mobilesr.core;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;

/**
 * The bytes of a .tflite file: a FlatBuffer whose tables are checked before native code sees them.
 *
 * <p>A table starts with the distance back to its vtable; the vtable holds, behind its own two lengths, where each field lies.
 */
public final class ModelFile {
    private static final int SUBGRAPHS = 2;
    private static final int TENSORS = 0;
    private static final int INPUTS = 1;
    private static final int OPERATORS = 3;
    private static final int SHAPE = 0;
    private static final int SHAPE_SIGNATURE = 7;

    private final byte[] bytes;
    private final ByteBuffer data;

    /** @throws IllegalArgumentException when the bytes are no .tflite file that takes an image. */
    public ModelFile(byte[] bytes) {
        this.bytes = bytes;
        data = ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN);
        if (bytes.length < 8 || bytes[4] != 'T' || bytes[5] != 'F' || bytes[6] != 'L' || bytes[7] != '3') {
            throw new IllegalArgumentException("no .tflite file");
        }
        try {
            checkTables();
        } catch (IndexOutOfBoundsException error) {
            throw new IllegalArgumentException("a damaged .tflite file");
        }
    }

    /** Reads once all that other methods read. */
    private void checkTables() {
        for (int tensor : tensors()) {
            vector(tensor, SHAPE);
            vector(tensor, SHAPE_SIGNATURE);
        }
        if (operators() == 0) {
            throw new IllegalArgumentException("a .tflite file without operators");
        }
        fixedSize();
    }

    public int size() {
        return bytes.length;
    }

    public String sha256() {
        try {
            StringBuilder hex = new StringBuilder();
            for (byte value : MessageDigest.getInstance("SHA-256").digest(bytes)) {
                hex.append(String.format("%02x", value));
            }
            return hex.toString();
        } catch (NoSuchAlgorithmException error) {
            throw new IllegalStateException(error);
        }
    }

    /** The number of operators of the graph. */
    public int operators() {
        return vector(subgraph(), OPERATORS).length;
    }

    /** The bytes in memory that native code can read. */
    public ByteBuffer direct() {
        ByteBuffer buffer = ByteBuffer.allocateDirect(bytes.length).order(ByteOrder.nativeOrder());
        buffer.put(bytes).rewind();
        return buffer;
    }

    /** The image input's {height, width}, 0 where it is dynamic. */
    public int[] fixedSize() {
        int tensor = imageTensor();
        int[] signature = vector(tensor, SHAPE_SIGNATURE);
        int[] shape = signature.length == 4 ? signature : vector(tensor, SHAPE);
        return new int[] {Math.max(0, shape[1]), Math.max(0, shape[2])};
    }

    /**
     * This file with the size of its image input written in, and no dynamic dimension left: what GPU and NNAPI need. The
     * runtime works out the sizes of all other tensors from it when it prepares the operators.
     */
    public ModelFile withSize(int height, int width) {
        ModelFile copy = new ModelFile(bytes.clone());
        int shape = copy.vectorPlace(copy.imageTensor(), SHAPE) + 4;
        copy.data.putInt(shape, 1).putInt(shape + 4, height).putInt(shape + 8, width);
        for (int tensor : copy.tensors()) {
            int entry = copy.entry(tensor, SHAPE_SIGNATURE);
            if (entry > 0) {
                copy.data.putShort(entry, (short) 0);
            }
        }
        return copy;
    }

    private int imageTensor() {
        int[] tensors = tensors();
        for (int index : vector(subgraph(), INPUTS)) {
            int[] shape = vector(tensors[index], SHAPE);
            if (shape.length == 4 && shape[3] == 3) {
                return tensors[index];
            }
        }
        throw new IllegalArgumentException("no image goes in; expected an input of [1, H, W, 3]");
    }

    private int subgraph() {
        int[] subgraphs = tables(follow(0), SUBGRAPHS);
        if (subgraphs.length == 0) {
            throw new IllegalArgumentException("a .tflite file without a graph");
        }
        return subgraphs[0];
    }

    private int[] tensors() {
        return tables(subgraph(), TENSORS);
    }

    /** Where in the vtable the place of a field stands, 0 when the table lacks the field. */
    private int entry(int table, int field) {
        int vtable = table - data.getInt(table);
        int entry = vtable + 4 + 2 * field;
        return entry + 2 <= vtable + Short.toUnsignedInt(data.getShort(vtable)) ? entry : 0;
    }

    private int follow(int place) {
        return place + data.getInt(place);
    }

    /** Where a field's vector lies, 0 when there is none. */
    private int vectorPlace(int table, int field) {
        int entry = entry(table, field);
        int offset = entry == 0 ? 0 : Short.toUnsignedInt(data.getShort(entry));
        return offset == 0 ? 0 : follow(table + offset);
    }

    private int[] vector(int table, int field) {
        int place = vectorPlace(table, field);
        int length = place == 0 ? 0 : data.getInt(place);
        if (length < 0 || length > (bytes.length - place) / 4) {
            throw new IndexOutOfBoundsException();
        }
        int[] values = new int[length];
        for (int i = 0; i < length; i++) {
            values[i] = data.getInt(place + 4 + 4 * i);
        }
        return values;
    }

    private int[] tables(int table, int field) {
        int place = vectorPlace(table, field);
        int[] offsets = vector(table, field);
        for (int i = 0; i < offsets.length; i++) {
            offsets[i] += place + 4 + 4 * i;
        }
        return offsets;
    }
}
