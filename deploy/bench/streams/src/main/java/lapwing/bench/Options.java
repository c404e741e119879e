package lapwing.bench;

import java.util.LinkedHashMap;
import java.util.Map;

/** The command line. */
final class Options {
  enum Store { ROCKSDB, MEMORY }

  private static final String CACHE_BY_STORE = "by-store";
  private static final long ROCKSDB_CACHE_BYTES = 128L << 20;
  private static final Map<String, String> DEFAULTS = new LinkedHashMap<>();

  static {
    DEFAULTS.put("brokers", "127.0.0.1:9092");
    DEFAULTS.put("input", "events");
    DEFAULTS.put("output", "alerts");
    DEFAULTS.put("application-id", "streams-peer");
    DEFAULTS.put("store", "rocksdb");
    DEFAULTS.put("guarantee", "exactly_once_v2");
    DEFAULTS.put("commit-interval-ms", "100");
    DEFAULTS.put("threads", "2");
    DEFAULTS.put("state-dir", System.getProperty("java.io.tmpdir") + "/streams-peer");
    DEFAULTS.put("replication", "1");
    DEFAULTS.put("cache-bytes", CACHE_BY_STORE);
    DEFAULTS.put("rocksdb-bytes", String.valueOf(256L << 20));
    DEFAULTS.put("linger-ms", "5");
    DEFAULTS.put("batch-bytes", String.valueOf(128 << 10));
    DEFAULTS.put("poll-records", "5000");
  }

  private final Map<String, String> values = new LinkedHashMap<>(DEFAULTS);

  /** Reads pairs of --name and value. */
  Options(String... args) {
    for (int i = 0; i < args.length; i += 2) {
      String name = args[i].startsWith("--") ? args[i].substring(2) : "";
      if (!values.containsKey(name)) {
        throw new IllegalArgumentException("unknown option " + args[i]);
      }
      if (i + 1 == args.length) {
        throw new IllegalArgumentException("option " + args[i] + " has no value");
      }
      values.put(name, args[i + 1]);
    }
  }

  /** All options with their defaults. */
  static String usage() {
    StringBuilder usage = new StringBuilder("usage: StreamsPeer [--option value]...\n");
    DEFAULTS.forEach((name, value) -> usage.append("  --").append(name).append(' ').append(value).append('\n'));
    return usage.toString();
  }

  String get(String name) {
    return values.get(name);
  }

  long number(String name) {
    try {
      return Long.parseLong(values.get(name));
    } catch (NumberFormatException e) {
      throw new IllegalArgumentException("--" + name + " " + values.get(name) + " is no whole number", e);
    }
  }

  /** The size of the record cache; 0: none. By default a store in memory has none, since it would be a second copy. */
  long cacheBytes() {
    if (values.get("cache-bytes").equals(CACHE_BY_STORE)) {
      return store() == Store.ROCKSDB ? ROCKSDB_CACHE_BYTES : 0;
    }
    return number("cache-bytes");
  }

  Store store() {
    return switch (values.get("store")) {
      case "rocksdb" -> Store.ROCKSDB;
      case "memory" -> Store.MEMORY;
      default -> throw new IllegalArgumentException(
          "--store " + values.get("store") + " is neither rocksdb nor memory");
    };
  }
}
