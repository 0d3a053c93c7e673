package org.mobilesr.core;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.ArrayList;
import java.util.List;

/** The bytes of a .tflite file: a FlatBuffer whose tables are checked before native code sees them. */
public final class ModelFile {
    private static final int TENSORS = 0;
    private static final int INPUTS = 1;
    private static final int SHAPE = 0;
    private static final int NAME = 3;
    private static final int SHAPE_SIGNATURE = 7;

    /** Is part of the name of the input that sets how many blocks of an AdaDSR network run. */
    public static final String DESIRED_DEPTH = "desired_depth";

    private final byte[] bytes;
    private final FlatTables file;
    private final Signatures signatures;

    /** @throws IllegalArgumentException when the bytes are no .tflite file that takes an image. */
    public ModelFile(byte[] bytes) {
        this.bytes = bytes;
        file = new FlatTables(bytes);
        if (bytes.length < 8 || bytes[4] != 'T' || bytes[5] != 'F' || bytes[6] != 'L' || bytes[7] != '3') {
            throw new IllegalArgumentException("no .tflite file");
        }
        try {
            checkTables();
            signatures = new Signatures(file);
        } catch (IndexOutOfBoundsException error) {
            throw new IllegalArgumentException("a damaged .tflite file");
        }
    }

    /** Reads once all that other methods read. */
    private void checkTables() {
        for (int tensor : tensors()) {
            file.vector(tensor, SHAPE);
            file.vector(tensor, SHAPE_SIGNATURE);
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
        return file.vector(subgraph(), Signatures.OPERATORS).length;
    }

    /** How many graphs there are: beside the one that runs, those that signatures name and those that operators call. */
    public int graphs() {
        return file.tables(file.root(), Signatures.SUBGRAPHS).length;
    }

    /** The names of the signatures, in the file's order; empty without any. */
    public List<String> signatures() {
        return new ArrayList<>(signatures.names());
    }

    /**
     * The signature that runs.
     *
     * @param wanted its name; null means "dense", then "serving_default", then the only one.
     * @return null when none of that is there, which means the first graph.
     * @throws IllegalArgumentException when the wanted one is not there.
     */
    public String signature(String wanted) {
        return signatures.choose(wanted);
    }

    /** This file with the graph of a signature as its only one beside those that it calls; null leaves the file as it is. */
    public ModelFile withSignature(String name) {
        return name == null ? this : new ModelFile(signatures.alone(name));
    }

    /** Whether the graph that runs has an input for the desired depth. */
    public boolean takesDepth() {
        int[] tensors = tensors();
        for (int index : file.vector(subgraph(), INPUTS)) {
            if (file.text(tensors[index], NAME).contains(DESIRED_DEPTH)) {
                return true;
            }
        }
        return false;
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
        int[] signature = file.vector(tensor, SHAPE_SIGNATURE);
        int[] shape = signature.length == 4 ? signature : file.vector(tensor, SHAPE);
        return new int[] {Math.max(0, shape[1]), Math.max(0, shape[2])};
    }

    /**
     * This file with the size of its image input written in, and no dynamic dimension left: what GPU and NNAPI need. The
     * runtime works out the sizes of all other tensors from it when it prepares the operators.
     */
    public ModelFile withSize(int height, int width) {
        ModelFile copy = new ModelFile(bytes.clone());
        int shape = copy.file.place(copy.imageTensor(), SHAPE) + 4;
        copy.file.data.putInt(shape, 1).putInt(shape + 4, height).putInt(shape + 8, width);
        for (int tensor : copy.tensors()) {
            int entry = copy.file.entry(tensor, SHAPE_SIGNATURE);
            if (entry > 0) {
                copy.file.data.putShort(entry, (short) 0);
            }
        }
        return copy;
    }

    private int imageTensor() {
        int[] tensors = tensors();
        for (int index : file.vector(subgraph(), INPUTS)) {
            int[] shape = file.vector(tensors[index], SHAPE);
            if (shape.length == 4 && shape[3] == 3) {
                return tensors[index];
            }
        }
        throw new IllegalArgumentException("no image goes in; expected an input of [1, H, W, 3]");
    }

    private int subgraph() {
        int[] subgraphs = file.tables(file.root(), Signatures.SUBGRAPHS);
        if (subgraphs.length == 0) {
            throw new IllegalArgumentException("a .tflite file without a graph");
        }
        return subgraphs[0];
    }

    private int[] tensors() {
        return file.tables(subgraph(), TENSORS);
    }
}
