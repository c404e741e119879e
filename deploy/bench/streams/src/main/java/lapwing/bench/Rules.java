package lapwing.bench;

/** Lapwing's four built-in rules. A set of alerts is a bit mask; bit i stands for the i-th of the codes. */
final class Rules {
  /** The codes in the order of the rules. */
  static final int[] CODES = {1100, 30, 300, 123};

  private static final int LARGE_WITHDRAWAL = 1;
  private static final int WITHDRAWALS_IN_A_ROW = 1 << 1;
  private static final int RISING_DEPOSITS = 1 << 2;
  private static final int DEPOSITS_IN_A_WINDOW = 1 << 3;

  private static final Amount WITHDRAWAL_LIMIT = new Amount(0, 100, 0);
  private static final int WITHDRAWALS_COUNT = 3;
  private static final int RISING_COUNT = 3;
  private static final long WINDOW_SECONDS = 30;
  private static final Amount WINDOW_LIMIT = new Amount(0, 200, 0);
  private static final long LATENESS_SECONDS = 30;

  private Rules() {}

  /** Counts an event into its user's state and returns the alerts that it raises. */
  static int judge(UserState state, Event event) {
    state.add(event, WINDOW_SECONDS + LATENESS_SECONDS);
    int alerts = 0;
    if (event.type() == Event.Type.WITHDRAW) {
      if (event.amount().compareTo(WITHDRAWAL_LIMIT) > 0) {
        alerts |= LARGE_WITHDRAWAL;
      }
      if (state.runLength >= WITHDRAWALS_COUNT) {
        alerts |= WITHDRAWALS_IN_A_ROW;
      }
      return alerts;
    }
    if (state.risingLength >= RISING_COUNT) {
      alerts |= RISING_DEPOSITS;
    }
    if (state.depositsWithin(event.time(), WINDOW_SECONDS).compareTo(WINDOW_LIMIT) > 0) {
      alerts |= DEPOSITS_IN_A_WINDOW;
    }
    return alerts;
  }
}
