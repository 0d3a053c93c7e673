package com.google.ai.edge.litert;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;

/** Stand-in for LiteRT's class of this name: memory of the size of a tensor. */
public final class TensorBuffer implements AutoCloseable {
    final ByteBuffer bytes;

    TensorBuffer(int size) {
        bytes = ByteBuffer.allocateDirect(size).order(ByteOrder.nativeOrder());
    }

    private ByteBuffer sized(int size) throws LiteRtException {
        if (size != bytes.capacity()) {
            throw new LiteRtException(size + " bytes for a buffer of " + bytes.capacity());
        }
        bytes.rewind();
        return bytes;
    }

    public void writeFloat(float[] data) throws LiteRtException {
        sized(4 * data.length).asFloatBuffer().put(data);
    }

    public void writeInt8(byte[] data) throws LiteRtException {
        sized(data.length).put(data);
    }

    public float[] readFloat() throws LiteRtException {
        float[] data = new float[bytes.capacity() / 4];
        sized(4 * data.length).asFloatBuffer().get(data);
        return data;
    }

    public byte[] readInt8() throws LiteRtException {
        byte[] data = new byte[bytes.capacity()];
        sized(data.length).get(data);
        return data;
    }

    @Override
    public void close() {}
}
