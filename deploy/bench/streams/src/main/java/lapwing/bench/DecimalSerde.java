package lapwing.bench;

import java.nio.charset.StandardCharsets;
import org.apache.kafka.common.errors.SerializationException;
import org.apache.kafka.common.serialization.Deserializer;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serializer;

/** Numbers from 0 as decimal text: the keys of events and results. */
final class DecimalSerde implements Serde<Long> {
  @Override
  public Serializer<Long> serializer() {
    return (topic, number) -> number == null ? null : encode(number);
  }

  @Override
  public Deserializer<Long> deserializer() {
    return (topic, text) -> text == null ? null : decode(text);
  }

  static byte[] encode(long number) {
    return Long.toString(number).getBytes(StandardCharsets.ISO_8859_1); // a copy of the string's own bytes
  }

  private static long decode(byte[] text) {
    int digits = Amount.digitsEnd(text, 0, text.length);
    if (digits == text.length && digits > 0 && digits <= Amount.DIGITS_MAX) {
      return Amount.number(text, 0, digits);
    }
    try {
      return Long.parseLong(new String(text, StandardCharsets.UTF_8));
    } catch (NumberFormatException e) {
      throw new SerializationException("key is no decimal number", e);
    }
  }
}
