package lapwing.bench;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.math.BigDecimal;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Random histories of a user against a model that keeps all events and knows no state. */
class ModelTest {
  private record Seen(boolean withdraw, BigDecimal amount, long time) {}

  private static final String[] AMOUNTS = {
    "100", "100.000000000000000001", "99.99", "66.67", "66.66", "200", "200.01", "0.000000000000000001", "50",
    "999999999999999999.999999999999999999", "12.5",
  };

  private static int alerts(List<Seen> history) {
    Seen last = history.get(history.size() - 1);
    List<Seen> deposits = history.stream().filter(seen -> !seen.withdraw).toList();
    if (last.withdraw) {
      boolean large = last.amount.compareTo(new BigDecimal(100)) > 0;
      boolean row = history.size() >= 3
          && history.subList(history.size() - 3, history.size()).stream().allMatch(Seen::withdraw);
      return (large ? 1 : 0) | (row ? 2 : 0);
    }
    int n = deposits.size();
    boolean rising = n >= 3 && deposits.get(n - 3).amount.compareTo(deposits.get(n - 2).amount) < 0
        && deposits.get(n - 2).amount.compareTo(deposits.get(n - 1).amount) < 0;
    BigDecimal sum = deposits.stream().filter(seen -> seen.time > last.time - 30 && seen.time <= last.time)
        .map(Seen::amount).reduce(BigDecimal.ZERO, BigDecimal::add);
    return (rising ? 4 : 0) | (sum.compareTo(new BigDecimal(200)) > 0 ? 8 : 0);
  }

  @ParameterizedTest
  @ValueSource(longs = {1, 2, 3, 4, 5})
  void judgesAsTheModel(long seed) {
    Random random = new Random(seed);
    int[] raised = new int[1 << Rules.CODES.length];
    for (int user = 0; user < 200; user++) {
      UserState state = new UserState();
      List<Seen> history = new ArrayList<>();
      long latest = random.nextInt(40);
      for (int i = 0; i < 60; i++) {
        long time = random.nextInt(3) == 0 ? Math.max(latest - random.nextInt(31), 0) : latest + random.nextInt(8);
        latest = Math.max(latest, time);
        boolean withdraw = random.nextInt(2) == 0;
        String amount = AMOUNTS[random.nextInt(AMOUNTS.length)];
        history.add(new Seen(withdraw, new BigDecimal(amount), time));
        byte[] text = amount.getBytes(StandardCharsets.US_ASCII);
        Event.Type type = withdraw ? Event.Type.WITHDRAW : Event.Type.DEPOSIT;
        int got = Rules.judge(state, new Event(type, Amount.parse(text, 0, text.length), user, time));
        state = UserStateSerde.decode(UserStateSerde.encode(state));
        assertEquals(alerts(history), got, () -> "seed " + seed + ", after " + history);
        raised[got]++;
      }
    }
    for (int alerts : new int[] {0, 1, 2, 3, 4, 8, 12}) {
      assertTrue(raised[alerts] > 0, () -> "no event raised exactly " + alerts);
    }
  }
}
