package org.mobilesr.core;

import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * What really ran: taken from the runtime's own log, as the Java API does not tell.
 *
 * @param effective the id of the delegate that took nodes, or "none".
 * @param delegated how many nodes it took; null when the runtime does not say.
 * @param nodes how many there are; null when the log does not say (nothing was delegated).
 */
public record Residency(String effective, Integer delegated, Integer nodes) {
    private static final Pattern REPLACING =
            Pattern.compile("Replacing (\\d+) out of (\\d+) node\\(s\\) with delegate \\((\\w+)\\)");

    /**
     * The last report in the log counts: the runtime delegates anew after a resize.
     *
     * @param log the lines that the runtime wrote since the interpreter was opened.
     */
    public static Residency of(Delegate requested, List<String> log) {
        Residency found = new Residency(Delegate.NONE, 0, null);
        for (String line : log) {
            Matcher matcher = REPLACING.matcher(line);
            if (matcher.find()) {
                int delegated = Integer.parseInt(matcher.group(1));
                String effective = delegated == 0 ? Delegate.NONE : id(matcher.group(3), requested);
                found = new Residency(effective, delegated, Integer.valueOf(matcher.group(2)));
            }
        }
        return found;
    }

    private static String id(String logName, Delegate requested) {
        if (requested.logName.equals(logName)) {
            return requested.id;
        }
        for (Delegate delegate : Delegate.values()) {
            if (delegate.logName.equals(logName)) {
                return delegate.id;
            }
        }
        return logName;
    }
}
