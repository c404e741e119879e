package lapwing.bench;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import org.apache.kafka.common.errors.SerializationException;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class EventDeserializerTest {
  private static final Event EVENT =
      new Event(Event.Type.WITHDRAW, new Amount(0, 42, 50_000_000_000_000_000L), 7, 10);

  private static byte[] utf8(String text) {
    return text.getBytes(StandardCharsets.UTF_8);
  }

  @ParameterizedTest
  @ValueSource(strings = {
    "{\"type\":\"withdraw\",\"amount\":\"42.05\",\"user_id\":7,\"time\":10}",
    "{\"time\":10,\"user_id\":7,\"amount\":\"0042.050000000000000000\",\"type\":\"withdraw\"}",
  })
  void readsAnOrdinaryEventBothWays(String text) throws IOException {
    assertEquals(EVENT, EventDeserializer.readOrdinary(utf8(text)));
    assertEquals(EVENT, EventDeserializer.read(utf8(text)));
  }

  @ParameterizedTest
  @ValueSource(strings = {
    " { \"type\" : \"withdraw\" , \"amount\":\"42.05\",\"user_id\":7,\"time\":10 }\n",
    "{\"t\\u0079pe\":\"with\\u0064raw\",\"amount\":\"42.05\",\"user_id\":7,\"time\":10}",
    "{\"note\":\"}\\\"\\u00e9\",\"type\":\"withdraw\",\"amount\":\"42.05\",\"user_id\":7,\"time\":10}",
    "{\"type\":\"withdraw\",\"amount\":\"42.05\",\"user_id\":7,\"time\":10,\"n\":{\"type\":[1,{\"time\":null}]}}",
  })
  void readsAnyOtherEvent(String text) {
    assertNull(EventDeserializer.readOrdinary(utf8(text)));
    assertEquals(EVENT, new EventDeserializer().deserialize("events", utf8(text)));
  }

  @Test
  void readsTheLargestUser() {
    String text = "{\"type\":\"withdraw\",\"amount\":\"1\",\"user_id\":9223372036854775807,\"time\":0}";
    Event event = new EventDeserializer().deserialize("events", utf8(text));
    assertEquals(Long.MAX_VALUE, event.userId());
    assertEquals("{\"alert\":true,\"alert_codes\":[30,123],\"user_id\":9223372036854775807}",
        new String(new Result(0b1010, event.userId()).json(), StandardCharsets.UTF_8));
    assertNotNull(new DecimalSerde().deserializer().deserialize("events", utf8("9223372036854775807")));
  }

  @ParameterizedTest
  @ValueSource(strings = {
    "",
    "{",
    "{}",
    "[]",
    "{\"type\":\"withdraw\",\"amount\":\"42.05\",\"user_id\":7,\"time\":10}}",
    "{\"type\":\"withdraw\",\"amount\":\"42.05\",\"user_id\":7,\"time\":10,}",
    "{\"type\":\"withdraw\",\"amount\":\"42.05\",\"user_id\":7}",
    "{\"type\":\"withdraw\",\"amount\":\"42.05\",\"user_id\":7,\"user_id\":7,\"time\":10}",
    "{\"type\":\"withdraw\",\"amount\":\"42.05\",\"user_id\":7,\"time\":10,\"Time\":10}",
    "{\"type\":\"transfer\",\"amount\":\"42.05\",\"user_id\":7,\"time\":10}",
    "{\"type\":\"withdraw\",\"amount\":42.05,\"user_id\":7,\"time\":10}",
    "{\"type\":\"withdraw\",\"amount\":\"0.00\",\"user_id\":7,\"time\":10}",
    "{\"type\":\"withdraw\",\"amount\":\"-1\",\"user_id\":7,\"time\":10}",
    "{\"type\":\"withdraw\",\"amount\":\"1.\",\"user_id\":7,\"time\":10}",
    "{\"type\":\"withdraw\",\"amount\":\".1\",\"user_id\":7,\"time\":10}",
    "{\"type\":\"withdraw\",\"amount\":\"1e3\",\"user_id\":7,\"time\":10}",
    "{\"type\":\"withdraw\",\"amount\":\"1000000000000000000\",\"user_id\":7,\"time\":10}",
    "{\"type\":\"withdraw\",\"amount\":\"0.0000000000000000001\",\"user_id\":7,\"time\":10}",
    "{\"type\":\"withdraw\",\"amount\":\"1\",\"user_id\":07,\"time\":10}",
    "{\"type\":\"withdraw\",\"amount\":\"1\",\"user_id\":-7,\"time\":10}",
    "{\"type\":\"withdraw\",\"amount\":\"1\",\"user_id\":9223372036854775808,\"time\":10}",
    "{\"type\":\"withdraw\",\"amount\":\"1\",\"user_id\":7,\"time\":100000000000}",
    "{\"type\":\"withdraw\",\"amount\":\"1\",\"user_id\":7,\"time\":1.5}",
  })
  void refusesWhatIsNoEvent(String text) {
    assertThrows(SerializationException.class, () -> new EventDeserializer().deserialize("events", utf8(text)));
  }
}
