package org.mobilesr.core;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.ArrayList;
import java.util.List;

/** The bytes of a .tflite file: a FlatBuffer whose tables are checked before native code sees them. */
public final class ModelFile {
    private static final int TENSORS = 0;
    private static final int INPUTS = 1;
    private static final int OUTPUTS = 2;
    private static final int SHAPE = 0;
    private static final int TYPE = 1;
    private static final int NAME = 3;
    private static final int QUANTIZATION = 4;
    private static final int SHAPE_SIGNATURE = 7;

    private static final String[] TYPES = {
        "FLOAT32", "FLOAT16", "INT32", "UINT8", "INT64", "STRING", "BOOL", "INT16", "COMPLEX64", "INT8"
    };
    /** LiteRT's compiler writes for which chip a file is: two texts of STAMP_TEXT bytes, the maker and the chip, filled with 0. */
    private static final String STAMP = "LiteRtStamp";

    private static final int STAMP_TEXT = 125;
    /** The operator in place of those that are compiled for a chip. */
    private static final String COMPILED = "DISPATCH_OP";

    /** Is part of the name of the input that sets how many blocks of an AdaDSR network run. */
    public static final String DESIRED_DEPTH = "desired_depth";

    private final byte[] bytes;
    private final FlatTables file;
    private final Signatures signatures;

    /** @throws IllegalArgumentException when the bytes are no .tflite file. */
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
        inputs();
        outputs();
        compiledFor();
        compiledOperators();
    }

    /** The inputs of the graph that runs, in its order. */
    public List<TensorInfo> inputs() {
        return infos(INPUTS);
    }

    /** The outputs of the graph that runs, in its order. */
    public List<TensorInfo> outputs() {
        return infos(OUTPUTS);
    }

    private List<TensorInfo> infos(int field) {
        int[] tensors = tensors();
        List<TensorInfo> infos = new ArrayList<>();
        for (int index : file.vector(subgraph(), field)) {
            infos.add(info(tensors[index]));
        }
        return infos;
    }

    private TensorInfo info(int tensor) {
        int place = file.field(tensor, TYPE);
        int code = place == 0 ? 0 : file.data.get(place);
        String name = code >= 0 && code < TYPES.length ? TYPES[code] : "of type " + code;
        TensorSpec.Type type = null;
        for (TensorSpec.Type known : TensorSpec.Type.values()) {
            type = known.name().equals(name) ? known : type;
        }
        int quantization = file.place(tensor, QUANTIZATION);
        float scale = quantization == 0 ? 0 : file.onlyFloat(quantization, 2);
        int zeroPoint = quantization == 0 ? 0 : (int) file.onlyLong(quantization, 3);
        boolean isFixed = true;
        for (int side : file.vector(tensor, SHAPE_SIGNATURE)) {
            isFixed &= side >= 0;
        }
        TensorSpec spec = type == null ? null : new TensorSpec(type, scale, zeroPoint);
        return new TensorInfo(file.text(tensor, NAME), file.vector(tensor, SHAPE), isFixed, name, spec);
    }

    /** The chip whose NPU the file was compiled for, such as "SM8650"; null for ordinary files. */
    public String compiledFor() {
        byte[] stamp = file.metadata(STAMP);
        if (stamp == null || stamp.length < 2 * STAMP_TEXT || compiledOperators() == 0) {
            return null;
        }
        String chip = new String(stamp, STAMP_TEXT, STAMP_TEXT, StandardCharsets.US_ASCII);
        return chip.substring(0, Math.max(0, chip.indexOf(0)));
    }

    /** How many of the graph's operators are compiled for a chip; each of them is a part of the original graph. */
    public int compiledOperators() {
        int[] codes = file.tables(file.root(), Signatures.OPERATOR_CODES);
        int count = 0;
        for (int operator : file.tables(subgraph(), Signatures.OPERATORS)) {
            count += file.text(codes[file.number(operator, 0)], 1).equals(COMPILED) ? 1 : 0;
        }
        return count;
    }

    /** This file without the names of its signatures: its inputs and outputs are then in the graph's order for every runtime. */
    public ModelFile withoutSignatures() {
        ModelFile copy = new ModelFile(bytes.clone());
        int place = copy.file.place(copy.file.root(), Signatures.SIGNATURES);
        if (place != 0) {
            copy.file.data.putInt(place, 0);
        }
        return new ModelFile(copy.bytes);
    }

    /** The bytes themselves, which the caller may not change. */
    public byte[] bytes() {
        return bytes;
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
        return inputs().stream().anyMatch(TensorInfo::isDepth);
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
