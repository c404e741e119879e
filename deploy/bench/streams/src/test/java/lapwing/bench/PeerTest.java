package lapwing.bench;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Properties;
import org.apache.kafka.common.errors.SerializationException;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;
import org.apache.kafka.streams.TestInputTopic;
import org.apache.kafka.streams.TestOutputTopic;
import org.apache.kafka.streams.TopologyTestDriver;
import org.apache.kafka.streams.errors.StreamsException;
import org.apache.kafka.streams.test.TestRecord;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** The whole topology, from the bytes of events to the bytes of results. */
class PeerTest {
  private static final Path VECTORS =
      Path.of(System.getProperty("basedir", ".")).resolve("../../../rules/testdata/rules.jsonl");

  @TempDir
  Path stateDir;

  /** A topology with its topics. Its users are new. */
  private final class Peer implements AutoCloseable {
    final TopologyTestDriver driver;
    final TestInputTopic<String, byte[]> events;
    final TestOutputTopic<String, String> results;

    Peer(String store) {
      Options options = new Options("--store", store, "--state-dir", stateDir.toString());
      Properties config = StreamsPeer.config(options);
      driver = new TopologyTestDriver(StreamsPeer.topology(options), config);
      events = driver.createInputTopic("events", new StringSerializer(), new ByteArraySerializer());
      results = driver.createOutputTopic("alerts", new StringDeserializer(), new StringDeserializer());
    }

    /** Judges an event of user 7 and returns the codes as they are written. */
    String judge(String type, String amount, long time) {
      String event = "{\"type\":\"" + type + "\",\"amount\":\"" + amount + "\",\"user_id\":7,\"time\":" + time + "}";
      events.pipeInput("7", event.getBytes(StandardCharsets.UTF_8));
      String result = results.readValue();
      String codes = result.substring(result.indexOf('[') + 1, result.indexOf(']'));
      assertEquals("{\"alert\":" + !codes.isEmpty() + ",\"alert_codes\":[" + codes + "],\"user_id\":7}", result);
      return codes;
    }

    @Override
    public void close() {
      driver.close();
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"memory", "rocksdb"})
  void judgesTheVectors(String store) throws IOException {
    ObjectMapper mapper = new ObjectMapper();
    List<String> lines = Files.readAllLines(VECTORS);
    assertTrue(lines.size() > 100, () -> lines.size() + " vectors in " + VECTORS);
    for (String line : lines) {
      JsonNode vector = mapper.readTree(line);
      try (Peer peer = new Peer(store)) {
        for (int i = 0; i < vector.get("events").size(); i++) {
          JsonNode event = vector.get("events").get(i);
          JsonNode want = vector.get("results").get(i);
          byte[] value = event.toString().getBytes(StandardCharsets.UTF_8);
          if (want.has("error")) {
            assertThrows(
                SerializationException.class, () -> new EventDeserializer().deserialize("events", value), line);
            continue;
          }
          String user = event.get("user_id").asText();
          peer.events.pipeInput(user, value);
          TestRecord<String, String> got = peer.results.readRecord();
          assertEquals(want.toString(), got.value(), line);
          assertEquals(user, got.key(), line);
          assertEquals(0, got.headers().toArray().length, line);
        }
        assertTrue(peer.results.isEmpty(), line);
      }
    }
  }

  @Test
  void amountsOf36DigitsAreExact() {
    String max = "9".repeat(18) + "." + "9".repeat(18);
    String belowMax = "9".repeat(18) + "." + "9".repeat(17) + "8";
    String belowThat = "9".repeat(18) + "." + "9".repeat(17) + "7";
    try (Peer peer = new Peer("memory")) {
      assertEquals("123", peer.judge("deposit", belowThat, 10));
      assertEquals("123", peer.judge("deposit", belowMax, 100));
      assertEquals("300,123", peer.judge("deposit", max, 200));
      assertEquals("123", peer.judge("deposit", max, 300));
      assertEquals("1100", peer.judge("withdraw", max, 300));
    }
    try (Peer peer = new Peer("memory")) {
      assertEquals("", peer.judge("withdraw", "100." + "0".repeat(18), 10));
      assertEquals("1100", peer.judge("withdraw", "100." + "0".repeat(17) + "1", 10));
      assertEquals("", peer.judge("deposit", "199." + "9".repeat(18), 10));
      assertEquals("", peer.judge("deposit", "0." + "0".repeat(17) + "1", 11));
      assertEquals("123", peer.judge("deposit", "0." + "0".repeat(17) + "1", 12));
      assertEquals("123", peer.judge("deposit", "0." + "0".repeat(17) + "1", 39)); // those at 10, 11 and 12 count
      assertEquals("", peer.judge("deposit", "0." + "0".repeat(17) + "1", 40)); // that at 10 is out
    }
  }

  @Test
  void sumsOfAThousandLargestAmountsAreExact() {
    // 1000 * (10^18 - 10^-18) = 999 * 10^18 + (10^18 - 1) + (1 - 10^-15)
    Amount largest = new Amount(0, 999_999_999_999_999_999L, 999_999_999_999_999_999L);
    UserState state = new UserState();
    for (int i = 0; i < 1000; i++) {
      state.add(new Event(Event.Type.DEPOSIT, largest, 7, 10), 60);
      state = UserStateSerde.decode(UserStateSerde.encode(state));
    }
    assertEquals(new Amount(999, 999_999_999_999_999_999L, 999_999_999_999_999_000L), state.depositsWithin(10, 30));
    assertEquals(1, state.risingLength);
    assertEquals(1000, state.runLength);
  }

  @Test
  void windowsEndWhereTheyShould() {
    try (Peer peer = new Peer("memory")) {
      assertEquals("", peer.judge("deposit", "150", 10));
      assertEquals("", peer.judge("deposit", "60", 40)); // (10, 40]
      assertEquals("", peer.judge("deposit", "150", 110));
      assertEquals("123", peer.judge("deposit", "60", 139)); // (109, 139]
    }
  }

  @Test
  void lateEventsAreJudgedByTheirOwnWindow() {
    try (Peer peer = new Peer("memory")) {
      assertEquals("", peer.judge("deposit", "150", 50));
      assertEquals("", peer.judge("deposit", "60", 25)); // that at 50 is later than it
      assertEquals("", peer.judge("deposit", "40", 30));
      assertEquals("123", peer.judge("deposit", "1", 51)); // 150 + 40 + 60 + 1: all three
      assertEquals("123", peer.judge("deposit", "1", 54)); // (24, 54]
      assertEquals("", peer.judge("deposit", "1", 55)); // (25, 55] sums to 193
    }
    try (Peer peer = new Peer("memory")) {
      assertEquals("", peer.judge("deposit", "150", 21));
      assertEquals("", peer.judge("deposit", "1", 80)); // what is at 20 or before is dropped
      assertEquals("123", peer.judge("deposit", "60", 50)); // 30 late: exact, (20, 50]
      assertEquals("", peer.judge("deposit", "1", 81)); // drops that at 21
      assertEquals("", peer.judge("deposit", "60", 49)); // 32 late: (19, 49] has lost that at 21
    }
  }

  @Test
  void anAbsurdTimeCostsOneWindow() {
    try (Peer peer = new Peer("memory")) {
      assertEquals("", peer.judge("deposit", "150", 1000));
      assertEquals("", peer.judge("deposit", "1", 4_000_000_000L));
      assertEquals("", peer.judge("deposit", "100", 1001));
      assertEquals("", peer.judge("deposit", "100", 1010));
      assertEquals("123", peer.judge("deposit", "1", 1020));
      assertEquals("", peer.judge("deposit", "1", 1031));
    }
  }

  @Test
  void aFullStateMergesItsEarliestBuckets() {
    UserState state = new UserState();
    List<Integer> firing = new ArrayList<>();
    int deposits = UserState.BUCKETS_MAX + 201;
    for (int i = 0; i < deposits; i++) {
      // Each is earlier than all before. The first bucket of a full state sums up those that had no place any more.
      Event event = new Event(Event.Type.DEPOSIT, new Amount(0, 1, 0), 7, 1_000_000 - i);
      if (Rules.judge(state, event) != 0) {
        firing.add(i);
      }
      assertTrue(state.deposits.size() <= UserState.BUCKETS_MAX);
    }
    // Bucket 4095 holds 1 and, of those that merged into it, 200 with event 4295: more than 200 in all.
    assertEquals(List.of(UserState.BUCKETS_MAX + 199, UserState.BUCKETS_MAX + 200), firing);
  }

  @Test
  void aTombstoneIsSkippedAndABadEventOrKeyEndsIt() {
    try (Peer peer = new Peer("memory")) {
      peer.events.pipeInput("7", null);
      assertTrue(peer.results.isEmpty());
      byte[] bad = "{}".getBytes(StandardCharsets.UTF_8);
      assertThrows(StreamsException.class, () -> peer.events.pipeInput("7", bad));
    }
    try (Peer peer = new Peer("memory")) {
      String event = "{\"type\":\"deposit\",\"amount\":\"1\",\"user_id\":7,\"time\":1}";
      byte[] value = event.getBytes(StandardCharsets.UTF_8);
      assertThrows(StreamsException.class, () -> peer.events.pipeInput("8", value));
    }
  }
}
