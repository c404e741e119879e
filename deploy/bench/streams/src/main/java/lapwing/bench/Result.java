package lapwing.bench;

import java.nio.charset.StandardCharsets;
import java.util.StringJoiner;

/** What is published for an event. */
record Result(int alerts, long userId) {
  /** By alerts, everything up to the user. */
  private static final byte[][] BEGINNINGS = beginnings();

  private static byte[][] beginnings() {
    byte[][] beginnings = new byte[1 << Rules.CODES.length][];
    for (int alerts = 0; alerts < beginnings.length; alerts++) {
      StringJoiner codes = new StringJoiner(",");
      for (int i = 0; i < Rules.CODES.length; i++) {
        if ((alerts & 1 << i) != 0) {
          codes.add(String.valueOf(Rules.CODES[i]));
        }
      }
      String text = "{\"alert\":" + (alerts != 0) + ",\"alert_codes\":[" + codes + "],\"user_id\":";
      beginnings[alerts] = text.getBytes(StandardCharsets.US_ASCII);
    }
    return beginnings;
  }

  /** Writes it as JSON without white space. */
  byte[] json() {
    byte[] beginning = BEGINNINGS[alerts];
    byte[] user = DecimalSerde.encode(userId);
    byte[] json = new byte[beginning.length + user.length + 1];
    System.arraycopy(beginning, 0, json, 0, beginning.length);
    System.arraycopy(user, 0, json, beginning.length, user.length);
    json[json.length - 1] = '}';
    return json;
  }
}
