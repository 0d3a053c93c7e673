package org.mobilesr.core;

import java.io.ByteArrayOutputStream;
import java.io.Closeable;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.zip.CRC32;
import java.util.zip.Deflater;

/** Writes an sRGB PNG row by row, so that an image which does not fit into memory can be saved. */
public final class PngWriter implements Closeable {
    private static final byte[] SIGNATURE = {(byte) 0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
    private static final int SUB = 1;
    private static final int UP = 2;

    private final OutputStream stream;
    private final Deflater deflater = new Deflater(Deflater.BEST_SPEED);
    private final ByteArrayOutputStream data = new ByteArrayOutputStream();
    private final byte[] part = new byte[1 << 16];
    private final int width;
    private final int channels;
    private byte[] above;
    private int left;

    /** @param alpha whether pixels keep their alpha; else they are written as opaque. */
    public PngWriter(OutputStream stream, int width, int height, boolean alpha) throws IOException {
        this.stream = stream;
        this.width = width;
        channels = alpha ? 4 : 3;
        left = height;
        above = new byte[channels * width];
        stream.write(SIGNATURE);
        byte[] header = {8, (byte) (alpha ? 6 : 2), 0, 0, 0}; // bits, colour type, and the only methods that PNG has
        chunk("IHDR", ByteBuffer.allocate(13).putInt(width).putInt(height).put(header).array());
        chunk("sRGB", new byte[1]);
    }

    /** Writes rows of 0xAARRGGBB pixels, not premultiplied. */
    public void write(int[] argb, int rows) throws IOException {
        if (rows > left) {
            throw new IllegalArgumentException(rows + " rows are more than the " + left + " that are left");
        }
        for (int row = 0; row < rows; row++) {
            byte[] bytes = new byte[channels * width];
            for (int x = 0; x < width; x++) {
                int pixel = argb[row * width + x];
                bytes[channels * x] = (byte) (pixel >> 16);
                bytes[channels * x + 1] = (byte) (pixel >> 8);
                bytes[channels * x + 2] = (byte) pixel;
                if (channels == 4) {
                    bytes[channels * x + 3] = (byte) (pixel >>> 24);
                }
            }
            deflate(filtered(bytes));
            above = bytes;
        }
        left -= rows;
    }

    /** The row after the filter that leaves the smaller sum of absolute values, as the PNG specification advises. */
    private byte[] filtered(byte[] row) {
        byte[] sub = new byte[row.length + 1];
        byte[] up = new byte[row.length + 1];
        sub[0] = SUB;
        up[0] = UP;
        long subSum = 0;
        long upSum = 0;
        for (int i = 0; i < row.length; i++) {
            sub[i + 1] = (byte) (row[i] - (i < channels ? 0 : row[i - channels]));
            up[i + 1] = (byte) (row[i] - above[i]);
            subSum += Math.abs(sub[i + 1]);
            upSum += Math.abs(up[i + 1]);
        }
        return subSum <= upSum ? sub : up;
    }

    private void deflate(byte[] bytes) throws IOException {
        deflater.setInput(bytes);
        while (!deflater.needsInput()) {
            drain();
        }
    }

    private void drain() throws IOException {
        data.write(part, 0, deflater.deflate(part));
        if (data.size() >= part.length) {
            chunk("IDAT", data.toByteArray());
            data.reset();
        }
    }

    private void chunk(String type, byte[] content) throws IOException {
        byte[] name = type.getBytes(StandardCharsets.US_ASCII);
        CRC32 crc = new CRC32();
        crc.update(name);
        crc.update(content);
        stream.write(ByteBuffer.allocate(4).putInt(content.length).array());
        stream.write(name);
        stream.write(content);
        stream.write(ByteBuffer.allocate(4).putInt((int) crc.getValue()).array());
    }

    /** Ends the file and closes the stream. Without all rows it only closes the stream: such a file is no PNG. */
    @Override
    public void close() throws IOException {
        try (stream) {
            if (left == 0) {
                deflater.finish();
                while (!deflater.finished()) {
                    drain();
                }
                chunk("IDAT", data.toByteArray());
                chunk("IEND", new byte[0]);
            }
        } finally {
            deflater.end();
        }
    }
}
