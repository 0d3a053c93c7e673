package org.mobilesr.core;

import java.util.Locale;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** What people read in place of a file name that `mobile-sr export` gave. */
public final class ModelTitle {
    private static final Pattern EXPORTED = Pattern.compile(
            "([a-z0-9_]+)_x(\\d)(?:_([a-z0-9_]+))?_(uint8|int8|float16|float32)(?:_(\\w+))?\\.tflite");

    private ModelTitle() {}

    /**
     * "XLSR x3, uint8, dense groups" for xlsr_x3_uint8_dense_groups.tflite, "XLSR x3, snapdragon uint8, SM8650" for
     * xlsr_x3_snapdragon_uint8_SM8650.tflite; other names stay as they are.
     *
     * @param name of a file, which may be packaged ("asset:NAME").
     */
    public static String of(String name) {
        String file = name.startsWith(RunConfig.ASSET) ? name.substring(RunConfig.ASSET.length()) : name;
        Matcher matcher = EXPORTED.matcher(file);
        if (!matcher.matches()) {
            return file;
        }
        String network = matcher.group(1).replace('_', ' ').toUpperCase(Locale.ROOT);
        String target = matcher.group(3) == null ? "" : matcher.group(3).replace('_', ' ') + " ";
        String form = matcher.group(5) == null ? "" : ", " + matcher.group(5).replace('_', ' ');
        return network + " x" + matcher.group(2) + ", " + target + matcher.group(4) + form;
    }
}
