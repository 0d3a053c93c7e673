package org.mobilesr.core;

import java.util.Locale;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** What people read in place of a file name that `mobile-sr export` gave. */
public final class ModelTitle {
    private static final Pattern EXPORTED = Pattern.compile("([a-z0-9]+)_x(\\d)_(uint8|int8|float16|float32)(?:_(\\w+))?\\.tflite");

    private ModelTitle() {}

    /**
     * "XLSR x3, uint8, dense groups" for xlsr_x3_uint8_dense_groups.tflite; other names stay as they are.
     *
     * @param name of a file, which may be packaged ("asset:NAME").
     */
    public static String of(String name) {
        String file = name.startsWith(RunConfig.ASSET) ? name.substring(RunConfig.ASSET.length()) : name;
        Matcher matcher = EXPORTED.matcher(file);
        if (!matcher.matches()) {
            return file;
        }
        String form = matcher.group(4) == null ? "" : ", " + matcher.group(4).replace('_', ' ');
        return matcher.group(1).toUpperCase(Locale.ROOT) + " x" + matcher.group(2) + ", " + matcher.group(3) + form;
    }
}
