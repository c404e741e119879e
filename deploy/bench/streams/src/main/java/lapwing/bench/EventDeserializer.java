package lapwing.bench;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import com.fasterxml.jackson.core.StreamReadConstraints;
import com.fasterxml.jackson.core.StreamReadFeature;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import org.apache.kafka.common.errors.SerializationException;
import org.apache.kafka.common.serialization.Deserializer;

/**
 * Reads events. An ordinary one, which has its four members and nothing else, is read straight from its bytes, several
 * times as fast as by Jackson's streaming parser; whatever is not ordinary is left to that.
 */
final class EventDeserializer implements Deserializer<Event> {
  /** The largest value, in bytes, that is looked at. */
  static final int BYTES_MAX = 64 << 10;

  private static final int DEPTH_MAX = 64;

  private static final JsonFactory JSON = JsonFactory.builder()
      .enable(StreamReadFeature.STRICT_DUPLICATE_DETECTION)
      .streamReadConstraints(StreamReadConstraints.builder().maxNestingDepth(DEPTH_MAX).build())
      .build();

  private static final String[] NAMES = {"type", "amount", "user_id", "time"};
  private static final byte[][] NAMES_TEXT = texts(NAMES);
  private static final byte[][] TYPES_TEXT = texts("deposit", "withdraw");
  private static final Event.Type[] TYPES = Event.Type.values();
  private static final int TYPE = 0;
  private static final int AMOUNT = 1;
  private static final int USER_ID = 2;
  private static final int TIME = 3;
  private static final int ALL_MEMBERS = (1 << NAMES.length) - 1;

  private static byte[][] texts(String... words) {
    return Arrays.stream(words).map(word -> word.getBytes(StandardCharsets.US_ASCII)).toArray(byte[][]::new);
  }

  /** Returns null for a tombstone. */
  @Override
  public Event deserialize(String topic, byte[] value) {
    if (value == null) {
      return null;
    }
    try {
      if (value.length > BYTES_MAX) {
        throw new IllegalArgumentException(value.length + " bytes, at most " + BYTES_MAX + " are allowed");
      }
      Event event = readOrdinary(value);
      return event != null ? event : read(value);
    } catch (IOException | IllegalArgumentException e) {
      throw new SerializationException("not an event: " + e.getMessage(), e);
    }
  }

  /**
   * Returns the event of a value that has the four members, in any order, without white space, escapes and leading
   * zeros; null if it is of another form.
   */
  static Event readOrdinary(byte[] value) {
    int end = value.length - 1;
    if (end < 0 || value[0] != '{' || value[end] != '}') {
      return null;
    }
    Event.Type type = null;
    Amount amount = null;
    long userId = 0;
    long time = 0;
    int seen = 0;
    int at = 1;
    while (true) {
      // Everything up to the last brace: "name":value
      int nameEnd = stringEnd(value, at, end);
      int member = nameEnd < 0 ? -1 : indexOf(NAMES_TEXT, value, at + 1, nameEnd);
      if (member < 0 || (seen & 1 << member) != 0 || value[nameEnd + 1] != ':') {
        return null;
      }
      seen |= 1 << member;
      int from = nameEnd + 2;
      int to;
      if (member == TYPE || member == AMOUNT) {
        to = stringEnd(value, from, end);
        if (to < 0) {
          return null;
        }
        if (member == AMOUNT) {
          amount = Amount.parse(value, from + 1, to);
        } else {
          int index = indexOf(TYPES_TEXT, value, from + 1, to);
          if (index < 0) {
            return null;
          }
          type = TYPES[index];
        }
        to++;
      } else {
        to = Amount.digitsEnd(value, from, end);
        int digits = to - from;
        if (digits == 0 || digits > Amount.DIGITS_MAX || digits > 1 && value[from] == '0') {
          return null;
        }
        long number = Amount.number(value, from, to);
        if (member == USER_ID) {
          userId = number;
        } else {
          time = number;
        }
      }
      if (to == end) {
        return seen == ALL_MEMBERS ? new Event(type, amount, userId, time) : null;
      }
      if (value[to] != ',') {
        return null;
      }
      at = to + 1;
    }
  }

  /** Returns where the closing quote of the string at this place is; -1: there is none, or no plain string. */
  private static int stringEnd(byte[] value, int at, int end) {
    if (at >= end || value[at] != '"') {
      return -1;
    }
    for (int i = at + 1; i < end; i++) {
      byte c = value[i];
      if (c == '"') {
        return i;
      }
      if (c < ' ' || c == '\\') { // a byte of 0x80 or more is negative
        return -1;
      }
    }
    return -1;
  }

  private static int indexOf(byte[][] words, byte[] value, int from, int to) {
    for (int i = 0; i < words.length; i++) {
      if (Arrays.equals(words[i], 0, words[i].length, value, from, to)) {
        return i;
      }
    }
    return -1;
  }

  /** Reads any event. */
  static Event read(byte[] value) throws IOException {
    try (JsonParser json = JSON.createParser(value)) {
      expect(json.nextToken(), JsonToken.START_OBJECT, "the value");
      Event.Type type = null;
      Amount amount = null;
      long userId = 0;
      long time = 0;
      int seen = 0;
      for (String name = json.nextFieldName(); name != null; name = json.nextFieldName()) {
        JsonToken token = json.nextToken();
        int member = Arrays.asList(NAMES).indexOf(name);
        switch (member) {
          case TYPE -> {
            expect(token, JsonToken.VALUE_STRING, name);
            type = typeOf(json.getText());
          }
          case AMOUNT -> {
            expect(token, JsonToken.VALUE_STRING, name);
            byte[] text = json.getText().getBytes(StandardCharsets.UTF_8);
            amount = Amount.parse(text, 0, text.length);
          }
          case USER_ID -> userId = integer(json, token, name);
          case TIME -> time = integer(json, token, name);
          default -> {
            if (Arrays.stream(NAMES).anyMatch(name::equalsIgnoreCase)) {
              throw new IllegalArgumentException("member " + name + " is in another case");
            }
            json.skipChildren();
          }
        }
        if (member >= 0) {
          seen |= 1 << member;
        }
      }
      expect(json.currentToken(), JsonToken.END_OBJECT, "the value's end");
      if (json.nextToken() != null) {
        throw new IllegalArgumentException("more than one JSON value");
      }
      if (seen != ALL_MEMBERS) {
        throw new IllegalArgumentException("member " + NAMES[Integer.numberOfTrailingZeros(~seen)] + " is missing");
      }
      return new Event(type, amount, userId, time);
    }
  }

  private static void expect(JsonToken token, JsonToken wanted, String what) {
    if (token != wanted) {
      throw new IllegalArgumentException(what + " is " + token + ", must be " + wanted);
    }
  }

  private static Event.Type typeOf(String name) {
    return switch (name) {
      case "deposit" -> Event.Type.DEPOSIT;
      case "withdraw" -> Event.Type.WITHDRAW;
      default -> throw new IllegalArgumentException("unknown type " + name);
    };
  }

  private static long integer(JsonParser json, JsonToken token, String name) throws IOException {
    expect(token, JsonToken.VALUE_NUMBER_INT, name);
    long number = json.getLongValue(); // throws beyond 64 bits
    if (number < 0) {
      throw new IllegalArgumentException(name + " is negative");
    }
    return number;
  }
}
